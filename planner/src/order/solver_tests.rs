//! The parts of the solver against each other, on models small enough for the exact answer.

use super::bound::{self, Pairs};
use super::explore;
use super::greedy;
use super::group::Groups;
use super::local::Search;
use super::model::{Model, Reduced};
use super::part::{Middle, among, twins};
use super::subsets;
use super::testing::{Change, Random, layered, small};
use super::walk::peak;

/// Models of up to 14 groups, with and without precedence.
fn models() -> impl Iterator<Item = Model> {
    let layers = (0..60).map(|seed| {
        let change = match seed % 3 {
            0 => Change::Everything,
            _ => Change::Some(2 + seed % 20),
        };
        let services = 3 + seed as usize % 12;
        let mut instance = layered(seed, services, 20 + seed as usize * 2, change);
        let random = &mut Random::new(seed);
        for index in 1..services {
            if random.percent(seed % 4 * 10) {
                let earlier = random.below(index as u64);
                let after = format!("service-{earlier}");
                instance.components[index].after.push(after);
            }
        }
        instance
    });
    (0..300).map(small).chain(layers).map(|instance| {
        let groups = Groups::new(&instance);
        Reduced::new(&instance, &groups).model
    })
}

/// The least peak, the start included.
fn least_peak(model: &Model) -> u64 {
    let (least, _) = subsets::solve(model).unwrap();
    least.max(peak(model, &[]))
}

fn keeps_precedence(model: &Model, order: &[u32]) -> bool {
    let place = |group: u32| order.iter().position(|&other| other == group);
    let mut all = order.to_vec();
    all.sort_unstable();
    let complete = all.iter().copied().eq(0..model.len() as u32);
    let ordered = (0u32..)
        .zip(&model.before)
        .all(|(group, before)| before.iter().all(|&other| place(other) < place(group)));
    complete && ordered
}

#[test]
fn no_bound_is_above_the_least_peak() {
    let (mut tight, mut count) = (0, 0);
    for (number, model) in models().enumerate() {
        let least = least_peak(&model);
        let pairs = Pairs::new(&model);
        let quick = bound::quick(&model, &pairs);
        let sampled = bound::sampled(&model, &pairs, u64::MAX, u64::MAX);
        assert!(quick <= least, "model {number}: {quick} {least}");
        assert!(sampled <= least, "model {number}: {sampled} {least}");
        tight += usize::from(quick.max(sampled) == least);
        count += 1;
    }
    assert!(tight * 3 > count * 2, "{tight} of {count}");
}

#[test]
fn a_sample_of_all_groups_is_the_whole_problem() {
    for (number, mut model) in models().enumerate() {
        model.before.iter_mut().for_each(Vec::clear);
        model.behind.iter_mut().for_each(Vec::clear);
        let chosen: Vec<u32> = (0..model.len() as u32).collect();
        let sample = among(&model, &Pairs::new(&model), &chosen);
        let (whole, sample) = (subsets::solve(&model), subsets::solve(&sample));
        assert_eq!(whole.unwrap().0, sample.unwrap().0, "model {number}");
    }
}

#[test]
fn both_exact_searches_agree() {
    for (number, model) in models().enumerate() {
        let least = least_peak(&model);
        let found = explore::search(&model, 0, u64::MAX, u64::MAX).unwrap();
        let order = found.order.unwrap();
        assert_eq!(found.bound, least, "model {number}");
        assert!(keeps_precedence(&model, &order), "model {number}");
        assert_eq!(peak(&model, &order), least, "model {number}");

        // Under the least peak there is nothing but orders that end at once.
        let under = explore::search(&model, 0, least, u64::MAX).unwrap();
        assert_eq!(under.bound, least, "model {number}");
        assert!(
            under.order.is_none() || least == peak(&model, &[]),
            "model {number}"
        );
    }
}

#[test]
fn a_search_that_is_given_up_has_a_bound() {
    for model in models() {
        let least = least_peak(&model);
        for work in [1, 100, 1000] {
            let found = explore::search(&model, 0, u64::MAX, work).unwrap();
            assert!(found.bound <= least);
        }
    }
}

#[test]
fn reductions_keep_the_least_peak() {
    for (number, model) in models().enumerate() {
        let least = least_peak(&model);
        let alike = twins(&model);
        let (_, order) = subsets::solve(&alike.model).unwrap();
        let order = alike.expand(&order);
        assert!(keeps_precedence(&model, &order), "model {number}");
        assert_eq!(peak(&model, &order), least, "model {number}");

        let allowed = bound::quick(&model, &Pairs::new(&model));
        let middle = Middle::new(&model, allowed);
        let (_, order) = subsets::solve(&middle.part.model).unwrap();
        let order = middle.expand(&order);
        assert!(keeps_precedence(&model, &order), "model {number}");
        assert_eq!(peak(&model, &order), least, "model {number}");
    }
}

#[test]
fn guesses_are_orders_and_the_search_makes_them_good() {
    let (mut best, mut count) = (0, 0);
    for (number, model) in models().enumerate().filter(|(_, model)| model.len() > 2) {
        let (least, _) = subsets::solve(&model).unwrap();
        for order in greedy::orders(&model, 0) {
            assert!(keeps_precedence(&model, &order), "model {number}");
            let (found, better) = Search::new(&model, order.clone(), least, 200_000).run();
            assert!(keeps_precedence(&model, &better), "model {number}");
            assert!(found <= peak(&model, &order), "model {number}");
            assert_eq!(found, peak(&model, &better), "model {number}");
            best += usize::from(found == least);
            count += 1;
        }
    }
    assert!(best * 100 > count * 95, "{best} of {count}");
}

#[test]
fn backwards_is_the_same_problem() {
    for (number, model) in models().enumerate().filter(|(_, model)| model.len() > 0) {
        let (least, mut order) = subsets::solve(&model).unwrap();
        let reversed = model.reversed();
        order.reverse();
        assert_eq!(peak(&reversed, &order), least, "model {number}");
    }
}

//! A plan in a random order, to be measured beside the one that was searched for.

use super::group::Groups;
use super::model::Reduced;
use super::steps::Ledger;
use super::testing::Random;
use super::{Instance, OrderError, Plan, finish, flips, solve, walk, whole};

/// A plan whose order keeps what the instance asks for and is random otherwise. As in a plan that
/// was searched for, steps are joined as far as that leaves the peak of the order.
///
/// # Errors
/// When the instance is not one.
pub fn shuffled(instance: &Instance, seed: u64) -> Result<Plan, OrderError> {
    instance.validate()?;
    let groups = Groups::new(instance);
    let reduced = Reduced::new(instance, &groups);
    let model = &reduced.model;
    let random = &mut Random::new(seed);
    let mut left: Vec<u32> = (0..model.len() as u32).collect();
    let mut order: Vec<u32> = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |group: &u32| {
            let before = &model.before[*group as usize];
            before.iter().any(|other| left.contains(other))
        };
        let ready: Vec<usize> = (0..left.len()).filter(|&at| !waits(&left[at])).collect();
        let Some(&at) = ready.get(random.below(ready.len() as u64) as usize) else {
            break;
        };
        order.push(left.swap_remove(at));
    }
    let limit = walk::peak(model, &order).max(reduced.last);
    let bound = solve::quick_bound(model).max(reduced.last);
    let moves = flips(&whole(&groups, &reduced, order));
    Ok(finish(Ledger::new(instance, &groups), &moves, limit, bound))
}

#[cfg(test)]
mod tests {
    use super::super::testing::small;
    use super::super::{Options, check, plan};
    use super::*;

    #[test]
    fn any_order_is_a_plan_and_none_is_better_than_the_best() {
        let mut higher = 0;
        for seed in 0..200 {
            let mut instance = small(seed);
            instance.budget = None;
            let best = plan(&instance, &Options::default()).unwrap();
            let other = shuffled(&instance, seed).unwrap();
            assert_eq!(
                check(&instance, &other),
                Vec::<String>::new(),
                "seed {seed}"
            );
            assert!(other.peak >= best.peak, "seed {seed}");
            higher += usize::from(other.peak > best.peak);
        }
        assert!(higher > 20, "{higher}");
    }
}

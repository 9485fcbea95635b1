//! The laws of plans with absences, against brute force and the independent checker.

use super::testing::{Random, small};
use super::*;

/// Small instances of at most six components, some of which may be stopped.
fn instances() -> impl Iterator<Item = (u64, Instance)> {
    let small = (0..1200).map(|seed| (seed, small(seed)));
    let small = small.filter(|(_, instance)| instance.components.len() <= 6);
    small.map(|(seed, mut instance)| {
        let random = &mut Random::new(seed);
        for component in &mut instance.components {
            component.stoppable = random.percent(60);
        }
        (seed, instance)
    })
}

/// The least peak over every way through the states old, nothing and new of all components, in
/// steps of any size. States are numbers to the base of three.
fn brute_force(instance: &Instance) -> u64 {
    const NOTHING: usize = 1;
    const NEW: usize = 2;
    let components = &instance.components;
    let groups = Groups::new(instance);
    let mask = |paths: &[PathId]| paths.iter().fold(0u64, |mask, path| mask | 1 << path.0);
    let number = |id: &String| components.iter().position(|c| c.id == *id).unwrap();
    let states: Vec<Vec<usize>> = (0..3usize.pow(components.len() as u32))
        .map(|mut code| {
            let digits = components.iter().map(|_| {
                let digit = code % 3;
                code /= 3;
                digit
            });
            digits.collect()
        })
        .collect();
    let may_be = |state: &[usize]| {
        let all_new = state.iter().all(|&it| it == NEW);
        let together = groups.members.iter().enumerate().all(|(group, members)| {
            let same = members.iter().all(|&it| state[it] == state[members[0]]);
            let stops = state[members[0]] == NOTHING;
            let may = members.iter().all(|&it| components[it].stoppable);
            same && (!stops || (may && Some(group) != groups.last))
        });
        let ordered = components.iter().zip(state).all(|(component, &it)| {
            let mut after = component.after.iter();
            it != NEW || after.all(|other| state[number(other)] == NEW)
        });
        let early = components
            .iter()
            .zip(state)
            .any(|(c, &it)| c.is_final && it == NEW);
        together && ordered && (!early || all_new)
    };
    let disk = |state: &[usize]| {
        let each = components
            .iter()
            .zip(state)
            .map(|(component, it)| match *it {
                NEW => mask(&component.new),
                NOTHING => 0,
                _ => mask(&component.old),
            });
        each.fold(mask(&instance.keep), |disk, more| disk | more)
    };
    let bytes = |paths: u64| -> u64 {
        let there = instance.paths().filter(|(id, ..)| paths >> id.0 & 1 == 1);
        there.map(|(_, _, bytes)| bytes.unwrap()).sum()
    };
    let reachable: Vec<(&Vec<usize>, u64)> = states
        .iter()
        .filter(|state| may_be(state))
        .map(|state| (state, disk(state)))
        .collect();
    // Sorted by how far they are: each is reached from those before it only.
    let mut order: Vec<usize> = (0..reachable.len()).collect();
    order.sort_by_key(|&it| reachable[it].0.iter().sum::<usize>());
    let mut least = vec![u64::MAX; reachable.len()];
    for (rank, &to) in order.iter().enumerate() {
        if reachable[to].0.iter().all(|&it| it == 0) {
            least[to] = bytes(reachable[to].1);
        }
        for &from in &order[..rank] {
            let mut pairs = reachable[from].0.iter().zip(reachable[to].0);
            if least[from] < u64::MAX && pairs.all(|(from, to)| from <= to) {
                // What stops, stops before anything is fetched, as in a step of its own.
                let high = bytes(reachable[from].1 | reachable[to].1);
                least[to] = least[to].min(least[from].max(high));
            }
        }
    }
    least[*order.last().unwrap()]
}

fn within(instance: &Instance, budget: u64) -> Result<Plan, OrderError> {
    let mut instance = instance.clone();
    instance.budget = Some(budget);
    plan(&instance, &Options::default()).inspect(|plan| {
        assert_eq!(check(&instance, plan), Vec::<String>::new(), "{plan:#?}");
    })
}

fn stops(plan: &Plan) -> Vec<String> {
    plan.steps
        .iter()
        .flat_map(|step| step.stop.clone())
        .collect()
}

#[test]
fn with_absences_the_peak_is_what_brute_force_finds() {
    let mut gained = 0;
    for (seed, instance) in instances() {
        let mut firm = instance.clone();
        firm.components
            .iter_mut()
            .for_each(|it| it.stoppable = false);
        let without = plan(&firm, &Options::default()).unwrap();
        let marked = plan(&instance, &Options::default()).unwrap();
        assert_eq!(without, marked, "without a budget nothing is stopped");
        let least = brute_force(&instance);
        assert!(least <= without.peak, "seed {seed}");
        assert_eq!(within(&instance, without.peak), within(&firm, without.peak));
        if least < without.peak {
            gained += 1;
            for budget in [least, without.peak - 1] {
                let plan = within(&instance, budget).unwrap();
                assert!(
                    plan.peak <= budget && !stops(&plan).is_empty(),
                    "seed {seed}"
                );
                assert!(plan.lower_bound <= least, "seed {seed}");
            }
        }
        if least > 0 {
            let Err(OrderError::DoesNotFit(shortfall)) = within(&instance, least - 1) else {
                panic!("seed {seed} fits");
            };
            assert_eq!(
                (shortfall.peak, shortfall.missing()),
                (least, 1),
                "seed {seed}"
            );
            assert!(shortfall.is_proven(), "seed {seed}");
        }
    }
    assert!(gained > 50, "{gained}");
}

#[test]
fn nobody_is_stopped_who_need_not_be() {
    let mut seen = 0;
    for (seed, instance) in instances() {
        let least = brute_force(&instance);
        let Ok(plan) = within(&instance, least) else {
            continue;
        };
        let stopped = stops(&plan);
        for group in &Groups::new(&instance).members {
            if !stopped.contains(&instance.components[group[0]].id) {
                continue;
            }
            seen += 1;
            let mut fewer = instance.clone();
            for component in &mut fewer.components {
                component.stoppable &= stopped.contains(&component.id);
            }
            group
                .iter()
                .for_each(|&it| fewer.components[it].stoppable = false);
            assert!(within(&fewer, least).is_err(), "seed {seed}: {stopped:?}");
        }
    }
    assert!(seen > 50, "{seen}");
}

/// Components with a big program each and a small common library that changes.
fn servers(stoppable: &[bool]) -> Instance {
    let mut instance = Instance::default();
    let [old, new] = ["old", "new"].map(|side| instance.path(&format!("library-{side}"), 10));
    for (number, &stoppable) in stoppable.iter().enumerate() {
        let [a, b] = ["old", "new"].map(|side| instance.path(&format!("{number}-{side}"), 100));
        instance.components.push(Component {
            id: number.to_string(),
            old: vec![old, a],
            new: vec![new, b],
            stoppable,
            ..Component::default()
        });
    }
    instance
}

#[test]
fn what_is_stopped_is_down_for_as_short_as_the_others_let_it() {
    // At the start 310 bytes; flipping one brings 110 more.
    let instance = servers(&[false, true, false]);
    let plan = within(&instance, 420).unwrap();
    assert_eq!(stops(&plan), [""; 0]);
    let plan = within(&instance, 320).unwrap();
    let steps: Vec<(&[String], &[String])> = plan
        .steps
        .iter()
        .map(|step| (step.stop.as_slice(), step.flip.as_slice()))
        .collect();
    let (one, none): (&[String], &[String]) = (&["1".to_owned()], &[]);
    assert_eq!(steps[0], (one, none), "{plan:#?}");
    assert_eq!(plan.steps[0].bytes_after, 210);
    assert_eq!((plan.steps.len(), plan.peak), (4, 320));
    // Its room is needed by both of the others: it is the last.
    assert_eq!(steps[3], (none, one));
    let Err(OrderError::DoesNotFit(shortfall)) = within(&instance, 315) else {
        panic!("it fits");
    };
    assert!(
        shortfall
            .to_string()
            .contains("all stopped that may be stopped")
    );
}

#[test]
fn a_false_claim_on_who_is_stopped_is_found() {
    let mut instance = servers(&[false, true, false]);
    instance.budget = Some(320);
    let good = plan(&instance, &Options::default()).unwrap();
    let wrong = |spoil: fn(&mut Plan)| {
        let mut plan = good.clone();
        spoil(&mut plan);
        check(&instance, &plan).join("\n")
    };
    assert_eq!(wrong(|_| {}), "");
    assert!(wrong(|it| it.steps[0].stop[0] = "0".into()).contains("must not be stopped"));
    assert!(wrong(|it| it.steps[1].stop.push("1".into())).contains("does not run as it was"));
    assert!(wrong(|it| it.steps[0].release.clear()).contains("releases"));
}

//! The laws of a plan, against brute force and the independent checker.

use super::testing::{Change, layered, small};
use super::*;

/// The least peak over every way to flip the components in steps of any size, found from the
/// instance alone.
fn brute_force(instance: &Instance) -> u64 {
    let components = &instance.components;
    let mask = |paths: &[PathId]| paths.iter().fold(0u64, |mask, path| mask | 1 << path.0);
    let number = |id: &String| components.iter().position(|c| c.id == *id).unwrap();
    let full = (1usize << components.len()) - 1;
    let is_allowed = |set: usize| {
        let done = |number: usize| set >> number & 1 == 1;
        components.iter().enumerate().all(|(index, component)| {
            let together = component
                .with
                .iter()
                .all(|o| done(number(o)) == done(index));
            let order = component
                .after
                .iter()
                .all(|o| !done(index) || done(number(o)));
            together && order && !(component.is_final && done(index) && set != full)
        })
    };
    let disk = |set: usize| {
        components
            .iter()
            .enumerate()
            .fold(mask(&instance.keep), |disk, (index, c)| {
                disk | mask(if set >> index & 1 == 1 {
                    &c.new
                } else {
                    &c.old
                })
            })
    };
    let bytes = |paths: u64| -> u64 {
        let there = instance.paths().filter(|(id, ..)| paths >> id.0 & 1 == 1);
        there.map(|(_, _, bytes)| bytes.unwrap()).sum()
    };
    let mut least = vec![u64::MAX; full + 1];
    least[0] = bytes(disk(0));
    for to in 1..=full {
        if !is_allowed(to) {
            continue;
        }
        let mut from = to;
        while from > 0 {
            from = (from - 1) & to;
            if least[from] < u64::MAX {
                // Everything the flipped ones need is fetched before anything is released.
                let high = bytes(disk(from) | disk(to));
                least[to] = least[to].min(least[from].max(high));
            }
        }
    }
    least[full]
}

fn stepwise(instance: &Instance) -> Plan {
    plan(
        instance,
        &Options {
            strategy: Strategy::Stepwise,
            ..Options::default()
        },
    )
    .unwrap()
}

#[test]
fn the_peak_is_what_brute_force_finds() {
    for seed in 0..1000 {
        let instance = small(seed);
        let plan = plan(&instance, &Options::default()).unwrap();
        assert_eq!(check(&instance, &plan), Vec::<String>::new(), "seed {seed}");
        assert_eq!(plan.peak, brute_force(&instance), "seed {seed}");
        assert!(plan.optimal, "seed {seed}");
    }
}

#[test]
fn one_step_makes_true_claims_too() {
    for seed in 0..300 {
        let instance = small(seed);
        let options = Options {
            strategy: Strategy::Atomic,
            ..Options::default()
        };
        let atomic = plan(&instance, &options).unwrap();
        assert_eq!(
            check(&instance, &atomic),
            Vec::<String>::new(),
            "seed {seed}"
        );
        assert!(atomic.lower_bound <= brute_force(&instance), "seed {seed}");
        assert!(atomic.steps.len() <= 1);
    }
}

#[test]
fn a_budget_decides_on_the_strategy() {
    let mut seen = [0; 3];
    for seed in 0..300 {
        let mut instance = small(seed);
        let least = brute_force(&instance);
        let options = Options {
            strategy: Strategy::Atomic,
            ..Options::default()
        };
        let atomic = plan(&instance, &options).unwrap().peak;
        instance.budget = Some(atomic);
        assert_eq!(
            plan(&instance, &Options::default()).unwrap().strategy,
            Strategy::Atomic
        );
        if least < atomic {
            seen[0] += 1;
            instance.budget = Some(atomic - 1);
            let steps = plan(&instance, &Options::default()).unwrap();
            assert_eq!((steps.peak, steps.strategy), (least, Strategy::Stepwise));
            assert_eq!(check(&instance, &steps), Vec::<String>::new());
            let options = Options {
                fill_budget: true,
                ..Options::default()
            };
            let filled = plan(&instance, &options).unwrap();
            assert_eq!(check(&instance, &filled), Vec::<String>::new());
            assert!(filled.steps.len() <= steps.steps.len());
            seen[1] += usize::from(filled.steps.len() < steps.steps.len());
        }
        if least > 0 {
            seen[2] += 1;
            instance.budget = Some(least - 1);
            let Err(OrderError::DoesNotFit(shortfall)) = plan(&instance, &Options::default())
            else {
                panic!("seed {seed} fits");
            };
            assert_eq!((shortfall.peak, shortfall.missing()), (least, 1));
            assert!(shortfall.is_proven());
        }
    }
    assert!(seen.iter().all(|&count| count > 10), "{seen:?}");
}

#[test]
fn larger_plans_hold_and_are_the_same_each_time() {
    for (services, packages, change) in [(15, 100, Change::Everything), (40, 200, Change::Some(5))]
    {
        let instance = layered(services as u64, services, packages, change);
        let plan = stepwise(&instance);
        assert_eq!(check(&instance, &plan), Vec::<String>::new());
        assert_eq!(plan, stepwise(&instance));
    }
}

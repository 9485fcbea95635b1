//! Plans an instance and prints what came of it, for measurements: the one on standard input, or
//! a made one with `SERVICES PACKAGES CHANGED-PERCENT`. `--check` checks the plan as well.

use std::io::{BufReader, stdin};
use std::time::Instant;

use nixctl_planner::order::testing::{Change, layered};
use nixctl_planner::order::{Instance, Options, Strategy, check, plan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let begun = Instant::now();
    let mut instance = instance()?;
    instance.budget = None;
    let read = begun.elapsed();
    let begun = Instant::now();
    let best = plan(&instance, &Options::default())?;
    let planned = begun.elapsed();
    let atomic = plan(
        &instance,
        &Options {
            strategy: Strategy::Atomic,
            ..Options::default()
        },
    )?;
    let end = best.steps.last().map_or(0, |step| step.bytes_after);
    let times = |bytes: u64| bytes as f64 / end.max(1) as f64;
    println!(
        "components {} paths {} steps {} | peak {:.4} bound {:.4} atomic {:.4} x end | \
         gap {:.2} % optimal {} | read {read:.2?} plan {planned:.2?}",
        instance.components.len(),
        instance.path_count(),
        best.steps.len(),
        times(best.peak),
        times(best.lower_bound),
        times(atomic.peak),
        100.0 * best.gap(),
        best.optimal,
    );
    if std::env::args().any(|argument| argument == "--check") {
        for wrong in check(&instance, &best) {
            println!("WRONG {wrong}");
        }
    }
    Ok(())
}

fn instance() -> Result<Instance, Box<dyn std::error::Error>> {
    let numbers: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|argument| argument.parse().ok())
        .collect();
    let [services, packages, changed] = numbers[..] else {
        return Ok(serde_json::from_reader(BufReader::new(stdin()))?);
    };
    let change = match changed {
        100 => Change::Everything,
        share => Change::Some(share as u64),
    };
    Ok(layered(1, services, packages, change))
}

//! A switch in a random order, for the lab's measurements. Without the feature `fault-injection`
//! there is none.

use nixctl_planner::order::{Instance, Plan};

/// No plan of its own.
#[cfg(not(feature = "fault-injection"))]
pub fn plan(_: &Instance) -> Option<Plan> {
    None
}

/// The plan in the order of the seed that `/run/nixctl-order` holds, when it is there.
#[cfg(feature = "fault-injection")]
pub fn plan(instance: &Instance) -> Option<Plan> {
    let seed = std::fs::read_to_string("/run/nixctl-order").ok()?;
    nixctl_planner::order::shuffled(instance, seed.trim().parse().ok()?).ok()
}

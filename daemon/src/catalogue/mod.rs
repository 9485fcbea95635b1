//! What a machine should have, decided from facts.
//!
//! [`facts`] reads the machine once; everything after that is a pure function of the facts, the
//! settings and the request: [`preflight`] says what speaks against it, [`linux`] lists the steps
//! of an install, [`adopt`] those of taking over what others installed, [`own`] the daemon's own
//! files, [`uninstall`] the way back. [`plan`] puts steps and checks together for the engine and
//! for people. The files themselves lie under `units/` in the repository ([`files`]).

pub mod adopt;
pub mod conf;
pub mod container;
pub mod existing;
pub mod facts;
pub mod files;
pub mod ids;
pub mod linux;
pub mod own;
pub mod plan;
pub mod planner;
pub mod preflight;
pub mod shell;
mod steps;
pub mod uninstall;

use nixctl_proto::plan::Plan;

pub use facts::{Facts, FactsError};
pub use plan::{install_plan, self_install_plan, self_uninstall_plan, uninstall_plan};
pub use preflight::Needs;

use crate::engine::step::PlannedStep;
use crate::health::plan::RepairPlan;

/// A plan as the engine carries it out, and as clients see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Steps, as data for the journal.
    pub steps: Vec<PlannedStep>,
    /// The same for people.
    pub view: Plan,
    /// What a repair is made against.
    pub repair: Option<RepairPlan>,
}

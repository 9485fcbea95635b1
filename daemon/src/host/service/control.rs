//! What moving a running system from one generation to the next needs of its service manager.
//!
//! Jobs are submitted together and waited for together, each under a deadline of its own; programs
//! that must outlive this daemon run as transient units. Nothing here decides: the decisions
//! come from `nixctl-planner`, and `switch::units` carries them out.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use super::ServiceError;

/// A unit that the service manager has loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadedUnit {
    /// Name.
    pub name: String,
    /// `loaded`, `not-found`, `masked` and so on.
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`, `reloading`...
    pub active: String,
    /// State within the type, such as `auto-restart`.
    pub sub: String,
    /// The unit whose state this one follows; empty for none.
    pub following: String,
}

/// A unit's state in more detail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitDetails {
    /// As [`LoadedUnit::load`].
    pub load: String,
    /// As [`LoadedUnit::active`].
    pub active: String,
    /// As [`LoadedUnit::sub`].
    pub sub: String,
    /// File the unit was loaded from; empty for none.
    pub fragment: String,
    /// Another one with every start; empty while it has not run.
    pub invocation: String,
    /// How often it was started again by itself.
    pub restarts: u32,
    /// Exit code of the main process.
    pub exit_status: i32,
    /// `success`, `exit-code`, `signal`, `timeout` and so on; empty for what has none.
    pub result: String,
    /// How long it may take to start; nothing for no limit or none known.
    pub start_timeout: Option<Duration>,
    /// How long it may take to stop; likewise.
    pub stop_timeout: Option<Duration>,
}

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobVerb {
    /// Stops the unit.
    Stop,
    /// Makes it read its configuration again.
    Reload,
    /// Stops and starts it.
    Restart,
    /// Starts it.
    Start,
}

impl JobVerb {
    /// The word for people.
    pub fn as_str(self) -> &'static str {
        match self {
            JobVerb::Stop => "stop",
            JobVerb::Reload => "reload",
            JobVerb::Restart => "restart",
            JobVerb::Start => "start",
        }
    }
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitJob {
    /// What to do.
    pub verb: JobVerb,
    /// With which unit.
    pub unit: String,
    /// How long it may take.
    pub deadline: Duration,
}

/// The processes of a service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Processes {
    /// The main one; `None` while it does not run.
    pub main: Option<u32>,
    /// All others of its control group and those below it.
    pub others: Vec<u32>,
}

/// A program to be run as a unit of its own, so that it goes on when this daemon ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transient {
    /// Name of the unit, with `.service`.
    pub unit: String,
    /// For people.
    pub description: String,
    /// The program and its arguments; the program is an absolute path.
    pub command: Vec<String>,
    /// Variables, besides those that every unit gets.
    pub env: Vec<(String, String)>,
    /// Time after which systemd ends it.
    pub deadline: Duration,
}

/// The part of a service manager that a switch needs. Every call has a deadline inside.
pub trait Control: Send + Sync + Debug {
    /// All units it has loaded.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn loaded(&self) -> Result<Vec<LoadedUnit>, ServiceError>;

    /// The files that units were loaded from, by name of the unit; what has none or cannot be read is
    /// left out.
    fn fragments(&self, units: &[&str]) -> BTreeMap<String, String>;

    /// A unit's state in more detail; `load` is `not-found` for an unknown one.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn details(&self, unit: &str) -> Result<UnitDetails, ServiceError>;

    /// The same of many units, in their order, asked for together.
    fn details_of(&self, units: &[&str]) -> Vec<Result<UnitDetails, ServiceError>>;

    /// How often each of these services was started again by itself, asked for together: one after the
    /// other, hundreds of services take seconds.
    ///
    /// # Errors
    /// When it cannot be reached, or does not answer for one of them.
    fn restarts(&self, services: &[&str]) -> Result<BTreeMap<String, u32>, ServiceError>;

    /// Submits all jobs, in this order, before it waits for any. One result for each, in the same
    /// order: a job that fails takes nothing from the others.
    fn run_jobs(&self, jobs: &[UnitJob]) -> Vec<Result<(), ServiceError>>;

    /// Starts the service manager anew and waits until it answers again.
    ///
    /// # Errors
    /// When it does not come back in time.
    fn reexecute(&self) -> Result<(), ServiceError>;

    /// How the machine as a whole is: `starting`, `running`, `degraded`, `stopping` and so on.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn system_state(&self) -> Result<String, ServiceError>;

    /// Restarts the machine in order: everything is stopped first. Returns when that has begun.
    ///
    /// # Errors
    /// When it is refused.
    fn restart_machine(&self) -> Result<(), ServiceError>;

    /// Forgets all failures.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn reset_all_failed(&self) -> Result<(), ServiceError>;

    /// The processes of a service; none of one that does not run.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn processes(&self, service: &str) -> Result<Processes, ServiceError>;

    /// Halts the main process of a service, or lets it go on. The others are not touched.
    ///
    /// # Errors
    /// When it cannot be reached, or the service has no main process.
    fn halt_main(&self, service: &str, halts: bool) -> Result<(), ServiceError>;

    /// Starts a transient unit, which stays loaded after its end until it is stopped. Does nothing
    /// when the unit is there already.
    ///
    /// # Errors
    /// When it cannot be started.
    fn start_transient(&self, transient: &Transient) -> Result<(), ServiceError>;
}

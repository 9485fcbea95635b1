//! What a service manager says by itself of units that somebody listens to.

use std::collections::BTreeSet;
use std::fmt::Debug;

/// Something that was heard of a unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// It is in this state now: `active`, `inactive`, `failed`, `activating` and so on; a unit that
    /// is not loaded is `inactive`. Also told of each unit when listening begins, and begins anew
    /// after the connection was lost.
    State {
        /// Unit.
        unit: String,
        /// State.
        active: String,
    },
    /// A job of it did not end as it should.
    JobFailed {
        /// Unit.
        unit: String,
        /// Result of the job: failed, timeout, dependency.
        result: String,
    },
}

/// Who is told; called on a thread that must not be held up.
pub type Hear = Box<dyn Fn(Heard) + Send + Sync>;

/// Listens until it is dropped, and again by itself after the service manager or the bus were lost.
pub trait Listening: Send + Sync + Debug {
    /// Listens to these units, and to no others.
    fn set(&self, units: BTreeSet<String>);
}

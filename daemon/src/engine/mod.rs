//! The engine: operations, their plans and journals, one at a time.
//!
//! An operation is stored before it is answered for, planned from facts, journalled as data, and
//! carried out step by step on a thread of its own (`runner`). After a crash the thread finds
//! the operation that was running and resumes it, or goes on undoing it. What a step needs to be
//! undone is read and stored *before* its first attempt, so that a crash between the effect and
//! its record loses nothing.

pub(crate) mod backoff;
mod boot;
mod care;
mod fault;
mod following;
pub mod handle;
mod legacy;
mod lines;
mod metrics;
mod ownership;
pub mod record;
mod releases;
mod run;
mod runner;
pub mod step;
pub mod store;
mod switching;
#[cfg(test)]
mod tests;
pub mod transition;
mod view;
mod weight;

use std::collections::BTreeSet;

use nixctl_proto::request::OperationRequest;
use nixctl_proto::settings::Settings;
use nixctl_proto::{Failure, OperationId};

pub use handle::{Engine, EngineParts};
pub use record::{Before, Owned};
use step::PlannedStep;
pub use step::Step;
pub use store::{Store, StoreError};

use crate::catalogue::Planned;
use crate::host::{Cancel, Host};
use crate::payload::Release;
use crate::takeover::hand_over::HandOver;
use crate::takeover::renew::Renewal;
use crate::upgrade::offer::Offered;

/// Decides what an operation will do. Reads the machine, changes nothing.
pub trait Planner: Send + Sync {
    /// The plan for a request.
    ///
    /// # Errors
    /// When the machine cannot be read or the request makes no sense on it; what merely speaks
    /// against carrying it out is a check in the plan.
    fn plan(&self, question: &Question<'_>) -> Result<Planned, Failure>;

    /// The rest of a replacement of nixctl itself, for the version that has taken over; `rest` is what
    /// the other one had planned.
    ///
    /// # Errors
    /// When the machine cannot be read.
    fn renew(
        &self,
        question: &Question<'_>,
        over: &HandOver,
        rest: &[PlannedStep],
    ) -> Result<Renewal, Failure> {
        let _ = (question, over);
        Ok(Renewal {
            steps: rest.to_vec(),
            made: Vec::new(),
        })
    }
}

/// What a planner decides from.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// What was asked for.
    pub request: &'a OperationRequest,
    /// The machine.
    pub host: &'a Host,
    /// Settings in force.
    pub settings: &'a Settings,
    /// What nixctl owns already, in the order of making.
    pub owned: &'a [Owned],
    /// What earlier operations left word of.
    pub recorded: &'a Recorded,
    /// What cannot be watched between two rounds of checks, and why.
    pub unwatched: Option<&'a str>,
    /// Asked whether to stop.
    pub cancel: &'a Cancel,
}

/// What earlier operations left word of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Where the last switch that changed the machine began.
    pub before: Option<Before>,
    /// The store that the last one which named a store copied from.
    pub from: Option<String>,
    /// Store paths of the generations that have proven themselves.
    pub proven: BTreeSet<String>,
    /// Where the releases that are owned were fetched from.
    pub fetched: Vec<Release>,
    /// What the release feed offers, or why it offers nothing newer; `None` where the request names
    /// what it wants, or no feed is followed.
    pub offer: Option<Result<Offered, String>>,
}

/// Something that clients may want to know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A new operation.
    OperationAdded(OperationId),
    /// An old operation was forgotten.
    OperationRemoved(OperationId),
    /// [`handle::Engine::status`] may give another answer.
    Status,
    /// [`handle::Engine::findings`] gives another answer.
    Findings,
}

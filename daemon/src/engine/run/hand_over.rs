//! The two steps of a replacement of nixctl itself that need the daemon: to end for it, and to prove
//! itself after it.

use std::path::Path;
use std::time::{Duration, Instant};

use nixctl_proto::{Code, Failure};
use serde::Deserialize;

use super::super::Question;
use super::super::step::{PlannedStep, Step, StepFailure};
use super::Run;
use crate::catalogue::own::PROGRAMS_DIR;
use crate::host::Command;
use crate::host::cancel::Stop;
use crate::resource::{ResourceError, Undone};
use crate::takeover::hand_over::{HandOver, Return, Stand};
use crate::takeover::note::Note;
use crate::takeover::step::SelfStep;
use crate::takeover::{PROGRAMS, fault};

type Result<T> = std::result::Result<T, StepFailure>;

/// Longest wait for the daemon to go down once it was asked to.
const LEAVE: Duration = Duration::from_secs(60);
/// How long it has to have been up.
const STAYS: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 10 });
/// For the client to ask the daemon over all ways.
const ANSWERS: Duration = Duration::from_secs(30);
/// Between two looks.
const TICK: Duration = Duration::from_millis(20);
/// Where the bus listens.
const BUS: &str = "/run/dbus/system_bus_socket";

impl Run<'_> {
    /// Ends this daemon, so that the other version starts; or sees what became of that.
    pub(super) fn hand_over(&self, over: &HandOver) -> Result<Undone> {
        match over.apply(&self.shared.host, &self.cancel)? {
            Stand::TookOver => Ok(Undone::Clean),
            Stand::Back(failure) => Err(failure.into()),
            Stand::Leaves => Err(self.leave()),
        }
    }

    /// Has the version of before come back, if it is not this one.
    pub(super) fn take_back(&self, over: &HandOver) -> Result<Undone> {
        match over.undo(&self.shared.host, self.record.failure.as_ref())? {
            Return::Done => Ok(Undone::Clean),
            Return::Leaves => Err(self.leave()),
        }
    }

    /// Whether a step of the version after, which it cannot undo, is left to the version of before, for
    /// which this daemon goes down.
    pub(super) fn is_taken_back(&self, index: u32, failed: &StepFailure) -> bool {
        let over = (0u32..)
            .zip(&self.steps)
            .find_map(|(at, it)| match &it.step {
                Step::SelfUpgrade(SelfStep::HandOver(over)) if at < index => Some(over),
                _ => None,
            });
        let Some(over) = over else {
            return false;
        };
        let why = &failed.failure.message;
        tracing::error!(OPERATION_ID = %self.record.id, "cannot undo a step: {why}");
        let taken = self.take_back(over);
        taken.is_err_and(|it| it.stopped) && self.shared.is_going_down()
    }

    /// What is done after a step instead of what was planned: once another version has taken over,
    /// that one plans the rest.
    pub(super) fn rest_after(&self, index: u32) -> Result<Option<Vec<PlannedStep>>> {
        let at = index as usize;
        let Some(Step::SelfUpgrade(SelfStep::HandOver(over))) =
            self.steps.get(at).map(|it| &it.step)
        else {
            return Ok(None);
        };
        let settings = self.shared.settings();
        let owned = self.shared.store.owned();
        let question = Question {
            request: &self.record.request,
            host: &self.shared.host,
            settings: &settings,
            owned: &owned,
            recorded: &Default::default(),
            unwatched: None,
            cancel: &self.cancel,
        };
        let rest = self.steps.get(at + 1..).unwrap_or_default();
        let renewal = self.shared.planner.renew(&question, over, rest)?;
        let fs = &self.shared.host.fs;
        if let Some(mut note) = Note::load(fs).map_err(ResourceError::from)? {
            note.made = renewal.made;
            note.save(fs).map_err(ResourceError::from)?;
        }
        Ok(Some(renewal.steps))
    }

    /// This version has to stay, to answer over all ways, and to leave nothing worse.
    pub(super) fn prove_self(&self) -> Result<Undone> {
        let over = self.steps.iter().find_map(|it| match &it.step {
            Step::SelfUpgrade(SelfStep::HandOver(over)) => Some(over),
            _ => None,
        });
        let programs = over.map_or(Path::new(PROGRAMS_DIR), |over| &over.programs);
        while self.shared.began.elapsed() < STAYS {
            if self.cancel.requested().is_some() {
                return Err(stopped());
            }
            std::thread::sleep(TICK);
        }
        self.answers(programs)?;
        let proven = self.shared.prove_upgrade(&self.cancel);
        if self.cancel.requested().is_some() && proven.is_err() {
            return Err(stopped());
        }
        proven.map_err(|failure| worse(&failure))?;
        if fault::is_worse() {
            return Err(worse(&Failure::new(Code::Unproven, "it was built to fail")));
        }
        Ok(Undone::Clean)
    }

    /// The new client asks the new daemon, as anybody, over the socket, and over the bus where there is
    /// one.
    fn answers(&self, programs: &Path) -> Result<()> {
        let host = &self.shared.host;
        let client = programs.join(PROGRAMS[0]).display().to_string();
        let command = Command::new(client).args(["daemon", "status", "--json"]);
        let command = command.run_as(65534, 65534);
        let has_bus = host.fs.meta(Path::new(BUS)).is_ok_and(|it| it.is_some());
        let end = Instant::now() + ANSWERS;
        loop {
            let wrong = match host.exec.output(&command, &self.cancel) {
                Ok(output) => wrong(&output.text(), has_bus),
                Err(_) if self.cancel.requested().is_some() => return Err(stopped()),
                Err(error) => Some(error.to_string()),
            };
            let Some(wrong) = wrong else {
                return Ok(());
            };
            if Instant::now() >= end {
                let text = format!("cannot see nixctld serve: {wrong}");
                return Err(Failure::new(Code::TakenBack, text).into());
            }
            std::thread::sleep(TICK * 10);
        }
    }

    /// Asks the daemon to go down, and waits for that. The step stays begun.
    fn leave(&self) -> StepFailure {
        self.say("nixctld ends, and is started again");
        self.shared.leave();
        let end = Instant::now() + LEAVE;
        while !self.shared.is_going_down() && Instant::now() < end {
            std::thread::sleep(TICK);
        }
        if self.shared.is_going_down() {
            // Nobody may have told this operation of it yet.
            self.cancel.request(Stop::Shutdown);
            return stopped();
        }
        let text = "cannot hand over: nixctld does not end";
        Failure::new(Code::Internal, text).into()
    }
}

/// What of it is not as it should be.
fn wrong(said: &str, has_bus: bool) -> Option<String> {
    #[derive(Deserialize)]
    struct Way {
        name: String,
        version: Option<String>,
        problem: Option<String>,
    }
    #[derive(Deserialize)]
    struct Document {
        transports: Vec<Way>,
    }
    let document: Document = match serde_json::from_str(said) {
        Ok(document) => document,
        Err(error) => return Some(format!("what nixctl says makes no sense: {error}")),
    };
    let wanted = nixctl_proto::version();
    let needed = document
        .transports
        .iter()
        .filter(|way| way.name == "socket" || has_bus);
    let mut wrong = needed.filter_map(|way| match (&way.version, &way.problem) {
        (Some(version), _) if version == wanted => None,
        (Some(version), _) => Some(format!("over the {} {version} answers", way.name)),
        (None, problem) => {
            let problem = problem.as_deref().unwrap_or("no answer");
            Some(format!("over the {}: {problem}", way.name))
        }
    });
    wrong.next()
}

fn worse(failure: &Failure) -> StepFailure {
    let text = format!("the machine is not as well as before: {}", failure.message);
    let mut told = Failure::new(Code::TakenBack, text);
    told.causes.clone_from(&failure.causes);
    told.into()
}

/// It is asked to stop: the step is begun again, or undone.
fn stopped() -> StepFailure {
    StepFailure {
        stopped: true,
        ..Failure::new(Code::Cancelled, "it was asked to stop").into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_way_that_there_is_has_to_lead_to_this_version() {
        let own = nixctl_proto::version();
        let said = |bus: &str, socket: &str| {
            let way = |name: &str, version: &str| match version {
                "" => format!(r#"{{"name":"{name}","version":null,"problem":"gone"}}"#),
                it => format!(r#"{{"name":"{name}","version":"{it}","problem":null}}"#),
            };
            let (bus, socket) = (way("bus", bus), way("socket", socket));
            format!(r#"{{"client":"x","transports":[{bus},{socket}]}}"#)
        };
        for (bus, socket, has_bus, expected) in [
            (own, own, true, None),
            ("", own, false, None),
            ("", own, true, Some("over the bus: gone")),
            (own, "", true, Some("over the socket: gone")),
            (own, "0.0.1", true, Some("over the socket 0.0.1 answers")),
        ] {
            assert_eq!(wrong(&said(bus, socket), has_bus).as_deref(), expected);
        }
        assert!(wrong("", true).is_some());
    }
}

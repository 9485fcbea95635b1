//! Operations as clients see them: identity, kind, state and a snapshot of the progress.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::failure::Failure;

/// Crockford's base 32, lower case: sorts as the numbers do and is safe in D-Bus paths.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Characters of the time part (50 bits of milliseconds since 1970).
const TIME_CHARS: usize = 10;
/// Characters of the random part.
const RANDOM_CHARS: usize = 6;

/// Identity of an operation: 16 characters that sort by the time it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperationId(String);

/// The text is not an operation id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an operation id (16 characters of 0-9 and a-z)")]
pub struct NotAnOperationId(pub String);

impl OperationId {
    /// Makes an id from milliseconds since 1970 and 30 random bits.
    pub fn from_parts(milliseconds: u64, random: u32) -> Self {
        let mut text = String::with_capacity(TIME_CHARS + RANDOM_CHARS);
        for place in (0..TIME_CHARS).rev() {
            text.push(ALPHABET[(milliseconds >> (5 * place)) as usize & 31] as char);
        }
        for place in (0..RANDOM_CHARS).rev() {
            text.push(ALPHABET[(random >> (5 * place)) as usize & 31] as char);
        }
        OperationId(text)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// D-Bus object path of the operation.
    pub fn object_path(&self) -> String {
        format!("{}{}", crate::OPERATION_PATH_PREFIX, self.0)
    }
}

impl FromStr for OperationId {
    type Err = NotAnOperationId;

    /// Accepts a bare id or its D-Bus object path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text
            .strip_prefix(crate::OPERATION_PATH_PREFIX)
            .unwrap_or(text);
        let right = bare.len() == TIME_CHARS + RANDOM_CHARS
            && bare.bytes().all(|byte| ALPHABET.contains(&byte));
        if right {
            Ok(OperationId(bare.to_owned()))
        } else {
            Err(NotAnOperationId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for OperationId {
    type Error = NotAnOperationId;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<OperationId> for String {
    fn from(id: OperationId) -> String {
        id.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an operation is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationKind {
    /// Puts Nix on the machine, or takes one over that is there.
    Install,
    /// Takes off what install put there.
    Uninstall,
    /// Puts the daemon itself (programs, units, bus and polkit files) on the machine.
    SelfInstall,
    /// Takes the daemon itself off.
    SelfUninstall,
    /// Moves the system to another generation.
    Switch,
    /// Moves the system back to an earlier generation.
    Rollback,
    /// Carries out remedies of findings.
    Repair,
    /// Replaces Nix by another version of it.
    Upgrade,
    /// Replaces nixctl itself by another version of it.
    SelfUpgrade,
}

impl OperationKind {
    /// The kind as it is spelled on D-Bus and the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            OperationKind::Install => "install",
            OperationKind::Uninstall => "uninstall",
            OperationKind::SelfInstall => "self-install",
            OperationKind::SelfUninstall => "self-uninstall",
            OperationKind::Switch => "switch",
            OperationKind::Rollback => "rollback",
            OperationKind::Repair => "repair",
            OperationKind::Upgrade => "upgrade",
            OperationKind::SelfUpgrade => "self-upgrade",
        }
    }
}

impl fmt::Display for OperationKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where an operation stands. The table of transitions is the engine's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationState {
    /// Accepted and stored; an earlier operation runs.
    Queued,
    /// Reading the machine and deciding what to do; nothing is changed.
    Planning,
    /// Waits for something named in [`OperationView::waiting_for`], then goes on by itself.
    Waiting,
    /// Carrying out its steps.
    Running,
    /// Everything is done; its health is watched for a while before it counts.
    Soaking,
    /// Making the result the default; no way back from here but a new operation.
    Committing,
    /// Done as asked.
    Succeeded,
    /// Undoing its steps, last one first.
    Reverting,
    /// Failed and undone: the machine is as before.
    Reverted,
    /// Failed before anything was changed.
    Failed,
    /// Cancelled; what had been done is undone.
    Cancelled,
    /// Failed and could not be undone completely: somebody must look.
    Attention,
}

impl OperationState {
    /// Every state, in the order of a normal life.
    pub const ALL: [OperationState; 12] = [
        OperationState::Queued,
        OperationState::Planning,
        OperationState::Waiting,
        OperationState::Running,
        OperationState::Soaking,
        OperationState::Committing,
        OperationState::Succeeded,
        OperationState::Reverting,
        OperationState::Reverted,
        OperationState::Failed,
        OperationState::Cancelled,
        OperationState::Attention,
    ];

    /// The state as it is spelled on D-Bus and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            OperationState::Queued => "queued",
            OperationState::Planning => "planning",
            OperationState::Waiting => "waiting",
            OperationState::Running => "running",
            OperationState::Soaking => "soaking",
            OperationState::Committing => "committing",
            OperationState::Succeeded => "succeeded",
            OperationState::Reverting => "reverting",
            OperationState::Reverted => "reverted",
            OperationState::Failed => "failed",
            OperationState::Cancelled => "cancelled",
            OperationState::Attention => "attention",
        }
    }

    /// Whether the operation has ended and will not move by itself.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            OperationState::Succeeded
                | OperationState::Reverted
                | OperationState::Failed
                | OperationState::Cancelled
                | OperationState::Attention
        )
    }
}

impl FromStr for OperationState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OperationState::ALL
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not the state of an operation"))
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A snapshot of one operation: everything a client needs to show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationView {
    /// Identity.
    pub id: OperationId,
    /// What it is for.
    pub kind: OperationKind,
    /// Where it stands.
    pub state: OperationState,
    /// What it waits for, when the state is `waiting` or `queued`.
    pub waiting_for: Option<String>,
    /// User id of who asked for it.
    pub requested_by: u32,
    /// Why, in the caller's words.
    pub reason: String,
    /// When it was asked for, milliseconds since 1970.
    pub created: u64,
    /// When it ended, milliseconds since 1970.
    pub finished: Option<u64>,
    /// Number of the step at work, from 1; 0 before the first.
    pub step: u32,
    /// How many steps there are; 0 while planning.
    pub steps: u32,
    /// What is being done right now.
    pub description: String,
    /// Bytes of the current step done so far; 0 when it does not count bytes.
    pub bytes_done: u64,
    /// Bytes of the current step in all; 0 when unknown.
    pub bytes_total: u64,
    /// Share of the whole that is done, 0 to 1.
    pub progress: f64,
    /// Whether cancelling is still possible.
    pub cancellable: bool,
    /// Why it failed, once it has.
    pub failure: Option<Failure>,
    /// What was left on purpose, each with the reason.
    pub kept: Vec<String>,
    /// What the user should know about the result (sandbox choice, times, adoption).
    pub notes: Vec<String>,
}

impl OperationView {
    /// Exit code of a client that waited for this operation to its end.
    pub fn exit(&self) -> crate::Exit {
        use crate::Exit;
        match self.state {
            OperationState::Succeeded => Exit::Done,
            OperationState::Attention => Exit::Attention,
            OperationState::Failed => match self.failure.as_ref().map(|f| f.code.exit()) {
                // Nothing was changed, whatever the same failure would mean later.
                Some(Exit::Failed) | None => Exit::Refused,
                Some(exit) => exit,
            },
            OperationState::Reverted | OperationState::Cancelled => Exit::Failed,
            OperationState::Queued
            | OperationState::Planning
            | OperationState::Waiting
            | OperationState::Running
            | OperationState::Soaking
            | OperationState::Committing
            | OperationState::Reverting => Exit::TimedOut,
        }
    }
}

/// One line of an operation's journal, for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalLine {
    /// Sequence number within the operation, from 0.
    pub sequence: u32,
    /// When it was written, milliseconds since 1970.
    pub time: u64,
    /// Record kind: planned, started, done, failed, undone, state, planning, paused, waiting,
    /// rebooted, superseded.
    pub record: String,
    /// Step number from 1, where the record is about a step.
    pub step: Option<u32>,
    /// What the step does, or what happened.
    pub text: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_sort_by_time_and_parse_back(a in 0u64..1 << 50, b in 0u64..1 << 50, r in any::<u32>()) {
            let (x, y) = (OperationId::from_parts(a, r), OperationId::from_parts(b, r));
            prop_assert_eq!(a.cmp(&b), x.cmp(&y));
            prop_assert_eq!(x.object_path().parse::<OperationId>().unwrap(), x);
        }
    }

    #[test]
    fn other_text_is_no_id() {
        for text in [
            "",
            "abc",
            "/org/nixctl1/operation/",
            "0123456789abcdeu",
            "../../../../etc/p",
        ] {
            assert!(text.parse::<OperationId>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_failed_before_a_change_is_a_refusal() {
        let exit = |state, code| {
            let failure = Failure::new(code, "cannot");
            let view = OperationView {
                id: OperationId::from_parts(0, 0),
                kind: OperationKind::Install,
                state,
                waiting_for: None,
                requested_by: 0,
                reason: String::new(),
                created: 0,
                finished: None,
                step: 0,
                steps: 0,
                description: String::new(),
                bytes_done: 0,
                bytes_total: 0,
                progress: 0.0,
                cancellable: false,
                failure: Some(failure),
                kept: Vec::new(),
                notes: Vec::new(),
            };
            view.exit()
        };
        use crate::{Code, Exit};
        let (failed, reverted) = (OperationState::Failed, OperationState::Reverted);
        assert_eq!(exit(failed, Code::ServiceFailed), Exit::Refused);
        assert_eq!(exit(failed, Code::NoSpace), Exit::Refused);
        assert_eq!(exit(failed, Code::InvalidArgument), Exit::Usage);
        assert_eq!(exit(reverted, Code::ServiceFailed), Exit::Failed);
        assert_eq!(
            exit(OperationState::Attention, Code::NoSpace),
            Exit::Attention
        );
    }

    #[test]
    fn states_parse_back() {
        for state in OperationState::ALL {
            assert_eq!(state.as_str().parse::<OperationState>().unwrap(), state);
        }
    }
}

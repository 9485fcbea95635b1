//! When a machine's turn for a release has come, decided on the machine: pure.
//!
//! Each machine has a position in [0, 1) for each release, drawn from a hash of both, so that other
//! machines are the first ones each time. A release admits a growing share of the machines; a
//! machine is admitted when its position is below the share. The same feed, the same machine and
//! the same moment always give the same answer, wherever it is computed: `testdata/rollout.json`
//! holds this to account. `docs/feed.md` has the formulas.

use nixctl_proto::date::Timestamp;
use nixctl_proto::feed::{Choice, Curve, Product, Release, Rollout, Version};
use sha2::{Digest, Sha256};

use super::machine::{AppId, MachineId};

/// The use of the machine's id for positions.
pub const ROLLOUT_ID: AppId = AppId::new(0xdb8d_4bb4_a6c1_401d_92c1_86e1_8608_5cd8);
/// Ephemeral machines (CI, containers) take this first part of the positions: all of them are
/// admitted when the share has reached it. One of them that breaks is thrown away.
pub const EPHEMERAL_PART: f64 = 0.1;
/// The version of what is hashed, first of it.
const PHASE: &str = "nixctl-phase-v1";
/// Bits of the hash that a floating point number holds exactly.
const POSITION_BITS: u32 = 53;

/// What a machine says of itself.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Its id; without one it shares its position with all others without one.
    pub id: Option<MachineId>,
    /// Whether it is one of many that live for a short time.
    pub is_ephemeral: bool,
    /// A position that somebody chose, from 0 to 1, for every release.
    pub wariness: Option<f64>,
}

/// A machine's place among all machines, in [0, 1): 0 is the first.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Position(f64);

impl Position {
    /// By chance, for a release and an id that was made for [`ROLLOUT_ID`].
    pub fn drawn(channel: &str, product: Product, version: &Version, id: &str) -> Position {
        let release = format!("{product}-{version}");
        let whole = [PHASE, channel, &release, id].join("\0");
        let digest = Sha256::digest(whole.as_bytes());
        let first = digest.iter().take(8);
        let number = first.fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let kept = number >> (u64::BITS - POSITION_BITS);
        Position(kept as f64 / (1u64 << POSITION_BITS) as f64)
    }

    /// A number from 0 to 1; 1 becomes the last position of all.
    pub fn chosen(number: f64) -> Position {
        Position(number.clamp(0.0, 1.0 - f64::EPSILON / 2.0))
    }

    /// The same among the ephemeral machines.
    pub fn ephemeral(self) -> Position {
        Position(self.0 * EPHEMERAL_PART)
    }

    /// The number.
    pub fn number(self) -> f64 {
        self.0
    }
}

impl Machine {
    /// Its position for a release: what was chosen, else what is drawn.
    pub fn position(&self, channel: &str, product: Product, version: &Version) -> Position {
        if let Some(number) = self.wariness {
            return Position::chosen(number);
        }
        let id = self.id.as_ref().map(|id| id.for_use(ROLLOUT_ID));
        let drawn = Position::drawn(channel, product, version, &id.unwrap_or_default());
        match self.is_ephemeral {
            true => drawn.ephemeral(),
            false => drawn,
        }
    }
}

/// Whether a machine may take a release now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Admission {
    /// It may.
    Admitted {
        /// Its position.
        position: Position,
        /// The share that is admitted.
        share: f64,
    },
    /// Its turn has not come.
    Later {
        /// Its position.
        position: Position,
        /// The share that is admitted.
        share: f64,
        /// When its turn comes, if nothing is changed; `None`: not by itself.
        about_when: Option<Timestamp>,
    },
    /// The release was withdrawn.
    Halted,
    /// The release is held for the time being.
    Paused,
}

impl Admission {
    /// Whether the release may be taken.
    pub fn is_admitted(&self) -> bool {
        matches!(self, Admission::Admitted { .. })
    }
}

impl std::fmt::Display for Admission {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let percent = |number: f64| format!("{:.1} %", number * 100.0);
        match self {
            Admission::Admitted { position, share } => write!(
                f,
                "its turn has come: {} of the machines may take it, and {} come before this one",
                percent(*share),
                percent(position.0),
            ),
            Admission::Later {
                position,
                share,
                about_when,
            } => {
                write!(
                    f,
                    "its turn has not come: {} of the machines may take it, and {} come before this one",
                    percent(*share),
                    percent(position.0),
                )?;
                match about_when {
                    Some(when) => write!(f, ", which may from {when} on"),
                    None => Ok(()),
                }
            }
            Admission::Halted => f.write_str("it was withdrawn"),
            Admission::Paused => f.write_str("it is held for the time being"),
        }
    }
}

/// The share of the machines that may take a release at a moment, from 0 to 1.
pub fn share(rollout: &Rollout, now: u64) -> f64 {
    let Some(elapsed) = now.checked_sub(rollout.start.seconds()) else {
        return 0.0;
    };
    let start_share = rollout.start_share.clamp(0.0, 1.0);
    let whole = rollout.minutes.saturating_mul(60);
    if whole == 0 {
        return start_share;
    }
    if elapsed >= whole {
        return 1.0;
    }
    let part = elapsed as f64 / whole as f64;
    let grown = match rollout.curve {
        Curve::Linear => part,
        Curve::Quadratic => part * part,
    };
    (start_share + (1.0 - start_share) * grown).min(1.0)
}

/// Whether a machine at this position may take a release now, and if not, why and until when.
pub fn admission(release: &Release, position: Position, now: u64) -> Admission {
    if release.halted {
        return Admission::Halted;
    }
    if release.paused {
        return Admission::Paused;
    }
    let share = share(&release.rollout, now);
    if position.0 < share {
        return Admission::Admitted { position, share };
    }
    Admission::Later {
        position,
        share,
        about_when: turn(&release.rollout, position).map(Timestamp::new),
    }
}

/// The first second at which a position is admitted; `None` when it never is by itself.
pub fn turn(rollout: &Rollout, position: Position) -> Option<u64> {
    let start = rollout.start.seconds();
    let start_share = rollout.start_share.clamp(0.0, 1.0);
    if position.0 < start_share {
        return Some(start);
    }
    if rollout.minutes == 0 {
        return None;
    }
    let whole = rollout.minutes.saturating_mul(60);
    // The position is not below the start's share, which therefore is less than 1.
    let grown = (position.0 - start_share) / (1.0 - start_share);
    let part = match rollout.curve {
        Curve::Linear => grown,
        Curve::Quadratic => grown.sqrt(),
    };
    let about = start.saturating_add((part * whole as f64) as u64);
    // What is rounded on the way is less than a second or two.
    let mut near = about.saturating_sub(2)..=about.saturating_add(2);
    near.find(|at| position.0 < share(rollout, *at))
        .or(Some(start.saturating_add(whole)))
}

/// What the rollouts of a feed leave of the releases that a machine may take at all.
#[derive(Debug, Clone, PartialEq)]
pub struct Offer<'a> {
    /// The newest release whose turn has come. It may be older than what the machine has.
    pub release: Option<&'a Release>,
    /// Every release that was looked at, the newest first, and what was decided: the offered one is
    /// the last.
    pub decisions: Vec<(&'a Release, Admission)>,
}

/// The newest release of a choice whose turn has come for this machine. While one is rolled out,
/// the one before it is offered to those that wait.
pub fn offer<'a>(choice: &Choice<'a>, channel: &str, machine: &Machine, now: u64) -> Offer<'a> {
    let mut decisions = Vec::new();
    for release in choice.usable.iter().copied() {
        let position = machine.position(channel, release.product, &release.version);
        let decided = admission(release, position, now);
        decisions.push((release, decided));
        if decided.is_admitted() {
            let release = Some(release);
            return Offer { release, decisions };
        }
    }
    Offer {
        release: None,
        decisions,
    }
}

#[cfg(test)]
#[path = "rollout_tests.rs"]
mod tests;

//! Inhibitors: programs that ask that no upgrade, or no switch, begins while they do something.
//!
//! Each is held by a file descriptor, one end of a pipe whose other end stays here: it stands until
//! its holder closes it or dies, and nobody has to remember to take it back. That is looked at when
//! somebody asks what stands. Nothing is ever sent through the pipe; when the daemon ends, its
//! holders read the end of it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nixctl_proto::Code;
use serde::{Deserialize, Serialize};

/// Inhibitors of one user at a time.
pub const MAX_PER_USER: usize = 16;
/// Inhibitors at a time.
pub const MAX_ALL: usize = 128;
/// Longest name of a holder, in characters.
pub const MAX_WHO: usize = 80;
/// Longest reason, in characters.
pub const MAX_WHY: usize = 300;

/// What is not to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Upgrades of Nix and of nixctl.
    Upgrade,
    /// Switches of the system.
    Switch,
    /// Both.
    All,
}

impl What {
    /// Every word that can be asked for.
    pub const ALL: [What; 3] = [What::Upgrade, What::Switch, What::All];

    /// The word used on D-Bus and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            What::Upgrade => "upgrade",
            What::Switch => "switch",
            What::All => "all",
        }
    }

    /// What a word means.
    pub fn parse(word: &str) -> Option<What> {
        What::ALL.into_iter().find(|what| what.as_str() == word)
    }

    /// Whether it stands against that.
    pub fn covers(self, other: What) -> bool {
        self == other || self == What::All || other == What::All
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An inhibitor that stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inhibitor {
    /// What is not to begin.
    pub what: What,
    /// Who says so, in their own words.
    pub who: String,
    /// Why.
    pub why: String,
    /// The user who took it.
    pub uid: u32,
}

impl fmt::Display for Inhibitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inhibitor {
            what,
            who,
            why,
            uid,
        } = self;
        let what = match what {
            What::All => "upgrades and switches",
            What::Upgrade => "upgrades",
            What::Switch => "switches",
        };
        write!(f, "{who} (user {uid}) holds up {what}: {why}")
    }
}

/// Why there is no inhibitor.
#[derive(Debug, thiserror::Error)]
pub enum InhibitError {
    /// The word for what is not to begin.
    #[error("cannot inhibit `{0}`: it is none of upgrade, switch and all")]
    What(String),
    /// A text is empty, too long or has control characters.
    #[error("cannot take the inhibitor: {field} must be 1 to {most} printable characters")]
    Text {
        /// Which one.
        field: &'static str,
        /// Characters that it may have.
        most: usize,
    },
    /// There are too many.
    #[error("cannot take the inhibitor: {whose} {most} stand already")]
    TooMany {
        /// Of whom.
        whose: &'static str,
        /// How many may.
        most: usize,
    },
    /// The operating system has no pipe.
    #[error("cannot take the inhibitor: {0}")]
    Pipe(#[from] io::Error),
}

impl InhibitError {
    /// Code for people and programs.
    pub fn code(&self) -> Code {
        match self {
            InhibitError::What(_) | InhibitError::Text { .. } => Code::InvalidArgument,
            InhibitError::TooMany { .. } => Code::TooMany,
            InhibitError::Pipe(_) => Code::FileFailed,
        }
    }
}

/// All inhibitors.
#[derive(Debug, Default)]
pub struct Inhibitors {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    last: u64,
    all: BTreeMap<u64, (Inhibitor, OwnedFd)>,
}

impl Inhibitors {
    /// Takes an inhibitor for a user, which stands as long as the file descriptor is open.
    ///
    /// # Errors
    /// A word or a text is wrong, or there are too many.
    pub fn take(
        &self,
        what: &str,
        who: &str,
        why: &str,
        uid: u32,
    ) -> Result<OwnedFd, InhibitError> {
        let inhibitor = Inhibitor {
            what: What::parse(what)
                .ok_or_else(|| InhibitError::What(what.chars().take(MAX_WHO).collect()))?,
            who: text("who", who, MAX_WHO)?,
            why: text("why", why, MAX_WHY)?,
            uid,
        };
        let mut held = self.held();
        held.let_go();
        held.has_room(uid)?;
        let (theirs, ours) = io::pipe()?;
        held.last += 1;
        let number = held.last;
        held.all.insert(number, (inhibitor, ours.into()));
        Ok(theirs.into())
    }

    /// Those that stand now, the oldest first.
    pub fn standing(&self) -> Vec<Inhibitor> {
        let mut held = self.held();
        held.let_go();
        held.all.values().map(|(it, _)| it.clone()).collect()
    }

    /// The oldest one that stands against something now.
    pub fn against(&self, what: What) -> Option<Inhibitor> {
        self.standing().into_iter().find(|it| it.what.covers(what))
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Forgets those whose holder has gone.
    fn let_go(&mut self) {
        self.all.retain(|_, (_, pipe)| !has_hung_up(pipe));
    }

    fn has_room(&self, uid: u32) -> Result<(), InhibitError> {
        let too_many = |whose, most| Err(InhibitError::TooMany { whose, most });
        let own = self.all.values().filter(|(it, _)| it.uid == uid).count();
        match (own, self.all.len()) {
            (MAX_PER_USER.., _) => too_many("of this user", MAX_PER_USER),
            (_, MAX_ALL..) => too_many("of all users", MAX_ALL),
            _ => Ok(()),
        }
    }
}

/// Whether nobody has the other end any more. When that cannot be told, somebody has.
fn has_hung_up(pipe: &OwnedFd) -> bool {
    let mut asked = [PollFd::new(pipe.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    poll(&mut asked, PollTimeout::ZERO).is_ok()
        && asked[0].revents().is_some_and(|seen| seen.intersects(gone))
}

fn text(field: &'static str, text: &str, most: usize) -> Result<String, InhibitError> {
    let is_printable = !text.trim().is_empty() && !text.chars().any(char::is_control);
    if is_printable && text.chars().nth(most).is_none() {
        return Ok(text.to_owned());
    }
    Err(InhibitError::Text { field, most })
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn take(all: &Inhibitors, what: &str, uid: u32) -> OwnedFd {
        all.take(what, "backup", "it copies /nix", uid).unwrap()
    }

    #[test]
    fn it_stands_as_long_as_somebody_holds_it() {
        let all = Inhibitors::default();
        let first = take(&all, "upgrade", 1000);
        let second = take(&all, "switch", 0);
        let standing: Vec<What> = all.standing().iter().map(|it| it.what).collect();
        assert_eq!(standing, [What::Upgrade, What::Switch]);
        let copy = first.try_clone().unwrap();
        drop(first);
        assert_eq!(all.standing().len(), 2);
        drop(copy);
        let standing = all.standing();
        assert_eq!(standing.len(), 1);
        assert_eq!((standing[0].what, standing[0].uid), (What::Switch, 0));
        drop(second);
        assert_eq!(all.standing(), []);
    }

    #[test]
    fn it_stands_against_what_it_names() {
        for (taken, upgrade, switch) in [
            ("upgrade", true, false),
            ("switch", false, true),
            ("all", true, true),
        ] {
            let all = Inhibitors::default();
            let held = take(&all, taken, 0);
            for (what, stands) in [(What::Upgrade, upgrade), (What::Switch, switch)] {
                assert_eq!(all.against(what).is_some(), stands, "{taken} {what}");
            }
            drop(held);
            assert_eq!(all.against(What::All), None);
        }
    }

    #[test]
    fn a_killed_holder_lets_go() {
        let all = Inhibitors::default();
        let held = take(&all, "all", 0);
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .stdin(held)
            .spawn()
            .unwrap();
        assert_eq!(all.standing().len(), 1);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(all.standing(), []);
    }

    #[test]
    fn its_holder_sees_the_daemon_end() {
        let all = Inhibitors::default();
        let mut held = std::fs::File::from(take(&all, "all", 0));
        drop(all);
        assert_eq!(held.read(&mut [0; 8]).unwrap(), 0);
    }

    #[test]
    fn there_is_a_limit_for_each_user_and_for_all() {
        let all = Inhibitors::default();
        let mut held = Vec::new();
        for uid in 0..MAX_ALL.div_ceil(MAX_PER_USER) {
            let uid = u32::try_from(uid).unwrap();
            for _ in 0..MAX_PER_USER {
                held.push(take(&all, "all", uid));
            }
            let error = all.take("all", "backup", "why", uid).unwrap_err();
            assert!(error.to_string().contains("of this user 16"), "{error}");
        }
        let error = all.take("all", "backup", "why", 99).unwrap_err();
        assert_eq!(error.code(), Code::TooMany);
        assert!(error.to_string().contains("of all users 128"), "{error}");
        // What was let go makes room.
        held.truncate(MAX_ALL - 1);
        take(&all, "all", 99);
    }

    #[test]
    fn words_and_texts_are_looked_at() {
        let all = Inhibitors::default();
        let long = "x".repeat(MAX_WHY + 1);
        for (what, who, why, part) in [
            ("shutdown", "a", "b", "cannot inhibit `shutdown`"),
            ("", "a", "b", "none of upgrade, switch and all"),
            ("all", "", "b", "who must be 1 to 80"),
            ("all", " ", "b", "who must be"),
            ("all", &long, "b", "who must be"),
            ("all", "a", "", "why must be 1 to 300"),
            ("all", "a", &long, "why must be"),
            ("all", "a", "b\nc", "printable"),
            ("all", "\u{1b}[2J", "b", "printable"),
        ] {
            let error = all.take(what, who, why, 0).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArgument);
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(all.take("all", &"ü".repeat(MAX_WHO), "b", 0).is_ok());
    }
}

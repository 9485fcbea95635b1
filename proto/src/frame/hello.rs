//! The greeting, and which protocol is spoken after it.
//!
//! Each side says the newest protocol that it knows, and the lower of both numbers is spoken. The
//! side with the higher one knows the older form and adapts; the other goes on with its own and
//! need not know that there is a newer one. Only a side whose newest is older than the oldest that
//! the other knows is refused, by that other, with the name of the program to upgrade.
//!
//! The form of the greeting, and of a refusal that is numbered 0, never changes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Newest protocol that is known here. It rises when an older peer would misread a message; the
/// older form is kept then. A new kind of message at the end of its list is no such change: who
/// does not know it says so. Recorded bytes hold each form (`proto/wire`).
pub const PROTOCOL: u32 = 1;

/// Oldest protocol that is known here: that of the version before.
pub const OLDEST_PROTOCOL: u32 = 1;

/// Most characters of a peer's version that are repeated.
const VERSION_SHOWN: usize = 40;

/// The first message of each side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest protocol that the sender knows.
    pub protocol: u32,
    /// Version of the sender, for messages to people.
    pub version: String,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// `nixctl`.
    Client,
    /// `nixctld`.
    Daemon,
}

/// A peer speaks only protocols that are not known here any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cannot talk to {peer} {version}: it speaks protocol {theirs} at most, and {ours} at least {oldest}",
    ours = peer.other(),
)]
pub struct TooOld {
    /// What the peer is.
    pub peer: Program,
    /// Its newest protocol.
    pub theirs: u32,
    /// Its version.
    pub version: String,
    /// The oldest protocol that is known here.
    pub oldest: u32,
}

impl Program {
    fn other(self) -> Program {
        match self {
            Program::Client => Program::Daemon,
            Program::Daemon => Program::Client,
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Program::Client => "nixctl",
            Program::Daemon => "nixctld",
        })
    }
}

impl TooOld {
    /// What to do about it.
    pub fn help(&self) -> String {
        match self.peer {
            Program::Client => "upgrade nixctl, the client".to_owned(),
            Program::Daemon => "upgrade nixctld; where its program is newer already, \
                                restart it: `systemctl restart nixctld`"
                .to_owned(),
        }
    }
}

impl Hello {
    /// What this program says.
    pub fn ours() -> Self {
        Hello {
            protocol: PROTOCOL,
            version: crate::version().to_owned(),
        }
    }

    /// The protocol that is spoken with the peer who said this.
    ///
    /// # Errors
    /// It knows none that is known here.
    pub fn spoken(&self, peer: Program) -> Result<u32, TooOld> {
        self.spoken_by(Hello::ours().protocol, OLDEST_PROTOCOL, peer)
    }

    /// The same for a side that knows these protocols.
    fn spoken_by(&self, newest: u32, oldest: u32, peer: Program) -> Result<u32, TooOld> {
        if self.protocol >= oldest {
            return Ok(self.protocol.min(newest));
        }
        Err(TooOld {
            peer,
            theirs: self.protocol,
            version: self.shown_version(),
            oldest,
        })
    }

    /// The peer's version, in a form that can be shown.
    pub fn shown_version(&self) -> String {
        let shown = self.version.chars().filter(|c| !c.is_control());
        shown.take(VERSION_SHOWN).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(protocol: u32) -> Hello {
        Hello {
            protocol,
            version: "0.3.0\u{1b}[31m".to_owned(),
        }
    }

    #[test]
    fn the_lower_of_both_is_spoken() {
        // What this side knows, what the peer says, what is spoken.
        for ((oldest, newest), theirs, spoken) in [
            ((1, 1), 1, Some(1)),
            ((1, 1), 2, Some(1)),
            ((1, 1), u32::MAX, Some(1)),
            ((1, 2), 1, Some(1)),
            ((1, 2), 2, Some(2)),
            ((2, 3), 4, Some(3)),
            ((2, 3), 1, None),
            ((1, 1), 0, None),
        ] {
            let found = hello(theirs).spoken_by(newest, oldest, Program::Client);
            assert_eq!(found.ok(), spoken, "{oldest}-{newest} and {theirs}");
        }
    }

    #[test]
    fn neighbours_agree_whoever_is_newer() {
        // Each version knows its own protocol and the one before.
        for older in 1..5 {
            let newer = older + 1;
            let at_older = hello(newer).spoken_by(older, older - 1, Program::Daemon);
            let at_newer = hello(older).spoken_by(newer, newer - 1, Program::Client);
            assert_eq!((at_older, at_newer), (Ok(older), Ok(older)));
        }
    }

    #[test]
    fn this_version_knows_what_it_says() {
        const { assert!(OLDEST_PROTOCOL <= PROTOCOL && PROTOCOL <= OLDEST_PROTOCOL + 1) };
        for peer in [Program::Client, Program::Daemon] {
            assert_eq!(Hello::ours().spoken(peer), Ok(PROTOCOL));
        }
    }

    #[test]
    fn too_old_says_who_is_to_be_upgraded() {
        let says = |peer| {
            let why = hello(1).spoken_by(3, 2, peer).unwrap_err();
            (why.to_string(), why.help())
        };
        let (text, help) = says(Program::Client);
        let expected = "cannot talk to nixctl 0.3.0[31m: it speaks protocol 1 at most, \
                        and nixctld at least 2";
        assert_eq!(text, expected);
        assert!(help.starts_with("upgrade nixctl,"), "{help}");
        let (text, help) = says(Program::Daemon);
        assert!(text.contains("and nixctl at least 2"), "{text}");
        assert!(help.starts_with("upgrade nixctld;"), "{help}");
    }
}

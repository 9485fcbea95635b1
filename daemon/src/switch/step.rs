//! The steps of a switch, as plain data for the journal.
//!
//! The same five functions as every step: describe, prepare, apply, undo (and `sync` after it). Each
//! may be cut off anywhere and run again from its top with the undo data of its first attempt.
//! ```text
//! for each step of the disk plan:  Fetch -> Compose -> Activate -> Prove -> SetDefault -> Release
//! at the end:                      Fetch -> Activate(target) -> Prove -> [Confirm] -> SetDefault(target) -> Release
//! ```
//! A generation is named by its store path, or, when the engine has not composed it yet, by the
//! number of the hybrid: then the link `ROOTS/hybrid-N` tells the path ([`SwitchStep::Compose`] makes it).

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Folder of a switch's GC roots: `/nix/var/nix/gcroots/nixctl/HASH`, HASH being the hash part of
/// the target's store path, so that a second try finds what the first one fetched.
pub const ROOTS: &str = "/nix/var/nix/gcroots/nixctl";

/// Name of the folder in it with roots of what the booted kernel needs.
pub const BOOTED: &str = "booted";

/// A toplevel that a step is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Toplevel {
    /// A store path.
    Path(String),
    /// The hybrid of this number, found through its GC root.
    Hybrid(u32),
}

/// One step of a switch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwitchStep {
    /// Deletes old generations of the profile (the links), then what only they needed.
    Forget(Forget),
    /// Brings store paths onto the disk, each held by a GC root, synced before they count.
    Fetch(FetchPaths),
    /// Composes a hybrid generation, held by a GC root.
    Compose(Compose),
    /// Makes a toplevel the running system: its `activate`, then the units that changed.
    Activate(Activate),
    /// Looks whether the machine is healthy, for a while.
    Prove(Prove),
    /// Waits until somebody confirms over a new connection, else fails.
    Confirm {
        /// Seconds to wait.
        seconds: u64,
    },
    /// Makes a toplevel the profile's newest generation and what the machine boots.
    SetDefault(SetDefault),
    /// Gives free what no bootable generation needs any more.
    Release(Release),
}

/// See [`SwitchStep::Forget`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forget {
    /// The profile, as `/nix/var/nix/profiles/system`.
    pub profile: PathBuf,
    /// Numbers of the generations whose links go, with the store path each pointed to.
    pub generations: Vec<(u64, String)>,
    /// What Nix deletes afterwards.
    pub paths: Vec<String>,
}

/// See [`SwitchStep::Fetch`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchPaths {
    /// Folder of the GC roots of this switch.
    pub roots: PathBuf,
    /// Store paths that must be there at the end, closures included.
    pub paths: Vec<String>,
    /// Bytes they take on the disk, those that are there already not counted.
    pub bytes: u64,
    /// Store to copy from; `None`: Nix's own substituters.
    pub from: Option<String>,
}

/// See [`SwitchStep::Compose`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compose {
    /// Folder of the GC roots of this switch.
    pub roots: PathBuf,
    /// Number of the hybrid, from 1.
    pub number: u32,
    /// The toplevel which everything that is not named below is taken from.
    pub base: Toplevel,
    /// The toplevel that is being switched to.
    pub target: String,
    /// Entries below `etc/` that are the target's, relative paths; those that the target lacks go.
    pub etc: Vec<String>,
    /// Names of unit files (and folders as `x.service.d`, `x.target.wants/y.service`) below `etc/systemd/system/` that are the target's.
    pub units: Vec<String>,
    /// Packages of `sw`: all store paths, in the order of precedence; empty: the base's `sw` as it is.
    pub packages: Vec<String>,
    /// Its name for people, as `12 of 40 components`.
    pub label: String,
    /// Store that the target's link trees are read from; `None`: Nix's own substituters.
    pub from: Option<String>,
    /// Entries below `etc/`, units among them, that the hybrid does without: what is stopped for a
    /// while because its room is needed.
    pub absent: Vec<String>,
}

/// See [`SwitchStep::Activate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activate {
    /// Folder of the GC roots of this switch.
    pub roots: PathBuf,
    /// What is running before.
    pub from: Toplevel,
    /// What runs afterwards.
    pub to: Toplevel,
    /// Whether the toplevel's own `switch-to-configuration` does it (the target, at the end).
    pub own_program: bool,
    /// Seconds for the whole of it.
    pub seconds: u64,
}

/// See [`SwitchStep::Prove`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prove {
    /// Seconds for which everything must stay well.
    pub window_seconds: u64,
    /// Units that must not be failed or restarting by themselves.
    pub units: Vec<String>,
    /// Probes from the settings that belong to what was changed.
    pub probes: Vec<Probe>,
}

/// A probe from the settings, `[[switch.probes]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// For people.
    pub name: String,
    /// Unit that it is about; empty: the machine, probed after every step.
    pub unit: String,
    /// What is tried.
    pub kind: ProbeKind,
    /// Seconds for one try.
    pub seconds: u64,
}

/// What a probe tries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeKind {
    /// A program and its arguments must end with 0.
    Command(Vec<String>),
    /// `HOST:PORT` must take a connection.
    Tcp(String),
    /// An http(s) URL must answer with 2xx or 3xx.
    Http(String),
    /// A Unix socket must take a connection.
    Unix(PathBuf),
}

/// See [`SwitchStep::SetDefault`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDefault {
    /// Folder of the GC roots of this switch.
    pub roots: PathBuf,
    /// The profile.
    pub profile: PathBuf,
    /// What becomes the default.
    pub toplevel: Toplevel,
    /// Whether it is only a step on the way: its generation is marked, and goes at the end.
    pub hybrid: bool,
}

/// See [`SwitchStep::Release`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Folder of the GC roots of this switch.
    pub roots: PathBuf,
    /// The profile, of which generations go that are not the default.
    pub profile: PathBuf,
    /// Store paths of toplevels whose generations and roots go (the step before, hybrids at the end).
    pub toplevels: Vec<Toplevel>,
    /// Names of links in `roots` that go.
    pub links: Vec<String>,
    /// Store paths that Nix is to delete, when nothing uses them.
    pub paths: Vec<String>,
    /// Where undoing fetches them from again; `None`: Nix's own substituters.
    pub from: Option<String>,
}

/// What undoing a step of a switch needs, read before its first attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SwitchUndo {
    /// Links in the roots folder that were there before, and store paths that were valid.
    Fetch {
        /// Names of links.
        links: Vec<String>,
        /// Store paths of the step that were there.
        valid: Vec<String>,
    },
    /// Where the profile's links pointed: number and store path each, and the current one.
    Default {
        /// Generations.
        generations: Vec<(u64, String)>,
        /// The current generation.
        current: u64,
        /// Store path that was the boot default.
        booted: String,
    },
    /// The running system before, what is done with which unit, and in which boot.
    Activate {
        /// Store path of the running system before.
        running: String,
        /// Identity of the boot: another one has undone the step by itself.
        boot: String,
        /// What is done with which unit and what ran before, as JSON of [`crate::switch::activate::Recorded`].
        decisions: String,
    },
    /// Links and generations as they were.
    Release {
        /// Links in the roots folder: name and target each.
        links: Vec<(String, String)>,
        /// Generations of the profile: number and store path each.
        generations: Vec<(u64, String)>,
    },
    /// When waiting began, and in which boot.
    Waiting {
        /// Milliseconds by the clock of that boot.
        since: u64,
        /// Identity of the boot.
        boot: String,
    },
}

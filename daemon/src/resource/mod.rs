//! Everything nixctl owns on a machine, one kind a file, as plain data.
//!
//! A resource knows how to `describe` itself, `probe` the machine, `prepare` (read what undoing
//! will need, *before* anything changes; it goes into the journal with the record `Started`),
//! `apply`, `verify` and `undo`. All are idempotent: after a crash `apply` and `undo` run again
//! from the top with the same [`Undo`]. Install applies the catalogue in order, check probes it,
//! uninstall undoes it backwards with the undo data that install recorded.

pub mod block;
pub mod directory;
pub mod error;
pub mod file;
pub mod group;
pub(crate) mod nix_command;
pub mod nix_conf;
#[cfg(test)]
pub(crate) mod nix_testing;
pub mod nix_tree;
pub mod payload;
pub mod profile;
pub mod program;
pub mod registration;
mod removal;
pub(crate) mod saved;
pub mod selinux;
pub mod service;
#[cfg(test)]
pub(crate) mod testing;
pub mod tmpfiles;
mod user_tools;
pub mod users;
mod words;

use serde::{Deserialize, Serialize};

pub use error::ResourceError;

use crate::host::{Cancel, Host};

/// Result of everything a resource does.
pub type Result<T> = std::result::Result<T, ResourceError>;

/// One thing on the machine that nixctl owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resource {
    /// A folder.
    Directory(directory::Directory),
    /// A file whose whole content is ours.
    File(file::File),
    /// A marked block at the beginning of somebody else's file.
    Block(block::Block),
    /// A group without members.
    Group(group::Group),
    /// The build users and their group.
    BuildUsers(users::BuildUsers),
    /// The folders below /nix.
    NixTree(nix_tree::NixTree),
    /// The store paths of a release.
    Payload(payload::Payload),
    /// Those store paths in Nix's database.
    Registration(registration::Registration),
    /// The profile that holds Nix itself.
    Profile(profile::Profile),
    /// Our settings in nix.conf.
    NixConf(nix_conf::NixConf),
    /// Units that are enabled and started.
    Service(service::Service),
    /// A tmpfiles.d file, applied.
    Tmpfiles(tmpfiles::Tmpfiles),
    /// SELinux policy module and labels.
    Selinux(selinux::Selinux),
    /// A program copied from another place.
    Program(program::Program),
}

/// What a probe saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Presence {
    /// As it should be.
    Present,
    /// Not there.
    Absent,
    /// There, ours, but different: what was seen and what was expected.
    Drifted(String),
    /// Something there that is not ours.
    Foreign(String),
}

/// What undoing a resource needs, read before it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undo {
    /// It was as it should be before and is not taken away.
    Nothing,
    /// It was not there: undoing takes it away.
    Created,
    /// A file or link was there: undoing puts it back.
    File(file::SavedFile),
    /// Which entries of a folder were there before; undoing takes away the others.
    Entries(Vec<String>),
    /// Which users and groups are new.
    Users(users::UsersUndo),
    /// What was changed in nix.conf.
    NixConf(nix_conf::NixConfUndo),
    /// How the units were before.
    Service(service::ServiceUndo),
    /// Mode and owner of what is taken away, which making it again would not know.
    Rights(file::Rights),
    /// Where a block stands.
    Block(block::BlockUndo),
    /// What a step of a switch changes.
    Switch(crate::switch::step::SwitchUndo),
}

/// How undoing ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Undone {
    /// The machine is as before in this respect.
    Clean,
    /// Something was left on purpose: what and why, one sentence.
    Kept(String),
    /// The operating system did not let something go: a sentence for each path.
    Left(Vec<String>),
}

impl Undone {
    /// What was left, a sentence each.
    pub fn into_kept(self) -> Vec<String> {
        match self {
            Undone::Clean => Vec::new(),
            Undone::Kept(text) => vec![text],
            Undone::Left(lines) => lines,
        }
    }
}

/// One line for people, and more on request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// Stable name, such as `file:/etc/nix/nix.conf`.
    pub id: String,
    /// Imperative: "create the directory /nix".
    pub summary: String,
    /// More lines: contents, commands, reasons.
    pub details: Vec<String>,
}

/// Told how far a long step is.
pub trait Progress: Send + Sync {
    /// Bytes done, and bytes in all (0: unknown).
    fn bytes(&self, done: u64, total: u64);
    /// Something the user should know about the result.
    fn note(&self, text: &str);
}

/// Progress that nobody follows.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn bytes(&self, _done: u64, _total: u64) {}
    fn note(&self, _text: &str) {}
}

/// What a step works with.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The machine.
    pub host: &'a Host,
    /// Told how far it is.
    pub progress: &'a dyn Progress,
    /// Asked whether to stop.
    pub cancel: &'a Cancel,
    /// Starts heavy work in a child, or here.
    pub worker: &'a dyn crate::payload::worker::Worker,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

macro_rules! each {
    ($self:expr, $it:ident => $call:expr) => {
        match $self {
            Resource::Directory($it) => $call,
            Resource::File($it) => $call,
            Resource::Block($it) => $call,
            Resource::Group($it) => $call,
            Resource::BuildUsers($it) => $call,
            Resource::NixTree($it) => $call,
            Resource::Payload($it) => $call,
            Resource::Registration($it) => $call,
            Resource::Profile($it) => $call,
            Resource::NixConf($it) => $call,
            Resource::Service($it) => $call,
            Resource::Tmpfiles($it) => $call,
            Resource::Selinux($it) => $call,
            Resource::Program($it) => $call,
        }
    };
}

impl Resource {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        each!(self, it => it.describe())
    }

    /// What taking it off does, for people.
    pub fn describe_removal(&self, made: &Undo) -> Description {
        Description {
            summary: words::removal(self, made),
            ..self.describe()
        }
    }

    /// What it is, in the words of a list: "the file /etc/nix/nix.conf".
    pub fn thing(&self) -> String {
        words::thing(self)
    }

    /// Whether it is on the machine as it should be. Changes nothing.
    ///
    /// # Errors
    /// When the machine cannot be read.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        each!(self, it => it.probe(host))
    }

    /// Reads what undoing will need. Changes nothing.
    ///
    /// # Errors
    /// When the machine cannot be read, or what is there may not be replaced.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        each!(self, it => it.prepare(host))
    }

    /// Makes it so. Idempotent, also when an earlier attempt was cut off anywhere.
    ///
    /// # Errors
    /// When it could not be done; then `undo` is called.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        each!(self, it => it.apply(context, undo))
    }

    /// Reads the result back.
    ///
    /// # Errors
    /// [`ResourceError::Drifted`] when it is not as it should be.
    pub fn verify(&self, host: &Host) -> Result<()> {
        match self.probe(host)? {
            Presence::Present => Ok(()),
            Presence::Absent => Err(ResourceError::Drifted {
                id: self.describe().id,
                seen: "nothing is there".to_owned(),
            }),
            Presence::Drifted(seen) | Presence::Foreign(seen) => Err(ResourceError::Drifted {
                id: self.describe().id,
                seen,
            }),
        }
    }

    /// Reads what [`Resource::restore`] will need once it was taken away. Changes nothing.
    ///
    /// # Errors
    /// When the machine cannot be read.
    pub fn prepare_removal(&self, host: &Host) -> Result<Undo> {
        match self {
            Resource::File(it) => it.prepare_removal(host),
            Resource::Tmpfiles(it) => it.prepare_removal(host),
            Resource::Directory(it) => it.prepare_removal(host),
            Resource::Program(it) => it.prepare_removal(host),
            Resource::NixConf(it) => it.prepare_removal(host),
            Resource::Block(it) => it.prepare_removal(host),
            other => Ok(match other.probe(host)? {
                Presence::Absent => Undo::Nothing,
                Presence::Present | Presence::Drifted(_) | Presence::Foreign(_) => Undo::Created,
            }),
        }
    }

    /// Takes it off with the undo data of its making, as [`Resource::undo`] does, such that
    /// [`Resource::restore`] can bring it back.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn take_away(&self, context: &Context<'_>, made: &Undo) -> Result<Undone> {
        match self {
            Resource::Program(it) => it.take_away(context, made),
            other => other.undo(context, made),
        }
    }

    /// Brings back what was taken away, from the undo data of its making and from what
    /// [`Resource::prepare_removal`] read. Idempotent.
    ///
    /// # Errors
    /// When it could not be done; [`ResourceError::Foreign`] when something else came into its
    /// place or never left it.
    pub fn restore(&self, context: &Context<'_>, made: &Undo, taken: &Undo) -> Result<()> {
        if *made == Undo::Nothing || *taken == Undo::Nothing {
            return Ok(());
        }
        match (self, taken) {
            (Resource::File(it), Undo::Rights(rights)) => it.restore(context, made, *rights),
            (Resource::Tmpfiles(it), Undo::Rights(rights)) => it.restore(context, made, *rights),
            (Resource::Directory(it), Undo::Rights(rights)) => it.restore(context, made, *rights),
            (Resource::Program(it), Undo::Rights(rights)) => it.restore(context, *rights),
            (Resource::NixConf(it), Undo::Rights(rights)) => it.restore(context, made, *rights),
            (Resource::Block(it), Undo::Block(place)) => it.restore(context, place),
            (other, _) => {
                other.apply(context, made)?;
                other.verify(context.host)
            }
        }
    }

    /// Takes it back to what `prepare` saw, keeping what users changed since. Idempotent, and
    /// safe when `apply` never ran or was cut off.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        each!(self, it => it.undo(context, undo))
    }
}

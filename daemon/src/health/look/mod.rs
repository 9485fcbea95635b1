//! Reads the facts of one area of the machine. Changes nothing.
//!
//! Everything goes through [`Host`]: files are opened without following links and read up to a
//! bound, every command has a deadline. What comes out is plain data that [`super::judge`] turns
//! into findings; what is wrong is decided there and not here.

pub mod accounts;
pub mod conf;
pub mod daemon;
pub mod database;
mod homes;
pub mod leftovers;
pub mod managed;
pub mod mounts;
pub mod operations;
pub mod owned;
pub mod security;
pub mod shells;
pub mod space;
pub mod tls;
pub mod tree;
pub mod upgrade;
pub mod versions;

use std::path::{Path, PathBuf};

use nixctl_proto::health::check::Area;
use nixctl_proto::settings::Settings;

use crate::catalogue::linux::SOCKET_UNIT;
use crate::catalogue::own;
use crate::host::accounts::AccountsError;
use crate::host::fs::{Kind, Meta};
use crate::host::{Cancel, ExecError, Fs, FsError, Host, ServiceError};
use crate::payload::{Archive, Manifest, Release};
use crate::resource::nix_conf::NixConf;
use crate::resource::nix_tree::NixTree;
use crate::resource::profile::Profile;
use crate::resource::registration::Registration;
use crate::resource::service::Service;
use crate::resource::users::BuildUsers;
use crate::resource::{Resource, ResourceError};

/// Why an area could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A command.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// The service manager.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// Something that nixctl owns.
    #[error(transparent)]
    Resource(#[from] ResourceError),
}

impl LookError {
    /// Whether it ended because it was asked to.
    pub fn is_stopped(&self) -> bool {
        match self {
            LookError::Exec(ExecError::Stopped { .. }) => true,
            LookError::Fs(error) => error.is_stopped(),
            LookError::Resource(error) => error.is_stopped(),
            LookError::Exec(_) | LookError::Service(_) => false,
        }
    }
}

impl From<AccountsError> for LookError {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::Fs(error) => error.into(),
            AccountsError::Exec(error) => error.into(),
        }
    }
}

/// Result of a look.
pub type Result<T> = std::result::Result<T, LookError>;

/// What is looked at, and what is known of it before.
#[derive(Debug, Clone, Copy)]
pub struct Scene<'a> {
    /// The machine.
    pub host: &'a Host,
    /// What nixctl owns, in the order of making.
    pub owned: &'a [Resource],
    /// Where the releases among that were fetched from.
    pub fetched: &'a [Release],
    /// Whether what takes long is looked at as well: the contents of databases, the sizes of all
    /// files of Nix, and what Nix says of its settings.
    pub is_deep: bool,
    /// Operations that are not over.
    pub operations: &'a [operations::Open],
    /// What cannot be watched between two rounds, and why.
    pub unwatched: Option<&'a str>,
    /// What is known of the release feed.
    pub feed: &'a upgrade::FeedFacts,
    /// Settings in force.
    pub settings: &'a Settings,
    /// Asked whether to stop.
    pub cancel: &'a Cancel,
}

impl<'a> Scene<'a> {
    /// A quick look at a machine of which nothing is known.
    pub fn bare(host: &'a Host, settings: &'a Settings, cancel: &'a Cancel) -> Scene<'a> {
        Scene {
            host,
            owned: &[],
            fetched: &[],
            is_deep: false,
            operations: &[],
            unwatched: None,
            feed: &NO_FEED,
            settings,
            cancel,
        }
    }
}

/// That there is no release feed.
pub(crate) static NO_FEED: upgrade::FeedFacts = upgrade::FeedFacts {
    feed: String::new(),
    offered: None,
    current: String::new(),
    trouble: None,
    now: 0,
    follow: upgrade::FollowFacts {
        feed: String::new(),
        trouble: None,
        group: String::new(),
        blocked: None,
    },
};

/// Whether something should be mounted at /nix or below, and is not.
///
/// # Errors
/// When that cannot be told.
pub fn is_store_away(scene: &Scene<'_>) -> Result<bool> {
    mounts::is_mount_missing(scene)
}

/// What the owned resources say the machine should have.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Expected {
    /// The folders below /nix.
    pub tree: Option<NixTree>,
    /// The build users.
    pub users: Option<BuildUsers>,
    /// The units of nix-daemon.
    pub service: Option<Service>,
    /// The profile that holds Nix.
    pub profile: Option<Profile>,
    /// Nix's own paths in the database.
    pub registration: Option<Registration>,
    /// Settings.
    pub conf: Option<NixConf>,
    /// What the release holds.
    pub manifest: Option<Manifest>,
    /// Archives that were unpacked.
    pub archives: Vec<Archive>,
}

impl Expected {
    fn of(scene: &Scene<'_>) -> Result<Expected> {
        let mut expected = Expected::default();
        for resource in scene.owned {
            match resource {
                Resource::NixTree(it) => expected.tree = Some(it.clone()),
                Resource::BuildUsers(it) => expected.users = Some(it.clone()),
                Resource::Service(it) if it.enable.iter().any(|unit| unit == SOCKET_UNIT) => {
                    expected.service = Some(it.clone());
                }
                Resource::Profile(it) => {
                    expected.manifest = Manifest::load(&scene.host.fs, &it.sha256)?;
                    expected.profile = Some(it.clone());
                }
                Resource::Registration(it) => expected.registration = Some(it.clone()),
                Resource::Payload(it) => expected.archives.push(it.archive.clone()),
                Resource::NixConf(it) => expected.conf = Some(it.clone()),
                _ => {}
            }
        }
        // Of several releases the one in use: a newer Nix that is asked takes the database over.
        let in_use = expected.profile.as_ref().map(|it| &it.sha256);
        let of_it = scene.owned.iter().find_map(|resource| match resource {
            Resource::Registration(it) if Some(&it.sha256) == in_use => Some(it.clone()),
            _ => None,
        });
        expected.registration = of_it.or(expected.registration);
        Ok(expected)
    }
}

/// The facts of one area.
#[derive(Debug, Clone, PartialEq)]
pub enum Facts {
    /// Of [`Area::Mounts`].
    Mounts(Box<mounts::MountFacts>),
    /// Of [`Area::Daemon`].
    Daemon(Box<daemon::DaemonFacts>),
    /// Of [`Area::Own`].
    Own {
        /// Each thing.
        things: Vec<owned::OwnedFact>,
        /// What cannot be watched, and why.
        unwatched: Option<String>,
    },
    /// Of [`Area::Tree`].
    Tree(Box<tree::TreeFacts>),
    /// Of [`Area::Accounts`].
    Accounts(Box<accounts::AccountFacts>),
    /// Of [`Area::Conf`].
    Conf(Box<conf::ConfFacts>),
    /// Of [`Area::Database`].
    Database(Box<database::DatabaseFacts>),
    /// Of [`Area::Tls`].
    Tls(tls::TlsFacts),
    /// Of [`Area::Shells`].
    Shells(Vec<owned::OwnedFact>),
    /// Of [`Area::Managed`].
    Managed(managed::ManagedFacts),
    /// Of [`Area::Versions`].
    Versions(versions::VersionFacts),
    /// Of [`Area::Leftovers`].
    Leftovers(leftovers::LeftoverFacts),
    /// Of [`Area::Space`].
    Space(Vec<space::SpaceFact>),
    /// Of [`Area::Selinux`].
    Selinux(Box<security::SelinuxFacts>),
    /// Of [`Area::Sandbox`].
    Sandbox(security::SandboxFacts),
    /// Of [`Area::Clock`]: milliseconds since 1970.
    Clock(u64),
    /// Of [`Area::Operations`].
    Operations(Vec<operations::Open>),
    /// Of [`Area::Upgrade`].
    Upgrade(upgrade::FeedFacts),
}

/// Reads the facts of one area.
///
/// # Errors
/// When something could not be read, or a program did not answer in time.
pub fn look(scene: &Scene<'_>, area: Area) -> Result<Facts> {
    let expected = Expected::of(scene)?;
    Ok(match area {
        Area::Mounts => Facts::Mounts(Box::new(mounts::look(scene)?)),
        Area::Daemon => Facts::Daemon(Box::new(daemon::look(scene, &expected)?)),
        Area::Own => {
            let mut things = owned::look(scene, owned::is_own_area);
            things.extend(owned::state(scene));
            let unwatched = scene.unwatched.map(str::to_owned);
            Facts::Own { things, unwatched }
        }
        Area::Tree => Facts::Tree(Box::new(tree::look(scene, &expected)?)),
        Area::Accounts => Facts::Accounts(Box::new(accounts::look(scene, &expected)?)),
        Area::Conf => Facts::Conf(Box::new(conf::look(scene, &expected)?)),
        Area::Database => Facts::Database(Box::new(database::look(scene, &expected)?)),
        Area::Tls => Facts::Tls(tls::look(scene)?),
        Area::Shells => Facts::Shells(owned::look(scene, shells::is_shell_area)),
        Area::Managed => Facts::Managed(managed::look(scene)?),
        Area::Versions => Facts::Versions(versions::look(scene, &expected)?),
        Area::Leftovers => Facts::Leftovers(leftovers::look(scene, &expected)?),
        Area::Space => Facts::Space(space::look(scene, &expected)?),
        Area::Selinux => Facts::Selinux(Box::new(security::selinux(scene, &expected)?)),
        Area::Sandbox => Facts::Sandbox(security::sandbox(scene, &expected)?),
        Area::Clock => Facts::Clock(scene.host.clock.now()),
        Area::Operations => Facts::Operations(scene.operations.to_vec()),
        Area::Upgrade => Facts::Upgrade(scene.feed.clone()),
    })
}

/// What is at a path, links not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The path.
    pub path: PathBuf,
    /// What is there.
    pub meta: Option<Meta>,
    /// Where it leads, when it is a link.
    pub target: Option<PathBuf>,
}

impl At {
    fn look(fs: &Fs, path: impl Into<PathBuf>) -> Result<At> {
        let path = path.into();
        let meta = fs.meta(&path)?;
        let target = match meta {
            Some(meta) if meta.kind == Kind::Link => fs.read_link(&path)?,
            _ => None,
        };
        Ok(At { path, meta, target })
    }

    /// Whether there is a folder.
    pub fn is_directory(&self) -> bool {
        self.meta.is_some_and(|meta| meta.kind == Kind::Directory)
    }

    /// Whether there is a regular file.
    pub fn is_file(&self) -> bool {
        self.meta.is_some_and(|meta| meta.kind == Kind::File)
    }
}

/// Text of a small regular file; `None` when there is none. Damaged characters are replaced.
fn text(fs: &Fs, path: &Path, limit: u64) -> Result<Option<String>> {
    let bytes = fs.read(path, limit)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Whether a resource belongs to the daemon itself.
fn is_daemons_own(resource: &Resource) -> bool {
    own::is_own(resource)
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    /// Looks at one area of a machine that owns these things.
    pub(crate) fn look_at(machine: &Machine, owned: &[Resource], area: Area) -> Facts {
        let (host, settings, cancel) = (machine.host(), Settings::default(), Cancel::default());
        let scene = Scene {
            owned,
            is_deep: true,
            ..Scene::bare(&host, &settings, &cancel)
        };
        look(&scene, area).unwrap()
    }
}

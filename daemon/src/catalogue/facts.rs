//! Facts: everything about the machine that decisions are made from, read once, changed never.
//!
//! Reading has no side effects, and every question to another program has a deadline. What comes
//! after is a pure function of these data. Two facts need the network and are filled in by the
//! caller: [`Facts::clock_skew`] and [`Facts::network`]. Paths and their meaning: the installers
//! that are in use today (the official script, Determinate's and its fork).

pub mod accounts;
pub mod leftovers;
pub mod links;
pub mod places;
pub mod sandbox;
pub mod security;
pub mod shells;
pub mod system;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nixctl_proto::settings::InstallSettings;
use nixctl_proto::{Code, Failure};

pub use accounts::{BuildUsersFact, IdRange};
pub use leftovers::{Leftover, LeftoverKind};
pub use places::{NixDir, Place, Places};
pub use sandbox::SandboxFact;
pub use security::Selinux;
pub use shells::{RcFile, RcState};
pub use system::{Manager, OsRelease, System, Wsl};

use super::existing::{self, Existing};
use crate::engine::Owned;
use crate::host::accounts::AccountsError;
use crate::host::{Cancel, ExecError, FsError, Host, mounts};
use crate::resource::Resource;
use crate::upgrade;

/// Largest list of mounts that is read.
const MOUNTS_LIMIT: u64 = 8 << 20;

/// What is known of the machine.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// What nixctl owns already.
    pub owned: Vec<Resource>,
    /// Wall clock, milliseconds since 1970.
    pub now: u64,
    /// Seconds that the release server's clock is ahead of ours, once it was asked.
    pub clock_skew: Option<i64>,
    /// Why the release cannot be fetched, once that was tried.
    pub network: Option<Failure>,
    /// Kind of system.
    pub system: System,
    /// Room and write protection.
    pub places: Places,
    /// What is at /nix.
    pub nix_dir: NixDir,
    /// An installation of Nix that is not ours.
    pub existing: Option<Existing>,
    /// What earlier installations left behind.
    pub leftovers: Vec<Leftover>,
    /// Shells that are installed: `sh`, `bash`, `zsh`, `fish`.
    pub shells: Vec<String>,
    /// Their start-up files.
    pub rc_files: Vec<RcFile>,
    /// Whether /etc/fish is there.
    pub fish_dir: bool,
    /// The machine's CA bundle.
    pub ca_bundle: Option<PathBuf>,
    /// SELinux.
    pub selinux: Selinux,
    /// Tools for users and groups that are installed.
    pub tools: BTreeSet<String>,
    /// User ids that exist in this user namespace.
    pub uid_map: Vec<IdRange>,
    /// Group ids that exist in this user namespace.
    pub gid_map: Vec<IdRange>,
    /// Build users and taken ids.
    pub build_users: BuildUsersFact,
    /// Whether Nix's sandbox can work.
    pub sandbox: SandboxFact,
}

/// Why the facts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FactsError {
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A command.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

impl FactsError {
    /// The error for people, with its code.
    pub fn failure(&self) -> Failure {
        let code = match self {
            FactsError::Fs(_) => Code::FileFailed,
            FactsError::Exec(ExecError::Stopped { .. }) => Code::Cancelled,
            FactsError::Exec(_) => Code::CommandFailed,
        };
        Failure::from_error(code, self)
    }

    /// Whether the reading ended because it was asked to.
    pub fn is_stopped(&self) -> bool {
        matches!(self, FactsError::Exec(ExecError::Stopped { .. }))
    }
}

impl From<AccountsError> for FactsError {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::Fs(error) => error.into(),
            AccountsError::Exec(error) => error.into(),
        }
    }
}

impl Facts {
    /// Reads the machine, or an image of one.
    ///
    /// # Errors
    /// When a file cannot be read, or when it was asked to stop.
    pub fn read(
        host: &Host,
        settings: &InstallSettings,
        owned: &[Owned],
        cancel: &Cancel,
    ) -> Result<Facts, FactsError> {
        Facts::read_as(host, host.is_image(), settings, owned, cancel)
    }

    fn read_as(
        host: &Host,
        image: bool,
        settings: &InstallSettings,
        owned: &[Owned],
        cancel: &Cancel,
    ) -> Result<Facts, FactsError> {
        let fs = &host.fs;
        let mount_lines = links::read_text(fs, Path::new(mounts::MOUNTINFO), MOUNTS_LIMIT)?;
        let mounts = mounts::parse(&mount_lines.unwrap_or_default());
        let system = system::read(host, image, &mounts)?;
        let nix_dir = places::nix_dir(fs, &mounts)?;
        let rc_files = shells::rc_files(fs)?;
        let owned: Vec<Resource> = owned.iter().map(|owned| owned.resource.clone()).collect();
        let ours = paths(&owned);
        let owns_nix = owned
            .iter()
            .any(|resource| matches!(resource, Resource::NixTree(_)));
        let existing = match (owns_nix, system.nixos) {
            (false, false) => existing::read(fs, &nix_dir, &rc_files, settings)?,
            _ => None,
        };
        let sandbox = if image {
            SandboxFact {
                enabled: true,
                reason: "it cannot be tried in an image; Nix's own default stays".to_owned(),
            }
        } else {
            sandbox::probe(host, cancel)?
        };
        Ok(Facts {
            now: host.clock.now(),
            clock_skew: None,
            network: None,
            places: places::read(fs)?,
            leftovers: leftovers::read(fs, &rc_files, &ours)?,
            shells: shells::shells(fs)?,
            fish_dir: links::exists(fs, Path::new("/etc/fish"))?,
            ca_bundle: shells::ca_bundle(fs)?,
            selinux: security::read(host, image)?,
            tools: accounts::tools(host),
            uid_map: accounts::id_map(host, "uid_map")?,
            gid_map: accounts::id_map(host, "gid_map")?,
            build_users: accounts::read(host, image, settings, cancel)?,
            system,
            nix_dir,
            existing,
            rc_files,
            sandbox,
            owned,
        })
    }

    /// Whether nixctl owns a Nix here, and the version of it when that is recorded.
    pub fn owned_version(&self) -> Option<&str> {
        upgrade::owned::current(self.owned.iter()).map(|it| it.version.as_str())
    }

    /// Whether this is an image rather than the running machine.
    pub fn is_image(&self) -> bool {
        matches!(self.system.manager, Manager::Image { .. })
    }

    /// The start-up file at a path, when it is one of those that are looked at.
    pub fn rc_file(&self, path: &str) -> Option<&RcFile> {
        self.rc_files.iter().find(|rc| rc.path == Path::new(path))
    }
}

/// Paths whose content is ours.
fn paths(owned: &[Resource]) -> BTreeSet<PathBuf> {
    owned
        .iter()
        .filter_map(|resource| match resource {
            Resource::Directory(it) => Some(it.path.clone()),
            Resource::File(it) => Some(it.path.clone()),
            Resource::Block(it) => Some(it.path.clone()),
            Resource::Tmpfiles(it) => Some(it.path.clone()),
            Resource::Program(it) => Some(it.path.clone()),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
impl Facts {
    /// A freshly installed Debian trixie server, nothing unusual.
    pub(crate) fn plain_debian() -> Facts {
        let place = |path: &str| Place {
            path: path.into(),
            free_bytes: 20 << 30,
            free_inodes: 1 << 20,
            read_only: false,
            noexec: false,
            device: 1,
        };
        let rc = |path: &str, state| RcFile {
            path: path.into(),
            state,
        };
        let absent = |parent| RcState::Absent { parent };
        Facts {
            owned: Vec::new(),
            now: 1_800_000_000_000,
            clock_skew: Some(0),
            network: None,
            system: System {
                name: "x86_64-linux".to_owned(),
                os: OsRelease {
                    id: "debian".to_owned(),
                    version: "13".to_owned(),
                    name: "Debian GNU/Linux 13 (trixie)".to_owned(),
                    ..OsRelease::default()
                },
                ..System::default()
            },
            places: Places {
                root: place("/"),
                etc: place("/etc"),
                store: place("/nix"),
                state: place("/var/lib/nixctl"),
                programs: place("/usr/local/bin"),
                share: place("/usr/share"),
            },
            nix_dir: NixDir::Absent,
            existing: None,
            leftovers: Vec::new(),
            shells: vec!["sh".to_owned(), "bash".to_owned()],
            rc_files: vec![
                rc("/etc/profile.d/nix.sh", absent(true)),
                rc(
                    "/etc/bash.bashrc",
                    RcState::Regular("# debian\n".to_owned()),
                ),
                rc("/etc/bash.bashrc.local", absent(true)),
                rc("/etc/bashrc", absent(true)),
                rc("/etc/zsh/zshrc", absent(false)),
                rc("/etc/zsh/zprofile", absent(false)),
                rc("/etc/zshrc", absent(true)),
                rc("/etc/fish/conf.d/nix.fish", absent(false)),
            ],
            fish_dir: false,
            ca_bundle: Some("/etc/ssl/certs/ca-certificates.crt".into()),
            selinux: Selinux::default(),
            tools: [
                "systemd-sysusers",
                "useradd",
                "userdel",
                "groupadd",
                "groupdel",
                "getent",
            ]
            .map(str::to_owned)
            .into(),
            uid_map: vec![IdRange {
                first: 0,
                count: u32::MAX,
            }],
            gid_map: vec![IdRange {
                first: 0,
                count: u32::MAX,
            }],
            build_users: BuildUsersFact::default(),
            sandbox: SandboxFact {
                enabled: true,
                reason: "it was tried".to_owned(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use nixctl_proto::OperationId;

    use super::testing::Machine;
    use super::*;
    use crate::resource::Undo;
    use crate::resource::directory::Directory;
    use crate::resource::nix_tree::NixTree;

    fn read(machine: &Machine, owned: &[Owned]) -> Facts {
        let settings = InstallSettings::default();
        Facts::read_as(&machine.host(), false, &settings, owned, &Cancel::default()).unwrap()
    }

    #[test]
    fn an_empty_machine_can_be_read() {
        let machine = Machine::new();
        let facts = read(&machine, &[]);
        assert_eq!(facts.existing, None);
        assert_eq!(facts.leftovers, []);
        assert_eq!(facts.nix_dir, NixDir::Absent);
        assert_eq!(facts.owned_version(), None);
        assert_eq!(facts.now, machine.host().clock.now());
    }

    #[test]
    fn what_is_owned_is_neither_foreign_nor_left_over() {
        let machine = Machine::new()
            .file("/nix/store/x", "")
            .file("/etc/systemd/system/nix-daemon.service.d/mine.conf", "");
        let facts = read(&machine, &[]);
        assert!(facts.existing.is_some() && facts.leftovers.len() == 1);
        let drop_in = Directory {
            path: "/etc/systemd/system/nix-daemon.service.d".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            lenient: true,
        };
        let tree = Resource::NixTree(NixTree {
            store_gid: 0,
            keep: false,
        });
        let owned = [tree, Resource::Directory(drop_in)].map(|resource| Owned {
            order: 0,
            by: OperationId::from_parts(0, 0),
            resource,
            undo: Undo::Created,
        });
        let facts = read(&machine, &owned);
        assert_eq!((facts.existing, facts.leftovers), (None, Vec::new()));
    }

    #[test]
    fn reading_can_be_stopped() {
        let machine = Machine::new().answer("unshare", 0, "", "");
        let cancel = Cancel::default();
        cancel.request(crate::host::cancel::Stop::Shutdown);
        let settings = InstallSettings::default();
        let error = Facts::read_as(&machine.host(), false, &settings, &[], &cancel).unwrap_err();
        assert!(error.is_stopped());
        assert_eq!(error.failure().code, Code::Cancelled);
    }
}

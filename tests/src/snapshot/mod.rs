//! What a machine has become: files, users, groups, units and Nix's database, and the differences.
//!
//! Only paths that the machine has written are read (its overlay's upper layer), each together with
//! what the image had there; everything else is the image and cannot differ. Times are left out, and
//! Nix's database is read as facts, not as bytes, so that the same state gives the same snapshot.

mod diff;
mod nix_db;
mod services;
mod walk;

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

pub use diff::Difference;

use crate::Machine;
use crate::error::{Context, Result};

/// Left out always: what the kernel and a boot make.
const VOLATILE: [&str; 6] = ["/proc", "/sys", "/dev", "/run", "/tmp", "/nix/var/nix/db"];

/// What an ordinary boot, login or package tool touches without meaning it: a ready-made list for
/// [`Snapshot::take`]. The states of timers and of what the bus starts on demand are in it too.
pub const NOISE: [&str; 27] = [
    "/etc/.pwd.lock",
    "/etc/group-",
    "/etc/gshadow-",
    "/etc/ld.so.cache",
    "/etc/machine-id",
    "/etc/passwd-",
    "/etc/shadow-",
    "/etc/subgid-",
    "/etc/subuid-",
    "/etc/.updated",
    "/root/.cache",
    "/var/.updated",
    "/var/cache/ldconfig",
    "/var/lib/systemd",
    "/var/lib/private",
    "/var/log",
    "/var/tmp",
    "unit:polkit.service",
    "unit:systemd-hostnamed.service",
    "unit:systemd-tmpfiles-clean.service",
    "unit:systemd-update-done.service",
    "unit:systemd-journal-flush.service",
    "unit:user@",
    "unit:user-runtime-dir@",
    "unit:user-",
    "unit:run-user-",
    "unit:session-",
];

/// One thing that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "type")]
pub enum Entry {
    /// A regular file.
    File {
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
        /// Bytes.
        size: u64,
        /// SHA-256 of the content, in hex.
        sha256: String,
    },
    /// A folder.
    Folder {
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A socket, pipe or device.
    Special {
        /// File type and permission bits as the kernel gives them.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A user, a group, a unit or a store path, in words.
    Fact {
        /// The words.
        text: String,
    },
}

/// A thing as the image has it, and as the machine has it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Record {
    /// In the image; none when it is not there, or for things that are no files.
    pub base: Option<Entry>,
    /// In the machine; none when it was removed.
    pub now: Option<Entry>,
}

/// The state of a machine at one moment. Keys are paths, and `user:NAME`, `group:NAME`,
/// `unit:NAME`, `nix:STORE-PATH`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Snapshot {
    records: BTreeMap<String, Record>,
}

impl Snapshot {
    /// Reads a machine, running or off. Keys that equal an entry of `ignore`, lie below it as a
    /// path, or (with a colon in it) start with it, are left out.
    pub fn take(machine: &Machine, ignore: &[&str]) -> Result<Self> {
        let is_ignored = |key: &str| {
            VOLATILE
                .iter()
                .chain(ignore)
                .any(|&entry| covers(entry, key))
        };
        let mut records = walk::changed_files(machine, &is_ignored)?;
        let root = machine.root();
        for (key, text) in services::accounts(root)?
            .into_iter()
            .chain(services::units(machine)?)
            .chain(nix_db::facts(&root.join("nix/var/nix/db"))?)
        {
            if !is_ignored(&key) {
                let record = Record {
                    base: None,
                    now: Some(Entry::Fact { text }),
                };
                records.insert(key, record);
            }
        }
        Ok(Self { records })
    }

    /// What changed from this snapshot to a later one of the same machine (or of another machine
    /// over the same image), sorted by key.
    #[must_use]
    pub fn diff(&self, later: &Self) -> Vec<Difference> {
        diff::diff(&self.records, &later.records)
    }

    /// The state of one key, when the machine changed it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.records.get(key)?.now.as_ref()
    }

    /// Everything that was recorded.
    #[must_use]
    pub fn records(&self) -> &BTreeMap<String, Record> {
        &self.records
    }

    /// Keeps the snapshot as JSON.
    pub fn save(&self, file: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).context(|| "write a snapshot")?;
        std::fs::write(file, text).context(|| format!("write {}", file.display()))
    }

    /// Reads a snapshot that was kept.
    pub fn load(file: &Path) -> Result<Self> {
        let text = std::fs::read(file).context(|| format!("read {}", file.display()))?;
        serde_json::from_slice(&text).context(|| format!("read {}", file.display()))
    }
}

fn covers(entry: &str, key: &str) -> bool {
    match key.strip_prefix(entry) {
        Some(rest) => rest.is_empty() || rest.starts_with('/') || entry.contains(':'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::covers;

    #[test]
    fn an_ignored_path_covers_what_is_below_it_and_nothing_beside_it() {
        assert!(covers("/etc/nix", "/etc/nix"));
        assert!(covers("/etc/nix", "/etc/nix/nix.conf"));
        assert!(!covers("/etc/nix", "/etc/nixos"));
        assert!(covers("unit:user@", "unit:user@1000.service"));
    }
}

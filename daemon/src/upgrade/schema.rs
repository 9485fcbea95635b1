//! Which form of the database a version of Nix reads.
//!
//! Nix writes the number of the form beside its database, takes an older form over into its own as
//! soon as it opens the database, and refuses a newer one. So a version is never asked with the
//! database that is in use: it makes an empty store of its own, whose number tells.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::step::line;
use crate::health::database::COPIES_DIR;
use crate::health::look::database::VERSIONS;
use crate::host::{Fs, FsError, Host};
use crate::payload::STATE_DIR;
use crate::payload::files::private_dir;
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone, nix_command};

/// The number of the database that is in use.
pub const SCHEMA: &str = "/nix/var/nix/db/schema";
/// Folder of the empty store.
const EMPTY: &str = "/var/lib/nixctl/empty-store";
/// Largest file with a number.
const MAX_NUMBER: u64 = 64;

/// The new version reads the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readable {
    /// SHA-256 of the new release.
    pub sha256: String,
    /// Its version.
    pub version: String,
}

impl Readable {
    pub(super) fn describe(&self) -> Description {
        let version = &self.version;
        line(
            "schema",
            format!("see that Nix {version} reads the database that is there"),
        )
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Created)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let host = context.host;
        let Some(found) = number(host, Path::new(SCHEMA))? else {
            return Ok(());
        };
        let reads = self.reads(context)?;
        if found <= reads {
            return Ok(());
        }
        Err(ResourceError::SchemaNewer {
            version: self.version.clone(),
            reads,
            found,
        })
    }

    pub(super) fn undo(&self, context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        context.host.fs.remove_tree(Path::new(EMPTY))?;
        Ok(Undone::Clean)
    }

    /// The newest form that it reads.
    pub(super) fn reads(&self, context: &Context<'_>) -> Result<u32> {
        let reads = self.of_its_own(context)?;
        let fs = &context.host.fs;
        fs.remove_tree(Path::new(EMPTY))?;
        if u64::from(reads) > *VERSIONS.end() {
            private_dir(fs, COPIES_DIR.as_ref())?;
            let text = reads.to_string();
            fs.write(&told(&self.sha256), text.as_bytes(), 0o600, None)?;
        }
        Ok(reads)
    }

    /// The number that it gives to a database of its own.
    fn of_its_own(&self, context: &Context<'_>) -> Result<u32> {
        let host = context.host;
        host.fs.remove_tree(Path::new(EMPTY))?;
        private_dir(&host.fs, STATE_DIR.as_ref())?;
        private_dir(&host.fs, EMPTY.as_ref())?;
        let id = self.describe().id;
        let manifest = nix_command::manifest(host, &self.sha256, &id)?;
        let store = format!("local?root={EMPTY}");
        let args = ["--store", &store, "--option", "build-users-group", ""];
        let args = [&args[..], &["--dump-db"]].concat();
        let command = nix_command::command(host, &manifest, "nix-store", &args);
        nix_command::run(host, &command, context.cancel)?;
        let path = format!("{EMPTY}{SCHEMA}");
        number(host, Path::new(&path))?.ok_or_else(|| ResourceError::Drifted {
            id,
            seen: format!("Nix {} made no database in {EMPTY}", self.version),
        })
    }
}

/// Newest form that a release reads, where it told, and that is newer than those that are known. Only
/// so is a database that it made not taken for one that it cannot read.
///
/// # Errors
/// When that cannot be read.
pub fn newest_of(fs: &Fs, sha256: &str) -> std::result::Result<Option<u64>, FsError> {
    let text = fs.read(&told(sha256), MAX_NUMBER)?;
    Ok(text.and_then(|text| String::from_utf8_lossy(&text).trim().parse().ok()))
}

/// Where it is written down.
fn told(sha256: &str) -> PathBuf {
    Path::new(COPIES_DIR).join(format!("reads-{sha256}"))
}

/// The number in a file; `None` when there is none.
///
/// # Errors
/// When it cannot be read.
pub fn number(host: &Host, path: &Path) -> Result<Option<u32>> {
    let bytes = host.fs.read(path, MAX_NUMBER)?;
    let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Ok(text.and_then(|text| text.trim().parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Output;
    use crate::host::fake::Answer;
    use crate::resource::nix_testing as release;
    use crate::resource::testing::Machine;

    /// A machine with a database of one form, and a release that writes another.
    fn machine(found: Option<&str>, writes: &'static str) -> (Machine, Readable) {
        let machine = Machine::new();
        release::unpacked(&machine);
        if let Some(found) = found {
            machine.put(SCHEMA, found);
        }
        let root = machine.dir.path().to_owned();
        let effect = move |_: &crate::host::Command| {
            let path = root.join(format!("{EMPTY}{SCHEMA}").trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, writes).unwrap();
            Output::default()
        };
        machine.exec.answer("chroot", &[], Answer::effect(effect));
        let sha256 = release::SHA256.to_owned();
        let version = "2.20.1".to_owned();
        (machine, Readable { sha256, version })
    }

    #[test]
    fn a_database_of_a_newer_form_is_refused() {
        for (found, writes, is_readable) in [
            (Some("10"), "10\n", true),
            (Some("9"), "10", true),
            (Some("11\n"), "10", false),
            (None, "10", true),
        ] {
            let (machine, step) = machine(found, writes);
            let result = step.apply(&machine.context(), &Undo::Created);
            assert_eq!(result.is_ok(), is_readable, "{found:?} {writes}");
            if let Err(error) = result {
                let failure = error.failure();
                assert_eq!(failure.code, nixctl_proto::Code::SchemaNewer);
                assert!(failure.message.contains("11"), "{}", failure.message);
            }
            assert!(!machine.path(EMPTY).exists());
            let told = newest_of(&machine.host.fs, release::SHA256).unwrap();
            assert_eq!(told, None, "what everybody reads");
        }
        let (machine, step) = machine(Some("10"), "11");
        step.apply(&machine.context(), &Undo::Created).unwrap();
        let told = newest_of(&machine.host.fs, release::SHA256).unwrap();
        assert_eq!(told, Some(11));
    }
}

//! The store paths of a release in Nix's database.
//!
//! `nix-store --load-db` replaces what it knew of a path, so it can run any number of times. It
//! works on the database itself, without nix-daemon, and in an image through `chroot`.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::removal::Removal;
use super::{Context, Description, Presence, ResourceError, Result, Undo, Undone, nix_command};
use crate::host::{Cancel, Host};
use crate::payload::Manifest;

const DATABASE_DIR: &str = "/nix/var/nix/db";
/// A question takes milliseconds, unless somebody holds the database's lock; probes ask it too.
const ASK_DEADLINE: Duration = Duration::from_secs(60);
/// Names of what the self-test builds have this in them.
const SELF_TEST: &str = "-nixctl-self-test-";
/// Names of what `nix-env` makes a profile of end so.
const ENVIRONMENT: [&str; 3] = [
    "-user-environment",
    "-user-environment.drv",
    "-env-manifest.nix",
];
const DATABASE: &str = "/nix/var/nix/db/db.sqlite";

/// What `.reginfo` of the release says, loaded with `nix-store --load-db`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// SHA-256 of the archive: names the release's manifest that unpacking kept.
    pub sha256: String,
}

impl Registration {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        Description {
            id: format!("registration:{}", self.sha256),
            summary: "register the release in Nix's database".to_owned(),
            details: vec!["nix-store --load-db".to_owned()],
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        let Some(manifest) = Manifest::load(&host.fs, &self.sha256)? else {
            return Ok(Presence::Absent);
        };
        // Asking nix-store would make the database.
        if host.fs.meta(DATABASE.as_ref())?.is_none()
            || !nix_command::is_there(host, &manifest, "nix-store")?
        {
            return Ok(Presence::Absent);
        }
        let invalid = self.invalid(host, &manifest)?;
        Ok(match invalid.as_slice() {
            [] => Presence::Present,
            all if all.len() == manifest.paths.len() => Presence::Absent,
            [first, ..] => Presence::Drifted(format!(
                "{} of {} paths are not registered, such as {first}",
                invalid.len(),
                manifest.paths.len()
            )),
        })
    }

    /// Reads what undoing will need: which paths were registered already.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        if host.fs.meta(DATABASE.as_ref())?.is_none() {
            return Ok(Undo::Created);
        }
        let manifest = nix_command::manifest(host, &self.sha256, &self.describe().id)?;
        let invalid = self.invalid(host, &manifest)?;
        let valid = manifest
            .paths
            .into_iter()
            .filter(|path| !invalid.contains(path));
        Ok(Undo::Entries(valid.collect()))
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let _ = undo;
        let manifest = nix_command::manifest(context.host, &self.sha256, &self.describe().id)?;
        let command = nix_command::command(context.host, &manifest, "nix-store", &["--load-db"])
            .stdin(manifest.reginfo.clone());
        nix_command::run(context.host, &command, context.cancel)?;
        Ok(())
    }

    /// Takes it back to what it was.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let fs = &context.host.fs;
        match undo {
            // A database that was not there goes whole.
            Undo::Created => {
                let id = self.describe().id;
                let mut removal = Removal::default();
                for name in fs.list(DATABASE_DIR.as_ref())? {
                    let path = Path::new(DATABASE_DIR).join(name);
                    removal.tree(context, &path, &id, &mut || {})?;
                }
                Ok(removal.end())
            }
            Undo::Entries(before) => self.forget(context, before),
            _ => Ok(Undone::Clean),
        }
    }

    /// Takes the paths out of a database that stays. The step before this one, undone next, removes
    /// their files; a path that something else has come to need stays registered.
    fn forget(&self, context: &Context<'_>, before: &[String]) -> Result<Undone> {
        let host = context.host;
        let Some(manifest) = Manifest::load(&host.fs, &self.sha256)? else {
            return Ok(Undone::Clean);
        };
        if !nix_command::is_there(host, &manifest, "nix-store")? {
            return Ok(Undone::Clean);
        }
        // A database that Nix cannot read must not keep the rest from being taken off.
        let invalid = match self.invalid(host, &manifest) {
            Ok(invalid) => invalid,
            Err(error) if error.is_stopped() => return Err(error),
            Err(error) => return Ok(still_listed(&error)),
        };
        self.delete_needing(context, &manifest)?;
        let mut args = vec!["--delete", "--ignore-liveness"];
        let new = |path: &&String| !before.contains(path) && !invalid.contains(path);
        args.extend(manifest.paths.iter().filter(new).map(String::as_str));
        if args.len() == 2 {
            return Ok(Undone::Clean);
        }
        let command = nix_command::command(host, &manifest, "nix-store", &args);
        Ok(
            match nix_command::run(context.host, &command, context.cancel) {
                Ok(_) => Undone::Clean,
                Err(error) if error.is_stopped() => return Err(error),
                Err(error) => still_listed(&error),
            },
        )
    }

    /// Deletes what profiles were made of that held the release, and what a self-test left that was cut
    /// off or failed, as far as nothing leads to it any more: Nix itself refuses what a root still holds.
    fn delete_needing(&self, context: &Context<'_>, manifest: &Manifest) -> Result<()> {
        let host = context.host;
        let mut args = vec!["--query", "--referrers-closure"];
        args.extend(manifest.paths.iter().map(String::as_str));
        let command =
            nix_command::command(host, manifest, "nix-store", &args).deadline(ASK_DEADLINE);
        // Where that cannot be told, deleting the release says why.
        let needing = match nix_command::run(host, &command, context.cancel) {
            Err(error) if error.is_stopped() => return Err(error),
            Err(_) => return Ok(()),
            Ok(output) => output.text().to_owned(),
        };
        let is_one = |path: &&str| {
            path.contains(SELF_TEST) || ENVIRONMENT.iter().any(|end| path.ends_with(end))
        };
        let ours: Vec<&str> = needing.lines().filter(is_one).collect();
        if ours.is_empty() {
            return Ok(());
        }
        let args = [&["--delete"], &ours[..]].concat();
        let command = nix_command::command(host, manifest, "nix-store", &args);
        match nix_command::run(host, &command, context.cancel) {
            Err(error) if error.is_stopped() => Err(error),
            _ => Ok(()),
        }
    }

    fn invalid(&self, host: &Host, manifest: &Manifest) -> Result<Vec<String>> {
        let mut args = vec!["--check-validity", "--print-invalid"];
        args.extend(manifest.paths.iter().map(String::as_str));
        let command =
            nix_command::command(host, manifest, "nix-store", &args).deadline(ASK_DEADLINE);
        let output = nix_command::run(host, &command, &Cancel::default())?;
        Ok(output.text().lines().map(str::to_owned).collect())
    }
}

fn still_listed(error: &ResourceError) -> Undone {
    Undone::Kept(format!("Nix's database still lists the release: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Machine, make, undone};
    use super::super::{Resource, nix_testing as release};
    use super::*;
    use crate::host::Output;
    use crate::host::fake::Answer;

    #[test]
    fn the_registration_goes_through_the_release_s_own_program() {
        let machine = Machine::new();
        release::unpacked(&machine);
        let resource = Resource::Registration(Registration {
            sha256: release::SHA256.into(),
        });
        assert_eq!(resource.probe(&machine.host).unwrap(), Presence::Absent);
        assert!(machine.exec.calls().is_empty(), "asking makes the database");
        machine.exec.install("chroot");
        std::fs::create_dir_all(machine.path(DATABASE_DIR)).unwrap();
        let undo = make(&machine, &resource).unwrap();
        assert_eq!(undo, Undo::Created);
        let call = machine.exec.calls().pop().unwrap();
        let root = machine.dir.path().display();
        assert_eq!(
            call.line(),
            format!("chroot {root} {}/bin/nix-store --load-db", release::NIX)
        );
        assert_eq!(call.stdin, b"the registration");
        assert!(!call.env.iter().any(|(name, _)| name == "NIX_REMOTE"));
        assert!(!machine.path("/var/lib/nixctl/nix-home").exists());
        machine.put("/nix/var/nix/db/db.sqlite", "");
        assert_eq!(resource.probe(&machine.host).unwrap(), Presence::Present);
        assert_eq!(undone(&machine, &resource, &undo), None);
        assert!(!machine.path("/nix/var/nix/db/db.sqlite").exists());
    }

    #[test]
    fn what_was_registered_before_stays() {
        let machine = Machine::new();
        release::unpacked(&machine);
        machine.put("/nix/var/nix/db/db.sqlite", "");
        machine
            .exec
            .answer("chroot", &[], Answer::text(&format!("{}\n", release::NIX)));
        let resource = Resource::Registration(Registration {
            sha256: release::SHA256.into(),
        });
        assert!(matches!(
            resource.probe(&machine.host).unwrap(),
            Presence::Drifted(_)
        ));
        let undo = resource.prepare(&machine.host).unwrap();
        assert_eq!(undo, Undo::Entries(vec![release::CERTS.to_owned()]));
        machine.exec.answer("chroot", &[], Answer::text(""));
        machine.exec.forget();
        assert_eq!(undone(&machine, &resource, &undo), None);
        let last = machine.exec.lines().pop().unwrap();
        assert!(
            last.ends_with(&format!("--delete --ignore-liveness {}", release::NIX)),
            "{last}"
        );
        assert!(machine.path("/nix/var/nix/db/db.sqlite").exists());
    }

    #[test]
    fn what_a_self_test_left_goes_before_the_release_that_it_needs() {
        let machine = Machine::new();
        release::unpacked(&machine);
        machine.put("/nix/var/nix/db/db.sqlite", "");
        let of_test = format!("/nix/store/{}-nixctl-self-test-root-1.drv", "3".repeat(32));
        let of_user = format!("/nix/store/{}-mine.drv", "4".repeat(32));
        let needing = format!("{of_test}\n{of_user}\n{}\n", release::NIX);
        let answer = move |command: &crate::host::Command| Output {
            stdout: match command.line().contains("--referrers-closure") {
                true => needing.clone().into(),
                false => Vec::new(),
            },
            ..Output::default()
        };
        machine.exec.answer("chroot", &[], Answer::effect(answer));
        let resource = Resource::Registration(Registration {
            sha256: release::SHA256.into(),
        });
        let undo = Undo::Entries(Vec::new());
        assert_eq!(undone(&machine, &resource, &undo), None);
        let lines = machine.exec.lines();
        let deleted: Vec<&str> = lines
            .iter()
            .filter_map(|it| it.split("--delete ").nth(1))
            .collect();
        assert_eq!(deleted[0], of_test);
        assert!(deleted[1].contains(release::NIX) && !deleted[1].contains(&of_user));
    }
}

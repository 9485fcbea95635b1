//! Nix's own programs, run from the release's store path rather than from PATH.
//!
//! The environment is clean: no `NIX_REMOTE`, and a home folder of the daemon's own that is gone
//! afterwards, because `nix-env` leaves traces in the home of whoever runs it. In an image the
//! programs run in a `chroot`: their interpreter and libraries are named by absolute store paths.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Context, ResourceError, Result};
use crate::host::fs::Kind;
use crate::host::in_image;
use crate::host::{Cancel, Command, Host, Output};
use crate::payload::files::private_dir;
use crate::payload::{Manifest, STATE_DIR};

/// Home of the programs, below the state folder.
const HOME: &str = "nix-home";
/// For all but the registration of a large release these programs take less than a second.
const DEADLINE: Duration = Duration::from_secs(300);

/// The manifest of a release that must have been unpacked before.
///
/// # Errors
/// [`ResourceError::Drifted`] when it was not.
pub(crate) fn manifest(host: &Host, sha256: &str, id: &str) -> Result<Manifest> {
    Manifest::load(&host.fs, sha256)?.ok_or_else(|| ResourceError::Drifted {
        id: id.to_owned(),
        seen: "the release was not unpacked".to_owned(),
    })
}

/// Whether a program of the release is there to be run.
pub(crate) fn is_there(host: &Host, manifest: &Manifest, program: &str) -> Result<bool> {
    let path = Path::new(&manifest.nix).join("bin").join(program);
    Ok(host
        .fs
        .meta(&path)?
        .is_some_and(|meta| matches!(meta.kind, Kind::File | Kind::Link)))
}

/// A command that runs a program of the release with these arguments.
pub(crate) fn command(host: &Host, manifest: &Manifest, program: &str, args: &[&str]) -> Command {
    command_of(host, &manifest.nix, program, args)
}

/// The same for the Nix at this store path.
pub(crate) fn command_of(host: &Host, nix: &str, program: &str, args: &[&str]) -> Command {
    let path = format!("{nix}/bin/{program}");
    let command = if host.is_image() {
        into_image(host).arg(path)
    } else {
        Command::new(path)
    };
    let home = home().display().to_string();
    command
        .args(args.iter().copied())
        .env("HOME", home)
        .deadline(DEADLINE)
}

/// Into the image; when it has no /proc and /dev mounted, by way of our own program.
fn into_image(host: &Host) -> Command {
    let root = host.fs.root().display().to_string();
    if in_image::is_furnished(&host.fs) {
        Command::new("chroot").arg(root)
    } else {
        Command::new("/proc/self/exe").arg("in-image").arg(root)
    }
}

/// Runs it to its end. Its home folder does not exist, which it minds no more than a build does.
///
/// # Errors
/// When it cannot be run, or ends with another code than 0.
pub(crate) fn run(host: &Host, command: &Command, cancel: &Cancel) -> Result<Output> {
    Ok(host.exec.run(command, cancel)?)
}

/// Runs one that writes into its home folder.
///
/// # Errors
/// As [`run`].
pub(crate) fn run_with_home(context: &Context<'_>, command: &Command) -> Result<Output> {
    private_dir(&context.host.fs, STATE_DIR.as_ref())?;
    private_dir(&context.host.fs, &home())?;
    let result = run(context.host, command, context.cancel);
    remove_home(context.host)?;
    result
}

/// Removes the home folder that a kill may have left.
///
/// # Errors
/// When it cannot be removed.
pub(crate) fn remove_home(host: &Host) -> Result<()> {
    Ok(host.fs.remove_tree(&home())?)
}

fn home() -> PathBuf {
    Path::new(STATE_DIR).join(HOME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::nix_testing as release;
    use crate::resource::testing::Machine;

    #[test]
    fn an_image_without_proc_and_dev_gets_them() {
        let machine = Machine::new();
        let manifest = release::unpacked(&machine);
        let line = || command(&machine.host, &manifest, "nix-store", &["--version"]).line();
        let root = machine.dir.path().display();
        let program = format!("{root} {}/bin/nix-store --version", release::NIX);
        assert_eq!(line(), format!("chroot {program}"));
        std::fs::remove_dir_all(machine.path("/dev")).unwrap();
        assert_eq!(line(), format!("/proc/self/exe in-image {program}"));
    }
}

//! Running a program in an image: a process of its own that becomes the program.
//!
//! Nix's programs read /proc and open terminals, and the folder of an image has neither. They get
//! this machine's, in a mount namespace that ends with the process: nobody else ever sees the
//! mounts, and nothing is left of them, however the process ends.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

/// Exit code when the program was not reached, as of chroot(1).
const NOT_REACHED: u8 = 125;

/// Whether the image has what programs need without our help.
pub fn is_furnished(fs: &super::Fs) -> bool {
    ["/proc/self", "/dev/ptmx"]
        .iter()
        .all(|path| matches!(fs.meta(Path::new(path)), Ok(Some(_))))
}

/// Becomes the program; returns only when that fails.
pub fn run(root: &Path, command: &[OsString]) -> ExitCode {
    if let Err(why) = become_it(root, command) {
        eprintln!("cannot run a program in {}: {why}", root.display());
    }
    ExitCode::from(NOT_REACHED)
}

#[cfg(target_os = "linux")]
fn become_it(root: &Path, command: &[OsString]) -> Result<(), String> {
    use std::os::unix::process::CommandExt;

    use nix::mount::{MsFlags, mount};
    use nix::sched::{CloneFlags, unshare};

    let said = |what: &'static str| move |error: nix::Error| format!("{what}: {}", error.desc());
    unshare(CloneFlags::CLONE_NEWNS).map_err(said("make a mount namespace"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    let none: Option<&str> = None;
    mount(none, "/", none, private, none).map_err(said("keep the mounts private"))?;
    for folder in ["proc", "dev"] {
        let target = root.join(folder);
        let is_folder = std::fs::symlink_metadata(&target).is_ok_and(|meta| meta.is_dir());
        if is_folder {
            let source = Path::new("/").join(folder);
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(&source), &target, none, bind, none).map_err(said("bind a folder"))?;
        }
    }
    nix::unistd::chroot(root).map_err(said("change the root"))?;
    nix::unistd::chdir("/").map_err(said("enter the root"))?;
    let (program, arguments) = command.split_first().ok_or("no program was named")?;
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(format!("{}: {error}", program.display()))
}

#[cfg(not(target_os = "linux"))]
fn become_it(_root: &Path, _command: &[OsString]) -> Result<(), String> {
    Err("only Linux can".to_owned())
}

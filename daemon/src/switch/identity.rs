//! Which generation is the default and which one runs, as recorded identities: a number and a store
//! path, never "the one before".

use std::path::Path;

use crate::engine::Before;
use crate::host::{Fs, FsError};
use crate::switch::profile::generations;
use crate::switch::running::Running;

/// The system's profile.
pub const PROFILE: &str = "/nix/var/nix/profiles/system";
/// Link to the generation that runs.
pub const RUNNING: &str = "/run/current-system";

/// What a switch finds before it begins.
///
/// # Errors
/// When a link cannot be read.
pub fn before(fs: &Fs) -> Result<Before, FsError> {
    let all = generations::list(fs)?;
    let default = all.into_iter().find(|generation| generation.default);
    let running = fs.read_link(Path::new(RUNNING))?.unwrap_or_default();
    let (generation, path) = default.map_or((0, String::new()), |it| (it.number, it.path));
    Ok(Before {
        generation,
        path,
        running: running.to_string_lossy().into_owned(),
    })
}

/// What a switch would be made from: what runs, else the default; empty when there is neither.
///
/// # Errors
/// When a link cannot be read.
pub fn current(fs: &Fs) -> Result<String, FsError> {
    match Running::read(fs)?.current {
        Some(running) => Ok(running),
        None => Ok(before(fs)?.path),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn the_default_and_the_running_generation_are_two_things() {
        let root = tempfile::tempdir().unwrap();
        let at = |path: &str| root.path().join(path);
        std::fs::create_dir_all(at("nix/var/nix/profiles")).unwrap();
        std::fs::create_dir_all(at("run")).unwrap();
        for (number, path) in [(9, "/a"), (10, "/b")] {
            let link = format!("nix/var/nix/profiles/system-{number}-link");
            symlink(path, at(&link)).unwrap();
        }
        symlink("system-9-link", at("nix/var/nix/profiles/system")).unwrap();
        symlink("/b", at("run/current-system")).unwrap();
        let before = before(&Fs::at(root.path())).unwrap();
        assert_eq!((before.generation, before.path.as_str()), (9, "/a"));
        assert_eq!(before.running, "/b");
        assert_eq!(current(&Fs::at(root.path())).unwrap(), "/a", "/b is gone");
        std::fs::create_dir(at("b")).unwrap();
        assert_eq!(current(&Fs::at(root.path())).unwrap(), "/b");
    }
}

//! nixctl replaces itself by another version of it, and goes back by itself when that one does not
//! serve.
//!
//! The other programs are fetched and unpacked beside those that run ([`archive`]), and have to say
//! what they are ([`edition`]). Then the daemon that runs leaves word ([`note`]) and ends. What
//! happens until the other one has proven itself is in the hands of neither: the program that ran is
//! kept as the *keeper* ([`keeper`]), which systemd runs before each start and after it. Before the
//! first it copies the state and exchanges the programs; before each later one it counts, and puts
//! back programs and state when it has been often or long enough; after each it asks the daemon how it
//! is.
//!
//! What must always hold: programs and state are both of the one version or both of the other
//! whenever a daemon is started; nothing but the note says which; and each thing the keeper does can
//! be done again from the top, so that it may be cut off anywhere.

pub mod archive;
mod ask;
pub mod edition;
pub mod fault;
pub mod hand_over;
pub mod keeper;
pub mod note;
mod place;
pub mod plan;
pub mod renew;
pub mod step;

pub use edition::Edition;
pub use note::Note;

use std::path::{Path, PathBuf};

use crate::catalogue::files::{NIXCTLD_TAKEOVER, NIXCTLD_TAKEOVER_OPT, Shipped};
use crate::catalogue::own::{OTHER_PROGRAMS_DIR, PROGRAMS_DIR};

/// Both programs, in the order in which they are exchanged.
pub const PROGRAMS: [&str; 2] = ["nixctl", "nixctld"];

/// Where versions are kept beside the programs that are in use.
const LIBRARY: &str = "/usr/local/lib/nixctl";
/// The same where /usr/local cannot be written.
const OTHER_LIBRARY: &str = "/opt/nixctl/lib";

/// The folder in which versions are kept, for the folder of the programs in use.
pub fn library(programs: &Path) -> Option<&'static Path> {
    match programs.to_str()? {
        PROGRAMS_DIR => Some(Path::new(LIBRARY)),
        OTHER_PROGRAMS_DIR => Some(Path::new(OTHER_LIBRARY)),
        _ => None,
    }
}

/// Whether something is of the versions that are kept.
pub fn is_in_library(path: &Path) -> bool {
    [LIBRARY, OTHER_LIBRARY]
        .iter()
        .any(|library| path.starts_with(library))
}

/// Whether it is the folder of all versions.
fn is_library(path: &Path) -> bool {
    [LIBRARY, OTHER_LIBRARY].map(Path::new).contains(&path)
}

/// The folder of one version: its name, and the beginning of a hash that tells builds of it apart.
pub fn version_folder(library: &Path, version: &str, sha256: &str) -> PathBuf {
    let short = sha256.get(..8).unwrap_or(sha256);
    library.join(format!("{version}-{short}"))
}

/// The version that a folder of [`version_folder`] is of.
pub fn version_of(folder: &Path) -> Option<&str> {
    let (version, _) = folder.file_name()?.to_str()?.rsplit_once('-')?;
    Some(version)
}

/// The program that systemd runs around each start.
fn keeper_path(programs: &Path) -> Option<PathBuf> {
    Some(library(programs)?.join("keeper"))
}

/// What tells systemd of the keeper.
fn drop_in(programs: &Path) -> Shipped {
    match programs == Path::new(OTHER_PROGRAMS_DIR) {
        true => NIXCTLD_TAKEOVER_OPT,
        false => NIXCTLD_TAKEOVER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_says_of_which_version_it_is() {
        let folder = version_folder(Path::new(LIBRARY), "0.2.0-rc.1", &"ab".repeat(32));
        assert_eq!(
            folder,
            Path::new("/usr/local/lib/nixctl/0.2.0-rc.1-abababab")
        );
        assert_eq!(version_of(&folder), Some("0.2.0-rc.1"));
        assert!(is_in_library(&folder) && !is_in_library(Path::new("/usr/local/bin/nixctl")));
    }

    #[test]
    fn the_keeper_is_where_systemd_is_told_that_it_is() {
        for programs in [PROGRAMS_DIR, OTHER_PROGRAMS_DIR].map(Path::new) {
            let keeper = keeper_path(programs).unwrap();
            let content = drop_in(programs).content;
            for verb in ["ExecStartPre=", "ExecStartPost="] {
                let line = format!("{verb}{} takeover ", keeper.display());
                assert!(content.contains(&line), "{line}");
            }
        }
        assert_eq!(library(Path::new("/usr/bin")), None);
    }
}

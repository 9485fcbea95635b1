//! Bytes and inodes of the file systems that Nix, the boot loader and the daemon write to.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{Expected, Result, Scene};
use crate::payload::STATE_DIR;

const MIB: u64 = 1 << 20;

/// Places, and how much has to be free there: less than the first is worth knowing, less than the
/// second breaks things.
const PLACES: [(&str, u64, u64); 3] = [
    // One build of something large; a database that grows by a megabyte.
    ("/nix", 1024 * MIB, 100 * MIB),
    // A kernel and an initrd.
    ("/boot", 64 * MIB, 16 * MIB),
    // Journal, downloads and copies of the database; what the journal keeps for itself.
    (STATE_DIR, 256 * MIB, 32 * MIB),
];

/// Fewer free inodes than these.
const INODES: (u64, u64) = (50_000, 5_000);

/// Room in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceFact {
    /// The place.
    pub path: PathBuf,
    /// Bytes free.
    pub free_bytes: u64,
    /// Inodes free; `u64::MAX` where they are not counted.
    pub free_inodes: u64,
    /// Fewer bytes than the first are worth a warning, fewer than the second are an error.
    pub bytes: (u64, u64),
    /// The same for inodes.
    pub inodes: (u64, u64),
}

pub(super) fn look(scene: &Scene<'_>, expected: &Expected) -> Result<Vec<SpaceFact>> {
    let fs = &scene.host.fs;
    let mut found = Vec::new();
    let mut devices = BTreeSet::new();
    for (path, warning, error) in PLACES {
        let path = Path::new(path);
        // One file system is one finding, of the most demanding place on it.
        let Some(meta) = fs.meta(path)? else { continue };
        if (path == Path::new("/nix") && expected.tree.is_none()) || !devices.insert(meta.device) {
            continue;
        }
        let space = fs.space(path)?;
        // Nothing is ever added to what cannot be written; that is another finding.
        if space.read_only {
            continue;
        }
        let total = space.used_bytes.saturating_add(space.free_bytes);
        found.push(SpaceFact {
            path: path.to_owned(),
            free_bytes: space.free_bytes,
            free_inodes: space.free_inodes,
            // A file system that is small on purpose is not full from the start.
            bytes: (warning.min(total / 10), error.min(total / 50)),
            inodes: match space.free_inodes {
                u64::MAX => (0, 0),
                free => {
                    let all = free.saturating_add(space.used_inodes);
                    (INODES.0.min(all / 10), INODES.1.min(all / 50))
                }
            },
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::resource::Resource;
    use crate::resource::nix_tree::NixTree;

    #[test]
    fn one_file_system_is_one_fact() {
        let machine = Machine::new()
            .directory("/nix")
            .directory("/boot")
            .directory(STATE_DIR);
        let tree = Resource::NixTree(NixTree {
            store_gid: 0,
            keep: false,
        });
        for (owned, expected) in [(&[tree][..], "/nix"), (&[], "/boot")] {
            let Facts::Space(facts) = look_at(&machine, owned, Area::Space) else {
                panic!()
            };
            assert_eq!(facts.len(), 1);
            assert_eq!(facts[0].path, Path::new(expected));
            assert!(facts[0].bytes.0 >= facts[0].bytes.1 && facts[0].free_bytes > 0);
        }
    }
}

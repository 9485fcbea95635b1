//! Bytes and inodes of the file systems that Nix, the boot loader and the daemon write to.

use std::path::{Path, PathBuf};

use nixctl_proto::settings::HealthSettings;

use super::{Expected, Result, Scene};
use crate::payload::STATE_DIR;

/// Places that are looked at; of several on one file system the most demanding.
const PLACES: [(&str, Limit); 3] = [
    // Builds and downloads.
    ("/nix", |health| health.low_space_bytes),
    // A kernel and an initrd.
    ("/boot", |health| health.low_boot_bytes),
    // Journal, downloads and copies of the database.
    (STATE_DIR, |health| health.low_space_bytes),
];

/// A limit of the settings.
type Limit = fn(&HealthSettings) -> u64;

/// Room in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpaceFact {
    /// The place.
    pub path: PathBuf,
    /// Bytes free.
    pub free_bytes: u64,
    /// Inodes free; `u64::MAX` where they are not counted.
    pub free_inodes: u64,
    /// Bytes that should be free.
    pub bytes: u64,
    /// Inodes that should be free.
    pub inodes: u64,
}

pub(super) fn look(scene: &Scene<'_>, expected: &Expected) -> Result<Vec<SpaceFact>> {
    let (fs, health) = (&scene.host.fs, &scene.settings.health);
    let mut found: Vec<(u64, SpaceFact)> = Vec::new();
    for (path, bytes) in PLACES {
        let path = Path::new(path);
        let Some(meta) = fs.meta(path)? else { continue };
        if path == Path::new("/nix") && expected.tree.is_none() {
            continue;
        }
        let space = fs.space(path)?;
        // Nothing is ever added to what cannot be written; that is another finding.
        if space.read_only {
            continue;
        }
        let total = space.used_bytes.saturating_add(space.free_bytes);
        let inodes = |health: &HealthSettings| health.low_space_inodes;
        let fact = SpaceFact {
            path: path.to_owned(),
            free_bytes: space.free_bytes,
            free_inodes: space.free_inodes,
            bytes: limit(health, bytes, total),
            inodes: match space.free_inodes {
                u64::MAX => 0,
                free => limit(health, inodes, free.saturating_add(space.used_inodes)),
            },
        };
        // One file system is one finding.
        match found.iter_mut().find(|(device, _)| *device == meta.device) {
            Some((_, other)) if other.bytes >= fact.bytes => {}
            Some((_, other)) => *other = fact,
            None => found.push((meta.device, fact)),
        }
    }
    Ok(found.into_iter().map(|(_, fact)| fact).collect())
}

/// What should be free of `total`: what somebody has set counts as it is; of what is set by default
/// a tenth of the whole is enough, so that what is small on purpose is not full from the start.
fn limit(health: &HealthSettings, of: Limit, total: u64) -> u64 {
    let set = of(health);
    if set == of(&HealthSettings::default()) {
        set.min(total / 10)
    } else {
        set
    }
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
        for (owned, expected) in [(&[tree][..], "/nix"), (&[], STATE_DIR)] {
            let Facts::Space(facts) = look_at(&machine, owned, Area::Space) else {
                panic!()
            };
            assert_eq!(facts.len(), 1);
            assert_eq!(facts[0].path, Path::new(expected));
            assert!(facts[0].bytes > 0 && facts[0].free_bytes > 0);
        }
    }

    #[test]
    fn what_is_set_counts_and_what_is_not_is_never_more_than_a_tenth() {
        let mut health = HealthSettings::default();
        let bytes: Limit = |health| health.low_boot_bytes;
        assert_eq!(limit(&health, bytes, 1 << 40), 32 << 20);
        assert_eq!(limit(&health, bytes, 100 << 20), 10 << 20);
        for set in [0, 60 << 20] {
            health.low_boot_bytes = set;
            assert_eq!(limit(&health, bytes, 100 << 20), set);
        }
    }
}

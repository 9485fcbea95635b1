//! Finds references as Nix does: by the hash parts of store paths in everything a path contains.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::error::{Context, Result};

/// Length of a hash part.
const LENGTH: usize = 32;
/// The characters of Nix's base 32.
const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";

/// Store paths that may be referred to, by hash part.
#[derive(Debug)]
pub struct Candidates {
    by_hash: HashMap<[u8; LENGTH], String>,
    digit: [bool; 256],
}

impl Candidates {
    /// Takes store paths; what has no hash part is left out.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a String>) -> Self {
        let mut digit = [false; 256];
        for &byte in ALPHABET {
            digit[usize::from(byte)] = true;
        }
        let by_hash = paths.into_iter().filter_map(|path| {
            let hash = path.strip_prefix("/nix/store/")?.as_bytes().get(..LENGTH)?;
            Some((hash.try_into().ok()?, path.clone()))
        });
        Self {
            by_hash: by_hash.collect(),
            digit,
        }
    }

    /// The candidates that a file, link or tree refers to.
    pub fn in_tree(&self, tree: &Path) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        let mut todo = vec![tree.to_path_buf()];
        while let Some(path) = todo.pop() {
            let context = || format!("read {}", path.display());
            let data = fs::symlink_metadata(&path).context(context)?;
            if data.is_dir() {
                for entry in fs::read_dir(&path).context(context)? {
                    todo.push(entry.context(context)?.path());
                }
            } else if data.is_symlink() {
                let target = fs::read_link(&path).context(context)?;
                self.in_bytes(target.as_os_str().as_bytes(), &mut found);
            } else {
                self.in_bytes(&fs::read(&path).context(context)?, &mut found);
            }
        }
        Ok(found)
    }

    /// Looks at windows from their end, so that a byte which is no digit skips all it is in.
    fn in_bytes(&self, bytes: &[u8], found: &mut BTreeSet<String>) {
        let mut start = 0;
        while let Some(window) = bytes.get(start..start + LENGTH) {
            let stranger = window
                .iter()
                .rposition(|&byte| !self.digit[usize::from(byte)]);
            match stranger {
                Some(at) => start += at + 1,
                None => {
                    let known = <&[u8; LENGTH]>::try_from(window)
                        .ok()
                        .and_then(|hash| self.by_hash.get(hash));
                    found.extend(known.cloned());
                    start += 1;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_found_wherever_they_are() {
        let paths: Vec<String> = ["a", "b", "c"]
            .map(|digit| format!("/nix/store/{}-name-{digit}", digit.repeat(LENGTH)))
            .to_vec();
        let candidates = Candidates::new(&paths);
        let text = format!(
            "0{}-x {} {}",
            "a".repeat(33),
            "b".repeat(31),
            "c".repeat(32)
        );
        let mut found = BTreeSet::new();
        candidates.in_bytes(text.as_bytes(), &mut found);
        let expected: BTreeSet<String> = [paths[0].clone(), paths[2].clone()].into();
        assert_eq!(found, expected);
    }
}

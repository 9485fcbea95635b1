//! How large the archive (NAR) of a store path is, told from sizes and names alone.
//!
//! Nothing is read, so that it costs a look at each file and no more; a file that was cut off or
//! emptied changes the size, which is what power cuts do.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::host::fs::Kind;
use crate::host::{Fs, FsError};
use crate::payload::Manifest;

type Result<T> = std::result::Result<T, FsError>;

/// Folders within folders before a path counts as damaged rather than deep.
const MAX_DEPTH: usize = 128;

/// Bytes of the archive of what is at a path; 0 when there is nothing, or something that no store
/// path has.
pub(super) fn of(fs: &Fs, path: &Path) -> Result<u64> {
    Ok(word("nix-archive-1") + node(fs, path, 0)?)
}

/// Paths of a release that are not there, or have another size than was registered.
///
/// # Errors
/// When they cannot be looked at.
pub(crate) fn broken(fs: &Fs, manifest: &Manifest) -> Result<Vec<String>> {
    let registered: BTreeMap<String, u64> = registered(&manifest.reginfo).into_iter().collect();
    let mut broken = Vec::new();
    for path in &manifest.paths {
        let at = Path::new(path);
        let is_whole = match registered.get(path) {
            Some(size) => of(fs, at)? == *size,
            None => fs.meta(at)?.is_some(),
        };
        if !is_whole {
            broken.push(path.clone());
        }
    }
    Ok(broken)
}

/// Store paths and the sizes of their archives, from a release's registration.
pub(super) fn registered(reginfo: &str) -> Vec<(String, u64)> {
    let mut lines = reginfo.lines();
    let mut found = Vec::new();
    while let (Some(path), Some(_hash), Some(size), Some(_deriver), Some(count)) = (
        lines.next(),
        lines.next(),
        lines.next(),
        lines.next(),
        lines.next(),
    ) {
        let (Ok(size), Ok(count)) = (size.parse(), count.parse::<usize>()) else {
            break;
        };
        found.push((path.to_owned(), size));
        if count > 0 && lines.nth(count - 1).is_none() {
            break;
        }
    }
    found
}

fn node(fs: &Fs, path: &Path, depth: usize) -> Result<u64> {
    let Some(meta) = fs.meta(path)? else {
        return Ok(0);
    };
    let frame = word("(") + word("type") + word(")");
    Ok(frame
        + match meta.kind {
            Kind::File => {
                let executable = match meta.mode & 0o100 {
                    0 => 0,
                    _ => word("executable") + word(""),
                };
                word("regular") + executable + word("contents") + bytes(meta.size)
            }
            Kind::Link => {
                let target = fs.read_link(path)?.unwrap_or_default();
                let length = target.as_os_str().len() as u64;
                word("symlink") + word("target") + bytes(length)
            }
            Kind::Directory if depth < MAX_DEPTH => {
                let mut sum = word("directory");
                for name in fs.list(path)? {
                    let entry: PathBuf = path.join(&name);
                    sum += word("entry") + word("(") + word("name") + bytes(name.len() as u64);
                    sum += word("node") + node(fs, &entry, depth + 1)? + word(")");
                }
                sum
            }
            Kind::Directory | Kind::Other => 0,
        })
}

fn word(text: &str) -> u64 {
    bytes(text.len() as u64)
}

/// A length, and as many bytes, filled up to eight.
fn bytes(length: u64) -> u64 {
    length.div_ceil(8).saturating_mul(8).saturating_add(8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    #[test]
    fn sizes_are_those_of_the_archives() {
        let machine = Machine::new()
            .file("/empty", "")
            .file("/text", "123456789")
            .link("/link", "target")
            .file("/dir/run", "x")
            .mode("/dir/run", 0o555);
        let size = |path: &str| of(&machine.host().fs, Path::new(path)).unwrap();
        // What `nix-store --dump PATH | wc -c` says.
        assert_eq!(size("/empty"), 112);
        assert_eq!(size("/text"), 128);
        assert_eq!(size("/link"), 120);
        assert_eq!(size("/dir"), 320);
        assert_eq!(size("/none"), 24);
    }

    #[test]
    fn a_registration_is_read_as_far_as_it_goes() {
        let text =
            "/nix/store/a\nh\n7\n\n2\n/nix/store/a\n/nix/store/b\n/nix/store/b\nh\n9\nd\n0\n";
        let expected = [
            ("/nix/store/a".to_owned(), 7),
            ("/nix/store/b".to_owned(), 9),
        ];
        assert_eq!(registered(text), expected);
        assert_eq!(
            registered(&format!("{text}/nix/store/c\nh\nx\n\n0\n")),
            expected
        );
        assert_eq!(registered(""), []);
    }
}

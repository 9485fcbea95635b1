//! Debian packages as files: what apt resolves for a list, each package unpacked by itself and none
//! of them installed. Which file belongs to which package is then simply where it lies.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::debian::{Suite, Variant, bootstrap_with};
use crate::error::{Context, Error, Result};
use crate::exec::Run;
use crate::paths;

/// Deadline for unpacking one package.
const DEADLINE: Duration = Duration::from_secs(120);

/// One package of a suite.
#[derive(Debug, Clone)]
pub struct Deb {
    /// As `libc6`.
    pub name: String,
    /// As `2.41-12`: without the epoch.
    pub version: String,
    /// The folder it is unpacked in.
    pub dir: PathBuf,
}

/// Unpacks these packages (comma-separated) of a suite and all they depend on, each into a folder
/// of its own below `dir`, sorted by name.
pub fn unpack(dir: &Path, suite: Suite, packages: &str) -> Result<Vec<Deb>> {
    let (root, archives) = (dir.join("root"), dir.join("archives"));
    fs::create_dir_all(&archives).context(|| format!("create {}", archives.display()))?;
    let hook = format!(
        "--extract-hook=cp \"$1\"/var/cache/apt/archives/*.deb '{}'",
        archives.display()
    );
    let variant = Variant::Extract;
    bootstrap_with(&root, suite, variant, packages, None, &[hook.as_str()])?;
    paths::remove_tree(&root)?;
    let entries = fs::read_dir(&archives).context(|| format!("read {}", archives.display()))?;
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.sort();
    let debs = files.iter().map(|file| unpack_one(dir, file)).collect();
    paths::remove_tree(&archives)?;
    debs
}

fn unpack_one(dir: &Path, file: &Path) -> Result<Deb> {
    let base = file.file_stem().unwrap_or_default().to_string_lossy();
    let (name, version) = identity(&base)
        .ok_or_else(|| Error::new("unpack a package", format!("odd file name {base}")))?;
    let target = dir.join(name);
    let words = [
        "dpkg-deb",
        "--extract",
        &file.to_string_lossy(),
        &target.to_string_lossy(),
    ];
    Run::new(&words).deadline(DEADLINE).run()?.ok()?;
    Ok(Deb {
        name: name.to_owned(),
        version: version.to_owned(),
        dir: target,
    })
}

/// Name and version out of `NAME_EPOCH%3aVERSION_ARCHITECTURE`.
fn identity(base: &str) -> Option<(&str, &str)> {
    let mut parts = base.split('_');
    let (name, version) = (parts.next()?, parts.next()?);
    parts.next()?;
    Some((name, version.rsplit("%3a").next().unwrap_or(version)))
}

#[cfg(test)]
mod tests {
    use super::identity;

    #[test]
    fn a_file_name_tells_name_and_version() {
        let table = [
            (
                "libc6_2.41-12+deb13u4_amd64",
                Some(("libc6", "2.41-12+deb13u4")),
            ),
            (
                "redis-server_5%3a8.0.2-3_amd64",
                Some(("redis-server", "8.0.2-3")),
            ),
            ("postgresql_17+278_all", Some(("postgresql", "17+278"))),
            ("nonsense", None),
        ];
        for (base, expected) in table {
            assert_eq!(identity(base), expected, "{base}");
        }
    }
}

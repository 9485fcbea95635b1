//! The packages a generation is made of, as an index: which package has a file, which a library.
//!
//! Debian's layout becomes Nix's on the way: `/usr` and the folder of the architecture vanish, and
//! what no service needs at run time (manuals, Debian's own units, interpreters' libraries) is left
//! out. Where two suites are given, the first wins and the second fills the gaps.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::image::Deb;

/// Folders of a package that a program gets, after the move to Nix's layout.
const KEPT: [&str; 8] = [
    "bin/",
    "sbin/",
    "lib/",
    "libexec/",
    "share/postgresql/",
    "share/nginx/",
    "share/git-core/templates/",
    "etc/nginx/",
];
/// Below those, what is not needed: other packagers' integration, compilers' leftovers.
const DROPPED: [&str; 14] = [
    "lib/systemd/",
    "lib/tmpfiles.d/",
    "lib/sysusers.d/",
    "lib/udev/",
    "lib/apt/",
    "lib/perl",
    "lib/python",
    "lib/gconv/",
    "lib/pkgconfig/",
    "lib/resolvconf/",
    "lib/valgrind/",
    "/pgxs/",
    "/bitcode/",
    "/llvmjit",
];

/// A package and its files, keyed by their place in the store path.
#[derive(Debug)]
pub struct Package {
    /// Debian's version, without the epoch.
    pub version: String,
    /// Place in the store path -> file or link in the unpacked package.
    pub files: BTreeMap<String, PathBuf>,
    dir: PathBuf,
}

/// All packages at hand.
#[derive(Debug, Default)]
pub struct Pool {
    packages: BTreeMap<String, Package>,
    libraries: BTreeMap<String, String>,
    owners: BTreeMap<String, String>,
}

impl Pool {
    /// Indexes packages; of two with the same name, library or file, the earlier one counts.
    pub fn read(debs: &[Deb]) -> Result<Self> {
        let mut pool = Self::default();
        for deb in debs {
            if pool.packages.contains_key(&deb.name) {
                continue;
            }
            let package = Package::read(deb)?;
            for place in package.files.keys() {
                pool.owners
                    .entry(place.clone())
                    .or_insert_with(|| deb.name.clone());
                if let Some(library) = library_name(place) {
                    pool.libraries
                        .entry(library.to_owned())
                        .or_insert_with(|| deb.name.clone());
                }
            }
            pool.packages.insert(deb.name.clone(), package);
        }
        Ok(pool)
    }

    /// A package by name.
    pub fn package(&self, name: &str) -> Option<&Package> {
        self.packages.get(name)
    }

    /// The package that has a library, by the name a program asks for it.
    pub fn provider(&self, library: &str) -> Option<&str> {
        self.libraries.get(library).map(String::as_str)
    }

    /// The package that has a file at this place.
    pub fn owner(&self, place: &str) -> Option<&str> {
        self.owners.get(place).map(String::as_str)
    }
}

impl Package {
    fn read(deb: &Deb) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut todo = vec![deb.dir.clone()];
        while let Some(dir) = todo.pop() {
            for entry in fs::read_dir(&dir).context(|| format!("read {}", dir.display()))? {
                let path = entry.context(|| format!("read {}", dir.display()))?.path();
                if path.is_dir() && !path.is_symlink() {
                    todo.push(path);
                } else if let Some(place) = place(&inner(&deb.dir, &path)) {
                    files.insert(place, path);
                }
            }
        }
        Ok(Self {
            version: deb.version.clone(),
            files,
            dir: deb.dir.clone(),
        })
    }

    /// Where a link of this package points, as a place; none when it leads to nothing that is kept.
    pub fn target(&self, link: &Path) -> Option<String> {
        let text = fs::read_link(link).ok()?;
        let text = text.to_string_lossy();
        let from = inner(&self.dir, link);
        let full = match text.strip_prefix('/') {
            Some(absolute) => absolute.to_owned(),
            None => format!(
                "{}/{text}",
                from.rsplit_once('/').map_or("", |(dir, _)| dir)
            ),
        };
        place(&flatten(&full))
    }
}

/// True for what lies beside a library package's manual: the libraries themselves.
pub fn library_name(place: &str) -> Option<&str> {
    let name = place.strip_prefix("lib/")?;
    (!name.contains('/') && name.contains(".so")).then_some(name)
}

/// The place in a store path of a file of a Debian package; none when it is left out.
fn place(path: &str) -> Option<String> {
    let path = path.strip_prefix("usr/").unwrap_or(path);
    let path = path.replacen("lib64/", "lib/", 1);
    let place = match path
        .strip_prefix("lib/")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((triplet, rest)) if triplet.ends_with("-linux-gnu") => format!("lib/{rest}"),
        _ => path,
    };
    let kept = KEPT.iter().any(|prefix| place.starts_with(prefix));
    let dropped = DROPPED.iter().any(|part| match part.strip_prefix('/') {
        Some(_) => place.contains(part),
        None => place.starts_with(part),
    });
    (kept && !dropped && !place.ends_with(".a")).then_some(place)
}

fn inner(dir: &Path, path: &Path) -> String {
    let path = path.strip_prefix(dir).unwrap_or(path);
    path.to_string_lossy().into_owned()
}

/// Takes `.` and `..` out of a path.
fn flatten(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let table = [
            ("usr/lib/x86_64-linux-gnu/libc.so.6", Some("lib/libc.so.6")),
            ("lib/aarch64-linux-gnu/libz.so.1", Some("lib/libz.so.1")),
            ("usr/sbin/nginx", Some("sbin/nginx")),
            ("bin/bash", Some("bin/bash")),
            (
                "usr/lib64/ld-linux-x86-64.so.2",
                Some("lib/ld-linux-x86-64.so.2"),
            ),
            ("usr/lib/postgresql/17/lib/llvmjit.so", None),
            (
                "usr/lib/postgresql/17/bin/postgres",
                Some("lib/postgresql/17/bin/postgres"),
            ),
            ("usr/lib/systemd/system/nginx.service", None),
            ("usr/share/doc/x/copyright", None),
            ("etc/nginx/mime.types", Some("etc/nginx/mime.types")),
            ("etc/init.d/nginx", None),
            ("usr/lib/x86_64-linux-gnu/gconv/BIG5.so", None),
        ];
        for (path, expected) in table {
            assert_eq!(place(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn only_the_library_folder_itself_is_searched() {
        assert_eq!(library_name("lib/libc.so.6"), Some("libc.so.6"));
        assert_eq!(library_name("lib/sasl2/libcrammd5.so"), None);
        assert_eq!(library_name("bin/ld.so"), None);
    }

    #[test]
    fn dots_are_taken_out() {
        assert_eq!(flatten("usr/bin/../lib/./x"), "usr/lib/x");
    }
}

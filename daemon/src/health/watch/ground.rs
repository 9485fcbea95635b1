//! What the machine's own files say must be watched, or listened to, too.
//!
//! Read anew whenever one of them changed. What cannot be read says nothing: the checks tell of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nixctl_planner::units::{Fstab, Mode, UnitFile, escape_path};

use crate::catalogue::facts::leftovers::UNIT_DIR;
use crate::catalogue::facts::links::follow;
use crate::health::look::conf::{self, ConfText, NIX_CONF};
use crate::health::look::mounts::{FSTAB, POINTS, device_path};
use crate::host::Fs;

/// Largest file that is read.
const LIMIT: u64 = 1 << 20;
/// How many files of settings are read.
const MAX_FILES: usize = 16;
/// Where mount units have their files; those made from fstab are not needed, because it is read.
const UNIT_DIRS: [&str; 3] = [UNIT_DIR, "/usr/lib/systemd/system", "/lib/systemd/system"];

/// What the machine's own files say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ground {
    /// Where something may be mounted that holds the store or a part of it.
    pub points: BTreeSet<PathBuf>,
    /// What these mounts are made from: devices by name, images, folders.
    pub sources: BTreeSet<PathBuf>,
    /// Files that nix.conf includes, there or not.
    pub includes: BTreeSet<PathBuf>,
    /// Files that Nix's settings name.
    pub named: BTreeSet<PathBuf>,
}

impl Ground {
    /// Reads fstab, mount units and Nix's settings.
    pub fn read(fs: &Fs) -> Ground {
        let mut ground = Ground {
            points: POINTS.map(PathBuf::from).into(),
            ..Ground::default()
        };
        let fstab = text(fs, Path::new(FSTAB)).unwrap_or_default();
        for (point, it) in Fstab::parse(&fstab, Mode::Right).file_systems {
            if Path::new(&point).starts_with("/nix") {
                ground.sources.extend(source(&it.device));
                ground.points.insert(point.into());
            }
        }
        for point in POINTS {
            let name = format!("{}.mount", escape_path(point));
            for folder in UNIT_DIRS {
                let path = Path::new(folder).join(&name);
                let text = text(fs, &path).unwrap_or_default();
                let unit = UnitFile::parse(&path.to_string_lossy(), text.as_bytes());
                let what = unit.ok().and_then(|it| source(it.last("Mount", "What")?));
                ground.sources.extend(what);
            }
        }
        ground.read_conf(fs);
        ground
    }

    fn read_conf(&mut self, fs: &Fs) {
        let mut left = vec![PathBuf::from(NIX_CONF)];
        for _ in 0..MAX_FILES {
            let Some(path) = left.pop() else {
                return;
            };
            for item in conf::parse(&path, &text(fs, &path).unwrap_or_default()) {
                match item {
                    ConfText::Include { target, .. } => {
                        if self.includes.insert(target.clone()) {
                            left.push(target);
                        }
                    }
                    ConfText::Set(setting) if conf::FILES.contains(&setting.key.as_str()) => {
                        self.named.extend(setting.paths());
                    }
                    ConfText::Set(_) | ConfText::Wrong(_) => {}
                }
            }
        }
    }
}

/// The path of what is mounted, when it has one.
fn source(device: &str) -> Option<PathBuf> {
    let path = device_path(device).unwrap_or_else(|| PathBuf::from(device));
    path.is_absolute().then_some(path)
}

fn text(fs: &Fs, path: &Path) -> Option<String> {
    let end = follow(fs, path).ok().flatten()?.path;
    let bytes = fs.read(&end, LIMIT).ok().flatten()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    fn paths<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Vec<&'a str> {
        let paths = paths.into_iter();
        paths.map(|path| path.to_str().unwrap()).collect()
    }

    #[test]
    fn mounts_of_the_store_and_files_of_the_settings_are_found() {
        let machine = Machine::new()
            .file(
                "/etc/fstab",
                "UUID=aa-bb /nix ext4 nofail 0 2\n/srv/disk /nix/store none bind 0 0\n\
                 /dev/vdc /srv ext4 defaults 0 0\ntmpfs /nix/var/nix/b tmpfs defaults 0 0\n",
            )
            .file(
                "/etc/systemd/system/nix-var.mount",
                "[Mount]\nWhat=/dev/disk/by-label/var\nWhere=/nix/var\n",
            )
            .file(
                NIX_CONF,
                "!include a.conf\nnetrc-file = /etc/netrc\ncores = 1\n",
            )
            .file(
                "/etc/nix/a.conf",
                "include /etc/b\npost-build-hook = /bin/hook\n",
            );
        let ground = Ground::read(&machine.host().fs);
        let sources = [
            "/dev/disk/by-label/var",
            "/dev/disk/by-uuid/aa-bb",
            "/srv/disk",
        ];
        assert_eq!(paths(&ground.sources), sources);
        assert!(ground.points.contains(Path::new("/nix/var/nix/b")));
        assert!(!ground.points.contains(Path::new("/srv")));
        assert_eq!(paths(&ground.includes), ["/etc/b", "/etc/nix/a.conf"]);
        assert_eq!(paths(&ground.named), ["/bin/hook", "/etc/netrc"]);
    }

    #[test]
    fn files_that_include_each_other_end() {
        let machine = Machine::new().file(NIX_CONF, "include nix.conf\n");
        assert_eq!(Ground::read(&machine.host().fs).includes.len(), 1);
        assert!(Ground::read(&Machine::new().host().fs).sources.is_empty());
    }
}

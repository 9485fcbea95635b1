//! Units of an image that is not running: enabling is links, as `systemctl --root` makes them.
//!
//! What the `[Install]` section of a unit file asks for (`WantedBy`, `RequiredBy`, `Alias`,
//! `Also`) becomes links in /etc/systemd/system of the image. Templates and presets are not
//! handled; none of our units needs them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{ServiceError, ServiceManager, UnitState};
use crate::host::fs::{Fs, FsError, Kind};

/// Where links are made, and the first place where unit files are looked for.
const CONFIGURATION: &str = "/etc/systemd/system";

/// The other places, in their order.
const VENDOR: [&str; 3] = [
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// Bytes of a unit file that are read.
const UNIT_LIMIT: u64 = 1 << 20;

/// Units of an image.
#[derive(Debug, Clone)]
pub struct ImageUnits {
    fs: Fs,
}

impl ImageUnits {
    /// Units of the image below the root of `fs`.
    pub fn new(fs: Fs) -> Self {
        ImageUnits { fs }
    }

    /// The unit's file and its text; `None` when there is none.
    fn find(&self, unit: &str) -> Result<Option<(PathBuf, String)>, FsError> {
        for dir in std::iter::once(CONFIGURATION).chain(VENDOR) {
            let path = Path::new(dir).join(unit);
            match self.fs.meta(&path)?.map(|meta| meta.kind) {
                Some(Kind::File) => {
                    let text = self.fs.read(&path, UNIT_LIMIT)?.unwrap_or_default();
                    return Ok(Some((path, String::from_utf8_lossy(&text).into_owned())));
                }
                Some(_) => return Ok(Some((path, String::new()))),
                None => {}
            }
        }
        Ok(None)
    }

    fn is_masked(&self, path: &Path) -> Result<bool, FsError> {
        Ok(self
            .fs
            .read_link(path)?
            .is_some_and(|target| target == Path::new("/dev/null")))
    }

    /// Every link that enabling the unit means, units named by `Also` included.
    fn links(&self, unit: &str) -> Result<Vec<Link>, FsError> {
        let mut pending = vec![unit.to_owned()];
        let mut seen: Vec<String> = Vec::new();
        let mut links = Vec::new();
        while let Some(unit) = pending.pop() {
            if seen.contains(&unit) {
                continue;
            }
            if let Some((file, text)) = self.find(&unit)? {
                let install = Install::parse(&text);
                links.extend(install.links(&unit, &file));
                pending.extend(install.also);
            }
            seen.push(unit);
        }
        Ok(links)
    }

    fn is_linked(&self, link: &Link) -> Result<bool, FsError> {
        Ok(self.fs.read_link(&link.path)?.is_some())
    }
}

impl ServiceManager for ImageUnits {
    fn is_running(&self) -> bool {
        false
    }

    fn reload(&self) -> Result<(), ServiceError> {
        Ok(())
    }

    fn state(&self, unit: &str) -> Result<UnitState, ServiceError> {
        let state = || -> Result<UnitState, FsError> {
            let Some((file, text)) = self.find(unit)? else {
                return Ok(UnitState::not_found());
            };
            let (load, enabled) = if self.is_masked(&file)? {
                ("masked", "masked")
            } else {
                ("loaded", self.file_state(unit, &file, &text)?)
            };
            Ok(UnitState {
                load: load.to_owned(),
                active: "inactive".to_owned(),
                file: enabled.to_owned(),
                fragment: file.to_string_lossy().into_owned(),
            })
        };
        state().map_err(|error| refused("read", unit, &error))
    }

    fn enable(&self, unit: &str) -> Result<(), ServiceError> {
        let state = self.state(unit)?;
        if state.load != "loaded" {
            let why = format!("the unit is {}", state.load);
            return Err(ServiceError::Refused {
                action: "enable",
                unit: unit.to_owned(),
                why,
            });
        }
        let fail = |error: FsError| refused("enable", unit, &error);
        for link in self.links(unit).map_err(fail)? {
            if let Some(dir) = link.path.parent()
                && !self.fs.is_dir(dir)
            {
                self.fs.create_dir(dir, 0o755).map_err(fail)?;
            }
            self.fs.symlink(&link.target, &link.path).map_err(fail)?;
        }
        Ok(())
    }

    fn disable(&self, unit: &str) -> Result<(), ServiceError> {
        let fail = |error: FsError| refused("disable", unit, &error);
        for link in self.links(unit).map_err(fail)? {
            if !self.is_linked(&link).map_err(fail)? {
                continue;
            }
            self.fs.remove_file(&link.path).map_err(fail)?;
            match link.path.parent() {
                Some(dir) if dir != Path::new(CONFIGURATION) => {
                    self.fs.remove_dir(dir).map_err(fail)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn start(&self, unit: &str, _deadline: Duration) -> Result<(), ServiceError> {
        Err(not_running("start", unit))
    }

    fn stop(&self, _unit: &str, _deadline: Duration) -> Result<(), ServiceError> {
        Ok(())
    }

    fn restart(&self, unit: &str, _deadline: Duration) -> Result<(), ServiceError> {
        Err(not_running("restart", unit))
    }

    fn reset_failed(&self, _unit: &str) -> Result<(), ServiceError> {
        Ok(())
    }
}

impl ImageUnits {
    /// The word of `systemctl is-enabled`.
    fn file_state(&self, unit: &str, file: &Path, text: &str) -> Result<&'static str, FsError> {
        let links = Install::parse(text).links(unit, file);
        if links.is_empty() {
            return Ok("static");
        }
        for link in &links {
            if self.is_linked(link)? {
                return Ok("enabled");
            }
        }
        Ok("disabled")
    }
}

fn refused(action: &'static str, unit: &str, error: &FsError) -> ServiceError {
    ServiceError::Refused {
        action,
        unit: unit.to_owned(),
        why: error.to_string(),
    }
}

fn not_running(action: &'static str, unit: &str) -> ServiceError {
    let why = "the machine of this image is not running".to_owned();
    ServiceError::Refused {
        action,
        unit: unit.to_owned(),
        why,
    }
}

/// A link that enabling makes.
#[derive(Debug, PartialEq, Eq)]
struct Link {
    path: PathBuf,
    target: PathBuf,
}

/// What an `[Install]` section asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Install {
    wanted_by: Vec<String>,
    required_by: Vec<String>,
    alias: Vec<String>,
    also: Vec<String>,
}

impl Install {
    fn parse(text: &str) -> Self {
        let mut install = Install::default();
        let mut inside = false;
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                inside = line == "[Install]";
                continue;
            }
            let Some((key, value)) = line.split_once('=').filter(|_| inside) else {
                continue;
            };
            let list = match key.trim() {
                "WantedBy" => &mut install.wanted_by,
                "RequiredBy" => &mut install.required_by,
                "Alias" => &mut install.alias,
                "Also" => &mut install.also,
                _ => continue,
            };
            let names: Vec<&str> = value.split_whitespace().collect();
            if names.is_empty() {
                list.clear();
            }
            // A name with a slash would lead out of the folder of links.
            list.extend(
                names
                    .iter()
                    .filter(|name| !name.contains('/'))
                    .map(|&n| n.to_owned()),
            );
        }
        install
    }

    fn links(&self, unit: &str, file: &Path) -> Vec<Link> {
        let dir = Path::new(CONFIGURATION);
        let wants = self
            .wanted_by
            .iter()
            .map(|by| dir.join(format!("{by}.wants")).join(unit));
        let requires = self
            .required_by
            .iter()
            .map(|by| dir.join(format!("{by}.requires")).join(unit));
        let alias = self
            .alias
            .iter()
            .filter(|&alias| alias != unit)
            .map(|alias| dir.join(alias));
        wants
            .chain(requires)
            .chain(alias)
            .map(|path| Link {
                path,
                target: file.to_owned(),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKET: &str = "[Unit]\nWantedBy=nothing.target\n[Socket]\nListenStream=/s\n\n[Install]\n\
        WantedBy=sockets.target multi-user.target\nAlias=other.socket\nAlso=nix-daemon.service\n";
    const SERVICE: &str = "[Service]\nExecStart=/x\n[Install]\nRequiredBy = a.target\n";

    fn image() -> (tempfile::TempDir, Fs, ImageUnits) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc/systemd/system")).unwrap();
        std::fs::create_dir_all(dir.path().join("usr/lib/systemd/system")).unwrap();
        std::fs::write(
            dir.path().join("etc/systemd/system/nix-daemon.socket"),
            SOCKET,
        )
        .unwrap();
        std::fs::write(
            dir.path().join("usr/lib/systemd/system/nix-daemon.service"),
            SERVICE,
        )
        .unwrap();
        std::fs::write(
            dir.path().join("usr/lib/systemd/system/plain.service"),
            "[Service]\n",
        )
        .unwrap();
        let fs = Fs::at(dir.path());
        (dir, fs.clone(), ImageUnits::new(fs))
    }

    #[test]
    fn enabling_makes_the_links_and_disabling_takes_them_away() {
        let (_dir, fs, units) = image();
        let before = fs.list(Path::new(CONFIGURATION)).unwrap();
        assert_eq!(units.state("nix-daemon.socket").unwrap().file, "disabled");
        for _ in 0..2 {
            units.enable("nix-daemon.socket").unwrap();
            for (link, target) in [
                (
                    "sockets.target.wants/nix-daemon.socket",
                    "etc/systemd/system/nix-daemon.socket",
                ),
                (
                    "multi-user.target.wants/nix-daemon.socket",
                    "etc/systemd/system/nix-daemon.socket",
                ),
                ("other.socket", "etc/systemd/system/nix-daemon.socket"),
                (
                    "a.target.requires/nix-daemon.service",
                    "usr/lib/systemd/system/nix-daemon.service",
                ),
            ] {
                let seen = fs.read_link(&Path::new(CONFIGURATION).join(link)).unwrap();
                assert_eq!(seen, Some(Path::new("/").join(target)), "{link}");
            }
            assert!(units.state("nix-daemon.socket").unwrap().is_enabled());
        }
        units.disable("nix-daemon.socket").unwrap();
        units.disable("nix-daemon.socket").unwrap();
        assert_eq!(fs.list(Path::new(CONFIGURATION)).unwrap(), before);
        assert_eq!(units.state("nix-daemon.socket").unwrap().file, "disabled");
    }

    #[test]
    fn states_are_those_of_systemctl() {
        let (dir, _fs, units) = image();
        assert_eq!(units.state("plain.service").unwrap().file, "static");
        assert_eq!(units.state("none.service").unwrap().load, "not-found");
        std::os::unix::fs::symlink("/dev/null", dir.path().join("etc/systemd/system/m.service"))
            .unwrap();
        assert_eq!(units.state("m.service").unwrap().load, "masked");
        assert!(units.enable("m.service").is_err());
        assert!(units.enable("none.service").is_err());
        units.disable("none.service").unwrap();
        units.stop("none.service", Duration::ZERO).unwrap();
        assert!(units.start("plain.service", Duration::ZERO).is_err());
    }

    #[test]
    fn a_name_with_a_slash_leads_nowhere() {
        let install = Install::parse("[Install]\nWantedBy=../../x a.target\nAlias=/etc/passwd\n");
        assert_eq!(install.wanted_by, ["a.target"]);
        assert!(install.alias.is_empty());
        assert!(
            Install::parse("[Install]\nWantedBy=a.target\nWantedBy=\n")
                .wanted_by
                .is_empty()
        );
    }
}

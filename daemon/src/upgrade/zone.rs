//! Time zones: those of the machine, read through [`Fs`], else those that come with the program.
//!
//! The machine's own go first because they are kept current. Many machines have none, containers
//! above all; for them there is a copy in the program. What `/etc/localtime` says is taken only when
//! the settings name no zone; a machine without it is at UTC, as localtime(5) has it.

use std::path::{Component, Path, PathBuf};

use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::window::{WindowError, Windows};
use crate::host::Fs;

/// The machine's time zone: a link to a file of a zone, or such a file.
pub const LOCALTIME: &str = "/etc/localtime";
/// Folders that may hold the files of the zones.
const FOLDERS: [&str; 3] = ["/usr/share/zoneinfo", "/etc/zoneinfo", "/usr/lib/zoneinfo"];
/// The largest real one has 4 KiB.
const MAX_FILE_BYTES: u64 = 64 << 10;
/// Links from one name of a zone to another.
const MAX_LINKS: u32 = 8;

/// The time zones of a machine.
#[derive(Debug, Clone)]
pub struct Zones {
    fs: Fs,
}

/// The machine's time zone.
#[derive(Debug, Clone)]
pub struct Local {
    /// The zone.
    pub zone: TimeZone,
    /// Why it is UTC although nobody said so.
    pub note: Option<String>,
}

impl Zones {
    /// Those of the machine with these files.
    pub fn new(fs: Fs) -> Zones {
        Zones { fs }
    }

    /// The zone of that name, such as `Europe/Berlin`.
    pub fn named(&self, name: &str) -> Option<TimeZone> {
        if !is_name(name) {
            return None;
        }
        let mut folders = FOLDERS.iter();
        let own = folders.find_map(|folder| {
            let bytes = self.follow(&Path::new(folder).join(name)).1?;
            TimeZone::tzif(name, &bytes).ok()
        });
        own.or_else(|| TimeZoneDatabase::bundled().get(name).ok())
    }

    /// The zone that the machine is set to.
    pub fn local(&self) -> Local {
        let utc = |why: &str| Local {
            zone: TimeZone::UTC,
            note: Some(format!(
                "windows without a time zone are read as UTC: {LOCALTIME} {why}"
            )),
        };
        let (path, bytes) = self.follow(Path::new(LOCALTIME));
        let text = path.to_string_lossy();
        let name = text.split_once("zoneinfo/").map(|(_, name)| name);
        let read = bytes
            .as_ref()
            .and_then(|bytes| TimeZone::tzif(name.unwrap_or(LOCALTIME), bytes).ok());
        match read.or_else(|| self.named(name?)) {
            Some(zone) => Local { zone, note: None },
            None if bytes.is_some() => utc("is no file of a time zone"),
            None if path != Path::new(LOCALTIME) => utc("leads nowhere"),
            None => utc("is not there"),
        }
    }

    /// The windows of the settings: `[upgrade] windows` and `time_zone`, which is that of the
    /// machine when empty. Also what should be told about the zone.
    ///
    /// # Errors
    /// A window is wrong, or there is no such zone. Then nobody knows when nothing must happen: no
    /// window is open.
    pub fn windows(
        &self,
        windows: &[String],
        time_zone: &str,
    ) -> Result<(Windows, Option<String>), WindowError> {
        if windows.is_empty() {
            return Ok((Windows::default(), None));
        }
        let local = match time_zone {
            "" => self.local(),
            name => Local {
                zone: self
                    .named(name)
                    .ok_or_else(|| WindowError::NoSuchZone(name.to_owned()))?,
                note: None,
            },
        };
        let parsed = Windows::parse(windows, &local.zone, &|name| self.named(name))?;
        Ok((parsed, local.note))
    }

    /// Follows links to a file; where they ended, and what it holds.
    fn follow(&self, path: &Path) -> (PathBuf, Option<Vec<u8>>) {
        let mut at = path.to_owned();
        for _ in 0..MAX_LINKS {
            match self.fs.read_link(&at) {
                Ok(Some(target)) => at = joined(&at, &target),
                _ => break,
            }
        }
        let bytes = self.fs.read(&at, MAX_FILE_BYTES).ok().flatten();
        (at, bytes)
    }
}

/// Where a link at `path` leads, without `..`.
fn joined(path: &Path, target: &Path) -> PathBuf {
    let mut joined = path.parent().unwrap_or(path).to_owned();
    for part in target.components() {
        match part {
            Component::RootDir => joined = PathBuf::from("/"),
            Component::ParentDir => drop(joined.pop()),
            Component::Normal(name) => joined.push(name),
            Component::CurDir | Component::Prefix(_) => {}
        }
    }
    joined
}

fn is_name(name: &str) -> bool {
    let is_part = |part: &str| !part.is_empty() && !part.starts_with('.');
    !name.contains('\0') && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use jiff::Timestamp;

    use super::*;

    /// A machine with one zone of its own, which is an hour and a minute before UTC.
    fn machine() -> (tempfile::TempDir, Zones) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["etc", "usr/share/zoneinfo/Here"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("usr/share/zoneinfo/Here/Town"), own_zone()).unwrap();
        let zones = Zones::new(Fs::at(dir.path()));
        (dir, zones)
    }

    fn own_zone() -> Vec<u8> {
        let mut file = Vec::new();
        for version in 0..2 {
            file.extend(b"TZif2");
            file.extend([0; 15]);
            for count in [0u32, 0, 0, 0, 1, 4] {
                file.extend(count.to_be_bytes());
            }
            file.extend(3660i32.to_be_bytes());
            file.extend([0, 0]);
            file.extend(b"OWN\0");
            if version == 1 {
                file.extend(b"\nOWN-1:01\n");
            }
        }
        file
    }

    fn offset(zone: &TimeZone) -> i32 {
        zone.to_offset(Timestamp::UNIX_EPOCH).seconds()
    }

    #[test]
    fn the_machines_zones_go_before_those_of_the_program() {
        let (dir, zones) = machine();
        assert_eq!(offset(&zones.named("Here/Town").unwrap()), 3660);
        assert_eq!(offset(&zones.named("Europe/Berlin").unwrap()), 3600);
        assert_eq!(offset(&zones.named("UTC").unwrap()), 0);
        let share = dir.path().join("usr/share/zoneinfo");
        std::fs::create_dir(share.join("Europe")).unwrap();
        symlink("../Here/Town", share.join("Europe/Berlin")).unwrap();
        assert_eq!(offset(&zones.named("Europe/Berlin").unwrap()), 3660);
        std::fs::write(dir.path().join("etc/secret"), own_zone()).unwrap();
        for name in [
            "Europe/Bärlin",
            "Nowhere",
            "",
            "/",
            "Here",
            "../../../etc/secret",
            "/etc/secret",
        ] {
            assert!(zones.named(name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_machine_says_where_it_is() {
        type Make = fn(&Path);
        let cases: [(&str, Make, i32, &str); 8] = [
            ("none", |_| {}, 0, "is not there"),
            (
                "a file",
                |at| std::fs::write(at, own_zone()).unwrap(),
                3660,
                "",
            ),
            (
                "a link",
                |at| symlink("/usr/share/zoneinfo/Here/Town", at).unwrap(),
                3660,
                "",
            ),
            (
                "a relative link",
                |at| symlink("../usr/share/zoneinfo/Here/Town", at).unwrap(),
                3660,
                "",
            ),
            (
                "a zone that the machine lacks",
                |at| symlink("/usr/share/zoneinfo/Asia/Tokyo", at).unwrap(),
                9 * 3600,
                "",
            ),
            (
                "nowhere",
                |at| symlink("/usr/share/zoneinfo/Here/Nobody", at).unwrap(),
                0,
                "leads nowhere",
            ),
            (
                "a loop",
                |at| symlink("localtime", at).unwrap(),
                0,
                "is not there",
            ),
            (
                "nonsense",
                |at| std::fs::write(at, "noon").unwrap(),
                0,
                "is no file of",
            ),
        ];
        for (about, make, seconds, note) in cases {
            let (dir, zones) = machine();
            make(&dir.path().join("etc/localtime"));
            let local = zones.local();
            assert_eq!(offset(&local.zone), seconds, "{about}");
            match note {
                "" => assert_eq!(local.note, None, "{about}"),
                part => assert!(local.note.unwrap().contains(part), "{about}"),
            }
        }
    }

    #[test]
    fn the_settings_name_the_zone_or_the_machine_does() {
        let (dir, zones) = machine();
        let all = ["daily 03:00+1h".to_owned()];
        // 03:30 of the own zone.
        let moment = 1000 * (2 * 3600 + 29 * 60);
        let (windows, note) = zones.windows(&all, "Here/Town").unwrap();
        assert!(windows.is_open(moment) && note.is_none());
        let (windows, note) = zones.windows(&all, "").unwrap();
        assert!(!windows.is_open(moment) && note.unwrap().contains("UTC"));
        let localtime = dir.path().join("etc/localtime");
        symlink("/usr/share/zoneinfo/Here/Town", localtime).unwrap();
        let (windows, note) = zones.windows(&all, "").unwrap();
        assert!(windows.is_open(moment) && note.is_none());
        let error = zones.windows(&all, "Here/Twon").unwrap_err().to_string();
        assert!(error.contains("Here/Twon"), "{error}");
        // Nobody asks for the zone of no windows.
        assert!(zones.windows(&[], "Here/Twon").unwrap().0.is_open(moment));
    }
}

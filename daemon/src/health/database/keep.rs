//! Whether a copy is due, and making it: for the daemon when it has nothing else to do.
//!
//! An attempt that fails is not repeated at once: what was wrong with the database, or with the disk,
//! mostly still is. It never costs a good copy.

use std::path::Path;

use nixctl_proto::settings::{HealthSettings, Settings};

use super::{COPIES_DIR, DatabaseError, Report, Work, carry_out, copies};
use crate::health::look::{LookError, Scene, is_store_away};
use crate::host::{Cancel, Fs, Host};
use crate::payload::PayloadError;
use crate::payload::files::private_dir;
use crate::payload::worker::Worker;
use crate::resource::Silent;

/// When the last attempt that failed began, in milliseconds since 1970.
const TRIED: &str = "/var/lib/nixctl/database/tried";
const MAX_TRIED_BYTES: u64 = 64;
/// Longest pause after an attempt that failed, in milliseconds.
const PAUSE: u64 = 3_600_000;

/// Why no copy was made.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// It cannot be told whether the store is mounted.
    #[error(transparent)]
    Look(#[from] LookError),
    /// The copy itself.
    #[error(transparent)]
    Copy(#[from] PayloadError),
}

impl From<DatabaseError> for KeepError {
    fn from(error: DatabaseError) -> KeepError {
        KeepError::Copy(error.into())
    }
}

/// Makes a copy of Nix's database when one is due, in a child; nothing: none was.
///
/// # Errors
/// When it could not be made. The good copies that there are stay.
pub fn keep_copies(
    host: &Host,
    worker: &dyn Worker,
    settings: &HealthSettings,
    cancel: &Cancel,
) -> Result<Option<Report>, KeepError> {
    let now = host.clock.now();
    let every = settings.database_copy_seconds.saturating_mul(1000);
    if settings.database_copies == 0 || !is_due(&host.fs, every, now)? || is_away(host, cancel)? {
        return Ok(None);
    }
    let work = Work::Copy {
        keep: settings.database_copies,
        reserve: settings.low_space_bytes,
        at: now,
    };
    private_dir(&host.fs, Path::new(COPIES_DIR)).map_err(DatabaseError::from)?;
    let tried = host
        .fs
        .write(Path::new(TRIED), now.to_string().as_bytes(), 0o600, None);
    tried.map_err(DatabaseError::from)?;
    let report = match carry_out(worker, &host.fs, work, &Silent, cancel) {
        Err(error) if !error.is_stopped() => return Err(error.into()),
        ended => {
            let removed = host.fs.remove_file(Path::new(TRIED));
            removed.map_err(DatabaseError::from)?;
            ended?
        }
    };
    Ok(Some(report))
}

fn is_due(fs: &Fs, every: u64, now: u64) -> Result<bool, DatabaseError> {
    // Where there is no database there is nothing to copy, however many copies there are.
    if copies::changed(fs)? == 0 || !copies::is_due(fs, every, now)? {
        return Ok(false);
    }
    let tried = fs.read(Path::new(TRIED), MAX_TRIED_BYTES)?;
    let tried = tried.and_then(|bytes| String::from_utf8(bytes).ok()?.parse::<u64>().ok());
    // However the clock was set.
    Ok(tried.is_none_or(|tried| now.abs_diff(tried) >= every.min(PAUSE)))
}

fn is_away(host: &Host, cancel: &Cancel) -> Result<bool, LookError> {
    is_store_away(&Scene::bare(host, &Settings::default(), cancel))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::testing::Machine;
    use super::*;
    use crate::host::fake::{self, FixedClock};
    use crate::payload::worker::InProcess;

    const NOW: u64 = 1_800_000_000_000;

    fn keep(
        machine: &Machine,
        now: u64,
        settings: &HealthSettings,
    ) -> Result<Option<Report>, KeepError> {
        let (mut host, ..) = fake::host(machine.dir.path());
        host.clock = Arc::new(FixedClock(now));
        let worker = InProcess::new(host.fs.clone());
        keep_copies(&host, &worker, settings, &Cancel::default())
    }

    fn settings(copies: u32) -> HealthSettings {
        HealthSettings {
            database_copies: copies,
            low_space_bytes: 0,
            ..HealthSettings::default()
        }
    }

    fn number(machine: &Machine) -> usize {
        copies::all(&machine.fs).unwrap().len()
    }

    #[test]
    fn copies_are_made_when_they_are_due() {
        let machine = Machine::new(10);
        let every = 24 * 3_600_000;
        assert!(keep(&machine, NOW, &settings(0)).unwrap().is_none());
        assert_eq!(number(&machine), 0);
        let made = |now| keep(&machine, now, &settings(2)).unwrap();
        assert!(matches!(made(NOW), Some(Report::Copied { .. })));
        assert_eq!(made(NOW + every), None, "nothing was changed");
        for (add, changes, copies) in [(every - 1, 20, 1), (every, 30, 2), (2 * every, 40, 2)] {
            machine.add(&machine.nix(), changes..changes + 1);
            made(NOW + add);
            assert_eq!(number(&machine), copies, "{add}");
        }
        assert!(!machine.path(TRIED).exists());
    }

    #[test]
    fn a_damaged_database_costs_no_good_copy_and_is_not_tried_again_at_once() {
        let machine = Machine::new(2000);
        let settings = settings(1);
        keep(&machine, NOW, &settings).unwrap();
        let good = copies::all(&machine.fs).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        machine.damage(5..20);
        let mut now = NOW + 24 * 3_600_000;
        assert!(keep(&machine, now, &settings).is_err());
        assert_eq!(copies::all(&machine.fs).unwrap(), good);
        now += PAUSE - 1;
        assert_eq!(keep(&machine, now, &settings).unwrap(), None);
        assert!(keep(&machine, now + 1, &settings).is_err());
        for content in [Some(""), None] {
            let path = machine.path(super::super::DATABASE);
            match content {
                Some(content) => std::fs::write(path, content).unwrap(),
                None => std::fs::remove_file(path).unwrap(),
            }
            now += 48 * 3_600_000;
            assert_eq!(keep(&machine, now, &settings).unwrap(), None);
        }
        assert_eq!(copies::all(&machine.fs).unwrap(), good);
    }

    #[test]
    fn a_store_that_is_not_mounted_is_not_copied() {
        let machine = Machine::new(10);
        std::fs::create_dir(machine.path("/etc")).unwrap();
        std::fs::write(
            machine.path("/etc/fstab"),
            "/dev/vdb /nix ext4 defaults 0 0\n",
        )
        .unwrap();
        assert_eq!(keep(&machine, NOW, &settings(3)).unwrap(), None);
        assert_eq!(number(&machine), 0);
    }
}

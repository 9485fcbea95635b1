//! Removes machines whose test process is gone (killed by a timeout, a Ctrl-C, a full memory).
//!
//! A machine's folder names the process that made it, with its start time, since ids come again.
//! Machines kept on purpose stay until [`sweep_kept`].

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::cgroup::Cgroup;
use super::power;
use crate::error::{Context, Result};
use crate::paths;

/// A folder without owner is being made; after this it is what is left of a crash.
const GRACE: Duration = Duration::from_secs(60);

/// Writes down that this process made the machine.
pub(super) fn claim(dir: &Path) -> Result<()> {
    let id = std::process::id();
    let text = format!("{id} {}", started(id).unwrap_or_default());
    fs::write(dir.join("owner"), text).context(|| format!("claim {}", dir.display()))
}

/// Removes machines that nobody owns any more.
pub fn sweep() -> Result<()> {
    sweep_where(|dir| !dir.join("keep").exists() && is_orphan(dir))
}

/// The same, and those that were kept on purpose.
pub fn sweep_kept() -> Result<()> {
    sweep_where(|dir| dir.join("keep").exists() || is_orphan(dir))
}

fn sweep_where(condemned: impl Fn(&Path) -> bool) -> Result<()> {
    let machines = paths::lab("machines")?;
    let entries = fs::read_dir(&machines).context(|| format!("read {}", machines.display()))?;
    for entry in entries.flatten().filter(|entry| condemned(&entry.path())) {
        let name = entry.file_name().to_string_lossy().into_owned();
        Cgroup::named(&name).kill()?;
        power::remove(&name, &entry.path());
    }
    Ok(())
}

fn is_orphan(dir: &Path) -> bool {
    match fs::read_to_string(dir.join("owner")) {
        Ok(owner) => {
            let (id, since) = owner.split_once(' ').unwrap_or((&owner, ""));
            let alive = id.parse().ok().and_then(started);
            alive.is_none_or(|start| start != since)
        }
        Err(_) => {
            let age = fs::metadata(dir).and_then(|data| data.modified()).ok();
            age.and_then(|time| time.elapsed().ok())
                .is_some_and(|age| age > GRACE)
        }
    }
}

/// When a process started, in the kernel's ticks since boot; none when there is no such process.
fn started(id: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    stat.rsplit(')')
        .next()?
        .split_whitespace()
        .nth(19)
        .map(str::to_owned)
}

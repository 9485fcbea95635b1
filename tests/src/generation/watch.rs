//! Looks at a machine again and again while something happens in it.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::Machine;
use crate::error::{Error, Result};
use crate::exec::Run;

/// Pause between two looks.
const TICK: Duration = Duration::from_millis(100);
/// The unit and the program of the daemon.
const DAEMON: (&str, &str) = ("nixctld.service", "nixctld");

/// The most that was seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peaks {
    /// Bytes in use on /nix.
    pub disk: u64,
    /// Resident bytes of all processes of the daemon's program together; Nix's own are not counted.
    pub daemon: u64,
    /// The most resident bytes that one of them ever had.
    pub process: u64,
}

/// Runs `work` and tells beside its result the most that was seen meanwhile.
pub fn peaks<T>(machine: &Machine, work: impl FnOnce() -> T) -> Result<(T, Peaks)> {
    let leader = machine.leader();
    let leader = leader.ok_or_else(|| Error::new("watch a machine", "it is off"))?;
    let nix = format!("/proc/{leader}/root/nix");
    let mut peaks = Peaks {
        disk: used(&nix)?,
        ..Peaks::default()
    };
    let over = AtomicBool::new(false);
    let result = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                peaks.look(machine, &nix);
                thread::sleep(TICK);
            }
        });
        let end = End(&over);
        let result = work();
        drop(end);
        result
    });
    Ok((result, peaks))
}

/// Ends the watching, also when the work panics.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Peaks {
    fn look(&mut self, machine: &Machine, nix: &str) {
        self.disk = self.disk.max(used(nix).unwrap_or_default());
        let (unit, program) = DAEMON;
        let mut all = 0;
        for id in machine.processes(unit) {
            let dir = Path::new("/proc").join(id.to_string());
            let status = fs::read_to_string(dir.join("status")).unwrap_or_default();
            if field(&status, "Name:") != Some(program) {
                continue;
            }
            all += bytes(&status, "VmRSS:");
            self.process = self.process.max(bytes(&status, "VmHWM:"));
        }
        self.daemon = self.daemon.max(all);
    }
}

fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.map(str::trim)
}

fn bytes(status: &str, name: &str) -> u64 {
    let number = field(status, name).and_then(|text| text.strip_suffix(" kB"));
    let kib: u64 = number
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    kib << 10
}

/// Bytes in use on the file system that a path is on.
fn used(path: &str) -> Result<u64> {
    let words = ["stat", "--file-system", "--format=%b %f %S", path];
    let text = Run::new(&words).run()?.ok()?.stdout;
    let numbers: Vec<u64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    match numbers[..] {
        [all, free, block] => Ok((all - free) * block),
        _ => Err(Error::new("read stat", text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let status = "Name:\tnixctld\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(field(status, "Name:"), Some("nixctld"));
        assert_eq!(bytes(status, "VmHWM:"), 2 << 20);
        assert_eq!(bytes(status, "VmSwap:"), 0);
    }
}

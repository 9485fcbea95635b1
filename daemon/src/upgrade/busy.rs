//! Whether nix-daemon serves somebody who is in the middle of something.
//!
//! Its main process starts one for every connection. A connection that has processes of its own
//! (builders, helpers) is at work, whatever they do at the moment; one without any is at work when it
//! used the processor or moved bytes since it was looked at before. What is merely open (a prompt in
//! `nix repl`) is not waited for. Pure, but for [`read`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::host::service::Processes;
use crate::host::{Fs, FsError};

/// Largest file of a process that is read.
const MAX_FILE: u64 = 16 << 10;

/// What is known of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Work {
    /// The process that started it.
    pub parent: u32,
    /// Processor time in clock ticks and bytes moved, in one number that only grows.
    pub done: u64,
}

/// The processes besides the main one, by number.
pub type Looked = BTreeMap<u32, Work>;

/// Reads what the processes of nix-daemon have done. One that has ended meanwhile is left out.
///
/// # Errors
/// When /proc cannot be read.
pub fn read(fs: &Fs, processes: &Processes) -> Result<Looked, FsError> {
    let mut looked = Looked::new();
    for process in &processes.others {
        let folder = PathBuf::from(format!("/proc/{process}"));
        let stat = read_one(fs, folder.join("stat"))?;
        let moved = read_one(fs, folder.join("io"))?.map_or(0, |text| bytes_moved(&text));
        let found = stat.and_then(|text| parent_and_ticks(&text));
        looked.extend(found.map(|(parent, ticks)| {
            let done = ticks.saturating_add(moved);
            (*process, Work { parent, done })
        }));
    }
    Ok(looked)
}

/// How many connections are at work: of those that are there now, with how they were before.
pub fn at_work(main: Option<u32>, before: Option<&Looked>, now: &Looked) -> usize {
    let is_connection = |work: &Work| Some(work.parent) == main;
    let has_children = |process: u32| now.values().any(|work| work.parent == process);
    let moves = |process: u32, work: &Work| {
        let earlier = before.map(|before| before.get(&process));
        // The first look tells nothing of one, and neither does one that is new.
        earlier.is_none_or(|earlier| earlier.is_none_or(|it| it.done != work.done))
    };
    let orphans = now
        .values()
        .filter(|work| !is_connection(work) && !now.contains_key(&work.parent));
    let connections = now
        .iter()
        .filter(|(_, work)| is_connection(work))
        .filter(|(process, work)| has_children(**process) || moves(**process, work));
    connections.count() + orphans.count()
}

fn read_one(fs: &Fs, path: PathBuf) -> Result<Option<String>, FsError> {
    match fs.read(&path, MAX_FILE) {
        Ok(bytes) => Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())),
        // It ended while it was read.
        Err(error) if error.source.raw_os_error() == Some(nix::libc::ESRCH) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Of `/proc/N/stat` the parent and the ticks of the processor. The name in parentheses may hold
/// anything.
fn parent_and_ticks(stat: &str) -> Option<(u32, u64)> {
    let (_, rest) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let parent = u32::try_from(number(1)?).ok()?;
    Some((parent, number(11)?.saturating_add(number(12)?)))
}

/// Of `/proc/N/io` the bytes read and written, of sockets too.
fn bytes_moved(io: &str) -> u64 {
    let of = |name: &str| {
        let line = io.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|text| text.trim().parse::<u64>().ok())
            .unwrap_or(0)
    };
    of("rchar:").saturating_add(of("wchar:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAIN: u32 = 10;

    fn looked(all: &[(u32, u32, u64)]) -> Looked {
        let one = |&(process, parent, done): &(u32, u32, u64)| (process, Work { parent, done });
        all.iter().map(one).collect()
    }

    #[test]
    fn whoever_builds_or_moves_something_is_at_work() {
        let count = |before: Option<&[(u32, u32, u64)]>, now: &[(u32, u32, u64)]| {
            let before = before.map(looked);
            at_work(Some(MAIN), before.as_ref(), &looked(now))
        };
        assert_eq!(count(None, &[]), 0);
        assert_eq!(count(None, &[(11, MAIN, 5)]), 1, "not known yet");
        assert_eq!(count(Some(&[(11, MAIN, 5)]), &[(11, MAIN, 5)]), 0, "open");
        assert_eq!(count(Some(&[(11, MAIN, 5)]), &[(11, MAIN, 6)]), 1);
        assert_eq!(count(Some(&[]), &[(11, MAIN, 5)]), 1, "new");
        let sleeps = [(11, MAIN, 5), (12, 11, 0), (13, 12, 0)];
        assert_eq!(count(Some(&sleeps), &sleeps), 1, "its builder sleeps");
        let lost = [(13, 1, 0)];
        assert_eq!(
            count(Some(&lost), &lost),
            1,
            "a builder without its connection"
        );
    }

    #[test]
    fn files_of_processes_are_read() {
        let stat = "11 (nix-dae) mon) S 10 11 11 0 -1 4194624 1 2 0 0 7 3 0 0 20 0 1 0 5 6";
        assert_eq!(parent_and_ticks(stat), Some((10, 10)));
        assert_eq!(parent_and_ticks(""), None);
        assert_eq!(parent_and_ticks("11 (x) S"), None);
        let io = "rchar: 100\nwchar: 20\nsyscr: 5\nread_bytes: 4096\n";
        assert_eq!(bytes_moved(io), 120);
        assert_eq!(bytes_moved(""), 0);
    }
}

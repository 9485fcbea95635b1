//! What the kernel says of watched files and folders: inotify, asked for nothing but changes.
//!
//! The crate `notify`, which serves elsewhere, also asks to be told of every file that is opened:
//! in /etc that is several times for every program that starts anywhere, and each would wake the
//! daemon. What is heard is taken in after a short [`PAUSE`], so that a flood costs no more than a
//! wake-up in that time.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;

use super::plan::Counts;
use super::{Heard, PAUSE};

/// Bytes of events that are read at once.
const BUFFER: usize = 8192;

/// Hears of changes.
#[derive(Debug)]
pub(super) struct Ear {
    inotify: OwnedFd,
    nudged: UnixStream,
    /// Paths by their watch: one file can have several names.
    paths: BTreeMap<i32, BTreeSet<PathBuf>>,
    watches: BTreeMap<PathBuf, i32>,
}

/// Ends a wait of the ear from another thread.
#[derive(Debug)]
pub(super) struct Nudge(UnixStream);

impl Nudge {
    /// Ends the wait, or the next one.
    pub(super) fn nudge(&self) {
        // When it is full the ear has enough to wake up for.
        let _ = (&self.0).write(&[0]);
    }
}

impl Ear {
    /// An ear that hears nothing yet.
    pub(super) fn new() -> io::Result<(Ear, Nudge)> {
        let (nudge, nudged) = UnixStream::pair()?;
        nudge.set_nonblocking(true)?;
        nudged.set_nonblocking(true)?;
        let ear = Ear {
            inotify: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            nudged,
            paths: BTreeMap::new(),
            watches: BTreeMap::new(),
        };
        Ok((ear, Nudge(nudge)))
    }

    /// Listens to a path.
    pub(super) fn listen(&mut self, path: &Path, counts: Counts) -> io::Result<()> {
        let watch = inotify::add_watch(&self.inotify, path, flags(counts))?;
        self.paths.entry(watch).or_default().insert(path.to_owned());
        self.watches.insert(path.to_owned(), watch);
        Ok(())
    }

    /// Listens to it no more.
    pub(super) fn ignore(&mut self, path: &Path) {
        let Some(watch) = self.watches.remove(path) else {
            return;
        };
        let Some(paths) = self.paths.get_mut(&watch) else {
            return;
        };
        paths.remove(path);
        if paths.is_empty() {
            self.paths.remove(&watch);
            // The kernel lets go by itself of what is removed.
            let _ = inotify::remove_watch(&self.inotify, watch);
        }
    }

    /// Waits until something is heard, the time is over or somebody nudges, and says what was
    /// heard.
    pub(super) fn hear(&mut self, limit: Option<Duration>) -> io::Result<Vec<Heard>> {
        let is_heard = {
            let asked = |fd| PollFd::new(fd, PollFlags::POLLIN);
            let mut both = [asked(self.nudged.as_fd()), asked(self.inotify.as_fd())];
            let limit = match limit {
                // Rounded up: a wait that ends too early is one more.
                Some(limit) => {
                    let limit = limit + Duration::from_micros(999);
                    PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)
                }
                None => PollTimeout::NONE,
            };
            match poll(&mut both, limit) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
            both[1].any().unwrap_or(false)
        };
        let mut nudges = [0; 64];
        while (&self.nudged).read(&mut nudges).is_ok_and(|read| read > 0) {}
        if !is_heard {
            return Ok(Vec::new());
        }
        std::thread::sleep(PAUSE);
        self.read()
    }

    fn read(&mut self) -> io::Result<Vec<Heard>> {
        let mut heard = Vec::new();
        let mut gone = BTreeSet::new();
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut events = Reader::new(&self.inotify, &mut buffer);
        loop {
            let event = match events.next() {
                Ok(event) => event,
                Err(Errno::WOULDBLOCK) => break,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let what = event.events();
            if what.contains(ReadFlags::QUEUE_OVERFLOW) {
                heard.push(Heard::Lost);
                continue;
            }
            let name = event.file_name();
            let name = name.map(|name| OsStr::from_bytes(name.to_bytes()));
            let counts = counts(what);
            for path in self.paths.get(&event.wd()).into_iter().flatten() {
                let path = name.map_or_else(|| path.clone(), |name| path.join(name));
                heard.push(Heard::Happened(path, counts));
            }
            if what.contains(ReadFlags::IGNORED) {
                gone.insert(event.wd());
            }
        }
        for watch in gone {
            for path in self.paths.remove(&watch).into_iter().flatten() {
                self.watches.remove(&path);
            }
        }
        heard.dedup();
        Ok(heard)
    }
}

/// What the kernel is asked for. What is asked for under another name of the same file stays.
fn flags(counts: Counts) -> WatchFlags {
    let being = WatchFlags::CREATE
        | WatchFlags::DELETE
        | WatchFlags::MOVE
        | WatchFlags::DELETE_SELF
        | WatchFlags::MOVE_SELF
        | WatchFlags::MASK_ADD;
    match counts {
        Counts::Being => being,
        Counts::Rights => being | WatchFlags::ATTRIB,
        Counts::Content => being | WatchFlags::ATTRIB | WatchFlags::CLOSE_WRITE,
    }
}

fn counts(what: ReadFlags) -> Counts {
    if what.contains(ReadFlags::CLOSE_WRITE) {
        Counts::Content
    } else if what.contains(ReadFlags::ATTRIB) {
        Counts::Rights
    } else {
        // With the file system that was unmounted its watches have gone, too.
        Counts::Being
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Time within which nothing must be heard.
    const QUIET: Duration = Duration::from_millis(200);

    #[test]
    fn reading_anything_and_writing_to_neighbours_wakes_nobody() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["own", "other"] {
            std::fs::write(path(name), "x").unwrap();
        }
        let (mut ear, nudge) = Ear::new().unwrap();
        ear.listen(dir.path(), Counts::Being).unwrap();
        ear.listen(&path("own"), Counts::Content).unwrap();
        for name in ["own", "other"] {
            std::fs::read(path(name)).unwrap();
        }
        std::fs::write(path("other"), "y").unwrap();
        std::fs::set_permissions(path("other"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::read_dir(dir.path()).unwrap().for_each(drop);
        assert_eq!(ear.hear(Some(QUIET)).unwrap(), []);
        std::fs::write(path("own"), "y").unwrap();
        let heard = ear.hear(Some(QUIET)).unwrap();
        assert_eq!(heard, [Heard::Happened(path("own"), Counts::Content)]);
        nudge.nudge();
        assert_eq!(ear.hear(None).unwrap(), []);
    }

    #[test]
    fn a_file_of_two_names_is_heard_by_both_until_both_are_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, "x").unwrap();
        std::fs::hard_link(&a, &b).unwrap();
        let (mut ear, _nudge) = Ear::new().unwrap();
        for path in [&a, &b] {
            ear.listen(path, Counts::Content).unwrap();
        }
        std::fs::write(&a, "y").unwrap();
        assert_eq!(ear.hear(Some(QUIET)).unwrap().len(), 2);
        ear.ignore(&a);
        std::fs::write(&a, "z").unwrap();
        let heard = ear.hear(Some(QUIET)).unwrap();
        assert_eq!(heard, [Heard::Happened(b.clone(), Counts::Content)]);
        ear.ignore(&b);
        std::fs::write(&a, "z").unwrap();
        assert_eq!(ear.hear(Some(QUIET)).unwrap(), []);
    }
}

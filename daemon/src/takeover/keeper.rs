//! The program of before, which systemd runs around each start of a daemon that has not proven itself.
//!
//! Nobody has the state open while it runs before a start. Whatever it does, it can do again: it says
//! only at the end what it has done.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use nixctl_proto::SOCKET_PATH;

use super::note::{Note, Phase, Why};
use super::{ask, place};
use crate::engine::{Store, StoreError};
use crate::host::clock::{Clock, Moment, SystemClock};
use crate::host::{Fs, FsError};
use crate::payload::STATE_DIR;

/// Starts of the other version after which it is taken back.
pub const ATTEMPTS: u32 = 3;
/// How long after the first start, of those since the machine was started, none is tried any more.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long a daemon that says that it is ready has to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(8);
/// Between two questions.
const TICK: Duration = Duration::from_millis(100);
/// What cannot be done is not tried again at once: systemd must not lose patience.
const PAUSE: Duration = Duration::from_secs(2);

/// When it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// Before the daemon is started.
    Before,
    /// When it says that it is ready.
    After,
}

/// Why the keeper cannot do its work.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The state.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The daemon does not answer as it should.
    #[error("cannot see nixctld serve: {0}")]
    Silent(String),
}

/// Does what is to be done then.
pub fn main(when: When) -> ExitCode {
    let fs = Fs::at("/");
    let done = match when {
        When::Before => before(&fs, &SystemClock.moment()),
        When::After => after(&fs, Path::new(SOCKET_PATH)),
    };
    let Err(error) = done else {
        return ExitCode::SUCCESS;
    };
    tracing::error!("{error}");
    if when == When::Before {
        std::thread::sleep(PAUSE);
    }
    ExitCode::FAILURE
}

/// What is due before a start.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    /// Nothing: whatever is in place is started.
    Nothing,
    /// The programs are exchanged.
    Exchange,
    /// The other version is started once more.
    TryAgain,
    /// The programs and the state of before are put back.
    PutBack(Why),
}

fn due(note: &Note, now: &Moment) -> Due {
    match note.phase {
        Phase::Proven | Phase::Back => Due::Nothing,
        Phase::Prepared => Due::Exchange,
        Phase::GivenUp => {
            let unknown = || Why::new("it gave up and did not say why");
            Due::PutBack(note.why.clone().unwrap_or_else(unknown))
        }
        Phase::Trying => {
            // How long the machine was off, and took to start, says nothing of the other version.
            let began = note.began.as_ref().filter(|began| began.era == now.era);
            let passed = began.map_or(0, |began| now.since(began));
            let seen = match note.seen.is_empty() {
                true => "it ended before it could be asked",
                false => &note.seen,
            };
            if note.attempts >= ATTEMPTS {
                let times = note.attempts;
                let why = format!("it was started {times} times and did not stay: {seen}");
                Due::PutBack(Why::new(why))
            } else if u128::from(passed) >= PATIENCE.as_millis() {
                let seconds = passed / 1000;
                let why = format!("it does not stay, {seconds} s after its first start: {seen}");
                Due::PutBack(Why::new(why))
            } else {
                Due::TryAgain
            }
        }
    }
}

/// Before a start.
///
/// # Errors
/// When the disk refuses, or the state cannot be written in the form of the other version.
pub fn before(fs: &Fs, now: &Moment) -> Result<(), KeeperError> {
    let Some(mut note) = Note::load(fs)? else {
        return Ok(());
    };
    match due(&note, now) {
        Due::Nothing => return Ok(()),
        Due::Exchange => match exchange(fs, &mut note, now) {
            Ok(()) => {}
            Err(error) => put_back(fs, &mut note, Why::new(error.to_string()))?,
        },
        Due::TryAgain => {
            note.attempts += 1;
            note.seen.clear();
            if note.began.as_ref().is_none_or(|began| began.era != now.era) {
                note.began = Some(now.clone());
            }
        }
        Due::PutBack(why) => put_back(fs, &mut note, why)?,
    }
    Ok(note.save(fs)?)
}

/// To the other version.
fn exchange(fs: &Fs, note: &mut Note, now: &Moment) -> Result<(), KeeperError> {
    place::copy_state(fs)?;
    if note.to.schema < note.from.schema {
        lower(fs, note.to.schema)?;
    }
    place::put_programs(fs, note, &note.to.folder)?;
    tracing::info!("nixctl {} takes over", note.to.version);
    (note.phase, note.attempts) = (Phase::Trying, 1);
    note.began = Some(now.clone());
    Ok(())
}

/// To the version of before.
fn put_back(fs: &Fs, note: &mut Note, why: Why) -> Result<(), KeeperError> {
    place::put_programs(fs, note, &note.from.folder)?;
    place::put_state_back(fs)?;
    let (to, from) = (&note.to.version, &note.from.version);
    tracing::error!("nixctl {from} is back, because of {to}: {}", why.message);
    (note.phase, note.why) = (Phase::Back, Some(why));
    Ok(())
}

/// Writes the state in the form of the other version, which is older.
fn lower(fs: &Fs, schema: u32) -> Result<(), StoreError> {
    let dropped = Store::lower(&fs.real(Path::new(STATE_DIR)), schema)?;
    for id in dropped {
        tracing::warn!("operation {id} cannot be said in schema {schema}, and is forgotten");
    }
    Ok(())
}

/// When the daemon says that it is ready: it has to answer, as the version that it should be.
///
/// # Errors
/// When it does not.
pub fn after(fs: &Fs, socket: &Path) -> Result<(), KeeperError> {
    let Some(mut note) = Note::load(fs)?.filter(|note| note.phase == Phase::Trying) else {
        return Ok(());
    };
    let clock = SystemClock;
    let began = clock.moment();
    let wrong = loop {
        let wrong = match ask::version(socket) {
            Ok(version) if version == note.to.version => return Ok(()),
            Ok(version) => format!("version {version} answers, not {}", note.to.version),
            Err(why) => why,
        };
        let passed = Duration::from_millis(clock.moment().since(&began));
        if passed >= ANSWERS_WITHIN {
            break wrong;
        }
        std::thread::sleep(TICK);
    };
    note.seen.clone_from(&wrong);
    note.save(fs)?;
    Err(KeeperError::Silent(wrong))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::note::Side;
    use super::*;

    const PROGRAMS: &str = "/usr/local/bin";

    struct Machine {
        _root: tempfile::TempDir,
        fs: Fs,
    }

    fn moment(millis: u64) -> Moment {
        Moment {
            era: "boot".to_owned(),
            millis,
        }
    }

    fn side(version: &str) -> Side {
        Side {
            version: version.to_owned(),
            schema: 4,
            folder: Path::new("/usr/local/lib/nixctl").join(version),
            nixctld: version.to_owned(),
        }
    }

    impl Machine {
        fn new() -> Machine {
            let root = tempfile::tempdir().unwrap();
            let fs = Fs::at(root.path().canonicalize().unwrap());
            let machine = Machine { _root: root, fs };
            for version in ["1", "2"] {
                for name in ["nixctl", "nixctld"] {
                    machine.put(&side(version).folder.join(name), version);
                }
            }
            for name in ["nixctl", "nixctld"] {
                machine.put(&Path::new(PROGRAMS).join(name), "1");
            }
            machine.put(Path::new("/var/lib/nixctl/db/db"), "1");
            let note = Note {
                from: side("1"),
                to: side("2"),
                programs: PathBuf::from(PROGRAMS),
                phase: Phase::Prepared,
                attempts: 0,
                began: None,
                seen: String::new(),
                why: None,
                made: Vec::new(),
            };
            note.save(&machine.fs).unwrap();
            machine
        }

        fn put(&self, path: &Path, text: &str) {
            let real = self.fs.real(path);
            std::fs::create_dir_all(real.parent().unwrap()).unwrap();
            std::fs::write(real, text).unwrap();
        }

        /// Both programs and the state, and how far it is.
        fn seen(&self) -> (String, Phase) {
            let read = |path: &str| {
                let bytes = self.fs.read(Path::new(path), 99).unwrap().unwrap();
                String::from_utf8(bytes).unwrap()
            };
            let programs = ["nixctl", "nixctld"].map(|name| read(&format!("{PROGRAMS}/{name}")));
            let text = format!("{}{}", programs.join(""), read("/var/lib/nixctl/db/db"));
            (text, Note::load(&self.fs).unwrap().unwrap().phase)
        }

        /// A start, at which the version that is in place makes the state its own.
        fn start(&self, millis: u64) -> (String, Phase) {
            before(&self.fs, &moment(millis)).unwrap();
            let (text, phase) = self.seen();
            if text.starts_with("22") {
                self.put(Path::new("/var/lib/nixctl/db/db"), "2");
            }
            (text, phase)
        }
    }

    #[test]
    fn what_does_not_stay_is_taken_back_with_its_state() {
        let machine = Machine::new();
        assert_eq!(machine.start(0), ("221".to_owned(), Phase::Trying));
        assert_eq!(machine.start(1), ("222".to_owned(), Phase::Trying));
        assert_eq!(machine.start(2), ("222".to_owned(), Phase::Trying));
        assert_eq!(machine.start(3), ("111".to_owned(), Phase::Back));
        // However often it is started then.
        assert_eq!(machine.start(4), ("111".to_owned(), Phase::Back));
        let why = Note::load(&machine.fs).unwrap().unwrap().why.unwrap();
        assert!(why.message.contains("started 3 times"), "{why:?}");
        // One that hangs has fewer starts.
        let machine = Machine::new();
        machine.start(0);
        assert_eq!(machine.start(15_000).1, Phase::Trying);
        assert_eq!(machine.start(30_000), ("111".to_owned(), Phase::Back));
    }

    #[test]
    fn a_restart_of_the_machine_is_one_more_start_and_no_time() {
        let machine = Machine::new();
        machine.start(0);
        let later = |era: &str, millis| Moment {
            era: era.to_owned(),
            millis,
        };
        before(&machine.fs, &later("next", 80_000)).unwrap();
        assert_eq!(machine.seen().1, Phase::Trying);
        before(&machine.fs, &later("next", 81_000)).unwrap();
        assert_eq!(machine.seen().1, Phase::Trying);
        before(&machine.fs, &later("third", 1)).unwrap();
        assert_eq!(machine.seen(), ("111".to_owned(), Phase::Back));
        let machine = Machine::new();
        machine.start(0);
        before(&machine.fs, &later("next", 80_000)).unwrap();
        before(&machine.fs, &later("next", 110_000)).unwrap();
        assert_eq!(machine.seen(), ("111".to_owned(), Phase::Back));
    }

    #[test]
    fn what_gives_up_says_why_and_what_has_proven_itself_stays() {
        let machine = Machine::new();
        machine.start(0);
        let mut note = Note::load(&machine.fs).unwrap().unwrap();
        note.phase = Phase::GivenUp;
        note.why = Some(Why::new("it is worse"));
        note.save(&machine.fs).unwrap();
        assert_eq!(machine.start(1), ("111".to_owned(), Phase::Back));
        let why = Note::load(&machine.fs).unwrap().unwrap().why.unwrap();
        assert_eq!(why.message, "it is worse");
        let machine = Machine::new();
        machine.start(0);
        let mut note = Note::load(&machine.fs).unwrap().unwrap();
        note.phase = Phase::Proven;
        note.save(&machine.fs).unwrap();
        for time in 1..9 {
            assert_eq!(machine.start(time), ("222".to_owned(), Phase::Proven));
        }
    }

    #[test]
    fn an_exchange_that_cannot_be_done_is_taken_back() {
        let machine = Machine::new();
        machine.fs.remove_tree(&side("2").folder).unwrap();
        assert_eq!(machine.start(0), ("111".to_owned(), Phase::Back));
        // Nothing was ever asked for.
        Note::remove(&machine.fs).unwrap();
        before(&machine.fs, &moment(1)).unwrap();
        after(&machine.fs, Path::new("/nowhere")).unwrap();
    }

    #[test]
    fn it_is_begun_again_wherever_it_was_cut_off() {
        // Before its note is written, each of them may have done anything.
        let machine = Machine::new();
        let prepared = Note::load(&machine.fs).unwrap().unwrap();
        machine.start(0);
        machine.put(Path::new("/var/lib/nixctl/db/db"), "1");
        prepared.save(&machine.fs).unwrap();
        assert_eq!(machine.start(1), ("221".to_owned(), Phase::Trying));
        let mut given_up = Note::load(&machine.fs).unwrap().unwrap();
        given_up.phase = Phase::GivenUp;
        for _ in 0..2 {
            given_up.save(&machine.fs).unwrap();
            assert_eq!(machine.start(2), ("111".to_owned(), Phase::Back));
        }
    }
}

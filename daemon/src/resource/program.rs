//! A program copied from another place on the same machine, such as our own two.
//!
//! The place it was copied from may be gone when it is taken off and that has to be undone. So it
//! is put aside rather than removed, and [`Program::aside`] goes when all else was taken off.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::Rights;
use super::saved::{foreign, kept_changed, mismatch};
use super::{Context, Description, Presence, ResourceError, Result, Undo, Undone};
use crate::host::fs::{Kind, Meta};
use crate::host::{Fs, FsError, Host};
use crate::payload::STATE_DIR;
use crate::payload::files::{hex, private_dir};

/// Mode and owner of a program.
const MODE: u32 = 0o755;

/// Programs that were taken off by an operation that is not over.
const ASIDE_DIR: &str = "/var/lib/nixctl/taken-off";

/// Bytes read at a time.
const CHUNK: usize = 128 << 10;

/// An executable file, copied whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Absolute path to copy from, on the running machine also when the target is an image; it
    /// may be the same as `path`.
    pub from: PathBuf,
    /// SHA-256 of the content, lower case hexadecimal.
    pub sha256: String,
    /// Absolute path to copy to, mode 0755.
    pub path: PathBuf,
}

impl Program {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        Description {
            id: self.id(),
            summary: format!("install the program {}", self.path.display()),
            details: vec![
                format!("copied from {}", self.from.display()),
                format!("SHA-256 {}", self.sha256),
            ],
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        let path = self.path.display();
        let Some(meta) = host.fs.meta(&self.path)? else {
            return Ok(Presence::Absent);
        };
        Ok(if !self.is_same(host, meta)? {
            Presence::Foreign(format!("{path} is something else"))
        } else if meta.mode != MODE {
            Presence::Drifted(format!("mode {:04o}, expected {MODE:04o}", meta.mode))
        } else {
            Presence::Present
        })
    }

    /// Reads what undoing will need. The program in its place must be the same already: another
    /// version is taken off first, with the undo data of its own making.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        match self.probe(host)? {
            Presence::Absent => Ok(Undo::Created),
            Presence::Present | Presence::Drifted(_) => Ok(Undo::Nothing),
            Presence::Foreign(seen) => Err(foreign(self.id(), seen)),
        }
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let host = context.host;
        match self.probe(host)? {
            Presence::Present => Ok(()),
            Presence::Drifted(_) => Ok(host.fs.set_mode(&self.path, MODE)?),
            Presence::Foreign(seen) => Err(foreign(self.id(), seen)),
            Presence::Absent => self.copy(context),
        }
    }

    /// Takes it back to what it was. A program that runs can be removed: it lives until it ends.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let host = context.host;
        match undo {
            Undo::Nothing => Ok(Undone::Clean),
            Undo::Created => match host.fs.meta(&self.path)? {
                None => Ok(Undone::Clean),
                Some(meta) if self.is_same(host, meta)? => {
                    host.fs.remove_file(&self.path)?;
                    Ok(Undone::Clean)
                }
                Some(_) => Ok(kept_changed(&self.path)),
            },
            _ => Err(mismatch(self.id())),
        }
    }

    /// Where it lies from being taken away until that is final.
    pub fn aside(&self) -> PathBuf {
        Path::new(ASIDE_DIR).join(&self.sha256)
    }

    /// Reads what bringing it back will need.
    pub fn prepare_removal(&self, host: &Host) -> Result<Undo> {
        let Some(meta) = host.fs.meta(&self.path)? else {
            return Ok(Undo::Nothing);
        };
        let Meta { mode, uid, gid, .. } = meta;
        Ok(Undo::Rights(Rights { mode, uid, gid }))
    }

    /// Takes it off like [`Program::undo`], but puts it aside.
    pub fn take_away(&self, context: &Context<'_>, made: &Undo) -> Result<Undone> {
        let host = context.host;
        if *made == Undo::Created
            && let Some(meta) = host.fs.meta(&self.path)?
            && self.is_same(host, meta)?
        {
            private_dir(&host.fs, STATE_DIR.as_ref())?;
            private_dir(&host.fs, ASIDE_DIR.as_ref())?;
            self.move_file(host, &self.path, &self.aside(), meta.mode)?;
        }
        self.undo(context, made)
    }

    /// Brings it back as it was taken away.
    pub fn restore(&self, context: &Context<'_>, rights: Rights) -> Result<()> {
        let host = context.host;
        let aside = self.aside();
        match host.fs.meta(&self.path)? {
            Some(meta) if self.is_same(host, meta)? => host.fs.remove_file(&aside)?,
            Some(_) => return Err(foreign(self.id(), "another program")),
            None if host.fs.meta(&aside)?.is_some() => {
                self.move_file(host, &aside, &self.path, rights.mode)?;
            }
            None => self.copy(context)?,
        }
        host.fs.set_owner(&self.path, rights.uid, rights.gid)?;
        Ok(host.fs.set_mode(&self.path, rights.mode)?)
    }

    /// Moves it, by way of a copy when the two places are on different file systems.
    fn move_file(&self, host: &Host, from: &Path, to: &Path, mode: u32) -> Result<()> {
        match host.fs.rename(from, to) {
            Err(error) if error.source.kind() == io::ErrorKind::CrossesDevices => {
                host.fs.copy_file(from, to, mode)?;
                Ok(host.fs.remove_file(from)?)
            }
            moved => Ok(moved?),
        }
    }

    fn id(&self) -> String {
        format!("program:{}", self.path.display())
    }

    /// Copies and checks in one reading, so that what was checked is what is there.
    fn copy(&self, context: &Context<'_>) -> Result<()> {
        let fs = &context.host.fs;
        let cannot_read = |source| FsError {
            action: "read",
            path: self.from.clone(),
            source,
        };
        // The source lies on the running machine also when the target is an image.
        let mut source = Fs::at("/")
            .open(&self.from)?
            .ok_or_else(|| cannot_read(io::ErrorKind::NotFound.into()))?;
        let total = source.metadata().map_err(cannot_read)?.len();
        let mut seen = String::new();
        let written = fs.write_with(&self.path, MODE, None, &mut |file| {
            seen = digest(&mut source, |chunk, done| {
                context.progress.bytes(done, total);
                file.write_all(chunk)
            })?;
            if seen == self.sha256 {
                Ok(())
            } else {
                Err(io::ErrorKind::InvalidData.into())
            }
        });
        if !seen.is_empty() && seen != self.sha256 {
            let from = self.from.display();
            return Err(ResourceError::Drifted {
                id: self.id(),
                seen: format!("{from} has the SHA-256 {seen}, expected {}", self.sha256),
            });
        }
        Ok(written?)
    }

    fn is_same(&self, host: &Host, meta: Meta) -> Result<bool> {
        if meta.kind != Kind::File {
            return Ok(false);
        }
        let Some(mut file) = host.fs.open(&self.path)? else {
            return Ok(false);
        };
        let seen = digest(&mut file, |_, _| Ok(())).map_err(|source| FsError {
            action: "read",
            path: self.path.clone(),
            source,
        })?;
        Ok(seen == self.sha256)
    }
}

/// Whether a path is where a program lies that was taken off.
pub fn is_aside(path: &Path) -> bool {
    path.starts_with(ASIDE_DIR)
}

/// SHA-256 of all that is read, in lower case hexadecimal; each chunk is handed on with the
/// number of bytes so far.
fn digest(
    source: &mut impl Read,
    mut hand_on: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    let mut done = 0;
    loop {
        let count = match source.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = chunk.get(..count).unwrap_or_default();
        done += bytes.len() as u64;
        hash.update(bytes);
        hand_on(bytes, done)?;
    }
    Ok(hex(&hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;
    use crate::resource::testing::{Machine, check_laws, make, undone};

    const PATH: &str = "/usr/bin/x";
    const CONTENT: &str = "#!/bin/sh\n";

    fn machine() -> (Machine, Resource) {
        let machine = Machine::new();
        machine.put("/from", CONTENT);
        std::fs::create_dir_all(machine.path("/usr/bin")).unwrap();
        let program = Program {
            from: machine.path("/from"),
            sha256: digest(&mut CONTENT.as_bytes(), |_, _| Ok(())).unwrap(),
            path: PATH.into(),
        };
        (machine, Resource::Program(program))
    }

    #[test]
    fn laws() {
        let (machine, program) = machine();
        check_laws(&machine, &program);
        make(&machine, &program).unwrap();
        assert_eq!(machine.state().0[&machine.path(PATH)].2, MODE);
        check_laws(&machine, &program);
        assert_eq!(program.prepare(&machine.host).unwrap(), Undo::Nothing);
        machine.chmod(PATH, 0o700);
        assert!(matches!(
            program.probe(&machine.host).unwrap(),
            Presence::Drifted(_)
        ));
        make(&machine, &program).unwrap();
        program.verify(&machine.host).unwrap();
    }

    #[test]
    fn other_content_is_not_installed_and_leaves_nothing() {
        let (machine, program) = machine();
        let before = machine.state();
        machine.put("/from", "changed");
        let error = make(&machine, &program).unwrap_err();
        assert!(error.to_string().contains("expected"), "{error}");
        machine.put("/from", CONTENT);
        assert_eq!(machine.state(), before);
        std::fs::remove_file(machine.path("/from")).unwrap();
        assert!(make(&machine, &program).is_err());
    }

    #[test]
    fn another_program_in_the_place_stays() {
        let (machine, program) = machine();
        let undo = make(&machine, &program).unwrap();
        machine.put(PATH, "theirs");
        assert!(program.prepare(&machine.host).is_err());
        assert!(program.apply(&machine.context(), &undo).is_err());
        assert!(
            undone(&machine, &program, &undo)
                .unwrap()
                .contains("it stays")
        );
        std::fs::remove_file(machine.path(PATH)).unwrap();
        assert_eq!(undone(&machine, &program, &undo), None);
    }

    #[test]
    fn a_program_that_runs_is_removed() {
        let (machine, program) = machine();
        machine.put("/from", std::fs::read("/bin/sleep").unwrap());
        let Resource::Program(mut program) = program else {
            return;
        };
        let mut sleep = std::fs::File::open("/bin/sleep").unwrap();
        program.sha256 = digest(&mut sleep, |_, _| Ok(())).unwrap();
        let program = Resource::Program(program);
        let undo = make(&machine, &program).unwrap();
        let mut child = std::process::Command::new(machine.path(PATH))
            .arg("30")
            .spawn()
            .unwrap();
        assert_eq!(undone(&machine, &program, &undo), None);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_was_taken_away_comes_back_without_its_source() {
        let (machine, program) = machine();
        let made = make(&machine, &program).unwrap();
        machine.chmod(PATH, 0o700);
        let before = machine.state().0[&machine.path(PATH)].clone();
        std::fs::remove_file(machine.path("/from")).unwrap();
        let taken = program.prepare_removal(&machine.host).unwrap();
        let Resource::Program(it) = &program else {
            return;
        };
        for _ in 0..2 {
            for _ in 0..2 {
                let undone = program.take_away(&machine.context(), &made).unwrap();
                assert_eq!(undone, Undone::Clean);
                assert_eq!(machine.text(PATH), None);
            }
            for _ in 0..2 {
                let context = machine.context();
                program.restore(&context, &made, &taken).unwrap();
                assert_eq!(machine.state().0[&machine.path(PATH)], before);
                assert_eq!(machine.host.fs.meta(&it.aside()).unwrap(), None);
            }
        }
        // What somebody else put there meanwhile stays.
        program.take_away(&machine.context(), &made).unwrap();
        machine.put(PATH, "theirs");
        let context = machine.context();
        let error = program.restore(&context, &made, &taken).unwrap_err();
        assert!(matches!(error, ResourceError::Foreign { .. }), "{error}");
        assert_eq!(machine.text(PATH).unwrap(), "theirs");
    }
}

//! The machine's Nix store, through Nix's own programs.
//!
//! As root they work on the store itself, so that neither nix-daemon nor an account of a build user has
//! to be well. Arguments are store paths that were checked, in batches that fit a command line.
//! Fetching is in `fetch`, deleting in `delete`, building in `compose`.

mod ask;
pub mod closure;
pub mod delete;
pub mod fetch;
mod holders;
pub mod internal_json;
pub mod locate;
pub(super) mod path_info;
mod read_error;
pub(super) mod source;
mod trouble;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::host::exec::Output;
use crate::host::{Cancel, Command, Host};
use crate::payload::STATE_DIR;
use crate::payload::entry::is_store_path;
use crate::resource::{Context, nix_command};
use crate::switch::error::{Result, SwitchError};

/// Where a Nix may be, the best first: nixctl's own, the users', the system's.
const PLACES: [&str; 3] = [
    "/nix/var/nix/profiles/nixctl",
    "/nix/var/nix/profiles/default",
    "/run/current-system/sw",
];
/// Home of the programs, below the state folder: Nix keeps there what caches said while it fetched.
const HOME: &str = "narinfo-home";
/// Paths in one command: some 100 bytes each, of the two MiB that Linux allows.
pub(super) const BATCH: usize = 5000;
/// For a question about paths.
const ASK_DEADLINE: Duration = Duration::from_secs(300);
/// For reading the contents of paths: a batch of it from a slow disk.
const VERIFY_DEADLINE: Duration = Duration::from_secs(3600);

/// The store of the machine.
#[derive(Debug, Clone)]
pub struct NixStore<'a> {
    pub(super) host: &'a Host,
    pub(super) cancel: &'a Cancel,
    /// Folder above the programs' `bin`; none: they are on PATH.
    prefix: Option<&'static str>,
}

/// What the store knows of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The path.
    pub path: String,
    /// Bytes of its archive.
    pub bytes: u64,
    /// What it refers to, itself perhaps among them.
    pub references: Vec<String>,
}

impl<'a> NixStore<'a> {
    /// The store, by the best Nix that there is; `what` is what it is wanted for.
    ///
    /// # Errors
    /// When there is no Nix.
    pub fn find(context: &Context<'a>, what: &str) -> Result<Self> {
        NixStore::on(context.host, context.cancel, what)
    }

    /// The same without a step: for planning.
    ///
    /// # Errors
    /// When there is no Nix.
    pub fn on(host: &'a Host, cancel: &'a Cancel, what: &str) -> Result<Self> {
        let store = |prefix| NixStore {
            host,
            cancel,
            prefix,
        };
        for place in PLACES {
            let program = Path::new(place).join("bin/nix-store");
            if host.fs.meta(&program)?.is_some() {
                return Ok(store(Some(place)));
            }
        }
        match host.exec.find("nix-store") {
            Some(_) if !host.is_image() => Ok(store(None)),
            _ => Err(SwitchError::NoNix {
                what: what.to_owned(),
            }),
        }
    }

    /// Which of the paths are there.
    ///
    /// # Errors
    /// When Nix cannot be asked.
    pub fn valid(&self, paths: &[String]) -> Result<BTreeSet<String>> {
        let mut valid: BTreeSet<String> = paths.iter().cloned().collect();
        for batch in batches(paths)? {
            let output = self.ask(&["--check-validity", "--print-invalid"], batch)?;
            for invalid in output.text().lines() {
                valid.remove(invalid.trim());
            }
        }
        Ok(valid)
    }

    /// Everything that these paths need, themselves too. All of them must be there.
    ///
    /// # Errors
    /// When one is not there.
    pub fn closure(&self, paths: &[String]) -> Result<BTreeSet<String>> {
        let mut closure = BTreeSet::new();
        for batch in batches(paths)? {
            let output = self.ask(&["--query", "--requisites"], batch)?;
            closure.extend(output.text().lines().map(|line| line.trim().to_owned()));
        }
        Ok(closure)
    }

    /// Makes sure that a path and everything it needs is there, registered and on the disk; with
    /// `contents` each path is read and compared with its hash as well. Gives the closure.
    ///
    /// # Errors
    /// [`SwitchError::Incomplete`] with the first path that is missing or damaged.
    pub fn complete(&self, what: &str, path: &str, contents: bool) -> Result<BTreeSet<String>> {
        let incomplete = |path: &str| SwitchError::Incomplete {
            what: what.to_owned(),
            path: path.to_owned(),
        };
        let asked = [path.to_owned()];
        if self.valid(&asked)?.is_empty() {
            return Err(incomplete(path));
        }
        let closure = self.closure(&asked)?;
        for path in &closure {
            if self.host.fs.meta(Path::new(path))?.is_none() {
                return Err(incomplete(path));
            }
        }
        if contents {
            let all: Vec<String> = closure.iter().cloned().collect();
            if let Some(damaged) = self.damaged(&all)?.first() {
                return Err(incomplete(damaged));
            }
        }
        Ok(closure)
    }

    /// Which of the paths, all there, have other contents than they should.
    ///
    /// # Errors
    /// When Nix cannot be asked.
    pub fn damaged(&self, paths: &[String]) -> Result<Vec<String>> {
        let mut damaged = Vec::new();
        for batch in batches(paths)? {
            let command = self.command("nix-store", &["--verify-path"]).args(batch);
            let command = command.deadline(VERIFY_DEADLINE);
            let output = self.host.exec.output(&command, self.cancel)?;
            if output.code == 0 {
                continue;
            }
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let named: Vec<String> = batch
                .iter()
                .filter(|path| said.contains(path.as_str()))
                .cloned()
                .collect();
            if named.is_empty() {
                output.success(&command)?;
            }
            damaged.extend(named);
        }
        Ok(damaged)
    }

    /// Sizes and references of these paths, all of which must be there.
    ///
    /// # Errors
    /// When one is not there, or the answer is not understood.
    pub fn registered(&self, paths: &[String]) -> Result<Vec<Registered>> {
        let mut all = Vec::with_capacity(paths.len());
        for batch in batches(paths)? {
            let output = self.ask(&["--dump-db"], batch)?;
            all.extend(parse_dump(&output.text())?);
        }
        Ok(all)
    }

    /// What keeps a path from being collected: links, processes.
    ///
    /// # Errors
    /// When Nix cannot be asked.
    pub fn roots(&self, path: &str) -> Result<Vec<String>> {
        let path = [path.to_owned()];
        let mut roots = Vec::new();
        for batch in batches(&path)? {
            let output = self.ask(&["--query", "--roots"], batch)?;
            roots.extend(output.text().lines().map(str::to_owned));
        }
        Ok(roots)
    }

    /// Writes the store to the disk.
    ///
    /// # Errors
    /// When the operating system reports lost writes.
    pub fn sync(&self) -> Result<()> {
        Ok(self.host.fs.sync_file_system("/nix".as_ref())?)
    }

    /// A command of Nix, on the store itself.
    pub(super) fn command(&self, program: &str, args: &[&str]) -> Command {
        let command = match self.prefix {
            Some(prefix) => nix_command::command_of(self.host, prefix, program, args),
            None => Command::new(program).args(args.iter().copied()),
        };
        command
            .env("NIX_REMOTE", "local")
            .env(
                "HOME",
                Path::new(STATE_DIR).join(HOME).display().to_string(),
            )
            .deadline(ASK_DEADLINE)
    }

    pub(super) fn ask(&self, args: &[&str], paths: &[String]) -> Result<Output> {
        let command = self.command("nix-store", args).args(paths);
        Ok(self.host.exec.run(&command, self.cancel)?)
    }
}

/// Batches of paths for command lines. What is no store path could be an option.
pub(super) fn batches(paths: &[String]) -> Result<std::slice::Chunks<'_, String>> {
    match paths.iter().find(|path| !is_store_path(path)) {
        Some(path) => Err(SwitchError::Internal(format!("`{path}` is no store path"))),
        None => Ok(paths.chunks(BATCH)),
    }
}

/// What `--dump-db` says: for each path a line each for path, hash, size, deriver, number of references, and
/// each reference.
fn parse_dump(text: &str) -> Result<Vec<Registered>> {
    let mut all = Vec::new();
    let mut lines = text.lines();
    let cut = || SwitchError::Internal("what Nix says of a store path is cut short".to_owned());
    while let Some(path) = lines.next() {
        let mut next = || lines.next().ok_or_else(cut);
        let _hash = next()?;
        let bytes = next()?.parse().map_err(|_| cut())?;
        let _deriver = next()?;
        let count: usize = next()?.parse().map_err(|_| cut())?;
        let references = (0..count)
            .map(|_| next().map(str::to_owned))
            .collect::<Result<_>>()?;
        all.push(Registered {
            path: path.to_owned(),
            bytes,
            references,
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::Answer;
    use crate::switch::testing::{Fixture, store_path};

    #[test]
    fn nixctls_own_nix_comes_first() {
        let fixture = Fixture::bare();
        let context = fixture.machine.context();
        let missing = NixStore::find(&context, "fetch it").unwrap_err();
        assert!(
            missing.to_string().starts_with("cannot fetch it: no Nix"),
            "{missing}"
        );
        for place in ["/run/current-system/sw", "/nix/var/nix/profiles/nixctl"] {
            fixture.machine.put(&format!("{place}/bin/nix-store"), "");
            let store = NixStore::find(&context, "x").unwrap();
            assert_eq!(store.prefix, Some(place));
        }
    }

    #[test]
    fn what_is_valid_is_asked_in_batches() {
        let fixture = Fixture::new();
        let paths: Vec<String> = (0..BATCH + 3)
            .map(|n| store_path(&format!("p{n}")))
            .collect();
        let invalid = format!("{}\n{}\n", paths[1], paths[BATCH + 1]);
        fixture.answer(&["--check-validity"], Answer::text(&invalid));
        let store = fixture.store();
        let valid = store.valid(&paths).unwrap();
        assert_eq!(valid.len(), paths.len() - 2);
        assert!(!valid.contains(&paths[1]));
        let calls = fixture.machine.exec.calls();
        assert_eq!(calls.len(), 2);
        assert!(calls.iter().all(|call| call.args.len() < BATCH + 10));
        let remote = ("NIX_REMOTE".to_owned(), "local".to_owned());
        assert!(calls[0].env.contains(&remote));
    }

    #[test]
    fn what_is_no_store_path_is_never_an_argument() {
        let fixture = Fixture::new();
        let store = fixture.store();
        for bad in ["--delete", "/etc/passwd", "/nix/store/x/../.."] {
            assert!(store.valid(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(fixture.machine.exec.calls().is_empty());
    }

    #[test]
    fn a_closure_must_be_on_the_disk() {
        let fixture = Fixture::new();
        let (top, below) = (store_path("top"), store_path("below"));
        fixture.answer(
            &["--query", "--requisites"],
            Answer::text(&format!("{below}\n{top}\n")),
        );
        fixture.machine.put(&top, "");
        let store = fixture.store();
        let error = store
            .complete("make it the default", &top, false)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot make it the default: {below} is not in the store")
        );
        fixture.machine.put(&below, "");
        assert_eq!(store.complete("x", &top, false).unwrap().len(), 2);
        let modified = format!("path '{below}' was modified! expected hash 'a', got 'b'");
        fixture.answer(&["--verify-path"], Answer::code(1, &modified));
        assert!(store.complete("x", &top, false).is_ok());
        assert!(store.complete("x", &top, true).is_err());
        fixture.answer(&["--check-validity"], Answer::text(&top));
        assert!(store.complete("x", &top, false).is_err());
    }

    #[test]
    fn registrations_are_read() {
        let (a, b) = (store_path("a"), store_path("b"));
        let text = format!("{a}\nhash\n120\n\n2\n{a}\n{b}\n{b}\nhash\n7\n/x.drv\n0\n");
        let all = parse_dump(&text).unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!(
            (all[0].bytes, all[0].references.as_slice()),
            (120, &[a, b][..])
        );
        assert!(parse_dump(&text[..text.len() - 2]).is_err());
        assert!(parse_dump("").unwrap().is_empty());
    }
}

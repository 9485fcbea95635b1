//! Sizes and references of whole closures, from the store or from a binary cache, through Nix itself.
//!
//! Two questions are asked. `nix path-info --recursive` gives the names of a closure; for a cache Nix
//! fetches the narinfo files many at a time and keeps them in its own cache on disk. Then
//! `nix path-info --json`, for some thousand paths at a time so that an answer stays small, gives sizes
//! and references, out of that cache. Nothing is downloaded, and nothing is trusted because of it: what is
//! fetched later is checked by Nix against its keys, and then asked for again.
//!
//! What the graph knows already is not asked for. So ask the store first, then the cache.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixctl_planner::closure::{ClosureError, Graph, StorePath};

use crate::host::exec::STDOUT_LIMIT;
use crate::host::{Cancel, Command, ExecError, FsError, Host};
use crate::payload::STATE_DIR;
use crate::payload::files::private_dir;
use crate::resource::nix_command;
use crate::switch::store::path_info::{self, Answer};
use crate::switch::store::source::Source;

/// Home of the questions, below the state folder: Nix keeps its cache of narinfo files there.
const HOME: &str = "narinfo-home";

/// Paths asked for at a time. A path with ten references takes about 1 KiB of the answer, of which
/// 16 MiB are taken.
const BATCH: usize = 4000;

/// For everything together: the narinfo files of a large closure over a slow line.
const DEADLINE: Duration = Duration::from_secs(900);

/// Most paths of a closure. The largest systems have some ten thousand.
const MOST_PATHS: usize = 200_000;

/// Why a closure could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nix could not be asked, or refused to answer.
    #[error("cannot read the closure from {from}: {source}")]
    Exec {
        /// Whom it was asked of.
        from: Source,
        /// Why.
        source: ExecError,
    },
    /// The folder for Nix's cache could not be made.
    #[error(transparent)]
    Home(#[from] FsError),
    /// An answer that is not understood.
    #[error("cannot understand what Nix says of a closure in {from}: {why}")]
    Answer {
        /// Whom it was asked of.
        from: Source,
        /// What is wrong with it.
        why: String,
    },
    /// A path that is not there.
    #[error("cannot read the closure from {from}: it does not have {path}")]
    Missing {
        /// Whom it was asked of.
        from: Source,
        /// The path.
        path: StorePath,
    },
    /// A closure beyond any that exists.
    #[error("cannot read the closure from {from}: it has more than {MOST_PATHS} paths")]
    TooMany {
        /// Whom it was asked of.
        from: Source,
    },
    /// Sizes that cannot be counted.
    #[error(transparent)]
    Graph(#[from] ClosureError),
}

/// Reads closures with the programs of a Nix.
#[derive(Debug)]
pub struct ClosureReader<'a> {
    host: &'a Host,
    /// Store path of Nix.
    nix: &'a StorePath,
    cancel: &'a Cancel,
    until: Instant,
}

impl<'a> ClosureReader<'a> {
    /// A reader that runs the programs of `nix`, and gives up after a quarter of an hour.
    pub fn new(host: &'a Host, nix: &'a StorePath, cancel: &'a Cancel) -> Self {
        ClosureReader {
            host,
            nix,
            cancel,
            until: Instant::now() + DEADLINE,
        }
    }

    /// Sets the time for all questions together.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.until = Instant::now() + deadline;
        self
    }

    /// Adds the closure of the roots to the graph.
    ///
    /// # Errors
    /// When the source does not have all of it, or does not answer.
    pub fn read(
        &self,
        graph: &mut Graph,
        from: &Source,
        roots: &[StorePath],
    ) -> Result<(), ReadError> {
        private_dir(&self.host.fs, &home())?;
        let mut open: Vec<StorePath> = self.names(from, roots)?;
        open.retain(|path| !graph.is_known(path));
        let mut format = Format::Numbered;
        let mut batch = BATCH;
        while !open.is_empty() {
            let asked = open.split_off(open.len().saturating_sub(batch));
            match self.infos(from, &asked, &mut format)? {
                Some(answers) => add(graph, from, &asked, answers)?,
                None if asked.len() == 1 => {
                    return Err(ReadError::Answer {
                        from: from.clone(),
                        why: format!("what it says of {} is too large", asked[0]),
                    });
                }
                None => {
                    batch = asked.len() / 2;
                    open.extend(asked);
                }
            }
        }
        Ok(())
    }

    /// Which of these paths the source has.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn offered(
        &self,
        from: &Source,
        paths: &[StorePath],
    ) -> Result<BTreeSet<StorePath>, ReadError> {
        private_dir(&self.host.fs, &home())?;
        let mut format = Format::Numbered;
        let mut offered = BTreeSet::new();
        for asked in paths.chunks(BATCH) {
            let answers = self.infos(from, asked, &mut format)?.unwrap_or_default();
            let there = answers.into_iter().filter(|(_, info)| info.is_some());
            offered.extend(there.map(|(path, _)| path));
        }
        Ok(offered)
    }

    /// The names of the closure.
    fn names(&self, from: &Source, roots: &[StorePath]) -> Result<Vec<StorePath>, ReadError> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let roots = roots.iter().map(StorePath::as_str);
        let command = self.path_info(from).arg("--recursive").args(roots);
        let stdout = self.run(from, command)?;
        if stdout.len() >= STDOUT_LIMIT {
            return Err(ReadError::TooMany { from: from.clone() });
        }
        let names = String::from_utf8_lossy(&stdout);
        let names = names.lines().map(|line| {
            StorePath::new(line.trim()).map_err(|error| ReadError::Answer {
                from: from.clone(),
                why: error.to_string(),
            })
        });
        let names = names.collect::<Result<Vec<_>, _>>()?;
        if names.len() > MOST_PATHS {
            return Err(ReadError::TooMany { from: from.clone() });
        }
        Ok(names)
    }

    /// What is known of these paths; nothing when the answer was cut off because it is too large.
    fn infos(
        &self,
        from: &Source,
        paths: &[StorePath],
        format: &mut Format,
    ) -> Result<Option<Vec<Answer>>, ReadError> {
        let mut lines = String::new();
        for path in paths {
            lines.push_str(path.as_str());
            lines.push('\n');
        }
        let ask = |format: Format| {
            let command = self.path_info(from).args(["--json", "--stdin"]);
            let command = command.args(format.args().iter().copied());
            self.run(from, command.stdin(lines.clone()))
        };
        let stdout = match ask(*format) {
            Err(error) if *format == Format::Numbered && is_unknown_flag(&error) => {
                *format = Format::Unnumbered;
                ask(*format)
            }
            result => result,
        }?;
        if stdout.len() >= STDOUT_LIMIT {
            return Ok(None);
        }
        let answers = path_info::parse(&stdout).map_err(|error| ReadError::Answer {
            from: from.clone(),
            why: error.to_string(),
        })?;
        Ok(Some(answers))
    }

    /// The command, as far as both questions have it in common.
    fn path_info(&self, from: &Source) -> Command {
        let args = ["--extra-experimental-features", "nix-command", "path-info"];
        let command = nix_command::command_of(self.host, self.nix.as_str(), "nix", &args)
            .env("HOME", home().display().to_string());
        // Else Nix would look for a missing path in every binary cache that the machine has.
        match from {
            Source::Local => command.arg("--offline"),
            Source::Cache(url) => {
                let alone = ["--option", "substituters", ""];
                command.args(["--store", url.as_str()]).args(alone)
            }
        }
    }

    fn run(&self, from: &Source, command: Command) -> Result<Vec<u8>, ReadError> {
        let left = self.until.saturating_duration_since(Instant::now());
        let command = command.deadline(left);
        let output = self.host.exec.run(&command, self.cancel);
        let fail = |source| ReadError::Exec {
            from: from.clone(),
            source,
        };
        Ok(output.map_err(fail)?.stdout)
    }
}

/// Whether the JSON format can be asked for by number.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    /// From 2.33 on, which warns when it is not asked for.
    Numbered,
    /// Before.
    Unnumbered,
}

impl Format {
    fn args(self) -> &'static [&'static str] {
        match self {
            Format::Numbered => &["--json-format", "1"],
            Format::Unnumbered => &[],
        }
    }
}

fn is_unknown_flag(error: &ReadError) -> bool {
    matches!(error, ReadError::Exec { source: ExecError::Failed { stderr, .. }, .. }
        if stderr.contains("--json-format"))
}

/// Adds the answers; every path that was asked for must be among them.
fn add(
    graph: &mut Graph,
    from: &Source,
    asked: &[StorePath],
    answers: Vec<Answer>,
) -> Result<(), ReadError> {
    for info in answers.iter().filter_map(|(_, info)| info.as_ref()) {
        graph.add(info)?;
    }
    match asked.iter().find(|path| !graph.is_known(path)) {
        None => Ok(()),
        Some(path) => Err(ReadError::Missing {
            from: from.clone(),
            path: path.clone(),
        }),
    }
}

/// Home of programs that ask caches.
pub(in crate::switch) fn home() -> PathBuf {
    Path::new(STATE_DIR).join(HOME)
}

#[cfg(test)]
#[path = "closure_tests.rs"]
mod tests;

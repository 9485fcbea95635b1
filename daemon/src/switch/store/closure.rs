//! Sizes and references of whole closures, from the store or from a binary cache, through Nix itself.
//!
//! Two questions are asked. `nix path-info --recursive` gives the names of a closure; for a cache Nix
//! fetches the narinfo files many at a time and keeps them in its own cache on disk. Then
//! `nix path-info --json`, for some thousand paths at a time so that an answer stays small, gives sizes
//! and references, out of that cache. Nothing is downloaded, and nothing is trusted because of it: what is
//! fetched later is checked by Nix against its keys, and then asked for again.
//!
//! What the graph knows already is not asked for. Closures whose parts lie in several stores are read
//! by [`locate`](ClosureReader::locate).

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use nixctl_planner::closure::{ClosureError, Graph, StorePath};

use crate::host::exec::STDOUT_LIMIT;
use crate::host::{Cancel, ExecError, Host};
use crate::switch::store::ask::Ask;
use crate::switch::store::locate::is_whole;
use crate::switch::store::path_info::{self, Answer};
pub use crate::switch::store::read_error::ReadError;
use crate::switch::store::source::Source;

/// Paths asked for at a time. A path with ten references takes about 1 KiB of the answer, of which
/// 16 MiB are taken.
const BATCH: usize = 4000;

/// For everything together: the narinfo files of a large closure over a slow line.
const DEADLINE: Duration = Duration::from_secs(900);

/// Most paths of a closure. The largest systems have some ten thousand.
pub(super) const MOST_PATHS: usize = 200_000;

/// Reads closures with the programs of a Nix.
#[derive(Debug)]
pub struct ClosureReader<'a> {
    pub(in crate::switch) ask: Ask<'a>,
    /// The format that this Nix is asked for, as far as is known.
    format: Cell<Format>,
}

impl<'a> ClosureReader<'a> {
    /// A reader that runs the programs of `nix`, and gives up after a quarter of an hour.
    pub fn new(host: &'a Host, nix: &'a StorePath, cancel: &'a Cancel) -> Self {
        ClosureReader {
            ask: Ask::new(host, nix, cancel, DEADLINE),
            format: Cell::new(Format::of(nix)),
        }
    }

    /// Sets the time for all questions together.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.ask.within(deadline);
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
        if is_whole(graph, roots) {
            return Ok(());
        }
        let mut open: Vec<StorePath> = self.names(from, roots)?;
        open.retain(|path| !graph.is_known(path));
        self.infos(from, open, |asked, answers| {
            add(graph, answers)?;
            match asked.iter().find(|path| !graph.is_known(path)) {
                None => Ok(()),
                Some(path) => Err(ReadError::Missing {
                    from: from.clone(),
                    path: path.clone(),
                }),
            }
        })
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
        let mut offered = BTreeSet::new();
        self.infos(from, paths.to_vec(), |_, answers| {
            let there = answers.into_iter().filter(|(_, info)| info.is_some());
            offered.extend(there.map(|(path, _)| path));
            Ok(())
        })?;
        Ok(offered)
    }

    /// The names of the closure.
    pub(super) fn names(
        &self,
        from: &Source,
        roots: &[StorePath],
    ) -> Result<Vec<StorePath>, ReadError> {
        if roots.is_empty() {
            return Ok(Vec::new());
        }
        let roots = roots.iter().map(StorePath::as_str);
        let command = self.ask.nix(from, "path-info").arg("--recursive");
        let stdout = self.ask.run(from, command.args(roots))?;
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

    /// What is known of these paths, a batch at a time: those asked for and the answers.
    pub(super) fn infos(
        &self,
        from: &Source,
        mut open: Vec<StorePath>,
        mut take: impl FnMut(&[StorePath], Vec<Answer>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let mut batch = BATCH;
        while !open.is_empty() {
            let asked = open.split_off(open.len().saturating_sub(batch));
            match self.batch(from, &asked)? {
                Some(answers) => take(&asked, answers)?,
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

    /// What is known of these paths; nothing when the answer was cut off because it is too large.
    fn batch(&self, from: &Source, paths: &[StorePath]) -> Result<Option<Vec<Answer>>, ReadError> {
        let mut lines = String::new();
        for path in paths {
            lines.push_str(path.as_str());
            lines.push('\n');
        }
        let ask = |format: Format| {
            let command = self.ask.nix(from, "path-info").args(["--json", "--stdin"]);
            let command = command.args(format.args().iter().copied());
            self.ask.run(from, command.stdin(lines.clone()))
        };
        let stdout = match ask(self.format.get()) {
            Err(error) if self.format.get() == Format::Numbered && is_unknown_flag(&error) => {
                self.format.set(Format::Unnumbered);
                ask(Format::Unnumbered)
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
}

/// Whether the JSON format can be asked for by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// From 2.33 on, which warns when it is not asked for.
    Numbered,
    /// Before.
    Unnumbered,
}

/// The first version of Nix that has numbers for its formats.
const NUMBERED: (u32, u32) = (2, 33);

impl Format {
    /// What a Nix is asked for first, by the version in its name: each question that it does not
    /// understand costs a process.
    fn of(nix: &StorePath) -> Self {
        let version = nix.name().strip_prefix("nix-");
        let mut parts = version.unwrap_or_default().split('.').map(str::parse);
        match (parts.next(), parts.next()) {
            (Some(Ok(major)), Some(Ok(minor))) if (major, minor) < NUMBERED => Format::Unnumbered,
            _ => Format::Numbered,
        }
    }

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

/// Adds what is known; answers of paths that are not there say nothing.
pub(super) fn add(graph: &mut Graph, answers: Vec<Answer>) -> Result<(), ClosureError> {
    for info in answers.iter().filter_map(|(_, info)| info.as_ref()) {
        graph.add(info)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "closure_tests.rs"]
mod tests;

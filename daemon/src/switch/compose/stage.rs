//! The target's link trees, to be read before the target can be in the store.
//!
//! Nix takes a path only together with everything it refers to, and a link tree refers to the whole
//! target. So each round of trees goes into a private store below the state folder, where their references are
//! registered without being there. Nix copies them into it as into any store: checked against their hash and by
//! its trusted keys. Nothing is ever run or linked from there.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::{Command, Fs};
use crate::payload::files::private_dir;
use crate::switch::compose::tree::{Places, Read};
use crate::switch::error::{Result, SwitchError};
use crate::switch::store::fetch::store_url;
use crate::switch::store::{NixStore, batches};

/// The toplevel, its `etc` and `sw`, the units, their drop-ins; and room for shapes of others.
const MOST_ROUNDS: usize = 8;
/// For one round: some hundred small paths from a slow cache.
const DEADLINE: Duration = Duration::from_secs(900);
/// What a path is registered with that is not there.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// Where the trees are read from, and where those that are missing come from.
#[derive(Debug)]
pub(in crate::switch) struct Stage<'a> {
    pub store: &'a NixStore<'a>,
    /// Folder of the private stores, one for each round.
    pub folder: PathBuf,
    /// A store to ask before Nix's own substituters.
    pub from: Option<&'a str>,
}

impl Stage<'_> {
    /// The store, and behind it what was brought so far.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn places(&self) -> Result<Places> {
        let fs = &self.store.host.fs;
        let mut stores = vec![fs.clone()];
        for name in fs.list(&self.folder)? {
            if name
                .to_str()
                .is_some_and(|name| name.parse::<usize>().is_ok())
            {
                stores.push(Fs::at(fs.real(&self.folder.join(name))));
            }
        }
        Ok(Places { stores })
    }

    /// Reads a toplevel, after bringing those of its trees that are nowhere to be read.
    ///
    /// # Errors
    /// When one cannot be fetched, or they never end.
    pub fn read(&self, toplevel: &str, wanted: &BTreeSet<String>, sw: bool) -> Result<Read> {
        for _ in 0..MOST_ROUNDS {
            let read = self.places()?.read(toplevel, wanted, sw)?;
            if read.missing.is_empty() {
                return Ok(read);
            }
            let missing: Vec<String> = read.missing.into_iter().collect();
            self.bring(&missing)?;
        }
        Err(SwitchError::BadTarget {
            target: toplevel.to_owned(),
            why: "its link trees lead from one to the next without end".to_owned(),
        })
    }

    /// Brings trees into a new private store.
    fn bring(&self, trees: &[String]) -> Result<()> {
        let mut last = None;
        for url in self.urls()? {
            match self.bring_from(&url, trees) {
                Ok(()) => return Ok(()),
                Err(error) if error.is_stopped() => return Err(error),
                Err(error) => {
                    last.get_or_insert(error);
                }
            }
        }
        Err(last.unwrap_or_else(|| SwitchError::Unavailable {
            path: trees.first().cloned().unwrap_or_default(),
            others: trees.len().saturating_sub(1),
            why: "no cache was named, and Nix has no substituter".to_owned(),
        }))
    }

    fn bring_from(&self, url: &str, trees: &[String]) -> Result<()> {
        let fs = &self.store.host.fs;
        let references = self.references(url, trees)?;
        let fresh = self.folder.join("fresh");
        fs.remove_tree(&fresh)?;
        private_dir(fs, &fresh)?;
        let private = format!("local?root={}", fresh.display());
        let args = ["--store", private.as_str(), "--load-db"];
        let load = self.store.command("nix-store", &args);
        let load = load.stdin(registration(
            references.iter().filter(|path| !trees.contains(path)),
        ));
        self.store.host.exec.run(&load, self.store.cancel)?;
        for batch in batches(trees)? {
            let args = ["--extra-experimental-features", "nix-command"];
            let log = ["--log-format", "internal-json", "copy", "--no-recursive"];
            let copy = self.store.command("nix", &args).args(log);
            let copy = copy.args(["--from", url, "--to", private.as_str()]);
            self.told(&copy.args(batch).deadline(DEADLINE), batch)?;
        }
        fs.sync_file_system(&fresh)?;
        fs.rename(&fresh, &self.next()?)?;
        Ok(())
    }

    /// What the trees refer to.
    fn references(&self, url: &str, trees: &[String]) -> Result<BTreeSet<String>> {
        let mut references = BTreeSet::new();
        for batch in batches(trees)? {
            let args = ["--log-format", "internal-json", "--store", url];
            let ask = self.store.command("nix-store", &args);
            let ask = ask.args(["--option", "narinfo-cache-negative-ttl", "0"]);
            let ask = ask.args(["--query", "--references"]).args(batch);
            let text = self.told(&ask.deadline(DEADLINE), batch)?;
            references.extend(text.lines().map(|line| line.trim().to_owned()));
        }
        Ok(references)
    }

    /// Runs a command that asks a cache; its trouble is of the same kinds as that of fetching.
    fn told(&self, command: &Command, paths: &[String]) -> Result<String> {
        self.store.followed(command, paths)
    }

    /// The cache that was named, else Nix's own.
    fn urls(&self) -> Result<Vec<String>> {
        let mut urls = Vec::new();
        if let Some(from) = self.from {
            urls.push(store_url(from)?);
        }
        let args = [
            "--extra-experimental-features",
            "nix-command",
            "config",
            "show",
            "substituters",
        ];
        let show = self.store.command("nix", &args);
        let shown = self.store.host.exec.run(&show, self.store.cancel)?.text();
        urls.extend(shown.split_whitespace().map(str::to_owned));
        Ok(urls)
    }

    /// Where the next round goes.
    fn next(&self) -> Result<PathBuf> {
        let names = self.store.host.fs.list(&self.folder)?.into_iter();
        let rounds = names.filter_map(|name| name.to_str()?.parse::<usize>().ok());
        let next = rounds.max().map_or(0, |last| last + 1);
        Ok(self.folder.join(next.to_string()))
    }
}

/// Entries for `--load-db` of paths that are not there.
fn registration<'a>(paths: impl Iterator<Item = &'a String>) -> String {
    let mut text = String::new();
    for path in paths {
        let _ = writeln!(text, "{path}\n{NO_HASH}\n1\n\n0");
    }
    text
}

/// Folder of the private stores of a switch.
pub(in crate::switch) fn folder(state: &Path) -> PathBuf {
    state.join("target")
}

//! Deleting store paths: only Nix decides what is dead, and what it keeps is told.
//!
//! Nix ends at the first path of a command that is still alive, or that something alive refers to, so
//! it is asked first for all that is dead, and again when it ended early: a process that opened a
//! file meanwhile is waited for a little. What is left then would hold on to all that it refers to. A hybrid that is dead goes with them: it holds on to what it names. A derivation that was left behind keeps nothing here: hybrids do not need theirs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use crate::host::Fs;
use crate::host::fs::Kind;
use crate::switch::compose::MARKER;
use crate::switch::error::Result;
use crate::switch::step::ROOTS;
use crate::switch::store::{BATCH, NixStore, batches};

/// Deleting a large closure from a slow disk, or waiting for somebody else's garbage collection.
const DELETE_DEADLINE: Duration = Duration::from_secs(3600);
/// Before what is in use for a moment is tried again: programs of units that just ended, timers.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(3),
];
/// Paths of which is asked why they are alive.
const LOOKED_AT: usize = 5;
/// Rounds in which paths turn out to be alive after all, before the rest is given up.
const MOST_SURPRISES: usize = 20;
/// Where links are roots, and ours are made, besides the folders in [`ROOTS`].
const FOLDERS: [&str; 2] = ["/nix/var/nix/profiles", "/nix/var/nix/gcroots"];
/// Derivations and outputs are dead when nothing needs them themselves.
const OPTIONS: [&str; 6] = [
    "--option",
    "keep-derivations",
    "false",
    "--option",
    "keep-outputs",
    "false",
];

/// What became of paths that were to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Paths that are gone.
    pub deleted: BTreeSet<String>,
    /// Paths that something needs.
    pub alive: BTreeSet<String>,
    /// Bytes by which the disk has become emptier meanwhile, by whomever.
    pub freed: u64,
}

impl NixStore<'_> {
    /// Deletes those of the paths that nothing needs. What is not there is passed over.
    ///
    /// # Errors
    /// When Nix cannot be asked, or ends with something other than a path that is alive.
    pub fn delete(&self, paths: &[String]) -> Result<Deleted> {
        sweep_cut_off(&self.host.fs)?;
        let there = self.valid(paths)?;
        if there.is_empty() {
            return Ok(Deleted::default());
        }
        let free = || {
            let space = self.host.fs.space(Path::new("/nix/store"));
            space.map(|space| space.free_bytes)
        };
        let before = free()?;
        self.delete_dead(paths)?;
        let mut alive = self.valid(paths)?;
        for pause in PAUSES {
            if alive.is_empty() || !self.is_held_for_a_moment(&alive)? {
                break;
            }
            std::thread::sleep(pause);
            self.delete_dead(paths)?;
            alive = self.valid(paths)?;
        }
        Ok(Deleted {
            deleted: there.difference(&alive).cloned().collect(),
            alive,
            freed: free()?.saturating_sub(before),
        })
    }

    /// Deletes those of the paths that are dead now. Nix names a path, and means that or anything
    /// that refers to it: so all are asked for again, and a path is given up only when Nix calls it
    /// dead and deletes nothing.
    fn delete_dead(&self, paths: &[String]) -> Result<()> {
        let mut given_up = BTreeSet::new();
        for _ in 0..MOST_SURPRISES {
            let there = self.valid(paths)?;
            let dead = self.dead()?;
            // What ended between the building of a hybrid and its root left it to nobody.
            let lost = dead.iter().filter(|path| is_hybrid(path));
            let open: BTreeSet<&String> = there.intersection(&dead).chain(lost).collect();
            let open = open.into_iter().filter(|path| !given_up.contains(*path));
            let open: Vec<String> = open.cloned().collect();
            let mut surprises = Vec::new();
            for batch in open.chunks(BATCH) {
                surprises.extend(self.delete_batch(batch)?);
            }
            if surprises.is_empty() {
                break;
            }
            if self.valid(&open)?.len() == open.len() {
                given_up.extend(surprises);
            }
        }
        Ok(())
    }

    /// Whether something that ends by itself needs one of these paths: a process that runs, or a
    /// command of Nix. What has died meanwhile counts, too.
    fn is_held_for_a_moment(&self, paths: &BTreeSet<String>) -> Result<bool> {
        let some: Vec<String> = paths.iter().take(LOOKED_AT).cloned().collect();
        let roots = match self.ask(&["--query", "--roots"], &some) {
            Ok(output) => output.text(),
            Err(error) if error.is_stopped() => return Err(error),
            // Somebody else deleted one meanwhile.
            Err(_) => return Ok(true),
        };
        let mut links = roots.lines().filter_map(|line| line.split_once(" -> "));
        Ok(links.all(|(link, _)| link.starts_with("/proc/") || link.starts_with('{')))
    }

    /// All paths that nothing needs.
    ///
    /// # Errors
    /// When Nix cannot be asked.
    pub fn dead(&self) -> Result<BTreeSet<String>> {
        let command = self
            .command("nix-store", &["--gc", "--print-dead"])
            .args(OPTIONS)
            .deadline(DELETE_DEADLINE);
        let output = self.host.exec.run(&command, self.cancel)?;
        Ok(output.text().lines().map(str::to_owned).collect())
    }

    /// Deletes all of them; says which one is alive, if one is.
    fn delete_batch(&self, paths: &[String]) -> Result<Option<String>> {
        for batch in batches(paths)? {
            let command = self.command("nix-store", &["--delete"]).args(OPTIONS);
            let command = command.args(batch).deadline(DELETE_DEADLINE);
            let output = self.host.exec.output(&command, self.cancel)?;
            if output.code != 0 {
                let said = String::from_utf8_lossy(&output.stderr);
                let alive = alive(&said).filter(|path| batch.contains(path));
                if alive.is_none() {
                    output.success(&command)?;
                }
                return Ok(alive);
            }
        }
        Ok(None)
    }
}

/// Whether a path is a hybrid, or the derivation of one: ours, whoever holds it. While it is there,
/// Nix deletes nothing that it refers to.
fn is_hybrid(path: &str) -> bool {
    let name = path.split_once('-').map(|(_, name)| name);
    name.and_then(|name| name.strip_prefix(MARKER))
        .is_some_and(|rest| rest.starts_with('-'))
}

/// The path that Nix says it cannot delete.
fn alive(said: &str) -> Option<String> {
    let lower = said.to_lowercase();
    let at = lower.find("cannot delete path '")?;
    let rest = said.get(at..)?.split('\'').nth(1)?;
    lower.contains("alive").then(|| rest.to_owned())
}

/// Removes links that a power cut or a kill left before they had got their names. To Nix they are
/// roots like any other, and the next attempt need not make a link of the same name.
fn sweep_cut_off(fs: &Fs) -> Result<()> {
    for folder in FOLDERS {
        fs.sweep_temporaries(Path::new(folder))?;
    }
    for name in fs.list(Path::new(ROOTS))? {
        let folder = Path::new(ROOTS).join(name);
        if fs
            .meta(&folder)?
            .is_some_and(|it| it.kind == Kind::Directory)
        {
            fs.sweep_temporaries(&folder)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::host::Output;
    use crate::host::fake::Answer;
    use crate::switch::testing::{Fixture, store_path};

    /// A store with these paths, of which `dead` is said to be dead and `surprise` is not, so often.
    fn store(paths: &[String], dead: &[String], surprise: Option<(String, usize)>) -> Fixture {
        let fixture = Fixture::new();
        let there: Arc<Mutex<BTreeSet<String>>> =
            Arc::new(Mutex::new(paths.iter().cloned().collect()));
        let known = there.clone();
        let check = move |command: &crate::host::Command| {
            let known = known.lock().unwrap();
            let invalid = command
                .args
                .iter()
                .skip(4)
                .filter(|arg| !known.contains(*arg));
            let text: Vec<&str> = invalid.map(String::as_str).collect();
            Output {
                stdout: text.join("\n").into(),
                ..Output::default()
            }
        };
        fixture.answer(&["--check-validity"], Answer::effect(check));
        fixture.answer(&["--gc", "--print-dead"], Answer::text(&dead.join("\n")));
        let surprises = AtomicUsize::new(0);
        let delete = move |command: &crate::host::Command| {
            let mut there = there.lock().unwrap();
            let so_far = surprises.fetch_add(1, Ordering::SeqCst);
            for path in command
                .args
                .iter()
                .filter(|arg| arg.starts_with("/nix/store/"))
            {
                if surprise
                    .as_ref()
                    .is_some_and(|(it, times)| it == path && so_far < *times)
                {
                    let stderr = format!(
                        "error: Cannot delete path '{path}' since it is still alive. To find out why"
                    );
                    return Output {
                        code: 1,
                        stderr: stderr.into(),
                        ..Output::default()
                    };
                }
                there.remove(path);
            }
            Output::default()
        };
        fixture.answer(&["--delete"], Answer::effect(delete));
        fixture
    }

    fn paths(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| store_path(name)).collect()
    }

    #[test]
    fn what_is_alive_stays_and_is_told() {
        let all = paths(&["a", "b", "c", "gone"]);
        let fixture = store(&all[..3], &all[..2], None);
        let deleted = fixture.store().delete(&all).unwrap();
        assert_eq!(deleted.deleted, all[..2].iter().cloned().collect());
        assert_eq!(deleted.alive, all[2..3].iter().cloned().collect());
        let lines = fixture.lines();
        let delete: Vec<&String> = lines
            .iter()
            .filter(|line| line.contains("--delete"))
            .collect();
        assert_eq!(delete.len(), 1);
        assert!(!delete[0].contains(&all[2]) && !delete[0].contains("ignore-liveness"));
    }

    #[test]
    fn one_that_became_alive_does_not_stop_the_rest() {
        let all = paths(&["a", "b", "c", "d"]);
        for surprise in &all {
            let fixture = store(&all, &all, Some((surprise.clone(), usize::MAX)));
            fixture.answer(&["--query", "--roots"], Answer::text("/x -> y"));
            let deleted = fixture.store().delete(&all).unwrap();
            assert_eq!(deleted.alive, BTreeSet::from([surprise.clone()]));
            assert_eq!(deleted.deleted.len(), 3);
        }
    }

    #[test]
    fn one_that_something_in_use_refers_to_is_tried_again() {
        let all = paths(&["a", "b", "c", "d"]);
        for surprise in &all {
            let fixture = store(&all, &all, Some((surprise.clone(), 1)));
            let deleted = fixture.store().delete(&all).unwrap();
            assert_eq!(deleted.alive, BTreeSet::new(), "{surprise}");
        }
    }

    #[test]
    fn what_a_process_uses_is_waited_for_and_what_a_root_holds_is_not() {
        let all = paths(&["a", "b"]);
        for (roots, goes) in [
            ("/proc/7/exe -> x\n{temp:8} -> x", true),
            ("/x -> y", false),
        ] {
            let fixture = store(&all, &all, None);
            let (first, dead) = (AtomicUsize::new(0), all.join("\n"));
            let dead = move |_: &crate::host::Command| Output {
                stdout: match first.fetch_add(1, Ordering::SeqCst) {
                    0 => Vec::new(),
                    _ => dead.clone().into(),
                },
                ..Output::default()
            };
            fixture.answer(&["--gc", "--print-dead"], Answer::effect(dead));
            fixture.answer(&["--query", "--roots"], Answer::text(roots));
            let deleted = fixture.store().delete(&all).unwrap();
            assert_eq!(deleted.alive.is_empty(), goes, "{roots}");
        }
    }

    #[test]
    fn nothing_is_asked_about_nothing() {
        let all = paths(&["a"]);
        let fixture = store(&[], &[], None);
        assert_eq!(fixture.store().delete(&all).unwrap(), Deleted::default());
        assert_eq!(fixture.lines().len(), 1);
    }

    #[test]
    fn other_failures_are_errors() {
        let all = paths(&["a"]);
        let fixture = store(&all, &all, None);
        fixture.answer(&["--delete"], Answer::code(1, "error: database is locked"));
        assert!(fixture.store().delete(&all).is_err());
    }
}

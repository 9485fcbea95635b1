//! A store in memory behind the scripted programs of Nix: validity, references, roots, a cache.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::host::fake::Answer;
use crate::host::{Command, Output};
use crate::switch::testing::{Fixture, NIX};

/// What the store has, and what can be fetched.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub references: BTreeMap<String, Vec<String>>,
    pub valid: BTreeSet<String>,
    pub cache: BTreeSet<String>,
    /// What Nix says when something cannot be fetched.
    pub complaint: String,
}

/// Shared with the answers.
#[derive(Debug, Clone)]
pub(crate) struct FakeNix {
    content: Arc<Mutex<Content>>,
    root: PathBuf,
}

impl FakeNix {
    /// A store for the machine, with these paths in its cache and what each refers to.
    pub fn on(fixture: &Fixture, paths: &[(&str, &[&str])]) -> Self {
        let mut content = Content {
            complaint: "error: path is required, but there is no substituter that can build it"
                .into(),
            ..Content::default()
        };
        for (path, references) in paths {
            let references = references.iter().map(|&it| it.to_owned()).collect();
            content.references.insert((*path).to_owned(), references);
            content.cache.insert((*path).to_owned());
        }
        let nix = FakeNix {
            content: Arc::new(Mutex::new(content)),
            root: fixture.machine.dir.path().to_owned(),
        };
        let own = nix.clone();
        fixture.answer(&[], Answer::effect(move |command| own.run(command)));
        nix
    }

    pub fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap()
    }

    /// Puts paths into the store.
    pub fn add(&self, paths: &[&str]) {
        for &path in paths {
            self.content().valid.insert(path.to_owned());
            std::fs::create_dir_all(self.root.join(path.trim_start_matches('/'))).unwrap();
        }
    }

    pub fn valid(&self) -> BTreeSet<String> {
        self.content().valid.clone()
    }

    fn run(&self, command: &Command) -> Output {
        assert!(command.args[1].starts_with(NIX));
        let args: Vec<&str> = command.args[2..].iter().map(String::as_str).collect();
        let paths: Vec<String> = args
            .iter()
            .filter(|arg| arg.starts_with("/nix/store/"))
            .map(|&arg| arg.to_owned())
            .collect();
        let has = |arg: &str| args.contains(&arg);
        if has("--print-invalid") {
            let valid = self.valid();
            let invalid = paths.into_iter().filter(|path| !valid.contains(path));
            text(invalid)
        } else if has("--requisites") {
            match paths.iter().find(|path| !self.valid().contains(*path)) {
                Some(path) => failed(&format!("error: path '{path}' is not valid")),
                None => text(self.closure(&paths)),
            }
        } else if has("--dump-db") {
            text(paths.iter().flat_map(|path| self.dump(path)))
        } else if has("--realise") {
            self.realise(&paths)
        } else if has("--print-dead") {
            let alive = self.closure(&self.roots());
            text(self.valid().difference(&alive).cloned())
        } else if has("--delete") {
            self.delete(&paths)
        } else {
            Output::default()
        }
    }

    fn closure(&self, paths: &[String]) -> BTreeSet<String> {
        let content = self.content();
        let mut closure = BTreeSet::new();
        let mut open = paths.to_vec();
        while let Some(path) = open.pop() {
            if closure.insert(path.clone()) {
                open.extend(content.references.get(&path).into_iter().flatten().cloned());
            }
        }
        closure
    }

    fn dump(&self, path: &str) -> Vec<String> {
        let references = self
            .content()
            .references
            .get(path)
            .cloned()
            .unwrap_or_default();
        let mut lines = vec![path.to_owned(), "hash".into(), "100".into(), String::new()];
        lines.push(references.len().to_string());
        lines.extend(references);
        lines
    }

    fn realise(&self, paths: &[String]) -> Output {
        for path in self.closure(paths) {
            if self.valid().contains(&path) {
                continue;
            }
            if !self.content().cache.contains(&path) {
                return failed(&self.content().complaint);
            }
            self.add(&[&path]);
        }
        Output::default()
    }

    fn delete(&self, paths: &[String]) -> Output {
        let alive = self.closure(&self.roots());
        for path in paths {
            if alive.contains(path) || self.is_referred_to(path, paths) {
                return failed(&format!(
                    "error: Cannot delete path '{path}' since it is still alive"
                ));
            }
            self.content().valid.remove(path);
            let _ = std::fs::remove_dir_all(self.root.join(path.trim_start_matches('/')));
        }
        Output::default()
    }

    /// Whether something else than these paths refers to a path, dead as it may be.
    fn is_referred_to(&self, path: &String, but: &[String]) -> bool {
        let content = self.content();
        let mut others = content.valid.iter().filter(|it| !but.contains(it));
        others.any(|other| {
            let references = content.references.get(other);
            references.is_some_and(|references| references.contains(path))
        })
    }

    fn roots(&self) -> Vec<String> {
        let mut roots = Vec::new();
        for folder in ["nix/var/nix/gcroots", "nix/var/nix/profiles"] {
            find_roots(&self.root, &self.root.join(folder), &mut roots);
        }
        roots
    }
}

/// Links to the store, and links to such links, as Nix follows them.
fn find_roots(root: &Path, folder: &Path, roots: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if let Ok(target) = std::fs::read_link(&path) {
            let next = root.join(target.strip_prefix("/").unwrap_or(&target));
            let target = match std::fs::read_link(next) {
                Ok(next) if !target.starts_with("/nix/store") => next,
                _ => target,
            };
            let target = target.display().to_string();
            roots.extend(target.starts_with("/nix/store/").then_some(target));
        } else if path.is_dir() {
            find_roots(root, &path, roots);
        }
    }
}

fn text(lines: impl IntoIterator<Item = String>) -> Output {
    let lines: Vec<String> = lines.into_iter().collect();
    Output {
        stdout: lines.join("\n").into(),
        ..Output::default()
    }
}

fn failed(why: &str) -> Output {
    let record = serde_json::json!({"action": "msg", "level": 0, "msg": why});
    Output {
        code: 1,
        stderr: format!("{why}\n@nix {record}\n").into(),
        ..Output::default()
    }
}

//! A Nix that is answered from a script: a store, caches, and what is in which.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use nixctl_planner::closure::StorePath;

use crate::host::exec::STDOUT_LIMIT;
use crate::host::fake::Answer;
use crate::host::{Command, Output};
use crate::resource::testing::Machine;
use crate::switch::toplevel::nar::Node;
use crate::switch::toplevel::nar::testing::{archive, export};

/// A path as the script knows it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub references: Vec<StorePath>,
    pub node: Node,
    /// Bytes that the stores say it has.
    pub size: u64,
}

/// All stores. The machine's own is called `local`.
#[derive(Debug, Default)]
pub(super) struct Stores {
    pub known: BTreeMap<StorePath, Known>,
    pub has: BTreeMap<String, BTreeSet<StorePath>>,
    /// Caches that cannot be reached.
    pub silent: BTreeSet<String>,
    /// Bytes after which every export is cut off.
    pub cut: Option<usize>,
}

impl Stores {
    /// Puts a path into a store.
    pub(super) fn put(
        &mut self,
        store: &str,
        path: &StorePath,
        references: &[&StorePath],
        node: Node,
    ) {
        let size = match node {
            Node::Unread => 100,
            _ => archive(&node).len() as u64,
        };
        let known = Known {
            references: references.iter().map(|it| (*it).clone()).collect(),
            node,
            size,
        };
        self.known.insert(path.clone(), known);
        self.has
            .entry(store.to_owned())
            .or_default()
            .insert(path.clone());
    }

    fn is_in(&self, store: &str, path: &StorePath) -> bool {
        self.has
            .get(store)
            .is_some_and(|paths| paths.contains(path))
    }

    fn answer(&self, command: &Command) -> Output {
        let arg = |name: &str| command.args.iter().any(|arg| arg == name);
        let store = command
            .args
            .iter()
            .skip_while(|arg| *arg != "--store")
            .nth(1);
        let store = store.map_or("local", String::as_str);
        if self.silent.contains(store) {
            return fail("error: unable to download: Could not connect to server");
        }
        let roots = command
            .args
            .iter()
            .filter_map(|arg| StorePath::new(arg).ok());
        if arg("substituters") && arg("show") {
            return text("https://a.example.org https://x?trusted=1 daemon file:///srv/b\n".into());
        }
        if arg("--recursive") {
            return self.recursive(store, roots.collect());
        }
        if arg("--export") {
            return self.export(store, &roots.collect::<Vec<_>>());
        }
        let asked = String::from_utf8(command.stdin.clone()).unwrap();
        let entries: Vec<String> = asked
            .lines()
            .map(|line| {
                format!(
                    "\"{line}\":{}",
                    self.info(store, &StorePath::new(line).unwrap())
                )
            })
            .collect();
        text(format!("{{{}}}", entries.join(",")).into())
    }

    fn info(&self, store: &str, path: &StorePath) -> String {
        if !self.is_in(store, path) {
            return "null".to_owned();
        }
        let known = &self.known[path];
        let references: Vec<String> = known
            .references
            .iter()
            .map(|it| format!("\"{it}\""))
            .collect();
        let (size, references) = (known.size, references.join(","));
        format!("{{\"narSize\":{size},\"references\":[{references}]}}")
    }

    fn recursive(&self, store: &str, mut open: Vec<StorePath>) -> Output {
        let mut names = BTreeSet::new();
        while let Some(path) = open.pop() {
            if !self.is_in(store, &path) {
                return fail(&format!("error: path '{path}' is not valid"));
            }
            if names.insert(path.clone()) {
                open.extend(self.known[&path].references.iter().cloned());
            }
        }
        text(
            names
                .iter()
                .flat_map(|name| format!("{name}\n").into_bytes())
                .collect(),
        )
    }

    fn export(&self, store: &str, paths: &[StorePath]) -> Output {
        if let Some(path) = paths.iter().find(|path| !self.is_in(store, path)) {
            return fail(&format!("error: path '{path}' is not valid"));
        }
        let all: Vec<(&str, &Node, &[&str])> = paths
            .iter()
            .map(|path| (path.as_str(), &self.known[path].node, &[][..]))
            .collect();
        let mut bytes = export(&all);
        bytes.truncate(self.cut.unwrap_or(STDOUT_LIMIT));
        text(bytes)
    }
}

/// A machine whose Nix answers so.
pub(super) fn machine(stores: Stores) -> (Machine, Arc<Mutex<Stores>>) {
    let machine = Machine::new();
    let stores = Arc::new(Mutex::new(stores));
    let asked = Arc::clone(&stores);
    // An image without /proc, so that commands run in it through the daemon's own program.
    let answer = Answer::effect(move |command| asked.lock().unwrap().answer(command));
    machine.exec.answer("/proc/self/exe", &[], answer);
    (machine, stores)
}

/// A store path by its name.
pub(super) fn store_path(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("0123456789abcdfghijklmnpqrsvwxyz-{name}")).unwrap()
}

fn text(stdout: Vec<u8>) -> Output {
    Output {
        stdout,
        ..Output::default()
    }
}

fn fail(stderr: &str) -> Output {
    Output {
        code: 1,
        stderr: stderr.into(),
        ..Output::default()
    }
}

//! Step Compose: a hybrid generation, put together by Nix out of store paths that are there.
//!
//! The base's toplevel with the named entries of `etc`, units and packages of the target: a store path of its own
//! with a complete closure, which can be activated and booted. What was named in the base's scripts names the
//! hybrid now. Its recipe is kept in the state folder, so that it can be made again after it was released.
//!
//! The target's link trees need not be in the store, where they would want the whole target beside
//! them: `compose_stage` brings them to be read.

pub(super) mod merge;
pub(super) mod script;
pub(super) mod stage;
pub(super) mod tree;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nixctl_planner::closure::{StorePath, store_paths_in};
use serde::Serialize;

use crate::host::Fs;
use crate::host::fs::Kind;
use crate::payload::STATE_DIR;
use crate::payload::entry::is_store_path;
use crate::payload::files::private_dir;
use crate::resource::{Context, Description, Undone};
use crate::switch::booted_root;
use crate::switch::compose::merge::{software, take};
use crate::switch::compose::script::{Node, Recipe, Tree, expression};
use crate::switch::compose::stage::Stage;
use crate::switch::compose::tree::rename;
use crate::switch::error::{Result, SwitchError};
use crate::switch::fetch::{make_roots_folder, remove_roots_folder};
use crate::switch::profile::hybrid_link;
use crate::switch::step::{Compose, SwitchUndo};
use crate::switch::store::NixStore;
use crate::switch::store::internal_json::NixLog;

/// Beginning of the names of the store paths of hybrids.
pub const HYBRID: &str = "nixctl-hybrid-";

/// Marks a hybrid, a file in its toplevel.
pub const MARKER: &str = "nixctl-hybrid";
/// Making links takes seconds, thousands of them on a slow disk some more.
const BUILD_DEADLINE: Duration = Duration::from_secs(900);
/// Largest recipe that is read back.
const LARGEST_RECIPE: u64 = 256 << 20;
/// Everything a hybrid's program runs.
const TOOLS: [&str; 3] = ["mkdir", "ln", "chmod"];

/// What the marker says.
#[derive(Debug, Serialize)]
struct Marker<'a> {
    number: u32,
    base: &'a str,
    target: &'a str,
    label: &'a str,
}

impl Compose {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        let mut details = vec![
            format!("from {}", self.base.name()),
            format!("towards {}", self.target),
        ];
        details.extend(self.units.iter().map(|unit| format!("unit {unit}")));
        details.extend(self.etc.iter().map(|path| format!("/etc/{path}")));
        details.extend(self.packages.iter().map(|path| format!("package {path}")));
        details.extend(
            self.absent
                .iter()
                .map(|path| format!("without /etc/{path}")),
        );
        Description {
            id: format!("compose:{}", self.number),
            summary: format!(
                "compose the hybrid generation {} ({})",
                self.number, self.label
            ),
            details,
        }
    }

    /// Reads what undoing will need: whether it is there already.
    ///
    /// # Errors
    /// When the link cannot be read.
    pub fn prepare(&self, context: &Context<'_>) -> Result<SwitchUndo> {
        let link = hybrid_link(&self.roots, self.number);
        let there = context.host.fs.read_link(&link)?.is_some();
        let name = format!("hybrid-{}", self.number);
        Ok(SwitchUndo::Fetch {
            links: there.then_some(name).into_iter().collect(),
            valid: Vec::new(),
        })
    }

    /// Composes it, and holds it by a link.
    ///
    /// # Errors
    /// When a part is not there, or Nix could not build it.
    pub fn apply(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone> {
        let _ = undo;
        let fs = &context.host.fs;
        let text = expression(&self.recipe(context)?);
        let file = recipe_file(&self.roots, self.number);
        private_dir(fs, file.parent().unwrap_or(Path::new(STATE_DIR)))?;
        fs.write(&file, text.as_bytes(), 0o600, None)?;
        again(context, &self.roots, self.number)?;
        Ok(Undone::Clean)
    }

    /// Takes the link off and lets Nix delete the hybrid, unless it was there before.
    ///
    /// # Errors
    /// When Nix cannot be asked.
    pub fn undo(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone> {
        let SwitchUndo::Fetch { links, .. } = undo else {
            return Ok(Undone::Clean);
        };
        if !links.is_empty() {
            return Ok(Undone::Clean);
        }
        let fs = &context.host.fs;
        let link = hybrid_link(&self.roots, self.number);
        let path = fs.read_link(&link)?;
        fs.remove_file(&link)?;
        fs.remove_file(&recipe_file(&self.roots, self.number))?;
        remove_roots_folder(fs, &self.roots)?;
        if let Some(path) = path.and_then(|path| Some(path.to_str()?.to_owned())) {
            let paths = [path];
            booted_root::leave(fs, &paths)?;
            NixStore::find(context, "undo composing")?.delete(&paths)?;
        }
        Ok(Undone::Clean)
    }

    fn recipe(&self, context: &Context<'_>) -> Result<Recipe> {
        let fs = &context.host.fs;
        let base = self.base.resolve(fs, &self.roots)?;
        let store = NixStore::find(context, "compose a hybrid generation")?;
        store.complete(&self.describe().summary, &base, false)?;
        let stage = Stage {
            store: &store,
            folder: stage::folder(&state_folder(&self.roots)),
            from: self.from.as_deref(),
        };
        let tree = self.tree(&stage, &base)?;
        let inputs = inputs(&tree);
        let named: Vec<String> = inputs.iter().cloned().collect();
        let valid = store.valid(&named)?;
        if let Some(missing) = named.iter().find(|path| !valid.contains(*path)) {
            return Err(SwitchError::Incomplete {
                what: self.describe().summary,
                path: missing.clone(),
            });
        }
        let (shell, tools) = programs(fs, &base).ok_or_else(|| SwitchError::Compose {
            number: self.number,
            why: format!(
                "no shell with mkdir, ln and chmod is named by {base}/activate or in its sw"
            ),
        })?;
        let target = self.target.rsplit('-').next().unwrap_or_default();
        Ok(Recipe {
            name: format!("{HYBRID}{}-{target}", self.number),
            shell,
            tools,
            inputs,
            tree,
        })
    }

    /// The tree of the hybrid.
    fn tree(&self, stage: &Stage<'_>, base: &str) -> Result<Tree> {
        let etc = self.etc.iter().map(|path| format!("etc/{path}"));
        let units = self
            .units
            .iter()
            .map(|unit| format!("etc/systemd/system/{unit}"));
        let wanted: BTreeSet<String> = etc.chain(units).collect();
        let absent = self.absent.iter().map(|path| format!("etc/{path}"));
        let absent: BTreeSet<String> = absent.collect();
        if let Some(bad) = wanted.union(&absent).find(|path| !is_plain(path)) {
            return Err(SwitchError::Internal(format!("`{bad}` is no path in /etc")));
        }
        let with_sw = !self.packages.is_empty();
        let new = stage.read(&self.target, &wanted, with_sw)?;
        let places = stage.places()?;
        let opened = wanted.union(&absent).cloned().collect();
        let old = places.read(base, &opened, with_sw)?;
        if let Some(path) = old.missing.into_iter().next() {
            let what = self.describe().summary;
            return Err(SwitchError::Incomplete { what, path });
        }
        let mut tree = old.tree;
        for name in &wanted {
            take(&mut tree, &new.tree, name);
        }
        for name in &absent {
            take(&mut tree, &Tree::new(), name);
        }
        if with_sw {
            let software = software(&places, &tree, &new.tree, &self.packages)?;
            tree.retain(|path, _| path != "sw" && !path.starts_with("sw/"));
            tree.extend(software);
        }
        if let Some(path) = rename(&mut tree, base, &[&old.opened, &new.opened]) {
            return Err(SwitchError::Compose {
                number: self.number,
                why: format!("{path} names the generation it is from, and is no text"),
            });
        }
        let marker = Marker {
            number: self.number,
            base,
            target: &self.target,
            label: &self.label,
        };
        let bytes = serde_json::to_vec(&marker)
            .map_err(|error| SwitchError::Internal(format!("cannot write the marker: {error}")))?;
        let executable = false;
        tree.insert(MARKER.to_owned(), Node::File { bytes, executable });
        Ok(tree)
    }
}

/// Builds a hybrid from its recipe and holds it by its link; gives its store path.
pub(super) fn again(context: &Context<'_>, roots: &Path, number: u32) -> Result<String> {
    let fs = &context.host.fs;
    let failed = |why: &str| SwitchError::Compose {
        number,
        why: why.to_owned(),
    };
    let text = fs.read(&recipe_file(roots, number), LARGEST_RECIPE)?;
    let text = text.ok_or_else(|| failed("its recipe is not there"))?;
    let store = NixStore::find(context, "compose a hybrid generation")?;
    let path = store.build(&text)?;
    make_roots_folder(fs, roots)?;
    fs.symlink(Path::new(&path), &hybrid_link(roots, number))?;
    // A collection may have run between the build and the link.
    store.complete(
        &format!("compose the hybrid generation {number}"),
        &path,
        false,
    )?;
    store.delete_deriver(&path)?;
    Ok(path)
}

impl NixStore<'_> {
    /// Builds an expression that is one derivation, from what is in the store; gives its store path.
    ///
    /// # Errors
    /// When Nix cannot build it.
    pub fn build(&self, expression: &[u8]) -> Result<String> {
        // As root and without a sandbox: it runs nothing but our own program, and must not fail
        // for want of build users, of namespaces or of a network.
        let command = self
            .command("nix-build", &["--no-out-link"])
            .args(["--option", "substitute", "false"])
            .args(["--option", "sandbox", "false"])
            .args(["--option", "build-users-group", ""])
            .args(["--option", "builders", ""])
            .arg("-")
            .stdin(expression)
            .deadline(BUILD_DEADLINE);
        let output = self.host.exec.output(&command, self.cancel)?;
        if output.code != 0 {
            let mut log = NixLog::default();
            log.feed(&output.stderr);
            let what = "compose a hybrid generation".to_owned();
            return Err(self.trouble_with(what, &[], 0, &log));
        }
        let text = output.text();
        let path = text.lines().last().unwrap_or_default().trim();
        if is_store_path(path) {
            return Ok(path.to_owned());
        }
        Err(SwitchError::Nix {
            what: "compose a hybrid generation".to_owned(),
            why: format!("`{path}` is no store path"),
        })
    }

    /// Deletes the derivation that a path was built from: it holds on to all inputs for as long as
    /// the path is there.
    fn delete_deriver(&self, path: &str) -> Result<()> {
        let output = self.ask(&["--query", "--deriver"], &[path.to_owned()])?;
        let deriver = output.text();
        if is_store_path(&deriver) {
            self.delete(&[deriver])?;
        }
        Ok(())
    }
}

/// What the switch of these roots keeps in the state folder.
pub(super) fn state_folder(roots: &Path) -> PathBuf {
    let hash = roots.file_name().unwrap_or_default();
    Path::new(STATE_DIR).join("switch").join(hash)
}

/// Removes what the switch of these roots kept in the state folder, once it is over.
///
/// # Errors
/// When it cannot be removed.
pub fn forget_recipes(fs: &Fs, roots: &Path) -> Result<()> {
    Ok(fs.remove_tree(&state_folder(roots))?)
}

fn recipe_file(roots: &Path, number: u32) -> PathBuf {
    state_folder(roots).join(format!("hybrid-{number}.nix"))
}

/// Relative, and without `.` and `..`.
fn is_plain(path: &str) -> bool {
    path.split('/').all(|name| !matches!(name, "" | "." | ".."))
}

/// Store paths that the tree names. What was generated for `sw` needs none, and the marker holds
/// on to nothing.
fn inputs(tree: &Tree) -> BTreeSet<String> {
    let mut inputs = BTreeSet::new();
    for (path, node) in tree {
        match node {
            Node::Link(target) => inputs.extend(named(target)),
            Node::File { .. } if path == MARKER || path.starts_with("sw/") => {}
            Node::File { bytes, .. } => {
                inputs.extend(named(&String::from_utf8_lossy(bytes)));
            }
            Node::Empty => {}
        }
    }
    inputs
}

type Program = (String, String);

/// A shell and a folder of tools that the base has anyway: those of its `activate`, else of its `sw`.
fn programs(fs: &Fs, base: &str) -> Option<(Program, Program)> {
    let activate = fs.read(&Path::new(base).join("activate"), 1 << 20).ok()??;
    let activate = String::from_utf8_lossy(&activate).into_owned();
    let interpreter = activate.lines().next()?.strip_prefix("#!")?;
    let interpreter = interpreter.split_whitespace().next()?;
    let shell = split(interpreter)?;
    let own = Path::new(interpreter).parent()?.to_str()?.to_owned();
    let theirs = named(&activate).map(|path| format!("{path}/bin"));
    let folders = std::iter::once(own).chain(theirs);
    let mut folders = folders.chain(tool_of_sw(fs, base));
    let tools = folders.find(|folder| {
        let is_there = |tool: &str| {
            let path = Path::new(folder).join(tool);
            fs.meta(&path).is_ok_and(|meta| {
                meta.is_some_and(|meta| matches!(meta.kind, Kind::File | Kind::Link))
            })
        };
        TOOLS.iter().all(|tool| is_there(tool))
    })?;
    Some((shell, split(&tools)?))
}

/// The folder that `mkdir` of the base's `sw` is in.
fn tool_of_sw(fs: &Fs, base: &str) -> Option<String> {
    let link = Path::new(base).join("sw/bin/mkdir");
    let target = fs.read_link(&link).ok()??;
    Some(target.parent()?.to_str()?.to_owned())
}

/// The store path, and the rest with its slash.
fn split(path: &str) -> Option<Program> {
    let (store_path, rest) = StorePath::containing(path).ok()?;
    Some((store_path.to_string(), format!("/{rest}")))
}

/// The store paths that a text names.
fn named(text: &str) -> impl Iterator<Item = String> {
    let paths = store_paths_in(text).into_iter();
    paths.map(|path| path.to_string())
}

#[cfg(test)]
mod tests;

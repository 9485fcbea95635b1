//! Reading a toplevel as a tree of links and small files, as far as a hybrid is made anew from it.
//!
//! Folders of the link trees are opened, their links are kept as they are: a hybrid must not lead
//! through the old link trees, which hold on to everything. What named a folder that was opened names the
//! hybrid's own afterwards. Links are followed inside the store only.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use crate::host::Fs;
use crate::host::fs::{Kind, Meta};
use crate::switch::compose::script::{Node, OUT, Tree};
use crate::switch::error::{Result, SwitchError};
use crate::switch::toplevel::is_walked;

/// Bounds of what is read.
const MOST_ENTRIES: usize = 200_000;
const LARGEST_FILE: u64 = 4 << 20;
const MOST_BYTES: usize = 64 << 20;
const MOST_LINKS: usize = 40;
const MOST_DEPTH: usize = 32;

/// Where store paths are read from: the store, and behind it what was laid aside for reading.
#[derive(Debug, Clone)]
pub(in crate::switch) struct Places {
    pub stores: Vec<Fs>,
}

/// A toplevel that was read.
#[derive(Debug, Clone, Default)]
pub(in crate::switch) struct Read {
    pub tree: Tree,
    /// The toplevel and the folders that a link led to, and where they are in the tree.
    pub opened: BTreeMap<String, String>,
    /// Store paths that would have to be opened and are nowhere to be read.
    pub missing: BTreeSet<String>,
}

impl Places {
    /// What a path in the store is, links on the way followed.
    pub(in crate::switch) fn meta(&self, path: &Path) -> Result<Option<Meta>> {
        Ok(self.of(path)?.meta(path)?)
    }

    /// Names in a folder.
    pub(in crate::switch) fn list(&self, path: &Path) -> Result<Vec<String>> {
        let names = self.of(path)?.list(path)?.into_iter();
        Ok(names.filter_map(|name| name.into_string().ok()).collect())
    }

    /// The folder in the store that a path leads to, if it does.
    pub(in crate::switch) fn folder(&self, path: &Path) -> Result<Option<PathBuf>> {
        let mut at = path.to_owned();
        for _ in 0..MOST_LINKS {
            let Some(meta) = self.meta(&at)? else {
                return Ok(None);
            };
            if meta.kind != Kind::Link {
                return Ok((meta.kind == Kind::Directory).then_some(at));
            }
            let target = self.of(&at)?.read_link(&at)?.unwrap_or_default();
            match beside(&at, &target) {
                Some(next) => at = next,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Reads the toplevel; `wanted` are paths below it whose folders have to be opened.
    pub(in crate::switch) fn read(
        &self,
        toplevel: &str,
        wanted: &BTreeSet<String>,
        sw: bool,
    ) -> Result<Read> {
        let mut reader = Reader {
            places: self,
            wanted,
            sw,
            bytes: 0,
            read: Read::default(),
        };
        if !self.has(Path::new(toplevel))? {
            reader.read.missing.insert(toplevel.to_owned());
            return Ok(reader.read);
        }
        let top = self.folder(Path::new(toplevel))?;
        let top = top.ok_or_else(|| SwitchError::BadTarget {
            target: toplevel.to_owned(),
            why: "it is no folder in the store".to_owned(),
        })?;
        reader.open(&top, "", 0)?;
        Ok(reader.read)
    }

    /// Whether the store path that something is in can be read.
    fn has(&self, path: &Path) -> Result<bool> {
        let store_path = store_path(path);
        for fs in &self.stores {
            if fs.meta(&store_path)?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The files that have the store path, the store's own when none has it.
    fn of(&self, path: &Path) -> Result<&Fs> {
        let store_path = store_path(path);
        for fs in &self.stores {
            if fs.meta(&store_path)?.is_some() {
                return Ok(fs);
            }
        }
        let first = self.stores.first();
        first.ok_or_else(|| SwitchError::Internal("there is no store to read from".to_owned()))
    }
}

struct Reader<'a> {
    places: &'a Places,
    wanted: &'a BTreeSet<String>,
    sw: bool,
    bytes: usize,
    read: Read,
}

impl Reader<'_> {
    /// Reads a folder that is elsewhere than its place in the tree.
    fn open(&mut self, folder: &Path, key: &str, depth: usize) -> Result<()> {
        let place = folder.display().to_string();
        self.read.opened.insert(place, key.to_owned());
        self.folder(folder, key, depth)
    }

    fn folder(&mut self, folder: &Path, key: &str, depth: usize) -> Result<()> {
        if depth > MOST_DEPTH || self.read.tree.len() > MOST_ENTRIES {
            return Err(too_large(folder));
        }
        let names = self.places.list(folder)?;
        if names.is_empty() && !key.is_empty() {
            self.read.tree.insert(key.to_owned(), Node::Empty);
        }
        for name in names {
            let path = folder.join(&name);
            let key = if key.is_empty() {
                name
            } else {
                format!("{key}/{name}")
            };
            self.entry(&path, key, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, key: String, depth: usize) -> Result<()> {
        let meta = self.places.meta(path)?;
        match meta.map(|meta| (meta.kind, meta)) {
            Some((Kind::Directory, _)) => self.folder(path, &key, depth + 1),
            Some((Kind::File, meta)) => self.file(path, key, &meta),
            Some((Kind::Link, _)) => self.link(path, key, depth),
            Some((Kind::Other, _)) | None => Ok(()),
        }
    }

    fn file(&mut self, path: &Path, key: String, meta: &Meta) -> Result<()> {
        let bytes = self
            .places
            .of(path)?
            .read(path, LARGEST_FILE)?
            .unwrap_or_default();
        self.bytes += bytes.len();
        if self.bytes > MOST_BYTES {
            return Err(too_large(path));
        }
        let executable = meta.mode & 0o111 != 0;
        self.read.tree.insert(key, Node::File { bytes, executable });
        Ok(())
    }

    fn link(&mut self, path: &Path, key: String, depth: usize) -> Result<()> {
        let target = self.places.of(path)?.read_link(path)?.unwrap_or_default();
        if self.opens(&key)
            && let Some(next) = beside(path, &target)
            && !self.places.has(&next)?
        {
            let missing = store_path(&next).display().to_string();
            self.read.missing.insert(missing);
            return Ok(());
        }
        if self.opens(&key)
            && let Some(folder) = self.places.folder(path)?
        {
            return self.open(&folder, &key, depth + 1);
        }
        let climbs = target
            .components()
            .filter(|it| *it == Component::ParentDir)
            .count();
        let target = match beside(path, &target) {
            // It leaves what moves along with it.
            Some(whole) if target.is_relative() && climbs > self.depth_below_root(path) => whole,
            _ => target,
        };
        let target = target.to_string_lossy().into_owned();
        self.read.tree.insert(key, Node::Link(target));
        Ok(())
    }

    fn opens(&self, key: &str) -> bool {
        let below = format!("{key}/");
        let split = key.strip_prefix("etc/").is_some_and(is_walked);
        let wanted = self.wanted.range(below.clone()..).next();
        key == "etc"
            || split
            || (self.sw && key == "sw")
            || wanted.is_some_and(|path| path.starts_with(&below))
    }

    /// How many folders up from a link are still in the tree that was opened.
    fn depth_below_root(&self, path: &Path) -> usize {
        let is_root = |folder: &Path| self.read.opened.contains_key(&folder.display().to_string());
        let folders = path.ancestors().skip(1);
        folders.take_while(|folder| !is_root(folder)).count()
    }
}

/// Names in the tree what named the folders that were opened, in links and texts. Gives a file that
/// names one and is no text, if there is one: that cannot be part of a hybrid.
pub(in crate::switch) fn rename(
    tree: &mut Tree,
    toplevel: &str,
    opened: &[&BTreeMap<String, String>],
) -> Option<String> {
    let mut names = BTreeMap::from([(toplevel.to_owned(), OUT.to_owned())]);
    for (folder, key) in opened.iter().copied().flatten() {
        let own = if key.is_empty() {
            OUT.to_owned()
        } else {
            format!("{OUT}/{key}")
        };
        names.insert(folder.clone(), own);
        // `/nix/store/X-etc` has just `etc` in it, which is the hybrid's `etc`.
        if let Some(store_path) = folder.strip_suffix(&format!("/{key}"))
            && Path::new(store_path).components().count() == 4
        {
            names.insert(store_path.to_owned(), OUT.to_owned());
        }
    }
    // Longer ones first: a folder inside of another one has a name of its own.
    let mut names: Vec<(String, String)> = names.into_iter().collect();
    names.sort_by_key(|(folder, _)| std::cmp::Reverse(folder.len()));
    let new = |text: &str| {
        let named = names
            .iter()
            .filter(|(folder, _)| text.contains(folder.as_str()));
        named.fold(text.to_owned(), |text, (folder, own)| {
            text.replace(folder, own)
        })
    };
    let mut stubborn = None;
    for (path, node) in tree {
        match node {
            Node::Link(target) => *target = new(target),
            Node::File { bytes, .. } => match std::str::from_utf8(bytes) {
                Ok(text) if !text.contains('\0') => *bytes = new(text).into_bytes(),
                _ if names
                    .iter()
                    .any(|(name, _)| contains(bytes, name.as_bytes())) =>
                {
                    stubborn = Some(path.clone());
                }
                _ => {}
            },
            Node::Empty => {}
        }
    }
    stubborn
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Where a link leads, if that is in the store.
fn beside(link: &Path, target: &Path) -> Option<PathBuf> {
    let mut whole = PathBuf::from("/");
    let from = if target.is_absolute() {
        None
    } else {
        link.parent()
    };
    for component in from
        .into_iter()
        .flat_map(Path::components)
        .chain(target.components())
    {
        match component {
            Component::Normal(name) => whole.push(name),
            Component::ParentDir => {
                whole.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let inside = whole.starts_with("/nix/store") && whole.components().count() > 3;
    inside.then_some(whole)
}

/// The store path that something is in.
fn store_path(path: &Path) -> PathBuf {
    path.components().take(4).collect()
}

fn too_large(path: &Path) -> SwitchError {
    SwitchError::BadTarget {
        target: path.display().to_string(),
        why: "it has more files than a generation of a system has".to_owned(),
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;

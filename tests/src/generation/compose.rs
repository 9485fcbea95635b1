//! Makes a toplevel out of store paths of packages: units, /etc, `sw` and the scripts, each a store
//! path of its own as with NixOS, below a folder of the host.
//!
//! A path's hash part is made of its name and content, so that what two generations have in common
//! is one path. `@out@` stands for the path itself, other `@NAME@` for packages, files and settings.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::dist::relocate::{copy, make_dir, store_path};
use crate::error::{Context, Error, Result};

/// A file or link of a path that is being made.
#[derive(Debug, Clone)]
pub enum Node {
    /// A file that is read.
    Text(String),
    /// A file that is run.
    Script(String),
    /// A file without sense, for its size.
    Bytes(Vec<u8>),
    /// A link.
    Link(String),
}

/// Makes store paths below `dir/nix/store` and remembers them.
#[derive(Debug)]
pub struct Composer {
    dir: PathBuf,
    names: BTreeMap<String, String>,
    made: Vec<String>,
}

impl Composer {
    /// Starts with what the texts may name.
    pub fn new(dir: &Path, names: BTreeMap<String, String>) -> Self {
        Self {
            dir: dir.to_path_buf(),
            names,
            made: Vec::new(),
        }
    }

    /// Lets texts name something more.
    pub fn name(&mut self, name: &str, value: &str) {
        self.names.insert(name.to_owned(), value.to_owned());
    }

    /// The store paths made so far, in order.
    pub fn made(&self) -> &[String] {
        &self.made
    }

    /// Puts in what the `@NAME@` of a text stand for; `@out@` stays. An unknown name is an error.
    pub fn render(&self, text: &str) -> Result<String> {
        let mut done = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('@') {
            done += before;
            match after.split_once('@') {
                Some((name, after)) if is_name(name) => {
                    done += match name {
                        "out" => "@out@",
                        _ => self.names.get(name).ok_or_else(|| {
                            Error::new(
                                "render a file of a generation",
                                format!("what is @{name}@?"),
                            )
                        })?,
                    };
                    rest = after;
                }
                _ => {
                    done.push('@');
                    rest = after;
                }
            }
        }
        Ok(done + rest)
    }

    /// A store path that is one file.
    pub fn file(&mut self, name: &str, node: Node) -> Result<String> {
        self.tree(name, &BTreeMap::from([(String::new(), node)]))
    }

    /// A store path that is a folder with these files in it, by relative path. Texts are rendered.
    pub fn tree(&mut self, name: &str, nodes: &BTreeMap<String, Node>) -> Result<String> {
        let mut ready = BTreeMap::new();
        let mut seed = String::new();
        for (place, node) in nodes {
            let node = match node {
                Node::Text(text) => Node::Text(self.render(text)?),
                Node::Script(text) => Node::Script(self.render(text)?),
                other => other.clone(),
            };
            seed += &format!("{place}\n{node:?}\n");
            ready.insert(place, node);
        }
        let path = store_path(name, &seed);
        let out = self.dir.join(path.trim_start_matches('/'));
        if !out.exists() {
            for (place, node) in ready {
                let target = if place.is_empty() {
                    out.clone()
                } else {
                    out.join(place)
                };
                put(&target, node, &path)?;
            }
            self.made.push(path.clone());
        }
        Ok(path)
    }
}

fn put(target: &Path, node: Node, path: &str) -> Result<()> {
    let context = || format!("write {}", target.display());
    make_dir(target.parent().unwrap_or(target))?;
    match node {
        Node::Text(text) => fs::write(target, text.replace("@out@", path)).context(context),
        Node::Script(text) => {
            let scratch = target.with_extension("lab-script");
            fs::write(&scratch, text.replace("@out@", path)).context(context)?;
            copy(&scratch, target, 0o755)?;
            fs::remove_file(&scratch).context(context)
        }
        Node::Bytes(bytes) => fs::write(target, bytes).context(context),
        Node::Link(to) => symlink(to.replace("@out@", path), target).context(context),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.:/+".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn composer(dir: &Path) -> Composer {
        let names = [("bash".to_owned(), "/nix/store/x-bash".to_owned())];
        Composer::new(dir, names.into())
    }

    #[test]
    fn names_are_replaced_and_other_ats_are_left() {
        let composer = composer(Path::new("/nowhere"));
        let table = [
            ("#!@bash@/bin/bash", Some("#!/nix/store/x-bash/bin/bash")),
            ("${1%%@*}@.${1##*.}", Some("${1%%@*}@.${1##*.}")),
            ("a@b @out@", Some("a@b @out@")),
            ("@nothing@", None),
        ];
        for (text, expected) in table {
            assert_eq!(composer.render(text).ok().as_deref(), expected, "{text}");
        }
    }
}

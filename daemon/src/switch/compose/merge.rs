//! Putting a hybrid's tree together from the base's and the target's: which entry is whose.
//!
//! Of `etc` and its units the named entries are the target's, and all others the base's. `sw` is made of
//! the links of both that lead into the packages named; a folder that one of them has as a single
//! link and another package has files in, too, is opened.

use std::collections::BTreeMap;
use std::path::Path;

use crate::switch::compose::script::{Node, Tree};
use crate::switch::compose::tree::Places;
use crate::switch::error::Result;

/// Takes the entry and everything below it from `target`: what that does not have goes.
pub(in crate::switch) fn take(tree: &mut Tree, target: &Tree, name: &str) {
    tree.retain(|path, _| !is_within(path, name));
    let theirs = target.iter().filter(|(path, _)| is_within(path, name));
    for (path, node) in theirs {
        // A file or link of the base where the target has a folder.
        for (at, _) in path.match_indices('/') {
            tree.remove(&path[..at]);
        }
        tree.insert(path.clone(), node.clone());
    }
}

/// Whether the path is the entry, or below it.
fn is_within(path: &str, name: &str) -> bool {
    path.strip_prefix(name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The `sw` of the packages, in the order of their precedence, out of the links of both trees.
pub(in crate::switch) fn software(
    places: &Places,
    base: &Tree,
    target: &Tree,
    packages: &[String],
) -> Result<Tree> {
    let rank: BTreeMap<&str, usize> = packages
        .iter()
        .enumerate()
        .map(|(rank, path)| (path.as_str(), rank))
        .collect();
    let of_sw = |tree: &'_ Tree| -> Vec<(String, Node)> {
        let entries = tree
            .iter()
            .filter(|(path, _)| is_within(path, "sw") && *path != "sw");
        entries
            .map(|(path, node)| (path.clone(), node.clone()))
            .collect()
    };
    let mut ranked: Vec<(usize, String, Node)> = Vec::new();
    let mut rest = Vec::new();
    for (is_base, entries) in [(false, of_sw(target)), (true, of_sw(base))] {
        for (path, node) in entries {
            match store_path_of(&node) {
                Some(package) => {
                    if let Some(rank) = rank.get(package) {
                        ranked.push((*rank, path, node));
                    }
                }
                // What was generated for the base: lists of icons and the like.
                None if is_base => rest.push((path, node)),
                None => {}
            }
        }
    }
    ranked.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    let mut software = Tree::new();
    for (_, path, node) in ranked {
        put(places, &mut software, path, node)?;
    }
    for (path, node) in rest {
        put(places, &mut software, path, node)?;
    }
    Ok(software)
}

/// Puts an entry in unless one of higher precedence is there.
fn put(places: &Places, tree: &mut Tree, path: String, node: Node) -> Result<()> {
    let above: Vec<usize> = path.match_indices('/').map(|(at, _)| at).collect();
    for at in above {
        match tree.get(&path[..at]) {
            None => {}
            Some(there) => match content(places, there)? {
                Some(entries) => {
                    let folder = path[..at].to_owned();
                    open(tree, &folder, entries);
                }
                None => return Ok(()),
            },
        }
    }
    let is_folder = has_below(tree, &path);
    match (is_folder, tree.get(&path).cloned()) {
        (false, None) => {
            tree.insert(path, node);
        }
        (false, Some(there)) if there == node => {}
        (false, Some(there)) => {
            let (Some(first), Some(second)) = (content(places, &there)?, content(places, &node)?)
            else {
                return Ok(());
            };
            open(tree, &path, first);
            put_all(places, tree, &path, second)?;
        }
        (true, _) => {
            if let Some(entries) = content(places, &node)? {
                put_all(places, tree, &path, entries)?;
            }
        }
    }
    Ok(())
}

fn put_all(
    places: &Places,
    tree: &mut Tree,
    path: &str,
    entries: Vec<(String, Node)>,
) -> Result<()> {
    for (name, node) in entries {
        put(places, tree, format!("{path}/{name}"), node)?;
    }
    Ok(())
}

/// Replaces a link to a folder with links to all that is in the folder.
fn open(tree: &mut Tree, path: &str, entries: Vec<(String, Node)>) {
    tree.remove(path);
    for (name, node) in entries {
        tree.insert(format!("{path}/{name}"), node);
    }
}

/// Links to all that is in the folder that a link leads to; nothing when it leads to none.
fn content(places: &Places, node: &Node) -> Result<Option<Vec<(String, Node)>>> {
    let Node::Link(target) = node else {
        return Ok(matches!(node, Node::Empty).then(Vec::new));
    };
    if !target.starts_with('/') {
        return Ok(None);
    }
    let Some(folder) = places.folder(Path::new(target))? else {
        return Ok(None);
    };
    let entries = places.list(&folder)?.into_iter().map(|name| {
        let path = folder.join(&name).display().to_string();
        (name, Node::Link(path))
    });
    Ok(Some(entries.collect()))
}

fn has_below(tree: &Tree, path: &str) -> bool {
    let below = format!("{path}/");
    let next = tree.range(below.clone()..).next();
    next.is_some_and(|(path, _)| path.starts_with(&below))
}

/// The store path that a link leads into.
fn store_path_of(node: &Node) -> Option<&str> {
    let Node::Link(target) = node else {
        return None;
    };
    let name = target.strip_prefix("/nix/store/")?;
    let end = name.find('/').unwrap_or(name.len());
    target.get(.."/nix/store/".len() + end)
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;

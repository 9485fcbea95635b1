//! Generations for tests, written as lists of `(what, text)`: `systemd/system/x.service` and any other
//! path is an entry of `etc` in a store path of its own; `own:PATH` is a file in the etc tree itself;
//! `link:PATH` a link that is not followed; `sw:NAME` a package; `rest:NAME` something else in the
//! toplevel. In texts `@NAME@` is a package of this generation and `~NAME~` one that all share; both
//! need `~glibc-2~` or `@glibc-2@` likewise.

use std::collections::BTreeSet;

use super::{Content, Cut, Entry, Toplevel, cut};
use crate::closure::testing::path_of;
use crate::closure::{Graph, PathInfo, StorePath, store_paths_in};

/// A generation: its parts.
pub(super) type Parts<'a> = &'a [(&'a str, &'a str)];

/// A graph with two generations in it.
pub(super) struct Pair {
    pub graph: Graph,
    pub old: Toplevel,
    pub new: Toplevel,
}

impl Pair {
    pub(super) fn of(old: Parts<'_>, new: Parts<'_>) -> Self {
        let mut graph = Graph::new();
        let old = generation(&mut graph, "old", old);
        let new = generation(&mut graph, "new", new);
        Pair { graph, old, new }
    }

    pub(super) fn cut(&self) -> Cut {
        cut(&self.graph, &self.old, &self.new).unwrap()
    }
}

/// What a cut says, a line for each thing.
pub(super) fn summary(cut: &Cut) -> Vec<String> {
    let grouped = |id| cut.groups.iter().any(|group| group.members.contains(id));
    let alone = cut.components.iter().map(|component| &component.id);
    let alone = alone
        .filter(|id| !grouped(id))
        .map(|id| format!("alone {id}"));
    let groups = cut.groups.iter().map(|group| {
        let members: Vec<&str> = group.members.iter().map(|id| id.as_str()).collect();
        let reasons: Vec<String> = group.reasons.iter().map(ToString::to_string).collect();
        format!("group {}: {}", members.join(" "), reasons.join("; "))
    });
    let after = cut.after.iter().map(|it| {
        format!(
            "{} after {}: {} needs {}",
            it.id, it.after, it.unit, it.needed
        )
    });
    let deferred = cut
        .last
        .deferred
        .iter()
        .map(|it| format!("final {}: {}", it.id, it.reason));
    let same = cut.unchanged.iter().map(|id| format!("same {id}"));
    alone
        .chain(groups)
        .chain(after)
        .chain(deferred)
        .chain(same)
        .collect()
}

fn generation(graph: &mut Graph, tag: &str, parts: Parts<'_>) -> Toplevel {
    let scaffold = |name: &str| path_of(&format!("{tag}{name}"), name);
    let (etc, sw) = (scaffold("etc"), scaffold("system-path"));
    let mut toplevel = Toplevel::new(scaffold("nixos-system"));
    toplevel.scaffold.extend([etc.clone(), sw.clone()]);
    let mut in_etc = BTreeSet::new();
    let mut in_top = BTreeSet::from([etc.clone(), sw.clone()]);
    for (what, text) in parts {
        let text = with_packages(graph, tag, text);
        let named: BTreeSet<StorePath> = store_paths_in(&text)
            .into_iter()
            .filter(|path| graph.is_known(path))
            .collect();
        if let Some(name) = what.strip_prefix("sw:") {
            toplevel.packages.insert(package(graph, tag, name));
        } else if let Some(name) = what.strip_prefix("rest:") {
            in_top.extend(named);
            toplevel.rest.insert(name.to_owned(), entry(None, &text));
        } else if let Some(path) = what.strip_prefix("own:") {
            in_etc.extend(named);
            toplevel.etc.insert(path.to_owned(), entry(None, &text));
        } else if let Some(path) = what.strip_prefix("link:") {
            let content = Content::Link(text);
            let link = Entry {
                origin: None,
                content,
            };
            toplevel.etc.insert(path.to_owned(), link);
        } else {
            // As NixOS does: an `@` cannot be in the name of a store path.
            let name = what.rsplit('/').next().unwrap().replace('@', "-");
            let origin = path_of(&format!("{what}{text}"), &name);
            add(graph, &origin, 1, &named);
            in_etc.insert(origin.clone());
            let entry = entry(Some(origin), &text);
            toplevel.etc.insert((*what).to_owned(), entry);
        }
    }
    add(graph, &etc, 1, &in_etc);
    add(graph, &sw, 1, &toplevel.packages);
    add(graph, &toplevel.path, 1, &in_top);
    toplevel
}

fn entry(origin: Option<StorePath>, text: &str) -> Entry {
    Entry {
        origin,
        content: Content::Text(text.to_owned()),
    }
}

/// Replaces `@NAME@` and `~NAME~`.
fn with_packages(graph: &mut Graph, tag: &str, text: &str) -> String {
    let mut out = text.to_owned();
    for (mark, tag) in [('@', tag), ('~', "both")] {
        let mut done = String::new();
        let mut parts = out.split(mark);
        done.push_str(parts.next().unwrap_or_default());
        // `user@.service` has a mark of its own: only what looks like a package counts.
        let rest: Vec<&str> = parts.collect();
        let mut at = 0;
        while at < rest.len() {
            let name = rest[at];
            let is_package = at + 1 < rest.len()
                && name.contains('-')
                && name
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
            if is_package {
                done.push_str(package(graph, tag, name).as_str());
                done.push_str(rest[at + 1]);
                at += 2;
            } else {
                done.push(mark);
                done.push_str(name);
                at += 1;
            }
        }
        out = done;
    }
    out
}

fn package(graph: &mut Graph, tag: &str, name: &str) -> StorePath {
    let path = path_of(&format!("{tag}{name}"), name);
    let glibc = path_of(&format!("{tag}glibc"), "glibc-2");
    add(graph, &glibc, 100, &BTreeSet::new());
    add(graph, &path, 10, &BTreeSet::from([glibc]));
    path
}

fn add(graph: &mut Graph, path: &StorePath, nar_size: u64, references: &BTreeSet<StorePath>) {
    graph
        .add(&PathInfo {
            path: path.clone(),
            nar_size,
            references: references.iter().cloned().collect(),
            download_size: None,
        })
        .unwrap();
}

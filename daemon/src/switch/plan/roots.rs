//! What else holds store paths on the machine: other generations, earlier switches, everything else.

use std::path::{Path, PathBuf};

use nixctl_planner::closure::{Graph, StorePath};
use nixctl_proto::{Failure, Generation};

use crate::host::Fs;
use crate::switch::identity::PROFILE;
use crate::switch::plan::facts::{Gatherer, closure, file, set_closure};
use crate::switch::plan::keep;
use crate::switch::plan::steps::roots_of;
use crate::switch::plan::{Other, Stale};
use crate::switch::step::{BOOTED, ROOTS};

/// Roots that are not kept for their own sake: they follow what runs, what the profile says, or are
/// nixctl's own.
const FOLLOWING: [&str; 4] = [
    "/run/current-system",
    "/run/booted-system",
    "/nix/var/nix/gcroots/current-system",
    "/nix/var/nix/gcroots/booted-system",
];

/// Store paths with roots of others.
pub(in crate::switch) fn root_paths(gatherer: &Gatherer<'_>) -> Result<Vec<StorePath>, Failure> {
    let command = gatherer
        .store
        .command("nix-store", &["--gc", "--print-roots"]);
    let question = gatherer.question;
    let output = question.host.exec.run(&command, question.cancel);
    let output =
        output.map_err(|error| crate::switch::error::SwitchError::from(error).failure())?;
    let mut paths = kept_roots(&output.text());
    if let Some(booted) = &gatherer.running.booted
        && *booted != gatherer.old.as_str()
        && let Ok(path) = StorePath::new(booted)
    {
        paths.push(path);
    }
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The roots that count, of what `nix-store --gc --print-roots` says.
fn kept_roots(text: &str) -> Vec<StorePath> {
    let lines = text.lines().filter_map(|line| line.split_once(" -> "));
    // Nix 2.34 puts the link in quotes, 2.26 does not.
    let lines = lines.map(|(link, path)| (link.trim_matches('"'), path));
    let kept = lines.filter(|(link, _)| {
        let of_system = link
            .strip_prefix(PROFILE)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'));
        let runs = link.starts_with("/proc/") || link.starts_with('{');
        !of_system && !runs && !link.starts_with(ROOTS) && !FOLLOWING.contains(link)
    });
    kept.filter_map(|(_, path)| StorePath::containing(path.trim()).ok())
        .map(|(path, _)| path)
        .collect()
}

/// The other generations of the profile, their closures added to the graph.
pub(in crate::switch) fn others(
    gatherer: &Gatherer<'_>,
    graph: &mut Graph,
) -> Result<Vec<Other>, Failure> {
    let settings = &gatherer.question.settings.switch;
    let rule = keep::Rule {
        proven: &gatherer.question.recorded.proven,
        newest: settings.keep_generations as usize,
        is_told: gatherer.question_drops(),
    };
    let is_other =
        |it: &&Generation| it.path != gatherer.old.as_str() && it.path != gatherer.target.as_str();
    let refuge = keep::refuge(gatherer.generations.iter().filter(is_other), rule.proven);
    let parsed = gatherer.generations.iter().enumerate();
    let parsed = parsed.filter_map(|(age, it)| Some((age, it, StorePath::new(&it.path).ok()?)));
    let mut known: Vec<_> = parsed
        .filter(|(_, _, path)| *path != gatherer.old && *path != gatherer.target)
        .collect();
    let paths: Vec<StorePath> = known.iter().map(|(_, _, path)| path.clone()).collect();
    let valid = gatherer.valid(&paths)?;
    known.retain(|(_, _, path)| valid.contains(path.as_str()));
    let paths: Vec<StorePath> = known.iter().map(|(_, _, path)| path.clone()).collect();
    gatherer.read(graph, &paths)?;
    let others = known.into_iter().map(|(age, generation, path)| {
        Ok(Other {
            number: generation.number,
            closure: closure(graph, &path)?,
            path: generation.path.clone(),
            stays: keep::stays(generation, age, refuge, rule),
        })
    });
    others.collect()
}

/// Roots of switches to other targets.
pub(in crate::switch) fn stale(
    gatherer: &Gatherer<'_>,
    graph: &mut Graph,
) -> Result<Vec<Stale>, Failure> {
    let fs = &gatherer.question.host.fs;
    let all = Path::new(ROOTS);
    if !fs.is_dir(all) {
        return Ok(Vec::new());
    }
    let own = roots_of(&gatherer.target);
    let mut folders = Vec::new();
    for name in fs.list(all).map_err(file)? {
        let roots: PathBuf = all.join(&name);
        if name != BOOTED && roots != own && fs.is_dir(&roots) {
            folders.push(folder(fs, roots)?);
        }
    }
    let held: Vec<StorePath> = folders.iter().flat_map(|it| it.held.clone()).collect();
    let valid = gatherer.valid(&held)?;
    let is_valid = |path: &StorePath| valid.contains(path.as_str());
    let held: Vec<StorePath> = held.into_iter().filter(is_valid).collect();
    gatherer.read(graph, &held)?;
    let stale = folders.into_iter().map(|mut folder| {
        folder.held.retain(is_valid);
        Ok(Stale {
            closure: set_closure(graph, &folder.held)?,
            roots: folder.roots,
            links: folder.links,
        })
    });
    stale.collect()
}

/// A folder of roots.
struct Folder {
    roots: PathBuf,
    /// Names of its links.
    links: Vec<String>,
    /// The store paths that they lead to.
    held: Vec<StorePath>,
}

fn folder(fs: &Fs, roots: PathBuf) -> Result<Folder, Failure> {
    let mut links = Vec::new();
    let mut held = Vec::new();
    for link in fs.list(&roots).map_err(file)? {
        let target = fs.read_link(&roots.join(&link)).map_err(file)?;
        let Some((target, link)) = target.zip(link.to_str().map(str::to_owned)) else {
            continue;
        };
        links.push(link);
        let target = target.to_string_lossy();
        held.extend(StorePath::containing(&target).ok().map(|(path, _)| path));
    }
    Ok(Folder { roots, links, held })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_roots_of_others_are_kept_for_their_own_sake() {
        let path = |name: &str| format!("/nix/store/{}-{name}", "0".repeat(32));
        let roots = [
            ("/nix/var/nix/profiles/system-1-link", "a"),
            ("/nix/var/nix/profiles/system", "a"),
            ("/nix/var/nix/profiles/system-extra-1-link", "a"),
            ("/nix/var/nix/profiles/nixctl-1-link", "b"),
            ("\"/nix/var/nix/profiles/system-2-link\"", "h"),
            ("/run/booted-system", "c"),
            ("/nix/var/nix/gcroots/nixctl/x/hybrid-1", "d"),
            ("/proc/7/exe", "e"),
            ("{memory:7}", "f"),
            ("/home/me/result", "g"),
        ];
        let lines: Vec<String> = roots
            .iter()
            .map(|(link, name)| format!("{link} -> {}", path(name)))
            .collect();
        let kept = kept_roots(&format!("{}\nnonsense\n", lines.join("\n")));
        let names: Vec<&str> = kept.iter().map(|path| path.name()).collect();
        assert_eq!(names, ["b", "g"]);
    }
}

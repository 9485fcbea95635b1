//! What else holds store paths on the machine: other generations, earlier switches, everything else.

use std::path::{Path, PathBuf};

use nixctl_planner::closure::{Graph, StorePath};
use nixctl_proto::{Failure, Generation};

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
    let mut others = Vec::new();
    for (age, generation) in gatherer.generations.iter().enumerate() {
        let Ok(path) = StorePath::new(&generation.path) else {
            continue;
        };
        if path == gatherer.old || path == gatherer.target || !gatherer.is_valid(&path)? {
            continue;
        }
        gatherer.read(graph, std::slice::from_ref(&path))?;
        others.push(Other {
            number: generation.number,
            closure: closure(graph, &path)?,
            path: generation.path.clone(),
            stays: keep::stays(generation, age, refuge, rule),
        });
    }
    Ok(others)
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
    let mut stale = Vec::new();
    for name in fs.list(all).map_err(file)? {
        let roots: PathBuf = all.join(&name);
        if name == BOOTED || roots == own || !fs.is_dir(&roots) {
            continue;
        }
        let mut links = Vec::new();
        let mut held = Vec::new();
        for link in fs.list(&roots).map_err(file)? {
            let target = fs.read_link(&roots.join(&link)).map_err(file)?;
            let Some((target, link)) = target.zip(link.to_str().map(str::to_owned)) else {
                continue;
            };
            links.push(link);
            let target = target.to_string_lossy().into_owned();
            if let Ok((path, _)) = StorePath::containing(&target)
                && gatherer.is_valid(&path)?
            {
                held.push(path);
            }
        }
        gatherer.read(graph, &held)?;
        stale.push(Stale {
            closure: set_closure(graph, &held)?,
            roots,
            links,
        });
    }
    Ok(stale)
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

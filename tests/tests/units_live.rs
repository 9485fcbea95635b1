//! The planner's table of unit decisions, carried out by the daemon's own step on a real systemd.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixctl_lab::{Machine, paths, require};
use serde::Deserialize;

/// The files of the table; `README.md` beside them explains the keys.
const FILES: [&str; 5] = ["scope", "compare", "actions", "fstab", "resume"];

/// For all cases together; each takes a second.
const DEADLINE: Duration = Duration::from_secs(600);

#[derive(Deserialize)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    old: BTreeMap<String, String>,
    new: BTreeMap<String, String>,
    #[serde(default)]
    run: Vec<String>,
    #[serde(default)]
    unfinished: Lists,
    #[serde(default)]
    activation: Lists,
    live: Option<Live>,
}

/// Units by what is asked for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Lists {
    stop: Vec<String>,
    reload: Vec<String>,
    restart: Vec<String>,
    start: Vec<String>,
}

/// What a real systemd shows afterwards.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Live {
    kept: Vec<String>,
    restarted: Vec<String>,
    active: Vec<String>,
    inactive: Vec<String>,
}

/// State and identity of each unit, before and after, and what the program said.
#[derive(Default)]
struct Seen {
    before: BTreeMap<String, (String, String)>,
    after: BTreeMap<String, (String, String)>,
    said: String,
}

/// The cases that a machine can show: nobody but a switch-to-configuration leaves something over
/// for others, and that writes no stops down.
fn cases() -> Vec<Case> {
    let table = paths::workspace().join("planner/src/units/cases");
    let read = |name| {
        let text = fs::read_to_string(table.join(format!("{name}.toml"))).unwrap();
        toml::from_str::<File>(&text).unwrap().case
    };
    let all = FILES.into_iter().flat_map(read);
    all.filter(|case| case.live.is_some() && case.unfinished.stop.is_empty())
        .collect()
}

fn lay_out(case: &Case, dir: &Path) {
    for (folder, files) in [("old", &case.old), ("new", &case.new)] {
        fs::create_dir_all(dir.join(folder)).unwrap();
        for (path, content) in files {
            let path = dir.join(folder).join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                Some(target) => symlink(target, path).unwrap(),
                None if content.is_empty() => fs::write(path, "").unwrap(),
                None => fs::write(path, text_of(content) + "\n").unwrap(),
            }
        }
    }
    let live = case.live.as_ref().unwrap();
    let looked_at = [
        &live.kept,
        &live.restarted,
        &live.active,
        &live.inactive,
        &case.run,
    ];
    let names: BTreeSet<&String> = looked_at.into_iter().flatten().collect();
    let names: Vec<String> = names.into_iter().cloned().collect();
    for (file, units) in [
        ("run", &case.run),
        ("names", &names),
        ("start-list", &case.unfinished.start),
        ("restart-list", &case.unfinished.restart),
        ("reload-list", &case.unfinished.reload),
        ("activation-restart-list", &case.activation.restart),
        ("activation-reload-list", &case.activation.reload),
    ] {
        let lines: String = units.iter().map(|unit| format!("{unit}\n")).collect();
        fs::write(dir.join(file), lines).unwrap();
    }
}

fn text_of(text: &str) -> String {
    text.replace("{sleep}", "[Service]|ExecStart=/bin/sleep infinity")
        .replace("{listen}", "[Socket]|ListenStream=/run/nixctl-case.sock")
        .replace('|', "\n")
}

fn seen(output: &str) -> Vec<Seen> {
    let mut all: Vec<Seen> = Vec::new();
    for line in output.lines() {
        let words: Vec<&str> = line.split('\t').collect();
        match (words.as_slice(), all.last_mut()) {
            (["case", _], _) => all.push(Seen::default()),
            (["said", said], Some(seen)) => (*said).clone_into(&mut seen.said),
            ([when, unit, active, invocation], Some(seen)) => {
                let states = if *when == "before" {
                    &mut seen.before
                } else {
                    &mut seen.after
                };
                let state = ((*active).to_owned(), (*invocation).to_owned());
                states.insert((*unit).to_owned(), state);
            }
            // What systemctl says of a unit that refuses to start.
            _ => println!("{line}"),
        }
    }
    all
}

/// What is not as the table says.
fn wrong(case: &Case, seen: &Seen) -> Vec<String> {
    let live = case.live.as_ref().unwrap();
    let mut wrong = Vec::new();
    let mut check = |what: &str, units: &[String], right: &dyn Fn(&str, bool) -> bool| {
        for unit in units {
            let (before, after) = (&seen.before[unit], &seen.after[unit]);
            if !right(&after.0, before.1 == after.1) {
                wrong.push(format!("{unit} is not {what}: {before:?} -> {after:?}"));
            }
        }
    };
    check("kept", &live.kept, &|active, same| {
        active == "active" && same
    });
    check("restarted", &live.restarted, &|active, same| {
        active == "active" && !same
    });
    check("active", &live.active, &|active, _| active == "active");
    check("inactive", &live.inactive, &|active, _| active != "active");
    wrong
}

fn program() -> PathBuf {
    let folder = std::env::var_os("NIXCTL_BINARIES").map(PathBuf::from);
    let folder = folder.unwrap_or_else(|| paths::target().join("debug"));
    folder.join("examples/units_switch")
}

#[test]
fn the_table_holds_on_a_real_systemd() {
    if !require() {
        return;
    }
    let program = program();
    assert!(
        program.is_file(),
        "{} is not built: cargo build -p nixctld --example units_switch",
        program.display()
    );
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let dir = paths::lab("scratch").unwrap().join(paths::unique("units"));
    for (at, case) in cases.iter().enumerate() {
        lay_out(case, &dir.join(format!("{at:03}")));
    }
    let script = paths::workspace().join("tests/files/units/replay.sh");
    let machine = Machine::builder("units")
        .bind_read_only(&dir, "/cases")
        .file(&program, "/opt/units_switch", 0o755)
        .file(&script, "/opt/replay.sh", 0o755)
        .boot()
        .unwrap();
    let began = Instant::now();
    let output = machine
        .command(&["/opt/replay.sh", "/cases", "/opt/units_switch"])
        .deadline(DEADLINE)
        .run()
        .unwrap()
        .ok()
        .unwrap();
    let all = seen(output.text());
    let failed: Vec<String> = cases
        .iter()
        .zip(&all)
        .filter_map(|(case, seen)| {
            let wrong = wrong(case, seen);
            let text = || format!("{}: {}\n    {}", case.name, wrong.join("; "), seen.said);
            (!wrong.is_empty()).then(text)
        })
        .collect();
    let seconds = began.elapsed().as_secs_f32();
    println!("{} cases on a real systemd in {seconds:.0} s", all.len());
    paths::remove_tree(&dir).unwrap();
    assert_eq!(all.len(), cases.len(), "{}", output.text());
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

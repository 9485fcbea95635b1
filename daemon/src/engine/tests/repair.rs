//! A repair as an operation: small repairs are journalled, finished after a crash and undone.

use std::os::unix::fs::{PermissionsExt, symlink};

use super::crash::rebuild;
use super::*;
use crate::health::mend::Mend;
use crate::health::mend::aside::SetAside;
use crate::health::mend::conf_line::ConfLine;
use crate::health::mend::content::Content;
use crate::health::mend::rights::Rights;
use crate::health::mend::unit::{Start, Unmask};
use crate::resource::{Context, Silent};

const CONF: &str = "cores = 2\npost-build-hook = /gone\n";

/// A machine on which everything is wrong that these repairs put right.
fn broken() -> Fixture {
    let fixture = Fixture::new();
    let at = |path: &str| fixture.root.path().join(path);
    for folder in ["etc/systemd/system", "var/lib/nixctl", "nix"] {
        std::fs::create_dir_all(at(folder)).unwrap();
    }
    std::fs::set_permissions(at("nix"), PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(at("etc/nix.conf"), CONF).unwrap();
    std::fs::write(at("etc/schema"), "").unwrap();
    std::fs::write(at("etc/edited"), "theirs").unwrap();
    symlink("/etc/static/x", at("etc/bundle")).unwrap();
    symlink("/dev/null", at("etc/systemd/system/a.socket")).unwrap();
    fixture
}

fn steps() -> Vec<Step> {
    let aside = |path: &str| Mend::SetAside(SetAside::apart(Path::new(path), 7));
    let unit = "a.socket".to_owned();
    let mut steps: Vec<Step> = [
        Mend::Unmask(Unmask { unit }),
        aside("/etc/bundle"),
        aside("/etc/edited"),
        Mend::Rights(Rights {
            path: "/nix".into(),
            mode: 0o755,
            uid: nix::unistd::getuid().as_raw(),
            gid: nix::unistd::getgid().as_raw(),
        }),
        Mend::ConfLine(ConfLine {
            file: "/etc/nix.conf".into(),
            line: "post-build-hook = /gone".to_owned(),
            why: "/gone is not there".to_owned(),
            instead: Vec::new(),
        }),
        Mend::Content(Content {
            path: "/etc/schema".into(),
            content: "10".to_owned(),
            mode: 0o644,
        }),
    ]
    .map(Step::Mend)
    .into();
    steps.insert(3, file("/etc/edited"));
    steps
}

/// Every path with its kind, mode and content.
fn state(fixture: &Fixture) -> Vec<String> {
    fn walk(dir: &Path, lines: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let what = if meta.is_symlink() {
                format!("to {}", std::fs::read_link(&path).unwrap().display())
            } else if meta.is_dir() {
                walk(&path, lines);
                String::new()
            } else {
                std::fs::read_to_string(&path).unwrap()
            };
            let mode = meta.permissions().mode();
            lines.push(format!("{} {mode:o} {what}", path.display()));
        }
    }
    let root = fixture.root.path();
    let mut lines = Vec::new();
    walk(root, &mut lines);
    let mut lines: Vec<String> = lines
        .into_iter()
        .map(|line| line.replace(&root.display().to_string(), ""))
        .collect();
    lines.sort();
    lines
}

fn act(fixture: &Fixture, step: &Step) {
    let (host, cancel) = (fixture.host(), Cancel::default());
    let context = Context {
        host: &host,
        progress: &Silent,
        cancel: &cancel,
        worker: &Idle,
    };
    let undo = step.prepare(&context).unwrap();
    step.apply(&context, &undo).unwrap();
}

fn planner(steps: fn() -> Vec<Step>) -> impl Planner {
    Plans(move |question: &Question<'_>| Ok(planned(question.request.kind(), steps())))
}

#[test]
fn a_repair_that_is_cut_off_after_any_record_comes_to_the_same_end() {
    let fixture = broken();
    let engine = fixture.engine(planner(steps));
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    let after = state(&fixture);
    stop(engine);
    let store = reopen(&fixture);
    let record = store.operation(&id).unwrap().unwrap();
    let entries = store.journal(&id);
    let planned = store.steps(&id, record.steps).unwrap();
    // Nothing is owned because of a small repair.
    assert_eq!(store.owned().len(), 1);
    drop(store);
    for cut in 1..entries.len() {
        for effect in [false, true] {
            let other = broken();
            let act = |step: &Step| act(&other, step);
            rebuild(&other, &record, &entries[..cut], &planned, effect, &act);
            let engine = other.engine(planner(steps));
            let end = end_of(&engine, &id);
            assert_eq!(end.state, State::Succeeded, "cut after record {cut}");
            assert_eq!(state(&other), after, "cut after record {cut}");
            stop(engine);
        }
    }
}

#[test]
fn a_repair_that_fails_leaves_the_machine_as_it_was() {
    let fixture = broken();
    let before = state(&fixture);
    let engine = fixture.engine(planner(|| {
        let unit = "unknown.service".to_owned();
        let start = Mend::Start(Start { unit, stays: true });
        let mut steps = steps();
        steps.push(Step::Mend(start));
        steps
    }));
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Reverted);
    assert_eq!(state(&fixture), before);
    assert!(engine.owned().is_empty());
    stop(engine);
}

//! Looking after the machine: what is found is repaired, remembered, and given up in the end.

use nixctl_proto::health::{HealthEventKind, Target};
use nixctl_proto::request::RepairRequest;

use super::*;
use crate::engine::handle::lock;
use crate::health;
use crate::health::sentinel::Sentinel;

const CHECK: &str = "own.lost";

/// Installs files, and repairs as the catalogue does.
fn planner() -> impl Planner + 'static {
    Plans(|question: &Question<'_>| match question.request {
        OperationRequest::Repair(request) => health::plan::plan(question, request),
        request => Ok(planned(
            request.kind(),
            vec![file("/etc/a"), file("/etc/b")],
        )),
    })
}

fn engine(fixture: &Fixture, host: Host, is_resident: bool) -> Engine {
    Engine::start(EngineParts {
        host,
        state_dir: fixture.state.path().join("state"),
        settings: Settings::default(),
        planner: Box::new(planner()),
        worker: Box::new(Idle),
        switch: Box::new(crate::switch::carry::Machine),
        patience: Duration::from_millis(200),
        is_resident,
    })
    .unwrap()
}

fn installed(fixture: &Fixture, is_resident: bool) -> Engine {
    let engine = engine(fixture, fixture.host(), is_resident);
    let id = engine.submit(install(), RequestOptions::default(), 0);
    assert_eq!(end_of(&engine, &id.unwrap()).state, State::Succeeded);
    engine
}

/// Waits for what must come within seconds.
fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn kinds(engine: &Engine) -> Vec<HealthEventKind> {
    let all = engine.history(0).into_iter().rev();
    all.filter(|it| it.check == CHECK)
        .map(|it| it.what)
        .collect()
}

fn lost(engine: &Engine) -> bool {
    let found = engine.findings().findings;
    found.iter().any(|it| it.check == CHECK)
}

fn repair(engine: &Engine, target: Option<&str>) -> OperationView {
    let request = OperationRequest::Repair(RepairRequest {
        targets: target.into_iter().map(Target::from).collect(),
        automatic: false,
    });
    let id = engine.submit(request, RequestOptions::default(), 0);
    end_of(engine, &id.unwrap())
}

#[test]
fn what_is_lost_comes_back_without_a_hand_and_the_history_says_so() {
    let fixture = Fixture::new();
    let engine = installed(&fixture, true);
    assert!(!lost(&engine));
    let path = fixture.root.path().join("etc/a");
    std::fs::remove_file(&path).unwrap();
    engine.check(&[]).unwrap();
    until("it is back", || path.exists());
    until("it helped", || {
        kinds(&engine).last() == Some(&HealthEventKind::Gone)
    });
    use HealthEventKind::{Appeared, Gone, Tried};
    assert_eq!(kinds(&engine), [Appeared, Tried, Gone]);
    let last = engine.history(1).remove(0);
    let by = end_of(&engine, &last.operation.unwrap());
    assert_eq!(by.state, State::Succeeded, "{by:?}");
    assert!(!lost(&engine));
    stop(engine);
    // The next daemon knows it, too.
    let engine = installed(&fixture, true);
    assert_eq!(kinds(&engine), [Appeared, Tried, Gone]);
    stop(engine);
}

#[test]
fn a_daemon_for_one_call_repairs_only_what_it_is_asked_for() {
    let fixture = Fixture::new();
    let engine = installed(&fixture, false);
    let path = fixture.root.path().join("etc/a");
    std::fs::remove_file(&path).unwrap();
    let found = engine.check(&[CHECK.to_owned()]).unwrap();
    assert_eq!(found.findings.len(), 1, "{found:?}");
    let remedy = found.findings[0].remedy.clone().unwrap();
    assert!(remedy.automatic && remedy.held.is_empty(), "{remedy:?}");
    assert!(!path.exists());
    let view = repair(&engine, Some(CHECK));
    assert_eq!(
        (view.state, path.exists()),
        (State::Succeeded, true),
        "{view:?}"
    );
    assert!(!lost(&engine));
    let nothing = repair(&engine, Some(CHECK));
    assert_eq!(nothing.state, State::Succeeded);
    assert!(
        nothing.notes.iter().any(|it| it.contains("nothing of it")),
        "{nothing:?}"
    );
    assert_eq!(nothing.notes.last().unwrap(), "nothing to repair");
    assert_eq!((nothing.steps, nothing.step), (0, 0));
    stop(engine);
}

#[test]
fn what_cannot_be_watched_is_a_finding_that_a_repair_does_not_forget() {
    let fixture = Fixture::new();
    let engine = installed(&fixture, false);
    let deaf = Sentinel::refused(fixture.host(), "cannot watch files: the limit is reached");
    *lock(&engine.shared().sentinel) = Some(deaf);
    let unwatched = || {
        let all = engine.findings().findings.into_iter();
        all.filter(|it| it.check == "own.unwatched")
            .collect::<Vec<_>>()
    };
    engine.check(&["own.unwatched".to_owned()]).unwrap();
    let found = unwatched();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].seen, "cannot watch files: the limit is reached");
    assert!(found[0].remedy.is_none() && !found[0].help.is_empty());
    let view = repair(&engine, Some("own.unwatched"));
    assert_eq!(view.state, State::Succeeded);
    assert!(view.notes[0].contains("sysctl"), "{view:?}");
    assert_eq!(unwatched().len(), 1);
    // What was refused is tried again by who looks at everything.
    engine.check(&[]).unwrap();
    assert_eq!(unwatched(), []);
    stop(engine);
}

#[test]
fn a_remedy_that_does_not_help_is_taken_back_and_rests() {
    let fixture = Fixture::new();
    let engine = installed(&fixture, true);
    let folder = fixture.root.path().join("etc");
    // Nothing can be written there: a folder stands in the place of the file.
    std::fs::remove_file(folder.join("a")).unwrap();
    std::fs::create_dir(folder.join("a")).unwrap();
    std::fs::write(folder.join("a/theirs"), "x").unwrap();
    engine.check(&[]).unwrap();
    let tries = || {
        let all = engine.list(0).into_iter();
        all.filter(|it| it.kind == nixctl_proto::OperationKind::Repair)
            .count()
    };
    let found = || {
        let mut all = engine.findings().findings.into_iter();
        all.find(|it| it.subject.contains("/etc/a")).unwrap()
    };
    if found().remedy.is_some_and(|it| it.automatic) {
        until("it is held", || {
            found().remedy.is_some_and(|it| !it.held.is_empty())
        });
        assert_eq!(tries(), 1);
    }
    for _ in 0..3 {
        engine.check(&[]).unwrap();
    }
    assert!(tries() <= 1);
    assert_eq!(std::fs::read(folder.join("a/theirs")).unwrap(), b"x");
    stop(engine);
}

/// Bytes that this process holds in memory.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

#[test]
fn ten_thousand_rounds_leave_nothing_behind() {
    let fixture = Fixture::new();
    let engine = installed(&fixture, false);
    let folder = fixture.root.path().join("etc");
    std::fs::remove_file(folder.join("a")).unwrap();
    let rounds = |number| {
        for _ in 0..number {
            engine.check(&[]).unwrap();
        }
    };
    rounds(500);
    let size = || {
        let db = fixture.state.path().join("state/db/db");
        std::fs::metadata(db).unwrap().len()
    };
    let commits = || engine.shared().store.commits.load(Ordering::SeqCst);
    let before = (size(), commits(), engine.history(0));
    let memory = resident();
    rounds(10_000);
    assert_eq!((size(), commits(), engine.history(0)), before);
    assert!(lost(&engine));
    let grown = resident().saturating_sub(memory);
    assert!(grown < 1 << 20, "{grown} bytes more");
    stop(engine);
}

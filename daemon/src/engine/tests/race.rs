//! Requests that come at the wrong moment: stops while something is undone or is past the point of
//! no return, cancellations and retries while the thread of the engine is at the same operation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nixctl_proto::request::{OperationRequest, RequestOptions, UninstallRequest};
use nixctl_proto::{Code, OperationState as State};

use super::super::ownership::joined;
use super::super::record::Owned;
use super::super::step::Step;
use super::super::{Engine, Question};
use super::{Files, Fixture, Plans, end_of, file, install, planned, reopen, stop};
use crate::host::clock::SystemClock;
use crate::host::fake::{self, Answer};
use crate::host::{Command, Host, Output};
use crate::resource::nix_conf::NixConfUndo;
use crate::resource::nix_tree::NixTree;
use crate::resource::selinux::Selinux;
use crate::resource::users::UsersUndo;
use crate::resource::{Resource, Undo};

pub(super) fn policy() -> Resource {
    let module = "nixctl".to_owned();
    Resource::Selinux(Selinux { module })
}

/// A machine with an SELinux of one module, on which `during` is called at every list of modules.
fn labelled(
    fixture: &Fixture,
    loaded: bool,
    during: impl Fn(bool) + Send + Sync + 'static,
) -> Host {
    let (host, exec, _) = fake::host(fixture.root.path());
    std::fs::create_dir(fixture.root.path().join("etc/selinux")).unwrap();
    exec.install("restorecon");
    let loaded = AtomicBool::new(loaded);
    let effect = move |command: &Command| {
        match command.args[0].as_str() {
            "-i" => loaded.store(true, Ordering::SeqCst),
            "-r" => loaded.store(false, Ordering::SeqCst),
            _ => during(loaded.load(Ordering::SeqCst)),
        }
        let loaded = loaded.load(Ordering::SeqCst);
        Output {
            stdout: if loaded { "nixctl\n" } else { "" }.into(),
            ..Output::default()
        }
    };
    exec.answer("semodule", &[], Answer::effect(effect));
    host
}

/// Longer than the deadline of one second that the tests below set.
const LATE: Duration = Duration::from_millis(1300);

fn within_a_second() -> RequestOptions {
    RequestOptions {
        deadline: Some(1),
        ..RequestOptions::default()
    }
}

fn real_time(host: Host) -> Host {
    Host {
        clock: Arc::new(SystemClock),
        ..host
    }
}

#[test]
fn a_deadline_that_passes_while_undoing_does_not_stop_the_engine() {
    let fixture = Fixture::new();
    let asked = AtomicU64::new(0);
    let host = labelled(&fixture, false, move |loaded| {
        // The second look at a loaded policy is the one of undoing it.
        if loaded && asked.fetch_add(1, Ordering::SeqCst) == 1 {
            std::thread::sleep(LATE);
        }
    });
    let engine = fixture.engine_on(
        real_time(host),
        Plans(|question: &Question<'_>| {
            let steps = vec![Step::Ensure(policy()), file("/missing/c")];
            Ok(planned(question.request.kind(), steps))
        }),
    );
    let id = engine.submit(install(), within_a_second(), 0).unwrap();
    let view = end_of(&engine, &id);
    assert_eq!(view.state, State::Reverted, "{view:?}");
    assert_eq!(view.failure.unwrap().code, Code::FileFailed);
    assert!(engine.is_alive());
    stop(engine);
}

/// A deadline passes, and somebody cancels, when `/nix` has been removed already.
#[test]
fn nobody_cancels_past_the_point_of_no_return() {
    let fixture = Fixture::new();
    std::fs::create_dir_all(fixture.root.path().join("nix/store/a")).unwrap();
    let tree = Resource::NixTree(NixTree {
        store_gid: 0,
        keep: false,
    });
    let host = labelled(&fixture, true, |_| std::thread::sleep(LATE));
    let engine = fixture.engine_on(
        real_time(host),
        Plans(move |question: &Question<'_>| {
            let steps = vec![
                Step::Remove(tree.clone(), Undo::Created),
                Step::Remove(policy(), Undo::Created),
            ];
            Ok(planned(question.request.kind(), steps))
        }),
    );
    let off = OperationRequest::Uninstall(UninstallRequest::default());
    let id = engine.submit(off, within_a_second(), 0).unwrap();
    let begin = Instant::now();
    while engine.show(&id).unwrap().step < 2 && begin.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(engine.cancel(&id).unwrap_err().code, Code::NotCancellable);
    let view = end_of(&engine, &id);
    assert_eq!(view.state, State::Succeeded, "{view:?}");
    assert!(!fixture.root.path().join("nix").exists());
    stop(engine);
}

/// The thread has chosen an operation and not yet begun it when that is cancelled.
#[test]
fn a_cancelled_operation_is_not_begun() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(vec!["/etc/a"]));
    for _ in 0..40 {
        let id = engine
            .submit(install(), RequestOptions::default(), 0)
            .unwrap();
        let cancelled = engine.cancel(&id).is_ok();
        let view = end_of(&engine, &id);
        if cancelled {
            assert_eq!(view.state, State::Cancelled, "{view:?}");
        }
        let journal = engine.journal(&id).unwrap();
        let states: Vec<&str> = journal
            .iter()
            .filter(|line| line.record == "state")
            .map(|line| line.text.as_str())
            .collect();
        assert_eq!(states.first(), Some(&"queued"), "{journal:?}");
        let last = states.last().copied();
        assert_eq!(last, Some(view.state.to_string().as_str()), "{journal:?}");
    }
    stop(engine);
}

/// An engine whose installs fail, and whose undoing fails too until it is mended.
fn stuck(fixture: &Fixture, mended: &Arc<AtomicBool>) -> Engine {
    let (host, exec, _) = fake::host(fixture.root.path());
    std::fs::create_dir(fixture.root.path().join("etc/selinux")).unwrap();
    exec.install("restorecon");
    let mended = Arc::clone(mended);
    let lists = AtomicU64::new(0);
    let effect = move |command: &Command| match command.args[0].as_str() {
        // Not there when it is looked at before it is made.
        "-l" if lists.fetch_add(1, Ordering::SeqCst) > 1 => Output {
            stdout: "nixctl\n".into(),
            ..Output::default()
        },
        "-r" if !mended.load(Ordering::SeqCst) => Output {
            code: 1,
            ..Output::default()
        },
        _ => Output::default(),
    };
    exec.answer("semodule", &[], Answer::effect(effect));
    let planner = Plans(|question: &Question<'_>| {
        let steps = match question.request {
            OperationRequest::Install(_) => {
                vec![file("/etc/a"), Step::Ensure(policy()), file("/missing/c")]
            }
            _ => vec![file("/etc/b")],
        };
        Ok(planned(question.request.kind(), steps))
    });
    fixture.engine_on(host, planner)
}

#[test]
fn undoing_again_ends_with_the_first_failure() {
    let fixture = Fixture::new();
    let mend = Arc::new(AtomicBool::new(false));
    let engine = stuck(&fixture, &mend);
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    let view = end_of(&engine, &id);
    assert_eq!(view.state, State::Attention, "{view:?}");
    assert_eq!(view.failure.unwrap().code, Code::NotUndone);
    mend.store(true, Ordering::SeqCst);
    assert_eq!(engine.retry(&id, 0).unwrap(), id);
    let view = end_of(&engine, &id);
    assert_eq!(view.state, State::Reverted);
    assert_eq!(view.failure.unwrap().code, Code::FileFailed);
    assert!(!fixture.root.path().join("etc/a").exists());
    stop(engine);
}

#[test]
fn what_another_operation_has_changed_since_is_not_undone() {
    let fixture = Fixture::new();
    let mend = Arc::new(AtomicBool::new(false));
    let engine = stuck(&fixture, &mend);
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Attention);
    let other = OperationRequest::Uninstall(UninstallRequest::default());
    let later = engine.submit(other, RequestOptions::default(), 0).unwrap();
    assert_eq!(end_of(&engine, &later).state, State::Succeeded);
    mend.store(true, Ordering::SeqCst);
    let failure = engine.retry(&id, 0).unwrap_err();
    assert_eq!(failure.code, Code::NotRetryable);
    assert!(failure.message.contains(later.as_str()), "{failure}");
    assert_eq!(engine.show(&id).unwrap().state, State::Attention);
    stop(engine);
}

#[test]
fn two_makings_are_undone_together() {
    let conf = |created, lines: &[&str]| {
        Undo::NixConf(NixConfUndo {
            created,
            added: lines.iter().map(|&line| line.to_owned()).collect(),
        })
    };
    let users = |users: &[&str], members: &[&str], group| {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Undo::Users(UsersUndo {
            users: owned(users),
            members: owned(members),
            group,
        })
    };
    for (earlier, fresh, both) in [
        (Undo::Nothing, Undo::Created, Undo::Created),
        (Undo::Created, Undo::Nothing, Undo::Created),
        (
            conf(true, &["a = 1"]),
            conf(false, &["# why", "b = 2"]),
            conf(true, &["a = 1", "# why", "b = 2"]),
        ),
        (
            conf(false, &["# why", "a = 1"]),
            conf(false, &["a = 1"]),
            conf(false, &["# why", "a = 1"]),
        ),
        (
            users(&["n1"], &["n2"], true),
            users(&["n2", "n3"], &[], false),
            users(&["n1", "n2", "n3"], &[], true),
        ),
    ] {
        assert_eq!(
            joined(&earlier, fresh.clone()),
            both,
            "{earlier:?} {fresh:?}"
        );
    }
}

#[test]
fn a_second_making_adds_to_what_is_owned() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(vec!["/etc/a"]));
    std::fs::write(fixture.root.path().join("etc/a"), "content of /etc/a\n").unwrap();
    let make = |engine: &Engine| {
        let id = engine
            .submit(install(), RequestOptions::default(), 0)
            .unwrap();
        assert_eq!(end_of(engine, &id).state, State::Succeeded);
    };
    make(&engine);
    std::fs::remove_file(fixture.root.path().join("etc/a")).unwrap();
    make(&engine);
    stop(engine);
    let store = reopen(&fixture);
    let owned: Vec<Owned> = store.owned();
    assert_eq!(owned.len(), 1);
    assert_eq!(owned[0].undo, Undo::Created);
}

#[test]
fn taking_off_that_fails_goes_back_past_what_a_user_has_changed() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Plans(|question: &Question<'_>| {
        let steps = match question.request {
            OperationRequest::Install(_) => vec![file("/etc/a"), file("/etc/b")],
            _ => {
                let owned = question.owned.iter().rev();
                owned
                    .map(|owned| Step::Remove(owned.resource.clone(), owned.undo.clone()))
                    .chain([file("/missing/c")])
                    .collect()
            }
        };
        Ok(planned(question.request.kind(), steps))
    }));
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    let changed = fixture.root.path().join("etc/a");
    std::fs::write(&changed, "mine").unwrap();
    let before = fixture.tree();
    let off = OperationRequest::Uninstall(UninstallRequest::default());
    let id = engine.submit(off, RequestOptions::default(), 0).unwrap();
    let view = end_of(&engine, &id);
    assert_eq!(view.state, State::Reverted, "{view:?}");
    assert!(view.kept.iter().any(|kept| kept.contains("/etc/a")));
    assert_eq!(fixture.tree(), before);
    stop(engine);
    assert_eq!(reopen(&fixture).owned().len(), 2);
}

#[test]
fn nothing_is_resumed_while_another_operation_is_planned() {
    let fixture = Fixture::new();
    let (host, exec, _) = fake::host(fixture.root.path());
    std::fs::create_dir(fixture.root.path().join("etc/selinux")).unwrap();
    exec.install("restorecon");
    let lists = AtomicU64::new(0);
    let effect = move |command: &Command| match command.args[0].as_str() {
        "-l" if lists.fetch_add(1, Ordering::SeqCst) > 1 => Output {
            stdout: "nixctl\n".into(),
            ..Output::default()
        },
        "-r" => Output {
            code: 1,
            ..Output::default()
        },
        _ => Output::default(),
    };
    exec.answer("semodule", &[], Answer::effect(effect));
    let engine = fixture.engine_on(
        host,
        Plans(|question: &Question<'_>| {
            if let OperationRequest::Uninstall(_) = question.request {
                while question.cancel.requested().is_none() {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            let steps = vec![Step::Ensure(policy()), file("/missing/c")];
            Ok(planned(question.request.kind(), steps))
        }),
    );
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Attention);
    let other = OperationRequest::Uninstall(UninstallRequest::default());
    let later = engine.submit(other, RequestOptions::default(), 0).unwrap();
    while engine.show(&later).unwrap().state != State::Planning {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(engine.retry(&id, 0).unwrap_err().code, Code::NotRetryable);
    engine.cancel(&later).unwrap();
    end_of(&engine, &later);
    assert_eq!(engine.retry(&id, 0).unwrap(), id);
    end_of(&engine, &id);
    stop(engine);
}

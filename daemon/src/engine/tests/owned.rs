//! What is owned after an operation that was undone, and after one that could not be.

use std::sync::atomic::AtomicU64;

use super::race::policy;
use super::*;
use crate::engine::Owned;
use crate::host::fake::Answer;
use crate::host::{Command, Output};
use crate::resource::Undo;

/// The file `/etc/a` with another content.
fn other(text: &str) -> Resource {
    match file("/etc/a") {
        Step::Ensure(Resource::File(file)) => Resource::File(File {
            content: text.to_owned(),
            ..file
        }),
        _ => unreachable!(),
    }
}

fn submit(engine: &Engine, request: OperationRequest) -> OperationView {
    let id = engine.submit(request, RequestOptions::default(), 0);
    end_of(engine, &id.unwrap())
}

fn off() -> OperationRequest {
    OperationRequest::Uninstall(UninstallRequest::default())
}

/// Installs, then does `second` and fails, and says what is owned before and after that.
fn owned_around(
    second: impl Fn(&[Owned]) -> Vec<Step> + Send + Sync + 'static,
) -> (Vec<Owned>, Vec<Owned>) {
    let fixture = Fixture::new();
    let engine = fixture.engine(Plans(move |question: &Question<'_>| {
        let steps = match question.request {
            OperationRequest::Install(_) => vec![file("/etc/a"), file("/etc/b")],
            _ => second(question.owned)
                .into_iter()
                .chain([file("/missing/c")])
                .collect(),
        };
        Ok(planned(question.request.kind(), steps))
    }));
    assert_eq!(submit(&engine, install()).state, State::Succeeded);
    let before = engine.owned();
    let tree = fixture.tree();
    assert_eq!(submit(&engine, off()).state, State::Reverted);
    assert_eq!(fixture.tree(), tree);
    let after = engine.owned();
    stop(engine);
    (before, after)
}

#[test]
fn a_second_making_that_is_undone_leaves_the_first_one_owned() {
    let (before, after) = owned_around(|_| vec![Step::Ensure(other("newer\n"))]);
    assert_eq!(before.len(), 2);
    assert_eq!(after, before);
}

#[test]
fn what_was_taken_away_twice_over_comes_back_as_it_was_owned() {
    let (before, after) = owned_around(|owned| {
        let remove = |owned: &Owned| Step::Remove(owned.resource.clone(), owned.undo.clone());
        vec![
            remove(&owned[0]),
            Step::Ensure(other("newer\n")),
            Step::Ensure(other("newest\n")),
        ]
    });
    assert_eq!(after, before);
}

/// A machine on which the policy can be loaded (`loads`), but not taken off before `mended`.
fn sticky(fixture: &Fixture, loads: bool, mended: &Arc<AtomicBool>) -> Host {
    let (host, exec, _) = fake::host(fixture.root.path());
    std::fs::create_dir(fixture.root.path().join("etc/selinux")).unwrap();
    exec.install("restorecon");
    let (mended, loaded) = (Arc::clone(mended), AtomicU64::new(0));
    let failed = Output {
        code: 1,
        ..Output::default()
    };
    let effect = move |command: &Command| match command.args[0].as_str() {
        "-l" if loaded.load(Ordering::SeqCst) > 0 => Output {
            stdout: "nixctl\n".into(),
            ..Output::default()
        },
        "-i" => {
            loaded.store(1, Ordering::SeqCst);
            if loads {
                Output::default()
            } else {
                failed.clone()
            }
        }
        "-r" if mended.load(Ordering::SeqCst) => {
            loaded.store(0, Ordering::SeqCst);
            Output::default()
        }
        "-r" => failed.clone(),
        _ => Output::default(),
    };
    exec.answer("semodule", &[], Answer::effect(effect));
    host
}

#[test]
fn what_could_not_be_undone_stays_owned_until_it_is() {
    for loads in [true, false] {
        let fixture = Fixture::new();
        let mended = Arc::new(AtomicBool::new(false));
        let host = sticky(&fixture, loads, &mended);
        let planner = Plans(|question: &Question<'_>| {
            let steps = vec![file("/etc/a"), Step::Ensure(policy()), file("/missing/c")];
            Ok(planned(question.request.kind(), steps))
        });
        let engine = fixture.engine_on(host, planner);
        let view = submit(&engine, install());
        assert_eq!(view.state, State::Attention, "{view:?}");
        let owned = engine.owned();
        assert_eq!(owned.len(), 2, "loads: {loads}: {owned:?}");
        assert_eq!(owned[1].resource, policy());
        assert_eq!(owned[1].undo, Undo::Created);
        mended.store(true, Ordering::SeqCst);
        engine.retry(&view.id, 0).unwrap();
        assert_eq!(end_of(&engine, &view.id).state, State::Reverted);
        assert_eq!(engine.owned(), []);
        stop(engine);
    }
}

/// Where a release came from is known as long as it is owned, whatever is forgotten meanwhile.
#[test]
fn where_a_release_was_fetched_from_is_kept_as_long_as_it_is_owned() {
    use crate::payload::{Archive, Manifest, manifest_path};
    use crate::resource::payload::Payload;

    let fixture = Fixture::new();
    let Step::Fetch(fetch) = fetch_of(7) else {
        unreachable!()
    };
    let release = fetch.release;
    let archive = Archive {
        sha256: release.sha256.clone(),
        version: release.version.clone(),
        system: release.system.clone(),
        store_gid: 0,
    };
    let manifest = Manifest {
        version: release.version.clone(),
        nix: "/nix/store/x".to_owned(),
        cacert: None,
        paths: Vec::new(),
        reginfo: String::new(),
        unpacked_bytes: 0,
        unpacked_inodes: 0,
    };
    let path = manifest_path(&release.sha256);
    let path = fixture.root.path().join(path.strip_prefix("/").unwrap());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let unpacked = serde_json::to_vec(&manifest).unwrap();
    let engine = fixture.engine(Plans(move |question: &Question<'_>| {
        let payload = Resource::Payload(Payload {
            archive: archive.clone(),
        });
        let steps = match question.request {
            OperationRequest::Install(it) => {
                let fetched = it.source.is_some().then(|| fetch_of(7));
                let rest = [Step::Ensure(payload)];
                fetched.into_iter().chain(rest).collect()
            }
            _ => vec![Step::Remove(payload, Undo::Nothing)],
        };
        Ok(planned(question.request.kind(), steps))
    }));
    let store = || engine.shared().store.fetched();
    std::fs::write(&path, &unpacked).unwrap();
    let from = OperationRequest::Install(InstallRequest {
        source: Some("/srv/nix.tar.xz".to_owned()),
        ..InstallRequest::default()
    });
    assert_eq!(submit(&engine, from).state, State::Succeeded);
    assert_eq!(store(), std::slice::from_ref(&release));
    // What is there already is not fetched once more.
    assert_eq!(submit(&engine, install()).state, State::Succeeded);
    assert_eq!(store(), [release]);
    assert_eq!(submit(&engine, off()).state, State::Succeeded);
    assert_eq!(store(), []);
    stop(engine);
}

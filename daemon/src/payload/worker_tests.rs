use std::sync::Mutex;

use super::*;
use crate::host::cancel::Stop;
use crate::payload::{Release, Source};
use crate::resource::Silent;

fn script(text: &str) -> ChildWorker {
    ChildWorker {
        root: "/".into(),
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), text.to_owned()],
        stall: Duration::from_millis(400),
    }
}

fn task() -> Task {
    Task::Unpack(Archive {
        sha256: "0".repeat(64),
        version: "1".into(),
        system: "s".into(),
        store_gid: 0,
    })
}

#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn bytes(&self, done: u64, total: u64) {
        self.0.lock().unwrap().push(format!("{done}/{total}"));
    }
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

#[test]
fn lines_become_progress_and_a_result() {
    let heard = Heard::default();
    let worker = script(
        r#"read job; echo '{"bytes":[1,2]}'; echo '{"note":"hello"}'; echo '{"ok":true}'; sleep 9"#,
    );
    worker.run(&task(), &heard, &Cancel::default()).unwrap();
    assert_eq!(*heard.0.lock().unwrap(), ["1/2", "hello"]);
}

#[test]
fn the_child_gets_its_job() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("job");
    let text = format!(
        r#"read job; echo "$job" > {}; echo '{{"ok":true}}'"#,
        path.display()
    );
    script(&text)
        .run(&task(), &Silent, &Cancel::default())
        .unwrap();
    let job: Job = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!(job.task, task());
}

#[test]
fn an_error_of_the_child_comes_through_whole() {
    let original = PayloadError::new(Code::BadArchive, "cannot unpack the archive: x")
        .with_cause("deep")
        .with_help("do this");
    let expected = original.failure();
    let line = serde_json::to_string(&Line::Error(original.into())).unwrap();
    let worker = script(&format!("read job; echo '{line}'"));
    let error = worker
        .run(&task(), &Silent, &Cancel::default())
        .unwrap_err();
    assert_eq!(error.failure(), expected);
}

#[test]
fn a_lost_child_is_reported_with_what_it_said() {
    let error = script("echo 'out of memory' >&2; kill -9 $$")
        .run(&task(), &Silent, &Cancel::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::WorkerLost);
    assert!(error.to_string().contains("signal 9"), "{error}");
    assert_eq!(error.failure().causes, ["out of memory"]);
    let missing = ChildWorker {
        program: "/does/not/exist".into(),
        ..script("")
    };
    let error = missing
        .run(&task(), &Silent, &Cancel::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::WorkerLost);
}

#[test]
fn a_silent_child_times_out_and_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("late");
    let worker = script(&format!("sleep 1; touch {}", path.display()));
    let error = worker
        .run(&task(), &Silent, &Cancel::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::Timeout);
    std::thread::sleep(Duration::from_millis(900));
    assert!(!path.exists(), "the child went on");
}

#[test]
fn cancelling_kills_at_once() {
    let cancel = Cancel::default();
    let asked = cancel.clone();
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        asked.request(Stop::Cancelled);
        Instant::now()
    });
    let worker = ChildWorker {
        stall: Duration::from_secs(60),
        ..script("sleep 60 & sleep 60")
    };
    let error = worker.run(&task(), &Silent, &cancel).unwrap_err();
    assert!(error.is_stopped());
    assert!(thread.join().unwrap().elapsed() < Duration::from_millis(300));
}

#[test]
fn a_real_task_runs_in_this_process() {
    let dir = tempfile::tempdir().unwrap();
    let worker = InProcess::new(Fs::at(dir.path()));
    let release = Release {
        source: Source::Path("/does/not/exist".into()),
        sha256: "0".repeat(64),
        size: None,
        version: "1".into(),
        system: "s".into(),
    };
    let fetch = Fetch {
        release,
        proxy: String::new(),
        ssl_cert_file: String::new(),
    };
    let error = worker
        .run(&Task::Fetch(fetch), &Silent, &Cancel::default())
        .unwrap_err();
    assert_eq!(error.code(), Code::BadSource);
}

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use sha2::{Digest, Sha256};

use super::super::files::hex;
use super::super::test_server::{Server, file, reply};
use super::*;
use crate::host::cancel::Stop;
use crate::resource::Silent;

fn body() -> Vec<u8> {
    (0..700_000u32).map(|n| (n * 7 / 3) as u8).collect()
}

fn task(source: Source, bytes: &[u8]) -> Fetch {
    Fetch {
        release: Release {
            source,
            sha256: hex(&Sha256::digest(bytes)),
            size: None,
            version: "2.26.3".into(),
            system: "x86_64-linux".into(),
        },
        proxy: String::new(),
        ssl_cert_file: String::new(),
    }
}

struct Place {
    _dir: tempfile::TempDir,
    fs: Fs,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("var/lib")).unwrap();
    Place {
        fs: Fs::at(dir.path()),
        _dir: dir,
    }
}

impl Place {
    fn run(&self, task: &Fetch) -> Result<(), PayloadError> {
        fetch(&self.fs, task, &Silent, &Cancel::default())
    }

    fn names(&self) -> Vec<String> {
        let names = self.fs.list(DOWNLOADS_DIR.as_ref()).unwrap();
        names
            .into_iter()
            .map(|name| name.into_string().unwrap())
            .collect()
    }

    fn write_part(&self, task: &Fetch, bytes: &[u8]) {
        private_dir(&self.fs, DOWNLOADS_DIR.as_ref()).unwrap();
        let name = format!("{DOWNLOADS_DIR}/{}.part", task.release.sha256);
        std::fs::write(self.fs.real(Path::new(&name)), bytes).unwrap();
    }

    fn content(&self, task: &Fetch) -> Vec<u8> {
        let name = format!("{DOWNLOADS_DIR}/{}", task.release.sha256);
        std::fs::read(self.fs.real(Path::new(&name))).unwrap()
    }
}

#[test]
fn a_url_is_fetched_once_and_then_reused() {
    let server = Server::start(|asked, out| file(asked, out, &body()));
    let (place, task) = (place(), task(Source::Url(server.url("/n.tar.xz")), &body()));
    place.run(&task).unwrap();
    assert_eq!(place.names(), std::slice::from_ref(&task.release.sha256));
    assert!(place.content(&task) == body());
    place.run(&task).unwrap();
    assert_eq!(server.requests().len(), 1);
    let meta = place.fs.meta(DOWNLOADS_DIR.as_ref()).unwrap().unwrap();
    assert_eq!(meta.mode, 0o700);
}

#[test]
fn a_changed_complete_file_is_fetched_again() {
    let server = Server::start(|asked, out| file(asked, out, &body()));
    let (place, task) = (place(), task(Source::Url(server.url("/n.tar.xz")), &body()));
    place.write_part(&task, b"");
    let name = format!("{DOWNLOADS_DIR}/{}", task.release.sha256);
    std::fs::write(place.fs.real(Path::new(&name)), b"rotten").unwrap();
    place.run(&task).unwrap();
    assert!(place.content(&task) == body());
}

#[test]
fn a_part_is_continued() {
    let server = Server::start(|asked, out| file(asked, out, &body()));
    let (place, task) = (place(), task(Source::Url(server.url("/n.tar.xz")), &body()));
    place.write_part(&task, &body()[..100_000]);
    place.run(&task).unwrap();
    assert_eq!(server.requests()[0].from(), Some(100_000));
    assert!(place.content(&task) == body());
}

#[test]
fn a_part_of_something_else_is_begun_again() {
    let server = Server::start(|asked, out| file(asked, out, &body()));
    let (place, task) = (place(), task(Source::Url(server.url("/n.tar.xz")), &body()));
    place.write_part(&task, &[0; 100_000]);
    place.run(&task).unwrap();
    assert_eq!(server.requests().len(), 2);
    place
        .fs
        .remove_file(Path::new(&format!(
            "{DOWNLOADS_DIR}/{}",
            task.release.sha256
        )))
        .unwrap();
    // Larger than the whole: the server answers 416.
    place.write_part(&task, &vec![0; 800_000]);
    place.run(&task).unwrap();
    assert!(place.content(&task) == body());
}

#[test]
fn a_server_without_ranges_is_read_from_the_beginning() {
    let server = Server::start(|asked, out| reply(asked, out, "200 OK", "", &body()));
    let (place, task) = (place(), task(Source::Url(server.url("/n.tar.xz")), &body()));
    place.write_part(&task, &[0; 800_000]);
    place.run(&task).unwrap();
    assert_eq!(server.requests().len(), 1);
    assert!(place.content(&task) == body());
}

#[test]
fn a_broken_connection_is_continued() {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let server = Server::start(move |asked, out| {
        let body = body();
        if counted.fetch_add(1, Ordering::SeqCst) < 2 {
            let from = asked.from().unwrap_or(0);
            let (status, range) = match from {
                0 => ("200 OK", String::new()),
                from => (
                    "206 Partial",
                    format!("Content-Range: bytes {from}-699999/700000\r\n"),
                ),
            };
            let left = body.len() - from;
            let _ = write!(
                out,
                "HTTP/1.1 {status}\r\nContent-Length: {left}\r\n{range}\r\n"
            );
            let _ = out.write_all(&body[from..from + 200_000]);
        } else {
            file(asked, out, &body);
        }
    });
    let (place, task) = (place(), task(Source::Url(server.url("/n.tar.xz")), &body()));
    place.run(&task).unwrap();
    assert!(place.content(&task) == body());
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert!(server.requests()[2].from().unwrap() > 0);
}

#[test]
fn wrong_bytes_are_refused_and_leave_nothing() {
    let server = Server::start(|asked, out| file(asked, out, b"something else"));
    let (place, task) = (place(), task(Source::Url(server.url("/n.tar.xz")), &body()));
    let error = place.run(&task).unwrap_err();
    assert_eq!(error.code(), Code::ChecksumMismatch);
    assert!(place.names().is_empty());
}

#[test]
fn a_path_is_copied_and_only_then_checked() {
    let place = place();
    let source = place.fs.root().join("n.tar.xz");
    std::fs::write(&source, body()).unwrap();
    let task = task(Source::Path(source.clone()), &body());
    place.run(&task).unwrap();
    std::fs::write(&source, b"changed afterwards").unwrap();
    place.run(&task).unwrap();
    assert!(place.content(&task) == body());
    place
        .fs
        .remove_file(Path::new(&format!(
            "{DOWNLOADS_DIR}/{}",
            task.release.sha256
        )))
        .unwrap();
    assert_eq!(place.run(&task).unwrap_err().code(), Code::ChecksumMismatch);
    std::fs::remove_file(&source).unwrap();
    assert_eq!(place.run(&task).unwrap_err().code(), Code::BadSource);
    std::os::unix::fs::symlink("/etc/passwd", &source).unwrap();
    assert_eq!(place.run(&task).unwrap_err().code(), Code::BadSource);
}

#[test]
fn progress_counts_up_and_cancel_stops() {
    #[derive(Default)]
    struct Seen(Mutex<Vec<(u64, u64)>>, Cancel);
    impl Progress for Seen {
        fn bytes(&self, done: u64, total: u64) {
            self.0.lock().unwrap().push((done, total));
            self.1.request(Stop::Cancelled);
        }
        fn note(&self, _text: &str) {}
    }
    let place = place();
    let source = place.fs.root().join("n.tar.xz");
    std::fs::write(&source, body()).unwrap();
    let task = task(Source::Path(source), &body());
    let seen = Seen::default();
    assert!(
        fetch(&place.fs, &task, &seen, &seen.1)
            .unwrap_err()
            .is_stopped()
    );
    let first = seen.0.lock().unwrap()[0];
    assert_eq!(first.1, 700_000);
    assert!(first.0 > 0 && first.0 < 700_000);
}

//! A machine for the tests of resources, and the laws that all of them keep.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::file::File;
use super::{Context, Progress, Resource, ResourceError, Result, Undo, Undone};
use crate::host::fake::{self, FakeExec, FakeServices};
use crate::host::service::UnitState;
use crate::host::{Cancel, Host};
use crate::payload::PayloadError;
use crate::payload::worker::{Task, Worker};

/// One entry of a tree: its kind and content, mode, owner and group.
pub(crate) type Entry = (String, Vec<u8>, u32, u32, u32);

/// All that a test compares.
pub(crate) type State = (BTreeMap<PathBuf, Entry>, BTreeMap<String, UnitState>);

pub(crate) struct Machine {
    pub dir: tempfile::TempDir,
    pub host: Host,
    pub exec: Arc<FakeExec>,
    pub services: Arc<FakeServices>,
    pub cancel: Cancel,
    pub notes: Notes,
}

#[derive(Default)]
pub(crate) struct Notes(pub Mutex<Vec<String>>);

impl Progress for Notes {
    fn bytes(&self, _done: u64, _total: u64) {}
    fn note(&self, text: &str) {
        self.0.lock().unwrap().push(text.to_owned());
    }
}

struct NoWorker;

impl Worker for NoWorker {
    fn run(
        &self,
        task: &Task,
        _progress: &dyn Progress,
        _cancel: &Cancel,
    ) -> std::result::Result<(), PayloadError> {
        panic!("no resource of this test needs a worker for {task:?}")
    }
}

impl Machine {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (host, exec, services) = fake::host(dir.path());
        for path in ["etc", "run"] {
            std::fs::create_dir(dir.path().join(path)).unwrap();
        }
        let (cancel, notes) = (Cancel::default(), Notes::default());
        Machine {
            dir,
            host,
            exec,
            services,
            cancel,
            notes,
        }
    }

    pub fn context(&self) -> Context<'_> {
        Context {
            host: &self.host,
            progress: &self.notes,
            cancel: &self.cancel,
            worker: &NoWorker,
        }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    pub fn put(&self, path: &str, content: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        std::fs::write(self.path(path), content).unwrap();
        self.chmod(path, 0o644);
    }

    pub fn chmod(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.path(path), PermissionsExt::from_mode(mode)).unwrap();
    }

    pub fn text(&self, path: &str) -> Option<String> {
        std::fs::read(self.path(path))
            .ok()
            .map(|it| String::from_utf8_lossy(&it).into_owned())
    }

    pub fn state(&self) -> State {
        let mut tree = BTreeMap::new();
        read_tree(self.dir.path(), &mut tree);
        (tree, self.services.units())
    }
}

fn read_tree(dir: &Path, tree: &mut BTreeMap<PathBuf, Entry>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = path.symlink_metadata().unwrap();
        let (kind, content) = if meta.is_symlink() {
            let target = std::fs::read_link(&path).unwrap();
            ("link", target.into_os_string().into_encoded_bytes())
        } else if meta.is_dir() {
            read_tree(&path, tree);
            ("directory", Vec::new())
        } else {
            ("file", std::fs::read(&path).unwrap())
        };
        let entry = (
            kind.to_owned(),
            content,
            meta.mode() & 0o7777,
            meta.uid(),
            meta.gid(),
        );
        tree.insert(path, entry);
    }
}

/// An empty file of root's.
pub(crate) fn empty_file(path: &str) -> File {
    File {
        path: path.into(),
        content: String::new(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        replace: false,
    }
}

/// Ids the test can give to files.
pub(crate) fn own_ids() -> (u32, u32) {
    (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    )
}

/// The laws, on a machine where nothing disturbs: preparing changes nothing; undoing what never
/// ran changes nothing; applying twice is applying once; undoing brings back what was there, and
/// twice is once; and the same again after it.
pub(crate) fn check_laws(machine: &Machine, resource: &Resource) {
    let context = machine.context();
    let before = machine.state();
    let undo = resource.prepare(&machine.host).unwrap();
    assert_eq!(machine.state(), before, "preparing changed something");
    assert_eq!(resource.undo(&context, &undo).unwrap(), Undone::Clean);
    assert_eq!(machine.state(), before, "undoing nothing changed something");
    for _ in 0..2 {
        resource.apply(&context, &undo).unwrap();
        let after = machine.state();
        resource.verify(&machine.host).unwrap();
        resource.apply(&context, &undo).unwrap();
        assert_eq!(machine.state(), after, "applying twice is not once");
        for _ in 0..2 {
            assert_eq!(resource.undo(&context, &undo).unwrap(), Undone::Clean);
            assert_eq!(
                machine.state(),
                before,
                "undoing did not bring back what was there"
            );
        }
    }
    assert!(!resource.describe().id.is_empty() && !resource.describe().summary.is_empty());
}

/// Taking away what was made and bringing it back is nothing, each twice over.
pub(crate) fn check_removal(machine: &Machine, resource: &Resource, made: &Undo) {
    let context = machine.context();
    let before = machine.state();
    let taken = resource.prepare_removal(&machine.host).unwrap();
    assert_eq!(machine.state(), before, "preparing changed something");
    for _ in 0..2 {
        for _ in 0..2 {
            resource.take_away(&context, made).unwrap();
        }
        for _ in 0..2 {
            match resource.restore(&context, made, &taken) {
                Ok(()) | Err(ResourceError::Foreign { .. }) => {}
                Err(error) => panic!("{error}"),
            }
            assert_eq!(machine.state(), before, "it did not come back as it was");
        }
    }
}

/// Prepares and applies.
pub(crate) fn make(machine: &Machine, resource: &Resource) -> Result<Undo> {
    let undo = resource.prepare(&machine.host)?;
    resource.apply(&machine.context(), &undo)?;
    Ok(undo)
}

/// Undoes, and says what was kept.
pub(crate) fn undone(machine: &Machine, resource: &Resource, undo: &Undo) -> Option<String> {
    let kept = resource.undo(&machine.context(), undo).unwrap().into_kept();
    (!kept.is_empty()).then(|| kept.join("\n"))
}

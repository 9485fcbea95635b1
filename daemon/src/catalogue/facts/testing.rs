//! Machines made of a temporary folder and prepared answers, for unit tests.

use std::path::PathBuf;
use std::sync::Arc;

use crate::host::fake::{self, Answer, FakeExec, FakeServices};
use crate::host::{Host, Output};

/// A machine. Keeps its folder until it is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    root: tempfile::TempDir,
    host: Host,
    exec: Arc<FakeExec>,
    services: Arc<FakeServices>,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (host, exec, services) = fake::host(root.path());
        Machine {
            root,
            host,
            exec,
            services,
        }
    }

    pub(crate) fn real(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn with_parent(&self, path: &str) -> PathBuf {
        let real = self.real(path);
        std::fs::create_dir_all(real.parent().unwrap()).unwrap();
        real
    }

    pub(crate) fn file(self, path: &str, content: &str) -> Self {
        std::fs::write(self.with_parent(path), content).unwrap();
        self
    }

    pub(crate) fn link(self, path: &str, target: &str) -> Self {
        std::os::unix::fs::symlink(target, self.with_parent(path)).unwrap();
        self
    }

    pub(crate) fn directory(self, path: &str) -> Self {
        std::fs::create_dir_all(self.real(path)).unwrap();
        self
    }

    /// An installed program.
    pub(crate) fn tool(self, name: &str) -> Self {
        self.exec.install(name);
        self
    }

    /// A unit: the state of its file, and whether it is active.
    pub(crate) fn unit(self, name: &str, file: &str, active: &str) -> Self {
        self.services.set(name, file, active);
        self
    }

    /// Everything about units.
    pub(crate) fn services(&self) -> &FakeServices {
        &self.services
    }

    /// Mode of what is at a path.
    pub(crate) fn mode(self, path: &str, mode: u32) -> Self {
        use std::os::unix::fs::PermissionsExt;
        let mode = PermissionsExt::from_mode(mode);
        std::fs::set_permissions(self.real(path), mode).unwrap();
        self
    }

    /// What a command that begins with these words answers; of several the last one added counts.
    pub(crate) fn answer(self, line: &str, code: i32, stdout: &str, stderr: &str) -> Self {
        let words: Vec<&str> = line.split(' ').collect();
        let output = Output {
            code,
            stdout: stdout.into(),
            stderr: stderr.into(),
        };
        self.exec
            .answer(words[0], &words[1..], Answer::Output(output));
        self
    }

    pub(crate) fn host(&self) -> Host {
        self.host.clone()
    }
}

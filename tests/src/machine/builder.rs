//! Describing a machine and bringing it up for the first time.

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup::Cgroup;
use super::layers::Layers;
use super::{Machine, sweep};
use crate::error::{Context, Result};
use crate::exec::Run;
use crate::{image, paths};

/// The description of a machine. See [`Machine::builder`].
#[derive(Debug, Clone)]
pub struct Builder {
    name: String,
    kind: image::Kind,
    lower: Option<PathBuf>,
    written: Option<PathBuf>,
    size: Option<u64>,
    memory: Option<u64>,
    arguments: Vec<String>,
    init: Option<String>,
    files: Vec<(PathBuf, PathBuf, u32)>,
}

impl Builder {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            kind: image::Kind::System,
            lower: None,
            written: None,
            size: None,
            memory: None,
            arguments: Vec::new(),
            init: None,
            files: Vec::new(),
        }
    }

    /// Takes the image without systemd and bus; process 1 is then a plain `sleep`.
    #[must_use]
    pub fn without_init(mut self) -> Self {
        self.kind = image::Kind::Container;
        self
    }

    /// Lays the machine over this root instead of an image of Debian: one of the same kind that
    /// already has something in it.
    #[must_use]
    pub fn over(mut self, root: &Path) -> Self {
        self.lower = Some(root.to_path_buf());
        self
    }

    /// Begins with what another machine over the same root has written: a copy of its
    /// [`Machine::upper`].
    #[must_use]
    pub fn written(mut self, upper: &Path) -> Self {
        self.written = Some(upper.to_path_buf());
        self
    }

    /// Limits what the machine may write to this many bytes (its disk is then a tmpfs).
    #[must_use]
    pub fn disk(mut self, bytes: u64) -> Self {
        self.size = Some(bytes);
        self
    }

    /// Limits the memory of the machine's processes, the cache of its files included, to this many
    /// bytes; there is no swap.
    #[must_use]
    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = Some(bytes);
        self
    }

    /// Mounts a file, folder or device of the host at `target`.
    #[must_use]
    pub fn bind(self, source: &Path, target: &str) -> Self {
        self.argument(&format!("--bind={}:{target}", source.display()))
    }

    /// Mounts a file or folder of the host read-only at `target`.
    #[must_use]
    pub fn bind_read_only(self, source: &Path, target: &str) -> Self {
        self.argument(&format!("--bind-ro={}:{target}", source.display()))
    }

    /// Gives systemd-nspawn one more argument.
    #[must_use]
    pub fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Runs this program of the machine as process 1, in place of the init that its root has. It
    /// must become systemd in the end.
    #[must_use]
    pub fn init(mut self, program: &str) -> Self {
        self.init = Some(program.to_owned());
        self
    }

    /// Copies a file of the host in before the first boot.
    #[must_use]
    pub fn file(mut self, source: &Path, target: &str, mode: u32) -> Self {
        self.files
            .push((source.to_path_buf(), PathBuf::from(target), mode));
        self
    }

    /// Boots the machine and waits until its systemd has settled.
    pub fn boot(self) -> Result<Machine> {
        let mut machine = self.create()?;
        machine.boot_again()?;
        Ok(machine)
    }

    /// Makes the machine without booting it: files can be put in place first.
    pub fn create(self) -> Result<Machine> {
        sweep::sweep()?;
        let lower = match self.lower {
            Some(root) => root,
            None => image::root(self.kind)?,
        };
        let (name, dir) = new_folder(&self.name)?;
        sweep::claim(&dir)?;
        let machine = Machine {
            layers: Layers::mount(&dir, &lower, self.written.as_deref(), self.size)?,
            cgroup: match self.memory {
                Some(bytes) => Cgroup::named(&name).with_memory(bytes)?,
                None => Cgroup::named(&name),
            },
            name,
            kind: self.kind,
            dir,
            arguments: self.arguments,
            init: self.init,
            nspawn: None,
            leader: None,
        };
        make_network(&machine.network())?;
        for (source, target, mode) in &self.files {
            machine.copy_in(source, target, *mode)?;
        }
        Ok(machine)
    }
}

/// Makes the folder of a new machine. The name may be that of a kept machine of an earlier process
/// with the same id, so several are tried.
fn new_folder(prefix: &str) -> Result<(String, PathBuf)> {
    let machines = paths::lab("machines")?;
    loop {
        let name = paths::unique(prefix);
        let dir = machines.join(&name);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => {
                return other
                    .map(|()| (name, dir))
                    .context(|| "create a machine's folder");
            }
        }
    }
}

/// Makes a network namespace that stays without processes in it, with only a loopback.
fn make_network(file: &Path) -> Result<()> {
    fs::write(file, "").context(|| format!("create {}", file.display()))?;
    let network = format!("--net={}", file.display());
    Run::new(&["unshare", &network, "true"]).run()?.ok()?;
    Run::new(&["nsenter", &network, "ip", "link", "set", "lo", "up"])
        .run()?
        .ok()
        .map(drop)
}

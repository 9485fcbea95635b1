//! One cgroup per machine. Without it, two machines under `--keep-unit` would share one group and
//! their systemds would kill each other's services; with it, a machine dies in one write.
//!
//! On a host with hybrid cgroups the same folder is made in systemd's named hierarchy too, and for a
//! machine with little memory in the one of the memory controller, wherever that is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Context, Error, Result};

/// The folder under each hierarchy that holds the lab's groups.
const PARENT: &str = "nixctl-lab";
/// How long the kernel may take to end the processes of a killed group.
const KILL_DEADLINE: Duration = Duration::from_secs(20);

/// The groups of one machine, the cgroup2 one first.
#[derive(Debug)]
pub struct Cgroup {
    dirs: Vec<PathBuf>,
    memory: Option<Memory>,
}

/// A group whose processes have so much memory in all, and no swap.
#[derive(Debug)]
struct Memory {
    dir: PathBuf,
    bytes: u64,
    files: &'static MemoryFiles,
}

/// The files of the memory controller.
#[derive(Debug)]
struct MemoryFiles {
    limit: &'static str,
    /// Absent where the kernel does not account swap.
    swap: (&'static str, bool),
    peak: &'static str,
    kills: &'static str,
}

const MEMORY_2: MemoryFiles = MemoryFiles {
    limit: "memory.max",
    swap: ("memory.swap.max", false),
    peak: "memory.peak",
    kills: "memory.events",
};
const MEMORY_1: MemoryFiles = MemoryFiles {
    limit: "memory.limit_in_bytes",
    swap: ("memory.memsw.limit_in_bytes", true),
    peak: "memory.max_usage_in_bytes",
    kills: "memory.oom_control",
};

/// The mounted hierarchies that matter: cgroup2 first, then systemd's named one. Empty when the
/// host has no cgroup2.
#[must_use]
pub fn roots() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let find = |matches: &dyn Fn(&str, &str) -> bool| {
        mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (dir, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
            matches(kind, options).then(|| PathBuf::from(dir))
        })
    };
    let unified = find(&|kind, _| kind == "cgroup2");
    let named = find(&|kind, options| {
        kind == "cgroup" && options.split(',').any(|option| option == "name=systemd")
    });
    unified
        .map(|root| std::iter::once(root).chain(named).collect())
        .unwrap_or_default()
}

impl Cgroup {
    /// The groups of a machine, which may not be there yet.
    pub fn named(name: &str) -> Self {
        Self {
            dirs: roots()
                .iter()
                .map(|root| root.join(PARENT).join(name))
                .collect(),
            memory: None,
        }
    }

    /// The same with so much memory for the machine, and no swap.
    pub fn with_memory(mut self, bytes: u64) -> Result<Self> {
        let name = self.dirs.first().and_then(|dir| dir.file_name());
        let name = name.map(PathBuf::from).unwrap_or_default();
        let (root, files) = memory_root()
            .ok_or_else(|| Error::new("limit a machine's memory", "the host cannot"))?;
        let dir = root.join(PARENT).join(name);
        self.memory = Some(Memory { dir, bytes, files });
        Ok(self)
    }

    /// The most bytes of memory that were in use at once, and how often a process was killed for
    /// want of it. None without a limit.
    pub fn memory(&self) -> Option<(u64, u64)> {
        let memory = self.memory.as_ref()?;
        let read = |file| fs::read_to_string(memory.dir.join(file)).ok();
        let peak = read(memory.files.peak)?.trim().parse().ok()?;
        let kills = read(memory.files.kills)?;
        let kills = kills
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill "));
        Some((peak, kills?.parse().ok()?))
    }

    /// Makes the groups anew, empty. Needed before every boot: Linux 6.18 kills what is
    /// started by `clone3` *into* a group whose ancestors were killed a different number of times
    /// than the starter's own, and systemd starts everything that way.
    pub fn renew(&self) -> Result<()> {
        self.remove();
        for dir in self.dirs.iter().chain([&self.guests_dir()]) {
            fs::create_dir_all(dir).context(|| format!("create {}", dir.display()))?;
        }
        self.memory.as_ref().map_or(Ok(()), Memory::make)
    }

    /// The files that a process writes "0" to in order to enter, separated by spaces.
    pub fn entrances(&self) -> String {
        files(self.dirs.iter().chain(self.memory_dir()))
    }

    /// The files that a command run in the machine enters by, beside the machine's services.
    pub fn guests(&self) -> String {
        files([&self.guests_dir()].into_iter().chain(self.memory_dir()))
    }

    /// Host ids of the processes of a unit of the machine.
    pub fn processes(&self, unit: &str) -> Vec<u32> {
        let dir = self
            .dirs
            .first()
            .map(|dir| dir.join("payload/system.slice"));
        let file = dir.map(|dir| dir.join(unit).join("cgroup.procs"));
        let text = file.and_then(|file| fs::read_to_string(file).ok());
        let text = text.unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Ends every process of the machine at once and waits until they are gone.
    pub fn kill(&self) -> Result<()> {
        let Some(dir) = self.dirs.first().filter(|dir| dir.exists()) else {
            return Ok(());
        };
        fs::write(dir.join("cgroup.kill"), "1").context(|| format!("kill {}", dir.display()))?;
        let until = Instant::now() + KILL_DEADLINE;
        while populated(dir) {
            if Instant::now() > until {
                return Err(Error::new(
                    format!("kill {}", dir.display()),
                    "processes remain",
                ));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Removes the groups, which must have no processes left.
    pub fn remove(&self) {
        let memory = memory_root().zip(self.dirs.first().and_then(|dir| dir.file_name()));
        let memory = memory.map(|((root, _), name)| root.join(PARENT).join(name));
        for dir in self.dirs.iter().chain(&memory) {
            remove(dir);
        }
    }

    fn memory_dir(&self) -> Option<&PathBuf> {
        self.memory.as_ref().map(|memory| &memory.dir)
    }

    /// Processor time that all processes of the machine have used since it was booted, of those in
    /// the kernel too.
    pub fn processor_time(&self) -> Result<Duration> {
        processor_time(&self.dirs.first().cloned().unwrap_or_default())
    }

    /// The same of a unit of the machine, since it was started.
    pub fn processor_time_of(&self, unit: &str) -> Result<Duration> {
        let dir = self.dirs.first().cloned().unwrap_or_default();
        processor_time(&dir.join("payload/system.slice").join(unit))
    }

    fn guests_dir(&self) -> PathBuf {
        self.dirs
            .first()
            .map(|dir| dir.join("payload/nixctl-lab-guests"))
            .unwrap_or_default()
    }
}

fn processor_time(dir: &Path) -> Result<Duration> {
    let file = dir.join("cpu.stat");
    let text = fs::read_to_string(&file).context(|| format!("read {}", file.display()))?;
    let micros = text
        .lines()
        .find_map(|line| line.strip_prefix("usage_usec ")?.trim().parse().ok());
    micros
        .map(Duration::from_micros)
        .ok_or_else(|| Error::new(format!("read {}", file.display()), text))
}

impl Memory {
    fn make(&self) -> Result<()> {
        let what = || format!("limit the memory of {}", self.dir.display());
        fs::create_dir_all(&self.dir).context(what)?;
        if self.files.limit == MEMORY_2.limit {
            // Controllers reach only the children of groups that pass them on.
            let above: Vec<&Path> = self.dir.ancestors().skip(1).take(2).collect();
            for dir in above.into_iter().rev() {
                fs::write(dir.join("cgroup.subtree_control"), "+memory").context(what)?;
            }
        }
        let bytes = self.bytes.to_string();
        fs::write(self.dir.join(self.files.limit), &bytes).context(what)?;
        let (swap, with_memory) = self.files.swap;
        let swap = self.dir.join(swap);
        if swap.exists() {
            fs::write(swap, if with_memory { &bytes } else { "0" }).context(what)?;
        }
        Ok(())
    }
}

/// Where groups with a limit of memory are made.
fn memory_root() -> Option<(PathBuf, &'static MemoryFiles)> {
    let unified = roots().into_iter().next()?;
    let controllers = fs::read_to_string(unified.join("cgroup.controllers")).unwrap_or_default();
    if controllers.split_whitespace().any(|one| one == "memory") {
        return Some((unified, &MEMORY_2));
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let legacy = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (dir, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let memory = options.split(',').any(|option| option == "memory");
        (kind == "cgroup" && memory).then(|| PathBuf::from(dir))
    });
    legacy.map(|root| (root, &MEMORY_1))
}

fn files<'a>(dirs: impl Iterator<Item = &'a PathBuf>) -> String {
    let files: Vec<String> = dirs
        .map(|dir| dir.join("cgroup.procs").display().to_string())
        .collect();
    files.join(" ")
}

fn populated(dir: &Path) -> bool {
    fs::read_to_string(dir.join("cgroup.events"))
        .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

fn remove(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

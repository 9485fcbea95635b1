//! One cgroup per machine. Without it, two machines under `--keep-unit` would share one group and
//! their systemds would kill each other's services; with it, a machine dies in one write.
//!
//! On a host with hybrid cgroups the same folder is made in systemd's named hierarchy too.

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
}

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
        }
    }

    /// Makes the groups anew, empty. Needed before every boot: Linux 6.18 kills what is
    /// started by `clone3` *into* a group whose ancestors were killed a different number of times
    /// than the starter's own, and systemd starts everything that way.
    pub fn renew(&self) -> Result<()> {
        self.remove();
        for dir in self.dirs.iter().chain([&self.guests_dir()]) {
            fs::create_dir_all(dir).context(|| format!("create {}", dir.display()))?;
        }
        Ok(())
    }

    /// The files that a process writes "0" to in order to enter, separated by spaces.
    pub fn entrances(&self) -> String {
        let files: Vec<String> = self
            .dirs
            .iter()
            .map(|dir| dir.join("cgroup.procs").display().to_string())
            .collect();
        files.join(" ")
    }

    /// The file that a command run in the machine enters by, beside the machine's services.
    pub fn guests(&self) -> String {
        self.guests_dir().join("cgroup.procs").display().to_string()
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
        for dir in &self.dirs {
            remove(dir);
        }
    }

    fn guests_dir(&self) -> PathBuf {
        self.dirs
            .first()
            .map(|dir| dir.join("payload/nixctl-lab-guests"))
            .unwrap_or_default()
    }
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

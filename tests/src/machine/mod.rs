//! Machines: real ones, thrown away afterwards.
//!
//! A machine is an overlay over an image, a network namespace of its own (loopback only) and a
//! cgroup of its own, booted by systemd-nspawn. All three outlive the processes, so that a machine
//! can be killed like by a power switch and booted again over the same files. Dropping a [`Machine`]
//! removes everything of it, except when `NIXCTL_LAB_KEEP` is set; what a killed test process left
//! is swept away by the next one that boots something.

mod builder;
mod cgroup;
mod files;
mod layers;
mod power;
mod sweep;

use std::path::{Path, PathBuf};

pub use builder::Builder;
pub use cgroup::roots as cgroup_roots;
pub use sweep::{sweep, sweep_kept};

use crate::dist::Release;
use crate::error::Result;
use crate::exec::{Background, Output, Run};
use crate::image;
use crate::server::Server;

/// The search path of commands that run as root in a machine.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A throw-away machine. See [`Machine::builder`].
#[derive(Debug)]
pub struct Machine {
    name: String,
    kind: image::Kind,
    dir: PathBuf,
    layers: layers::Layers,
    cgroup: cgroup::Cgroup,
    arguments: Vec<String>,
    init: Option<String>,
    nspawn: Option<Background>,
    leader: Option<u32>,
}

impl Machine {
    /// Starts the description of a machine; [`Builder::boot`] boots it.
    ///
    /// ```no_run
    /// let machine = nixctl_lab::Machine::builder("example").boot()?;
    /// assert_eq!(machine.exec(&["id", "-un"])?.text(), "root");
    /// # Ok::<(), nixctl_lab::Error>(())
    /// ```
    #[must_use]
    pub fn builder(name: &str) -> Builder {
        Builder::new(name)
    }

    /// Its unique name, which is also its host name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which image it is laid over.
    #[must_use]
    pub fn kind(&self) -> image::Kind {
        self.kind
    }

    /// Its folder on the host, with `console.log` in it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its root file system as the host sees it: without what the machine itself mounted.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.layers.merged()
    }

    /// What the machine has written, as an overlay's upper layer.
    #[must_use]
    pub fn upper(&self) -> &Path {
        self.layers.upper()
    }

    /// The image's root, read-only.
    #[must_use]
    pub fn lower(&self) -> &Path {
        self.layers.lower()
    }

    /// The most bytes of memory that were in use at once since the boot, and how many processes were
    /// killed for want of it; none when the machine was built without a limit.
    #[must_use]
    pub fn memory(&self) -> Option<(u64, u64)> {
        self.cgroup.memory()
    }

    /// Host process ids of a service of the machine.
    #[must_use]
    pub fn processes(&self, unit: &str) -> Vec<u32> {
        self.cgroup.processes(unit)
    }

    /// Host process id of the machine's process 1; none while it is off.
    #[must_use]
    pub fn leader(&self) -> Option<u32> {
        self.leader
    }

    /// The machine's network namespace, as a file to enter it by.
    #[must_use]
    pub fn network(&self) -> PathBuf {
        self.dir.join("netns")
    }

    /// Runs a command as root to its end, with a clean environment and the usual deadline.
    pub fn exec<S: AsRef<str>>(&self, argv: &[S]) -> Result<Output> {
        self.command(argv).run()
    }

    /// Runs a shell script as root to its end.
    pub fn sh(&self, script: &str) -> Result<Output> {
        self.exec(&["sh", "-c", script])
    }

    /// Runs a shell command as this user, in a real login shell with a session.
    pub fn exec_as(&self, user: &str, command: &str) -> Result<Output> {
        self.command_as(user, command).run()
    }

    /// Starts a command as root in the background; it is killed when the handle is dropped.
    pub fn spawn<S: AsRef<str>>(&self, argv: &[S]) -> Result<Background> {
        self.command(argv).spawn()
    }

    /// A command as root, to be given a deadline, input or variables. In a machine that is off, it
    /// runs in a chroot over the machine's files.
    pub fn command<S: AsRef<str>>(&self, argv: &[S]) -> Run {
        let words: Vec<&str> = argv.iter().map(AsRef::as_ref).collect();
        let label = words.join(" ");
        let mut full = self.way_in();
        full.extend(words.iter().map(|&word| word.to_owned()));
        Run::new(&full)
            .label(&label)
            .clean_env()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .env("USER", "root")
            .env("LANG", "C.UTF-8")
            .env("TERM", "dumb")
    }

    /// A shell command as this user in a login shell; see [`Machine::command`].
    #[must_use]
    pub fn command_as(&self, user: &str, command: &str) -> Run {
        self.command(&["runuser", "--login", user, "--command", command])
            .label(command)
    }

    /// A shell command as this user in a login shell on a terminal of its own, for prompts,
    /// colours and progress bars. What it prints comes with `\r\n`.
    #[must_use]
    pub fn command_on_terminal(&self, user: &str, command: &str) -> Run {
        // `--command` would take the terminal away: it starts a session without one.
        let script = "exec runuser --login \"$LAB_USER\" --session-command \"$LAB_COMMAND\"";
        self.command(&[
            "script",
            "--quiet",
            "--return",
            "--command",
            script,
            "/dev/null",
        ])
        .label(command)
        .env("LAB_USER", user)
        .env("LAB_COMMAND", command)
        .env("TERM", "xterm-256color")
    }

    /// Processor time that the machine has used since it was booted.
    pub fn processor_time(&self) -> Result<std::time::Duration> {
        self.cgroup.processor_time()
    }

    /// The same of one of its units since that was started.
    pub fn processor_time_of(&self, unit: &str) -> Result<std::time::Duration> {
        self.cgroup.processor_time_of(unit)
    }

    /// The words that put a command into the machine: into its cgroup and all its namespaces.
    fn way_in(&self) -> Vec<String> {
        const ENTER: &str = "for file in $1; do echo 0 >\"$file\"; done; leader=$2; shift 2; \
                             exec nsenter --target \"$leader\" --all -- \"$@\"";
        match self.leader {
            Some(leader) => {
                let procs = self.cgroup.guests();
                ["sh", "-c", ENTER, "sh", &procs, &leader.to_string()]
                    .map(str::to_owned)
                    .to_vec()
            }
            None => vec![
                "chroot".to_owned(),
                self.root().to_string_lossy().into_owned(),
            ],
        }
    }

    /// Serves these releases on the machine's loopback, until the server is dropped.
    pub fn serve_releases(&self, releases: &[Release], port: u16) -> Result<Server> {
        let server = self.serve(port)?;
        for release in releases {
            server.add_release(release)?;
        }
        Ok(server)
    }

    /// Starts an empty server on the machine's loopback.
    pub fn serve(&self, port: u16) -> Result<Server> {
        Server::start(Some(&self.network()), port)
    }

    /// The journal since this boot, or the console's log where there is none.
    #[must_use]
    pub fn log(&self) -> String {
        let journal = self.exec(&[
            "journalctl",
            "--no-pager",
            "--boot",
            "--output=short-monotonic",
        ]);
        match journal {
            Ok(output) if output.success() => output.stdout,
            _ => std::fs::read_to_string(self.dir.join("console.log")).unwrap_or_default(),
        }
    }
}

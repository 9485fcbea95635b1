//! A world for tests of the product: a machine that nixctl is on, and a release server beside it.
//!
//! alice is in the group nixctl, bob is nobody in particular, carol is an administrator with a
//! password. The server on port 8080 has both releases of Nix and is the one trusted source.

mod build;
mod campaign;
mod fault;
pub mod fleet;
mod operation;
mod publisher;
pub(crate) mod trials;
mod warm;
mod without_hand;

use std::time::{Duration, Instant};

pub use build::SHELLS;
pub use campaign::{Victim, campaign};
pub use fault::{Disturbance, Fired};
pub use operation::{Failure, Operation};
pub use publisher::{FEED, FOLLOWS, Follow, Publisher};
pub use warm::{Stage, root};
pub use without_hand::taken_under_kills;

use crate::dist::{Release, Version, nix_release};
use crate::error::{Error, Result};
use crate::exec::{Background, Output, Run};
use crate::machine::Builder;
use crate::server::Server;
use crate::snapshot::{NOISE, Snapshot};
use crate::{Machine, product};

/// Port of the release server.
pub const PORT: u16 = 8080;
/// How long an install or uninstall may take. It takes a few seconds when nothing else runs.
pub const OPERATION: Duration = Duration::from_secs(180);
/// Where the programs lie that a fresh machine is installed from, as after a build.
pub const PROGRAMS: &str = "/opt/build";
/// What is trusted, and where versions come from.
pub const SETTINGS: &str = "[install]\n\
    trusted_sources = [\"http://127.0.0.1:8080/\"]\n\
    release_server = \"http://127.0.0.1:8080\"\n";
/// nixctl's own state and log, which it keeps when Nix goes.
pub const OWN_STATE: [&str; 1] = ["/var/lib/nixctl"];
/// What a build leaves in Nix's own folders, and no two builds leave the same. The pool has an empty
/// file for each build user that was ever used, which two builds at a time make two of, or one.
pub const NIX_TRACES: [&str; 5] = [
    "/nix/var/log",
    "/nix/var/nix/gcroots/auto",
    "/nix/var/nix/temproots",
    "/nix/var/nix/gc.lock",
    "/nix/var/nix/userpool",
];
/// How often an operation is asked for.
const TICK: Duration = Duration::from_millis(50);

/// A machine with nixctl, and its release server.
#[derive(Debug)]
pub struct World {
    /// The machine.
    pub machine: Machine,
    /// The server, for faults.
    pub server: Server,
    older: Release,
    newer: Release,
}

impl World {
    /// A machine on which the daemon runs and Nix is not installed.
    pub fn boot(name: &str) -> Result<Self> {
        Self::boot_with(name, Stage::Daemon, |builder| builder)
    }

    /// A machine on which Nix 2.26 is installed.
    pub fn boot_installed(name: &str) -> Result<Self> {
        Self::boot_with(name, Stage::Nix, |builder| builder)
    }

    /// The same at a stage, with changes to its description.
    pub fn boot_with(
        name: &str,
        stage: Stage,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self> {
        let root = root(stage)?;
        Self::around(change(Machine::builder(name).over(&root)).boot()?)
    }

    /// A fresh machine: nixctl's programs lie in [`PROGRAMS`], and that is all.
    pub fn boot_fresh(name: &str) -> Result<Self> {
        Self::around(with_programs(Machine::builder(name), PROGRAMS)?.boot()?)
    }

    /// A fresh container without init: nixctl's programs lie in /usr/local/bin.
    pub fn boot_container(name: &str) -> Result<Self> {
        Self::around(
            with_programs(Machine::builder(name).without_init(), "/usr/local/bin")?.boot()?,
        )
    }

    /// Puts a server with both releases beside a machine.
    pub fn around(machine: Machine) -> Result<Self> {
        let older = nix_release(Version::Nix226)?;
        let newer = nix_release(Version::Nix234)?;
        let server = machine.serve_releases(&[older.clone(), newer.clone()], PORT)?;
        Ok(Self {
            machine,
            server,
            older,
            newer,
        })
    }

    /// The machine without its server.
    #[must_use]
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// The older release, Nix 2.26.
    #[must_use]
    pub fn release(&self) -> &Release {
        &self.older
    }

    /// The newer release, Nix 2.34.
    #[must_use]
    pub fn newer(&self) -> &Release {
        &self.newer
    }

    /// The URL of the older release's tarball.
    #[must_use]
    pub fn source(&self) -> String {
        self.server.release_url(&self.older)
    }

    /// The command line that installs the older release.
    #[must_use]
    pub fn install_command(&self) -> String {
        format!("nixctl install --source {} --yes", self.source())
    }

    /// Runs a command as a user in a login shell, with time enough for an operation.
    pub fn run(&self, user: &str, command: &str) -> Result<Output> {
        self.machine
            .command_as(user, command)
            .deadline(OPERATION)
            .run()
    }

    /// Starts a command as a user in a login shell.
    pub fn start(&self, user: &str, command: &str) -> Result<Background> {
        self.machine.command_as(user, command).spawn()
    }

    /// alice installs the older release.
    pub fn install(&self) -> Result<Output> {
        self.run("alice", &self.install_command())
    }

    /// alice takes it off.
    pub fn uninstall(&self) -> Result<Output> {
        self.run("alice", "nixctl uninstall --yes")
    }

    /// What `nixctl COMMAND --json` prints, as one document.
    pub fn json(&self, command: &str) -> Result<serde_json::Value> {
        json(&self.machine, command)
    }

    /// All operations but those about the daemon itself, newest first.
    pub fn operations(&self) -> Result<Vec<Operation>> {
        Operation::all(&self.machine)
    }

    /// The newest operation, once it has ended; none when there was none.
    pub fn settled(&self, deadline: Duration) -> Result<Option<Operation>> {
        Operation::settled(&self.machine, deadline)
    }

    /// Waits until an operation is under way and has begun this many steps; returns it.
    pub fn under_way(&self, steps: u32) -> Result<Operation> {
        let until = Instant::now() + OPERATION;
        loop {
            let found = self.operations()?;
            match found.first() {
                Some(one) if one.state == "running" && one.step >= steps => {
                    return Ok(one.clone());
                }
                _ if Instant::now() < until => std::thread::sleep(TICK),
                _ => {
                    return Err(Error::new("see an operation running", format!("{found:?}")));
                }
            }
        }
    }

    /// Process id of the daemon in the machine; 0 when it does not run.
    pub fn daemon_pid(&self) -> Result<u32> {
        let show = [
            "systemctl",
            "show",
            "--property=MainPID",
            "--value",
            "nixctld",
        ];
        let text = self.machine.exec(&show)?.ok()?.text().to_owned();
        text.parse()
            .map_err(|why| Error::new(format!("read the pid `{text}`"), why))
    }

    /// What the daemon logged.
    #[must_use]
    pub fn daemon_log(&self) -> String {
        daemon_log(&self.machine)
    }

    /// The state of the machine without what every boot touches and nixctl's own state.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.snapshot_but(&[])
    }

    /// The same without more keys.
    pub fn snapshot_but(&self, ignore: &[&str]) -> Result<Snapshot> {
        let list: Vec<&str> = NOISE
            .iter()
            .chain(&OWN_STATE)
            .chain(&NIX_TRACES)
            .chain(ignore)
            .copied()
            .collect();
        Snapshot::take(&self.machine, &list)
    }
}

/// What the daemon of a machine logged since it was booted.
#[must_use]
pub fn daemon_log(machine: &Machine) -> String {
    let argv = [
        "journalctl",
        "--no-pager",
        "--boot",
        "--unit=nixctld",
        "--output=short-monotonic",
    ];
    let output = machine.exec(&argv);
    output.map(|output| output.stdout).unwrap_or_default()
}

/// What changed from one snapshot to a later one, a line each.
#[must_use]
pub fn changes(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    before.diff(after).iter().map(ToString::to_string).collect()
}

/// Installs the daemon on a machine that has the programs, and sets it up as every world is.
pub fn install_daemon(machine: &Machine) -> Result<Output> {
    machine.write_file("/etc/nixctl/config.toml", SETTINGS, 0o644)?;
    let output = daemon_install(machine).run()?.ok()?;
    machine
        .exec(&["usermod", "--append", "--groups", "nixctl", "alice"])?
        .ok()?;
    Ok(output)
}

fn daemon_install(machine: &Machine) -> Run {
    machine
        .command(&[&*format!("{PROGRAMS}/nixctl"), "daemon", "install", "--yes"])
        .deadline(OPERATION)
}

fn with_programs(builder: Builder, folder: &str) -> Result<Builder> {
    let product = product::built().ok_or_else(|| Error::new("use nixctl", "it is not built"))?;
    Ok(product.put_in(builder, folder))
}

/// What `nixctl COMMAND --json` prints, as one document.
pub fn json(machine: &Machine, command: &str) -> Result<serde_json::Value> {
    // Without a login, which costs more than the question when it is asked again and again.
    let words = format!("nixctl {command} --json");
    let words: Vec<&str> = words.split_whitespace().collect();
    let output = machine.command(&words).deadline(OPERATION).run()?;
    parse(&output.ok()?.stdout)
}

fn parse<T: serde::de::DeserializeOwned>(text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|why| Error::new(format!("read the JSON {text}"), why))
}

//! A machine that damage is done to, and the looks at it that know nothing of nixctl.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use super::ground::Healthy;
use super::{Builds, Damage, Shows};
use crate::World;
use crate::error::{Error, Result};
use crate::exec::Output;
use crate::generation::Disk;
use crate::snapshot::Snapshot;

/// Words for the scripts.
const WORDS: &str = include_str!("prelude.sh");
/// What builds leave in a store that lies elsewhere and is bound to /nix.
const BOUND: [&str; 6] = [
    "/srv/nix/var/log",
    "/srv/nix/var/nix/db",
    "/srv/nix/var/nix/gcroots/auto",
    "/srv/nix/var/nix/temproots",
    "/srv/nix/var/nix/gc.lock",
    "/srv/nix/var/nix/userpool",
];
/// How long a build may take in the machine. It takes a second; a daemon that hangs takes for ever.
const BUILD_SECONDS: u32 = 20;
/// A drop-in under which nixctld does not start.
const ASLEEP: &str = "mkdir -p $units/nixctld.service.d
    printf '[Unit]\\nConditionPathExists=/nowhere\\n' >$units/nixctld.service.d/asleep.conf
    systemctl daemon-reload; systemctl stop nixctld.socket nixctld.service";
/// It goes again.
const AWAKE: &str = "rm $units/nixctld.service.d/asleep.conf
    rmdir --ignore-fail-on-non-empty $units/nixctld.service.d; systemctl daemon-reload
    systemctl start nixctld.service";
/// How long a script may take.
const SCRIPT: Duration = Duration::from_secs(120);

/// A machine, with the release server beside it.
#[derive(Debug)]
pub struct Patient {
    /// The machine and the server.
    pub world: World,
    disk: Option<Disk>,
    builds: Cell<u32>,
}

impl Patient {
    /// A machine just like a healthy one, booted.
    pub fn admit(healthy: &Healthy) -> Result<Self> {
        let (mut machine, disk) = healthy.copy()?;
        machine.boot_again()?;
        Ok(Self {
            world: World::around(machine)?,
            disk,
            builds: Cell::new(0),
        })
    }

    /// nixctld stops, and is not started by anything, boots included: nothing is repaired.
    pub fn without_daemon(&self) -> Result<()> {
        self.script(ASLEEP)?.ok().map(drop)
    }

    /// nixctld is started again.
    pub fn with_daemon(&self) -> Result<()> {
        self.script(AWAKE)?.ok().map(drop)
    }

    /// The same without waiting for it, which may be told to stand still as soon as it has begun.
    pub fn wake(&self) -> Result<()> {
        let lines = AWAKE.replace("systemctl start", "systemctl start --no-block");
        self.script(&lines)?.ok().map(drop)
    }

    /// Does the damage, and boots when it shows only then.
    pub fn make(&mut self, damage: &Damage) -> Result<()> {
        self.script(&format!("set -eu\n{}", damage.make))?.ok()?;
        if damage.shows == Shows::AfterReboot {
            self.world.machine.reboot()?;
        }
        Ok(())
    }

    /// Whether the damage is there.
    pub fn has(&self, damage: &Damage) -> Result<bool> {
        let output = self.script(damage.there)?;
        match output.status {
            0 => Ok(true),
            // The shell's own: a word that it does not know is no answer.
            2 | 126.. => Err(Error::new(
                format!("look for {}", damage.name),
                format!("{output:?}"),
            )),
            _ => Ok(false),
        }
    }

    /// Whether a user can build.
    pub fn can_build(&self, user: &str) -> Result<bool> {
        let number = self.builds.get() + 1;
        self.builds.set(number);
        let name = format!("look-{number}");
        let command = format!(
            "cd /; timeout --signal=KILL {BUILD_SECONDS} nix-build --no-out-link \
             --option substitute false --argstr name {name} /var/tmp/look.nix"
        );
        let output = self.world.run(user, &command)?;
        Ok(output.success() && output.text().ends_with(&format!("-{name}")))
    }

    /// What is wrong with what builds, while it should be so.
    pub fn builds_otherwise(&self, builds: Builds) -> Result<Vec<String>> {
        let (root, users) = match builds {
            Builds::Everybody => (true, true),
            Builds::Root => (true, false),
            Builds::Nobody => (false, false),
            Builds::Untold => return Ok(Vec::new()),
        };
        let mut wrong = Vec::new();
        for (user, expected) in [("alice", users), ("root", root)] {
            if self.can_build(user)? != expected {
                let how = if expected { "cannot" } else { "can" };
                wrong.push(format!("{user} {how} build"));
            }
        }
        Ok(wrong)
    }

    /// The state of the machine, without these keys and what builds leave.
    pub fn snapshot(&self, ignore: &[&str]) -> Result<Snapshot> {
        let list: Vec<&str> = BOUND.iter().chain(ignore).copied().collect();
        self.world.snapshot_but(&list)
    }

    /// What is in a store on a disk of its own, which no snapshot sees; nothing where there is none.
    pub fn listing(&self) -> Result<BTreeSet<String>> {
        if self.disk.is_none() {
            return Ok(BTreeSet::new());
        }
        let output = self.script("listing")?.ok()?;
        Ok(output.stdout.lines().map(str::to_owned).collect())
    }

    /// What these files are, byte for byte.
    pub fn files(&self, paths: &[&str]) -> Result<String> {
        if paths.is_empty() {
            return Ok(String::new());
        }
        let list = paths.join(" ");
        let script = format!("stat --format '%n %F %u %g %a' {list}; sha256sum {list}");
        Ok(self.script(&script)?.stdout)
    }

    /// Runs shell lines as root, with the words that all scripts have.
    pub fn script(&self, lines: &str) -> Result<Output> {
        let whole = format!("{WORDS}\n{lines}");
        let newer = self.world.server.release_url(self.world.newer());
        self.world
            .machine
            .command(&["sh", "-c", &whole])
            .label(lines)
            .env("NEWER", &newer)
            .deadline(SCRIPT)
            .run()
    }
}

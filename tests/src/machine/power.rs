//! Switching a machine on and off: boot, clean reboot and power-off, and the hard kill.

use std::fs;
use std::time::{Duration, Instant};

use super::{Machine, layers};
use crate::error::{Error, Result};
use crate::exec::{Run, children};
use crate::image;

/// How long a boot may take. A machine settles within a second or two when nothing else runs.
const BOOT_DEADLINE: Duration = Duration::from_secs(90);
/// How long a clean shutdown may take: systemd's own limit for a unit that does not stop, and some.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(120);
/// How often a booting machine is asked.
const TICK: Duration = Duration::from_millis(20);
/// systemd-nspawn's exit status when the machine asked for a reboot.
const REBOOT_STATUS: i32 = 133;
/// Enters the cgroups, then becomes systemd-nspawn.
const START: &str = "for file in $CGROUPS; do echo 0 >\"$file\"; done; log=$1; shift; \
                     exec systemd-nspawn \"$@\" </dev/null >>\"$log\" 2>&1";

impl Machine {
    /// Boots a machine that is off, over the files it had, and waits until systemd has settled.
    pub fn boot_again(&mut self) -> Result<()> {
        self.start()?;
        self.wait_until_settled(BOOT_DEADLINE)
    }

    /// Starts a machine that is off and returns as soon as commands can be run in it.
    pub fn start(&mut self) -> Result<()> {
        if self.is_running() {
            return Err(Error::new(format!("boot {}", self.name), "it is running"));
        }
        let log = self.dir.join("console.log");
        let network = format!("--network-namespace-path={}", self.network().display());
        let root = self.root().display().to_string();
        let mut argv: Vec<&str> = vec!["sh", "-c", START, "sh"];
        let log = log.display().to_string();
        argv.extend([
            log.as_str(),
            "--quiet",
            "--directory",
            &root,
            "--machine",
            &self.name,
        ]);
        argv.extend([
            "--register=no",
            "--keep-unit",
            "--resolv-conf=off",
            "--timezone=off",
        ]);
        argv.extend(["--link-journal=no", &network]);
        argv.extend(self.arguments.iter().map(String::as_str));
        match (&self.init, self.kind) {
            (Some(program), _) => argv.extend(["--", program]),
            (None, image::Kind::System) => argv.push("--boot"),
            (None, image::Kind::Container) => argv.extend(["--", "sleep", "infinity"]),
        }
        self.cgroup.renew()?;
        let nspawn = Run::new(&argv)
            .label("systemd-nspawn")
            .env("CGROUPS", &self.cgroup.entrances())
            .env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1")
            .spawn()?;
        let supervisor = nspawn.pid();
        self.nspawn = Some(nspawn);
        let until = Instant::now() + BOOT_DEADLINE;
        loop {
            if let Some(leader) = children(supervisor).into_iter().find(|&id| is_leader(id)) {
                self.leader = Some(leader);
                return Ok(());
            }
            if !self.is_running() || Instant::now() > until {
                let console = self.console();
                self.kill_hard()?;
                return Err(Error::new(format!("boot {}", self.name), console));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until systemd says `running` or `degraded`; a machine without init is settled at once.
    pub fn wait_until_settled(&mut self, deadline: Duration) -> Result<()> {
        if self.kind == image::Kind::Container {
            return Ok(());
        }
        let until = Instant::now() + deadline;
        loop {
            // It waits by itself once systemd answers at all.
            let left = until.saturating_duration_since(Instant::now());
            let asked = self
                .command(&["systemctl", "is-system-running", "--wait"])
                .deadline(left.max(TICK))
                .run();
            let state = match asked {
                Err(Error::Timeout { .. }) => "no answer".to_owned(),
                answer => answer?.text().to_owned(),
            };
            if ["running", "degraded"].contains(&state.as_str()) {
                return Ok(());
            }
            if !self.is_running() {
                let console = self.console();
                return Err(Error::new(format!("boot {}", self.name), console));
            }
            if Instant::now() > until {
                let what = format!("the boot of {} (now `{state}`)", self.name);
                return Err(Error::Timeout {
                    what,
                    deadline,
                    output: self.console(),
                });
            }
            std::thread::sleep(TICK);
        }
    }

    /// True while the machine is on.
    pub fn is_running(&mut self) -> bool {
        self.nspawn
            .as_mut()
            .is_some_and(|nspawn| nspawn.is_running())
    }

    /// Ends the machine like a power switch: every process at once, no shutdown. What it had
    /// written stays (the kernel's cache is the host's; for lost writes see the block-device lab).
    pub fn kill_hard(&mut self) -> Result<()> {
        self.cgroup.kill()?;
        self.leader = None;
        self.nspawn = None;
        Ok(())
    }

    /// Reboots cleanly and waits until systemd has settled again.
    pub fn reboot(&mut self) -> Result<()> {
        let status = self.shut_down("reboot")?;
        if status != REBOOT_STATUS {
            let why = format!("systemd-nspawn ended with {status}");
            return Err(Error::new(format!("reboot {}", self.name), why));
        }
        self.boot_again()
    }

    /// Powers off cleanly.
    pub fn power_off(&mut self) -> Result<()> {
        self.shut_down("poweroff").map(drop)
    }

    /// Waits until a machine that is going down by itself is off, and returns systemd-nspawn's
    /// exit status: 133 when it wants to be booted again.
    pub fn wait_until_off(&mut self, deadline: Duration) -> Result<i32> {
        let Some(nspawn) = self.nspawn.take() else {
            return Ok(0);
        };
        let status = nspawn.wait(deadline).map(|output| output.status);
        self.kill_hard()?;
        status
    }

    fn shut_down(&mut self, verb: &str) -> Result<i32> {
        if self.kind == image::Kind::Container {
            self.kill_hard()?;
            return Ok(REBOOT_STATUS);
        }
        // The command may be killed by the very shutdown it asks for.
        self.exec(&["systemctl", "--no-block", verb])?;
        self.wait_until_off(SHUTDOWN_DEADLINE)
    }

    fn console(&self) -> String {
        let text = fs::read(self.dir.join("console.log")).unwrap_or_default();
        let start = text.len().saturating_sub(4000);
        String::from_utf8_lossy(&text[start..]).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::env::var_os("NIXCTL_LAB_KEEP").is_some() {
            let _ = fs::write(self.dir.join("keep"), "");
            eprintln!(
                "lab: kept {} (`cargo lab clean` removes it)",
                self.dir.display()
            );
        }
        if let Err(error) = self.kill_hard() {
            eprintln!("lab: {error}");
        }
        if !self.dir.join("keep").exists() {
            remove(&self.name, &self.dir);
        }
    }
}

/// Removes what a machine that is off has left on the host.
pub(super) fn remove(name: &str, dir: &std::path::Path) {
    super::cgroup::Cgroup::named(name).remove();
    layers::unmount(dir);
    let _ = fs::remove_dir_all(format!("/run/systemd/nspawn/propagate/{name}"));
    if let Err(error) = crate::paths::remove_tree(dir) {
        eprintln!("lab: {error}");
    }
}

/// True for the machine's process 1 once it runs the machine's own program.
fn is_leader(id: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let first = status
        .lines()
        .any(|line| line.starts_with("NSpid:") && line.split_whitespace().last() == Some("1"));
    let program = fs::read_link(format!("/proc/{id}/exe"));
    first && program.is_ok_and(|path| !path.ends_with("systemd-nspawn"))
}

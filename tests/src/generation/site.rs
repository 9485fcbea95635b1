//! A machine that runs a generation under nixctl, beside a server that has what it may switch to.

use std::time::Duration;

use super::watch::{self, Peaks};
use super::{Disk, FileSystem, Generation, Host, Start};
use crate::error::{Error, Result};
use crate::exec::{Output, Run};
use crate::machine::Builder;
use crate::server::Server;
use crate::world;

/// Port of the binary cache.
const PORT: u16 = 8090;
/// How long a switch may take.
pub const SWITCH: Duration = Duration::from_secs(240);
/// Bytes that the settings of a site keep free.
pub const RESERVE: u64 = 16 << 20;

/// What of a machine a switch moves.
const MOVED: &str = "ls /nix/store | grep -v '^\\.links$'; \
    ls -l --time-style=+ /nix/var/nix/profiles /boot/loader/entries; \
    ls -R /nix/var/nix/gcroots; readlink -f /run/current-system; cat /boot/loader/loader.conf; \
    systemctl list-units --state=active --plain --no-legend --type=service | cut -d' ' -f1 | \
    grep -v '^nixctld'";
/// What the programs of activations logged.
const ACTIVATIONS: &str = "journalctl --no-pager --boot --output=short-monotonic --unit='nixctl-*'";

/// Seconds that a result is watched for.
const SOAK: u64 = 3;

/// A machine with its caches.
#[derive(Debug)]
pub struct Site {
    /// The machine and its disk.
    pub host: Host,
    /// The server of the binary cache.
    pub server: Server,
}

/// Bytes of the file that Nix keeps free for its database.
const RESERVED: u64 = 8 << 20;

/// Size in MiB of a disk on which generations may take so many bytes, beside Nix, the reserve and
/// what the file system needs for itself.
pub fn disk_for(generations: u64) -> Result<u64> {
    let root = world::root(world::Stage::Nix)?;
    let nix = root.join("nix").to_string_lossy().into_owned();
    // Nix keeps it free for its database, and makes it when it pleases.
    let but = "--exclude=reserved";
    let text = Run::new(&["du", "--summarize", "--block-size=1", but, &nix]).run()?;
    let text = text.ok()?.stdout;
    let nix: u64 = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or_else(|| Error::new("read du", text.clone()))?;
    // An ext4 keeps about 6 % for its tables and its journal.
    let all = (generations + nix + RESERVED + RESERVE) * 106 / 100;
    Ok((all >> 20) + 24)
}

impl Site {
    /// A machine that runs the first of these generations, with a disk of so many MiB; all of them
    /// are in the cache, and its key is trusted.
    pub fn boot(name: &str, mib: u64, generations: &[&Generation]) -> Result<Self> {
        Self::boot_with(name, mib, generations, |builder| builder)
    }

    /// The same with changes to the machine.
    pub fn boot_with(
        name: &str,
        mib: u64,
        generations: &[&Generation],
        change: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self> {
        let Some(first) = generations.first() else {
            return Err(Error::new("boot a site", "no generation is named"));
        };
        let disk = Disk::new(mib, FileSystem::Ext4)?;
        let host = Host::boot(name, first, disk, Start::Nixctl, change)?;
        let site = Self::beside(host, generations)?;
        // Nobody else answers, and Nix would try for five seconds each time.
        let text = format!(
            "substituters =\nextra-trusted-public-keys = {}\n",
            first.public_key
        );
        let machine = &site.host.machine;
        machine.write_file("/etc/nix/nix.custom.conf", text, 0o644)?;
        site.configure("")?;
        Ok(site)
    }

    /// The cache with these generations beside a machine.
    pub fn beside(host: Host, generations: &[&Generation]) -> Result<Self> {
        let server = host.machine.serve(PORT)?;
        for generation in generations {
            server.put_folder("/cache", &generation.signed_cache);
        }
        Ok(Self { host, server })
    }

    /// Settings of switches beside those that all sites have; the daemon takes them at once.
    pub fn configure(&self, more: &str) -> Result<()> {
        self.configure_soak(SOAK, more)
    }

    /// The same, with the seconds that a result is watched for.
    pub fn configure_soak(&self, seconds: u64, more: &str) -> Result<()> {
        let text = format!("[switch]\nreserve_bytes = {RESERVE}\nsoak_seconds = {seconds}\n{more}");
        let machine = &self.host.machine;
        machine
            .exec(&["mkdir", "-p", "/etc/nixctl/config.d"])?
            .ok()?;
        machine.write_file("/etc/nixctl/config.d/switch.toml", text, 0o644)?;
        let restart = ["systemctl", "restart", "nixctld.service"];
        machine.exec(&restart)?.ok().map(drop)
    }

    /// The cache's URL.
    #[must_use]
    pub fn cache(&self) -> String {
        format!("{}/cache", self.server.url())
    }

    /// Runs `nixctl` with these words as root.
    pub fn nixctl(&self, words: &str) -> Result<Output> {
        let words = format!("nixctl {words}");
        let words: Vec<&str> = words.split_whitespace().collect();
        let run = self.host.machine.command(&words);
        run.deadline(SWITCH).run()
    }

    /// `nixctl switch` to a generation of the cache, with more words.
    pub fn switch(&self, to: &Generation, more: &str) -> Result<Output> {
        let cache = self.cache();
        self.nixctl(&format!("switch {} --from {cache} {more}", to.toplevel))
    }

    /// Runs a script with the generation's programs; what it prints.
    pub fn sh(&self, script: &str) -> Result<String> {
        let script = format!("PATH=/run/current-system/sw/bin:$PATH; {script}");
        let output = self.host.machine.sh(&script)?.ok()?;
        Ok(output.text().to_owned())
    }

    /// Everything of the machine that a switch moves, to be compared.
    pub fn look(&self) -> Result<String> {
        self.sh(MOVED)
    }

    /// That a command ended with this status; prints everything when not.
    pub fn ended(&self, output: &Output, status: i32) -> Result<()> {
        println!("{}{}", output.stdout, output.stderr);
        if output.status == status {
            return Ok(());
        }
        let activations = self.host.machine.sh(ACTIVATIONS)?.stdout;
        println!("{}\n{activations}", self.daemon_log());
        let why = format!("its status is {}, not {status}", output.status);
        Err(Error::new("accept how a command ended", why))
    }

    /// What the daemon logged since it was booted.
    #[must_use]
    pub fn daemon_log(&self) -> String {
        world::daemon_log(&self.host.machine)
    }

    /// Runs `work` and tells beside its result the most bytes that were in use on /nix, and by the
    /// daemon.
    pub fn peaks<T>(&self, work: impl FnOnce() -> T) -> Result<(T, Peaks)> {
        watch::peaks(&self.host.machine, work)
    }
}

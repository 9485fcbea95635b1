//! Several machines of one fleet: each with nixctl and a Nix, all with the same FleetLock server.
//!
//! The server listens in each machine's network. What takes effect on a machine is seen at the link
//! of Nix's profile, by the same clock as the server's journal has: so a test can tell whether a
//! machine had its turn then.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{Operation, Stage, World, daemon_log, root};
use crate::error::{Error, Result};
use crate::exec::Background;
use crate::server::{Event, FleetLock, Happened};
use crate::{Machine, paths};

/// Port of the FleetLock server in each machine.
const PORT: u16 = 3333;
/// The group of all machines.
pub const GROUP: &str = "lab";
/// How a machine's name at the server is made from its id; the product has the same number.
const APP: &str = "3d3713bc79db4513874e0b3803d728f5";
/// The link that leads to another Nix when an upgrade takes effect.
const PROFILE: &str = "nix/var/nix/profiles/nixctl";
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// How often machines are asked how they are.
const TICK: Duration = Duration::from_millis(250);

/// Machines and their server.
#[derive(Debug)]
pub struct Fleet {
    /// The machines.
    pub worlds: Vec<World>,
    /// The server, which has one slot for all of them.
    pub server: FleetLock,
}

/// That another Nix took effect on a machine.
#[derive(Debug, Clone, Copy)]
pub struct Effect {
    /// Which machine.
    pub machine: usize,
    /// When.
    pub at: Instant,
}

impl Fleet {
    /// Boots so many machines at once, each with an id of its own, Nix 2.26 and these settings more.
    pub fn boot(name: &str, count: usize, settings: &str) -> Result<Self> {
        let root = root(Stage::Nix)?;
        let worlds = std::thread::scope(|scope| {
            let boot = |number| boot(&format!("{name}-{number}"), &root, settings);
            let machines: Vec<_> = (0..count).map(|it| scope.spawn(move || boot(it))).collect();
            let booted = machines.into_iter().map(|it| {
                it.join()
                    .unwrap_or_else(|_| Err(Error::new("boot a fleet", "a panic, see above")))
            });
            booted.collect::<Result<Vec<_>>>()
        })?;
        let network = |world: &World| world.machine.network();
        let first = worlds.first().map(network);
        let mut server = FleetLock::start(first.as_deref(), PORT, 1)?;
        for world in worlds.iter().skip(1) {
            server.listen(Some(&network(world)), PORT)?;
        }
        Ok(Self { worlds, server })
    }

    /// What a machine calls itself at the server.
    pub fn id(&self, machine: usize) -> Result<String> {
        id(&self.worlds[machine].machine)
    }

    /// Starts a command of alice in a machine.
    pub fn start(&self, machine: usize, command: &str) -> Result<Background> {
        self.worlds[machine].start("alice", command)
    }

    /// Has an operation begun in a machine by the same command, and returns when it is known there.
    pub fn begin(&self, machine: usize, command: &str) -> Result<()> {
        let command = format!("{command} --no-wait");
        let output = self.worlds[machine].run("alice", &command)?;
        output.ok().map(drop)
    }

    /// The machines that have a slot now.
    #[must_use]
    pub fn holders(&self) -> BTreeSet<String> {
        self.server.holders(GROUP)
    }

    /// Has the newest operation of each machine try again whenever it waits for its turn, until all of
    /// those that are named have ended; how they ended. Otherwise a machine waits longer each time.
    pub fn settled(&self, machines: &[usize], deadline: Duration) -> Result<Vec<Operation>> {
        let until = Instant::now() + deadline;
        loop {
            let newest = machines.iter().map(|&it| newest(&self.worlds[it].machine));
            let newest: Vec<_> = newest.collect();
            let ended = |it: &Option<Operation>| it.as_ref().is_some_and(Operation::is_final);
            if newest.iter().all(ended) {
                return Ok(newest.into_iter().flatten().collect());
            }
            for (&machine, operation) in machines.iter().zip(&newest) {
                let waits = operation.as_ref().filter(|it| it.state == "waiting");
                waits.map_or(Ok(()), |it| self.retry(machine, it))?;
            }
            if Instant::now() > until {
                let logs = self.worlds.iter().map(|it| daemon_log(&it.machine));
                return Err(Error::Timeout {
                    what: "waiting for the fleet".to_owned(),
                    deadline,
                    output: format!("{newest:?}\n{}", logs.collect::<Vec<_>>().join("\n---\n")),
                });
            }
            std::thread::sleep(TICK);
        }
    }

    /// Has an operation that waits try again now.
    pub fn retry(&self, machine: usize, operation: &Operation) -> Result<()> {
        let argv = ["nixctl", "retry", &operation.id, "--no-wait"];
        // It may have gone on by itself meanwhile.
        self.worlds[machine].machine.exec(&argv).map(drop)
    }

    /// Waits until the newest operation of a machine waits for its turn; it.
    pub fn waits(&self, machine: usize, deadline: Duration) -> Result<Operation> {
        waits(&self.worlds[machine].machine, deadline)
    }

    /// Runs `work` and tells beside its result where another Nix took effect meanwhile, and when.
    pub fn effects<T>(&self, work: impl FnOnce() -> T) -> (T, Vec<Effect>) {
        let is_over = AtomicBool::new(false);
        let links: Vec<PathBuf> = self.worlds.iter().map(profile).collect();
        std::thread::scope(|scope| {
            let watching = scope.spawn(|| watch(&links, &is_over));
            let result = {
                let _ends = Ends(&is_over);
                work()
            };
            (result, watching.join().unwrap_or_default())
        })
    }
}

/// The machines of a journal that had a slot at a moment.
#[must_use]
pub fn holders_at(journal: &[Event], at: Instant) -> BTreeSet<&str> {
    let mut holders = BTreeSet::new();
    for event in journal.iter().take_while(|event| event.at <= at) {
        match event.happened {
            Happened::Locked => drop(holders.insert(event.id.as_str())),
            Happened::Unlocked => drop(holders.remove(event.id.as_str())),
            _ => {}
        }
    }
    holders
}

/// Settings of a machine of the fleet.
#[must_use]
pub fn settings(url: &str) -> String {
    format!("[upgrade]\nfleet_lock_url = \"{url}\"\nfleet_lock_group = \"{GROUP}\"\n")
}

/// What a machine calls itself at the server.
pub fn id(machine: &Machine) -> Result<String> {
    let app = format!("--app-specific={APP}");
    let output = machine.exec(&["systemd-id128", "machine-id", &app])?;
    Ok(output.ok()?.text().to_owned())
}

/// Waits until the newest operation of a machine waits for its turn; it.
pub fn waits(machine: &Machine, deadline: Duration) -> Result<Operation> {
    let waits = |it: &Operation| {
        let reason = it.waiting_for.as_deref().unwrap_or_default();
        it.state == "waiting" && reason.contains("not this machine's turn")
    };
    let all = Operation::until(machine, deadline, |all| all.first().is_some_and(waits))?;
    let newest = all.into_iter().next();
    newest.ok_or_else(|| Error::new("wait", "there is no operation"))
}

fn boot(name: &str, root: &std::path::Path, settings: &str) -> Result<World> {
    let mut machine = Machine::builder(name).over(root).create()?;
    // The root has that of the machine that it was made on.
    let halves = ["a", "b"].map(|half| paths::key(&[machine.name(), half]));
    machine.write_file("/etc/machine-id", halves.concat() + "\n", 0o444)?;
    let url = format!("http://127.0.0.1:{PORT}");
    let text = self::settings(&url) + settings;
    machine.write_file("/etc/nixctl/config.d/fleet.toml", text, 0o644)?;
    machine.boot_again()?;
    World::around(machine)
}

fn newest(machine: &Machine) -> Option<Operation> {
    Operation::all(machine).ok()?.into_iter().next()
}

fn profile(world: &World) -> PathBuf {
    world.machine.root().join(PROFILE)
}

/// Ends the watching however the work ends: a test that fails is not to hang.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn watch(links: &[PathBuf], is_over: &AtomicBool) -> Vec<Effect> {
    let look = || links.iter().map(|link| std::fs::read_link(link).ok());
    let mut known: Vec<_> = look().collect();
    let mut effects = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(LOOK);
        let at = Instant::now();
        for (machine, now) in look().enumerate() {
            if now != known[machine] {
                known[machine] = now;
                effects.push(Effect { machine, at });
            }
        }
    }
    effects
}

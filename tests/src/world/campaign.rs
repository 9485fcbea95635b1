//! Kill campaigns: the same operation again and again, disturbed at another commit each time.
//!
//! Every trial is on a fresh machine. Afterwards the machine must equal one that was never
//! disturbed, or one on which nothing was ever done, and the operation's state must say which.

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::trials::{self, Verdict};
use super::{Disturbance, Fired, OPERATION, Stage, World, changes};
use crate::dist::Neighbour;
use crate::error::Result;
use crate::paths::hex;
use crate::snapshot::Snapshot;

/// How long an interrupted operation may take to end by itself.
const RECOVERY: Duration = Duration::from_secs(180);
/// Starts the daemon again at once. Most of a trial's time would be the pause before that, which
/// says nothing about what is found afterwards.
pub(super) const AT_ONCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/files/restart-at-once.conf");
/// Where it goes.
pub(super) const DROP_IN: &str = "/etc/systemd/system/nixctld.service.d/lab.conf";

/// The operation that is disturbed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// alice installs Nix.
    Install,
    /// alice takes it off.
    Uninstall,
    /// alice replaces it by the newer one.
    Upgrade,
    /// alice replaces nixctl itself by the version after it.
    SelfUpgrade,
}

/// What an undisturbed machine is like before and after.
#[derive(Debug)]
struct Reference {
    before: Snapshot,
    after: Snapshot,
    first: u64,
    last: u64,
    /// Of these, the commits up to this one are of the version before; the others are of the one after,
    /// counted on.
    hands_over: Option<u64>,
}

/// What became of one trial.
#[derive(Debug)]
struct Trial {
    fired: Fired,
    state: String,
    client: i32,
    problems: Vec<String>,
}

/// Disturbs an operation at every commit, or at a few that change from day to day. An error names
/// every commit after which the machine was not as it should be.
pub fn campaign(victim: Victim, how: Disturbance) -> Result<()> {
    let reference = Reference::make(victim)?;
    let name = format!("{victim:?} under {how:?}");
    let commits = trials::choose(reference.first, reference.last);
    trials::run(&name, "commit", &commits, |commit| {
        let trial = reference.trial(victim, how, commit)?;
        Ok(Verdict {
            words: trial.to_string(),
            problems: trial.problems,
        })
    })
}

impl std::fmt::Display for Trial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let fired = match self.fired {
            Fired::Yes => "disturbed",
            Fired::No => "not disturbed",
        };
        write!(f, "{fired}, {}, client {}", self.state, self.client)
    }
}

impl Victim {
    fn stage(self) -> Stage {
        match self {
            Self::Install => Stage::Daemon,
            Self::Uninstall | Self::Upgrade | Self::SelfUpgrade => Stage::Nix,
        }
    }

    fn command(self, world: &World) -> String {
        match self {
            Self::Install => world.install_command(),
            Self::Uninstall => "nixctl uninstall --yes".to_owned(),
            Self::Upgrade => format!("nixctl upgrade --to {} --yes", world.newer().version),
            Self::SelfUpgrade => format!(
                "nixctl daemon upgrade --source {}/{} --yes",
                world.server.url(),
                Neighbour::next().archive()
            ),
        }
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Install => "install",
            Self::Uninstall => "uninstall",
            Self::Upgrade => "upgrade",
            Self::SelfUpgrade => "self-upgrade",
        }
    }

    /// Whether Nix works before it, and after it.
    fn works(self) -> (bool, bool) {
        match self {
            Self::Install => (false, true),
            Self::Uninstall => (true, false),
            Self::Upgrade | Self::SelfUpgrade => (true, true),
        }
    }

    fn boot(self) -> Result<World> {
        let name = format!("campaign-{}", self.kind());
        let world = World::boot_with(&name, self.stage(), |builder| {
            if crate::full() {
                builder.file(Path::new(AT_ONCE), DROP_IN, 0o644)
            } else {
                // A few trials are with the unit as it is shipped.
                builder
            }
        })?;
        if self == Self::SelfUpgrade {
            // The same bytes each time: their hash is in the name of a folder.
            static NEXT: OnceLock<Vec<u8>> = OnceLock::new();
            let next = Neighbour::next();
            let bytes = match NEXT.get() {
                Some(bytes) => bytes,
                None => {
                    let packed = next.pack()?;
                    NEXT.get_or_init(|| packed)
                }
            };
            let sum = hex(&Sha256::digest(bytes));
            let path = format!("/{}", next.archive());
            world.server.put(&path, bytes.clone());
            world.server.put(&format!("{path}.sha256"), sum);
        }
        Ok(world)
    }
}

impl Reference {
    fn make(victim: Victim) -> Result<Self> {
        let world = victim.boot()?;
        let (works_before, works_after) = victim.works();
        let before = look(&world, works_before)?;
        world.machine.count_commits()?;
        // Something that makes no commit, so that the count so far is only what the start made.
        world.run("alice", &victim.command(&world))?.ok()?;
        let mut last = world.machine.commits()?;
        let mut hands_over = None;
        if victim == Victim::SelfUpgrade {
            let own = world.machine.commits_of(env!("CARGO_PKG_VERSION"))?;
            last += own;
            hands_over = Some(own);
        }
        let after = look(&world, works_after)?;
        // Commit 1 opens the database; what comes before the operation is not worth a trial.
        Ok(Self {
            before,
            after,
            first: 2,
            last,
            hands_over,
        })
    }

    fn trial(&self, victim: Victim, how: Disturbance, commit: u64) -> Result<Trial> {
        let mut world = victim.boot()?;
        let earlier: Vec<String> = world.operations()?.into_iter().map(|one| one.id).collect();
        match self.hands_over.filter(|own| commit > *own) {
            Some(own) => {
                let version = Neighbour::next().version;
                let commit = commit - own;
                world.machine.disturb_version(how, commit, &version)?;
            }
            None => world.machine.disturb(how, commit)?,
        }
        let mut client = world.start("alice", &victim.command(&world))?;
        let (fired, client) = match how {
            Disturbance::PowerCut => {
                let fired = world
                    .machine
                    .wait_until_fired(OPERATION, || !client.is_running())?;
                if fired == Fired::Yes {
                    client.kill();
                    how.come_back(&mut world.machine)?;
                }
                (fired, 0)
            }
            Disturbance::Term => {
                let fired = world
                    .machine
                    .wait_until_fired(OPERATION, || !client.is_running())?;
                how.come_back(&mut world.machine)?;
                (fired, client.wait(OPERATION)?.status)
            }
            Disturbance::Kill => {
                let output = client.wait(OPERATION)?;
                (world.machine.fired()?, output.status)
            }
        };
        let newest = world.settled(RECOVERY)?;
        let operation = newest.filter(|one| !earlier.contains(&one.id));
        let state = operation
            .as_ref()
            .map_or("none", |one| &one.state)
            .to_owned();
        let mut problems = Vec::new();
        if fired == Fired::No {
            problems.push("the disturbance never came".to_owned());
        }
        let (works_before, works_after) = victim.works();
        let (expected, works) = match state.as_str() {
            "succeeded" => (&self.after, works_after),
            "reverted" | "cancelled" | "failed" | "none" => (&self.before, works_before),
            other => {
                problems.push(format!("the operation ended as {other}: {operation:?}"));
                (&self.before, false)
            }
        };
        match look(&world, works) {
            Ok(now) => problems.extend(changes(expected, &now)),
            Err(error) => problems.push(error.to_string()),
        }
        let agrees = match (how, state.as_str()) {
            (Disturbance::PowerCut, _) | (_, "none") => true,
            (_, "succeeded") => client == 0,
            _ => client == 1,
        };
        if !agrees {
            problems.push(format!("the client ended with {client}"));
        }
        if problems.is_empty() && victim == Victim::Install && state == "succeeded" {
            // What it owns was not forgotten either.
            world.uninstall()?.ok()?;
            problems.extend(changes(&self.before, &look(&world, false)?));
        }
        if !problems.is_empty() {
            problems.push(world.daemon_log());
        }
        Ok(Trial {
            fired,
            state,
            client,
            problems,
        })
    }
}

/// The state of a machine; where Nix should work, a build proves it first, which also brings the
/// services of all machines into the same state.
pub(super) fn look(world: &World, works: bool) -> Result<Snapshot> {
    if works {
        world.build("bob", "bash", "looked-at")?;
    }
    world.snapshot()
}

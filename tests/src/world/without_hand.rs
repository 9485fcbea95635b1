//! nixctld is killed while it takes a release of the feed that nobody asked for: after the commit of
//! the feed's serial, of the attempt, and of every step. The release is there in the end, without a
//! hand, and until then always one of the two.

use std::path::Path;
use std::time::{Duration, Instant};

use super::campaign::{AT_ONCE, DROP_IN, look};
use super::publisher::{FEED, Follow, Publisher};
use super::trials::{self, Verdict};
use super::{Disturbance, Operation, Stage, World, changes};
use crate::error::{Error, Result};
use crate::snapshot::Snapshot;

/// Until the release is there; the feed is read every ten seconds.
const RECOVERY: Duration = Duration::from_secs(90);
/// How long nothing is stored when nothing goes on.
const QUIET: Duration = Duration::from_millis(1500);
const TICK: Duration = Duration::from_millis(100);
/// Trials when not all are made: there are campaigns for upgrades that somebody asks for.
const SAMPLE: u64 = 1;

/// Kills it after every commit, or after a few that change from day to day. An error names every
/// commit after which something was wrong.
pub fn taken_under_kills() -> Result<()> {
    let publisher = Publisher::new()?;
    let (world, quiet) = ready(&publisher)?;
    let feed = publisher.with_newer(&world)?;
    world.server.put(FEED, feed.clone());
    settled(&world, &mut Vec::new())?;
    // What is remembered of its end is stored after it.
    let count = still(&world, || Ok(true))?.saturating_sub(quiet);
    let after = look(&world, true)?;
    drop(world);
    let commits = match crate::full() {
        true => trials::choose(1, count),
        false => trials::spread(1, count, SAMPLE),
    };
    let name = "an upgrade that nobody asked for under SIGKILL";
    trials::run(name, "commit", &commits, |commit| {
        trial(&publisher, &feed, &after, commit)
    })
}

/// A machine that follows a feed which is not there yet, and how often its daemon has stored
/// something.
fn ready(publisher: &Publisher) -> Result<(World, u64)> {
    let world = World::boot_with("campaign-auto", Stage::Nix, |builder| {
        if crate::full() {
            builder.file(Path::new(AT_ONCE), DROP_IN, 0o644)
        } else {
            // A few trials are with the unit as it is shipped.
            builder
        }
    })?;
    look(&world, true)?;
    world.machine.count_commits()?;
    world.follow(publisher, &Follow::AUTO)?;
    // Until the feed was found to be away.
    let is_away = || Ok(world.json("status")?["upgrade"]["feed_trouble"] != "");
    let quiet = still(&world, is_away)?;
    Ok((world, quiet))
}

/// Waits until it is so and nothing more is stored; returns how often something was.
fn still(world: &World, is_so: impl Fn() -> Result<bool>) -> Result<u64> {
    let until = Instant::now() + RECOVERY;
    let mut last = (0, Instant::now());
    while Instant::now() < until {
        std::thread::sleep(TICK);
        let count = world.machine.commits().unwrap_or(0);
        if !is_so()? || count != last.0 {
            last = (count, Instant::now());
        } else if last.1.elapsed() > QUIET {
            return Ok(count);
        }
    }
    let why = world.daemon_log();
    Err(Error::new("wait until nothing is stored", why))
}

fn trial(publisher: &Publisher, feed: &[u8], after: &Snapshot, commit: u64) -> Result<Verdict> {
    let (world, quiet) = ready(publisher)?;
    world.machine.disturb(Disturbance::Kill, quiet + commit)?;
    world.server.put(FEED, feed);
    let mut problems = Vec::new();
    let operation = settled(&world, &mut problems)?;
    let begin = Instant::now();
    let is_over = || begin.elapsed() > QUIET * 2;
    let fired = world.machine.wait_until_fired(RECOVERY, is_over)?;
    match look(&world, true) {
        Ok(now) => problems.extend(changes(after, &now)),
        Err(error) => problems.push(error.to_string()),
    }
    let upgrades = upgrades(&world)?;
    if upgrades.len() != 1 {
        problems.push(format!("it was tried {} times", upgrades.len()));
    }
    let status = world.json("status")?;
    if status["nix_version"] != *world.newer().version || status["upgrade"]["hold"] != "" {
        problems.push(format!("it is not told: {status}"));
    }
    if !problems.is_empty() {
        problems.push(world.daemon_log());
    }
    let words = format!("{fired:?}, {}", operation.state);
    Ok(Verdict { words, problems })
}

/// Waits until the release is there, and sees that there is always one of the two.
fn settled(world: &World, problems: &mut Vec<String>) -> Result<Operation> {
    let (until, versions) = (Instant::now() + RECOVERY, versions(world));
    loop {
        let nix = ["/nix/var/nix/profiles/nixctl/bin/nix", "--version"];
        let said = world.machine.exec(&nix)?;
        if !versions.contains(&said.text().to_owned()) {
            problems.push(format!("neither of the two: {said:?}"));
        }
        // The daemon may be away for a moment.
        let newest = upgrades(world).unwrap_or_default().into_iter().next();
        match newest {
            Some(operation) if operation.state == "succeeded" => return Ok(operation),
            newest if Instant::now() > until => {
                let why = format!("{newest:?}\n{}", world.daemon_log());
                return Err(Error::new("wait until the release is there", why));
            }
            _ => std::thread::sleep(TICK),
        }
    }
}

fn versions(world: &World) -> [String; 2] {
    [world.release(), world.newer()].map(|it| format!("nix (Nix) {}", it.version))
}

fn upgrades(world: &World) -> Result<Vec<Operation>> {
    let all = world.operations()?.into_iter();
    Ok(all.filter(|it| it.kind == "upgrade").collect())
}

//! Campaigns of the stepwise switch: the same switch again and again, disturbed at another moment
//! each time. At that moment every path of what the machine boots must be there and as it was; in the
//! end the machine is at the target or where it began, says which, and another switch converges.

use std::fs;
use std::thread;
use std::time::Duration;

use super::{Arena, Generation, Site};
use crate::error::{Context, Error, Result};
use crate::exec::Background;
use crate::server::Fault;
use crate::world::trials::{self, Verdict};
use crate::world::{Fired, Operation};

/// How long an interrupted switch may take to end by itself.
const RECOVERY: Duration = Duration::from_secs(240);
/// Power cuts when all are wanted, and when not.
const CUTS: [u64; 2] = [100, 3];
/// The same for what is only sampled.
const SAMPLES: [u64; 2] = [12, 1];
const FEW: [u64; 2] = [6, 1];
/// The first commit after the plan was stored.
const PLANNED: u64 = 5;
/// Commits from the last fetch to the end.
const END: u64 = 16;

/// How long a switch may take to see that it has what it needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a cache stays away after somebody gave up.
const MOMENT: Duration = Duration::from_secs(2);
/// What takes the room on the store's disk.
const FILLER: &str = "/nix/filler";
const DAEMON: &str = "nixctld.service";
/// What the store of a machine is held by.
const INSIDE: &str = "PATH=/nix/var/nix/profiles/nixctl/bin:$PATH; nixctl operations; df -B1 /nix; \
                      nix-store --gc --print-roots; nix-store --gc --print-dead";

/// What happens to a switch on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// SIGKILL of the daemon after a commit.
    Kill,
    /// It is stopped as at a shutdown, and started again.
    Term,
    /// The machine is switched off at any moment.
    PowerCut,
    /// None, but a service of the new generation fails its probe.
    Unwell,
    /// SIGKILL of the daemon while it takes a switch back whose service fails its probe.
    KillWhileUndoing,
    /// Somebody fills the disk of the store, and makes room again once it is waited for.
    FullDisk,
    /// The cache is gone, and comes back once it is waited for.
    CacheGone(Gone),
    /// The cache is gone, somebody cancels the switch that waits, then the cache comes back.
    Cancel,
    /// The same with a rollback.
    Rollback,
}

/// How a cache goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone {
    /// Nobody listens.
    Refuses,
    /// It has nothing any more.
    Forgets,
    /// Its answers end in the middle.
    Resets,
}

/// How a switch goes that nothing disturbs.
#[derive(Debug)]
struct Rehearsal {
    /// The daemon's last commit.
    last: u64,
    took: Duration,
}

/// Disturbs the switch at every commit, at many moments, or at a few that change from day to day. An
/// error names every one after which something was wrong.
pub fn campaign(blow: Blow) -> Result<()> {
    let arena = Arena::get()?;
    let rehearsal = arena.rehearse(blow)?;
    let name = format!("switch under {blow:?}");
    let many = |counts: [u64; 2]| counts[usize::from(!crate::full())];
    let last = rehearsal.last;
    let (unit, numbers) = match blow {
        // Commit 1 opens the database; what comes before the operation is not worth a trial.
        Blow::Kill => ("commit", trials::choose(2, last)),
        Blow::Term => ("commit", trials::spread(2, last, many(SAMPLES))),
        Blow::KillWhileUndoing => ("commit", trials::spread(last / 2, last, many(SAMPLES))),
        Blow::Unwell => ("target", vec![1]),
        Blow::FullDisk => ("commit", trials::spread(PLANNED, last - 1, many(SAMPLES))),
        Blow::CacheGone(_) | Blow::Cancel | Blow::Rollback => {
            let before_end = last.saturating_sub(END);
            ("commit", trials::spread(PLANNED, before_end, many(FEW)))
        }
        Blow::PowerCut => {
            let whole = u64::try_from(rehearsal.took.as_millis()).unwrap_or(u64::MAX);
            ("millisecond", trials::spread(0, whole, many(CUTS)))
        }
    };
    trials::run(&name, unit, &numbers, |at| arena.trial(blow, at))
}

impl Blow {
    /// Where the switch that is disturbed leads.
    fn target(self, arena: &Arena) -> &Generation {
        match self {
            Self::KillWhileUndoing | Self::Unwell => &arena.unwell,
            _ => &arena.new,
        }
    }
}

impl Arena {
    /// Switches undisturbed, once for each target, and makes sure that it is worth being disturbed.
    fn rehearse(&self, blow: Blow) -> Result<Rehearsal> {
        let to = blow.target(self);
        let file = self.note(&format!("rehearsal-{}", &to.toplevel[11..43]));
        if let Some(known) = fs::read_to_string(&file).ok().and_then(|text| read(&text)) {
            return Ok(known);
        }
        let site = self.boot("rehearsal")?;
        site.host.machine.count_commits()?;
        let output = site.switch(to, "--yes")?;
        let wanted = i32::from(to.toplevel == self.unwell.toplevel);
        if output.status != wanted {
            println!("{}", site.inside());
            return Err(Error::new("rehearse", format!("{output:?}")));
        }
        let last = site.host.machine.commits()?;
        println!("undisturbed: {last} commits, {:?}", output.took);
        let text = format!("{last} {}", output.took.as_millis());
        fs::write(&file, text).context(|| format!("write {}", file.display()))?;
        Ok(Rehearsal {
            last,
            took: output.took,
        })
    }

    fn trial(&self, blow: Blow, at: u64) -> Result<Verdict> {
        let mut site = self.boot("trial")?;
        let mut problems = Vec::new();
        let client = match blow {
            Blow::PowerCut => site.cut_off_after(&self.new, at, &mut problems)?,
            Blow::Unwell => Some(site.switch(&self.unwell, "--yes")?.status),
            _ => site.hit_at_commit(blow, blow.target(self), at, &mut problems)?,
        };
        let newest = match Operation::settled(&site.host.machine, RECOVERY) {
            Ok(newest) => newest,
            Err(error) => {
                problems.push(error.to_string());
                problems.push(site.inside());
                return Ok(Verdict {
                    words: "it does not end".to_owned(),
                    problems,
                });
            }
        };
        let state = newest.as_ref().map_or("none", |one| &one.state).to_owned();
        let is = match &newest {
            Some(one) if one.state == "succeeded" && one.kind == "switch" => &self.new,
            _ => &self.old,
        };
        problems.extend(site.wrong_with(is)?);
        let status = newest.as_ref().map(|one| match one.state.as_str() {
            "succeeded" => 0,
            "failed" => 5,
            _ => 1,
        });
        let agrees = client.is_none() || client == status || blow == Blow::Rollback;
        if !agrees {
            problems.push(format!("the client ended with {client:?}, {newest:?}"));
        }
        if let Some(one) = &newest {
            problems.extend(site.says_why(one)?);
        }
        problems.extend(self.converges(&site)?);
        if !problems.is_empty() {
            problems.push(format!("{newest:?}\n{}", site.inside()));
        }
        Ok(Verdict {
            words: format!("{state}, client {client:?}"),
            problems,
        })
    }

    /// What is wrong after another switch.
    fn converges(&self, site: &Site) -> Result<Vec<String>> {
        let output = site.switch(&self.new, "--yes")?;
        let mut problems = Vec::new();
        if !output.success() {
            problems.push(format!("another switch does not converge: {output:?}"));
        }
        problems.extend(site.wrong_with(&self.new)?);
        let left = site.left_of(&self.old, &self.new)?;
        problems.extend(left.iter().map(|path| format!("left over: {path}")));
        Ok(problems)
    }
}

/// What was noted of a rehearsal.
fn read(text: &str) -> Option<Rehearsal> {
    let (last, took) = text.split_once(' ')?;
    Some(Rehearsal {
        last: last.parse().ok()?,
        took: Duration::from_millis(took.parse().ok()?),
    })
}

impl Site {
    /// What is worth knowing of a machine that something is wrong with.
    fn inside(&self) -> String {
        let output = self.host.machine.sh(INSIDE);
        let text = output.map_or_else(|error| error.to_string(), |output| output.stdout);
        format!("{text}\n{}", self.daemon_log())
    }

    fn start_switch(&self, to: &Generation) -> Result<Background> {
        let (to, cache) = (&to.toplevel, self.cache());
        let words = ["nixctl", "switch", to, "--from", &cache, "--yes"];
        self.host.machine.command(&words).spawn()
    }

    /// Switches the machine off so many milliseconds after the switch was asked for, and on again.
    fn cut_off_after(
        &mut self,
        to: &Generation,
        milliseconds: u64,
        problems: &mut Vec<String>,
    ) -> Result<Option<i32>> {
        let mut client = self.start_switch(to)?;
        thread::sleep(Duration::from_millis(milliseconds));
        self.host.machine.kill_hard()?;
        client.kill();
        let boots = self.boot_default()?;
        problems.extend(boots.problems);
        self.host.machine.boot_again()?;
        let booted = self.host.machine.sh("readlink -f /run/booted-system")?;
        if booted.text() != boots.entry {
            let (booted, entry) = (booted.text(), boots.entry);
            problems.push(format!("it booted {booted}, not {entry}"));
        }
        Ok(None)
    }

    /// Stops the daemon at a commit, looks at what the machine boots, and ends the daemon.
    fn hit_at_commit(
        &self,
        blow: Blow,
        to: &Generation,
        commit: u64,
        problems: &mut Vec<String>,
    ) -> Result<Option<i32>> {
        let machine = &self.host.machine;
        machine.pause_at(commit)?;
        let mut client = self.start_switch(to)?;
        let fired = machine.wait_until_fired(RECOVERY, || !client.is_running())?;
        if fired == Fired::No {
            problems.push("the disturbance never came".to_owned());
        }
        problems.extend(self.boot_default()?.problems);
        match blow {
            Blow::FullDisk => {
                self.fill_the_disk()?;
                machine.let_go()?;
                if let Some(waiting) = self.waits_or_ends()?.filter(|it| !it.is_final()) {
                    problems.extend(self.needs_what_it_says(&waiting)?);
                }
                machine.exec(&["rm", FILLER])?.ok()?;
            }
            Blow::CacheGone(_) | Blow::Cancel | Blow::Rollback => {
                self.lose_the_cache(blow);
                machine.let_go()?;
                let operation = self.waits_or_ends()?;
                problems.extend(self.boot_default()?.problems);
                if let Some(operation) = operation.filter(|it| !it.is_final()) {
                    self.give_up(blow, &operation, problems)?;
                }
                thread::sleep(MOMENT);
                self.server.heal();
            }
            Blow::Term => self.restart_the_daemon()?,
            Blow::Kill | Blow::KillWhileUndoing | Blow::PowerCut | Blow::Unwell => {
                let kill = ["kill", "--kill-whom=main", "--signal=KILL", DAEMON];
                machine.exec(&[&["systemctl"][..], &kill].concat())?.ok()?;
                machine.let_go()?;
            }
        }
        Ok(Some(client.wait(RECOVERY)?.status))
    }

    /// It ends as it was asked to; nobody but who asked starts it again.
    fn restart_the_daemon(&self) -> Result<()> {
        let machine = &self.host.machine;
        machine
            .exec(&["systemctl", "--no-block", "stop", DAEMON])?
            .ok()?;
        machine.let_go()?;
        for verb in ["stop", "start"] {
            machine.exec(&["systemctl", verb, DAEMON])?.ok()?;
        }
        Ok(())
    }

    fn fill_the_disk(&self) -> Result<()> {
        let free = self.host.space()?.available.to_string();
        let fill = "fallocate --length \"$1\" \"$2\"; cat /dev/zero >>\"$2\"; df /nix";
        let words = ["sh", "-c", fill, "sh", &free, FILLER];
        self.host.machine.exec(&words)?.ok().map(drop)
    }

    /// What is wrong with the need that `status` tells of: so many MiB, and not fewer than it takes to
    /// go on by itself.
    fn needs_what_it_says(&self, waiting: &Operation) -> Result<Option<String>> {
        let reason = waiting.waiting_for.as_deref().unwrap_or_default();
        let status = self.nixctl("status")?.ok()?.stdout;
        if !status.contains(reason) {
            return Ok(Some(format!("status does not say `{reason}`: {status}")));
        }
        let need = reason.strip_prefix("needs ");
        let Some((need, _)) = need.and_then(|need| need.split_once(" MiB more on /nix")) else {
            return Ok(None);
        };
        let less = ["truncate", &format!("--size=-{need}M"), FILLER];
        self.host.machine.exec(&less)?.ok()?;
        let goes_on = |all: &[Operation]| {
            let newest = all.first();
            newest.is_none_or(|it| it.is_final() || it.step > waiting.step)
        };
        let moved = Operation::until(&self.host.machine, PATIENCE, goes_on);
        Ok(moved
            .err()
            .map(|error| format!("{need} MiB more are not enough: {error}")))
    }

    fn lose_the_cache(&self, blow: Blow) {
        let fault = match blow {
            Blow::CacheGone(Gone::Forgets) => Fault::Status(404),
            Blow::CacheGone(Gone::Resets) => Fault::Truncate(10),
            _ => Fault::Refuse,
        };
        self.server.break_prefix("/cache", fault);
    }

    /// The newest operation once it waits for something or has ended.
    fn waits_or_ends(&self) -> Result<Option<Operation>> {
        let rests = |one: &Operation| one.is_final() || one.waiting_for.is_some();
        let all = Operation::until(&self.host.machine, RECOVERY, |all| all.iter().all(rests))?;
        Ok(all.into_iter().next())
    }

    /// Gives a switch up that waits, as somebody would who has had enough.
    fn give_up(&self, blow: Blow, operation: &Operation, problems: &mut Vec<String>) -> Result<()> {
        let words = match blow {
            Blow::Cancel => format!("cancel {}", operation.id),
            Blow::Rollback => "rollback --yes --no-wait".to_owned(),
            _ => return Ok(()),
        };
        let output = self.nixctl(&words)?;
        // 8: it goes on without this client.
        if ![0, 8].contains(&output.status) {
            problems.push(format!("{output:?}"));
        }
        Ok(())
    }

    /// What is wrong with how `show` tells of the end of a switch.
    fn says_why(&self, operation: &Operation) -> Result<Option<String>> {
        let known = ["succeeded", "reverted", "cancelled", "failed"];
        if !known.contains(&operation.state.as_str()) {
            return Ok(Some(format!("it ended as {operation:?}")));
        }
        if operation.state == "succeeded" {
            return Ok(None);
        }
        let shown = self.nixctl(&format!("show {}", operation.id))?.ok()?.stdout;
        let why = operation.failure.as_ref().map(|failure| &failure.message);
        Ok(match why {
            Some(why) if !why.is_empty() && shown.contains(why) => None,
            _ => Some(format!("show does not say why it is back: {shown}")),
        })
    }
}

//! Many damages at once, and a daemon that is disturbed while it repairs them.
//!
//! nixctld sleeps while the damage is done. It is started with a fault that comes after one of its
//! commits, finds everything and repairs it without a hand, is disturbed, and comes back. In the end
//! the machine equals one that was repaired without being disturbed.

use std::time::{Duration, Instant};

use super::ground::{Ground, Healthy};
use super::judge::{Judge, MINE, Sound};
use super::patient::Patient;
use super::{Builds, Damage};
use crate::error::{Error, Result};
use crate::world::trials::{self, Verdict};
use crate::world::{Disturbance, Fired, Operation};

/// Settings with which two more remedies wait for nobody: one that asks otherwise, and one for a file
/// that is under nixctl's care. And a second bundle of certificates, for when the first is gone.
const SETTINGS: &str = "
    printf '%s\\n' '[health.policy]' '\"conf.hook-missing\" = \"auto\"' \
        '[[managed]]' 'path = \"/etc/cared-for\"' 'content = \"as it should be\"' \
        'restart = \"nix-daemon.service\"' >>/etc/nixctl/config.toml
    echo drifted >/etc/cared-for
    mkdir -p /etc/pki/tls/certs
    cp /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt";
/// systemd starts the daemon again at once: the pause before would be most of a trial's time.
const AT_ONCE: &str = "mkdir -p $units/nixctld.service.d
    printf '[Service]\\nRestartSec=50ms\\n' >$units/nixctld.service.d/lab.conf";
/// What these settings and the damage change for good.
const SET: [&str; 10] = [
    "/etc/cared-for",
    "/etc/pki",
    // Users that are made again stand at the end.
    "/etc/passwd",
    "/etc/group",
    "/etc/gshadow",
    "group:nixbld32",
    "/etc/shadow",
    // The lines are added at the beginning, and blank ones around them have stayed.
    "/etc/zsh/zshrc",
    "/etc/nixctl/config.toml",
    "/etc/systemd/system/nixctld.service.d",
];
/// What is broken: one of each kind of remedy and of resource that can be broken together. Those that
/// start nix-daemon come before those after which it does not start.
const BROKEN: [&str; 16] = [
    "zshrc-written-anew",
    "profile-script-gone",
    "fish-script-gone",
    "one-is-no-member",
    "some-users-gone",
    "settings-taken-out",
    "hook-after-builds-gone",
    "store-without-write-bit",
    "no-per-user-profiles",
    "default-profile-dangling",
    "root-of-the-collector-dangling",
    "bundle-is-a-link-to-nothing",
    "polkit-rule-lost",
    "schema-empty",
    "socket-masked",
    "service-lost",
];
/// What the managed file says once it is repaired.
const CARED_FOR: &str = "test \"$(cat /etc/cared-for)\" = 'as it should be'";
/// What nothing may leave behind.
const HALF_MADE: &str = "find / -xdev -name '.nixctl-*' -name '*.tmp'";
/// What was moved out of its place, by where it was: nothing of it is lost, or there twice.
const ASIDE: &str = "ls /var/lib/nixctl/aside | sed 's/^[0-9]*-//' | sort";
/// What the daemons said.
const LOG: &str = "journalctl --no-pager --output=short-monotonic --unit=nixctld \
    --unit=nix-daemon.service --unit=nix-daemon.socket";
/// How long a repair may take, disturbed or not.
const RECOVERY: Duration = Duration::from_secs(100);
/// All is over when nothing was written down for so long.
const QUIET: Duration = Duration::from_secs(3);
/// How often is looked.
const TICK: Duration = Duration::from_millis(250);

/// The repair that nothing disturbed.
#[derive(Debug)]
struct Reference {
    healthy: Healthy,
    broken: Vec<&'static Damage>,
    sound: Sound,
    aside: String,
    repairs: usize,
    first: u64,
    last: u64,
}

/// Disturbs the repair after every commit, or after a few that change from day to day. An error names
/// every commit after which the machine was not as it should be.
pub fn disturbed(how: Disturbance) -> Result<()> {
    let reference = Reference::make()?;
    let name = format!("Repair under {how:?}");
    let commits = trials::choose(reference.first, reference.last);
    trials::run(&name, "commit", &commits, |commit| {
        reference.trial(how, commit)
    })
}

impl Reference {
    fn make() -> Result<Self> {
        let healthy = Ground::Plain.prepare()?;
        let patient = Patient::admit(&healthy)?;
        let before = Sound::now(&patient)?;
        drop(patient);
        let mut broken = Vec::new();
        for name in BROKEN {
            let named = Damage::named(name);
            broken.push(named.ok_or_else(|| Error::new(format!("break {name}"), "no damage"))?);
        }
        let mut patient = Patient::admit(&healthy)?;
        let kept = break_all(&mut patient, &broken)?;
        patient.world.machine.count_commits()?;
        patient.wake()?;
        let mut problems = repaired(&patient, &broken)?;
        let last = quiet(&patient)?;
        let mut differs: Vec<&str> = broken.iter().flat_map(|it| it.differs).copied().collect();
        differs.extend(SET);
        problems.extend(before.differences(&patient, &differs)?);
        problems.extend(left(&patient, &kept)?);
        let operations = patient.world.operations()?;
        problems.extend(unlike(&operations));
        if !problems.is_empty() {
            problems.push(patient.script(LOG)?.stdout);
            return Err(Error::new(
                "repair without a disturbance",
                problems.join("\n"),
            ));
        }
        Ok(Self {
            sound: Sound::now(&patient)?,
            aside: patient.script(ASIDE)?.ok()?.stdout,
            repairs: operations.len(),
            healthy,
            broken,
            // Commit 1 opens the database.
            first: 2,
            last,
        })
    }

    fn trial(&self, how: Disturbance, commit: u64) -> Result<Verdict> {
        let mut patient = Patient::admit(&self.healthy)?;
        let kept = break_all(&mut patient, &self.broken)?;
        patient.world.machine.disturb(how, commit)?;
        patient.wake()?;
        let until = Instant::now() + RECOVERY;
        let machine = &patient.world.machine;
        let fired = machine.wait_until_fired(2 * RECOVERY, || Instant::now() > until)?;
        let mut problems = Vec::new();
        match fired {
            Fired::Yes => how.come_back(&mut patient.world.machine)?,
            Fired::No => problems.push("the disturbance never came".to_owned()),
        }
        problems.extend(repaired(&patient, &self.broken)?);
        let operations = patient.world.operations()?;
        problems.extend(unlike(&operations));
        if operations.len() != self.repairs {
            let (is, was) = (operations.len(), self.repairs);
            problems.push(format!("{is} operations instead of {was}: {operations:#?}"));
        }
        problems.extend(left(&patient, &kept)?);
        let aside = patient.script(ASIDE)?.ok()?.stdout;
        if aside != self.aside {
            problems.push(format!("set aside: {aside} instead of {}", self.aside));
        }
        problems.extend(self.sound.differences(&patient, &[])?);
        if !problems.is_empty() {
            problems.push(patient.script(LOG)?.stdout);
        }
        Ok(Verdict {
            words: format!("{} operations", operations.len()),
            problems,
        })
    }
}

/// Does all the damage while the daemon sleeps. Returns what is somebody's, byte for byte.
fn break_all(patient: &mut Patient, broken: &[&'static Damage]) -> Result<String> {
    patient.without_daemon()?;
    patient.script(SETTINGS)?.ok()?;
    if crate::full() {
        patient.script(AT_ONCE)?.ok()?;
    }
    for damage in broken {
        patient.make(damage)?;
    }
    for damage in broken {
        if !patient.has(damage)? {
            return Err(Error::new(format!("make {}", damage.name), "it is gone"));
        }
    }
    patient.files(&MINE)
}

/// Waits until nothing is broken any more; returns what still is after the time that it may take,
/// and all that a check finds.
fn repaired(patient: &Patient, broken: &[&'static Damage]) -> Result<Vec<String>> {
    let until = Instant::now() + RECOVERY;
    let ended = Operation::until(&patient.world.machine, RECOVERY, |all| {
        !all.is_empty() && all.iter().all(Operation::is_final)
    });
    let mut wrong = Vec::new();
    wrong.extend(ended.err().map(|error| error.to_string()));
    for damage in broken {
        while patient.has(damage)? {
            if Instant::now() > until {
                wrong.push(format!("{} is not repaired", damage.name));
                break;
            }
            std::thread::sleep(TICK);
        }
    }
    if !patient.script(CARED_FOR)?.success() {
        wrong.push("the managed file is not repaired".to_owned());
    }
    // What comes to light by a repair is repaired by the next one.
    wrong.extend(Judge(RECOVERY).left(patient)?);
    patient.world.settled(RECOVERY)?;
    wrong.extend(patient.builds_otherwise(Builds::Everybody)?);
    Ok(wrong)
}

/// The commits that there were, once there are no more.
fn quiet(patient: &Patient) -> Result<u64> {
    let until = Instant::now() + RECOVERY;
    let mut last = patient.world.machine.commits()?;
    loop {
        std::thread::sleep(QUIET);
        let now = patient.world.machine.commits()?;
        if now == last {
            return Ok(last);
        }
        if Instant::now() > until {
            return Err(Error::new("see the last commit", format!("{now}")));
        }
        last = now;
    }
}

/// Repairs that did not end as they should.
fn unlike(operations: &[Operation]) -> Vec<String> {
    let repairs = operations.iter().filter(|one| one.kind == "repair");
    repairs
        .filter(|one| one.state != "succeeded")
        .map(|one| format!("a repair has ended as {}: {one:?}", one.state))
        .collect()
}

/// What is half made, and whether somebody's files were changed.
fn left(patient: &Patient, kept: &str) -> Result<Vec<String>> {
    let found = patient.script(HALF_MADE)?;
    let mut wrong: Vec<String> = found
        .stdout
        .lines()
        .map(|path| format!("{path} is half made"))
        .collect();
    if patient.files(&MINE)? != kept {
        wrong.push(format!("somebody's files were changed: {MINE:?}"));
    }
    Ok(wrong)
}

//! A store on a disk that comes late, or goes while the machine runs: how long it takes from the
//! disk's being there until the store is mounted, the daemon answers and what needed it runs.

use std::time::{Duration, Instant};

use super::ground::Ground;
use super::judge::CHECKS;
use super::patient::Patient;
use crate::error::{Error, Result};

/// What makes the disk come late: nothing is at the path that the mount names until then.
const AWAY: &str = include_str!("late.sh");
/// The service of the machine that makes the disk come.
const COMES: &str = "systemctl start disk-comes.service";
/// Its unit says here that the disk is there.
const CAME: &str = "/run/disk-came";
/// The disk goes: whoever has files open keeps them.
const GOES: &str = "rm -f /run/disk-came /srv/disk; umount --lazy /nix; systemctl stop disk-comes";
/// What the journal has to say of it.
const CHECK: &str = "mounts.not-mounted";
/// Within this time of the disk's being there everything has to be as before.
pub const LIMIT: Duration = Duration::from_secs(10);
/// How often is looked.
const TICK: Duration = Duration::from_millis(20);

/// What says that the disk belongs to /nix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// A line of /etc/fstab.
    Fstab,
    /// A mount unit of an administrator's.
    Unit,
}

/// How long it took, from the disk's being there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Told {
    /// Until the store was mounted.
    pub mounted: Duration,
    /// Until the socket of nix-daemon listened.
    pub listening: Duration,
    /// Until the service ran that is started from the store.
    pub service: Duration,
    /// Until an ordinary user had built something.
    pub built: Duration,
}

impl Late {
    /// Boots a machine without its disk, sees that the store is not there, lets the disk come and
    /// says how long everything took.
    pub fn at_boot(self) -> Result<Told> {
        let mut patient = self.machine()?;
        patient.world.machine.reboot()?;
        self.absent(&patient)?;
        come(&patient)
    }

    /// The same with a disk that goes while the machine runs, and comes back.
    pub fn while_running(self) -> Result<Told> {
        let mut patient = self.machine()?;
        patient.world.machine.reboot()?;
        come(&patient)?;
        patient.script(GOES)?.ok()?;
        self.absent(&patient)?;
        come(&patient)
    }

    /// A machine that will boot without its disk.
    fn machine(self) -> Result<Patient> {
        let patient = Patient::admit(&Ground::Disk.prepare()?)?;
        let kind = match self {
            Self::Fstab => "fstab",
            Self::Unit => "unit",
        };
        patient.script(&format!("kind={kind}\n{AWAY}"))?.ok()?;
        Ok(patient)
    }

    /// The store is not there, and nobody builds.
    fn absent(self, patient: &Patient) -> Result<()> {
        let mounted = is_mounted(patient)?;
        let builds = patient.can_build("alice")?;
        if mounted || builds {
            let why = format!("mounted: {mounted}, alice builds: {builds}");
            return Err(Error::new(
                format!("be without the disk of /nix ({self:?})"),
                why,
            ));
        }
        Ok(())
    }
}

impl Told {
    /// What took longer than it may.
    #[must_use]
    pub fn too_slow(&self) -> bool {
        [self.mounted, self.listening, self.service, self.built]
            .iter()
            .any(|took| *took > LIMIT)
    }
}

/// Lets the disk come, and measures. While the product has no checks, a hand does what they will do,
/// which shows that the machine can be healed and that the measuring measures.
fn come(patient: &Patient) -> Result<Told> {
    patient.script(COMES)?.ok()?;
    if !patient.world.machine.appears(CAME) {
        return Err(Error::new("let the disk come", "it did not"));
    }
    let since = Instant::now();
    if !CHECKS {
        // Nobody else mounts it.
        std::thread::sleep(Duration::from_secs(1));
        if is_mounted(patient)? {
            return Err(Error::new(
                "be without a mount",
                "the system has mounted it",
            ));
        }
        let hand = "systemctl start nix.mount; systemctl reset-failed
                    systemctl start nix-daemon.socket from-the-store.service";
        patient.script(hand)?.ok()?;
    }
    let until = |lines: &str| until(patient, since, lines);
    Ok(Told {
        mounted: until("mountpoint -q /nix")?,
        listening: until("active nix-daemon.socket")?,
        service: until("active from-the-store.service")?,
        built: built(patient, since)?,
    })
}

/// How long until an ordinary user has built something; the journal tells of what was done by then.
fn built(patient: &Patient, since: Instant) -> Result<Duration> {
    if !patient.can_build("alice")? {
        let log = patient.world.machine.log();
        return Err(Error::new("build after the disk came", log));
    }
    let took = since.elapsed();
    let log = patient.world.daemon_log();
    if CHECKS && !log.contains(CHECK) {
        return Err(Error::new(format!("read of {CHECK} in the journal"), log));
    }
    Ok(took)
}

/// How long until these lines succeed; an error after three times the limit.
fn until(patient: &Patient, since: Instant, lines: &str) -> Result<Duration> {
    while !patient.script(lines)?.success() {
        if since.elapsed() > 3 * LIMIT {
            let what = format!("see `{lines}` after the disk came");
            return Err(Error::new(what, patient.world.machine.log()));
        }
        std::thread::sleep(TICK);
    }
    Ok(since.elapsed())
}

fn is_mounted(patient: &Patient) -> Result<bool> {
    Ok(patient.script("mountpoint -q /nix")?.success())
}

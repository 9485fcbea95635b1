//! Machines, each with its own id, its own Nix and what it remembers.

use std::collections::BTreeSet;
use std::thread;

use nixctl_proto::settings::{Settings, UpgradePolicy};
use nixctld::health::timeline::At;
use nixctld::host::{Cancel, Fs};
use nixctld::payload::worker::InProcess;
use nixctld::upgrade::autopilot::Memory;
use nixctld::upgrade::hold::{Facts, Opening, decide};
use nixctld::upgrade::machine::MachineId;
use nixctld::upgrade::offer::{Here, standing};
use nixctld::upgrade::reading::{Reading, Source, read};
use nixctld::upgrade::rollout::Machine;
use sha2::{Digest, Sha256};

use super::publisher::{Publisher, SYSTEM};

/// Machines that work at a time.
const AT_A_TIME: usize = 4;
/// What all of them begin with.
const OLD: &str = "2.26.3";

/// What a machine says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Ordinary,
    Ephemeral,
    /// Its `wariness`, in percent.
    Wary(u32),
}

/// What came of all machines' looking at the feed at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Those that upgraded.
    pub upgraded: usize,
    /// Those that did not believe the feed.
    pub refused: usize,
}

/// All machines.
pub struct Fleet {
    settings: Settings,
    machines: Vec<Simulated>,
}

struct Simulated {
    kind: Kind,
    here: Here,
    /// The highest serial that it saw.
    serial: u64,
    memory: Memory,
}

impl Fleet {
    /// So many ordinary machines that follow the publisher.
    pub fn new(publisher: &Publisher, ordinary: usize) -> Fleet {
        let mut settings = Settings::default();
        settings.upgrade.feed = publisher.url();
        settings.upgrade.feed_keys = vec![publisher.key.public().to_string()];
        settings.upgrade.policy = UpgradePolicy::Auto;
        // One authority is read faster than all of a machine's, and none is needed here.
        settings.install.ssl_cert_file =
            concat!(env!("CARGO_MANIFEST_DIR"), "/src/payload/testdata/ca.pem").to_owned();
        let mut fleet = Fleet {
            settings,
            machines: Vec::new(),
        };
        fleet.add(Kind::Ordinary, ordinary);
        fleet
    }

    /// More machines.
    pub fn add(&mut self, kind: Kind, count: usize) {
        for _ in 0..count {
            let number = self.machines.len();
            self.machines.push(Simulated::new(number, kind));
        }
    }

    /// Every machine that has not that version yet looks at the feed, and does what it decides.
    pub fn at(&mut self, now: u64, newest: &str) -> Outcome {
        let settings = &self.settings;
        let part = self.machines.len().div_ceil(AT_A_TIME);
        let outcomes: Vec<Outcome> = thread::scope(|scope| {
            let parts = self.machines.chunks_mut(part);
            let running: Vec<_> = parts
                .map(|machines| {
                    scope.spawn(move || {
                        let mut outcome = Outcome::default();
                        for machine in machines.iter_mut().filter(|it| it.here.nix != newest) {
                            machine.looks(settings, now, &mut outcome);
                        }
                        outcome
                    })
                })
                .collect();
            running.into_iter().map(|it| it.join().unwrap()).collect()
        });
        Outcome {
            upgraded: outcomes.iter().map(|it| it.upgraded).sum(),
            refused: outcomes.iter().map(|it| it.refused).sum(),
        }
    }

    /// How many of a kind there are.
    pub fn count(&self, kind: Kind) -> usize {
        self.machines.iter().filter(|it| it.kind == kind).count()
    }

    /// How many of a kind have that version.
    pub fn have(&self, version: &str, kind: Kind) -> usize {
        let all = self.machines.iter().filter(|it| it.kind == kind);
        all.filter(|it| it.here.nix == version).count()
    }

    /// The numbers of those that have that version.
    pub fn who_has(&self, version: &str) -> BTreeSet<usize> {
        let all = self.machines.iter().enumerate();
        all.filter(|(_, it)| it.here.nix == version)
            .map(|(number, _)| number)
            .collect()
    }
}

impl Simulated {
    fn new(number: usize, kind: Kind) -> Simulated {
        let digest = Sha256::digest(format!("machine {number}"));
        let id: String = digest[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let wariness = match kind {
            Kind::Wary(percent) => Some(f64::from(percent) / 100.0),
            Kind::Ordinary | Kind::Ephemeral => None,
        };
        Simulated {
            kind,
            here: Here {
                machine: Machine {
                    id: MachineId::parse(&id),
                    is_ephemeral: kind == Kind::Ephemeral,
                    wariness,
                },
                system: SYSTEM.to_owned(),
                nix: OLD.to_owned(),
                nixctld: nixctl_proto::VERSION.to_owned(),
            },
            serial: 0,
            memory: Memory::default(),
        }
    }

    /// One round of the autopilot: reads the feed, makes of it what it means here, decides whether
    /// anything holds that, and takes it.
    fn looks(&mut self, settings: &Settings, now: u64, outcome: &mut Outcome) {
        let worker = InProcess::new(Fs::at("/nonexistent"));
        let reading = Reading::new(settings, &Source::of_releases(settings), self.serial, now);
        let Ok(feed) = read(&worker, reading, &Cancel::default()) else {
            outcome.refused += 1;
            return;
        };
        self.serial = feed.serial;
        let standing = standing(&feed, &self.here, now);
        let Some(version) = standing.offered.as_ref().map(|it| it.version.clone()) else {
            return;
        };
        let facts = Facts {
            asked: false,
            policy: settings.upgrade.policy,
            halted: false,
            ladder: self.memory.judge(
                &version,
                At {
                    steady: now * 1000,
                    wall: now * 1000,
                },
            ),
            admitted: true,
            window: Opening::Open,
            on_battery: false,
            metered: false,
            inhibited: None,
            jitter: None,
            busy: false,
            fleet_lock: None,
            now: now * 1000,
        };
        if decide(&facts).is_ok() {
            self.here.nix = version;
            outcome.upgraded += 1;
        }
    }
}

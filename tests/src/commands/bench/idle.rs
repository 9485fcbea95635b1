//! What an idle daemon costs: processor time, wake-ups, memory and state, on a machine with a Nix
//! that nixctl installed, and beside it what other services of the same machine cost meanwhile.
//!
//! Everything is read from outside, in /proc and in the services' control groups: nothing is asked
//! of the machine while it is measured. Programs that a service starts count as its own.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use nixctl_lab::Result;
use nixctl_lab::error::{Context, Error};
use nixctl_lab::world::World;

use super::table::Table;

/// The daemon's unit.
const OURS: &str = "nixctld.service";
/// Services that every machine has, and the one that nixctl looks after.
const OTHERS: [&str; 4] = [
    "nix-daemon.service",
    "dbus.service",
    "systemd-logind.service",
    "systemd-journald.service",
];
/// How long the machine is left alone before it is measured: what an install has started ends.
const SETTLE: Duration = Duration::from_secs(30);
/// Between two looks.
const TICK: Duration = Duration::from_millis(100);
/// What wakes up within this time is one wake-up: a question and its answer.
const TOGETHER: Duration = Duration::from_secs(1);
/// Most of a core that an idle daemon may use, in percent.
const SHARE_PERCENT: f64 = 0.1;
/// Shortest time between two wake-ups.
const GAP: Duration = Duration::from_secs(30);
/// Asks nix-daemon something, so that it runs and has served somebody.
const WAKE_NIX: &str = "/nix/var/nix/profiles/nixctl/bin/nix-store --store daemon --check-validity \
    /nix/var/nix/profiles/nixctl || true";

/// Measures one machine for so long.
pub fn measure(table: &mut Table, seconds: u64) -> Result<()> {
    let world = World::boot_installed("bench-idle")?;
    world.machine.sh(WAKE_NIX)?.ok()?;
    println!(
        "lab: idle for {seconds} s, after {} s of rest",
        SETTLE.as_secs()
    );
    std::thread::sleep(SETTLE);
    let state = state_bytes(&world)?;
    std::thread::sleep(TOGETHER * 2);

    let units = std::iter::once(OURS).chain(OTHERS);
    let mut services: Vec<Service> = units
        .filter_map(|unit| Service::find(&world, unit))
        .collect();
    let memory = services.first().map(|it| it.resident_kib()).transpose()?;
    let began = Instant::now();
    let until = began + Duration::from_secs(seconds);
    let before: Vec<Duration> = times(&world, &services)?;
    while Instant::now() < until {
        for service in &mut services {
            service.look(began.elapsed());
        }
        std::thread::sleep(TICK);
    }
    let lasted = began.elapsed();
    let after = times(&world, &services)?;

    let Some((ours, others)) = services.split_first().filter(|(it, _)| it.unit == OURS) else {
        return Err(Error::new("measure the daemon", "it does not run"));
    };
    let share = |at: usize| {
        let used = after[at].saturating_sub(before[at]);
        used.as_secs_f64() / lasted.as_secs_f64() * 100.0
    };
    table.goal("nixctld, share of a core", share(0), "%", SHARE_PERCENT);
    let used = (after[0].saturating_sub(before[0])).as_secs_f64() * 1000.0;
    table.row("  processor time", &format!("{used:.1} ms"), "", "");
    ours.tell(table, true);
    if let (Some(before), Ok(after)) = (memory, ours.resident_kib()) {
        change(table, "  resident memory", before, after, "KiB");
    }
    change(table, "  state", state, state_bytes(&world)?, "bytes");
    for (at, other) in others.iter().enumerate() {
        let what = format!("{}, share of a core", other.unit);
        table.row(&what, &format!("{:.4} %", share(at + 1)), "", "");
        other.tell(table, false);
    }
    Ok(())
}

/// Some threads of a service awake together.
#[derive(Debug)]
struct Wake {
    begin: Duration,
    end: Duration,
    /// How often each thread slept meanwhile, by its name.
    threads: BTreeMap<String, u64>,
}

/// A service of the machine, watched from outside.
#[derive(Debug)]
struct Service {
    unit: &'static str,
    /// Process id outside.
    main: u32,
    /// How often each thread has gone to sleep, by its id, and its name.
    sleeps: BTreeMap<u32, (String, u64)>,
    wakes: Vec<Wake>,
}

impl Service {
    /// None when it does not run.
    fn find(world: &World, unit: &'static str) -> Option<Self> {
        let main = *world.machine.processes(unit).first()?;
        Some(Self {
            unit,
            main,
            sleeps: sleeps(main),
            wakes: Vec::new(),
        })
    }

    fn look(&mut self, now: Duration) {
        let sleeps = sleeps(self.main);
        let mut threads: BTreeMap<String, u64> = BTreeMap::new();
        for (id, (name, count)) in &sleeps {
            let before = self.sleeps.get(id).map_or(0, |(_, count)| *count);
            if *count > before {
                *threads.entry(name.clone()).or_default() += count - before;
            }
        }
        self.sleeps = sleeps;
        if threads.is_empty() {
            return;
        }
        match self.wakes.last_mut() {
            Some(wake) if now.saturating_sub(wake.begin) < TOGETHER => {
                wake.end = now;
                add(&mut wake.threads, &threads);
            }
            _ => self.wakes.push(Wake {
                begin: now,
                end: now,
                threads,
            }),
        }
    }

    /// Time between the wake-ups, the shortest first.
    fn gaps(&self) -> Vec<Duration> {
        let pairs = self.wakes.windows(2);
        let mut gaps: Vec<Duration> = pairs.map(|pair| pair[1].begin - pair[0].end).collect();
        gaps.sort();
        gaps
    }

    fn tell(&self, table: &mut Table, has_goal: bool) {
        let mut threads = BTreeMap::new();
        for wake in &self.wakes {
            add(&mut threads, &wake.threads);
        }
        let wakes = self.wakes.len().to_string();
        table.row(
            "  wake-ups, and how often each thread slept",
            &wakes,
            &words(&threads),
            "",
        );
        let gaps = self.gaps();
        let shown = match (gaps.first(), gaps.get(gaps.len() / 2)) {
            (Some(least), Some(median)) => format!(
                "{:.1} s, median {:.1} s",
                least.as_secs_f64(),
                median.as_secs_f64()
            ),
            _ => "no two".to_owned(),
        };
        let is_met = gaps.first().is_none_or(|least| *least >= GAP);
        let verdict = if is_met { "met" } else { "MISSED" };
        if has_goal && !is_met {
            for wake in &self.wakes {
                let (begin, end) = (wake.begin.as_secs_f64(), wake.end.as_secs_f64());
                println!(
                    "lab: awake {begin:.1} to {end:.1} s: {}",
                    words(&wake.threads)
                );
            }
        }
        let goal = format!("goal at least {} s: {verdict}", GAP.as_secs());
        let goal = if has_goal { goal.as_str() } else { "" };
        table.row("  shortest time between two", &shown, "", goal);
    }

    fn resident_kib(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.main);
        let status = fs::read_to_string(&file).context(|| format!("read {file}"))?;
        field(&status, "VmRSS:").ok_or_else(|| Error::new(format!("read {file}"), status))
    }
}

fn add(all: &mut BTreeMap<String, u64>, some: &BTreeMap<String, u64>) {
    for (name, count) in some {
        *all.entry(name.clone()).or_default() += count;
    }
}

fn words(threads: &BTreeMap<String, u64>) -> String {
    let words: Vec<String> = threads
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    words.join(", ")
}

/// How often each thread of a process has gone to sleep by itself, by its id, with its name.
fn sleeps(process: u32) -> BTreeMap<u32, (String, u64)> {
    let threads = fs::read_dir(format!("/proc/{process}/task"))
        .into_iter()
        .flatten();
    let one = |entry: fs::DirEntry| {
        // It may have ended since.
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let name = status.lines().next()?.split_whitespace().nth(1)?.to_owned();
        let id = entry.file_name().to_str()?.parse().ok()?;
        Some((id, (name, field(&status, "voluntary_ctxt_switches:")?)))
    };
    threads.flatten().filter_map(one).collect()
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find(|line| line.starts_with(name));
    line?.split_whitespace().nth(1)?.parse().ok()
}

fn times(world: &World, services: &[Service]) -> Result<Vec<Duration>> {
    let units = services.iter().map(|service| service.unit);
    units
        .map(|unit| world.machine.processor_time_of(unit))
        .collect()
}

fn state_bytes(world: &World) -> Result<u64> {
    let output = world
        .machine
        .exec(&["du", "-sb", "/var/lib/nixctl"])?
        .ok()?;
    let text = output.text().to_owned();
    let number = text
        .split_whitespace()
        .next()
        .and_then(|it| it.parse().ok());
    number.ok_or_else(|| Error::new("read the size of the state", text))
}

fn change(table: &mut Table, what: &str, before: u64, after: u64, unit: &str) {
    let grown = i128::from(after) - i128::from(before);
    let range = format!("{grown:+} {unit} since the beginning");
    table.row(what, &format!("{after} {unit}"), &range, "");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_wakes_together_is_one_wake_up() {
        let mut service = Service {
            unit: OURS,
            main: std::process::id(),
            sleeps: sleeps(std::process::id()),
            wakes: Vec::new(),
        };
        for at in [0, 500, 31_000, 91_000, 92_500] {
            std::thread::sleep(Duration::from_millis(2));
            service.look(Duration::from_millis(at));
        }
        let gaps: Vec<u128> = service.gaps().iter().map(Duration::as_millis).collect();
        // What never sleeps longer than a moment wakes up again and again.
        assert_eq!(gaps, [1500, 30_500, 60_000]);
        assert!(service.resident_kib().unwrap() > 0);
    }
}

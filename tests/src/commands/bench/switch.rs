//! The stepwise switch beside the one at once and a random order of steps, from and to the same
//! generations on disks that have room for both; and what nixctl adds to a switch in which nothing
//! changes, on a machine with 300 units.
//!
//! Results are not watched for a while before they count (`soak_seconds = 0`): that time is chosen.

use std::time::Duration;

use nixctl_lab::error::Error;
use nixctl_lab::generation::{Generation, Peaks, Service, Site, Spec, Tweak, disk_for, generation};
use nixctl_lab::{Output, Result};

use super::table::{Series, Table};

const MIB: f64 = 1_048_576.0;
/// How long a service may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);
/// A seed in this file makes a daemon with the feature `fault-injection` take a random order.
const SEED: &str = "/run/nixctl-order";
/// Units of the machine on which nothing changes.
const UNITS: u32 = 300;
/// The most resident memory of the daemon while switching, in MiB.
const MEMORY: f64 = 64.0;

/// A way of switching.
#[derive(Debug, Clone, Copy)]
struct Way {
    name: &'static str,
    strategy: &'static str,
    random: bool,
}

const WAYS: [Way; 3] = [
    Way {
        name: "stepwise",
        strategy: "stepwise",
        random: false,
    },
    Way {
        name: "atomic",
        strategy: "atomic",
        random: false,
    },
    Way {
        name: "random order",
        strategy: "stepwise",
        random: true,
    },
];

/// What was seen of one way.
#[derive(Debug, Default)]
struct Seen {
    times: Vec<Duration>,
    peaks: Vec<f64>,
    planned: Vec<f64>,
    memory: Vec<f64>,
    steps: Vec<usize>,
}

/// Measures the ways of switching.
pub fn measure(table: &mut Table, runs: usize) -> Result<()> {
    let old = generation(&Spec::old())?;
    let new = generation(&Spec::new())?;
    let mut seen = WAYS.map(|_| Seen::default());
    for run in 0..runs {
        for (way, seen) in WAYS.iter().zip(&mut seen) {
            println!("lab: run {} of {runs}, {}", run + 1, way.name);
            switch(*way, run, (&old, &new), seen)?;
        }
    }
    let end = new.size() as f64 / MIB;
    table.row("the new generation", &format!("{end:.1} MiB"), "", "");
    for (way, seen) in WAYS.iter().zip(&seen) {
        seen.report(table, way.name, end);
    }
    Ok(())
}

fn switch(
    way: Way,
    run: usize,
    (old, new): (&Generation, &Generation),
    seen: &mut Seen,
) -> Result<()> {
    let mib = disk_for(old.size() + new.size())? + 100;
    let site = Site::boot("bench-switch", mib, &[old, new])?;
    site.configure_soak(0, "")?;
    let machine = &site.host.machine;
    for service in Service::ALL {
        service.wait(machine, PATIENCE)?;
    }
    if way.random {
        machine.write_file(SEED, (run + 1).to_string(), 0o644)?;
    }
    let words = format!("--strategy {} --yes", way.strategy);
    let plan = site.switch(new, &format!("{words} --dry-run --json"))?;
    let plan: serde_json::Value = serde_json::from_str(&plan.ok()?.stdout)
        .map_err(|why| Error::new("read the plan of a switch", why))?;
    let beside = site.host.space()?.used.saturating_sub(old.size());
    let (output, peaks) = site.peaks(|| site.switch(new, &words))?;
    let took = output?.ok()?.took;
    seen.take(took, peaks, beside, &plan);
    Ok(())
}

impl Seen {
    fn take(&mut self, took: Duration, peaks: Peaks, beside: u64, plan: &serde_json::Value) {
        self.times.push(took);
        self.peaks
            .push(peaks.disk.saturating_sub(beside) as f64 / MIB);
        self.memory.push(peaks.daemon as f64 / MIB);
        let planned = plan["space"]["peak"].as_f64().unwrap_or(f64::NAN);
        self.planned.push(planned / MIB);
        self.steps
            .push(plan["steps"].as_array().map_or(0, Vec::len));
    }

    fn report(&self, table: &mut Table, name: &str, end: f64) {
        let peak = Series::from(self.peaks.clone());
        table.amount(&format!("peak on the disk, {name}"), &peak, "MiB");
        let times = format!("{:.2} x", peak.median() / end);
        let steps = format!("{:?} steps", self.steps);
        table.row("  of the new generation", &times, &steps, "");
        let planned = Series::from(self.planned.clone());
        table.amount("  as planned, Nix itself included", &planned, "MiB");
        table.series(&format!("time, {name}"), &Series::of(&self.times));
        let memory = Series::from(self.memory.clone());
        let what = format!("most memory of the daemon, {name}");
        table.goal(&what, memory.median(), "MiB", MEMORY);
    }
}

/// A switch to what runs, and to a generation in which only comments differ, beside what systemd and
/// the generation's own program need.
pub fn unchanged(table: &mut Table, runs: usize) -> Result<()> {
    let units = Tweak::TrivialUnits {
        count: UNITS,
        changed: 0,
    };
    let one = Spec::new().only("units", &[Service::Memcached]);
    let one = one.tweaked(units);
    let two = generation(&one.clone().tweaked(Tweak::Comment))?;
    let one = generation(&one)?;
    let mib = disk_for(one.size() + two.size_beside(&one))? + 100;
    let site = Site::boot("bench-units", mib, &[&one, &two])?;
    site.configure_soak(0, "")?;
    // Both are there, so that nothing is fetched.
    site.switch(&two, "--yes")?.ok()?;
    site.switch(&one, "--yes")?.ok()?;
    let [mut same, mut comment, mut own, mut reload] = [(); 4].map(|()| Vec::new());
    for _ in 0..runs.max(3) {
        for to in [&two, &one] {
            own.push(site.host.switch(to, "test")?.ok()?.took);
        }
        reload.push(run(&site, &["systemctl", "daemon-reload"])?.took);
        for to in [&two, &one] {
            comment.push(site.switch(to, "--yes")?.ok()?.took);
        }
        same.push(site.switch(&one, "--yes")?.ok()?.took);
    }
    let [same, comment, own, reload] = [same, comment, own, reload].map(|one| Series::of(&one));
    table.series("300 units: nixctl switch to what runs", &same);
    table.series("300 units: nixctl switch, comments differ", &comment);
    table.series("  the generation's own program, test", &own);
    table.series("  systemctl daemon-reload", &reload);
    let more = comment.median() - own.median();
    table.row("  what nixctl adds", &format!("{more:.1} ms"), "", "");
    Ok(())
}

fn run(site: &Site, words: &[&str]) -> Result<Output> {
    site.host.machine.exec(words)?.ok()
}

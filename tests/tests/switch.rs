//! The switch itself on real machines: a disk that two generations do not fit on, a big one, and a
//! new generation that does not work.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use nixctl_lab::generation::{
    Alone, FileSystem, Generation, Peaks, Poller, SYSTEM_PROFILE, Service, Site, Spec, Tweak,
    Watched, alone, disk_for, generation, missing_for_disks,
};
use nixctl_lab::machine::Builder;
use nixctl_lab::{Output, require};

/// How long a service may take until it answers.
const PATIENCE: Duration = Duration::from_secs(60);
const MIB: f64 = 1_048_576.0;
/// The service that is the same in both generations.
const KEPT: Service = Service::NodeExporter;
/// Memory of the machine.
const MEMORY: u64 = 512 << 20;
/// Memory of the daemon, Nix's own not counted.
const DAEMON_MEMORY: u64 = 64 << 20;
/// How much longer an outage may be by chance, on a host that does much else.
const UNEVEN: Duration = Duration::from_secs(1);

/// True when machines with disks can be made; says why not otherwise.
fn require_disks() -> bool {
    let missing = missing_for_disks(FileSystem::Ext4);
    if let Some(reason) = &missing {
        eprintln!("skipped, no disks for machines here: {reason}");
    }
    require() && missing.is_none()
}

/// Runs a script with the generation's programs; what it prints.
fn sh(site: &Site, script: &str) -> String {
    let script = format!("PATH=/run/current-system/sw/bin:$PATH; {script}");
    let output = site.host.machine.sh(&script).unwrap().ok().unwrap();
    output.text().to_owned()
}

fn psql(query: &str) -> String {
    format!("psql --host=127.0.0.1 --username=postgres -Atc \"{query}\"")
}

/// Waits until every service of a generation answers, and looks that each runs from its closure.
fn answers(site: &Site, generation: &Generation) -> Vec<String> {
    let machine = &site.host.machine;
    let services = generation.spec.services.iter();
    services
        .map(|service| {
            let answer = service.wait(machine, PATIENCE).unwrap();
            let program = service.program(machine).unwrap();
            let mut closure = generation.closure.iter();
            let known = closure.any(|one| program.starts_with(&format!("{}/", one.path)));
            assert!(known, "{} runs {program}", service.unit());
            answer
        })
        .collect()
}

fn put_data(site: &Site) {
    for service in [Service::Redis, Service::Postgresql] {
        service.wait(&site.host.machine, PATIENCE).unwrap();
    }
    sh(site, "redis-cli SET kept 'by redis'");
    sh(
        site,
        &psql("CREATE TABLE kept AS SELECT 'by postgres' AS what"),
    );
}

fn check_data(site: &Site) {
    assert_eq!(sh(site, "redis-cli GET kept"), "by redis");
    assert_eq!(sh(site, &psql("SELECT what FROM kept")), "by postgres");
}

/// Everything of a machine that a switch moves.
fn look(site: &Site) -> String {
    sh(
        site,
        "ls /nix/store | grep -v '^\\.links$'; ls -l --time-style=+ /nix/var/nix/profiles /boot/loader/entries; \
         ls -R /nix/var/nix/gcroots; readlink -f /run/current-system; cat /boot/loader/loader.conf; \
         systemctl list-units --state=active --plain --no-legend --type=service | cut -d' ' -f1 | grep -v '^nixctld'",
    )
}

/// That a generation runs, is the default, is whole, and answers.
fn check_is(site: &Site, generation: &Generation) {
    assert_eq!(site.host.current().unwrap(), generation.toplevel);
    let default = sh(site, &format!("readlink -f {SYSTEM_PROFILE}"));
    assert_eq!(default, generation.toplevel);
    let boots = sh(
        site,
        "cat /boot/loader/entries/$(sed -n 's/^default //p' /boot/loader/loader.conf)",
    );
    assert!(boots.contains(&generation.toplevel), "{boots}");
    let mut verify = vec!["nix-store", "--verify-path"];
    verify.extend(generation.closure.iter().map(|one| &*one.path));
    site.host.nix(&verify).run().unwrap().ok().unwrap();
    answers(site, generation);
    let failed = sh(
        site,
        "systemctl list-units --state=failed --plain --no-legend",
    );
    assert_eq!(failed, "");
}

/// Paths of a generation, and of no other, that are in the store.
fn left_of(site: &Site, old: &Generation, new: &Generation) -> Vec<String> {
    let there = sh(site, "ls -d /nix/store/*");
    let gone = old.closure.iter().map(|one| &*one.path);
    let gone = gone.filter(|path| !new.closure.iter().any(|one| one.path == *path));
    gone.filter(|path| there.lines().any(|line| line == *path))
        .map(str::to_owned)
        .collect()
}

/// That a command ended like this; tells everything when not.
fn ended(site: &Site, output: &Output, status: i32) {
    println!("{}{}", output.stdout, output.stderr);
    let activations = "journalctl --no-pager --boot --output=short-monotonic --unit='nixctl-*'";
    let log = || {
        let activations = site.host.machine.sh(activations);
        let activations = activations.map(|output| output.stdout);
        format!("{}\n{activations:?}", site.daemon_log())
    };
    assert_eq!(output.status, status, "{}", log());
}

/// What is worth knowing of a switch that does not end.
fn stuck(site: &Site) -> String {
    let script = "nixctl operations; df -B1 /nix; nix-store --gc --print-roots; \
                  nix-store --gc --print-dead; nix-store --gc --print-live | xargs du -scb | sort -n";
    let path = "PATH=/nix/var/nix/profiles/nixctl/bin:$PATH; ";
    let output = site.host.machine.sh(&format!("{path}{script}"));
    format!("{output:?}\n{}", site.daemon_log()).replace("\\n", "\n")
}

/// That a service which is the same in both generations was never away, and each other one only
/// for its own restart: as long as it is away when nothing but itself is restarted as NixOS does
/// it, stopped before the activation and started after it.
fn check_outages(watched: &BTreeMap<String, Watched>, alone: &BTreeMap<String, Alone>) {
    for (unit, seen) in watched {
        let Alone {
            restart,
            stop_and_start,
        } = alone[unit];
        println!(
            "{unit}: {restart:.2?} for a restart, {stop_and_start:.2?} around an activation; {seen}"
        );
    }
    for (unit, seen) in watched {
        if unit == KEPT.unit() {
            assert_eq!(seen.failed(), 0, "{unit}: {seen}");
        } else {
            let longest = seen.longest().unwrap_or_default();
            assert!(
                longest <= 2 * alone[unit].stop_and_start + UNEVEN,
                "{unit}: {seen}"
            );
        }
    }
}

/// That the daemon stayed small, and that nothing was killed on a machine of little memory.
fn check_memory(site: &Site, peaks: Peaks) {
    let (machine, killed) = site.host.machine.memory().unwrap();
    println!(
        "memory: daemon {:.1} MiB, its largest process {:.1} MiB; the machine {:.1} of {:.1} MiB",
        peaks.daemon as f64 / MIB,
        peaks.process as f64 / MIB,
        machine as f64 / MIB,
        MEMORY as f64 / MIB,
    );
    assert_eq!(killed, 0, "{}", site.host.machine.log());
    assert!(
        peaks.daemon > 0 && peaks.daemon <= DAEMON_MEMORY,
        "{peaks:?}"
    );
}

#[test]
fn a_disk_too_small_for_two_generations_is_enough() {
    if !require_disks() {
        return;
    }
    let old = generation(&Spec::old()).unwrap();
    let new = generation(&Spec::new().tweaked(Tweak::Kept(KEPT))).unwrap();
    let room = new.size() * 135 / 100;
    let mib = disk_for(room).unwrap();
    let generations = [&old, &new];
    let memory = |builder: Builder| builder.memory(MEMORY);
    let mut site = Site::boot_with("switch-small", mib, &generations, memory).unwrap();
    let before = answers(&site, &old);
    put_data(&site);
    let alone = alone(&site.host.machine, &Service::ALL).unwrap();
    let space = site.host.space().unwrap();
    println!(
        "old {:.1} MiB, new {:.1} MiB, room for {:.1} MiB, disk of {mib} MiB: {space:?}",
        old.size() as f64 / MIB,
        new.size() as f64 / MIB,
        room as f64 / MIB,
    );

    let untouched = look(&site);
    let refused = site.switch(&new, "--strategy atomic --yes").unwrap();
    ended(&site, &refused, 5);
    assert!(refused.stderr.contains("error[NIX1001]"), "{refused:?}");
    assert!(refused.stderr.contains("bytes more are needed"));
    assert_eq!(look(&site), untouched);

    let dry = site.switch(&new, "--dry-run --json").unwrap();
    assert!(dry.success(), "{dry:?}");
    assert_eq!(look(&site), untouched);
    let plan: serde_json::Value = serde_json::from_str(&dry.stdout).unwrap();
    let planned = &plan["space"];
    assert_eq!(planned["strategy"], "stepwise", "{plan}");
    let steps = plan["steps"].as_array().unwrap();
    assert!(steps.len() > 1, "{plan}");
    println!("planned: {planned}, {} steps", steps.len());

    let poller = Poller::start(&site.host.machine, &Service::ALL).unwrap();
    let (switched, peaks) = site.peaks(|| site.switch(&new, "--yes")).unwrap();
    let switched = switched.unwrap_or_else(|error| panic!("{error}\n{}", stuck(&site)));
    let watched = poller.stop().unwrap();
    ended(&site, &switched, 0);
    let peak = peaks.disk;
    let rest = space.used.saturating_sub(old.size());
    println!(
        "peak: {:.1} MiB on the disk, of which {:.1} MiB for generations; planned {:.1} MiB; took {:?}",
        peak as f64 / MIB,
        peak.saturating_sub(rest) as f64 / MIB,
        planned["peak"].as_f64().unwrap() / MIB,
        switched.took,
    );
    check_outages(&watched, &alone);
    check_memory(&site, peaks);
    check_is(&site, &new);
    check_data(&site);
    let after = answers(&site, &new);
    let same = before.iter().zip(&after).filter(|(old, new)| old == new);
    assert!(same.count() <= 3, "{before:?} {after:?}");
    // Until a restart the booted kernel and its initrd stay.
    let left = left_of(&site, &old, &new);
    assert!(left.iter().all(|path| path.contains("linux-")), "{left:?}");

    site.host.machine.reboot().unwrap();
    check_is(&site, &new);
    check_data(&site);
    assert_eq!(sh(&site, "readlink -f /run/booted-system"), new.toplevel);
}

#[test]
fn at_once_and_back_again() {
    if !require_disks() {
        return;
    }
    let few = [Service::Redis, Service::Memcached];
    let old = generation(&Spec::old().only("few-old", &few)).unwrap();
    let new = generation(&Spec::new().only("few-new", &few)).unwrap();
    let broken = Spec::new().only("few-broken", &few);
    let broken = generation(&broken.tweaked(Tweak::RedisBroken)).unwrap();
    let room = old.size() + new.size() + broken.size_beside(&new);
    let mib = disk_for(room).unwrap() + 100;
    let site = Site::boot("switch-big", mib, &[&old, &new, &broken]).unwrap();
    answers(&site, &old);
    sh(&site, "redis-cli SET kept 'by redis'");

    ended(
        &site,
        &site.switch(&new, "--strategy atomic --yes").unwrap(),
        0,
    );
    check_is(&site, &new);
    let listed = site.nixctl("generations --json").unwrap();
    ended(&site, &listed, 0);
    assert!(listed.stdout.contains(&old.toplevel) && listed.stdout.contains(&new.toplevel));
    let diff = format!("diff {} {}", old.toplevel, new.toplevel);
    let diff = site.nixctl(&diff).unwrap();
    ended(&site, &diff, 0);
    assert!(diff.stdout.contains("memcached"));

    ended(&site, &site.nixctl("rollback --yes").unwrap(), 0);
    check_is(&site, &old);

    let failed = site.switch(&broken, "--strategy atomic --yes").unwrap();
    ended(&site, &failed, 1);
    assert!(failed.stderr.contains("redis"), "{failed:?}");
    check_is(&site, &old);

    let confirm = "--strategy atomic --confirm-within 10 --yes";
    ended(&site, &site.switch(&new, confirm).unwrap(), 1);
    check_is(&site, &old);
    assert_eq!(sh(&site, "redis-cli GET kept"), "by redis");
}

#[test]
fn a_daemon_that_is_killed_on_the_way_goes_on() {
    if !require_disks() {
        return;
    }
    let few = [Service::Redis];
    let old = generation(&Spec::old().only("one-old", &few)).unwrap();
    let new = generation(&Spec::new().only("one-new", &few)).unwrap();
    let mib = disk_for(old.size() + new.size()).unwrap() + 100;
    let site = Site::boot("switch-kill", mib, &[&old, &new]).unwrap();
    for (round, commit) in [9, 24].into_iter().enumerate() {
        let (from, to) = if round % 2 == 0 {
            (&old, &new)
        } else {
            (&new, &old)
        };
        // The count begins with the daemon.
        site.configure("").unwrap();
        let fault = format!("kill {commit}");
        let machine = &site.host.machine;
        machine
            .write_file("/run/nixctl-fault", fault, 0o644)
            .unwrap();
        let killed = site.switch(to, "--strategy stepwise --yes").unwrap();
        println!("commit {commit}: {killed:?}");
        assert!(machine.exists("/run/nixctl-fault.done").unwrap(), "never");
        machine
            .sh("rm -f /run/nixctl-fault*")
            .unwrap()
            .ok()
            .unwrap();
        let now = if killed.success() { to } else { from };
        check_is(&site, now);
        ended(&site, &site.switch(to, "--yes").unwrap(), 0);
        check_is(&site, to);
    }
}

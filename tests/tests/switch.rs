//! The switch itself on real machines: a disk that two generations do not fit on, a big one, and a
//! new generation that does not work.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::time::Duration;

use nixctl_lab::generation::{
    Alone, Generation, Peaks, Poller, Service, Site, Spec, Tweak, Watched, alone, disk_for,
    generation,
};
use nixctl_lab::machine::Builder;
use nixctl_lab::require_disks;

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
            let known = generation.has(&program);
            assert!(known, "{} runs {program}", service.unit());
            answer
        })
        .collect()
}

fn put_data(site: &Site) {
    for service in [Service::Redis, Service::Postgresql] {
        service.wait(&site.host.machine, PATIENCE).unwrap();
    }
    site.sh("redis-cli SET kept 'by redis'").unwrap();
    site.sh(&psql("CREATE TABLE kept AS SELECT 'by postgres' AS what"))
        .unwrap();
}

fn check_data(site: &Site) {
    assert_eq!(site.sh("redis-cli GET kept").unwrap(), "by redis");
    assert_eq!(
        site.sh(&psql("SELECT what FROM kept")).unwrap(),
        "by postgres"
    );
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

    let untouched = site.look().unwrap();
    let refused = site.switch(&new, "--strategy atomic --yes").unwrap();
    site.ended(&refused, 5).unwrap();
    assert!(refused.stderr.contains("error[NIX1001]"), "{refused:?}");
    assert!(refused.stderr.contains("bytes more are needed"));
    assert_eq!(site.look().unwrap(), untouched);

    let dry = site.switch(&new, "--dry-run --json").unwrap();
    assert!(dry.success(), "{dry:?}");
    assert_eq!(site.look().unwrap(), untouched);
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
    site.ended(&switched, 0).unwrap();
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
    site.check_is(&new).unwrap();
    check_data(&site);
    let after = answers(&site, &new);
    let same = before.iter().zip(&after).filter(|(old, new)| old == new);
    assert!(same.count() <= 3, "{before:?} {after:?}");
    // Until a restart the booted kernel and its initrd stay.
    let left = site.left_of(&old, &new).unwrap();
    assert!(left.is_empty(), "{left:?}");

    site.host.machine.reboot().unwrap();
    site.check_is(&new).unwrap();
    check_data(&site);
    assert_eq!(
        site.sh("readlink -f /run/booted-system").unwrap(),
        new.toplevel
    );
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
    site.sh("redis-cli SET kept 'by redis'").unwrap();

    site.ended(&site.switch(&new, "--strategy atomic --yes").unwrap(), 0)
        .unwrap();
    site.check_is(&new).unwrap();
    let listed = site.nixctl("generations --json").unwrap();
    site.ended(&listed, 0).unwrap();
    assert!(listed.stdout.contains(&old.toplevel) && listed.stdout.contains(&new.toplevel));
    let diff = format!("diff {} {}", old.toplevel, new.toplevel);
    let diff = site.nixctl(&diff).unwrap();
    site.ended(&diff, 0).unwrap();
    assert!(diff.stdout.contains("memcached"));

    site.ended(&site.nixctl("rollback --yes").unwrap(), 0)
        .unwrap();
    site.check_is(&old).unwrap();

    let failed = site.switch(&broken, "--strategy atomic --yes").unwrap();
    site.ended(&failed, 1).unwrap();
    assert!(failed.stderr.contains("redis"), "{failed:?}");
    site.check_is(&old).unwrap();

    let confirm = "--strategy atomic --confirm-within 10 --yes";
    site.ended(&site.switch(&new, confirm).unwrap(), 1).unwrap();
    site.check_is(&old).unwrap();
    assert_eq!(site.sh("redis-cli GET kept").unwrap(), "by redis");
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
        site.check_is(now).unwrap();
        site.ended(&site.switch(to, "--yes").unwrap(), 0).unwrap();
        site.check_is(to).unwrap();
    }
}

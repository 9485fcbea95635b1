//! The ladder and the budget of a switch on real machines: services that are down for a while, a small
//! /boot, what a switch that waits says, and a newer target that takes over.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::generation::{Generation, Service, Site, Spec, Tweak, disk_for, generation};
use nixctl_lab::require_disks;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(120);
/// Services that may be down for a while.
const NOT_VITAL: &str = "non_vital = [\"caddy.service\", \"node-exporter.service\"]\n";
/// Takes from the machine's disk what a test does not want it to have.
const FILLER: &str = "/nix/filler";

/// The plan of a switch, and how asking for it ended.
fn dry(site: &Site, to: &Generation, more: &str) -> (Value, i32) {
    let output = site
        .switch(to, &format!("{more} --dry-run --json"))
        .unwrap();
    let plan = serde_json::from_str(&output.stdout);
    (
        plan.unwrap_or_else(|error| panic!("{error}: {output:?}")),
        output.status,
    )
}

fn number(text: &str, before: &str) -> u64 {
    let rest = text
        .split(before)
        .nth(1)
        .unwrap_or_else(|| panic!("no `{before}` in {text}"));
    rest.split(' ').next().unwrap().parse().unwrap()
}

/// Waits until `nixctl status` has a line that contains this, and gives the line.
fn status_says(site: &Site, wanted: &str) -> String {
    let until = Instant::now() + PATIENCE;
    loop {
        let status = site.nixctl("status").unwrap();
        if let Some(line) = status.stdout.lines().find(|line| line.contains(wanted)) {
            return line.to_owned();
        }
        assert!(Instant::now() < until, "{status:?}\n{}", site.daemon_log());
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn what_is_not_vital_is_down_for_a_while_where_nothing_else_fits() {
    if !require_disks() {
        return;
    }
    let few = [Service::Redis, Service::Caddy, Service::NodeExporter];
    let old = generation(&Spec::old().only("down-old", &few)).unwrap();
    let new = generation(&Spec::new().only("down-new", &few)).unwrap();
    let mib = disk_for(old.size() + new.size()).unwrap() + 64;
    let site = Site::boot("switch-downtime", mib, &[&old, &new]).unwrap();
    site.configure(NOT_VITAL).unwrap();
    Service::Redis.wait(&site.host.machine, PATIENCE).unwrap();
    site.sh("redis-cli SET kept 'by redis'").unwrap();

    a_small_boot_is_refused(&site, &new);

    let (room, with_all, budget) = room(&site, &new);
    site.sh(&format!("fallocate --length {} {FILLER}", budget - room))
        .unwrap();

    let untouched = site.look().unwrap();
    let refused = site.switch(&new, "--yes").unwrap();
    site.ended(&refused, 5).unwrap();
    assert!(refused.stderr.contains("error[NIX1001]"), "{refused:?}");
    let missing = number(&refused.stderr, "may be used, ");
    assert!(missing.abs_diff(with_all - room) < 8 << 20, "{missing}");
    assert!(refused.stderr.contains("--allow-downtime"), "{refused:?}");
    assert_eq!(site.look().unwrap(), untouched);

    let (plan, status) = dry(&site, &new, "--allow-downtime");
    assert_eq!(status, 0, "{plan}");
    let down = plan["downtime"].as_array().unwrap();
    assert!(
        !down.is_empty() && down.iter().all(|it| it["seconds"].as_u64() > Some(0)),
        "{plan}"
    );
    let told = site.switch(&new, "--allow-downtime --dry-run").unwrap();
    site.ended(&told, 0).unwrap();
    assert!(told.stdout.contains("down for a while"), "{told:?}");
    assert_eq!(site.look().unwrap(), untouched);
    looks(&site, &new);

    let stops = "journalctl --boot --no-pager --unit=redis.service | grep -c 'Stopped' || true";
    let (switched, peaks) = site
        .peaks(|| site.switch(&new, "--allow-downtime --yes"))
        .unwrap();
    site.ended(&switched.unwrap(), 0).unwrap();
    let (peak, planned) = (peaks.disk, &plan["space"]["peak"]);
    println!("peak on the disk: {peak}, planned {planned}");
    site.check_is(&new).unwrap();
    assert_eq!(site.sh("redis-cli GET kept").unwrap(), "by redis");
    println!("redis was stopped {} times", site.sh(stops).unwrap());
}

/// Bytes in which a switch fits only with something down, bytes in which it fits without, and what may
/// be used.
fn room(site: &Site, to: &Generation) -> (u64, u64, u64) {
    let (plan, status) = dry(site, to, "--strategy stepwise");
    assert_eq!(status, 0, "{plan}");
    let with_all = plan["space"]["peak"].as_u64().unwrap();
    let budget = plan["space"]["budget"].as_u64().unwrap();
    let (plan, status) = dry(site, to, "--allow-downtime --budget 1MiB");
    assert_eq!(status, 5, "{plan}");
    let refusal = plan["refusal"]["message"].as_str().unwrap();
    let least = number(refusal, "it needs ");
    println!("all up: {with_all}, what is not vital down: {least}, budget: {budget}");
    assert!(least < with_all, "{refusal}");
    (least.midpoint(with_all), with_all, budget)
}

#[test]
fn what_was_down_is_up_again_when_a_later_step_fails() {
    if !require_disks() {
        return;
    }
    let few = [Service::Redis, Service::Caddy, Service::NodeExporter];
    let old = generation(&Spec::old().only("down-old", &few)).unwrap();
    let broken = Spec::new().only("down-broken", &few);
    let broken = generation(&broken.tweaked(Tweak::RedisBroken)).unwrap();
    let mib = disk_for(old.size() + broken.size()).unwrap() + 64;
    let site = Site::boot("switch-down-back", mib, &[&old, &broken]).unwrap();
    site.configure(NOT_VITAL).unwrap();
    Service::Redis.wait(&site.host.machine, PATIENCE).unwrap();
    let (room, ..) = room(&site, &broken);
    let failed = format!("--allow-downtime --budget {room} --yes");
    let failed = site.switch(&broken, &failed).unwrap();
    site.ended(&failed, 1).unwrap();
    assert!(
        failed.stdout.contains("without") && failed.stderr.contains("redis"),
        "{failed:?}"
    );
    site.check_is(&old).unwrap();
}

/// A /boot on which the target's kernel has no room.
fn a_small_boot_is_refused(site: &Site, new: &Generation) {
    site.sh(
        "mkdir /run/copy && cp -a /boot/. /run/copy/ && mount -t tmpfs -o size=512k tmpfs /boot && \
         cp -a /run/copy/. /boot/",
    )
    .unwrap();
    let untouched = site.look().unwrap();
    let refused = site.switch(new, "--yes").unwrap();
    site.ended(&refused, 5).unwrap();
    assert!(refused.stderr.contains("error[NIX1001]"), "{refused:?}");
    assert!(
        refused.stderr.contains("bytes more are needed there"),
        "{refused:?}"
    );
    assert_eq!(site.look().unwrap(), untouched);
    site.sh("umount /boot && rm -r /run/copy").unwrap();
}

/// What people see: on terminals of 80 and of 40 columns, without colours, and through a pipe.
fn looks(site: &Site, new: &Generation) {
    let switch = format!(
        "nixctl switch {} --from {} --allow-downtime --dry-run --svg /tmp/plan.svg",
        new.toplevel,
        site.cache()
    );
    for (columns, environment) in [(80, ""), (40, ""), (80, "NO_COLOR=1 ")] {
        let command = format!("stty cols {columns} rows 50; {environment}{switch}");
        let output = site
            .host
            .machine
            .command_on_terminal("root", &command)
            .run()
            .unwrap();
        println!("--- {columns} columns {environment}\n{}", output.stdout);
        assert_eq!(
            output.stdout.contains("\x1b["),
            environment.is_empty(),
            "colours"
        );
        // Colours are no columns.
        let mut bars = output
            .stdout
            .lines()
            .filter(|line| line.contains("step 1 "));
        assert!(bars.next().unwrap().trim_end().chars().count() <= columns + 10);
    }
    assert!(site.sh("cat /tmp/plan.svg").unwrap().starts_with("<svg"));
}

#[test]
fn a_switch_that_waits_says_so_lasts_and_gives_way() {
    if !require_disks() {
        return;
    }
    let few = [Service::Redis, Service::Caddy];
    let old = generation(&Spec::old().only("waits-old", &few)).unwrap();
    let new = generation(&Spec::new().only("waits-new", &few)).unwrap();
    let mib = disk_for(old.size() + new.size()).unwrap() + 64;
    let mut site = Site::boot("switch-waits", mib, &[&old, &new]).unwrap();
    let (plan, _) = dry(&site, &new, "--strategy stepwise");
    assert!(plan["steps"].as_array().unwrap().len() > 2, "{plan}");

    let moved = format!(
        "busctl call org.nixctl1 /org/nixctl1 org.nixctl1.Manager Switch 'sa{{sv}}' {} 1 \
         expected-current s {}",
        new.toplevel, new.toplevel
    );
    let moved = site.host.machine.sh(&moved).unwrap();
    assert!(
        !moved.success() && moved.stderr.contains("expects generation"),
        "{moved:?}"
    );

    let started = site
        .switch(&new, "--strategy stepwise --yes --no-wait")
        .unwrap();
    site.ended(&started, 0).unwrap();
    status_says(&site, " of ");
    let until = Instant::now() + PATIENCE;
    while !site.sh("nixctl generations").unwrap().contains("hybrid") {
        assert!(Instant::now() < until, "{}", site.daemon_log());
    }
    site.sh(&format!(
        "fallocate --length $(df -B1 --output=avail /nix | tail -1) {FILLER} || true"
    ))
    .unwrap();
    let line = status_says(&site, "on /nix");
    println!("{line}");
    assert!(line.contains(" components, waiting: needs "), "{line}");
    let json: Value = serde_json::from_str(&site.nixctl("status --json").unwrap().stdout).unwrap();
    let said = json["convergence"].as_str().unwrap();
    assert!(line.contains(said) && said.contains("on /nix"), "{json}");
    let property = "busctl get-property org.nixctl1 /org/nixctl1 org.nixctl1.Manager Convergence";
    assert!(site.sh(property).unwrap().contains(said), "{said}");

    site.host.machine.reboot().unwrap();
    let line = status_says(&site, "on /nix");
    println!("after a restart: {line}");
    // A newer target goes on from here.
    site.sh(&format!("rm {FILLER}")).unwrap();
    site.ended(&site.switch(&old, "--yes").unwrap(), 0).unwrap();
    site.check_is(&old).unwrap();
    let operations = site.nixctl("operations").unwrap();
    println!("{}", operations.stdout);
}

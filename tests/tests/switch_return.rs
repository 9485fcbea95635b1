//! The ways back of the switch on real machines: a network that breaks, nobody who confirms, a boot
//! that is not healthy, cancelling and rolling back in the middle of a switch in steps.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::generation::{
    Generation, SYSTEM_PROFILE, Service, Site, Spec, Tweak, disk_for, generation,
};
use nixctl_lab::{Background, require_disks};
use serde_json::Value;

/// How long something that goes on by itself may take.
const PATIENCE: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_millis(100);
/// The services of the small generations.
const FEW: [Service; 2] = [Service::Redis, Service::Memcached];

/// A machine with room for all of these generations, which runs the first one.
fn boot(name: &str, generations: &[&Generation], settings: &str) -> Site {
    let mut room = generations[0].size();
    for (index, one) in generations.iter().enumerate().skip(1) {
        let nearest = generations[..index].iter().map(|it| one.size_beside(it));
        room += nearest.min().unwrap_or_default();
    }
    let mib = disk_for(room).unwrap() + 100;
    let site = Site::boot(name, mib, generations).unwrap();
    site.configure(settings).unwrap();
    site
}

fn default(site: &Site) -> String {
    site.sh(&format!("readlink -f {SYSTEM_PROFILE}")).unwrap()
}

/// Begins a switch and returns at once.
fn begin(site: &Site, to: &Generation, more: &str) -> Background {
    let cache = site.cache();
    let words = format!("nixctl switch {} --from {cache} --yes {more}", to.toplevel);
    let words: Vec<&str> = words.split_whitespace().collect();
    site.host.machine.spawn(&words).unwrap()
}

/// Waits until something is so; tells what the daemon says when it never is.
fn until(site: &Site, what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        let log = || site.daemon_log();
        assert!(began.elapsed() < PATIENCE, "never {what}: {}", log());
        std::thread::sleep(TICK);
    }
}

/// What `nixctl` says as JSON; nothing while it does not answer.
fn json(site: &Site, words: &str) -> Option<Value> {
    let output = site.nixctl(&format!("{words} --json")).ok()?;
    serde_json::from_str(&output.stdout).ok()
}

/// The newest operation.
fn newest(site: &Site) -> Value {
    let all = json(site, "operations").unwrap_or_default();
    all[0].clone()
}

/// Waits until the newest operation is of this kind and has ended.
fn end_of(site: &Site, kind: &str) -> Value {
    until(site, &format!("the end of a {kind}"), || {
        let it = newest(site);
        it["kind"] == kind && !it["finished"].is_null()
    });
    newest(site)
}

/// What the list of generations says of one.
fn known(site: &Site, of: &Generation) -> Value {
    let all = json(site, "generations").unwrap_or_default();
    let mut list = all.as_array().into_iter().flatten();
    let found = list.find(|it| it["path"] == of.toplevel.as_str());
    found.cloned().unwrap_or(all)
}

fn waits_to_be_confirmed(site: &Site) -> bool {
    let status = json(site, "status").unwrap_or_default();
    let waits = status["active"]["waiting_for"].as_str();
    waits.is_some_and(|text| text.contains("confirm"))
}

#[test]
fn a_target_that_breaks_the_network_is_left_by_itself() {
    if !require_disks() {
        return;
    }
    let new = Spec::new().only("back-new", &FEW);
    let cut_off = generation(&new.clone().with("back-cut", Tweak::NetworkDown)).unwrap();
    let new = generation(&new).unwrap();
    let site = boot("return-network", &[&new, &cut_off], "");
    site.check_is(&new).unwrap();

    let machine = &site.host.machine;
    let reaches = || Service::Memcached.ask(machine).is_ok();
    let link = || site.sh("ip -brief link show lo").unwrap();
    let began = Instant::now();
    let switching = begin(&site, &cut_off, "--confirm-within 20");
    until(&site, "at the target", || waits_to_be_confirmed(&site));
    assert_eq!(site.host.current().unwrap(), cut_off.toplevel);
    assert_eq!(default(&site), new.toplevel, "not before it is confirmed");
    assert!(!reaches(), "the network works: {}", link());
    assert!(link().contains("DOWN"), "{}", link());

    let output = switching.wait(PATIENCE).unwrap();
    println!("back after {:?}", began.elapsed());
    site.ended(&output, 1).unwrap();
    site.check_is(&new).unwrap();
    assert!(reaches(), "{}", link());
    let id = newest(&site)["id"].as_str().unwrap().to_owned();
    let shown = site.nixctl(&format!("show {id}")).unwrap();
    println!("{}", shown.stdout);
    assert!(shown.stdout.contains("nobody confirmed it within 20 s"));
    assert!(shown.stdout.contains("undone"), "{}", shown.stdout);
}

#[test]
fn a_new_connection_confirms_and_a_dead_daemon_or_a_reboot_does_not() {
    if !require_disks() {
        return;
    }
    let new = Spec::new().only("back-new", &FEW);
    let other = generation(&new.clone().with("back-other", Tweak::OneUnit)).unwrap();
    let new = generation(&new).unwrap();
    let mut site = boot("return-confirm", &[&new, &other], "");
    site.check_is(&new).unwrap();

    // The machine is restarted while it waits: back, with the reason.
    let switching = begin(&site, &other, "--confirm-within 600");
    until(&site, "waiting", || waits_to_be_confirmed(&site));
    drop(switching);
    site.host.machine.kill_hard().unwrap();
    site.host.machine.boot_again().unwrap();
    let view = end_of(&site, "switch");
    assert_eq!(view["state"], "reverted", "{view}");
    let why = view["failure"]["message"].as_str().unwrap();
    assert!(
        why.contains("restarted while its result was watched"),
        "{why}"
    );
    site.check_is(&new).unwrap();

    // The daemon is killed while it waits: it still waits, and a time that runs out is kept.
    let kill = "systemctl kill --signal=KILL nixctld.service";
    let switching = begin(&site, &other, "--confirm-within 15");
    until(&site, "waiting", || waits_to_be_confirmed(&site));
    site.sh(kill).unwrap();
    until(&site, "waiting again", || waits_to_be_confirmed(&site));
    assert_eq!(site.host.current().unwrap(), other.toplevel);
    let view = end_of(&site, "switch");
    assert_eq!(view["state"], "reverted", "{view}");
    let why = view["failure"]["message"].as_str().unwrap();
    assert!(why.contains("nobody confirmed it within 15 s"), "{why}");
    drop(switching);
    site.check_is(&new).unwrap();

    // A process of its own is a new connection, over the bus.
    let switching = begin(&site, &other, "--confirm-within 600");
    until(&site, "waiting", || waits_to_be_confirmed(&site));
    site.sh(kill).unwrap();
    until(&site, "waiting again", || waits_to_be_confirmed(&site));
    site.ended(&site.nixctl("confirm").unwrap(), 0).unwrap();
    let view = end_of(&site, "switch");
    assert_eq!(view["state"], "succeeded", "{view}");
    drop(switching);
    site.check_is(&other).unwrap();

    // And over the socket; the settings may ask for it, too, also of a rollback.
    site.configure("confirm_seconds = 600\n").unwrap();
    let words = [
        "nixctl",
        "--socket",
        "/run/nixctl/socket",
        "rollback",
        "--yes",
    ];
    let back = site.host.machine.spawn(&words).unwrap();
    until(&site, "waiting", || waits_to_be_confirmed(&site));
    let confirm = "--socket /run/nixctl/socket confirm";
    site.ended(&site.nixctl(confirm).unwrap(), 0).unwrap();
    site.ended(&back.wait(PATIENCE).unwrap(), 0).unwrap();
    site.check_is(&new).unwrap();
}

#[test]
fn an_unhealthy_boot_goes_back_and_a_healthy_one_is_proven() {
    if !require_disks() {
        return;
    }
    let new = Spec::new().only("back-new", &FEW);
    let other = generation(&new.clone().with("back-other", Tweak::OneUnit)).unwrap();
    let sick = generation(&new.clone().with("back-sick", Tweak::SickAtBoot)).unwrap();
    let new = generation(&new).unwrap();
    let mut site = boot("return-boot", &[&new, &other, &sick], "boot_seconds = 10\n");
    site.check_is(&new).unwrap();

    // Healthy: it awaits its first boot, and is proven by it.
    site.ended(&site.switch(&other, "--yes").unwrap(), 0)
        .unwrap();
    let it = known(&site, &other);
    assert!(it["awaits_boot"] == true && it["proven"] == true, "{it}");
    site.host.machine.reboot().unwrap();
    until(&site, "proven by the boot", || {
        known(&site, &other)["proven_by_boot"] == true
    });
    let listed = site.nixctl("generations").unwrap().stdout;
    println!("{listed}");
    assert!(listed.contains("proven by boot"), "{listed}");

    // Not healthy after the boot, though it was while switching: back at once, no other kernel.
    site.ended(&site.switch(&sick, "--yes").unwrap(), 0)
        .unwrap();
    site.check_is(&sick).unwrap();
    site.host.machine.reboot().unwrap();
    assert_eq!(
        site.sh("readlink -f /run/booted-system").unwrap(),
        sick.toplevel
    );
    let began = Instant::now();
    let view = end_of(&site, "rollback");
    println!("back {:?} after the boot: {view}", began.elapsed());
    assert_eq!(view["state"], "succeeded", "{view}");
    let reason = view["reason"].as_str().unwrap();
    assert!(reason.contains("redis.service"), "{reason}");
    site.check_is(&other).unwrap();
    let it = known(&site, &sick);
    assert!(it["boot_failure"].to_string().contains("redis"), "{it}");
    let listed = site.nixctl("generations").unwrap().stdout;
    println!("{listed}");
    assert!(listed.contains("failed its boot"), "{listed}");
    let status = site.nixctl("status").unwrap().stdout;
    println!("{status}");
    assert!(
        status.contains("boot     generation 3 was left: "),
        "{status}"
    );

    // That is all: what it went back to is not left again.
    let operations = json(&site, "operations").unwrap();
    site.host.machine.reboot().unwrap();
    site.check_is(&other).unwrap();
    std::thread::sleep(Duration::from_secs(15));
    assert_eq!(json(&site, "operations").unwrap(), operations);
    site.check_is(&other).unwrap();
}

#[test]
fn another_kernel_waits_for_a_restart_and_is_left_by_one() {
    if !require_disks() {
        return;
    }
    let new = Spec::new().only("back-new", &FEW);
    let kernel = new.clone().with("back-kernel", Tweak::OtherKernel);
    let sick = generation(&kernel.with("back-sick-kernel", Tweak::SickAtBoot)).unwrap();
    let blocked = generation(&new.clone().with("back-blocked", Tweak::Inhibitor)).unwrap();
    let new = generation(&new).unwrap();
    let settings = "boot_seconds = 10\n";
    let mut site = boot("return-kernel", &[&new, &blocked, &sick], settings);
    site.check_is(&new).unwrap();
    let needs_reboot = || json(&site, "status").unwrap()["reboot_needed"] == true;
    assert!(!needs_reboot());

    // What must not be activated now is the default of the next boot, and nothing else.
    let blocks = site.switch(&blocked, "--yes").unwrap();
    site.ended(&blocks, 0).unwrap();
    assert!(blocks.stdout.contains("restart needed"), "{blocks:?}");
    assert_eq!(site.host.current().unwrap(), new.toplevel);
    assert_eq!(default(&site), blocked.toplevel);
    assert_eq!(site.boot_default().unwrap().entry, blocked.toplevel);
    assert!(needs_reboot());
    let it = known(&site, &blocked);
    assert!(it["proven"] == false && it["awaits_boot"] == true, "{it}");
    site.ended(&site.nixctl("rollback --yes").unwrap(), 0)
        .unwrap();
    site.check_is(&new).unwrap();
    assert!(!needs_reboot());

    // Another kernel: it runs, the boot entry has the new one, and a restart is said to be needed.
    let switched = site.switch(&sick, "--yes").unwrap();
    site.ended(&switched, 0).unwrap();
    assert!(switched.stdout.contains("kernel differs"), "{switched:?}");
    site.check_is(&sick).unwrap();
    assert!(needs_reboot());
    let linux = format!(
        "linux {}",
        site.sh(&format!("readlink -f {}/kernel", sick.toplevel))
            .unwrap()
    );
    let boots = "cat /boot/loader/entries/$(sed -n 's/^default //p' /boot/loader/loader.conf)";
    let boots = site.sh(boots).unwrap();
    assert!(boots.contains(&linux), "{boots}");
    site.host.machine.reboot().unwrap();
    // The way back has another kernel again: the daemon restarts the machine for it.
    let status = site.host.machine.wait_until_off(PATIENCE).unwrap();
    assert_eq!(status, 133, "it wants to be booted again");
    site.host.machine.boot_again().unwrap();
    site.check_is(&new).unwrap();
    assert_eq!(
        site.sh("readlink -f /run/booted-system").unwrap(),
        new.toplevel
    );
    let view = end_of(&site, "rollback");
    assert_eq!(view["state"], "succeeded", "{view}");
    let it = known(&site, &sick);
    assert!(it["boot_failure"].to_string().contains("redis"), "{it}");
}

/// Waits until a switch in steps has deleted the old generation, the toplevel first of all.
fn until_released(site: &Site, old: &Generation) {
    let gone = format!("! test -e {}", old.toplevel);
    until(site, "released", || {
        site.host
            .machine
            .sh(&gone)
            .is_ok_and(|output| output.success())
    });
}

#[test]
fn a_switch_in_steps_goes_back_past_what_it_released() {
    if !require_disks() {
        return;
    }
    let many = [
        Service::Redis,
        Service::Memcached,
        Service::Nginx,
        Service::Caddy,
    ];
    let old = generation(&Spec::old().only("back-old-4", &many)).unwrap();
    let new = generation(&Spec::new().only("back-new-4", &many)).unwrap();
    let room = new.size() * 165 / 100;
    let site = Site::boot("return-steps", disk_for(room).unwrap(), &[&old, &new]).unwrap();
    site.configure("").unwrap();
    site.check_is(&old).unwrap();

    // Cancelled in the middle: what was released is fetched again.
    let cancelled = begin(&site, &new, "--strategy stepwise --soak 30");
    until_released(&site, &old);
    let id = newest(&site)["id"].as_str().unwrap().to_owned();
    site.ended(&site.nixctl(&format!("cancel {id}")).unwrap(), 0)
        .unwrap();
    let output = cancelled.wait(Duration::from_secs(200)).unwrap();
    site.ended(&output, 1).unwrap();
    let view = newest(&site);
    assert_eq!(view["state"], "cancelled", "{view}");
    site.check_is(&old).unwrap();

    // Rolled back in the middle: the same, from where it stands, from the store it came from.
    let superseded = begin(&site, &new, "--strategy stepwise --soak 30");
    until_released(&site, &old);
    let back = site.nixctl("rollback --yes").unwrap();
    site.ended(&back, 0).unwrap();
    drop(superseded);
    site.check_is(&old).unwrap();
    let hybrids = "ls /nix/store | grep nixctl-hybrid; ls -l /nix/var/nix/gcroots/nixctl/*";
    let left = site.host.machine.sh(hybrids).unwrap().stdout;
    assert!(!left.contains("hybrid"), "{left}");
}

#[test]
fn what_is_not_here_any_more_comes_from_a_store_that_is_named() {
    if !require_disks() {
        return;
    }
    let old = generation(&Spec::old().only("back-old", &FEW)).unwrap();
    let new = generation(&Spec::new().only("back-new", &FEW)).unwrap();
    let mib = disk_for(old.size() + new.size()).unwrap() + 60;
    let site = Site::boot("return-from", mib, &[&old, &new]).unwrap();
    site.configure("").unwrap();
    let switched = site.switch(&new, "--strategy stepwise --yes").unwrap();
    site.ended(&switched, 0).unwrap();
    site.check_is(&new).unwrap();
    assert!(!site.host.machine.exists(&old.toplevel).unwrap());
    let back = format!("rollback --from {} --yes", site.cache());
    site.ended(&site.nixctl(&back).unwrap(), 0).unwrap();
    site.check_is(&old).unwrap();
}

#[test]
fn what_cannot_be_fetched_again_is_not_released() {
    if !require_disks() {
        return;
    }
    let old = generation(&Spec::old().only("back-old", &FEW)).unwrap();
    let new = generation(&Spec::new().only("back-new", &FEW)).unwrap();
    // Room for both: in steps all the same, and the cache has the new one only.
    let mib = disk_for(old.size() + new.size()).unwrap() + 60;
    let site = Site::boot("return-kept", mib, &[&old]).unwrap();
    site.configure("").unwrap();
    site.server.put_folder("/new", &new.signed_cache);
    let from = format!("{}/new", site.server.url());
    let words = format!(
        "switch {} --from {from} --strategy stepwise --yes",
        new.toplevel
    );
    let switched = site.nixctl(&words).unwrap();
    site.ended(&switched, 0).unwrap();
    assert!(
        switched.stdout.contains("cannot be fetched again"),
        "{switched:?}"
    );
    site.check_is(&new).unwrap();
    let mut verify = vec!["nix-store", "--verify-path"];
    verify.extend(old.closure.iter().map(|one| &*one.path));
    site.host.nix(&verify).run().unwrap().ok().unwrap();
    site.ended(&site.nixctl("rollback --yes").unwrap(), 0)
        .unwrap();
    site.check_is(&old).unwrap();

    // Where there is no room to keep it, nothing is begun.
    let room = new.size() * 135 / 100;
    let site = Site::boot("return-refused", disk_for(room).unwrap(), &[&old]).unwrap();
    site.server.put_folder("/new", &new.signed_cache);
    let refused = site.nixctl(&words).unwrap();
    site.ended(&refused, 5).unwrap();
    assert!(refused.stderr.contains("error[NIX1001]"), "{refused:?}");
    site.check_is(&old).unwrap();
}

//! The daemon itself: how it comes onto a machine and leaves it, and how it behaves as a service.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::require;
use nixctl_lab::world::{PROGRAMS, SETTINGS, World, changes};

#[test]
fn it_leaves_as_it_came() {
    if !require() {
        return;
    }
    let world = World::boot_fresh("own").unwrap();
    let before = world.snapshot().unwrap();
    let dry = world
        .run(
            "root",
            &format!("{PROGRAMS}/nixctl daemon install --dry-run"),
        )
        .unwrap();
    assert!(dry.success() && dry.stdout.contains("nixctld"), "{dry:?}");
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
    let output = world
        .run("root", &format!("{PROGRAMS}/nixctl daemon install --yes"))
        .unwrap();
    println!("{output:?}");
    assert!(output.success(), "{output:?}");
    let installed = changes(&before, &world.snapshot().unwrap());
    println!("{}", installed.join("\n"));
    for wanted in ["+ unit:nixctld.service: enabled, active", "+ group:nixctl:"] {
        assert!(
            installed.iter().any(|line| line.starts_with(wanted)),
            "{wanted}"
        );
    }
    for command in ["nixctl status", "nixctl daemon status", "nixctl operations"] {
        world.run("bob", command).unwrap().ok().unwrap();
    }
    // A second time there is nothing to do.
    let again = world
        .run("root", &format!("{PROGRAMS}/nixctl daemon install --yes"))
        .unwrap();
    assert!(again.success(), "{again:?}");
    let output = world.run("root", "nixctl daemon uninstall --yes").unwrap();
    println!("{output:?}");
    assert!(output.success(), "{output:?}");
    let list = "remove the program /usr/local/bin/nixctld\n";
    let shown = output.stdout.matches(&format!("- {list}")).count();
    assert_eq!(shown, 1, "{output:?}");
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
    let aside = "/var/lib/nixctl/taken-off";
    let left = world.machine.sh(&format!("ls {aside}")).unwrap().ok();
    assert_eq!(left.unwrap().text(), "", "programs were left in {aside}");
    let gone = world
        .run("root", &format!("{PROGRAMS}/nixctl status"))
        .unwrap();
    assert_eq!(gone.status, 4, "{gone:?}");
    let uninstall = format!("{PROGRAMS}/nixctl daemon uninstall --yes");
    let again = world.run("root", &uninstall).unwrap();
    assert!(again.success(), "{again:?}");
}

#[test]
fn one_install_by_root_brings_both() {
    if !require() {
        return;
    }
    let world = World::boot_fresh("bootstrap").unwrap();
    world
        .machine
        .write_file("/etc/nixctl/config.toml", SETTINGS, 0o644)
        .unwrap();
    let before = world.snapshot().unwrap();
    let plan = world
        .run(
            "root",
            &format!("{PROGRAMS}/{} --dry-run", world.install_command()),
        )
        .unwrap();
    assert!(plan.success(), "{plan:?}");
    for part in ["nixctld.service", "nix.conf"] {
        assert!(
            plan.stdout.contains(part),
            "the plan does not show {part}: {plan:?}"
        );
    }
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
    let output = world
        .run("root", &format!("{PROGRAMS}/{}", world.install_command()))
        .unwrap();
    println!("{output:?}");
    assert!(output.success(), "{output:?}");
    world.build("bob", "bash", "after-one-command").unwrap();
    world
        .run("root", "nixctl uninstall --yes")
        .unwrap()
        .ok()
        .unwrap();
    world
        .run("root", "nixctl daemon uninstall --yes")
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

#[test]
fn it_is_a_good_service() {
    if !require() {
        return;
    }
    let world = World::boot_installed("service").unwrap();
    let show = |property: &str| {
        let argv = [
            "systemctl",
            "show",
            "--value",
            "--property",
            property,
            "nixctld",
        ];
        world
            .machine
            .exec(&argv)
            .unwrap()
            .ok()
            .unwrap()
            .text()
            .to_owned()
    };
    assert!(show("Type").starts_with("notify"), "{}", show("Type"));
    assert_ne!(show("WatchdogUSec"), "infinity");
    assert_ne!(show("WatchdogUSec"), "0");
    assert_eq!(show("ActiveState"), "active");
    let pid = world.daemon_pid().unwrap();
    let exposure = world
        .machine
        .sh("systemd-analyze security nixctld --no-pager | tail -1")
        .unwrap();
    println!("{}", exposure.stdout);

    // The log has the operation and the step as fields.
    let operation = world.operations().unwrap().remove(0).id;
    let query = format!("journalctl --no-pager -o json OPERATION_ID={operation} | head -50");
    let log = world.machine.sh(&query).unwrap().stdout;
    assert!(log.contains("\"STEP\""), "{log}");
    // Its level can be changed while it runs.
    let call = "busctl get-property org.nixctl1 /org/freedesktop/LogControl1 \
                org.freedesktop.LogControl1 LogLevel";
    let level = world.machine.sh(call).unwrap();
    assert_eq!(level.text(), "s \"info\"", "{level:?}");

    // Settings are read again on request, and bad ones leave the good ones in force.
    let more = format!("{SETTINGS}version = \"1.2.3\"\n");
    world
        .machine
        .write_file("/etc/nixctl/config.toml", more, 0o644)
        .unwrap();
    world
        .machine
        .exec(&["systemctl", "reload", "nixctld"])
        .unwrap()
        .ok()
        .unwrap();
    let version = || {
        world
            .run("bob", "nixctl config get install.version")
            .unwrap()
    };
    std::thread::sleep(Duration::from_millis(300));
    assert!(version().stdout.contains("1.2.3"), "{:?}", version());
    let bad = format!("{SETTINGS}versoin = \"9.9.9\"\n");
    world
        .machine
        .write_file("/etc/nixctl/config.toml", bad, 0o644)
        .unwrap();
    let _ = world
        .machine
        .exec(&["systemctl", "reload", "nixctld"])
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let log = world.daemon_log();
    for part in ["/etc/nixctl/config.toml", "versoin", "version"] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    assert_eq!(world.daemon_pid().unwrap(), pid, "{log}");
    world
        .machine
        .write_file("/etc/nixctl/config.toml", SETTINGS, 0o644)
        .unwrap();

    // Killed, it comes back.
    world
        .machine
        .exec(&["kill", "-KILL", &pid.to_string()])
        .unwrap()
        .ok()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let mut now = world.daemon_pid().unwrap();
    while (now == 0 || now == pid) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
        now = world.daemon_pid().unwrap();
    }
    assert!(now != 0 && now != pid, "{}", world.daemon_log());
    world.run("bob", "nixctl status").unwrap().ok().unwrap();
    // Stopped, it is started by the first who asks.
    world
        .machine
        .exec(&["systemctl", "stop", "nixctld"])
        .unwrap()
        .ok()
        .unwrap();
    world.run("bob", "nixctl status").unwrap().ok().unwrap();
    assert_ne!(world.daemon_pid().unwrap(), 0);
}

#[test]
fn settings_are_shown_with_their_files_and_set_by_root() {
    if !require() {
        return;
    }
    let world = World::boot("config").unwrap();
    let shown = world
        .run("bob", "nixctl config show")
        .unwrap()
        .ok()
        .unwrap();
    assert!(
        shown.stdout.contains("/etc/nixctl/config.toml"),
        "{shown:?}"
    );
    let set = world
        .run("root", "nixctl config set install.version 2.34.8")
        .unwrap();
    assert!(set.success(), "{set:?}");
    let got = world
        .run("bob", "nixctl config get install.version")
        .unwrap();
    assert!(got.stdout.contains("2.34.8"), "{got:?}");
    let text = world.machine.read_text("/etc/nixctl/config.toml").unwrap();
    assert!(text.contains("trusted_sources"), "{text}");
    let wrong = world
        .run("root", "nixctl config set install.colour blue")
        .unwrap();
    assert_eq!(wrong.status, 2, "{wrong:?}");
    println!("{wrong:?}");
}

#[test]
fn a_damaged_state_is_set_aside() {
    if !require() {
        return;
    }
    let world = World::boot("damaged").unwrap();
    let before = world.snapshot().unwrap();
    world.install().unwrap().ok().unwrap();
    let damage = "systemctl stop nixctld
        for file in $(find /var/lib/nixctl/db -type f); do
            dd if=/dev/urandom of=$file bs=4096 count=8 conv=notrunc status=none; done
        systemctl start nixctld";
    world.machine.sh(damage).unwrap();
    let status = world.run("bob", "nixctl status").unwrap();
    println!("{status:?}\n{}", world.daemon_log());
    assert!(status.success(), "{status:?}");
    let aside = world.machine.sh("ls -d /var/lib/nixctl/db?*").unwrap();
    assert!(aside.success(), "{aside:?}");
    // The machine's Nix still works, and is taken over again.
    world.build("bob", "bash", "with-a-damaged-state").unwrap();
    let adopt = world.run("root", "nixctl install --adopt --yes").unwrap();
    println!("{adopt:?}");
    assert!(adopt.success(), "{adopt:?}\n{}", world.daemon_log());
    let output = world.run("alice", "nixctl uninstall --yes").unwrap();
    assert!(output.success(), "{output:?}");
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

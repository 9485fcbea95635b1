//! Machines boot, run commands, survive a hard kill and reboots, and clean up behind themselves.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nixctl_lab::exec::Run;
use nixctl_lab::{Error, Machine, machine, require};

#[test]
fn boots_without_a_failed_unit_and_knows_its_users() {
    if !require() {
        return;
    }
    let began = Instant::now();
    let machine = Machine::builder("boot").boot().unwrap();
    let booted = began.elapsed();
    let state = machine.exec(&["systemctl", "is-system-running"]).unwrap();
    let failed = machine
        .exec(&["systemctl", "--failed", "--no-legend"])
        .unwrap();
    assert_eq!(state.text(), "running", "{}", failed.stdout);
    for user in ["alice", "bob", "carol"] {
        let who = machine
            .exec_as(
                user,
                "id -un; echo $HOME $SHELL; pwd; cat /proc/self/cgroup",
            )
            .unwrap();
        let expected = format!("{user}\n/home/{user} /bin/bash\n/home/{user}\n");
        assert!(who.stdout.starts_with(&expected), "{who:?}");
    }
    assert!(
        machine
            .exec(&["id", "-nG", "carol"])
            .unwrap()
            .text()
            .contains("sudo")
    );
    let exec = machine.exec(&["true"]).unwrap().took;
    println!("boot {booted:?}, exec {exec:?}");
    println!(
        "{}",
        machine.exec(&["cat", "/proc/self/cgroup"]).unwrap().stdout
    );
    println!("{}", machine.exec(&["systemd-analyze"]).unwrap().stdout);
    let off = Instant::now();
    drop(machine);
    println!("removal {:?}", off.elapsed());
}

#[test]
fn bus_and_polkit_answer() {
    if !require() {
        return;
    }
    let machine = Machine::builder("bus").boot().unwrap();
    let check = |user: &str| {
        let action = "org.freedesktop.hostname1.set-static-hostname";
        machine
            .exec_as(user, &format!("pkcheck --action-id {action} --process $$"))
            .unwrap()
    };
    assert_eq!(check("root").status, 0);
    assert_eq!(
        check("bob").status,
        2,
        "2 is pkcheck's `needs authentication`"
    );
    // An administrator gives the password on a terminal.
    let command = "pkttyagent --process $$ & sleep 0.5; pkcheck --allow-user-interaction \
                   --action-id org.freedesktop.hostname1.set-static-hostname --process $$; \
                   echo status $?";
    let mut asked = machine
        .command_on_terminal("carol", command)
        .spawn()
        .unwrap();
    asked
        .answer("Password", "carol", "status 0", Duration::from_secs(20))
        .unwrap();
    // A login through PAM gives a session, as on a real machine.
    let sessions = machine
        .exec_as("bob", "loginctl --no-legend list-sessions")
        .unwrap();
    assert!(sessions.stdout.contains("bob"), "{sessions:?}");
    let root = machine
        .exec(&["hostnamectl", "hostname", "renamed"])
        .unwrap();
    assert!(root.success(), "{root:?}");
}

#[test]
fn files_survive_a_hard_kill_and_reboots() {
    if !require() {
        return;
    }
    let mut machine = Machine::builder("kill").boot().unwrap();
    machine.write_file("/etc/kept", "one", 0o640).unwrap();
    let before = machine.leader();
    machine.kill_hard().unwrap();
    assert!(!machine.is_running());
    // Files can be seen and changed while it is off.
    assert_eq!(machine.read_text("/etc/kept").unwrap(), "one");
    machine.write_file("/etc/kept", "two", 0o640).unwrap();
    machine.boot_again().unwrap();
    assert_ne!(machine.leader(), before);
    assert_eq!(machine.read_text("/etc/kept").unwrap(), "two");
    let identity = machine.read_text("/etc/machine-id").unwrap();
    let began = Instant::now();
    machine.reboot().unwrap();
    println!("reboot {:?}", began.elapsed());
    assert_eq!(machine.read_text("/etc/machine-id").unwrap(), identity);
    let state = machine.exec(&["systemctl", "is-system-running"]).unwrap();
    assert_eq!(state.text(), "running", "after a kill and a reboot");
    let boots = machine
        .exec(&["journalctl", "--list-boots", "--no-pager"])
        .unwrap();
    assert!(
        boots.text().lines().count() >= 3,
        "the journal is kept: {boots:?}"
    );
    machine.power_off().unwrap();
    assert!(!machine.is_running());
}

#[test]
fn commands_have_deadlines_and_terminals() {
    if !require() {
        return;
    }
    let machine = Machine::builder("exec").boot().unwrap();
    let late = machine
        .command_as("bob", "echo started; sleep 1000")
        .deadline(Duration::from_secs(1))
        .run()
        .unwrap_err();
    assert!(matches!(late, Error::Timeout { ref output, .. } if output.contains("started")));
    std::thread::sleep(Duration::from_millis(200));
    let left = machine.exec(&["pgrep", "-x", "sleep"]).unwrap();
    assert!(
        !left.success(),
        "the late command's child still runs: {left:?}"
    );
    let terminal = machine
        .command_on_terminal("alice", "tty; id -un")
        .run()
        .unwrap();
    assert!(terminal.stdout.contains("/dev/pts/"), "{terminal:?}");
    assert!(terminal.stdout.contains("alice"), "{terminal:?}");
    let mut background = machine
        .spawn(&["sh", "-c", "read line; echo got $line; sleep 1000"])
        .unwrap();
    background.write(b"it\n");
    background
        .wait_for("got it", Duration::from_secs(5))
        .unwrap();
    let echo = machine
        .command(&["cat"])
        .input("in")
        .env("X", "y")
        .run()
        .unwrap();
    assert_eq!(echo.text(), "in");
}

#[test]
fn a_small_disk_fills_up() {
    if !require() {
        return;
    }
    let machine = Machine::builder("small").disk(64 << 20).boot().unwrap();
    let full = machine.sh("head -c 100M /dev/zero >/var/fill").unwrap();
    assert!(full.stderr.contains("No space left"), "{full:?}");
}

#[test]
fn a_container_has_no_init_and_no_bus() {
    if !require() {
        return;
    }
    let began = Instant::now();
    let mut machine = Machine::builder("plain").without_init().boot().unwrap();
    println!("container {:?}", began.elapsed());
    assert_eq!(machine.read_text("/proc/1/comm").unwrap().trim(), "sleep");
    assert!(!machine.exists("/run/systemd/system").unwrap());
    assert!(!machine.exists("/run/dbus/system_bus_socket").unwrap());
    assert_eq!(machine.exec_as("alice", "id -un").unwrap().text(), "alice");
    machine.write_file("/etc/kept", "one", 0o644).unwrap();
    machine.reboot().unwrap();
    assert_eq!(machine.read_text("/etc/kept").unwrap(), "one");
}

#[test]
fn machines_do_not_disturb_each_other_and_leave_nothing() {
    if !require() {
        return;
    }
    let first = Machine::builder("pair").boot().unwrap();
    let second = Machine::builder("pair").boot().unwrap();
    second.write_file("/etc/only-second", "", 0o644).unwrap();
    assert!(!first.exists("/etc/only-second").unwrap());
    let dir = second.dir().to_path_buf();
    drop(second);
    assert!(!dir.exists());
    let state = first.exec(&["systemctl", "is-system-running"]).unwrap();
    assert_eq!(state.text(), "running");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(
        !mounts.contains(&*dir.to_string_lossy()),
        "a mount was left"
    );
}

/// Not a test of its own: what `what_a_killed_process_left_is_swept_away` starts and kills.
#[test]
fn helper_that_is_killed() {
    if std::env::var_os("LAB_HELPER").is_some() {
        let machine = Machine::builder("orphan").boot().unwrap();
        println!("machine {}", machine.dir().display());
        std::thread::sleep(Duration::from_secs(1000));
    }
}

#[test]
fn what_a_killed_process_left_is_swept_away() {
    if !require() {
        return;
    }
    let own = std::env::current_exe().unwrap();
    let mut helper = Run::new(&[
        &*own.to_string_lossy(),
        "--exact",
        "helper_that_is_killed",
        "--nocapture",
    ])
    .env("LAB_HELPER", "1")
    .spawn()
    .unwrap();
    helper
        .wait_for("machine ", Duration::from_secs(30))
        .unwrap();
    let text = helper.stdout();
    let dir = text
        .lines()
        .find_map(|line| line.split_once("machine "))
        .unwrap()
        .1
        .to_owned();
    assert!(std::path::Path::new(&dir).is_dir());
    helper.signal(Signal::SIGKILL);
    helper.wait(Duration::from_secs(5)).unwrap();
    machine::sweep().unwrap();
    assert!(!std::path::Path::new(&dir).exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&dir));
    let name = dir.rsplit('/').next().unwrap();
    let running = Run::new(&["pgrep", "--full", &format!("machine {name}")])
        .run()
        .unwrap();
    assert!(!running.success(), "still runs: {}", running.stdout);
}

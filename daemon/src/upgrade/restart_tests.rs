use std::os::unix::fs::symlink;

use super::*;
use crate::catalogue::existing::OWN_PROFILE;
use crate::host::service::Processes;
use crate::resource::testing::Machine;

const RESTART: &str = "restart nix-daemon.service";
const HALT: &str = "halt nix-daemon.service";

fn machine(active: &str) -> Machine {
    let machine = Machine::new();
    machine.services.set(SOCKET, "enabled", "active");
    machine.services.set(SERVICE, "enabled", active);
    machine.services.set_processes(Processes {
        main: Some(10),
        others: Vec::new(),
    });
    machine
}

/// Its nix-daemon runs the program of the profile, or another one.
fn runs(machine: &Machine, is_of_profile: bool) {
    for path in [
        "/nix/store/old/bin/nix-daemon",
        "/nix/store/new/bin/nix-daemon",
    ] {
        machine.put(path, "");
    }
    for folder in ["/nix/var/nix/profiles", "/proc/10"] {
        std::fs::create_dir_all(machine.path(folder)).unwrap();
    }
    symlink("/nix/store/new", machine.path(OWN_PROFILE)).unwrap();
    let name = if is_of_profile { "new" } else { "old" };
    let program = format!("/nix/store/{name}/bin/nix-daemon");
    symlink(program, machine.path("/proc/10/exe")).unwrap();
}

fn restart() -> Restart {
    Restart { seconds: 0 }
}

fn apply(machine: &Machine) -> Result<()> {
    let undo = restart().prepare(&machine.host).unwrap();
    restart().apply(&machine.context(), &undo)
}

#[test]
fn only_what_runs_is_started_again() {
    for (active, calls) in [
        ("inactive", vec![]),
        ("failed", vec!["reset nix-daemon.service"]),
        ("active", vec![HALT, RESTART]),
    ] {
        let machine = machine(active);
        apply(&machine).unwrap();
        assert_eq!(machine.services.calls(), calls, "{active}");
    }
    let machine = machine("active");
    machine.services.set_running(false);
    apply(&machine).unwrap();
    restart().undo(&machine.context(), &Undo::Created).unwrap();
    assert!(machine.services.calls().is_empty());
}

#[test]
fn going_back_nobody_is_served_the_socket_first() {
    let machine = machine("active");
    for _ in 0..2 {
        restart().undo(&machine.context(), &Undo::Created).unwrap();
        let states = machine.services.units();
        assert!(states.values().all(|it| it.active == "inactive"));
    }
    // However often the new one ended: it does not count against the old one.
    let stops = [
        "stop nix-daemon.socket",
        "reset nix-daemon.socket",
        "stop nix-daemon.service",
        "reset nix-daemon.service",
    ];
    assert_eq!(machine.services.calls(), [stops, stops].concat());
}

/// The machine was started again in the middle, and with it a nix-daemon that is not halted.
#[test]
fn a_build_that_began_after_a_power_cut_is_not_cut_off() {
    let machine = machine("active");
    runs(&machine, false);
    for (process, parent) in [(11, 10), (12, 11)] {
        let stat = format!("{process} (nix) S {parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 6");
        machine.put(&format!("/proc/{process}/stat"), stat);
    }
    machine.services.set_processes(Processes {
        main: Some(10),
        others: vec![11, 12],
    });
    let failure = apply(&machine).unwrap_err().failure();
    assert_eq!(failure.code, nixctl_proto::Code::BuildsRunning);
    assert_eq!(machine.services.calls(), [HALT]);
}

/// It was started again, and the daemon was killed before it could write that down.
#[test]
fn what_serves_already_is_left_alone() {
    let machine = machine("active");
    runs(&machine, true);
    apply(&machine).unwrap();
    assert_eq!(machine.services.calls(), ["continue nix-daemon.service"]);
}

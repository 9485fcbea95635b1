use std::os::unix::fs::symlink;

use super::*;
use crate::host::cancel::Stop;
use crate::host::service::Processes;
use crate::resource::testing::Machine;

const MAIN: u32 = 10;
const OLD: &str = "/nix/store/old/bin/nix-daemon";

/// A machine whose nix-daemon runs `program`, while the profile leads to [`OLD`].
fn machine(program: &str) -> Machine {
    let machine = Machine::new();
    for path in [OLD, "/nix/store/new/bin/nix-daemon"] {
        machine.put(path, "");
    }
    std::fs::create_dir_all(machine.path("/nix/var/nix/profiles")).unwrap();
    symlink("/nix/store/old", machine.path(OWN_PROFILE)).unwrap();
    std::fs::create_dir_all(machine.path("/proc/10")).unwrap();
    symlink(program, machine.path("/proc/10/exe")).unwrap();
    for unit in [SOCKET, SERVICE] {
        machine.services.set(unit, "enabled", "active");
    }
    is_idle(&machine);
    machine
}

fn is_idle(machine: &Machine) {
    machine.services.set_processes(Processes {
        main: Some(MAIN),
        others: Vec::new(),
    });
}

/// A connection with a builder of its own.
fn is_busy(machine: &Machine) {
    for (process, parent) in [(11, MAIN), (12, 11)] {
        let stat = format!("{process} (nix) S {parent} 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 6");
        machine.put(&format!("/proc/{process}/stat"), stat);
    }
    machine.services.set_processes(Processes {
        main: Some(MAIN),
        others: vec![11, 12],
    });
}

fn quiet(seconds: u64) -> Quiet {
    Quiet { seconds }
}

const HALT: &str = "halt nix-daemon.service";
const CONTINUE: &str = "continue nix-daemon.service";

#[test]
fn with_nobody_at_work_the_main_process_is_halted_at_once() {
    let machine = machine(OLD);
    let (context, before) = (machine.context(), machine.state());
    let undo = quiet(600).prepare(&machine.host).unwrap();
    assert_eq!(machine.state(), before, "preparing changed something");
    assert_eq!(
        undo,
        Undo::Entries(vec![SOCKET.to_owned(), SERVICE.to_owned()])
    );
    quiet(600).apply(&context, &undo).unwrap();
    assert_eq!(machine.services.calls(), [HALT]);
    // A second attempt finds it halted, and that is fine.
    quiet(600).apply(&context, &undo).unwrap();
    machine.services.forget();
    for _ in 0..2 {
        assert_eq!(quiet(600).undo(&context, &undo).unwrap(), Undone::Clean);
    }
    assert_eq!(machine.services.calls(), [CONTINUE, CONTINUE]);
    assert_eq!(machine.state(), before);
}

#[test]
fn without_a_main_process_there_is_nothing_to_halt() {
    let machine = machine(OLD);
    machine.services.set(SERVICE, "enabled", "inactive");
    let undo = quiet(600).prepare(&machine.host).unwrap();
    assert_eq!(undo, Undo::Entries(vec![SOCKET.to_owned()]));
    quiet(600).apply(&machine.context(), &undo).unwrap();
    quiet(600).undo(&machine.context(), &undo).unwrap();
    assert!(machine.services.calls().is_empty());
}

#[test]
fn at_half_the_time_nobody_new_is_let_in_and_builds_end() {
    let machine = machine(OLD);
    is_busy(&machine);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while machine.services.calls() != [HALT] && begin.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(2));
            }
            is_idle(&machine);
        });
        quiet(2).apply(&machine.context(), &Undo::Nothing).unwrap();
    });
    assert_eq!(machine.services.calls(), [HALT]);
    let took = begin.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
}

#[test]
fn builds_that_do_not_end_are_told_after_the_deadline() {
    let machine = machine(OLD);
    is_busy(&machine);
    let error = quiet(0).apply(&machine.context(), &Undo::Nothing);
    let failure = error.unwrap_err().failure();
    assert_eq!(failure.code, nixctl_proto::Code::BuildsRunning);
    assert!(failure.message.contains("1 of"), "{}", failure.message);
    assert_eq!(machine.services.calls(), [HALT]);
}

#[test]
fn whoever_cancels_does_not_wait_for_builds() {
    let machine = machine(OLD);
    is_busy(&machine);
    machine.cancel.request(Stop::Cancelled);
    let begin = Instant::now();
    let error = quiet(600).apply(&machine.context(), &Undo::Nothing);
    assert!(error.unwrap_err().is_stopped());
    assert!(begin.elapsed() < Duration::from_secs(60));
    assert!(machine.services.calls().is_empty());
}

#[test]
fn whoever_goes_down_lets_it_serve() {
    let machine = machine(OLD);
    go_on(&machine.host).unwrap();
    machine.services.set(SERVICE, "enabled", "inactive");
    go_on(&machine.host).unwrap();
    machine.services.set_running(false);
    go_on(&machine.host).unwrap();
    assert_eq!(machine.services.calls(), [CONTINUE]);
}

#[test]
fn going_back_brings_back_what_was_up_with_the_version_of_the_profile() {
    for (program, active, calls) in [
        (OLD, ["active", "active"], vec![CONTINUE]),
        (
            "/nix/store/new/bin/nix-daemon",
            ["active", "active"],
            vec!["restart nix-daemon.service"],
        ),
        // What it is cannot be told.
        (
            "loop",
            ["active", "active"],
            vec!["restart nix-daemon.service"],
        ),
        (
            OLD,
            ["inactive", "inactive"],
            vec!["start nix-daemon.socket", "start nix-daemon.service"],
        ),
        (
            OLD,
            ["active", "failed"],
            vec!["reset nix-daemon.service", "start nix-daemon.service"],
        ),
    ] {
        let machine = machine(program);
        let undo = quiet(1).prepare(&machine.host).unwrap();
        for (unit, active) in [SOCKET, SERVICE].into_iter().zip(active) {
            machine.services.set(unit, "enabled", active);
        }
        quiet(1).undo(&machine.context(), &undo).unwrap();
        assert_eq!(machine.services.calls(), calls, "{program} {active:?}");
    }
    // What was down stays down.
    let machine = machine(OLD);
    for unit in [SOCKET, SERVICE] {
        machine.services.set(unit, "enabled", "inactive");
    }
    let undo = quiet(1).prepare(&machine.host).unwrap();
    quiet(1).undo(&machine.context(), &undo).unwrap();
    assert!(machine.services.calls().is_empty());
}

#[test]
fn without_a_service_manager_nothing_is_done() {
    let machine = machine(OLD);
    machine.services.set_running(false);
    let undo = quiet(1).prepare(&machine.host).unwrap();
    assert_eq!(undo, Undo::Entries(Vec::new()));
    quiet(1).apply(&machine.context(), &undo).unwrap();
    quiet(1).undo(&machine.context(), &undo).unwrap();
    assert!(machine.services.calls().is_empty());
}

//! Activations of a machine in a folder, with units in memory: what is done.

mod killed;

use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;
use crate::resource::testing::Machine;
use crate::switch::step::Toplevel;

const OLD: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-old";
const NEW: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-new";

const SLEEP: &str = "[Service]\nExecStart=/bin/sleep 1\n";
const OTHER: &str = "[Service]\nExecStart=/bin/sleep 2\n";

/// A machine that runs OLD, and what is needed to switch it to NEW.
fn machine(old: &[(&str, &str)], new: &[(&str, &str)]) -> Machine {
    let machine = Machine::new();
    for (toplevel, units) in [(OLD, old), (NEW, new)] {
        machine.put(&format!("{toplevel}/activate"), "");
        let directory = machine.path(&format!("{toplevel}/etc/systemd/system"));
        std::fs::create_dir_all(directory).unwrap();
        for (name, text) in units {
            machine.put(&format!("{toplevel}/etc/systemd/system/{name}"), text);
        }
    }
    for (name, _) in old {
        machine.services.set(name, "static", "active");
    }
    for (name, _) in new {
        if !old.iter().any(|(old, _)| old == name) {
            machine.services.set(name, "static", "inactive");
        }
    }
    run_toplevel(machine.dir.path(), OLD);
    let root = machine.dir.path().to_owned();
    machine.services.on_transient(move |transient| {
        if let [script, toplevel] = transient.command.as_slice()
            && script.ends_with("/activate")
        {
            run_toplevel(&root, toplevel);
        }
        0
    });
    machine
}

/// What an activation script does.
fn run_toplevel(root: &Path, toplevel: &str) {
    std::fs::create_dir_all(root.join("etc/systemd")).unwrap();
    std::fs::create_dir_all(root.join("run")).unwrap();
    for (link, target) in [
        (
            "etc/systemd/system",
            format!("{toplevel}/etc/systemd/system"),
        ),
        ("run/current-system", toplevel.to_owned()),
    ] {
        let _ = std::fs::remove_file(root.join(link));
        symlink(target, root.join(link)).unwrap();
    }
}

fn step() -> Activate {
    Activate {
        roots: "/nix/var/nix/gcroots/nixctl/x".into(),
        from: Toplevel::Path(OLD.to_owned()),
        to: Toplevel::Path(NEW.to_owned()),
        own_program: false,
        seconds: 60,
    }
}

fn current(machine: &Machine) -> String {
    Running::read(&machine.host.fs).unwrap().current.unwrap()
}

fn is_active(machine: &Machine, unit: &str) -> bool {
    machine.services.units()[unit].active == "active"
}

/// A changed service, one that is gone, and one that stays.
fn usual() -> Machine {
    machine(
        &[
            ("a.service", SLEEP),
            ("gone.service", SLEEP),
            ("stays.service", SLEEP),
        ],
        &[("a.service", OTHER), ("stays.service", SLEEP)],
    )
}

fn started(machine: &Machine, unit: &str) -> usize {
    let starts = [format!("start {unit}"), format!("restart {unit}")];
    let calls = machine.services.calls();
    calls.iter().filter(|call| starts.contains(call)).count()
}

#[test]
fn units_go_through_the_phases_in_their_order() {
    let machine = usual();
    let undo = step().prepare(&machine.context()).unwrap();
    assert_eq!(
        machine.services.calls(),
        [""; 0],
        "preparing changes nothing"
    );
    assert_eq!(
        step().apply(&machine.context(), &undo).unwrap(),
        Undone::Clean
    );
    step().sync(&machine.host).unwrap();
    let calls = machine.services.calls();
    let ours = |call: &&String| !call.contains("nixctl-activation");
    let calls: Vec<&String> = calls.iter().filter(ours).collect();
    let script = format!("run {NEW}/activate {NEW}");
    assert_eq!(
        calls,
        [
            "stop a.service",
            "stop gone.service",
            script.as_str(),
            "reset-failed",
            "reload",
            "start a.service",
        ]
    );
    assert_eq!(current(&machine), NEW);
    assert!(is_active(&machine, "a.service") && is_active(&machine, "stays.service"));
    assert!(!is_active(&machine, "gone.service"));
    assert_eq!(started(&machine, "stays.service"), 0);
}

#[test]
fn what_is_done_is_not_done_again_and_can_be_undone() {
    let machine = usual();
    let undo = step().prepare(&machine.context()).unwrap();
    step().apply(&machine.context(), &undo).unwrap();
    machine.services.forget();
    step().apply(&machine.context(), &undo).unwrap();
    assert_eq!(machine.services.calls(), [""; 0]);

    for _ in 0..2 {
        step().undo(&machine.context(), &undo).unwrap();
        assert_eq!(current(&machine), OLD);
        for unit in ["a.service", "gone.service", "stays.service"] {
            assert!(is_active(&machine, unit), "{unit}");
        }
    }
    assert_eq!(started(&machine, "a.service"), 1);
    assert_eq!(started(&machine, "stays.service"), 0);
    // And forward again.
    step().apply(&machine.context(), &undo).unwrap();
    assert_eq!(current(&machine), NEW);
}

#[test]
fn a_failure_is_named_and_what_was_stopped_is_started_all_the_same() {
    let machine = machine(
        &[("a.service", SLEEP), ("b.service", SLEEP)],
        &[("a.service", OTHER), ("b.service", OTHER)],
    );
    machine.services.set_broken("a.service", true);
    machine.exec.answer(
        "journalctl",
        &[],
        crate::host::fake::Answer::text("no such thing"),
    );
    let undo = step().prepare(&machine.context()).unwrap();
    let error = step().apply(&machine.context(), &undo).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("cannot start a.service") && !text.contains("b.service"),
        "{text}"
    );
    assert!(error.failure().causes[0].contains("no such thing"));
    assert!(is_active(&machine, "b.service"));
    // Asked again, it says the same without doing it again.
    machine.services.forget();
    assert_eq!(
        step()
            .apply(&machine.context(), &undo)
            .unwrap_err()
            .to_string(),
        text
    );
    assert_eq!(machine.services.calls(), [""; 0]);
    machine.services.set_broken("a.service", false);
    step().undo(&machine.context(), &undo).unwrap();
    assert!(is_active(&machine, "a.service") && is_active(&machine, "b.service"));
    assert_eq!(current(&machine), OLD);
}

#[test]
fn an_activation_script_that_fails_leaves_nothing_stopped() {
    let machine = usual();
    machine.services.on_transient(|_| 3);
    let undo = step().prepare(&machine.context()).unwrap();
    let error = step()
        .apply(&machine.context(), &undo)
        .unwrap_err()
        .to_string();
    assert!(error.contains("activate: it ended with 3"), "{error}");
    assert!(is_active(&machine, "a.service"));
    step().undo(&machine.context(), &undo).unwrap_err();
}

#[test]
fn the_generations_own_program_is_believed() {
    let own = Activate {
        own_program: true,
        ..step()
    };
    for (code, said) in [
        (0, None),
        (1, Some("it refused")),
        (2, Some("the activation script failed")),
        (4, Some("units failed")),
        (11, Some("another program is switching")),
        (100, Some("must be restarted")),
        (77, Some("ended with 77")),
    ] {
        let machine = usual();
        machine.put(&format!("{NEW}/bin/switch-to-configuration"), "");
        let root = machine.dir.path().to_owned();
        machine.services.on_transient(move |transient| {
            assert!(transient.command[0].ends_with("activate") || transient.command[1] == "test");
            let toplevel = transient.command[0].split_once("/bin/").map(|it| it.0);
            run_toplevel(&root, toplevel.unwrap_or(&transient.command[1]));
            if toplevel.is_some() { code } else { 0 }
        });
        let undo = own.prepare(&machine.context()).unwrap();
        let result = own.apply(&machine.context(), &undo);
        match (result, said) {
            (Ok(_), None) => {}
            (Err(error), Some(said)) => assert!(error.to_string().contains(said), "{error}"),
            (result, said) => panic!("{code}: {result:?}, {said:?}"),
        }
        assert!(
            machine
                .services
                .calls()
                .iter()
                .all(|call| !call.contains("a.service"))
        );
        own.undo(&machine.context(), &undo).unwrap();
        assert_eq!(current(&machine), OLD);
    }
}

#[test]
fn what_a_program_that_was_cut_off_left_over_is_done() {
    let machine = usual();
    machine.services.set("a.service", "static", "inactive");
    machine.put("/run/nixos/start-list", "a.service\nnone.service\n");
    machine.put("/run/nixos/restart-list", "stays.service\n");
    let undo = step().prepare(&machine.context()).unwrap();
    step().apply(&machine.context(), &undo).unwrap();
    assert_eq!(started(&machine, "a.service"), 1);
    assert_eq!(started(&machine, "stays.service"), 1);
    assert_eq!(machine.text("/run/nixos/start-list"), None);
    assert_eq!(machine.text("/run/nixos/restart-list"), None);
}

#[test]
fn what_the_activation_script_asks_for_is_done() {
    let machine = usual();
    let root = machine.dir.path().to_owned();
    machine.services.on_transient(move |transient| {
        run_toplevel(&root, &transient.command[1]);
        let list = root.join("run/nixos/activation-restart-list");
        std::fs::write(list, "stays.service\nnone.service\n").unwrap();
        0
    });
    let undo = step().prepare(&machine.context()).unwrap();
    step().apply(&machine.context(), &undo).unwrap();
    let calls = machine.services.calls();
    assert_eq!(started(&machine, "stays.service"), 1, "{calls:?}");
    assert!(
        !calls.iter().any(|it| it.contains("none.service")),
        "{calls:?}"
    );
    assert_eq!(machine.text("/run/nixos/activation-restart-list"), None);
}

#[test]
fn the_daemon_does_not_stop_itself() {
    for new in [&[("nixctld.service", OTHER), ("a.service", OTHER)][..], &[]] {
        let machine = machine(&[("nixctld.service", SLEEP), ("a.service", SLEEP)], new);
        let undo = step().prepare(&machine.context()).unwrap();
        step().apply(&machine.context(), &undo).unwrap();
        let calls = machine.services.calls();
        assert!(calls.contains(&"stop a.service".to_owned()), "{calls:?}");
        assert!(
            !calls.iter().any(|it| it.contains("nixctld.service")),
            "{calls:?}"
        );
    }
}

#[test]
fn nobody_else_may_be_at_it() {
    let machine = usual();
    let undo = step().prepare(&machine.context()).unwrap();
    let lock = lock::take(&machine.host.fs).unwrap();
    let error = step().apply(&machine.context(), &undo).unwrap_err();
    assert!(error.waits().is_some(), "{error}");
    assert_eq!(machine.services.calls(), [""; 0]);
    drop(lock);
    step().apply(&machine.context(), &undo).unwrap();
}

#[test]
fn without_a_service_manager_nothing_is_begun() {
    let machine = usual();
    machine.services.set_running(false);
    let error = step().prepare(&machine.context()).unwrap_err().to_string();
    assert!(error.contains("no running service manager"), "{error}");
}

//! Activations that are cut off: by a failure anywhere, a kill, a shutdown, a restart of the machine.

use std::sync::{Arc, Mutex};

use super::*;
use crate::host::Clock;
use crate::host::cancel::Stop;
use crate::host::clock::Moment;

#[test]
fn whatever_fails_undoing_brings_everything_back() {
    let whole = {
        let machine = usual();
        let undo = step().prepare(&machine.context()).unwrap();
        step().apply(&machine.context(), &undo).unwrap();
        machine.services.calls()
    };
    for (cut, call) in whole.iter().enumerate() {
        let machine = usual();
        let undo = step().prepare(&machine.context()).unwrap();
        machine.services.fail_after(cut);
        let _ = step().apply(&machine.context(), &undo);
        step().undo(&machine.context(), &undo).unwrap();
        assert_eq!(current(&machine), OLD, "cut at {call}");
        for unit in ["a.service", "gone.service", "stays.service"] {
            assert!(is_active(&machine, unit), "{unit} cut at {call}");
        }
    }
}

/// Two services that are restarted at once, one that is stopped and started, and one that is gone.
fn busy() -> Machine {
    let at_once = |text: &str| format!("{text}X-StopIfChanged=false\n");
    let (sleep, other) = (at_once(SLEEP), at_once(OTHER));
    machine(
        &[
            ("a.service", SLEEP),
            ("b.service", &sleep),
            ("c.service", &sleep),
            ("gone.service", SLEEP),
        ],
        &[
            ("a.service", OTHER),
            ("b.service", &other),
            ("c.service", &other),
        ],
    )
}

fn dies(work: impl FnOnce() -> Result<Undone, ActivateError>) -> bool {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err()
}

#[test]
fn a_daemon_that_is_killed_anywhere_goes_on_or_back() {
    let whole = {
        let machine = busy();
        let undo = step().prepare(&machine.context()).unwrap();
        step().apply(&machine.context(), &undo).unwrap();
        machine.services.calls()
    };
    for (cut, call) in whole.iter().enumerate() {
        for back in [false, true] {
            let machine = busy();
            machine
                .services
                .change_details("b.service", |it| it.invocation = "old".to_owned());
            let undo = step().prepare(&machine.context()).unwrap();
            machine.services.die_after(cut);
            assert!(
                dies(|| step().apply(&machine.context(), &undo)),
                "at {call}"
            );
            if back {
                step().undo(&machine.context(), &undo).unwrap();
                assert_eq!(current(&machine), OLD, "killed at {call}");
                assert!(is_active(&machine, "gone.service"), "killed at {call}");
            } else {
                step().apply(&machine.context(), &undo).unwrap();
                assert_eq!(current(&machine), NEW, "killed at {call}");
                assert!(!is_active(&machine, "gone.service"), "killed at {call}");
                let scripts = machine.services.calls();
                let runs = scripts.iter().filter(|it| it.starts_with("run ")).count();
                assert_eq!(runs, 1, "killed at {call}: {scripts:?}");
            }
            for unit in ["a.service", "b.service"] {
                assert!(is_active(&machine, unit), "{unit} killed at {call}");
            }
            let starts = started(&machine, "b.service");
            assert!(
                starts <= 1 + usize::from(back),
                "b.service killed at {call}"
            );
        }
    }
}

#[test]
fn an_undoing_that_is_killed_anywhere_goes_on() {
    for cut in 0.. {
        let machine = busy();
        let undo = step().prepare(&machine.context()).unwrap();
        step().apply(&machine.context(), &undo).unwrap();
        machine.services.die_after(cut);
        let died = dies(|| step().undo(&machine.context(), &undo));
        step().undo(&machine.context(), &undo).unwrap();
        assert_eq!(current(&machine), OLD, "killed at {cut}");
        for unit in ["a.service", "b.service", "gone.service"] {
            assert!(is_active(&machine, unit), "{unit} killed at {cut}");
        }
        if !died {
            assert!(cut > 5, "{cut}");
            break;
        }
    }
}

#[test]
fn a_shutdown_leaves_and_the_next_daemon_goes_on() {
    let mut machine = usual();
    let undo = step().prepare(&machine.context()).unwrap();
    let (cancel, root) = (machine.cancel.clone(), machine.dir.path().to_owned());
    let runs = Arc::new(Mutex::new(0));
    let counted = runs.clone();
    machine.services.on_transient(move |transient| {
        run_toplevel(&root, &transient.command[1]);
        *counted.lock().unwrap() += 1;
        cancel.request(Stop::Shutdown);
        0
    });
    let error = step().apply(&machine.context(), &undo).unwrap_err();
    assert!(error.is_stopped(), "{error}");
    assert!(
        !is_active(&machine, "a.service"),
        "it is still to be started"
    );
    machine.cancel = crate::host::Cancel::default();
    machine.services.forget();
    step().apply(&machine.context(), &undo).unwrap();
    assert_eq!(*runs.lock().unwrap(), 1, "the script ran once");
    let calls = machine.services.calls();
    assert_eq!(calls[..3], ["reset-failed", "reload", "start a.service"]);
    // Its unit is forgotten when what was stopped runs again.
    let unit = |call: &String| call.contains("nixctl-activation-");
    assert!(calls[3..].iter().all(unit), "{calls:?}");
}

/// The clock after a restart of the machine.
#[derive(Debug)]
struct AnotherBoot;

impl Clock for AnotherBoot {
    fn now(&self) -> u64 {
        0
    }

    fn moment(&self) -> Moment {
        Moment {
            era: "another".to_owned(),
            millis: 0,
        }
    }
}

#[test]
fn another_boot_has_undone_it() {
    let mut machine = usual();
    let undo = step().prepare(&machine.context()).unwrap();
    machine.host.clock = Arc::new(AnotherBoot);
    machine.services.forget();
    assert_eq!(
        step().undo(&machine.context(), &undo).unwrap(),
        Undone::Clean
    );
    assert_eq!(machine.services.calls(), [""; 0]);
    // Forward it is decided anew: nothing of this boot's units is known from before.
    machine.services.set("gone.service", "static", "inactive");
    step().apply(&machine.context(), &undo).unwrap();
    assert!(
        !machine
            .services
            .calls()
            .contains(&"stop gone.service".to_owned())
    );
    assert_eq!(current(&machine), NEW);
}

#[test]
fn a_restart_into_what_is_undone_is_taken_back_all_the_same() {
    let machine = usual();
    let undo = step().prepare(&machine.context()).unwrap();
    step().apply(&machine.context(), &undo).unwrap();
    // It had become the default by then.
    machine.put("/proc/sys/kernel/random/boot_id", "two\n");
    assert_eq!(
        step().undo(&machine.context(), &undo).unwrap(),
        Undone::Clean
    );
    assert_eq!(current(&machine), OLD);
}

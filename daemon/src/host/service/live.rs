//! The service manager of a real machine. Run it as root on a throw-away machine with systemd and
//! a bus: `cargo test -p nixctld host::service::live -- --ignored --test-threads 1`.

use std::time::Duration;

use super::{
    Control, Heard, JobVerb, ServiceError, ServiceManager, Systemd, Transient, UnitDetails, UnitJob,
};

const DIR: &str = "/etc/systemd/system";
const LONG: Duration = Duration::from_secs(30);

/// Units of the test, gone at its end.
struct Units(Vec<String>);

impl Units {
    fn add(&mut self, name: &str, text: &str) {
        // Not limited, so that the test can be run many times in a row.
        let text = format!("[Unit]\nStartLimitIntervalSec=0\n{text}");
        std::fs::write(format!("{DIR}/{name}"), text).unwrap();
        self.0.push(name.to_owned());
    }
}

impl Drop for Units {
    fn drop(&mut self) {
        for name in &self.0 {
            systemctl(&["disable", "--quiet", "--now", name]);
            let _ = std::fs::remove_file(format!("{DIR}/{name}"));
        }
        systemctl(&["daemon-reload"]);
    }
}

fn systemctl(args: &[&str]) -> bool {
    std::process::Command::new("systemctl")
        .args(args)
        .status()
        .unwrap()
        .success()
}

/// The daemon's arrangement: one thread drives the runtime, others call.
fn systemd() -> Systemd {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    std::thread::spawn(move || runtime.block_on(std::future::pending::<()>()));
    Systemd::new(handle)
}

#[test]
#[ignore = "changes units of the machine it runs on"]
fn units_are_enabled_started_stopped_and_read() {
    let services = systemd();
    let mut units = Units(Vec::new());
    let (socket, service) = ("nixctl-live.socket", "nixctl-live.service");
    assert_eq!(services.state(service).unwrap().load, "not-found");
    units.add(
        socket,
        "[Socket]\nListenStream=/run/nixctl-live\n[Install]\nWantedBy=sockets.target\n",
    );
    units.add(service, "[Service]\nExecStart=/bin/sleep 1000\n");
    units.add(
        "nixctl-bad.service",
        "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    );
    units.add(
        "nixctl-slow.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sleep 5\n",
    );

    assert_eq!(services.state(socket).unwrap().file, "disabled");
    for _ in 0..2 {
        services.enable(socket).unwrap();
    }
    services.reload().unwrap();
    assert!(services.state(socket).unwrap().is_enabled());
    assert_eq!(services.state(service).unwrap().file, "static");

    for _ in 0..2 {
        services.start(socket, LONG).unwrap();
        services.start(service, LONG).unwrap();
    }
    assert!(systemctl(&["is-active", "--quiet", socket, service]));
    let state = services.state(service).unwrap();
    assert!(state.is_active());
    assert_eq!(state.fragment, format!("{DIR}/{service}"));
    services.restart(service, LONG).unwrap();
    services.stop(socket, LONG).unwrap();
    assert!(
        matches!(services.start(socket, LONG), Err(ServiceError::Job { .. })),
        "a socket does not start behind its running service"
    );
    services.stop(service, LONG).unwrap();
    services.start(socket, LONG).unwrap();

    let failed = services.start("nixctl-bad.service", LONG);
    assert!(matches!(&failed, Err(ServiceError::Job { result, .. }) if result == "failed"));
    assert_eq!(
        services.state("nixctl-bad.service").unwrap().active,
        "failed"
    );
    services.reset_failed("nixctl-bad.service").unwrap();
    assert_eq!(
        services.state("nixctl-bad.service").unwrap().active,
        "inactive"
    );
    let slow = services.start("nixctl-slow.service", Duration::from_millis(300));
    assert!(
        matches!(slow, Err(ServiceError::Deadline { .. })),
        "{slow:?}"
    );
    services.stop("nixctl-slow.service", LONG).unwrap();

    services.stop(socket, LONG).unwrap();
    for unit in [socket, "nixctl-none.service"] {
        services.disable(unit).unwrap();
        services.stop(unit, LONG).unwrap();
        services.reset_failed(unit).unwrap();
    }
    assert!(matches!(
        services.enable("nixctl-none.service"),
        Err(ServiceError::Refused { .. })
    ));
    assert!(services.start("nixctl-none.service", LONG).is_err());
    drop(units);
    services.reload().unwrap();
    assert_eq!(services.state(socket).unwrap().load, "not-found");
    for unit in [socket, service] {
        services.stop(unit, LONG).unwrap();
        services.disable(unit).unwrap();
    }
}

#[test]
#[ignore = "restarts the bus of the machine it runs on"]
fn a_lost_bus_is_found_again() {
    let services = systemd();
    let mut units = Units(Vec::new());
    let unit = "nixctl-live2.service";
    units.add(unit, "[Service]\nExecStart=/bin/sleep 1000\n");
    services.start(unit, LONG).unwrap();
    // Many restarts in a row are an accident to systemd, but not here.
    assert!(systemctl(&["reset-failed", "dbus.service", "dbus.socket"]));
    assert!(systemctl(&["restart", "dbus.service"]));
    assert!(services.state(unit).unwrap().is_active());
    services.restart(unit, LONG).unwrap();
    assert!(systemctl(&["stop", "dbus.socket", "dbus.service"]));
    let without = services.state(unit);
    assert!(systemctl(&["start", "dbus.socket"]));
    assert!(
        matches!(without, Err(ServiceError::Unreachable { .. })),
        "{without:?}"
    );
    services.stop(unit, LONG).unwrap();
    assert!(!services.state(unit).unwrap().is_active());
}

fn job(verb: JobVerb, unit: &str, deadline: Duration) -> UnitJob {
    UnitJob {
        verb,
        unit: unit.to_owned(),
        deadline,
    }
}

/// Looks at a unit until it has come to its end.
fn ended(services: &Systemd, unit: &str) -> UnitDetails {
    for _ in 0..300 {
        let details = services.details(unit).unwrap();
        if details.active == "failed" || details.sub == "exited" {
            return details;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{unit} does not end");
}

#[test]
#[ignore = "changes units of the machine it runs on"]
fn jobs_of_a_batch_end_each_for_itself() {
    let services = systemd();
    let mut units = Units(Vec::new());
    let mut batch = Vec::new();
    for at in 0..40 {
        let name = format!("nixctl-many{at}.service");
        units.add(&name, "[Service]\nExecStart=/bin/sleep 1000\n");
        batch.push(job(JobVerb::Start, &name, LONG));
    }
    units.add(
        "nixctl-bad3.service",
        "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    );
    units.add(
        "nixctl-slow3.service",
        "[Service]\nType=oneshot\nExecStart=/bin/sleep 20\n",
    );
    services.reload().unwrap();
    batch.push(job(JobVerb::Start, "nixctl-bad3.service", LONG));
    batch.push(job(
        JobVerb::Start,
        "nixctl-slow3.service",
        Duration::from_secs(1),
    ));
    batch.push(job(JobVerb::Start, "nixctl-none.service", LONG));
    let began = std::time::Instant::now();
    let results = services.run_jobs(&batch);
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert!(results[..40].iter().all(Result::is_ok), "{results:?}");
    assert!(matches!(&results[40], Err(ServiceError::Job { result, .. }) if result == "failed"));
    assert!(matches!(&results[41], Err(ServiceError::Deadline { .. })));
    assert!(matches!(&results[42], Err(ServiceError::Refused { .. })));

    let name = "nixctl-many7.service";
    let file = format!("{DIR}/{name}");
    let files = services.fragments(&[name, "nixctl-none.service"]);
    assert_eq!(
        files.into_iter().collect::<Vec<_>>(),
        [(name.to_owned(), file)]
    );
    let again = "nixctl-again3.service";
    units.add(
        again,
        "[Service]\nExecStart=/bin/sleep 0.1\nRestart=always\nStartLimitBurst=1000\n",
    );
    services.reload().unwrap();
    services.start(again, LONG).unwrap();
    let counts = || {
        services
            .restarts(&[name, "nixctl-none.service", again])
            .unwrap()
    };
    let until = std::time::Instant::now() + LONG;
    while counts()[again] < 2 && std::time::Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let seen = counts();
    assert!(seen[again] >= 2 && seen.len() == 3, "{seen:?}");
    assert_eq!((seen[name], seen["nixctl-none.service"]), (0, 0));
    services.stop(again, LONG).unwrap();
    let one_by_one = |unit: &&str| services.details(unit).unwrap();
    let units = [name, "nixctl-none.service", "nixctl-bad3.service"];
    let together: Vec<_> = services
        .details_of(&units)
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(together, units.iter().map(one_by_one).collect::<Vec<_>>());

    let before = services.details(name).unwrap();
    assert_eq!(before.start_timeout, Some(Duration::from_secs(90)));
    assert_eq!(before.invocation.len(), 32);
    let restarted = services.run_jobs(&[job(JobVerb::Restart, name, LONG)]);
    assert!(restarted[0].is_ok());
    assert_ne!(
        services.details(name).unwrap().invocation,
        before.invocation
    );
    let loaded = services.loaded().unwrap();
    let state = |name: &str| {
        loaded
            .iter()
            .find(|it| it.name == name)
            .unwrap()
            .active
            .clone()
    };
    assert_eq!(state(name), "active");
    assert_eq!(state("nixctl-bad3.service"), "failed");
    services.reset_all_failed().unwrap();
    assert_eq!(
        services.details("nixctl-bad3.service").unwrap().active,
        "inactive"
    );
}

#[test]
#[ignore = "starts the service manager of the machine anew"]
fn transient_units_keep_their_results_over_a_restart_of_systemd() {
    let services = systemd();
    let transient = |unit: &str, script: &str, deadline| Transient {
        unit: unit.to_owned(),
        description: "a test".to_owned(),
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: vec![("CODE".to_owned(), "7".to_owned())],
        deadline,
    };
    let good = transient("nixctl-good4.service", "sleep 1", LONG);
    let bad = transient("nixctl-bad4.service", "exit $CODE", LONG);
    let slow = transient("nixctl-slow4.service", "sleep 100", Duration::from_secs(1));
    for transient in [&good, &bad, &slow] {
        services.start_transient(transient).unwrap();
    }
    services.reexecute().unwrap();
    for transient in [&good, &bad, &slow] {
        services.start_transient(transient).unwrap();
    }
    let (good, bad, slow) = (
        ended(&services, &good.unit),
        ended(&services, &bad.unit),
        ended(&services, &slow.unit),
    );
    assert_eq!((good.active.as_str(), good.exit_status), ("active", 0));
    assert_eq!((bad.active.as_str(), bad.exit_status), ("failed", 7));
    assert_eq!(
        (slow.active.as_str(), slow.result.as_str()),
        ("failed", "timeout")
    );
    for unit in [
        "nixctl-good4.service",
        "nixctl-bad4.service",
        "nixctl-slow4.service",
    ] {
        let stopped = services.run_jobs(&[job(JobVerb::Stop, unit, LONG)]);
        assert!(stopped[0].is_ok(), "{stopped:?}");
        services.reset_failed(unit).unwrap();
        assert_eq!(services.details(unit).unwrap().load, "not-found");
    }
}

/// Takes what is heard until it is this.
fn hears(heard: &std::sync::mpsc::Receiver<Heard>, unit: &str, active: &str) {
    let wanted = Heard::State {
        unit: unit.to_owned(),
        active: active.to_owned(),
    };
    let until = std::time::Instant::now() + LONG;
    let mut others = Vec::new();
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        match heard.recv_timeout(left) {
            Ok(heard) if heard == wanted => return,
            Ok(other) => others.push(other),
            Err(_) => panic!("{wanted:?} is not heard, but {others:?}"),
        }
    }
}

#[test]
#[ignore = "mounts, and restarts systemd and the bus of the machine it runs on"]
fn changes_of_units_are_heard_of_also_after_restarts() {
    let services = systemd();
    let mut units = Units(Vec::new());
    let (unit, bad, folder) = (
        "nixctl-heard.service",
        "nixctl-bad5.service",
        "/run/nixctl-heard",
    );
    let mount = "run-nixctl\\x2dheard.mount";
    units.add(unit, "[Service]\nExecStart=/bin/sleep 1000\n");
    units.add(bad, "[Service]\nType=oneshot\nExecStart=/bin/false\n");
    services.reload().unwrap();
    std::fs::create_dir_all(folder).unwrap();
    let run = |argv: &[&str]| {
        let mut command = std::process::Command::new(argv[0]);
        assert!(
            command.args(&argv[1..]).status().unwrap().success(),
            "{argv:?}"
        );
    };
    let (sender, heard) = std::sync::mpsc::channel();
    let hear = Box::new(move |heard| drop(sender.send(heard)));
    let listening = services.listen(hear).unwrap();
    listening.set([unit, bad, mount].map(str::to_owned).into());
    hears(&heard, mount, "inactive");
    let in_turn = || {
        run(&["systemctl", "start", unit]);
        hears(&heard, unit, "active");
        run(&["systemctl", "kill", "--signal=KILL", unit]);
        hears(&heard, unit, "failed");
        let begun = std::time::Instant::now();
        run(&["mount", "-t", "tmpfs", "none", folder]);
        hears(&heard, mount, "active");
        run(&["umount", folder]);
        hears(&heard, mount, "inactive");
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{:?}",
            begun.elapsed()
        );
    };
    in_turn();
    run(&["systemctl", "daemon-reexec"]);
    in_turn();
    assert!(systemctl(&["reset-failed", "dbus.service", "dbus.socket"]));
    assert!(systemctl(&["restart", "dbus.service"]));
    // What happens while nobody can hear is told afterwards.
    run(&["mount", "-t", "tmpfs", "none", folder]);
    hears(&heard, mount, "active");
    run(&["umount", folder]);
    hears(&heard, mount, "inactive");
    in_turn();
    assert!(services.start(bad, LONG).is_err());
    let failed = Heard::JobFailed {
        unit: bad.to_owned(),
        result: "failed".to_owned(),
    };
    assert!(heard.iter().any(|it| it == failed));
    // Looking at a unit loads it for a moment, and must not be answered by looking again.
    while heard.recv_timeout(Duration::from_secs(1)).is_ok() {}
    services.state(mount).unwrap();
    let echo: Vec<Heard> =
        std::iter::from_fn(|| heard.recv_timeout(Duration::from_secs(1)).ok()).collect();
    assert!(echo.len() <= 8, "{echo:?}");
    drop(listening);
    let quiet = heard.recv_timeout(LONG);
    assert_eq!(quiet, Err(std::sync::mpsc::RecvTimeoutError::Disconnected));
}

//! Proofs over units in memory and real sockets.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use nixctl_proto::settings::ProbeSettings;

use super::*;
use crate::host::cancel::Stop;
use crate::host::fake::Answer;
use crate::resource::testing::Machine;
use crate::switch::step::{Probe, ProbeKind};

fn machine() -> Machine {
    let machine = Machine::new();
    machine.services.set("a.service", "static", "active");
    machine.services.set("b.socket", "static", "active");
    machine
}

fn prove(window_seconds: u64, probes: Vec<ProbeKind>) -> Prove {
    let probe = |kind| Probe {
        name: "it".to_owned(),
        unit: "a.service".to_owned(),
        kind,
        seconds: 1,
    };
    Prove {
        window_seconds,
        units: vec![
            "a.service".to_owned(),
            "b.socket".to_owned(),
            "none.service".to_owned(),
        ],
        probes: probes.into_iter().map(probe).collect(),
    }
}

fn run(machine: &Machine, prove: &Prove) -> Result<Undone, String> {
    let undo = prove.prepare(&machine.context()).unwrap();
    let result = prove.apply(&machine.context(), &undo);
    result.map_err(|error| error.to_string())
}

#[test]
fn a_quiet_machine_is_healthy_after_its_window() {
    let machine = machine();
    let began = Instant::now();
    assert_eq!(run(&machine, &prove(1, Vec::new())), Ok(Undone::Clean));
    assert!(began.elapsed() >= Duration::from_secs(1));
    machine.cancel.request(Stop::Cancelled);
    assert!(
        run(&machine, &prove(1, Vec::new()))
            .unwrap_err()
            .contains("asked to stop")
    );
}

#[test]
fn a_failed_or_restarting_unit_ends_it_at_once() {
    type Change = fn(&Machine);
    let changes: [(&str, Change); 3] = [
        ("it failed", |it| {
            it.services.set("a.service", "static", "failed")
        }),
        ("started again by itself", |it| {
            it.services
                .change_details("a.service", |it| it.sub = "auto-restart".to_owned());
        }),
        ("2 times", |it| {
            it.services
                .change_details("a.service", |it| it.restarts += 2)
        }),
    ];
    for (said, change) in changes {
        let machine = machine();
        machine
            .services
            .change_details("a.service", |it| it.restarts = 5);
        machine.exec.answer("journalctl", &[], Answer::text("why"));
        let began = Instant::now();
        let error = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(300));
                change(&machine);
            });
            run(&machine, &prove(30, Vec::new())).unwrap_err()
        });
        assert!(
            error.contains("a.service") && error.contains(said),
            "{error}"
        );
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn probes_pass_and_fail() {
    let machine = machine();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp_address = tcp.local_addr().unwrap().to_string();
    let socket = machine.path("/run/socket");
    let _unix = UnixListener::bind(&socket).unwrap();
    machine.exec.answer("good", &["-x"], Answer::code(0, ""));
    machine.exec.answer("bad", &[], Answer::code(1, "is not"));
    let words =
        |words: &[&str]| ProbeKind::Command(words.iter().map(|&it| it.to_owned()).collect());
    let good = [
        words(&["good", "-x"]),
        ProbeKind::Tcp(tcp_address),
        ProbeKind::Unix(socket.clone()),
    ];
    assert_eq!(run(&machine, &prove(0, good.to_vec())), Ok(Undone::Clean));
    let closed = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap().to_string()
    };
    for (kind, said) in [
        (words(&["bad"]), "is not"),
        (words(&[]), "no program"),
        (words(&["missing"]), "not installed"),
        (ProbeKind::Tcp(closed), "refused"),
        (ProbeKind::Tcp("nonsense".to_owned()), "nonsense"),
        (ProbeKind::Unix(machine.path("/run/none")), "No such file"),
        (ProbeKind::Http("gopher://x/".to_owned()), "gopher"),
    ] {
        let error = run(&machine, &prove(0, vec![kind])).unwrap_err();
        assert!(
            error.contains("probe it failed") && error.contains(said),
            "{error}"
        );
    }
}

#[test]
fn only_probes_that_concern_a_step_belong_to_it() {
    let settings = |name: &str, unit: &str, tcp: &str| ProbeSettings {
        name: name.to_owned(),
        unit: unit.to_owned(),
        tcp: tcp.to_owned(),
        command: vec!["true".to_owned()],
        ..ProbeSettings::default()
    };
    let all = [
        settings("a", "a.service", ""),
        settings("b", "b.service", ""),
        settings("c", "", "c:1"),
    ];
    let some = probes_for(&all, &["b.service".to_owned()]);
    let names: Vec<&str> = some.iter().map(|it| &*it.name).collect();
    assert_eq!(names, ["b", "c"]);
    assert_eq!(some[0].kind, ProbeKind::Command(vec!["true".to_owned()]));
    assert_eq!(some[1].kind, ProbeKind::Tcp("c:1".to_owned()));
}

#[test]
fn a_web_server_is_judged_by_its_status_and_may_take_a_moment() {
    let machine = machine();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut request = [0; 1024];
            let read = stream.read(&mut request).unwrap();
            let bad = request[..read].starts_with(b"GET /bad") || count == 0;
            let status = if bad {
                "503 Busy"
            } else {
                "302 Found\r\nLocation: /x"
            };
            write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
        }
    });
    let probe = |path: &str| prove(1, vec![ProbeKind::Http(format!("http://{address}{path}"))]);
    assert_eq!(run(&machine, &probe("/")), Ok(Undone::Clean));
    assert!(run(&machine, &probe("/bad")).unwrap_err().contains("503"));
}

#[test]
fn a_server_that_says_nothing_is_given_up_at_its_deadline() {
    let machine = machine();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let began = Instant::now();
    let error = run(&machine, &prove(0, vec![ProbeKind::Http(url)])).unwrap_err();
    assert!(error.contains("probe it failed"), "{error}");
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Mutex;

use super::*;
use crate::host::Cancel;
use crate::payload::test_server::{Asked, Server, reply};

const ID: &str = "c988d2509fdf4cdcbed39037c56406fb";

fn client() -> Client {
    Client::direct(Duration::from_millis(300), Cancel::default())
}

fn member(server: &Server, id: &str) -> FleetLock {
    FleetLock::new(client(), &server.url("/base/"), "workers", id).unwrap()
}

/// One slot, as the protocol has it.
fn one_slot() -> Server {
    let holders = Mutex::new(BTreeSet::new());
    Server::start(move |asked, out| {
        let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        let id = body["client_params"]["id"].as_str().unwrap().to_owned();
        let mut holders = holders.lock().unwrap();
        match asked.path.as_str() {
            "/base/v1/pre-reboot" if holders.is_empty() || holders.contains(&id) => {
                holders.insert(id);
                reply(asked, out, "200 OK", "", b"");
            }
            "/base/v1/steady-state" => {
                holders.remove(&id);
                reply(asked, out, "200 OK", "", b"");
            }
            _ => {
                let body =
                    br#"{"kind":"failed_lock_semaphore_full","value":"all slots are taken"}"#;
                reply(asked, out, "409 Conflict", "", body);
            }
        }
    })
}

#[test]
fn one_machine_at_a_time_has_the_slot() {
    let server = one_slot();
    let (one, other) = (member(&server, ID), member(&server, "other"));
    assert_eq!(one.lock().unwrap(), Answer::Yes);
    assert_eq!(one.lock().unwrap(), Answer::Yes);
    let refused = other.lock().unwrap();
    let why = refused.refusal().unwrap();
    assert_eq!(why, "all slots are taken (failed_lock_semaphore_full)");
    assert_eq!(other.unlock().unwrap(), Answer::Yes);
    assert!(matches!(other.lock().unwrap(), Answer::No { .. }));
    assert_eq!(one.unlock().unwrap(), Answer::Yes);
    assert_eq!(other.lock().unwrap(), Answer::Yes);
}

#[test]
fn requests_are_those_of_the_protocol() {
    let server = one_slot();
    member(&server, ID).lock().unwrap();
    member(&server, ID).unlock().unwrap();
    let paths: Vec<String> = server.requests().into_iter().map(|it| it.path).collect();
    assert_eq!(paths, ["/base/v1/pre-reboot", "/base/v1/steady-state"]);
    for asked in server.requests() {
        assert_eq!(asked.method, "POST");
        assert_eq!(asked.header("fleet-lock-protocol").unwrap(), "true");
        assert_eq!(asked.header("content-type").unwrap(), "application/json");
        let body = format!(r#"{{"client_params":{{"id":"{ID}","group":"workers"}}}}"#);
        assert_eq!(asked.body, body);
    }
}

type Reply = fn(&Asked, &mut dyn Write);

#[test]
fn only_200_is_a_yes() {
    let cases: [(Reply, &str); 8] = [
        (
            |a, o| reply(a, o, "204 None", "", b""),
            "the server answers 204",
        ),
        (
            |a, o| reply(a, o, "202 Later", "", b""),
            "the server answers 202",
        ),
        (
            |a, o| reply(a, o, "404 No", "", b"<html>"),
            "the server answers 404",
        ),
        (
            |a, o| reply(a, o, "503 No", "", b""),
            "the server answers 503",
        ),
        (
            |a, o| reply(a, o, "500 No", "", b"{\"kind\":\"x\"}"),
            "the server answers 500",
        ),
        (
            |a, o| reply(a, o, "307 There", "Location: /elsewhere\r\n", b""),
            "redirects (307), which is not followed",
        ),
        (
            |a, o| reply(a, o, "500 No", "", b"{\"value\":\"etcd is away\"}"),
            "etcd is away",
        ),
        (
            |a, o| {
                let body = "{\"kind\":\"a\\u001b\",\"value\":\"b\\nc\"}";
                reply(a, o, "400 No", "", body.as_bytes());
            },
            "b\u{fffd}c (a\u{fffd})",
        ),
    ];
    for (answer, part) in cases {
        let server = Server::start(answer);
        let said = member(&server, ID).lock().unwrap().refusal().unwrap();
        assert!(said.contains(part), "{said}");
        assert_eq!(server.requests().len(), 1, "{said}");
    }
    let endless = Server::start(|asked, out| {
        let value = "x".repeat(1 << 20);
        let body = format!("{{\"kind\":\"k\",\"value\":\"{value}\"}}");
        reply(asked, out, "500 No", "", body.as_bytes());
    });
    let said = member(&endless, ID).lock().unwrap().refusal().unwrap();
    assert_eq!(said, "the server answers 500");
}

#[test]
fn a_server_that_is_away_means_wait() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let silent = Server::start(|_, _| std::thread::sleep(Duration::from_secs(2)));
    let ended = Server::start(|_, _| {});
    let nonsense = Server::start(|_, out| {
        let _ = out.write_all(b"what?\r\n\r\n");
    });
    for url in [
        format!("http://{closed}"),
        silent.url(""),
        ended.url(""),
        nonsense.url(""),
        // TLS is not spoken there.
        format!("https://{}", ended.address),
    ] {
        let lock = FleetLock::new(client(), &url, "default", ID).unwrap();
        for asked in [lock.lock(), lock.unlock()] {
            let error = asked.unwrap_err();
            assert!(matches!(error, FleetLockError::Away(_)), "{error}");
            assert_eq!(error.code(), Code::Network);
            let text = error.to_string();
            assert!(
                text.starts_with("cannot ask the FleetLock server: "),
                "{text}"
            );
        }
    }
}

#[test]
fn wrong_settings_are_refused() {
    for (url, group, part) in [
        ("", "a", "fleet_lock_url"),
        ("ftp://h", "a", "fleet_lock_url"),
        ("http://h/?a=b", "a", "it has a query"),
        ("http://h", "", "fleet_lock_group"),
        ("http://h", "a b", "`a b` has other characters"),
        ("http://h", "a\"}", "has other characters"),
    ] {
        let error = FleetLock::new(client(), url, group, ID).unwrap_err();
        assert_eq!(error.code(), Code::BadSettings);
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn the_machines_own_id_is_not_told() {
    let dir = tempfile::tempdir().unwrap();
    let fs = Fs::at(dir.path());
    assert!(machine_id(&fs).is_err());
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    let write = |text: &str| std::fs::write(dir.path().join("etc/machine-id"), text).unwrap();
    for wrong in [
        "",
        "uninitialized\n",
        "c988d2509fdf4cdcbed39037c56406f\n",
        "00000000000000000000000000000000\n",
        "+988d2509fdf4cdcbed39037c56406fb\n",
    ] {
        write(wrong);
        assert!(machine_id(&fs).is_err(), "{wrong}");
    }
    write(&format!("{ID}\n"));
    let told = machine_id(&fs).unwrap();
    // For ever the same, and made by another implementation of HMAC.
    assert_eq!(told, "aea7adf76ff840cf87b574a29aaf9375");
    assert!(!told.contains(&ID[..8]));
    write("00000000000000000000000000000001\n");
    assert_ne!(machine_id(&fs).unwrap(), told);
}

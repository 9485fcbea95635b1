//! The release server inside a machine: layout, ranges, faults, and its life across a reboot.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::dist::{Version, nix_release};
use nixctl_lab::server::Fault;
use nixctl_lab::{Machine, require};

const PORT: u16 = 8080;

#[test]
fn serves_releases_and_survives_a_reboot() {
    if !require() {
        return;
    }
    let release = nix_release(Version::Nix226).unwrap();
    let mut machine = Machine::builder("server").boot().unwrap();
    let server = machine
        .serve_releases(std::slice::from_ref(&release), PORT)
        .unwrap();
    let url = server.release_url(&release);
    let get = |machine: &Machine, url: &str| {
        machine
            .exec(&[
                "curl",
                "--silent",
                "--show-error",
                "--fail",
                "--max-time",
                "20",
                url,
            ])
            .unwrap()
    };
    assert_eq!(
        get(&machine, &format!("{url}.sha256")).text(),
        release.sha256_xz
    );
    let sum = machine.sh(&format!("curl -sf {url} | sha256sum")).unwrap();
    assert!(sum.text().starts_with(&release.sha256_xz));
    // Interrupted after a million bytes and continued from there, the whole is right.
    let continued = format!(
        "cd /var/tmp; curl -sfo part '{url}?truncate=1000000'; stat -c %s part; \
         curl -sfC - -o part {url} && sha256sum part"
    );
    let continued = machine.sh(&continued).unwrap();
    let expected = format!("1000000\n{}", release.sha256_xz);
    assert!(continued.text().starts_with(&expected), "{continued:?}");
    let range = server.requests().last().unwrap().range.clone();
    assert_eq!(range.as_deref(), Some("bytes=1000000-"));

    machine.reboot().unwrap();
    assert!(
        get(&machine, &format!("{url}.sha256")).success(),
        "gone after the reboot"
    );
    // It is in the machine's network, not in the host's.
    assert!(std::net::TcpStream::connect(("127.0.0.1", PORT)).is_err());
    drop(server);
    assert!(
        !get(&machine, &format!("{url}.sha256")).success(),
        "still there after its end"
    );
}

#[test]
fn faults_come_when_asked_for_and_go_when_healed() {
    if !require() {
        return;
    }
    let machine = Machine::builder("faults").boot().unwrap();
    let server = machine.serve(PORT).unwrap();
    server.put("/data", vec![b'x'; 200_000]);
    let url = format!("{}/data", server.url());
    let curl = |query: &str, options: &str| {
        let began = Instant::now();
        let script = format!("curl -s {options} '{url}{query}' | wc -c; echo ${{PIPESTATUS[0]}}");
        let output = machine.exec(&["bash", "-c", &script]).unwrap();
        let mut numbers = output
            .stdout
            .split_whitespace()
            .map(|word| word.parse::<u32>().unwrap());
        (
            numbers.next().unwrap(),
            numbers.next().unwrap(),
            began.elapsed(),
        )
    };
    let (bytes, status, _) = curl("", "");
    assert_eq!((bytes, status), (200_000, 0));
    let (bytes, status, _) = curl("?truncate=5000", "");
    assert_eq!((bytes, status), (5000, 18), "18 is curl's `partial file`");
    let (bytes, status, _) = curl("?stall=7000", "--max-time 1");
    assert_eq!((bytes, status), (7000, 28), "28 is curl's `timed out`");
    let (bytes, _, took) = curl("?rate=200000", "");
    assert_eq!(bytes, 200_000);
    assert!(
        (Duration::from_millis(800)..Duration::from_secs(3)).contains(&took),
        "{took:?}"
    );
    let (_, status, _) = curl("", "--fail --range 300000-");
    assert_eq!(status, 22, "416");

    server.break_prefix("/da", Fault::Status(503));
    let (_, status, _) = curl("", "--fail");
    assert_eq!(status, 22);
    server.heal();
    server.break_prefix("/data", Fault::Corrupt(10));
    let corrupt = machine
        .sh(&format!("curl -s {url} | tr -d x | wc -c"))
        .unwrap();
    assert_eq!(corrupt.text(), "1");
    server.heal();
    assert_eq!(curl("", "").1, 0);
    let statuses: Vec<u16> = server
        .requests()
        .iter()
        .map(|request| request.status)
        .collect();
    assert!(
        statuses.contains(&503) && statuses.contains(&416),
        "{statuses:?}"
    );
}

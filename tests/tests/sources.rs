//! Sources that are no release, by accident or on purpose: each is refused before anything is
//! changed, soon, and with words that a terminal can show.
#![allow(clippy::unwrap_used)]

mod cases;

use std::time::Duration;

use cases::Cases;
use nixctl_lab::require;
use nixctl_lab::world::World;

/// Longest time for a refusal: nobody waits for a file that has no end.
const SOON: Duration = Duration::from_secs(10);

#[test]
fn sources_that_are_none() {
    if !require() {
        return;
    }
    let mut cases = Cases::on(World::boot("sources").unwrap());
    let from = |source: &str| format!("nixctl install --source {source} --yes");
    let server = cases.world.server.url();
    cases
        .world
        .server
        .put("/nix/junk.tar.xz", "this is no archive");
    cases.expect(
        "",
        &from("http://127.0.0.1:9/nix-2.26.3-x86_64-linux.tar.xz"),
        ("NIX1004", 5),
        "",
    );
    cases.expect("", &from("/var/tmp/none.tar.xz"), ("NIX1013", 5), "");
    cases.expect("", &from("/etc/passwd"), ("NIX1013", 5), "");
    cases.expect("", &from("/var/tmp"), ("NIX1013", 5), "");
    cases.expect(
        "",
        &from(&format!("{server}/nix/none.tar.xz")),
        ("NIX1013", 5),
        "",
    );
    cases.expect(
        "",
        "nixctl install --version 9.9.9 --yes",
        ("NIX1013", 5),
        "",
    );
    cases.expect(
        "",
        "nixctl install --version ../../x --yes",
        ("NIX3003", 2),
        "",
    );
    cases.expect("", &from("ftp://127.0.0.1/x.tar.xz"), ("NIX3003", 2), "");
    cases.finish();
}

#[test]
fn hostile_files_and_names() {
    if !require() {
        return;
    }
    let mut cases = Cases::on(World::boot("hostile-files").unwrap());
    let name = "/var/tmp/nix-2.26.3-x86_64-linux.tar.xz";
    let odd = "/var/tmp/odd";
    let remove = format!("rm -rf {name} {odd}*");
    let bad = ("NIX1013", 5);
    let nonsense = ("NIX3003", 2);
    let table = [
        (format!("mkdir {name}"), name, bad),
        (format!("touch {name}"), name, bad),
        (format!("touch {odd}"), odd, bad),
        (format!("ln -s /etc/passwd {name}"), name, bad),
        (format!("ln -s {name} {name}"), name, bad),
        (format!("mkfifo {name}"), name, bad),
        (format!("mkfifo {odd}"), odd, bad),
        (format!("mknod {name} c 1 5"), name, bad),
        (String::new(), "/dev/zero", bad),
        (String::new(), "/dev/null", bad),
        (String::new(), "/proc/kmsg", bad),
        (String::new(), "/proc/1/mem", bad),
        (String::new(), "/run/nixctl/socket", bad),
        (format!("truncate -s 1T {name}"), name, bad),
        (format!("truncate -s 1T {odd}"), odd, bad),
        (String::new(), "/var/tmp/../../etc/passwd", nonsense),
        (String::new(), "/", bad),
        (
            String::new(),
            "\"$(printf '/var/tmp/odd\\033[31m\\nx')\"",
            nonsense,
        ),
        (String::new(), "\"$(printf '/%05000d')\"", nonsense),
        (String::new(), "''", nonsense),
    ];
    for (prepare, source, expected) in table {
        let command = format!("nixctl install --source {source} --yes");
        let output = cases.expect(&prepare, &command, expected, &remove);
        assert!(output.took < SOON, "{source}: {output:?}");
        assert!(!output.stderr.contains('\u{1b}'), "{source}: {output:?}");
    }
    // The client takes no words that are no text.
    let bytes = "nixctl install --source \"$(printf '/var/tmp/\\377\\376.tar.xz')\" --yes";
    let output = cases.world.run("root", bytes).unwrap();
    assert_eq!(output.status, 2, "{output:?}");
    assert!(output.stderr.contains("invalid UTF-8"), "{output:?}");
    cases.finish();
}

//! The releases are real: they install, and root and an ordinary user build in the sandbox through
//! nix-daemon, in a booted machine.
#![allow(clippy::unwrap_used)]

use nixctl_lab::dist::{Version, install_by_hand, nix_release};
use nixctl_lab::snapshot::{NOISE, Snapshot};
use nixctl_lab::{Machine, require};

/// Fails when the build is not in a sandbox, where the machine's /etc/os-release is not to be seen.
const BUILD: &str = "derivation { name = \"NAME\"; system = \"x86_64-linux\"; builder = \"/bin/sh\"; \
                     args = [ \"-c\" \"test ! -e /etc/os-release && echo it works > $out\" ]; }";

fn installs_and_builds(version: Version) {
    let release = nix_release(version).unwrap();
    let mut machine = Machine::builder("dist").boot().unwrap();
    let before = Snapshot::take(&machine, &NOISE).unwrap();
    install_by_hand(&machine, &release, 4).unwrap();
    let said = machine
        .exec_as("bob", "nix --version")
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(said.text(), format!("nix (Nix) {}", release.version));

    for (name, user) in [("by-bob", "bob"), ("by-root", "root")] {
        let expression = BUILD.replace("NAME", name);
        let file = format!("/var/tmp/{name}.nix");
        machine.write_file(&file, expression, 0o644).unwrap();
        let command = format!(
            "export NIX_REMOTE=daemon; cat $(nix-build --no-out-link --option substitute false {file})"
        );
        let built = machine.exec_as(user, &command).unwrap().ok().unwrap();
        assert_eq!(built.text(), "it works");
    }
    let verified = machine
        .exec_as("root", "nix-store --verify --check-contents")
        .unwrap();
    assert!(
        verified.success() && !verified.stderr.contains("error"),
        "{verified:?}"
    );

    let after = Snapshot::take(&machine, &NOISE).unwrap();
    let key = format!("nix:{}", release.nix);
    assert!(
        after.get(&key).is_some() && before.get(&key).is_none(),
        "the database is read"
    );

    // It is still there after a hard kill, and the socket starts the daemon again.
    machine.kill_hard().unwrap();
    machine.boot_again().unwrap();
    machine
        .exec_as(
            "bob",
            "nix-store --query --hash $(readlink -f $(command -v nix) | cut -d/ -f1-4)",
        )
        .unwrap()
        .ok()
        .unwrap();
}

#[test]
fn the_older_nix_builds_in_a_machine() {
    if require() {
        installs_and_builds(Version::Nix226);
    }
}

#[test]
fn the_newer_nix_builds_in_a_machine() {
    if require() {
        installs_and_builds(Version::Nix234);
    }
}

#[test]
fn a_release_has_the_shape_of_an_official_one() {
    if !require() {
        return;
    }
    let release = nix_release(Version::Nix226).unwrap();
    let machine = Machine::builder("shape").without_init().boot().unwrap();
    machine
        .copy_in(&release.tar_xz, std::path::Path::new("/r.tar.xz"), 0o644)
        .unwrap();
    let sum = machine.exec(&["sha256sum", "/r.tar.xz"]).unwrap();
    assert!(sum.stdout.starts_with(&release.sha256_xz));
    let list = machine
        .exec(&["tar", "-tf", "/r.tar.xz"])
        .unwrap()
        .ok()
        .unwrap()
        .stdout;
    let top = release.top();
    assert!(list.lines().all(|line| line.starts_with(&top)));
    assert!(list.contains(&format!("{top}/.reginfo\n")));
    for path in &release.paths {
        let base = path.path.trim_start_matches("/nix/store/");
        assert!(list.contains(&format!("{top}/store/{base}/")), "{base}");
        let hash = &base[..32];
        assert!(
            hash.chars()
                .all(|c| "0123456789abcdfghijklmnpqrsvwxyz".contains(c)),
            "{hash}"
        );
    }
    for wanted in [
        &format!("{}/bin/nix-daemon", release.nix),
        &format!("{}/lib/systemd/system/nix-daemon.socket", release.nix),
        &format!("{}/etc/profile.d/nix-daemon.fish", release.nix),
        &format!("{}/etc/ssl/certs/ca-bundle.crt", release.cacert),
        &format!("{}/bin/sh", release.busybox),
    ] {
        let member = wanted.replace("/nix/store", &format!("{top}/store"));
        assert!(list.lines().any(|line| line == member), "{member}");
    }
}

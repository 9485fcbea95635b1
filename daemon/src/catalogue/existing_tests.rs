use super::super::facts::places::nix_dir;
use super::super::facts::shells::rc_files;
use super::super::facts::testing::Machine;
use super::*;
use crate::host::mounts;

const HASH: &str = "0123456789abcdfghijklmnpqrsvwxyz";

fn of(machine: &Machine) -> Option<Existing> {
    let fs = machine.host().fs;
    let rc = rc_files(&fs).unwrap();
    let nix = nix_dir(&fs, &mounts::parse("")).unwrap();
    read(&fs, &nix, &rc, &InstallSettings::default()).unwrap()
}

fn with_nix(machine: Machine, profile: &str) -> Machine {
    machine
        .file(&format!("/nix/store/{HASH}-nix-2.26.3/bin/nix"), "")
        .file(
            &format!("/nix/store/{HASH}-nss-cacert-3.1/etc/ssl/certs/ca-bundle.crt"),
            "c",
        )
        .file("/nix/var/nix/db/db.sqlite", "")
        .link(
            &format!("/nix/store/{HASH}-user-environment/bin"),
            &format!("/nix/store/{HASH}-nix-2.26.3/bin"),
        )
        .link(
            &format!("/nix/store/{HASH}-user-environment/etc"),
            &format!("/nix/store/{HASH}-nss-cacert-3.1/etc"),
        )
        .link(
            &format!("/nix/var/nix/profiles/{profile}"),
            &format!("{profile}-1-link"),
        )
        .link(
            &format!("/nix/var/nix/profiles/{profile}-1-link"),
            &format!("/nix/store/{HASH}-user-environment"),
        )
}

fn script() -> Machine {
    with_nix(Machine::new(), "default")
        .link(
            "/etc/systemd/system/nix-daemon.service",
            "/nix/var/nix/profiles/default/lib/systemd/system/nix-daemon.service",
        )
        .file("/etc/bash.bashrc.backup-before-nix", "a\n")
        .file(
            "/etc/nix/nix.conf",
            "\nbuild-users-group = nixbld\nmax-jobs = 3\n",
        )
}

#[test]
fn nothing_there_is_nothing() {
    assert_eq!(of(&Machine::new()), None);
    assert_eq!(of(&Machine::new().directory("/nix/lost+found")), None);
}

#[test]
fn the_official_script_can_be_taken_over() {
    let found = of(&script()).unwrap();
    assert_eq!(found.kind, ExistingKind::MultiUserScript);
    assert_eq!(found.version.as_deref(), Some("2.26.3"));
    assert_eq!(
        found.store_path,
        Some(format!("/nix/store/{HASH}-nix-2.26.3"))
    );
    assert_eq!(found.seen.len(), 2);
    let Adoption::Safe(parts) = found.adoption else {
        panic!("{found:?}")
    };
    assert_eq!(
        parts.cacert,
        Some(format!("/nix/store/{HASH}-nss-cacert-3.1"))
    );
    assert_eq!(parts.conf_lines, ["build-users-group = nixbld"]);
    assert_eq!(parts.backups.len(), 1);
}

#[test]
fn parts_that_others_may_depend_on_make_it_unsafe() {
    let other_group = script().file("/etc/nix/nix.conf", "build-users-group = builders\n");
    let found = of(&other_group).unwrap();
    assert!(matches!(&found.adoption, Adoption::Unsafe { help, .. } if help.contains("builders")));
    let machine = script();
    std::fs::remove_file(machine.real("/nix/var/nix/db/db.sqlite")).unwrap();
    assert!(matches!(
        of(&machine).unwrap().adoption,
        Adoption::Unsafe { .. }
    ));
    let machine = script();
    std::fs::remove_file(machine.real("/nix/var/nix/profiles/default")).unwrap();
    assert!(matches!(
        of(&machine).unwrap().adoption,
        Adoption::Unsafe { .. }
    ));
}

#[test]
fn every_kind_is_recognised_and_only_some_are_safe() {
    let nix = || with_nix(Machine::new(), "default");
    let dpkg = ExistingKind::DistributionPackage("dpkg".to_owned());
    let table = [
        (
            nix()
                .file("/usr/local/bin/determinate-nixd", "")
                .file("/nix/receipt.json", ""),
            ExistingKind::Determinate,
            false,
        ),
        (
            nix().directory("/nix/var/determinate"),
            ExistingKind::Determinate,
            false,
        ),
        (
            nix()
                .file("/nix/receipt.json", "{}")
                .file("/nix/nix-installer", ""),
            ExistingKind::InstallerFork,
            true,
        ),
        (
            Machine::new()
                .file("/usr/bin/nix-store", "")
                .file("/var/lib/dpkg/status", ""),
            dpkg.clone(),
            false,
        ),
        (
            nix()
                .file("/usr/bin/nix", "")
                .file("/var/lib/dpkg/info/nix-bin.list", ""),
            dpkg,
            false,
        ),
        (nix(), ExistingKind::SingleUser, false),
        (
            Machine::new().file("/nix/data", ""),
            ExistingKind::Unknown,
            false,
        ),
    ];
    for (machine, kind, safe) in table {
        let found = of(&machine).unwrap();
        assert_eq!(found.kind, kind);
        assert!(!found.seen.is_empty());
        assert_eq!(
            matches!(found.adoption, Adoption::Safe(_)),
            safe,
            "{kind:?}"
        );
    }
}

#[test]
fn our_own_kept_store_is_taken_back() {
    let found = of(&with_nix(Machine::new(), "nixctl")).unwrap();
    assert_eq!(found.kind, ExistingKind::Kept);
    assert_eq!(found.adoption, Adoption::Natural);
    assert_eq!(found.version.as_deref(), Some("2.26.3"));
}

#[test]
fn an_install_of_ours_without_its_record_can_be_taken_over() {
    let unit = super::NIX_DAEMON_SERVICE;
    let conf = "mine = 1\nmax-jobs = auto\n# why\nsandbox = true\nssl-cert-file = /mine\n";
    let machine = with_nix(Machine::new(), "nixctl")
        .file(unit.path, unit.content)
        .file("/nix/var/nix/db/db.sqlite", "")
        .file("/etc/nix/nix.conf", conf);
    let found = of(&machine).unwrap();
    assert_eq!(found.kind, ExistingKind::Own);
    let Adoption::Safe(parts) = found.adoption else {
        panic!("{:?}", found.adoption)
    };
    assert_eq!(parts.version, "2.26.3");
    assert_eq!(
        parts.conf_lines,
        ["max-jobs = auto", "# why", "sandbox = true"]
    );
}

#[test]
fn a_program_that_is_a_link_into_the_store_is_no_package() {
    let machine = script().link("/usr/bin/nix", "/nix/var/nix/profiles/default/bin/nix");
    assert_eq!(of(&machine).unwrap().kind, ExistingKind::MultiUserScript);
}

#[test]
fn versions_in_store_names() {
    let name = |rest: &str| format!("{HASH}-{rest}");
    assert_eq!(store_version(&name("nix-2.26.3")), Some("2.26.3"));
    assert_eq!(
        store_version(&name("nix-2.35.0pre20260101_abc")),
        Some("2.35.0pre20260101_abc")
    );
    for other in ["nix-cli-2.26.3", "nix-2.26.3-man", "nss-cacert-3.1", "nix"] {
        assert_eq!(store_version(&name(other)), None, "{other}");
    }
    assert_eq!(store_version("short-nix-2.26.3"), None);
}

#[test]
fn the_last_value_in_nix_conf_counts() {
    let conf = "a = 1\n# a = 2\na=3 # x\nb = x = y\n";
    assert_eq!(conf_value(conf, "a"), Some("3"));
    assert_eq!(conf_value(conf, "b"), Some("x = y"));
    assert_eq!(conf_value(conf, "c"), None);
}

use nixctl_proto::{Code, Failure};

use super::*;
use crate::catalogue::existing::{Adoption, Existing, ExistingKind};
use crate::catalogue::facts::{
    IdRange, Leftover, LeftoverKind, Manager, NixDir, Place, Selinux, Wsl,
};
use crate::payload::Source;

#[path = "preflight_rows.rs"]
mod rows;

use rows::{leftover, table};

fn release() -> Release {
    Release {
        source: Source::Url("https://releases.nixos.org/nix/x.tar.xz".to_owned()),
        sha256: "ab".repeat(32),
        size: Some(20 << 20),
        version: "2.26.3".to_owned(),
        system: "x86_64-linux".to_owned(),
    }
}

fn needs() -> Needs {
    Needs::of(&release(), 64 << 20)
}

fn failing(facts: &Facts, request: &InstallRequest) -> Vec<(String, Failure)> {
    let settings = InstallSettings::default();
    checks(facts, request, &settings, Some(&release()), &needs())
        .into_iter()
        .filter_map(|check| check.failure.map(|failure| (check.id, failure)))
        .collect()
}

fn found(kind: ExistingKind, adoption: Adoption) -> Option<Existing> {
    Some(Existing {
        kind,
        version: Some("2.20.1".to_owned()),
        store_path: None,
        seen: vec!["/some/mark".to_owned()],
        adoption,
    })
}

fn unsafe_because(why: &str, help: &str) -> Adoption {
    Adoption::Unsafe {
        why: why.to_owned(),
        help: help.to_owned(),
    }
}

#[test]
fn a_plain_machine_passes_and_every_check_says_what_it_saw() {
    let settings = InstallSettings::default();
    let request = InstallRequest::default();
    let all = checks(
        &Facts::plain_debian(),
        &request,
        &settings,
        Some(&release()),
        &needs(),
    );
    assert_eq!(all.len(), 16);
    for check in &all {
        assert_eq!(check.failure, None, "{}", check.id);
        assert!(!check.seen.is_empty(), "{}", check.id);
    }
    let mut ids: Vec<&str> = all.iter().map(|check| check.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), all.len());
}

#[test]
fn each_obstacle_fails_its_own_check_with_its_code() {
    for (id, code, alter, message, help) in table() {
        let mut facts = Facts::plain_debian();
        alter(&mut facts);
        let failures = failing(&facts, &InstallRequest::default());
        assert_eq!(failures.len(), 1, "{id} {message}: {failures:?}");
        let (failed, failure) = &failures[0];
        assert_eq!((failed.as_str(), failure.code), (id, code), "{failure:?}");
        assert!(
            failure.message.contains(message),
            "{id}: {}",
            failure.message
        );
        assert!(
            failure.message.starts_with("cannot "),
            "{}",
            failure.message
        );
        assert!(!failure.message.ends_with('.'), "{}", failure.message);
        assert!(failure.help.contains(help), "{id}: {}", failure.help);
    }
}

#[test]
fn obstacles_that_do_not_matter_here_pass() {
    let mounted = || NixDir::Directory {
        mounted: Some("ext4".to_owned()),
        uid: 0,
        entries: Vec::new(),
    };
    type Alter<'a> = &'a dyn Fn(&mut Facts);
    let table: [(&str, Alter<'_>); 7] = [
        ("a read-only root with /nix mounted", &|f| {
            f.places.root.read_only = true;
            f.nix_dir = mounted();
        }),
        ("an image-based system with /nix in the image", &|f| {
            f.system.composefs = true;
            f.system.ostree = true;
            f.nix_dir = mounted();
        }),
        ("a container under a Windows kernel", &|f| {
            f.system.wsl = Some(Wsl { version: 2 });
            f.system.container = Some("docker".to_owned());
            f.system.manager = Manager::None;
        }),
        ("adduser of busybox", &|f| {
            f.tools = ["adduser", "addgroup", "deluser", "delgroup"]
                .map(str::to_owned)
                .into();
        }),
        ("inodes that are not counted", &|f| {
            f.places.store.free_inodes = u64::MAX
        }),
        ("a store of our own that was kept", &|f| {
            f.existing = found(ExistingKind::Kept, Adoption::Natural);
        }),
        ("an unknown skew", &|f| f.clock_skew = None),
    ];
    for (what, alter) in table {
        let mut facts = Facts::plain_debian();
        alter(&mut facts);
        assert_eq!(failing(&facts, &InstallRequest::default()), [], "{what}");
    }
}

#[test]
fn a_safe_installation_is_taken_over_when_asked_for() {
    let adopt = InstallRequest {
        adopt: true,
        ..InstallRequest::default()
    };
    let parts = Adoption::Safe(Box::default());
    let mut facts = Facts::plain_debian();
    facts.existing = found(ExistingKind::MultiUserScript, parts);
    facts.leftovers = vec![
        leftover(LeftoverKind::Backup, "/etc/bashrc.backup-before-nix"),
        leftover(LeftoverKind::Unit, "/etc/systemd/system/nix-daemon.service"),
    ];
    // Nothing is fetched, so neither room nor network matter.
    facts.places.store.free_bytes = 0;
    facts.network = Some(Failure::new(Code::Network, "cannot reach it"));
    assert_eq!(failing(&facts, &adopt), []);
    facts
        .leftovers
        .push(leftover(LeftoverKind::StaticLink, "/etc/static"));
    assert_eq!(failing(&facts, &adopt)[0].1.code, Code::Leftovers);
    facts.leftovers.clear();
    facts.system.manager = Manager::None;
    let failures = failing(&facts, &adopt);
    assert_eq!(failures[0].1.code, Code::ForeignNix);
    assert!(failures[0].1.message.contains("systemd does not run here"));
}

#[test]
fn an_unsafe_installation_is_refused_also_when_asked_for() {
    let adopt = InstallRequest {
        adopt: true,
        ..InstallRequest::default()
    };
    let mut facts = Facts::plain_debian();
    facts.existing = found(
        ExistingKind::SingleUser,
        unsafe_because("it is a user's", "rm"),
    );
    let failures = failing(&facts, &adopt);
    assert_eq!(failures.len(), 1);
    assert!(
        failures[0]
            .1
            .message
            .starts_with("cannot take over a single-user install")
    );
}

#[test]
fn another_version_of_our_own_is_an_upgrade() {
    let archive = crate::payload::Archive {
        sha256: String::new(),
        version: "2.20.1".to_owned(),
        system: String::new(),
        store_gid: 0,
    };
    let payload = crate::resource::payload::Payload { archive };
    let mut facts = Facts::plain_debian();
    facts.owned = vec![crate::resource::Resource::Payload(payload.clone())];
    let failures = failing(&facts, &InstallRequest::default());
    assert_eq!(failures[0].1.code, Code::AlreadyInstalled);
    assert_eq!(failures[0].1.help, "run `nixctl upgrade --to 2.26.3`");
    let mut same = payload;
    same.archive.version = "2.26.3".to_owned();
    facts.owned = vec![crate::resource::Resource::Payload(same)];
    facts.places.store.free_bytes = 0;
    assert_eq!(failing(&facts, &InstallRequest::default()), []);
}

#[test]
fn a_local_release_needs_no_network_and_a_missing_one_is_named() {
    let (settings, request) = (InstallSettings::default(), InstallRequest::default());
    let mut facts = Facts::plain_debian();
    facts.network = Some(Failure::new(Code::Network, "cannot reach it"));
    let local = Release {
        source: Source::Path("/x.tar.xz".into()),
        ..release()
    };
    let fails = |facts: &Facts, release: Option<&Release>| -> Vec<Code> {
        checks(facts, &request, &settings, release, &needs())
            .into_iter()
            .filter_map(|check| check.failure.map(|failure| failure.code))
            .collect()
    };
    assert_eq!(fails(&facts, Some(&local)), []);
    assert_eq!(fails(&facts, None), [Code::Network]);
    facts.network = None;
    assert_eq!(fails(&facts, None), [Code::BadSource]);
}

#[test]
fn bad_lines_for_nix_conf_are_named() {
    let settings = InstallSettings {
        extra_conf: vec!["cores".to_owned()],
        ..InstallSettings::default()
    };
    let request = InstallRequest::default();
    let all = checks(
        &Facts::plain_debian(),
        &request,
        &settings,
        Some(&release()),
        &needs(),
    );
    let failure = all.into_iter().find_map(|check| check.failure).unwrap();
    assert_eq!(failure.code, Code::BadSettings);
    assert!(failure.message.contains("`cores`"));
}

#[test]
fn the_download_counts_where_it_lies() {
    let facts = Facts::plain_debian();
    let needs = needs();
    let shared = needs.bytes(&facts);
    let mut apart = facts.clone();
    apart.places.state = Place {
        device: 2,
        ..apart.places.state
    };
    assert_eq!(shared - needs.bytes(&apart), needs.state_bytes);
    assert!(needs.state_bytes > 20 << 20 && needs.store_bytes > 100 << 20);
}

use std::path::Path;

use super::*;
use crate::catalogue::existing::{Existing, ExistingKind};
use crate::catalogue::facts::{Manager, SandboxFact, Selinux};
use crate::payload::Source;

fn release() -> Release {
    Release {
        source: Source::Path("/r.tar.xz".into()),
        sha256: "ab".repeat(32),
        size: None,
        version: "2.26.3".to_owned(),
        system: "x86_64-linux".to_owned(),
    }
}

fn ids() -> Ids {
    Ids {
        gid: 400,
        uid_base: 30_000,
        origin: "they were free".to_owned(),
    }
}

fn steps(facts: &Facts, request: &InstallRequest, settings: &InstallSettings) -> Vec<Step> {
    let ids = ids();
    let ids = (!request.single_user).then_some(&ids);
    install(facts, &release(), settings, request, ids)
}

fn plain(facts: &Facts) -> Vec<Step> {
    steps(
        facts,
        &InstallRequest::default(),
        &InstallSettings::default(),
    )
}

/// A short name of each step.
fn names(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .map(|step| match step {
            Step::Fetch(_) => "fetch".to_owned(),
            Step::SelfTest(_) => "self-test".to_owned(),
            Step::Discard(_) => "discard".to_owned(),
            Step::Switch(_) => "switch".to_owned(),
            Step::Mend(_) => "mend".to_owned(),
            Step::SelfUpgrade(step) => step.describe().id,
            Step::Upgrade(_) => "upgrade".to_owned(),
            Step::Remove(..) => "remove".to_owned(),
            Step::Adopt(Resource::NixTree(_), Undo::Created) => "adopt tree".to_owned(),
            Step::Adopt(..) => "adopt".to_owned(),
            Step::Ensure(resource) => match resource {
                Resource::Directory(it) => it.path.display().to_string(),
                Resource::File(it) => it.path.display().to_string(),
                Resource::Block(it) => format!("block {}", it.path.display()),
                Resource::Tmpfiles(it) => it.path.display().to_string(),
                Resource::BuildUsers(_) => "users".to_owned(),
                Resource::NixTree(_) => "tree".to_owned(),
                Resource::Payload(_) => "payload".to_owned(),
                Resource::Registration(_) => "registration".to_owned(),
                Resource::Profile(_) => "profile".to_owned(),
                Resource::NixConf(_) => "nix.conf".to_owned(),
                Resource::Service(_) => "service".to_owned(),
                Resource::Selinux(_) => "selinux".to_owned(),
                Resource::Group(_) | Resource::Program(_) => "other".to_owned(),
            },
        })
        .collect()
}

#[test]
fn a_plain_machine_gets_everything_in_order() {
    assert_eq!(
        names(&plain(&Facts::plain_debian())),
        [
            "fetch",
            "/etc/nix",
            "/etc/tmpfiles.d",
            "/etc/systemd",
            "/etc/systemd/system",
            "users",
            "tree",
            "payload",
            "registration",
            "profile",
            "nix.conf",
            "/etc/nix/nixctl.sh",
            "block /etc/profile.d/nix.sh",
            "block /etc/bash.bashrc",
            "/etc/tmpfiles.d/nix-daemon.conf",
            "/etc/systemd/system/nix-daemon.service",
            "/etc/systemd/system/nix-daemon.socket",
            "service",
            "self-test",
            "discard",
        ]
    );
}

#[test]
fn ids_hash_and_shells_reach_the_steps() {
    for step in plain(&Facts::plain_debian()) {
        match step {
            Step::Ensure(Resource::BuildUsers(it)) => {
                assert_eq!((it.gid, it.uid_base, it.count), (400, 30_000, 32));
            }
            Step::Ensure(Resource::NixTree(it)) => {
                assert_eq!((it.store_gid, it.keep), (400, false))
            }
            Step::Ensure(Resource::Payload(it)) => {
                assert_eq!(it.archive.sha256, release().sha256);
                assert_eq!(it.archive.store_gid, 400);
            }
            Step::Ensure(Resource::Profile(it)) => {
                assert_eq!(it.link, PathBuf::from("/nix/var/nix/profiles/nixctl"));
                assert_eq!(it.sha256, release().sha256);
            }
            Step::Ensure(Resource::Service(it)) => {
                assert_eq!(it.enable, ["nix-daemon.socket", "nix-daemon.service"]);
                assert_eq!((it.start.len(), it.also_stop.len()), (1, 1));
            }
            Step::SelfTest(it) => {
                assert!(it.daemon);
                assert_eq!(it.shells, ["sh", "bash"]);
                assert_eq!(it.sha256, release().sha256);
            }
            Step::Discard(path) => {
                assert_eq!(
                    path,
                    PathBuf::from("/var/lib/nixctl/downloads").join("ab".repeat(32))
                );
            }
            _ => {}
        }
    }
}

#[test]
fn a_container_without_init_gets_no_units() {
    let mut facts = Facts::plain_debian();
    facts.system.manager = Manager::None;
    let listed = plain(&facts);
    for absent in [
        "service",
        "/etc/systemd/system",
        "/etc/tmpfiles.d/nix-daemon.conf",
    ] {
        assert!(!names(&listed).contains(&absent.to_owned()), "{absent}");
    }
    assert!(names(&listed).contains(&"users".to_owned()));
    assert!(
        listed
            .iter()
            .any(|step| matches!(step, Step::SelfTest(test) if !test.daemon))
    );
}

#[test]
fn root_alone_has_no_build_users_and_an_empty_group() {
    let request = InstallRequest {
        single_user: true,
        ..InstallRequest::default()
    };
    let listed = steps(
        &Facts::plain_debian(),
        &request,
        &InstallSettings::default(),
    );
    assert!(
        !names(&listed)
            .iter()
            .any(|name| name == "users" || name == "service")
    );
    let conf = listed.iter().find_map(|step| match step {
        Step::Ensure(Resource::NixConf(conf)) => Some(conf),
        _ => None,
    });
    let group = conf
        .unwrap()
        .settings
        .iter()
        .find(|s| s.key == "build-users-group")
        .unwrap();
    assert_eq!(group.value, "");
    assert!(
        listed
            .iter()
            .any(|s| matches!(s, Step::Ensure(Resource::NixTree(t)) if t.store_gid == 0))
    );
}

#[test]
fn an_image_is_enabled_but_neither_started_nor_tested() {
    let mut facts = Facts::plain_debian();
    facts.system.manager = Manager::Image { systemd: true };
    let listed = plain(&facts);
    assert!(!names(&listed).contains(&"self-test".to_owned()));
    let service = listed.iter().find_map(|step| match step {
        Step::Ensure(Resource::Service(it)) => Some(it),
        _ => None,
    });
    let service = service.unwrap();
    assert_eq!(
        (
            service.enable.len(),
            service.start.len(),
            service.also_stop.len()
        ),
        (2, 0, 0)
    );
    facts.system.manager = Manager::Image { systemd: false };
    assert!(!names(&plain(&facts)).contains(&"service".to_owned()));
}

#[test]
fn labels_come_before_the_start() {
    let selinux = Selinux {
        enabled: true,
        enforcing: true,
        missing_tools: Vec::new(),
    };
    let facts = Facts {
        selinux,
        ..Facts::plain_debian()
    };
    let listed = names(&plain(&facts));
    let at = |name: &str| listed.iter().position(|it| it == name).unwrap();
    assert!(at("profile") < at("selinux") && at("selinux") < at("service"));
}

#[test]
fn a_proxy_reaches_the_daemon_and_only_root_can_read_it() {
    let settings = InstallSettings {
        proxy: "http://u:p@proxy:3128".to_owned(),
        ..InstallSettings::default()
    };
    let listed = steps(
        &Facts::plain_debian(),
        &InstallRequest::default(),
        &settings,
    );
    let found = listed.iter().find_map(|step| match step {
        Step::Ensure(Resource::File(it)) if it.path == Path::new(DAEMON_ENVIRONMENT) => Some(it),
        _ => None,
    });
    let environment = found.unwrap();
    assert_eq!(environment.mode, 0o600);
    assert!(
        environment
            .content
            .contains("\nhttps_proxy=http://u:p@proxy:3128\n")
    );
    assert!(
        NIX_DAEMON_SERVICE
            .content
            .contains(&format!("EnvironmentFile=-{DAEMON_ENVIRONMENT}\n"))
    );
    assert!(!names(&plain(&Facts::plain_debian())).contains(&DAEMON_ENVIRONMENT.to_owned()));
}

#[test]
fn a_store_that_was_kept_is_ours_again() {
    let existing = Existing {
        kind: ExistingKind::Kept,
        version: None,
        store_path: None,
        seen: Vec::new(),
        adoption: Adoption::Natural,
    };
    let facts = Facts {
        existing: Some(existing),
        ..Facts::plain_debian()
    };
    assert!(names(&plain(&facts)).contains(&"adopt tree".to_owned()));
}

#[test]
fn every_choice_is_explained() {
    let request = InstallRequest::default();
    let ids = ids();
    let sandbox = SandboxFact {
        enabled: false,
        reason: "it was refused".to_owned(),
    };
    let mut facts = Facts {
        sandbox,
        ..Facts::plain_debian()
    };
    facts.rc_files[1].state = crate::catalogue::facts::RcState::Link("/x".into());
    facts.system.manager = Manager::None;
    let text = notes(&facts, &request, Some(&ids)).join("\n");
    for part in [
        "they were free",
        "switched off: it was refused",
        "/etc/bash.bashrc",
        "foreground",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

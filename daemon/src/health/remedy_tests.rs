use nixctl_proto::health::Severity;
use nixctl_proto::health::check::Check;
use proptest::prelude::*;

use super::*;
use crate::health::mend::nix_repair::RepairPath;
use crate::health::mend::unit::{Clear, Restart, Start};
use crate::resource::block::Block;
use crate::resource::directory::Directory;
use crate::resource::nix_tree::NixTree;
use crate::resource::registration::Registration;
use crate::resource::service::Service;
use crate::resource::users::BuildUsers;

const NOW: u64 = 1_700_000_000_000;

fn start(unit: &str) -> Mend {
    Mend::Start(Start {
        unit: unit.to_owned(),
        stays: true,
    })
}

fn clear() -> Mend {
    Mend::Clear(Clear {
        unit: "nix-daemon.service".to_owned(),
    })
}

fn tree() -> Resource {
    Resource::NixTree(NixTree {
        store_gid: 30000,
        keep: false,
    })
}

fn service() -> Resource {
    Resource::Service(Service {
        enable: vec!["nix-daemon.socket".to_owned()],
        start: vec!["nix-daemon.socket".to_owned()],
        also_stop: Vec::new(),
    })
}

/// Findings that between them have every stage.
fn all() -> Vec<Found> {
    let sha256 = "aa".to_owned();
    let users = Resource::BuildUsers(BuildUsers {
        group: "nixbld".to_owned(),
        gid: 30000,
        prefix: "nixbld".to_owned(),
        count: 32,
        uid_base: 30000,
    });
    let block = Resource::Block(Block {
        path: "/etc/zshrc".into(),
        text: String::new(),
        create: true,
    });
    let folder = Resource::Directory(Directory {
        path: "/etc/nix".into(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        lenient: true,
    });
    vec![
        Found::new(Check::WaitingUnits, "a").mend(start("a.service")),
        Found::new(Check::ServiceFailed, "b")
            .mend(clear())
            .ensure(service()),
        Found::new(Check::SocketDead, "c").ensure(service()),
        Found::new(Check::Unregistered, "d")
            .ensure(Resource::Registration(Registration { sha256 })),
        Found::new(Check::PathMissing, "e").mend(Mend::RepairPath(RepairPath {
            nix: "/nix/store/n".to_owned(),
            path: "/nix/store/p".to_owned(),
        })),
        Found::new(Check::FolderMissing, "f").ensure(tree()),
        Found::new(Check::HookLost, "g").ensure(block),
        Found::new(Check::UsersMissing, "h").ensure(users),
        Found::new(Check::RootDangling, "i").set_aside("/nix/var/nix/gcroots/x"),
        Found::new(Check::Lost, "j").ensure(folder),
        Found::new(Check::NotMounted, "/nix").mend(start("nix.mount")),
        Found::new(Check::NotMounted, "/nix/store").mend(start("nix-store.mount")),
        Found::new(Check::BytesLow, "/nix").help("nix-collect-garbage"),
    ]
}

#[test]
fn several_findings_are_one_plan_in_an_order_that_works() {
    let summaries: Vec<String> = steps(&all(), NOW)
        .iter()
        .map(|step| step.describe().id)
        .collect();
    assert_eq!(
        summaries,
        [
            "start:nix.mount",
            "start:nix-store.mount",
            "aside:/nix/var/nix/gcroots/x",
            "directory:/etc/nix",
            "users:nixbld",
            "nix-tree:/nix",
            "block:/etc/zshrc#own",
            "registration:aa",
            "repair-path:/nix/store/p",
            "clear:nix-daemon.service",
            "service:nix-daemon.socket",
            "start:a.service",
        ]
    );
}

#[test]
fn nothing_is_ever_taken_away() {
    for step in steps(&all(), NOW) {
        assert!(matches!(step, Step::Ensure(_) | Step::Mend(_)), "{step:?}");
        assert!(!step.is_irreversible());
    }
}

#[test]
fn a_finding_is_told_with_its_remedy() {
    let found = Found::new(Check::NotMounted, "/nix")
        .seen("nothing")
        .expected("/dev/vdb")
        .mend(start("nix.mount"));
    for (policy, automatic) in [(Policy::Auto, true), (Policy::Ask, false)] {
        let finding = finding(&found, policy, 7, NOW);
        assert_eq!(finding.check, "mounts.not-mounted");
        assert_eq!((finding.severity, finding.since), (Severity::Critical, 7));
        let remedy = finding.remedy.unwrap();
        assert_eq!(remedy.summary, "start nix.mount");
        assert_eq!((remedy.steps.len(), remedy.automatic), (1, automatic));
    }
    let explained = Found::new(Check::BytesLow, "/nix").help("free some");
    let finding = finding(&explained, Policy::Auto, 7, NOW);
    assert_eq!((finding.remedy, finding.help.as_str()), (None, "free some"));
}

#[test]
fn many_steps_are_counted() {
    let restart = Mend::Restart(Restart {
        unit: "x.service".to_owned(),
    });
    let found = Found::new(Check::ServiceFailed, "b")
        .mend(clear())
        .mend(restart)
        .mend(start("a.service"))
        .mend(start("b.service"));
    let view = view(&found, Policy::Auto, NOW).unwrap();
    assert!(
        view.summary.ends_with("then start a.service, and 1 more"),
        "{}",
        view.summary
    );
}

proptest! {
    #[test]
    fn the_laws_of_a_plan(
        mut order in Just((0..all().len()).collect::<Vec<_>>()).prop_shuffle(),
        count in 0usize..14,
    ) {
        order.truncate(count);
        let all = all();
        let found: Vec<Found> = order.iter().map(|index| all[*index].clone()).collect();
        let plan = steps(&found, NOW);
        // Every cure is in it, once, and nothing else.
        for cure in found.iter().flat_map(|found| &found.cures) {
            prop_assert_eq!(plan.iter().filter(|it| **it == step(cure, NOW)).count(), 1);
        }
        for it in &plan {
            let wanted = found.iter().flat_map(|found| &found.cures);
            prop_assert!(wanted.map(|cure| step(cure, NOW)).any(|wanted| wanted == *it));
        }
        // Stages never go back.
        prop_assert!(plan.windows(2).all(|pair| stage(&pair[0]) <= stage(&pair[1])));
        // Asked again it is the same plan.
        prop_assert_eq!(&steps(&found, NOW), &plan);
    }
}

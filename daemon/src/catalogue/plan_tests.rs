use std::path::PathBuf;

use super::*;
use crate::catalogue::steps::{directory, plain_file};
use crate::health::self_test::SelfTest;
use crate::resource::Undo;
use crate::resource::payload::Payload;

fn named(step: &Step) -> Description {
    let id = match step {
        Step::Ensure(Resource::Directory(it)) => it.path.display().to_string(),
        Step::Ensure(Resource::File(it)) => it.path.display().to_string(),
        _ => "other".to_owned(),
    };
    Description {
        id,
        summary: "do it".to_owned(),
        details: Vec::new(),
    }
}

fn file(replace: bool) -> Step {
    let it = plain_file("/f", "x", 0o644);
    Step::Ensure(Resource::File(crate::resource::file::File {
        replace,
        ..it
    }))
}

#[test]
fn what_is_seen_decides_what_is_done() {
    let table = [
        (Presence::Present, PlanAction::Keep, 0),
        (Presence::Absent, PlanAction::Create, 0),
        (
            Presence::Drifted("mode 0700".to_owned()),
            PlanAction::Change,
            1,
        ),
    ];
    for (presence, action, details) in table {
        let probe = |_: &Resource| Ok(presence.clone());
        let (steps, lines, check) = look(vec![directory("/d", 0o755)], &probe, &named).unwrap();
        assert_eq!((steps[0].action, lines[0].action), (action, action));
        assert_eq!(lines[0].details.len(), details);
        assert_eq!((lines[0].id.as_str(), check.failure), ("/d", None));
    }
}

#[test]
fn something_foreign_is_in_the_way_unless_it_is_replaced() {
    let probe = |_: &Resource| Ok(Presence::Foreign("a unit of somebody".to_owned()));
    let (_, lines, check) = look(vec![file(false)], &probe, &named).unwrap();
    assert_eq!(lines[0].action, PlanAction::Change);
    let failure = check.failure.unwrap();
    assert_eq!(failure.code, nixctl_proto::Code::Leftovers);
    assert!(failure.message.contains("/f") && failure.message.contains("a unit of somebody"));
    let (_, _, check) = look(vec![file(true)], &probe, &named).unwrap();
    assert_eq!(check.failure, None);
}

#[test]
fn removals_and_tests_are_not_probed() {
    let probe = |_: &Resource| -> Result<Presence> { panic!("probed") };
    let Step::Ensure(resource) = file(false) else {
        panic!()
    };
    let steps = vec![
        Step::Remove(resource, Undo::Created),
        Step::Discard("/x".into()),
    ];
    let (_, lines, _) = look(steps, &probe, &named).unwrap();
    let actions: Vec<PlanAction> = lines.iter().map(|line| line.action).collect();
    assert_eq!(actions, [PlanAction::Remove, PlanAction::Run]);
}

#[test]
fn a_complete_install_has_nothing_to_fetch_or_to_test() {
    let archive = crate::payload::Archive {
        sha256: "ab".repeat(32),
        version: "2".to_owned(),
        system: "x86_64-linux".to_owned(),
        store_gid: 1,
    };
    let test = SelfTest {
        sha256: String::new(),
        daemon: true,
        shells: Vec::new(),
        seconds: 1,
    };
    let all = || {
        vec![
            Step::Ensure(Resource::Payload(Payload {
                archive: archive.clone(),
            })),
            Step::SelfTest(test.clone()),
            Step::Discard(PathBuf::from("/x")),
        ]
    };
    assert_eq!(needed(all(), false, false).len(), 3);
    assert_eq!(needed(all(), true, false), all()[..2]);
    assert_eq!(needed(all(), true, true), all()[..1]);
}

#[test]
fn steps_that_are_no_resources_describe_themselves() {
    let test = SelfTest {
        sha256: String::new(),
        daemon: false,
        shells: vec!["sh".to_owned(), "zsh".to_owned()],
        seconds: 1,
    };
    let it = Step::SelfTest(test).describe();
    assert_eq!(
        (it.id.as_str(), it.summary.as_str()),
        (
            "self-test",
            "build something as root, in every shell (sh, zsh)"
        )
    );
    assert_eq!(Step::Discard("/x".into()).describe().id, "discard:/x");
}

#[test]
fn an_image_can_be_planned_from_facts_to_lines() {
    let machine = crate::catalogue::facts::testing::Machine::new()
        .file("/etc/os-release", "ID=debian\n")
        .file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        .file("/etc/group", "root:x:0:\n")
        .file("/etc/bash.bashrc", "# debian\n")
        .file("/usr/lib/systemd/systemd", "")
        .tool("useradd")
        .tool("groupadd")
        .tool("userdel")
        .tool("groupdel");
    let (host, settings) = (machine.host(), InstallSettings::default());
    let cancel = crate::host::Cancel::default();
    let facts = Facts::read(&host, &settings, &[], &cancel).unwrap();
    let facts = Facts {
        now: 1_800_000_000_000,
        ..facts
    };
    let release = Release {
        source: crate::payload::Source::Path("/r.tar.xz".into()),
        sha256: "ab".repeat(32),
        size: Some(1),
        version: "2.26.3".to_owned(),
        system: facts.system.name.clone(),
    };
    let request = InstallRequest::default();
    let needs = Needs::of(&release, 0);
    let planned = install_plan(&host, &facts, &request, &settings, Some(&release), &needs).unwrap();
    assert_eq!(planned.view.refusal(), None);
    assert_eq!(planned.steps.len(), planned.view.steps.len());
    assert!(planned.steps.len() > 15 && !planned.view.is_empty());
    let mut ids: Vec<&str> = planned
        .view
        .steps
        .iter()
        .map(|step| step.id.as_str())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(
        ids.len(),
        planned.view.steps.len(),
        "each step has a name of its own"
    );
    assert!(
        planned
            .view
            .title
            .ends_with("2.26.3 into an image with systemd")
    );
    let uninstall = uninstall_plan(&host, &[], &UninstallRequest::default()).unwrap();
    assert!(uninstall.view.is_empty());
}

#[test]
fn an_uninstall_takes_copies_of_the_database_that_are_there() {
    use crate::health::database::COPIES_DIR;
    let bare = crate::catalogue::facts::testing::Machine::new();
    let copied = crate::catalogue::facts::testing::Machine::new().directory(COPIES_DIR);
    let tree = crate::resource::nix_tree::NixTree {
        store_gid: 0,
        keep: false,
    };
    let owned = [Owned {
        order: 0,
        by: nixctl_proto::OperationId::from_parts(0, 0),
        resource: Resource::NixTree(tree),
        undo: Undo::Created,
    }];
    let request = UninstallRequest::default();
    let lines = |machine: &crate::catalogue::facts::testing::Machine| -> Vec<String> {
        let planned = uninstall_plan(&machine.host(), &owned, &request).unwrap();
        let steps = planned.view.steps.into_iter();
        steps.skip(1).map(|step| step.summary).collect()
    };
    assert_eq!(lines(&bare), [""; 0]);
    let expected = format!("remove the copies of Nix's database in {COPIES_DIR}");
    assert_eq!(lines(&copied), [expected]);
}

#[test]
fn what_an_uninstall_leaves_is_no_removal_unless_nothing_else_is_done() {
    let machine = crate::catalogue::facts::testing::Machine::new();
    let tree = |keep| Resource::NixTree(crate::resource::nix_tree::NixTree { store_gid: 0, keep });
    let actions = |steps: Vec<Step>| -> Vec<PlanAction> {
        let host = machine.host();
        let (_, lines, _) = look(steps, &probe(&host), &Step::describe).unwrap();
        lines.into_iter().map(|line| line.action).collect()
    };
    let goes = Step::Remove(tree(false), Undo::Created);
    let stays = [
        Step::Remove(tree(true), Undo::Created),
        Step::Remove(tree(false), Undo::Nothing),
    ];
    let mut all = stays.to_vec();
    all.push(goes);
    let (keep, remove) = (PlanAction::Keep, PlanAction::Remove);
    assert_eq!(actions(all), [keep, keep, remove]);
    assert_eq!(actions(stays.to_vec()), [remove, remove]);
}

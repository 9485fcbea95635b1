use super::*;
use crate::catalogue::adopt::manifest_key;
use crate::engine::{Owned, Recorded};
use crate::host::Cancel;
use crate::payload::{Source, manifest_path};
use crate::resource::Undo;
use crate::resource::testing::Machine;
use crate::resource::users::BuildUsers;
use crate::upgrade::offer::Offered;

/// What looking for a release finds.
type Found = Result<Option<Release>, Failure>;

/// Where a release of that version has its Nix.
fn nix_path(version: &str) -> String {
    format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-{version}")
}

/// One that was unpacked, and its registration.
fn unpacked(machine: &Machine, version: &str, sha256: &str) -> Vec<Resource> {
    let manifest = Manifest {
        version: version.to_owned(),
        nix: nix_path(version),
        cacert: None,
        paths: vec![nix_path(version)],
        reginfo: String::new(),
        unpacked_bytes: 1,
        unpacked_inodes: 1,
    };
    let text = serde_json::to_vec(&manifest).unwrap();
    machine.put(manifest_path(sha256).to_str().unwrap(), text);
    std::fs::create_dir_all(machine.path(&manifest.nix)).unwrap();
    let archive = Archive {
        sha256: sha256.to_owned(),
        version: version.to_owned(),
        system: "x86_64-linux".to_owned(),
        store_gid: 400,
    };
    let sha256 = sha256.to_owned();
    vec![
        Resource::Payload(Payload { archive }),
        Resource::Registration(Registration { sha256 }),
    ]
}

fn profile(sha256: &str) -> Resource {
    Resource::Profile(Profile {
        link: OWN_PROFILE.into(),
        sha256: sha256.to_owned(),
    })
}

fn users() -> Resource {
    Resource::BuildUsers(BuildUsers {
        group: "nixbld".to_owned(),
        gid: 400,
        prefix: "nixbld".to_owned(),
        count: 32,
        uid_base: 30_000,
    })
}

/// A machine that was installed with the first of these versions; the profile leads to the last.
fn installed(versions: &[&str]) -> (Machine, Vec<Resource>) {
    let machine = Machine::new();
    let all = versions.iter().flat_map(|it| unpacked(&machine, it, it));
    let mut owned = vec![users()];
    owned.extend(all);
    owned.push(profile(versions.last().unwrap()));
    (machine, owned)
}

fn release(version: &str, sha256: &str) -> Release {
    Release {
        source: Source::Path("/r.tar.xz".into()),
        sha256: sha256.to_owned(),
        size: Some(1),
        version: version.to_owned(),
        system: "x86_64-linux".to_owned(),
    }
}

fn plans(
    site: &(Machine, Vec<Resource>),
    request: &UpgradeRequest,
    find: impl FnOnce(&InstallRequest, &mut Facts) -> Found,
) -> Result<Planned, Failure> {
    plans_with(site, request, &Recorded::default(), find)
}

fn plans_with(
    (machine, owned): &(Machine, Vec<Resource>),
    request: &UpgradeRequest,
    recorded: &Recorded,
    find: impl FnOnce(&InstallRequest, &mut Facts) -> Found,
) -> Result<Planned, Failure> {
    let owned: Vec<Owned> = (0..)
        .zip(owned)
        .map(|(order, resource)| Owned {
            order,
            by: nixctl_proto::OperationId::from_parts(1, 1),
            resource: resource.clone(),
            undo: Undo::Created,
        })
        .collect();
    let asked = nixctl_proto::request::OperationRequest::Upgrade(request.clone());
    let question = Question {
        request: &asked,
        host: &machine.host,
        settings: &Settings::default(),
        owned: &owned,
        recorded,
        unwatched: None,
        cancel: &Cancel::default(),
    };
    let before = machine.state();
    let planned = plan(&question, request, Facts::plain_debian(), find);
    assert_eq!(machine.state(), before, "planning changed something");
    assert!(machine.exec.lines().is_empty(), "planning ran something");
    planned
}

fn not_looked_for(_: &InstallRequest, _: &mut Facts) -> Found {
    panic!("a release was looked for")
}

fn to(version: &str) -> UpgradeRequest {
    UpgradeRequest {
        version: Some(version.to_owned()),
        ..UpgradeRequest::default()
    }
}

fn back() -> UpgradeRequest {
    UpgradeRequest {
        rollback: true,
        may_be_older: true,
        ..UpgradeRequest::default()
    }
}

/// The steps in short.
fn short(planned: &Planned) -> Vec<String> {
    assert_eq!(planned.steps.len(), planned.view.steps.len());
    let name = |step: &PlannedStep| match &step.step {
        Step::Fetch(it) => format!("fetch {}", it.release.version),
        Step::Ensure(Resource::Payload(it)) => format!("unpack {}", it.archive.version),
        Step::Ensure(Resource::Registration(it)) => format!("register {}", it.sha256),
        Step::Ensure(Resource::Profile(it)) => format!("profile {}", it.sha256),
        Step::SelfTest(it) => format!("test {} {}", it.sha256, it.daemon),
        Step::Discard(_) => "discard".to_owned(),
        Step::Upgrade(it) => match it {
            UpgradeStep::Readable(it) => format!("readable {}", it.sha256),
            UpgradeStep::Quiet(it) => format!("quiet {}", it.seconds),
            UpgradeStep::Copy(it) => format!("copy {}", it.nix.rsplit('-').next().unwrap()),
            UpgradeStep::Exchange(it) => format!("exchange {} {}", it.from, it.to),
            UpgradeStep::Restart(it) => format!("restart {}", it.seconds),
            UpgradeStep::Forget(it) => format!("forget {}", it.version),
            UpgradeStep::Disown(it) => it.describe().id,
            UpgradeStep::Turn(it) => it.describe().id,
            UpgradeStep::Returnable(it) => format!("returnable {}", it.sha256),
            UpgradeStep::GoBack(it) => format!("go back {}", it.version),
            UpgradeStep::Reopen(_) => "reopen".to_owned(),
            UpgradeStep::Keep(it) => format!("keep {}", it.before),
        },
        other => panic!("{other:?}"),
    };
    planned.steps.iter().map(name).collect()
}

fn code(planned: &Planned) -> Option<Code> {
    planned.view.refusal().map(|it| it.code)
}

#[test]
fn a_newer_release_is_unpacked_before_anybody_has_to_wait() {
    let site = installed(&["2.26.3"]);
    let found = |_: &InstallRequest, _: &mut Facts| Ok(Some(release("2.34.8", "new")));
    let planned = plans(&site, &to("2.34.8"), found).unwrap();
    assert_eq!(code(&planned), None);
    assert_eq!(planned.view.title, "replace Nix 2.26.3 by 2.34.8");
    assert!(planned.view.bytes_needed > 0);
    let drain = Settings::default().upgrade.drain_seconds;
    let expected = [
        "fetch 2.34.8",
        "unpack 2.34.8",
        "readable new",
        &format!("quiet {drain}"),
        // By the version that wrote it.
        "copy 2.26.3",
        "register new",
        "profile new",
        "exchange 2.26.3 new",
        &format!("restart {drain}"),
        "test new true",
        "discard",
    ];
    assert_eq!(short(&planned), expected);
    let mut ids: Vec<&str> = planned.view.steps.iter().map(|it| &*it.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), expected.len(), "each step has its own name");
    // The group of the store stays.
    let unpacked = planned.steps.iter().find_map(|it| match &it.step {
        Step::Ensure(Resource::Payload(it)) => Some(it.archive.store_gid),
        _ => None,
    });
    assert_eq!(unpacked, Some(400));
    let request = UpgradeRequest {
        drain: Some(7),
        ..to("2.34.8")
    };
    let found = |_: &InstallRequest, _: &mut Facts| Ok(Some(release("2.34.8", "new")));
    let planned = plans(&site, &request, found).unwrap();
    assert!(short(&planned).contains(&"quiet 7".to_owned()));
}

#[test]
fn there_has_to_be_something_to_replace() {
    let site = (Machine::new(), vec![users()]);
    for request in [to("2.34.8"), back()] {
        let failure = plans(&site, &request, not_looked_for).unwrap_err();
        assert_eq!(failure.code, Code::NothingInstalled);
    }
    // What is left of it does not say what it was.
    let site = installed(&["2.26.3"]);
    std::fs::remove_file(site.0.path(manifest_path("2.26.3").to_str().unwrap())).unwrap();
    let found = |_: &InstallRequest, _: &mut Facts| Ok(Some(release("2.34.8", "new")));
    let failure = plans(&site, &to("2.34.8"), found).unwrap_err();
    assert_eq!(failure.code, Code::Drifted);
}

#[test]
fn what_is_here_already_is_not_replaced() {
    let site = installed(&["2.26.3"]);
    let planned = plans(&site, &to("2.26.3"), not_looked_for).unwrap();
    assert!(planned.steps.is_empty() && planned.view.is_empty());
    assert!(planned.view.title.contains("2.26.3 is here already"));
    // A source that does not say what it holds turns out to hold the same.
    let request = UpgradeRequest {
        source: Some("/srv/nix.tar.xz".to_owned()),
        ..UpgradeRequest::default()
    };
    let same = |wanted: &InstallRequest, _: &mut Facts| {
        assert_eq!(wanted.source.as_deref(), Some("/srv/nix.tar.xz"));
        Ok(Some(release("2.26.3", "2.26.3")))
    };
    assert!(plans(&site, &request, same).unwrap().steps.is_empty());
    // Another archive of the same version is another one.
    let other = |_: &InstallRequest, _: &mut Facts| Ok(Some(release("2.26.3", "other")));
    let planned = plans(&site, &request, other).unwrap();
    assert_eq!((code(&planned), short(&planned).len()), (None, 11));
}

#[test]
fn an_older_one_is_for_those_who_may() {
    let site = installed(&["2.34.8"]);
    for (may_be_older, expected) in [(false, Some(Code::OlderRefused)), (true, None)] {
        let request = UpgradeRequest {
            may_be_older,
            ..to("2.26.3")
        };
        let found = |_: &InstallRequest, _: &mut Facts| Ok(Some(release("2.26.3", "old")));
        let planned = plans(&site, &request, found).unwrap();
        assert_eq!(code(&planned), expected);
    }
    // Going back may lead to an older one, and is looked at in the same way.
    let site = installed(&["2.26.3", "2.34.8"]);
    for (may_be_older, expected) in [(false, Some(Code::OlderRefused)), (true, None)] {
        let request = UpgradeRequest {
            may_be_older,
            ..back()
        };
        let planned = plans(&site, &request, not_looked_for).unwrap();
        assert_eq!(code(&planned), expected);
    }
}

#[test]
fn back_is_to_the_release_that_is_still_there() {
    let failure = plans(&installed(&["2.34.8"]), &back(), not_looked_for).unwrap_err();
    assert_eq!(failure.code, Code::NothingBefore);
    let site = installed(&["2.26.3", "2.34.8"]);
    let drain = Settings::default().upgrade.drain_seconds;
    let expected = [
        "readable 2.26.3",
        &format!("quiet {drain}"),
        "copy 2.34.8",
        "register 2.26.3",
        "profile 2.26.3",
        "exchange 2.34.8 2.26.3",
        &format!("restart {drain}"),
        "test 2.26.3 true",
    ];
    let planned = plans(&site, &back(), not_looked_for).unwrap();
    assert_eq!(short(&planned), expected);
    assert_eq!(planned.view.bytes_needed, 0);
    // By its number it is the same one, and nothing is fetched either.
    let request = UpgradeRequest {
        may_be_older: true,
        ..to("2.26.3")
    };
    let planned = plans(&site, &request, not_looked_for).unwrap();
    assert_eq!(short(&planned), expected);
    // Of which something is missing is fetched again.
    std::fs::remove_dir(site.0.path(&nix_path("2.26.3"))).unwrap();
    let found = |_: &InstallRequest, _: &mut Facts| Ok(Some(release("2.26.3", "2.26.3")));
    let planned = plans(&site, &request, found).unwrap();
    assert_eq!(short(&planned)[0], "fetch 2.26.3");
}

#[test]
fn back_across_a_change_of_the_form_is_for_who_asks_for_it() {
    let site = installed(&["2.26.3", "2.34.8"]);
    site.0.put("/nix/var/nix/db/schema", "11");
    let request = UpgradeRequest {
        restore_database: true,
        drain: Some(7),
        ..back()
    };
    let expected = [
        "returnable 2.26.3",
        "quiet 7",
        "copy 2.34.8",
        "go back 2.26.3",
        "register 2.26.3",
        "profile 2.26.3",
        "exchange 2.34.8 2.26.3",
        "reopen",
        "restart 7",
        "test 2.26.3 true",
        "keep 11",
    ];
    let planned = plans(&site, &request, not_looked_for).unwrap();
    assert_eq!(short(&planned), expected);
    let lines = planned.view.steps.iter().flat_map(|it| &it.details);
    let said = lines.cloned().collect::<Vec<_>>().join("\n");
    assert!(said.contains("lost of that: signatures"), "{said}");
    assert!(said.contains("register again"), "{said}");
    // Forwards there is nothing to restore.
    let site = installed(&["2.34.8", "2.26.3"]);
    let planned = plans(&site, &request, not_looked_for).unwrap();
    assert_eq!(short(&planned)[0], "readable 2.34.8");
    assert!(!short(&planned).contains(&"reopen".to_owned()));
}

#[test]
fn the_third_release_is_let_go_of_when_the_new_one_is_proven() {
    let site = installed(&["2.24.1", "2.26.3"]);
    let found = |_: &InstallRequest, _: &mut Facts| Ok(Some(release("2.34.8", "new")));
    let planned = plans(&site, &to("2.34.8"), found).unwrap();
    let steps = short(&planned);
    let tested = steps.iter().position(|it| it == "test new true").unwrap();
    assert_eq!(
        steps[tested + 1..],
        [
            "forget 2.24.1",
            "disown:payload:2.24.1",
            "disown:registration:2.24.1",
            "discard",
        ]
    );
    let removed = planned.view.steps.iter();
    let removed = removed.filter(|it| it.action == PlanAction::Remove);
    assert_eq!(removed.count(), 3);
    // To the one before, nothing goes.
    let planned = plans(&site, &back(), not_looked_for).unwrap();
    assert!(!short(&planned).iter().any(|it| it.starts_with("forget")));
}

#[test]
fn for_one_user_nothing_is_built_through_the_daemon() {
    let mut site = installed(&["2.26.3"]);
    site.1.retain(|it| !matches!(it, Resource::BuildUsers(_)));
    let found = |_: &InstallRequest, _: &mut Facts| Ok(Some(release("2.34.8", "new")));
    let planned = plans(&site, &to("2.34.8"), found).unwrap();
    assert!(short(&planned).contains(&"test new false".to_owned()));
}

#[test]
fn one_that_was_taken_over_is_replaced_like_our_own() {
    let key = manifest_key(&nix_path("2.24.1"));
    let machine = Machine::new();
    let mut owned = vec![users()];
    owned.extend(unpacked(&machine, "2.24.1", &key));
    owned.push(profile(&key));
    let site = (machine, owned);
    let found = |_: &InstallRequest, _: &mut Facts| Ok(Some(release("2.34.8", "new")));
    let planned = plans(&site, &to("2.34.8"), found).unwrap();
    assert_eq!(code(&planned), None);
    let steps = short(&planned);
    assert_eq!(steps[0], "fetch 2.34.8");
    assert_eq!(steps[4], "copy 2.24.1");
    assert_eq!(steps.len(), 11);
}

#[test]
fn a_release_that_cannot_be_looked_for_is_refused_by_the_checks() {
    let site = installed(&["2.26.3"]);
    let away = |_: &InstallRequest, facts: &mut Facts| {
        facts.network = Some(Failure::new(Code::Network, "cannot reach it"));
        Ok(None)
    };
    let planned = plans(&site, &to("2.34.8"), away).unwrap();
    assert_eq!(code(&planned), Some(Code::Network));
    assert!(planned.steps.is_empty());
    let wrong = |_: &InstallRequest, _: &mut Facts| Err(Failure::new(Code::NotFound, "none"));
    let failure = plans(&site, &to("2.34.8"), wrong).unwrap_err();
    assert_eq!(failure.code, Code::NotFound);
}

#[test]
fn what_the_feed_offers_is_taken_where_nothing_is_named() {
    let site = installed(&["2.26.3"]);
    let offered = Offered {
        version: "2.34.8".to_owned(),
        url: "https://a.example/nix-2.34.8-x86_64-linux.tar.xz".to_owned(),
        sha256: "new".to_owned(),
        notes: String::new(),
    };
    let offer = |offer| Recorded {
        offer: Some(offer),
        ..Recorded::default()
    };
    let found = |wanted: &InstallRequest, _: &mut Facts| {
        assert_eq!(*wanted, offered.wanted());
        Ok(Some(release("2.34.8", "new")))
    };
    let request = UpgradeRequest::default();
    let planned = plans_with(&site, &request, &offer(Ok(offered.clone())), found).unwrap();
    assert_eq!(planned.view.title, "replace Nix 2.26.3 by 2.34.8");
    // What is still in the store is not fetched again.
    let site = installed(&["new", "2.26.3"]);
    let kept = offer(Ok(offered.clone()));
    let planned = plans_with(&site, &request, &kept, not_looked_for).unwrap();
    assert!(!planned.steps.is_empty());
    let nothing = offer(Err("its turn has not come".to_owned()));
    let planned = plans_with(&site, &request, &nothing, not_looked_for).unwrap();
    assert!(planned.steps.is_empty());
    assert_eq!(
        planned.view.title,
        "Nix 2.26.3 stays: its turn has not come"
    );
}

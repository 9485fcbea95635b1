use super::*;
use crate::switch::testing::{Fixture, ROOTS, store_path};
use crate::switch::testing_nix::FakeNix;

struct Case {
    fixture: Fixture,
    nix: FakeNix,
    step: FetchPaths,
}

/// `top` needs `middle`, that and `other` need `shared`; all but `top` refer to themselves, too.
fn case() -> Case {
    let fixture = Fixture::new();
    let [top, middle, shared, other] = ["top", "middle", "shared", "other"].map(store_path);
    let nix = FakeNix::on(
        &fixture,
        &[
            (&top, &[&middle]),
            (&middle, &[&shared, &middle]),
            (&shared, &[&shared]),
            (&other, &[&shared, &other]),
        ],
    );
    let step = FetchPaths {
        roots: ROOTS.into(),
        paths: vec![top, middle, shared, other],
        bytes: 400,
        from: None,
    };
    Case { fixture, nix, step }
}

impl Case {
    fn links(&self) -> Vec<String> {
        names(&self.fixture.machine.host.fs, &self.step.roots).unwrap()
    }
}

fn base_name(path: &str) -> String {
    path.trim_start_matches("/nix/store/").to_owned()
}

#[test]
fn only_what_nobody_needs_gets_a_link() {
    let case = case();
    let context = case.fixture.machine.context();
    let before = case.fixture.machine.state();
    let undo = case.step.prepare(&context).unwrap();
    assert_eq!(case.step.undo(&context, &undo).unwrap(), Undone::Clean);
    assert_eq!(case.fixture.machine.state(), before);
    for _ in 0..2 {
        case.step.apply(&context, &undo).unwrap();
        assert_eq!(case.nix.valid().len(), 4);
        let mut tops = [
            base_name(&case.step.paths[0]),
            base_name(&case.step.paths[3]),
        ];
        tops.sort();
        assert_eq!(case.links(), tops);
    }
    for _ in 0..2 {
        assert_eq!(case.step.undo(&context, &undo).unwrap(), Undone::Clean);
        assert!(case.nix.valid().is_empty() && case.links().is_empty());
    }
}

#[test]
fn what_was_there_before_stays() {
    let case = case();
    case.nix.add(&[&case.step.paths[2]]);
    let kept = format!("{ROOTS}/{}", base_name(&case.step.paths[2]));
    case.fixture.link(&kept, &case.step.paths[2]);
    let context = case.fixture.machine.context();
    let undo = case.step.prepare(&context).unwrap();
    case.step.apply(&context, &undo).unwrap();
    case.step.undo(&context, &undo).unwrap();
    assert_eq!(
        case.nix.valid(),
        BTreeSet::from([case.step.paths[2].clone()])
    );
    assert_eq!(case.links().len(), 1);
}

#[test]
fn what_others_need_meanwhile_is_told() {
    let case = case();
    let context = case.fixture.machine.context();
    let undo = case.step.prepare(&context).unwrap();
    case.step.apply(&context, &undo).unwrap();
    case.fixture
        .link("/nix/var/nix/gcroots/theirs", &case.step.paths[2]);
    let Undone::Kept(told) = case.step.undo(&context, &undo).unwrap() else {
        panic!("it is in use");
    };
    assert!(told.starts_with("1 store paths are in use"), "{told}");
}

#[test]
fn a_disk_that_is_too_small_is_waited_for() {
    let mut case = case();
    case.step.bytes = u64::MAX / 2;
    let context = case.fixture.machine.context();
    let undo = case.step.prepare(&context).unwrap();
    let error = case.step.apply(&context, &undo).unwrap_err();
    assert!(error.waits().unwrap().ends_with("more on /nix"));
    assert!(case.nix.valid().is_empty(), "nothing was fetched");
}

#[test]
fn a_lost_network_is_waited_for() {
    let case = case();
    case.nix.content().cache.clear();
    case.nix.content().complaint =
        "error: unable to download 'http://x': Could not resolve host".into();
    let context = case.fixture.machine.context();
    let undo = case.step.prepare(&context).unwrap();
    let error = case.step.apply(&context, &undo).unwrap_err();
    assert!(error.waits().is_some(), "{error}");
}

#[test]
fn what_an_earlier_attempt_brought_is_read() {
    let case = case();
    let context = case.fixture.machine.context();
    let undo = case.step.prepare(&context).unwrap();
    case.nix.add(&[&case.step.paths[2]]);
    case.step.apply(&context, &undo).unwrap();
    let lines = case.fixture.lines();
    let verified: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains("--verify-path"))
        .collect();
    assert_eq!(
        verified,
        [&format!("nix-store --verify-path {}", case.step.paths[2])]
    );
}

#[test]
fn what_was_booted_on_the_way_does_not_hold_on_to_what_is_taken_back() {
    const ROOT: &str = "/nix/var/nix/gcroots/booted-system";
    let case = case();
    let fixture = &case.fixture;
    let context = fixture.machine.context();
    let undo = case.step.prepare(&context).unwrap();
    case.step.apply(&context, &undo).unwrap();
    let [top, _, shared, _] = &case.step.paths[..] else {
        panic!("four paths");
    };
    fixture.link("/run/booted-system", top);
    fixture.link(ROOT, "/run/booted-system");
    fixture.link(&format!("{top}/kernel"), &format!("{shared}/bzImage"));
    // While it runs, it is needed.
    fixture.link("/run/current-system", top);
    case.step.undo(&context, &undo).unwrap();
    assert!(case.nix.valid().contains(top) && fixture.target_of(ROOT).is_some());
    fixture.link("/run/current-system", &store_path("old"));
    for _ in 0..2 {
        case.step.undo(&context, &undo).unwrap();
        assert_eq!(fixture.target_of(ROOT), None);
        assert_eq!(case.nix.valid(), [shared.clone()].into(), "the kernel");
    }
}

#[test]
fn a_hybrid_that_nobody_holds_does_not_hold_on_to_what_is_taken_back() {
    let case = case();
    let context = case.fixture.machine.context();
    let undo = case.step.prepare(&context).unwrap();
    case.step.apply(&context, &undo).unwrap();
    let [hybrid, other] = ["nixctl-hybrid-1-1.1", "theirs"].map(store_path);
    for (path, needs) in [(&hybrid, 0), (&other, 3)] {
        let needs = vec![case.step.paths[needs].clone()];
        case.nix.content().references.insert(path.clone(), needs);
        case.nix.add(&[path]);
    }
    let Undone::Kept(told) = case.step.undo(&context, &undo).unwrap() else {
        panic!("somebody else needs one");
    };
    assert!(told.contains(&case.step.paths[3]), "{told}");
    let valid = case.nix.valid();
    assert!(
        !valid.contains(&hybrid) && !valid.contains(&case.step.paths[0]),
        "{valid:?}"
    );
    assert!(valid.contains(&other));
}

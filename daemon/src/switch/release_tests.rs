use super::*;
use crate::switch::carry::{Carry, Machine};
use crate::switch::step::SwitchStep;
use crate::switch::testing::{Fixture, PROFILE, ROOTS, store_path};
use crate::switch::testing_nix::FakeNix;

const GCROOTS: &str = "/nix/var/nix/gcroots";
const OWN_ROOTS: &str = "/nix/var/nix/gcroots/nixctl/other";

struct Case {
    fixture: Fixture,
    nix: FakeNix,
    old: String,
    gone: String,
    shared: String,
}

/// Generation 1 is left, 2 is the default; both need `shared`, only the old one `gone`.
fn case() -> Case {
    let fixture = Fixture::new();
    let [old, new, gone, shared] = ["old", "new", "gone", "shared"].map(store_path);
    let nix = FakeNix::on(
        &fixture,
        &[
            (&old, &[&gone, &shared]),
            (&new, &[&shared]),
            (&gone, &[]),
            (&shared, &[]),
        ],
    );
    nix.add(&[&old, &new, &gone, &shared]);
    fixture.link(&format!("{PROFILE}-1-link"), &old);
    fixture.link(&format!("{PROFILE}-2-link"), &new);
    fixture.link(PROFILE, "system-2-link");
    fixture.link(&format!("{ROOTS}/old-root"), &gone);
    fixture.link("/run/current-system", &new);
    Case {
        fixture,
        nix,
        old,
        gone,
        shared,
    }
}

fn step(case: &Case) -> Release {
    Release {
        roots: ROOTS.into(),
        profile: PROFILE.into(),
        toplevels: vec![Toplevel::Path(case.old.clone())],
        links: vec!["old-root".to_owned()],
        paths: vec![case.old.clone(), case.gone.clone()],
        from: None,
    }
}

#[test]
fn what_only_the_old_one_needs_goes_and_comes_back() {
    let case = case();
    let context = case.fixture.machine.context();
    let before = case.fixture.machine.state();
    let step = step(&case);
    let undo = step.prepare(&context).unwrap();
    assert_eq!(step.undo(&context, &undo).unwrap(), Undone::Clean);
    assert_eq!(case.fixture.machine.state(), before);
    for _ in 0..2 {
        assert_eq!(step.apply(&context, &undo).unwrap(), Undone::Clean);
        assert_eq!(case.nix.valid().len(), 2);
        assert_eq!(case.fixture.target_of(&format!("{PROFILE}-1-link")), None);
    }
    for _ in 0..2 {
        assert_eq!(step.undo(&context, &undo).unwrap(), Undone::Clean);
        assert_eq!(case.fixture.machine.state(), before);
    }
}

/// A power cut between making a link and giving it its name; the next attempt may give another name.
#[test]
fn links_that_were_cut_off_hold_nothing() {
    const CUT_OFF: &str = ".nixctl-6be93d83-6d2e0ce300000042.tmp";
    for folder in ["/nix/var/nix/profiles", ROOTS, GCROOTS, OWN_ROOTS] {
        let case = case();
        let left = format!("{folder}/{CUT_OFF}");
        case.fixture.link(&left, &case.old);
        let context = case.fixture.machine.context();
        let step = step(&case);
        let undo = step.prepare(&context).unwrap();
        assert_eq!(step.apply(&context, &undo).unwrap(), Undone::Clean);
        assert_eq!(case.fixture.target_of(&left), None, "{folder}");
        assert!(!case.nix.valid().contains(&case.old), "{folder}");
    }
}

#[test]
fn the_default_and_what_runs_are_never_touched() {
    for (link, target) in [(PROFILE, "system-1-link"), ("/run/current-system", "OLD")] {
        let case = case();
        case.fixture.link(link, &target.replace("OLD", &case.old));
        let context = case.fixture.machine.context();
        let step = step(&case);
        let undo = step.prepare(&context).unwrap();
        step.apply(&context, &undo).unwrap();
        assert!(case.nix.valid().contains(&case.gone), "{link}");
        assert!(
            case.fixture
                .target_of(&format!("{PROFILE}-1-link"))
                .is_some()
        );
        let deletes = case
            .fixture
            .lines()
            .into_iter()
            .filter(|line| line.contains("--delete"));
        assert_eq!(deletes.count(), 0, "Nix was not even asked");
    }
}

#[test]
fn of_the_booted_generation_only_what_its_kernel_needs_stays() {
    const ROOT: &str = "/nix/var/nix/gcroots/booted-system";
    let case = case();
    let fixture = &case.fixture;
    fixture.link("/run/booted-system", &case.old);
    fixture.link(ROOT, "/run/booted-system");
    fixture.link(
        &format!("{}/kernel", case.old),
        &format!("{}/bzImage", case.gone),
    );
    let context = fixture.machine.context();
    let mut step = step(&case);
    step.links.clear();
    let undo = step.prepare(&context).unwrap();
    for _ in 0..2 {
        step.apply(&context, &undo).unwrap();
        assert_eq!(fixture.target_of(ROOT), None);
        assert!(!case.nix.valid().contains(&case.old));
    }
    assert!(case.nix.valid().contains(&case.gone), "the kernel");
    step.undo(&context, &undo).unwrap();
    assert!(case.nix.valid().contains(&case.old));
    assert_eq!(
        fixture.target_of(ROOT).as_deref(),
        Some("/run/booted-system")
    );
    // Another generation was booted: its root is nobody's business.
    fixture.link("/run/booted-system", &case.shared);
    step.apply(&context, &undo).unwrap();
    assert!(fixture.target_of(ROOT).is_some());
}

#[test]
fn what_is_needed_by_others_is_told() {
    let case = case();
    case.fixture.link("/nix/var/nix/gcroots/theirs", &case.gone);
    let context = case.fixture.machine.context();
    let mut step = step(&case);
    step.paths.push(case.shared.clone());
    let undo = step.prepare(&context).unwrap();
    let Undone::Kept(told) = step.apply(&context, &undo).unwrap() else {
        panic!("it is needed");
    };
    assert!(
        told.contains(&case.gone) && told.starts_with("1 "),
        "{told}"
    );
    assert!(case.nix.valid().contains(&case.shared));
}

#[test]
fn without_a_default_nothing_is_released() {
    let case = case();
    std::fs::remove_file(case.fixture.machine.path(PROFILE)).unwrap();
    let context = case.fixture.machine.context();
    let step = step(&case);
    let undo = step.prepare(&context).unwrap();
    assert!(matches!(
        step.apply(&context, &undo),
        Err(SwitchError::Link { .. })
    ));
    assert_eq!(case.nix.valid().len(), 4);
}

#[test]
fn undoing_waits_for_a_cache_that_is_away() {
    let case = case();
    let context = case.fixture.machine.context();
    let step = step(&case);
    let undo = step.prepare(&context).unwrap();
    step.apply(&context, &undo).unwrap();
    case.nix.content().cache.clear();
    let step = SwitchStep::Release(step);
    for complaint in [
        "error: unable to download 'x': Connection refused",
        "error: file 'nar/x.nar.zst' does not exist in binary cache 'http://cache'",
    ] {
        case.nix.content().complaint = complaint.to_owned();
        let failed = Machine.undo(&step, &context, &undo).unwrap_err();
        assert!(failed.waits.is_some(), "{complaint}");
    }
}

#[test]
fn links_have_plain_names() {
    let case = case();
    let mut step = step(&case);
    step.links = vec!["../../profiles/system".to_owned()];
    assert!(step.prepare(&case.fixture.machine.context()).is_err());
}

#[test]
fn what_was_booted_may_be_gone_since_an_earlier_step() {
    let case = case();
    case.fixture
        .link("/run/booted-system", &store_path("earlier"));
    let context = case.fixture.machine.context();
    let step = step(&case);
    let undo = step.prepare(&context).unwrap();
    assert_eq!(step.apply(&context, &undo).unwrap(), Undone::Clean);
    assert!(!case.nix.valid().contains(&case.gone));
}

#[test]
fn the_trees_of_a_hybrid_go_with_it() {
    let fixture = Fixture::new();
    let [hybrid, tree, tool, new] = ["hybrid", "x-system-path", "tool", "new"].map(store_path);
    let nix = FakeNix::on(
        &fixture,
        &[
            (&hybrid, &[&tree]),
            (&tree, &[&tool]),
            (&tool, &[]),
            (&new, &[]),
        ],
    );
    nix.add(&[&hybrid, &tree, &tool, &new]);
    fixture.link(&format!("{PROFILE}-2-link"), &new);
    fixture.link(PROFILE, "system-2-link");
    fixture.link(&format!("{ROOTS}/hybrid-1"), &hybrid);
    fixture.link("/run/current-system", &new);
    let step = Release {
        roots: ROOTS.into(),
        profile: PROFILE.into(),
        toplevels: vec![Toplevel::Hybrid(1)],
        links: Vec::new(),
        paths: vec![tool.clone()],
        from: None,
    };
    let context = fixture.machine.context();
    let undo = step.prepare(&context).unwrap();
    assert_eq!(step.apply(&context, &undo).unwrap(), Undone::Clean);
    assert_eq!(nix.valid(), [new].into());
}

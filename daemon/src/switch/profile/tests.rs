use super::*;
use crate::host::Output;
use crate::host::fake::Answer;
use crate::switch::testing::{Fixture, PROFILE, ROOTS, store_path};
use crate::switch::testing_nix::FakeNix;

fn step(toplevel: Toplevel) -> SetDefault {
    SetDefault {
        roots: ROOTS.into(),
        profile: PROFILE.into(),
        hybrid: matches!(toplevel, Toplevel::Hybrid(_)),
        toplevel,
    }
}

/// A machine with generations 3 and 4 (current) and a store of them and two more.
fn machine() -> (Fixture, FakeNix, [String; 4]) {
    let fixture = Fixture::new();
    let paths = ["three", "four", "hybrid", "five"].map(store_path);
    let all: Vec<(&str, &[&str])> = paths.iter().map(|path| (path.as_str(), &[][..])).collect();
    let nix = FakeNix::on(&fixture, &all);
    nix.add(&paths.each_ref().map(String::as_str));
    fixture.link(&format!("{PROFILE}-3-link"), &paths[0]);
    fixture.link(&format!("{PROFILE}-4-link"), &paths[1]);
    fixture.link(PROFILE, "system-4-link");
    for noise in [
        "system-x-link",
        "system-05-link",
        "other-9-link",
        "system-7-linked",
    ] {
        fixture.link(&format!("/nix/var/nix/profiles/{noise}"), &paths[0]);
    }
    fixture.link(&format!("{ROOTS}/hybrid-1"), &paths[2]);
    (fixture, nix, paths)
}

fn read(fixture: &Fixture) -> Generations {
    Generations::read(&fixture.machine.host.fs, Path::new(PROFILE)).unwrap()
}

#[test]
fn generations_are_read() {
    let (fixture, _nix, paths) = machine();
    let generations = read(&fixture);
    assert_eq!(
        generations.recorded(),
        [(3, paths[0].clone()), (4, paths[1].clone())]
    );
    assert_eq!(generations.default_path(), Some(paths[1].as_str()));
    assert_eq!(generations.newest(), Some((4, paths[1].as_str())));
    fixture.link(PROFILE, "/nix/var/nix/profiles/system-3-link");
    assert_eq!(read(&fixture).current, Some(3));
    fixture.link(PROFILE, "/etc/other-3-link");
    let error = Generations::read(&fixture.machine.host.fs, Path::new(PROFILE)).unwrap_err();
    assert!(error.to_string().contains("no generation of it"), "{error}");
}

#[test]
fn a_default_is_made_and_unmade() {
    let (fixture, _nix, paths) = machine();
    let context = fixture.machine.context();
    let step = step(Toplevel::Path(paths[3].clone()));
    let before = fixture.machine.state();
    let undo = step.prepare(&context).unwrap();
    step.undo(&context, &undo).unwrap();
    assert_eq!(fixture.machine.state(), before);
    for _ in 0..2 {
        step.apply(&context, &undo).unwrap();
        assert_eq!(fixture.target_of(PROFILE).as_deref(), Some("system-5-link"));
        assert_eq!(read(&fixture).default_path(), Some(paths[3].as_str()));
        assert_eq!(read(&fixture).all.len(), 3);
    }
    for _ in 0..2 {
        step.undo(&context, &undo).unwrap();
        assert_eq!(
            read(&fixture).recorded(),
            [(3, paths[0].clone()), (4, paths[1].clone())]
        );
        assert_eq!(read(&fixture).current, Some(4));
    }
}

#[test]
fn numbers_are_never_used_again() {
    let (fixture, _nix, paths) = machine();
    let context = fixture.machine.context();
    let hybrid = step(Toplevel::Hybrid(1));
    let undo = hybrid.prepare(&context).unwrap();
    hybrid.apply(&context, &undo).unwrap();
    assert_eq!(read(&fixture).all.get(&5), Some(&paths[2]));
    hybrid.undo(&context, &undo).unwrap();
    let target = step(Toplevel::Path(paths[3].clone()));
    let undo = target.prepare(&context).unwrap();
    target.apply(&context, &undo).unwrap();
    assert_eq!(read(&fixture).current, Some(6));
}

#[test]
fn the_newest_generation_is_used_when_it_is_the_same() {
    let (fixture, _nix, paths) = machine();
    fixture.link(PROFILE, "system-3-link");
    let context = fixture.machine.context();
    let step = step(Toplevel::Path(paths[1].clone()));
    let undo = step.prepare(&context).unwrap();
    step.apply(&context, &undo).unwrap();
    assert_eq!(read(&fixture).current, Some(4));
    step.undo(&context, &undo).unwrap();
    assert_eq!(
        (read(&fixture).current, read(&fixture).all.len()),
        (Some(3), 2)
    );
}

#[test]
fn a_default_needs_a_complete_closure() {
    let (fixture, nix, paths) = machine();
    nix.content()
        .references
        .insert(paths[3].clone(), vec![store_path("lost")]);
    let context = fixture.machine.context();
    let step = step(Toplevel::Path(paths[3].clone()));
    let undo = step.prepare(&context).unwrap();
    let before = fixture.machine.state();
    let error = step.apply(&context, &undo).unwrap_err();
    assert!(matches!(error, SwitchError::Incomplete { .. }), "{error}");
    assert_eq!(fixture.machine.state(), before);
}

/// A toplevel's own program, which remembers what it was told.
fn own_program(fixture: &Fixture, toplevel: &str, code: i32) {
    fixture
        .machine
        .put(&format!("{toplevel}/bin/switch-to-configuration"), "");
    let root = fixture.machine.dir.path().display().to_string();
    let program = format!("{toplevel}/bin/switch-to-configuration");
    let answer = Answer::Output(Output {
        code,
        stderr: "Failed to install bootloader\n".into(),
        ..Output::default()
    });
    fixture
        .machine
        .exec
        .answer("chroot", &[&root, &program], answer);
}

fn boots(fixture: &Fixture) -> Vec<String> {
    let lines = fixture.machine.exec.lines().into_iter();
    lines
        .filter(|line| line.contains("switch-to-configuration"))
        .collect()
}

#[test]
fn the_generations_own_program_writes_the_boot_entry() {
    let (fixture, _nix, paths) = machine();
    own_program(&fixture, &paths[1], 0);
    own_program(&fixture, &paths[3], 1);
    let context = fixture.machine.context();
    let step = step(Toplevel::Path(paths[3].clone()));
    let undo = step.prepare(&context).unwrap();
    let error = step.apply(&context, &undo).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("it ended with 1: Failed to install bootloader"),
        "{error}"
    );
    assert!(
        boots(&fixture)[0].ends_with(&format!("{}/bin/switch-to-configuration boot", paths[3]))
    );
    fixture.machine.exec.forget();
    step.undo(&context, &undo).unwrap();
    assert!(boots(&fixture)[0].contains(&paths[1]));
    fixture.machine.exec.forget();
    step.undo(&context, &undo).unwrap();
    assert!(boots(&fixture).is_empty(), "nothing is left to be undone");
}

#[test]
fn a_first_default_is_taken_off_whole() {
    let (fixture, _nix, paths) = machine();
    for name in ["", "-3-link", "-4-link"] {
        std::fs::remove_file(fixture.machine.path(&format!("{PROFILE}{name}"))).unwrap();
    }
    let context = fixture.machine.context();
    let step = step(Toplevel::Path(paths[3].clone()));
    let undo = step.prepare(&context).unwrap();
    step.apply(&context, &undo).unwrap();
    assert_eq!(read(&fixture).current, Some(1));
    step.undo(&context, &undo).unwrap();
    assert_eq!(read(&fixture), Generations::default());
}

#[test]
fn toplevels_are_resolved() {
    let (fixture, _nix, paths) = machine();
    let resolve = |toplevel: Toplevel| toplevel.resolve(&fixture.machine.host.fs, Path::new(ROOTS));
    assert_eq!(resolve(Toplevel::Hybrid(1)).unwrap(), paths[2]);
    assert_eq!(resolve(Toplevel::Path(paths[0].clone())).unwrap(), paths[0]);
    assert!(resolve(Toplevel::Hybrid(2)).is_err());
    assert!(resolve(Toplevel::Path("/etc".to_owned())).is_err());
}

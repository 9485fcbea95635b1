use super::*;
use crate::switch::testing::{Fixture, PROFILE, store_path};
use crate::switch::testing_nix::FakeNix;

fn machine() -> (Fixture, FakeNix, [String; 3]) {
    let fixture = Fixture::new();
    let paths = ["one", "two", "three"].map(store_path);
    let all: Vec<(&str, &[&str])> = paths.iter().map(|path| (path.as_str(), &[][..])).collect();
    let nix = FakeNix::on(&fixture, &all);
    nix.add(&paths.each_ref().map(String::as_str));
    for (number, path) in (1..).zip(&paths) {
        fixture.link(&format!("{PROFILE}-{number}-link"), path);
    }
    fixture.link(PROFILE, "system-3-link");
    (fixture, nix, paths)
}

fn step(paths: &[String; 3], numbers: &[usize]) -> Forget {
    let generations = numbers
        .iter()
        .map(|&number| (number as u64, paths[number - 1].clone()));
    let generations: Vec<(u64, String)> = generations.collect();
    Forget {
        profile: PROFILE.into(),
        paths: generations.iter().map(|(_, path)| path.clone()).collect(),
        generations,
    }
}

#[test]
fn old_generations_go_and_it_is_said_that_they_cannot_come_back() {
    let (fixture, nix, paths) = machine();
    let context = fixture.machine.context();
    let step = step(&paths, &[1, 2]);
    let undo = step.prepare(&context).unwrap();
    for _ in 0..2 {
        assert_eq!(step.apply(&context, &undo).unwrap(), Undone::Clean);
        assert_eq!(nix.valid().len(), 1);
    }
    let Undone::Kept(told) = step.undo(&context, &undo).unwrap() else {
        panic!("they are gone");
    };
    assert!(told.contains("1, 2"), "{told}");
}

#[test]
fn links_come_back_while_the_store_paths_are_there() {
    let (fixture, _nix, paths) = machine();
    fixture.link("/nix/var/nix/gcroots/theirs", &paths[0]);
    let context = fixture.machine.context();
    let step = step(&paths, &[1]);
    let before = fixture.machine.state();
    let undo = step.prepare(&context).unwrap();
    assert!(matches!(
        step.apply(&context, &undo).unwrap(),
        Undone::Kept(_)
    ));
    assert_eq!(step.undo(&context, &undo).unwrap(), Undone::Clean);
    assert_eq!(fixture.machine.state(), before);
}

#[test]
fn the_default_is_never_forgotten() {
    let (fixture, nix, paths) = machine();
    let context = fixture.machine.context();
    let step = step(&paths, &[3]);
    let undo = step.prepare(&context).unwrap();
    assert!(matches!(
        step.apply(&context, &undo).unwrap(),
        Undone::Kept(_)
    ));
    assert_eq!(nix.valid().len(), 3);
    assert!(fixture.target_of(&format!("{PROFILE}-3-link")).is_some());
}

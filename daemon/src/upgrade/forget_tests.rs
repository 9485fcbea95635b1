use std::os::unix::fs::symlink;

use super::*;
use crate::resource::group::Group;
use crate::resource::nix_testing as release;
use crate::resource::testing::{Machine, State};

const FOLDER: &str = "/nix/var/nix/profiles";

/// A profile whose generations hold the release (true) or another one, the last of them current.
fn machine(generations: &[bool]) -> Machine {
    let machine = Machine::new();
    release::unpacked(&machine);
    for (name, holds) in [("with", release::NIX), ("without", "/nix/store/x-nix-2.1")] {
        let list = format!("/nix/store/{name}-user-environment/manifest.nix");
        machine.put(&list, format!("[ {{ outPath = \"{holds}\"; }} ]"));
    }
    std::fs::create_dir_all(machine.path(FOLDER)).unwrap();
    for (holds, number) in generations.iter().zip(1..) {
        let name = if *holds { "with" } else { "without" };
        let link = machine.path(&format!("{FOLDER}/nixctl-{number}-link"));
        symlink(format!("/nix/store/{name}-user-environment"), link).unwrap();
        let _ = std::fs::remove_file(machine.path(OWN_PROFILE));
        let generation = format!("nixctl-{number}-link");
        symlink(generation, machine.path(OWN_PROFILE)).unwrap();
    }
    machine
}

fn forget() -> Forget {
    Forget {
        version: "2.26.3".to_owned(),
        sha256: release::SHA256.to_owned(),
    }
}

/// Numbers of the generations that are there.
fn left(machine: &Machine) -> Vec<String> {
    let names = machine.host.fs.list(FOLDER.as_ref()).unwrap();
    let names = names.into_iter().map(|it| it.into_string().unwrap());
    let number = |it: String| {
        Some(
            it.strip_prefix("nixctl-")?
                .strip_suffix("-link")?
                .to_owned(),
        )
    };
    let mut left: Vec<String> = names.filter_map(number).collect();
    left.sort();
    left
}

#[test]
fn the_generations_with_the_release_go_and_come_back() {
    for (generations, stay) in [
        (vec![true, true, false], vec!["3"]),
        (vec![true, false, true, false], vec!["2", "4"]),
        // What is in use stays, whatever it holds.
        (vec![true, false, true], vec!["2", "3"]),
        (vec![false, false], vec!["1", "2"]),
    ] {
        let machine = machine(&generations);
        let context = machine.context();
        let before: State = machine.state();
        let undo = forget().prepare(&machine.host).unwrap();
        assert_eq!(machine.state(), before, "preparing changed something");
        forget().undo(&context, &undo).unwrap();
        assert_eq!(machine.state(), before, "undoing nothing changed something");
        for _ in 0..2 {
            for _ in 0..2 {
                forget().apply(&context, &undo).unwrap();
                assert_eq!(left(&machine), stay, "{generations:?}");
            }
            for _ in 0..2 {
                forget().undo(&context, &undo).unwrap();
                assert_eq!(machine.state(), before, "{generations:?}");
            }
        }
    }
}

#[test]
fn a_release_of_which_nothing_is_known_has_no_generations() {
    let machine = machine(&[true, false]);
    let step = Forget {
        sha256: "cc".to_owned(),
        ..forget()
    };
    let undo = step.prepare(&machine.host).unwrap();
    assert_eq!(undo, Undo::Entries(Vec::new()));
    step.apply(&machine.context(), &undo).unwrap();
    assert_eq!(left(&machine), ["1", "2"]);
}

#[test]
fn nothing_happens_to_what_is_not_owned_any_more() {
    let machine = Machine::new();
    let before = machine.state();
    let name = "nixctl".to_owned();
    let resource = Box::new(Resource::Group(Group { name }));
    let step = Disown { resource };
    let undo = step.prepare(&machine.host).unwrap();
    step.apply(&machine.context(), &undo).unwrap();
    step.undo(&machine.context(), &undo).unwrap();
    assert_eq!(machine.state(), before);
    assert!(machine.exec.lines().is_empty());
    assert_eq!(step.describe().id, "disown:group:nixctl");
}

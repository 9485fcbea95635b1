use super::super::Resource;
use super::super::testing::{Machine, check_laws, make, undone};
use super::*;
use crate::host::fs::testing::{Bound, Fixed};

fn tree() -> NixTree {
    NixTree {
        store_gid: 30_000,
        keep: false,
    }
}

/// Only root can give folders to the group; the laws say nothing to others.
fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn the_laws_hold_with_and_without_a_folder_of_somebody_else() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    check_laws(&machine, &Resource::NixTree(tree()));
    machine.put("/nix/lost+found/x", "kept");
    machine.put("/nix/var/other/x", "kept");
    check_laws(&machine, &Resource::NixTree(tree()));
    check_laws(
        &machine,
        &Resource::NixTree(NixTree {
            store_gid: 0,
            ..tree()
        }),
    );
}

#[test]
fn everything_that_came_later_goes_and_what_was_there_stays() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    machine.put("/nix/mine", "kept");
    let before = machine.state();
    let resource = Resource::NixTree(tree());
    let undo = make(&machine, &resource).unwrap();
    machine.put("/nix/store/a/b/c", "x");
    machine.chmod("/nix/store/a/b", 0o555);
    machine.put("/nix/.nixctl-unpack/a", "x");
    machine.put("/nix/var/nix/db/db.sqlite", "x");
    assert_eq!(undone(&machine, &resource, &undo), None);
    assert_eq!(machine.state(), before);
}

#[test]
fn a_kept_tree_stays_and_says_so() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let resource = Resource::NixTree(NixTree {
        keep: true,
        ..tree()
    });
    let undo = make(&machine, &resource).unwrap();
    machine.put("/nix/store/a", "x");
    assert!(
        undone(&machine, &resource, &undo)
            .unwrap()
            .contains("as asked")
    );
    assert!(machine.path("/nix/store/a").exists());
}

#[test]
fn wrong_modes_and_kinds_are_seen() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let resource = Resource::NixTree(tree());
    make(&machine, &resource).unwrap();
    machine.chmod("/nix/store", 0o777);
    assert!(matches!(
        resource.probe(&machine.host).unwrap(),
        Presence::Drifted(_)
    ));
    make(&machine, &resource).unwrap();
    assert_eq!(resource.probe(&machine.host).unwrap(), Presence::Present);
    std::fs::remove_dir(machine.path("/nix/var/nix/builds")).unwrap();
    let Presence::Drifted(seen) = resource.probe(&machine.host).unwrap() else {
        panic!()
    };
    assert!(seen.contains("var/nix/builds"));
    machine.put("/nix/var/nix/builds", "a file");
    assert!(matches!(
        resource.probe(&machine.host).unwrap(),
        Presence::Foreign(_)
    ));
    assert!(resource.prepare(&machine.host).is_err());
}

#[test]
fn removal_stops_when_asked_and_goes_on_later() {
    if !is_root() {
        return;
    }
    let machine = Machine::new();
    let before = machine.state();
    let resource = Resource::NixTree(tree());
    let undo = make(&machine, &resource).unwrap();
    machine.put("/nix/store/a/b", "x");
    machine.cancel.request(crate::host::cancel::Stop::Shutdown);
    assert!(
        resource
            .undo(&machine.context(), &undo)
            .unwrap_err()
            .is_stopped()
    );
    let again = Machine {
        cancel: crate::host::Cancel::default(),
        ..machine
    };
    assert_eq!(undone(&again, &resource, &undo), None);
    assert_eq!(again.state(), before);
}

#[test]
fn what_cannot_be_removed_stays_and_is_named_and_all_else_goes() {
    let machine = Machine::new();
    let resource = Resource::NixTree(tree());
    machine.put("/outside/precious", "kept");
    if !is_root() {
        return;
    }
    let undo = make(&machine, &resource).unwrap();
    for path in ["store/a/mnt/x", "store/b/x", "mine/x", "fixed/x", "zz/x"] {
        machine.put(&format!("/nix/{path}"), "x");
    }
    let outside = machine.path("/outside");
    let mount = |path: &str| Bound::new(&outside, &machine.path(path));
    let (Some(inside), Some(above), Some(fixed)) = (
        mount("/nix/store/a/mnt"),
        mount("/nix/mine"),
        Fixed::new(&machine.path("/nix/fixed/x")),
    ) else {
        return;
    };
    // A second time finds the same and changes nothing.
    for _ in 0..2 {
        let said = undone(&machine, &resource, &undo).unwrap();
        for path in ["/nix/store/a/mnt: ", "/nix/mine: ", "/nix/fixed/x: "] {
            assert!(said.contains(path), "{path} in {said}");
        }
        assert_eq!(machine.text("/nix/mine/precious").unwrap(), "kept");
        assert_eq!(machine.text("/nix/store/a/mnt/precious").unwrap(), "kept");
        assert_eq!(
            machine.host.fs.list("/nix".as_ref()).unwrap(),
            ["fixed", "mine", "store"]
        );
        assert_eq!(machine.host.fs.list("/nix/store".as_ref()).unwrap(), ["a"]);
    }
    drop((inside, above, fixed));
    assert_eq!(undone(&machine, &resource, &undo), None);
    assert!(!machine.path("/nix").exists());
    assert_eq!(machine.text("/outside/precious").unwrap(), "kept");
}

#[test]
fn a_mount_on_the_store_itself_is_not_entered() {
    let machine = Machine::new();
    let resource = Resource::NixTree(tree());
    machine.put("/outside/precious", "kept");
    if !is_root() {
        return;
    }
    let undo = make(&machine, &resource).unwrap();
    let Some(_mount) = Bound::new(&machine.path("/outside"), &machine.path("/nix/store")) else {
        return;
    };
    let said = undone(&machine, &resource, &undo).unwrap();
    assert!(said.contains("/nix/store: "), "{said}");
    assert_eq!(machine.text("/outside/precious").unwrap(), "kept");
}

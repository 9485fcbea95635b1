use proptest::prelude::*;

use super::*;
use crate::resource::Resource;
use crate::resource::testing::{Machine, check_laws, check_removal, make, undone};

const PATH: &str = "/etc/bashrc";
const TEXT: &str = "\n# Nix\nif [ -e /nix/x ]; then\n  . /nix/x\nfi\n# End Nix\n\n";

fn block(create: bool) -> Resource {
    Resource::Block(Block {
        path: PATH.into(),
        text: TEXT.to_owned(),
        create,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn laws_hold_for_any_file(
        content in prop_oneof![
            any::<Vec<u8>>(),
            "(\n|# Nix\n|fi\n|x|\r\n| ){0,8}".prop_map(String::into_bytes),
        ],
        mode in 0o400u32..0o777,
        create: bool,
    ) {
        let machine = Machine::new();
        machine.put(PATH, content);
        machine.chmod(PATH, mode);
        check_laws(&machine, &block(create));
    }
}

#[test]
fn laws() {
    check_laws(&Machine::new(), &block(true));
    check_laws(&Machine::new(), &block(false));
    let there = Machine::new();
    there.put(PATH, format!("first\n{TEXT}last"));
    check_laws(&there, &block(true));
}

#[test]
fn a_block_without_the_common_markers_stands_beside_another() {
    let own = Resource::Block(Block {
        path: PATH.into(),
        text: "# nixctl\n. /x\n# End nixctl\n\n".to_owned(),
        create: true,
    });
    let machine = Machine::new();
    machine.put(PATH, format!("first\n{TEXT}last"));
    check_laws(&machine, &own);
    let undo = make(&machine, &own).unwrap();
    assert!(machine.text(PATH).unwrap().starts_with("# nixctl\n"));
    assert_ne!(own.describe().id, block(true).describe().id);
    assert_eq!(undone(&machine, &own, &undo), None);
    assert_eq!(machine.text(PATH).unwrap(), format!("first\n{TEXT}last"));
}

#[test]
fn it_stands_at_the_beginning_and_the_rest_is_kept() {
    let machine = Machine::new();
    machine.put(PATH, "echo hi");
    let undo = make(&machine, &block(true)).unwrap();
    assert_eq!(machine.text(PATH).unwrap(), format!("{TEXT}echo hi"));
    machine.put(PATH, format!("# mine\n{TEXT}echo ho\n"));
    assert_eq!(undone(&machine, &block(true), &undo), None);
    assert_eq!(machine.text(PATH).unwrap(), "# mine\necho ho\n");
}

#[test]
fn a_link_is_left_alone_and_said_so() {
    let machine = Machine::new();
    machine.put("/etc/static", "theirs");
    std::os::unix::fs::symlink("static", machine.path(PATH)).unwrap();
    check_laws(&machine, &block(true));
    assert_eq!(machine.text("/etc/static").unwrap(), "theirs");
    let notes = machine.notes.0.lock().unwrap();
    assert_eq!(
        notes[0],
        "/etc/bashrc is a symbolic link and was left alone"
    );
}

#[test]
fn edits_inside_the_block_stay() {
    let machine = Machine::new();
    machine.put(PATH, "x\n");
    let undo = make(&machine, &block(true)).unwrap();
    let edited = machine
        .text(PATH)
        .unwrap()
        .replace("fi\n", "  echo hi\nfi\n");
    machine.put(PATH, &edited);
    assert!(matches!(
        block(true).probe(&machine.host).unwrap(),
        Presence::Foreign(_)
    ));
    assert!(
        block(true).apply(&machine.context(), &undo).is_err(),
        "no second block"
    );
    let kept = undone(&machine, &block(true), &undo).unwrap();
    assert!(kept.contains("the block in it was changed"), "{kept}");
    assert_eq!(machine.text(PATH).unwrap(), edited);
}

#[test]
fn a_file_of_ours_with_lines_of_a_user_stays() {
    let machine = Machine::new();
    let undo = make(&machine, &block(true)).unwrap();
    machine.put(PATH, format!("{TEXT}alias x=y\n"));
    assert!(
        undone(&machine, &block(true), &undo)
            .unwrap()
            .contains("they stay")
    );
    assert_eq!(machine.text(PATH).unwrap(), "alias x=y\n");
}

#[test]
fn a_block_the_user_removed_is_clean() {
    let machine = Machine::new();
    machine.put(PATH, "x\n");
    let undo = make(&machine, &block(true)).unwrap();
    machine.put(PATH, "x\n");
    assert_eq!(undone(&machine, &block(true), &undo), None);
    std::fs::remove_file(machine.path(PATH)).unwrap();
    assert_eq!(undone(&machine, &block(true), &undo), None);
}

#[test]
fn the_block_of_another_installer_is_in_the_way() {
    let machine = Machine::new();
    machine.put(PATH, "\n# Nix\n. /old\n# End Nix\n");
    assert!(block(true).prepare(&machine.host).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_taken_away_comes_back_to_where_it_stood(
        before in "(\n|x|\r\n| ){0,8}", after in "(\n|x|é| ){0,8}",
        mode in 0o400u32..0o777,
        there: bool,
    ) {
        let machine = Machine::new();
        if there {
            machine.put(PATH, "x");
        }
        let made = make(&machine, &block(true)).unwrap();
        machine.put(PATH, format!("{before}{TEXT}{after}"));
        machine.chmod(PATH, mode);
        check_removal(&machine, &block(true), &made);
    }
}

#[test]
fn a_file_that_was_changed_meanwhile_has_it_at_the_beginning() {
    let machine = Machine::new();
    machine.put(PATH, "x\n");
    let made = make(&machine, &block(true)).unwrap();
    machine.put(PATH, format!("x\n{TEXT}y\n"));
    let taken = block(true).prepare_removal(&machine.host).unwrap();
    block(true).take_away(&machine.context(), &made).unwrap();
    machine.put(PATH, "z\n");
    let context = machine.context();
    block(true).restore(&context, &made, &taken).unwrap();
    assert_eq!(machine.text(PATH).unwrap(), format!("{TEXT}z\n"));
}

#[test]
fn the_content_of_the_file_is_not_kept() {
    let machine = Machine::new();
    machine.put(PATH, "export TOKEN=secret\n");
    let made = make(&machine, &block(true)).unwrap();
    let taken = block(true).prepare_removal(&machine.host).unwrap();
    let bytes = |undo| serde_json::to_string(undo).unwrap();
    let secret: Vec<String> = b"secret".iter().map(u8::to_string).collect();
    for kept in [bytes(&made), bytes(&taken)] {
        assert!(
            !kept.contains("secret") && !kept.contains(&secret.join(",")),
            "{kept}"
        );
    }
}

#[test]
fn a_file_of_an_earlier_version_s_journal_is_understood() {
    let machine = Machine::new();
    machine.put(PATH, format!("{TEXT}x\n"));
    let (content, (uid, gid)) = (b"x\n".to_vec(), (0, 0));
    let mode = 0o644;
    let made = Undo::File(SavedFile::Regular {
        content,
        mode,
        uid,
        gid,
    });
    assert_eq!(undone(&machine, &block(true), &made), None);
    assert_eq!(machine.text(PATH).unwrap(), "x\n");
}

#[test]
fn a_file_that_is_too_large_is_neither_changed_nor_forgotten() {
    let machine = Machine::new();
    let limit = usize::try_from(LIMIT).unwrap();
    machine.put(PATH, vec![b'x'; limit + 1]);
    let Presence::Foreign(seen) = block(true).probe(&machine.host).unwrap() else {
        panic!()
    };
    assert!(seen.contains("more than 1 MiB"), "{seen}");
    assert!(block(true).prepare(&machine.host).is_err());
    machine.put(PATH, "x");
    let made = make(&machine, &block(true)).unwrap();
    machine.put(PATH, [TEXT.as_bytes(), &vec![b'x'; limit]].concat());
    let kept = undone(&machine, &block(true), &made).unwrap();
    assert!(kept.contains("the block in it stays"), "{kept}");
}

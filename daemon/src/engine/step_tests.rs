use super::*;
use crate::resource::registration::Registration;
use crate::resource::testing::Machine;

#[test]
fn what_users_have_registered_does_not_come_back() {
    let remove = |undo| {
        let sha256 = String::new();
        Step::Remove(Resource::Registration(Registration { sha256 }), undo)
    };
    assert!(remove(Undo::Created).is_irreversible());
    assert!(!remove(Undo::Entries(Vec::new())).is_irreversible());
}

#[test]
fn what_cannot_be_looked_at_still_comes_off() {
    let machine = Machine::new();
    // A folder where the accounts are: they cannot be read.
    std::fs::create_dir(machine.path("/etc/group")).unwrap();
    let group = crate::resource::group::Group {
        name: "nixctl".to_owned(),
    };
    assert!(group.probe(&machine.host).is_err());
    let step = Step::Remove(Resource::Group(group), Undo::Created);
    let undo = step.prepare(&machine.context());
    assert_eq!(undo, Ok(Undo::Created));
}

#[test]
fn copies_of_the_database_go_whole_and_again_and_again() {
    let machine = Machine::new();
    let step = Step::Discard(COPIES_DIR.into());
    assert!(step.is_irreversible());
    for there in [true, false] {
        if there {
            machine.put(&format!("{COPIES_DIR}/db-1.sqlite"), "x");
            machine.put(&format!("{COPIES_DIR}/cut-off/off"), "x");
        }
        let done = step.apply(&machine.context(), &Undo::Nothing);
        assert_eq!(done, Ok(Undone::Clean));
        assert!(!machine.path(COPIES_DIR).exists());
    }
    let download = Path::new(DOWNLOADS_DIR).join("ab");
    assert!(!Step::Discard(download).is_irreversible());
}

#[test]
fn what_programs_wrote_is_synced_where_there_is_something() {
    let machine = Machine::new();
    let name = "nixctl".to_owned();
    let group = Resource::Group(crate::resource::group::Group { name });
    assert_eq!(Step::Ensure(group.clone()).sync(&machine.host), Ok(()));
    std::fs::remove_dir(machine.path("/etc")).unwrap();
    assert_eq!(Step::Ensure(group).sync(&machine.host), Ok(()));
}

//! Copies that are put back, and what is found again of what they do not know.

use super::testing::{Machine, store_path};
use super::tests::{count, examined, with_log_left_behind};
use super::*;

#[test]
fn a_copy_is_put_back_and_what_came_later_is_found_again() {
    let machine = Machine::new(2000);
    let copy = machine.copied();
    machine.add(&machine.nix(), 2000..2020);
    std::fs::remove_file(machine.path(&store_path(5))).unwrap();
    for other in ["x.lock", ".links", "tmp-1"] {
        std::fs::write(machine.path(&format!("/nix/store/{other}")), "").unwrap();
    }
    std::fs::write(machine.path(&format!("{}.lock", store_path(3))), "").unwrap();
    let damaged = {
        machine.damage(20..25);
        machine.files()[0].1.clone()
    };
    let aside = "damaged-1".to_owned();
    let restore = Work::Restore {
        copy: Some(copy.clone()),
        aside: aside.clone(),
    };
    for _ in 0..2 {
        let Report::Restored { aside } = machine.work(&restore).unwrap() else {
            panic!("it was not restored");
        };
        assert_eq!(examined(&machine), State::Sound);
        let kept = machine.path(aside.join("db.sqlite").to_str().unwrap());
        assert_eq!(
            std::fs::read(kept).unwrap(),
            damaged,
            "nothing of it is lost"
        );
        assert_eq!(count(&machine.path(DATABASE)), 2000);
    }
    let Report::Compared(comparison) = machine.work(&Work::Compare { copy: Some(copy) }).unwrap()
    else {
        panic!("it was not compared");
    };
    assert_eq!(
        (comparison.common, comparison.unregistered, comparison.gone),
        (1999, 20, 1)
    );
    assert_eq!(comparison.some_gone, [store_path(5)]);
    assert_eq!(comparison.some_unregistered[0], store_path(2000));
    let Report::Salvaged { found, lost, .. } = machine.work(&Work::Salvage { aside }).unwrap()
    else {
        panic!("nothing was salvaged");
    };
    assert_eq!((found, lost), (20, 0));
    let text = std::fs::read_to_string(machine.path(REGISTRATION)).unwrap();
    let first: Vec<&str> = text.lines().take(7).collect();
    let hash = format!("{:064x}", 2000);
    let (path, before) = (store_path(2000), store_path(1999));
    assert_eq!(first, [&path, &hash, "7", "", "2", &before, &path]);
}

#[test]
fn nothing_is_restored_while_nix_is_running() {
    let machine = Machine::new(10);
    let copy = machine.copied();
    let lock = std::fs::File::create(machine.path("/nix/var/nix/db/big-lock")).unwrap();
    lock.lock_shared().unwrap();
    let aside = "damaged-1".to_owned();
    let restore = Work::Restore {
        copy: Some(copy),
        aside,
    };
    let before = machine.files();
    let error = machine.work(&restore).unwrap_err();
    assert!(matches!(error, DatabaseError::InUse { .. }), "{error}");
    assert_eq!(machine.files(), before);
    drop(lock);
    machine.work(&restore).unwrap();
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let machine = Machine::new(10);
    let copy = machine.copied();
    for aside in ["", ".", "..", "a/b", "../x", "a b"] {
        let work = Work::Restore {
            copy: Some(copy.clone()),
            aside: aside.to_owned(),
        };
        let error = machine.work(&work).unwrap_err();
        assert!(matches!(error, DatabaseError::BadName { .. }), "{error}");
    }
    let copy = "../../../../nix/var/nix/db/db.sqlite".to_owned();
    let error = machine
        .work(&Work::Compare { copy: Some(copy) })
        .unwrap_err();
    assert!(matches!(error, DatabaseError::NoCopy { .. }), "{error}");
}

/// Every state of the folder that a kill can leave, and then the same work again.
#[test]
fn restoring_can_be_cut_off_anywhere() {
    for cut in 0..6 {
        let machine = with_log_left_behind();
        let copy = machine.copied();
        machine.damage(2..4);
        let aside = "damaged-1".to_owned();
        let folder = machine.path("/nix/var/nix/db/damaged-1");
        let database = machine.path(DATABASE);
        let new = machine.path("/nix/var/nix/db/.nixctl-restored.sqlite");
        let wal = machine.path(&format!("{DATABASE}-wal"));
        let damaged = (
            std::fs::read(&database).unwrap(),
            std::fs::read(&wal).unwrap(),
        );
        let source = machine.path(COPIES_DIR).join(&copy);
        let steps: [&dyn Fn(); 5] = [
            &|| std::fs::create_dir(&folder).unwrap(),
            &|| assert!(std::fs::copy(&source, &new).unwrap() > 0),
            &|| std::fs::rename(&wal, folder.join("db.sqlite-wal")).unwrap(),
            &|| std::fs::hard_link(&database, folder.join("db.sqlite")).unwrap(),
            &|| std::fs::rename(&new, &database).unwrap(),
        ];
        for step in &steps[..cut] {
            step();
        }
        machine
            .work(&Work::Restore {
                copy: Some(copy),
                aside,
            })
            .unwrap();
        assert_eq!(examined(&machine), State::Sound, "{cut}");
        assert_eq!(count(&database), 150, "{cut}");
        assert!(!new.exists() && !wal.exists(), "{cut}");
        let kept = |name: &str| std::fs::read(folder.join(name)).unwrap();
        assert_eq!((kept("db.sqlite"), kept("db.sqlite-wal")), damaged, "{cut}");
    }
}

#[test]
fn a_database_that_is_gone_is_restored_as_well() {
    let machine = Machine::new(10);
    let copy = machine.copied();
    std::fs::remove_file(machine.path(DATABASE)).unwrap();
    let aside = "damaged-1".to_owned();
    let restore = Work::Restore {
        copy: Some(copy),
        aside,
    };
    machine.work(&restore).unwrap();
    machine.add(&machine.nix(), 10..12);
    machine.work(&restore).unwrap();
    assert_eq!(count(&machine.path(DATABASE)), 12, "once");
}

#[test]
fn what_is_only_half_known_is_not_salvaged() {
    let machine = Machine::new(100);
    let copy = machine.copied();
    let nix = machine.nix();
    machine.add(&nix, 100..110);
    let id = "(SELECT id FROM ValidPaths WHERE path = ?1)";
    // A hash that is none, and a reference to a path that nobody knows: with it goes what refers to it.
    let sql = "UPDATE ValidPaths SET hash = 'x' WHERE path = ?1";
    nix.execute(sql, [store_path(103)]).unwrap();
    let sql = format!("INSERT INTO Refs VALUES ({id}, 999999)");
    nix.pragma_update(None, "foreign_keys", false).unwrap();
    nix.execute(&sql, [store_path(107)]).unwrap();
    drop(nix);
    // 103 to 110 refer to 103 each through the one before.
    let (found, whole, lost, some_lost) = machine.salvaged(Some(copy), "damaged-1");
    assert_eq!((found, whole, lost), (3, 0, 7));
    assert_eq!(some_lost[0], store_path(103));
}

/// Whatever is damaged: what is written down is true, and nothing is both found and lost.
#[test]
fn what_is_salvaged_is_true() {
    let machine = Machine::new(100);
    let copy = machine.copied();
    machine.add(&machine.nix(), 100..300);
    let whole = std::fs::read(machine.path(DATABASE)).unwrap();
    let pages = whole.len() / 4096;
    let (mut all, mut some, mut none) = (0, 0, 0);
    for page in 0..pages {
        for kind in 0..3 {
            let mut bytes = whole.clone();
            let other = (page * 7 + 3) % pages;
            let content = match kind {
                0 => vec![0xa5; 4096],
                1 => vec![0; 4096],
                _ => whole[other * 4096..(other + 1) * 4096].to_vec(),
            };
            bytes[page * 4096..(page + 1) * 4096].copy_from_slice(&content);
            std::fs::write(machine.path(DATABASE), &bytes).unwrap();
            let aside = format!("damaged-{page}-{kind}");
            let (found, _, lost, _) = machine.salvaged(Some(copy.clone()), &aside);
            assert_eq!(found + lost, 200);
            match (found, lost) {
                (_, 0) => all += 1,
                (0, _) => none += 1,
                _ => some += 1,
            }
            let text = std::fs::read_to_string(machine.path(REGISTRATION)).unwrap();
            let entries: Vec<&str> = text.lines().collect();
            for entry in entries.chunks(7) {
                let number: u32 = entry[0].rsplit('-').next().unwrap().parse().unwrap();
                let (before, own) = (store_path(number - 1), store_path(number));
                let hash = format!("{number:064x}");
                let truth = [&own, &hash, "7", "", "2", &before, &own];
                assert_eq!(entry, truth, "page {page}, kind {kind}");
            }
        }
    }
    assert!(all > 0 && some > 0 && none > 0, "{all}, {some}, {none}");
}

/// All files of the database's folder, those set aside too.
fn all_files(machine: &Machine) -> Vec<(String, Vec<u8>)> {
    let mut files = machine.files();
    let folder = machine.path("/nix/var/nix/db/damaged-1");
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = format!("damaged-1/{}", entry.file_name().to_str().unwrap());
        files.push((name, std::fs::read(entry.path()).unwrap()));
    }
    files.retain(|(name, _)| name != "big-lock");
    files
}

#[test]
fn what_was_set_aside_comes_back_byte_for_byte() {
    for with_copy in [true, false] {
        for is_there in [true, false] {
            let machine = with_log_left_behind();
            let copy = Some(machine.copied()).filter(|_| with_copy);
            std::fs::write(machine.path("/nix/var/nix/db/schema"), "10").unwrap();
            machine.damage(2..4);
            if !is_there {
                for suffix in ["", "-wal"] {
                    let name = format!("{DATABASE}{suffix}");
                    std::fs::remove_file(machine.path(&name)).unwrap();
                }
            }
            let aside = "damaged-1".to_owned();
            let put_back = Work::PutBack {
                aside: aside.clone(),
            };
            let before = all_files(&machine);
            machine.work(&put_back).unwrap();
            assert_eq!(all_files(&machine), before, "nothing was set aside");
            let restore = Work::Restore { copy, aside };
            for _ in 0..2 {
                machine.work(&restore).unwrap();
                assert_eq!(machine.path(DATABASE).exists(), with_copy);
                if !with_copy {
                    assert!(!machine.path("/nix/var/nix/db/schema").exists());
                    // As Nix makes a new one.
                    std::fs::write(machine.path("/nix/var/nix/db/schema"), "10").unwrap();
                }
                let nix = machine.nix();
                machine.add(&nix, 500..510);
                // It is found again when the work is repeated.
                machine.work(&restore).unwrap();
                drop(nix);
                assert_eq!(count(&machine.path(DATABASE)) % 150, 10);
                for _ in 0..2 {
                    machine.work(&put_back).unwrap();
                    assert_eq!(all_files(&machine), before, "{with_copy} {is_there}");
                }
            }
        }
    }
}

/// The way back, cut off after each of its moves.
#[test]
fn putting_back_can_be_cut_off_anywhere() {
    for cut in 0..3 {
        let machine = with_log_left_behind();
        std::fs::write(machine.path("/nix/var/nix/db/schema"), "10").unwrap();
        machine.damage(2..4);
        let before = all_files(&machine);
        let aside = "damaged-1".to_owned();
        let restore = Work::Restore {
            copy: None,
            aside: aside.clone(),
        };
        machine.work(&restore).unwrap();
        drop(machine.nix());
        let folder = machine.path("/nix/var/nix/db/damaged-1");
        let database = machine.path(DATABASE);
        let wal = machine.path(&format!("{DATABASE}-wal"));
        let steps: [&dyn Fn(); 2] = [
            &|| std::fs::rename(folder.join("db.sqlite"), &database).unwrap(),
            &|| std::fs::rename(folder.join("db.sqlite-wal"), &wal).unwrap(),
        ];
        for step in &steps[..cut] {
            step();
        }
        machine.work(&Work::PutBack { aside }).unwrap();
        assert_eq!(all_files(&machine), before, "{cut}");
    }
}

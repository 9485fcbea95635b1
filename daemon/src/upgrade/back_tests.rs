use nixctl_proto::Code;

use super::super::copy::tests::{LATER, PATHS, Site, copy};
use super::*;
use crate::health::database::copies;
use crate::payload::{Manifest, manifest_path};
use crate::upgrade::kept::{Keep, Kept};

const SHA256: &str = "cd";
const VERSION: &str = "2.26.3";

/// A machine that was upgraded to a version with another form of the database.
fn upgraded() -> Site {
    let site = Site::new();
    unpacked(&site);
    let living = site.dying(usize::MAX);
    let context = site.context(&living);
    let undo = copy().prepare(&site.host).unwrap();
    copy().apply(&context, &undo).unwrap();
    site.is_taken_over();
    keep(&site);
    site
}

/// The older release is in the store.
fn unpacked(site: &Site) {
    let nix = format!("/nix/store/{}-nix-{VERSION}", "z".repeat(32));
    let manifest = Manifest {
        version: VERSION.to_owned(),
        nix,
        cacert: None,
        paths: Vec::new(),
        reginfo: String::new(),
        unpacked_bytes: 1,
        unpacked_inodes: 1,
    };
    let path = site.machine.path(manifest_path(SHA256).to_str().unwrap());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

fn keep(site: &Site) {
    let keep = Keep {
        before: 10,
        at: copy().at.max(u64::MAX / 2),
    };
    let living = site.dying(usize::MAX);
    keep.apply(&site.context(&living), &Undo::Nothing).unwrap();
}

fn returnable() -> Returnable {
    Returnable {
        sha256: SHA256.to_owned(),
        version: VERSION.to_owned(),
    }
}

fn go_back() -> GoBack {
    GoBack {
        sha256: SHA256.to_owned(),
        version: VERSION.to_owned(),
        at: 9,
    }
}

/// The copy of the newer database that is made before the older one takes its place.
fn before_it() -> crate::upgrade::copy::Copy {
    crate::upgrade::copy::Copy { at: 9, ..copy() }
}

#[test]
fn the_copy_from_before_stays_however_many_come_after() {
    let site = upgraded();
    let kept = kept::all(&site.host).unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].form, 10);
    let newest = copies::all(&site.host.fs).unwrap().pop().unwrap();
    assert_eq!(kept[0].copy, newest.name());
    // Its name among the copies goes with the time.
    site.host.fs.remove_file(&newest.path()).unwrap();
    keep(&site);
    kept[0].bring_back(&site.host).unwrap();
    assert!(site.host.fs.meta(&newest.path()).unwrap().is_some());
    for (form, found) in [(9, None), (10, Some(10)), (12, Some(10))] {
        let readable = kept::readable(&site.host, form).unwrap();
        assert_eq!(readable.map(|it| it.form), found);
    }
}

#[test]
fn of_each_form_one_copy_is_kept_and_none_where_the_form_stayed() {
    let site = Site::new();
    let living = site.dying(usize::MAX);
    let context = site.context(&living);
    keep(&site);
    assert_eq!(kept::all(&site.host).unwrap(), []);
    let first = copies::all(&site.host.fs).unwrap().pop().unwrap().name();
    site.set_schema("11");
    keep(&site);
    site.set_schema("10");
    let undo = copy().prepare(&site.host).unwrap();
    copy().apply(&context, &undo).unwrap();
    site.set_schema("11");
    keep(&site);
    let kept: Vec<Kept> = kept::all(&site.host).unwrap();
    assert_eq!(kept.len(), 1);
    assert_ne!(kept[0].copy, first);
}

#[test]
fn without_a_copy_it_stays_refused_before_anything_is_stopped() {
    let site = upgraded();
    let living = site.dying(usize::MAX);
    let context = site.context(&living);
    returnable().apply(&context, &Undo::Created).unwrap();
    for kept in kept::all(&site.host).unwrap() {
        site.host.fs.remove_file(&kept.path()).unwrap();
    }
    for error in [
        returnable().apply(&context, &Undo::Created).unwrap_err(),
        go_back().apply(&context, &Undo::Created).unwrap_err(),
    ] {
        let failure = error.failure();
        assert_eq!(failure.code, Code::SchemaNewer);
        assert!(
            failure
                .message
                .contains("no copy from before that change was kept"),
            "{}",
            failure.message
        );
    }
    assert!(site.services.calls().is_empty());
    assert_eq!(site.known(), (PATHS + LATER, false));
    // What it reads needs no copy.
    site.set_schema("10");
    returnable().apply(&context, &Undo::Created).unwrap();
}

#[test]
fn the_copy_takes_the_place_and_what_came_since_is_registered_again() {
    let site = upgraded();
    let living = site.dying(usize::MAX);
    let context = site.context(&living);
    let undo = before_it().prepare(&site.host).unwrap();
    before_it().apply(&context, &undo).unwrap();
    go_back().apply(&context, &Undo::Created).unwrap();
    assert_eq!(site.schema(), "10");
    assert_eq!(site.known(), (PATHS + LATER, true));
    let kept = site.machine.path("/nix/var/nix/db/damaged-10/db.sqlite");
    assert!(kept.exists(), "the newer one is kept");
    let calls = site.services.calls();
    let stopped = calls.iter().filter(|it| it.starts_with("stop"));
    assert_eq!(stopped.count(), 2, "{calls:?}");
    assert!(!calls.iter().any(|it| it.starts_with("start")), "{calls:?}");
    // A second time it is done already.
    let after = site.files();
    go_back().apply(&context, &Undo::Created).unwrap();
    assert_eq!(site.files(), after);
    Reopen {}.apply(&context, &Undo::Created).unwrap();
    let calls = site.services.calls();
    assert!(
        calls.contains(&"start nix-daemon.socket".to_owned()),
        "{calls:?}"
    );
}

#[test]
fn where_the_older_version_reads_what_is_there_nothing_is_done() {
    let site = Site::new();
    unpacked(&site);
    let living = site.dying(usize::MAX);
    let context = site.context(&living);
    let before = site.files();
    go_back().apply(&context, &Undo::Created).unwrap();
    Reopen {}.apply(&context, &Undo::Created).unwrap();
    assert_eq!(site.files(), before);
    assert!(site.services.calls().is_empty());
}

#[test]
fn somebody_who_has_the_store_open_is_not_overrun() {
    let site = upgraded();
    let living = site.dying(usize::MAX);
    let context = site.context(&living);
    let lock = std::fs::File::open(site.machine.path(LOCK)).unwrap();
    lock.lock_shared().unwrap();
    let error = go_back().apply(&context, &Undo::Created).unwrap_err();
    assert!(error.to_string().contains("somebody uses it"), "{error}");
    assert_eq!(site.schema(), "11");
    assert_eq!(site.known(), (PATHS + LATER, false));
}

/// Cut off anywhere it is gone on with, or undone by the copy that was made before.
#[test]
fn cut_off_anywhere_it_goes_on_or_back() {
    for cut in 0..4 {
        for forwards in [true, false] {
            let site = upgraded();
            let living = site.dying(usize::MAX);
            let context = site.context(&living);
            let undo = before_it().prepare(&site.host).unwrap();
            before_it().apply(&context, &undo).unwrap();
            let dying = site.dying(cut);
            let cut_off = go_back().apply(&site.context(&dying), &Undo::Created);
            assert!(cut_off.is_err(), "{cut}");
            if forwards {
                go_back().apply(&context, &Undo::Created).unwrap();
                assert_eq!(site.schema(), "10", "{cut}");
                assert_eq!(site.known(), (PATHS + LATER, true), "{cut}");
                continue;
            }
            site.forwards_again();
            go_back().undo(&context, &Undo::Created).unwrap();
            before_it().undo(&context, &undo).unwrap();
            assert_eq!(site.schema(), "11", "{cut}");
            assert_eq!(site.known(), (PATHS + LATER, false), "{cut}");
        }
    }
}

/// All of it was done, and then a later step failed.
#[test]
fn the_newer_database_comes_back_when_the_older_version_fails() {
    let site = upgraded();
    let living = site.dying(usize::MAX);
    let context = site.context(&living);
    let undo = before_it().prepare(&site.host).unwrap();
    before_it().apply(&context, &undo).unwrap();
    go_back().apply(&context, &Undo::Created).unwrap();
    site.forwards_again();
    go_back().undo(&context, &Undo::Created).unwrap();
    before_it().undo(&context, &undo).unwrap();
    assert_eq!(site.schema(), "11");
    assert_eq!(site.known(), (PATHS + LATER, false));
}

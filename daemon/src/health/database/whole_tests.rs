use std::os::unix::fs::{PermissionsExt, symlink};

use super::super::REGISTRATION;
use super::super::testing::Machine;
use super::*;
use crate::host::Cancel;
use crate::resource::Silent;

const A: &str = "/nix/store/0aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-a";
const B: &str = "/nix/store/0bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb-b";
const C: &str = "/nix/store/0ccccccccccccccccccccccccccccccc-c";
const DRV: &str = "/nix/store/0ddddddddddddddddddddddddddddddd-b.drv";

fn put(machine: &Machine, path: &str, content: &str) {
    let real = machine.path(path);
    std::fs::create_dir_all(real.parent().unwrap()).unwrap();
    std::fs::write(real, content).unwrap();
}

/// As Nix leaves it.
fn finish(machine: &Machine, path: &str) {
    let real = machine.path(path);
    let meta = real.symlink_metadata().unwrap();
    if meta.is_dir() {
        for entry in std::fs::read_dir(&real).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            finish(machine, &format!("{path}/{name}"));
        }
    }
    if !meta.is_symlink() {
        let mode = if meta.is_dir() || meta.permissions().mode() & 0o100 != 0 {
            0o555
        } else {
            0o444
        };
        std::fs::set_permissions(&real, PermissionsExt::from_mode(mode)).unwrap();
    }
    machine.fs.set_times(Path::new(path), 1).unwrap();
}

fn whole(machine: &Machine, paths: &[&str], known: &[&str]) -> BTreeMap<String, Found> {
    let set = |all: &[&str]| all.iter().map(|it| (*it).to_owned()).collect();
    let (fs, progress, cancel) = (&machine.fs, &Silent, &Cancel::default());
    let job = Job {
        fs,
        progress,
        cancel,
    };
    job.whole(&set(paths), &set(known)).unwrap()
}

#[test]
fn only_what_nix_has_finished_is_whole() {
    type Spoil = fn(&Machine);
    let cases: [(Spoil, bool); 5] = [
        (|_| {}, true),
        (
            |it| {
                it.fs
                    .set_times(Path::new(&format!("{A}/bin/x")), 7)
                    .unwrap()
            },
            false,
        ),
        (
            |it| {
                it.fs
                    .set_mode(Path::new(&format!("{A}/bin/x")), 0o644)
                    .unwrap()
            },
            false,
        ),
        (|it| it.fs.set_mode(Path::new(A), 0o755).unwrap(), false),
        (|it| std::fs::remove_dir_all(it.path(A)).unwrap(), false),
    ];
    for (number, (spoil, is_whole)) in cases.into_iter().enumerate() {
        let machine = Machine::bare();
        put(&machine, &format!("{A}/bin/x"), "hello");
        finish(&machine, A);
        spoil(&machine);
        assert_eq!(
            whole(&machine, &[A], &[]).len(),
            usize::from(is_whole),
            "{number}"
        );
    }
}

/// `nix-store --dump` of a folder with these files, and its hash, were made with Nix's own tools'
/// format by hand: the archive of a file `x` that holds `hi`.
#[test]
fn hash_and_size_are_those_of_the_archive() {
    let machine = Machine::bare();
    put(&machine, A, "hi");
    finish(&machine, A);
    let mut archive = Vec::new();
    for word in [
        "nix-archive-1",
        "(",
        "type",
        "regular",
        "contents",
        "hi",
        ")",
    ] {
        archive.extend((word.len() as u64).to_le_bytes());
        archive.extend(word.as_bytes());
        archive.resize(archive.len().div_ceil(8) * 8, 0);
    }
    let found = whole(&machine, &[A], &[]);
    let valid = &found[A].valid;
    assert_eq!(valid.size, archive.len() as u64);
    assert_eq!(
        valid.hash,
        format!("sha256:{}", hex(&Sha256::digest(&archive)))
    );
}

#[test]
fn references_are_found_in_files_and_links() {
    let machine = Machine::bare();
    // Over the seam of two reads as well.
    let padding = "x".repeat(CHUNK - 20);
    put(
        &machine,
        &format!("{A}/text"),
        &format!("{padding}{B} and 0zzzz"),
    );
    symlink(format!("{C}/bin"), machine.path(&format!("{A}/link"))).unwrap();
    put(&machine, B, A);
    let outputs = format!("Derive([(\"out\",\"{B}\",\"\",\"\")]");
    let rest = format!("\"x86_64-linux\",\"/bin/sh\",[],[(\"out\",\"{B}\")])");
    put(&machine, DRV, &format!("{outputs},[],[\"{C}\"],{rest}"));
    for path in [A, B, DRV] {
        finish(&machine, path);
    }
    let found = whole(&machine, &[A, B, DRV], &[C]);
    let references =
        |path: &str| -> Vec<&str> { found[path].references.iter().map(String::as_str).collect() };
    assert_eq!(references(A), [B, C]);
    assert_eq!(references(B), [A]);
    assert_eq!(references(DRV), [C]);
}

#[test]
fn inputs_of_derivations_are_told_from_outputs() {
    for (text, inputs) in [
        (
            "Derive([o],[(\"d.drv\",[\"out\",\"dev\"])],[\"s\"],\"x\",..",
            Some("(\"d.drv\",[\"out\",\"dev\"])\n\"s\""),
        ),
        ("Derive([o],[],[],\"x\",[", Some("\n")),
        ("Derive([o],[d],[],\"x\"", Some("d\n")),
        ("Derive([o],[],[s],\"x\"", Some("\ns")),
        ("Derive([o]", None),
        ("", None),
    ] {
        let found = inputs_of(text.as_bytes());
        assert_eq!(found.as_deref(), inputs.map(str::as_bytes), "{text}");
    }
}

#[test]
fn without_any_database_what_is_whole_is_written_down() {
    let machine = Machine::bare();
    put(&machine, A, B);
    put(&machine, B, "end");
    put(&machine, C, "half a build");
    for path in [A, B] {
        finish(&machine, path);
    }
    let (found, whole, lost, some_lost) = machine.salvaged(None, "damaged-1");
    assert_eq!((found, whole, lost), (0, 2, 1));
    assert_eq!(some_lost, [C]);
    let text = std::fs::read_to_string(machine.path(REGISTRATION)).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines[0], lines[4], lines[5], lines[6]), (A, "1", B, B));
}

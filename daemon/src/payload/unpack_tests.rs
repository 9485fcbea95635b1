use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};
use tar::EntryType;

use super::super::files::{hex, store_time};
use super::super::{DOWNLOADS_DIR, UNPACK_DIR};
use super::*;
use crate::resource::Silent;

const NIX: &str = "0123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3";
const CERTS: &str = "1123456789abcdfghijklmnpqrsvwxyz-nss-cacert-3.1";
const TOP: &str = "nix-2.26.3-x86_64-linux";

/// Builds archives, also such as no tar program would write.
struct Maker(tar::Builder<Vec<u8>>);

impl Maker {
    fn new() -> Maker {
        Maker(tar::Builder::new(Vec::new()))
    }

    fn release() -> Maker {
        let mut maker = Maker::new();
        maker
            .folder("")
            .folder("store")
            .file("install", 0o755, b"#!/bin/sh\n");
        maker
            .folder(&format!("store/{NIX}"))
            .folder(&format!("store/{NIX}/bin"));
        maker.file(&format!("store/{NIX}/bin/nix"), 0o755, &[7; 100_000]);
        maker.link(&format!("store/{NIX}/bin/nix-store"), "nix");
        // Without entries for its folders, and with a text that points out of the store.
        maker.file(
            &format!("store/{CERTS}/etc/ssl/certs/ca-bundle.crt"),
            0o644,
            b"certificates",
        );
        maker.link(&format!("store/{CERTS}/odd"), "../../../../etc/passwd");
        maker
    }

    fn with_reginfo(mut self) -> Maker {
        let mut text = String::new();
        for name in [NIX, CERTS] {
            text += &format!("/nix/store/{name}\nhash\n1\n\n1\n/nix/store/{NIX}\n");
        }
        self.file(".reginfo", 0o644, text.as_bytes());
        self
    }

    fn raw(
        &mut self,
        path: &str,
        kind: EntryType,
        mode: u32,
        target: &str,
        body: &[u8],
    ) -> &mut Maker {
        if path.len() > 100 {
            self.long(EntryType::GNULongName, path);
        }
        if target.len() > 100 {
            self.long(EntryType::GNULongLink, target);
        }
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(body.len() as u64);
        header.set_mtime(12345);
        let bytes = &path.as_bytes()[..path.len().min(100)];
        header.as_gnu_mut().unwrap().name[..bytes.len()].copy_from_slice(bytes);
        let bytes = &target.as_bytes()[..target.len().min(100)];
        header.as_gnu_mut().unwrap().linkname[..bytes.len()].copy_from_slice(bytes);
        header.set_cksum();
        self.0.append(&header, body).unwrap();
        self
    }

    fn long(&mut self, kind: EntryType, text: &str) {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(text.len() as u64);
        header.set_path("././@LongLink").unwrap();
        header.set_cksum();
        self.0.append(&header, text.as_bytes()).unwrap();
    }

    fn folder(&mut self, path: &str) -> &mut Maker {
        self.raw(
            &format!("{TOP}/{path}"),
            EntryType::Directory,
            0o755,
            "",
            b"",
        )
    }

    fn file(&mut self, path: &str, mode: u32, body: &[u8]) -> &mut Maker {
        self.raw(&format!("{TOP}/{path}"), EntryType::Regular, mode, "", body)
    }

    fn link(&mut self, path: &str, target: &str) -> &mut Maker {
        self.raw(
            &format!("{TOP}/{path}"),
            EntryType::Symlink,
            0o777,
            target,
            b"",
        )
    }

    fn xz(self) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(&self.0.into_inner().unwrap()).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(self) -> Vec<u8> {
        zstd::encode_all(&self.0.into_inner().unwrap()[..], 1).unwrap()
    }
}

struct Machine {
    dir: tempfile::TempDir,
    fs: Fs,
}

impl Machine {
    fn new() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        for path in ["var/lib", "nix/store"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        Machine {
            fs: Fs::at(dir.path()),
            dir,
        }
    }

    fn put(&self, packed: &[u8]) -> Archive {
        super::super::files::private_dir(&self.fs, DOWNLOADS_DIR.as_ref()).unwrap();
        let archive = Archive {
            sha256: hex(&Sha256::digest(packed)),
            version: "2.26.3".into(),
            system: "x86_64-linux".into(),
            store_gid: 0,
        };
        std::fs::write(self.fs.real(&archive.path()), packed).unwrap();
        archive
    }

    fn unpack(&self, archive: &Archive) -> Result<(), PayloadError> {
        unpack(&self.fs, archive, &Silent, &Cancel::default())
    }

    /// Everything below /nix and outside of the daemon's state.
    fn paths(&self) -> Vec<String> {
        fn walk(at: &Path, base: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(at).unwrap() {
                let path = entry.unwrap().path();
                found.push(path.strip_prefix(base).unwrap().display().to_string());
                if path.is_dir() && !path.is_symlink() && !path.ends_with("var/lib/nixctl") {
                    walk(&path, base, found);
                }
            }
        }
        let mut found = Vec::new();
        walk(self.dir.path(), self.dir.path(), &mut found);
        found.sort();
        found
    }

    fn store(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("nix/store").join(path)
    }

    fn refuses(&self, maker: Maker, why: &str) {
        let before = self.paths();
        let archive = self.put(&maker.xz());
        let error = self.unpack(&archive).unwrap_err();
        assert_eq!(error.code(), Code::BadArchive, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        let mut after = self.paths();
        after.retain(|path| path != "var/lib/nixctl");
        let mut before = before;
        before.retain(|path| path != "var/lib/nixctl");
        assert_eq!(after, before);
        assert!(Manifest::load(&self.fs, &archive.sha256).unwrap().is_none());
    }
}

#[test]
fn a_release_becomes_store_paths_and_a_manifest() {
    for pack in [Maker::xz, Maker::zstd] {
        let machine = Machine::new();
        let archive = machine.put(&pack(Maker::release().with_reginfo()));
        machine.unpack(&archive).unwrap();
        let manifest = Manifest::load(&machine.fs, &archive.sha256)
            .unwrap()
            .unwrap();
        assert_eq!(manifest.nix, format!("/nix/store/{NIX}"));
        assert_eq!(manifest.cacert, Some(format!("/nix/store/{CERTS}")));
        assert_eq!(
            manifest.paths,
            [format!("/nix/store/{NIX}"), format!("/nix/store/{CERTS}")]
        );
        assert!(manifest.reginfo.starts_with("/nix/store/"));
        assert!(manifest.unpacked_bytes > 100_000);
        let program = std::fs::metadata(machine.store(&format!("{NIX}/bin/nix"))).unwrap();
        assert_eq!((program.mode() & 0o7777, program.len()), (0o555, 100_000));
        assert_eq!(program.modified().unwrap(), store_time());
        for folder in [
            NIX.to_owned(),
            format!("{NIX}/bin"),
            format!("{CERTS}/etc/ssl/certs"),
        ] {
            let meta = std::fs::metadata(machine.store(&folder)).unwrap();
            assert_eq!(meta.mode() & 0o7777, 0o555, "{folder}");
            assert_eq!(meta.modified().unwrap(), store_time(), "{folder}");
        }
        let bundle = machine.store(&format!("{CERTS}/etc/ssl/certs/ca-bundle.crt"));
        assert_eq!(std::fs::metadata(bundle).unwrap().mode() & 0o7777, 0o444);
        let link = machine.store(&format!("{CERTS}/odd"));
        assert_eq!(
            std::fs::read_link(&link).unwrap(),
            Path::new("../../../../etc/passwd")
        );
        let meta = std::fs::symlink_metadata(link).unwrap();
        assert_eq!(meta.modified().unwrap(), store_time());
        assert!(
            !machine
                .paths()
                .iter()
                .any(|path| path.contains("nixctl-unpack"))
        );
        assert!(!machine.paths().iter().any(|path| path.ends_with("install")));
    }
}

#[test]
fn a_second_run_changes_nothing_and_a_cut_one_is_completed() {
    let machine = Machine::new();
    let archive = machine.put(&Maker::release().with_reginfo().xz());
    machine.unpack(&archive).unwrap();
    let before = std::fs::metadata(machine.store(NIX)).unwrap().ino();
    let paths = machine.paths();
    machine.unpack(&archive).unwrap();
    assert_eq!(std::fs::metadata(machine.store(NIX)).unwrap().ino(), before);
    // As after a kill between two moves, with one path not sealed yet.
    std::fs::remove_file(
        machine
            .fs
            .real(&super::super::manifest_path(&archive.sha256)),
    )
    .unwrap();
    machine
        .fs
        .remove_tree(&Path::new(place::STORE).join(CERTS))
        .unwrap();
    std::fs::set_permissions(machine.store(NIX), PermissionsExt::from_mode(0o755)).unwrap();
    let left = machine.fs.real(UNPACK_DIR.as_ref());
    std::fs::create_dir_all(left.join(CERTS)).unwrap();
    machine.unpack(&archive).unwrap();
    assert_eq!(machine.paths(), paths);
    assert_eq!(
        std::fs::metadata(machine.store(NIX)).unwrap().mode() & 0o7777,
        0o555
    );
}

#[test]
fn paths_that_do_not_belong_there_are_refused() {
    let machine = Machine::new();
    let inside = |path: &str| format!("{TOP}/store/{NIX}/{path}");
    let regular = EntryType::Regular;
    let cases: Vec<(String, EntryType, u32, &str, &str)> = vec![
        (
            inside("../../../../../etc/evil"),
            regular,
            0o644,
            "",
            "`..`",
        ),
        ("/etc/evil".into(), regular, 0o644, "", "absolute"),
        ("../evil".into(), regular, 0o644, "", "`..`"),
        ("other/store".into(), regular, 0o644, "", "not below"),
        (
            format!("{TOP}/store/evil"),
            regular,
            0o644,
            "",
            "name of a store path",
        ),
        (inside("a"), EntryType::Char, 0o644, "", "neither a file"),
        (inside("a"), EntryType::Block, 0o644, "", "neither a file"),
        (inside("a"), EntryType::Fifo, 0o644, "", "neither a file"),
        (inside("a"), regular, 0o4755, "", "set-uid"),
        (inside("a"), regular, 0o2755, "", "set-uid"),
        (inside("a"), EntryType::Directory, 0o1755, "", "set-uid"),
        (
            inside("a"),
            EntryType::Link,
            0o644,
            "/etc/passwd",
            "absolute",
        ),
        (
            inside("a"),
            EntryType::Link,
            0o644,
            "nix-2.26.3-x86_64-linux/install",
            "out of the store",
        ),
        (inside("bin/nix"), regular, 0o644, "", "twice"),
        (
            inside("bin/nix-store/a"),
            regular,
            0o644,
            "",
            "not a folder",
        ),
        (inside("bin/nix/a"), regular, 0o644, "", "not a folder"),
        (
            format!("{TOP}/.reginfo"),
            EntryType::Symlink,
            0o644,
            "/etc/passwd",
            "does not belong",
        ),
        (
            format!("{TOP}/install"),
            EntryType::Symlink,
            0o644,
            "/etc/passwd",
            "does not belong",
        ),
        (
            format!("{TOP}/store"),
            EntryType::Symlink,
            0o644,
            "/etc",
            "does not belong",
        ),
    ];
    for (path, kind, mode, target, why) in cases {
        let mut maker = Maker::release();
        maker.raw(&path, kind, mode, target, b"");
        machine.refuses(maker.with_reginfo(), why);
    }
    assert!(!machine.dir.path().join("etc").exists());
}

#[test]
fn sparse_files_are_refused_in_both_spellings() {
    let machine = Machine::new();
    let path = format!("{TOP}/store/{NIX}/a");
    let mut old = Maker::release();
    old.raw(&path, EntryType::GNUSparse, 0o644, "", b"");
    machine.refuses(old.with_reginfo(), "");
    let mut new = Maker::release();
    new.0
        .append_pax_extensions([("GNU.sparse.major", &b"1"[..])])
        .unwrap();
    new.raw(&path, EntryType::Regular, 0o644, "", b"");
    machine.refuses(new.with_reginfo(), "sparse");
}

#[test]
fn nothing_is_written_through_a_link() {
    let machine = Machine::new();
    let outside = tempfile::tempdir().unwrap();
    let mut maker = Maker::release();
    maker.link(
        &format!("store/{NIX}/out"),
        outside.path().to_str().unwrap(),
    );
    maker.file(&format!("store/{NIX}/out/evil"), 0o644, b"evil");
    machine.refuses(maker.with_reginfo(), "not a folder");
    let mut maker = Maker::release();
    maker.link(
        &format!("store/{NIX}/out"),
        outside.path().to_str().unwrap(),
    );
    maker.folder(&format!("store/{NIX}/out"));
    machine.refuses(maker.with_reginfo(), "not a folder");
    let target = outside.path().join("new");
    let mut maker = Maker::release();
    maker.link(&format!("store/{NIX}/new"), target.to_str().unwrap());
    maker.file(&format!("store/{NIX}/new"), 0o644, b"evil");
    machine.refuses(maker.with_reginfo(), "twice");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn the_registration_must_fit() {
    let machine = Machine::new();
    machine.refuses(Maker::release(), "no .reginfo");
    let mut more = Maker::release().with_reginfo();
    more.file("store/2123456789abcdfghijklmnpqrsvwxyz-more", 0o644, b"");
    machine.refuses(more, "not registered");
    let mut none = Maker::new();
    none.file(
        ".reginfo",
        0o644,
        format!("/nix/store/{NIX}\nhash\n1\n\n0\n").as_bytes(),
    );
    machine.refuses(none, "not there");
    let mut empty = Maker::new();
    empty.file(".reginfo", 0o644, b"");
    machine.refuses(empty, "bin/nix-store");
    let mut twice = Maker::release().with_reginfo();
    twice.file(".reginfo", 0o644, b"");
    machine.refuses(twice, "two");
}

#[test]
fn cut_damaged_and_changed_archives_are_refused() {
    let machine = Machine::new();
    let whole = Maker::release().with_reginfo();
    let tar = whole.0.into_inner().unwrap();
    let packed = zstd::encode_all(&tar[..], 1).unwrap();
    for bytes in [
        packed[..packed.len() / 2].to_vec(),
        zstd::encode_all(&tar[..60_000], 1).unwrap(),
        b"<html>not found</html>".to_vec(),
        Vec::new(),
    ] {
        let archive = machine.put(&bytes);
        assert_eq!(
            machine.unpack(&archive).unwrap_err().code(),
            Code::BadArchive
        );
    }
    let archive = machine.put(&packed);
    std::fs::write(
        machine.fs.real(&archive.path()),
        zstd::encode_all(&tar[..], 3).unwrap(),
    )
    .unwrap();
    assert_eq!(
        machine.unpack(&archive).unwrap_err().code(),
        Code::ChecksumMismatch
    );
    assert!(machine.fs.list(place::STORE.as_ref()).unwrap().is_empty());
    assert!(!place::has_leftovers(&machine.fs).unwrap());
}

#[test]
fn hard_links_become_copies() {
    let machine = Machine::new();
    let mut maker = Maker::release();
    let target = format!("{TOP}/store/{NIX}/bin/nix");
    maker.raw(
        &format!("{TOP}/store/{NIX}/copy"),
        EntryType::Link,
        0o755,
        &target,
        b"",
    );
    let archive = machine.put(&maker.with_reginfo().xz());
    machine.unpack(&archive).unwrap();
    let meta = std::fs::metadata(machine.store(&format!("{NIX}/copy"))).unwrap();
    assert_eq!(
        (meta.len(), meta.nlink(), meta.mode() & 0o777),
        (100_000, 1, 0o555)
    );
    let mut maker = Maker::release();
    let target = format!("{TOP}/store/{NIX}/bin/nix-store");
    maker.raw(
        &format!("{TOP}/store/{NIX}/copy"),
        EntryType::Link,
        0o755,
        &target,
        b"",
    );
    machine.refuses(maker.with_reginfo(), "not there");
}

#[test]
fn stopping_leaves_no_folder_behind() {
    let machine = Machine::new();
    let archive = machine.put(&Maker::release().with_reginfo().xz());
    let cancel = Cancel::default();
    cancel.request(crate::host::cancel::Stop::Shutdown);
    assert!(
        unpack(&machine.fs, &archive, &Silent, &cancel)
            .unwrap_err()
            .is_stopped()
    );
    assert!(!place::has_leftovers(&machine.fs).unwrap());
}

use std::io::Write;

use sha2::{Digest, Sha256};

use super::super::files::hex;
use super::super::test_server::{Server, file, reply};
use super::*;

/// Begins like an archive.
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfdrest";

fn settings(server: &Server) -> InstallSettings {
    InstallSettings {
        release_server: server.url(""),
        ..InstallSettings::default()
    }
}

fn ask(request: InstallRequest, settings: &InstallSettings) -> Result<Release, PayloadError> {
    resolve(&request, settings, &Cancel::default())
}

fn source(text: impl Into<String>) -> InstallRequest {
    InstallRequest {
        source: Some(text.into()),
        ..InstallRequest::default()
    }
}

#[test]
fn a_version_is_found_on_the_release_server() {
    let system = this_system();
    let path = format!("/nix/nix-2.26.3/nix-2.26.3-{system}.tar.xz");
    let expected = hex(&Sha256::digest(b"archive"));
    let (at, sum) = (path.clone(), format!("{expected}\n"));
    let server = Server::start(move |asked, out| {
        if asked.path == at {
            file(asked, out, b"archive");
        } else if asked.path == format!("{at}.sha256") {
            file(asked, out, sum.as_bytes());
        } else {
            reply(asked, out, "404 Not Found", "", b"");
        }
    });
    let version = |version: &str| InstallRequest {
        version: Some(version.to_owned()),
        ..InstallRequest::default()
    };
    let release = ask(version("2.26.3"), &settings(&server)).unwrap();
    assert_eq!(release.source, Source::Url(server.url(&path)));
    assert_eq!((release.sha256, release.size), (expected, Some(7)));
    assert_eq!(
        (release.version.as_str(), release.system),
        ("2.26.3", system)
    );
    let error = ask(version("9.9.9"), &settings(&server)).unwrap_err();
    assert_eq!(error.code(), Code::BadSource);
    assert!(error.to_string().contains("no such file"), "{error}");
    for wrong in ["", "latest", "2.26/../3", "2.26.3\n", "2..3", "2?x"] {
        assert_eq!(
            ask(version(wrong), &settings(&server)).unwrap_err().code(),
            Code::InvalidArgument
        );
    }
}

#[test]
fn a_url_without_a_checksum_is_refused_with_the_way_out() {
    let name = format!("/nix-2.26.3-{}.tar.zst", this_system());
    let at = name.clone();
    let server = Server::start(move |asked, out| {
        let found = asked.path == at;
        reply(
            asked,
            out,
            if found { "200 OK" } else { "404 Not Found" },
            "",
            b"x",
        );
    });
    let settings = settings(&server);
    let error = ask(source(server.url(&name)), &settings).unwrap_err();
    assert_eq!(error.code(), Code::BadSource);
    assert!(error.failure().help.contains("--sha256"));
    let sha256 = Some("A".repeat(64));
    let request = InstallRequest {
        sha256,
        ..source(server.url(&name))
    };
    assert_eq!(ask(request, &settings).unwrap().sha256, "a".repeat(64));
    let short = InstallRequest {
        sha256: Some("abc".into()),
        ..source(server.url(&name))
    };
    assert_eq!(
        ask(short, &settings).unwrap_err().code(),
        Code::InvalidArgument
    );
    let other = InstallRequest {
        version: Some("2.34.8".into()),
        ..source(server.url(&name))
    };
    let other = InstallRequest {
        sha256: Some("a".repeat(64)),
        ..other
    };
    assert_eq!(ask(other, &settings).unwrap_err().code(), Code::BadSource);
}

#[test]
fn foreign_systems_and_names_are_refused() {
    let settings = InstallSettings::default();
    for text in [
        "https://h/nix-2.26.3-m68k-linux.tar.xz".to_owned(),
        "https://h/install.sh".to_owned(),
        format!("ftp://h/nix-2.26.3-{}.tar.xz", this_system()),
        "relative.tar.xz".to_owned(),
        "/does/not/exist.tar.xz".to_owned(),
        "/etc/../etc/passwd".to_owned(),
        "/etc/passwd".to_owned(),
        "/etc".to_owned(),
    ] {
        let error = ask(source(text.clone()), &settings).unwrap_err();
        assert_eq!(error.code(), Code::BadSource, "{text}: {error}");
    }
}

#[test]
fn a_file_that_is_no_archive_or_has_no_end_is_refused_unread() {
    let dir = tempfile::tempdir().unwrap();
    let name = format!("nix-2.26.3-{}.tar.xz", this_system());
    let path = dir.path().join(name);
    let settings = InstallSettings::default();
    let refused = |why: &str| {
        let began = std::time::Instant::now();
        let error = ask(source(path.to_str().unwrap()), &settings).unwrap_err();
        assert_eq!(error.code(), Code::BadSource, "{error}");
        assert!(error.to_string().contains(why), "{error}");
        assert!(began.elapsed().as_secs() < 5, "it was read to its end");
    };
    std::fs::write(&path, b"").unwrap();
    refused("empty");
    std::fs::write(&path, b"this is no archive").unwrap();
    refused("neither xz nor zstd");
    std::fs::write(&path, ZSTD).unwrap();
    // It has no blocks: nothing of it is ever read.
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(MAX_SIZE + 1).unwrap();
    refused("larger than");
}

#[test]
fn a_path_is_hashed_and_compared_with_all_that_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir
        .path()
        .join(format!("nix-2.26.3-{}.tar.xz", this_system()));
    std::fs::write(&path, ZSTD).unwrap();
    let settings = InstallSettings::default();
    let text = path.to_str().unwrap();
    let expected = hex(&Sha256::digest(ZSTD));
    let release = ask(source(text), &settings).unwrap();
    assert_eq!((release.sha256, release.size), (expected.clone(), Some(8)));
    let beside = path.with_added_extension("sha256");
    std::fs::write(&beside, format!("{expected}  archive\n")).unwrap();
    ask(source(text), &settings).unwrap();
    std::fs::write(&beside, "0".repeat(64)).unwrap();
    assert_eq!(
        ask(source(text), &settings).unwrap_err().code(),
        Code::ChecksumMismatch
    );
    std::fs::write(&beside, "<html>").unwrap();
    assert_eq!(
        ask(source(text), &settings).unwrap_err().code(),
        Code::BadSource
    );
    std::fs::remove_file(&beside).unwrap();
    let wrong = InstallRequest {
        sha256: Some("0".repeat(64)),
        ..source(text)
    };
    assert_eq!(
        ask(wrong, &settings).unwrap_err().code(),
        Code::ChecksumMismatch
    );
    let link = dir
        .path()
        .join(format!("nix-2.27-{}.tar.xz", this_system()));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let error = ask(source(link.to_str().unwrap()), &settings).unwrap_err();
    assert_eq!(error.code(), Code::BadSource);
}

#[test]
fn a_file_with_its_own_name_is_known_by_its_top_folder() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mine");
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    let top = format!("./nix-2.26.3-{}/", this_system());
    builder
        .append_data(&mut header, &top, std::io::empty())
        .unwrap();
    let packed = zstd::encode_all(&builder.into_inner().unwrap()[..], 1).unwrap();
    std::fs::File::create(&path)
        .unwrap()
        .write_all(&packed)
        .unwrap();
    let settings = InstallSettings::default();
    assert_eq!(
        ask(source(path.to_str().unwrap()), &settings)
            .unwrap()
            .version,
        "2.26.3"
    );
}

#[test]
fn names_are_taken_apart() {
    for (name, expected) in [
        ("nix-2.26.3-x86_64-linux", Some(("2.26.3", "x86_64-linux"))),
        (
            "nix-2.35pre20260101_abc-aarch64-darwin",
            Some(("2.35pre20260101_abc", "aarch64-darwin")),
        ),
        (
            "nix-2.4-rc1-x86_64-linux",
            Some(("2.4-rc1", "x86_64-linux")),
        ),
        ("nix-x86_64-linux", None),
        ("nix-2.26.3", None),
        ("lix-2.26.3-x86_64-linux", None),
        ("nix--x86_64-linux", None),
    ] {
        let expected = expected.map(|(v, s)| (v.to_owned(), s.to_owned()));
        assert_eq!(parse_top(Of::Nix, name), expected, "{name}");
    }
}

#[test]
fn trust_needs_a_prefix_with_a_boundary() {
    let settings = InstallSettings {
        trusted_sources: vec![
            "https://releases.nixos.org/".into(),
            "/srv/nix".into(),
            "/".into(),
        ],
        ..InstallSettings::default()
    };
    for (source, expected) in [
        (Source::Url("https://releases.nixos.org/nix/a".into()), true),
        (
            Source::Url("https://releases.nixos.org.evil/nix/a".into()),
            false,
        ),
        (
            Source::Url("https://releases.nixos.org@evil/a".into()),
            false,
        ),
        (Source::Url("https://releases.nixos.org/../x".into()), false),
        (Source::Path("/srv/nix/a.tar.xz".into()), true),
        (Source::Path("/srv/nix".into()), true),
        (Source::Path("/srv/nixos/a".into()), false),
        (Source::Path("/srv/nix/../../home/me/a".into()), false),
        (Source::Path("/home/me/a".into()), false),
    ] {
        assert_eq!(is_trusted(&source, &settings), expected, "{source:?}");
    }
    let elsewhere = InstallSettings {
        release_server: "https://other".into(),
        ..settings
    };
    assert!(!is_trusted(
        &Source::Url("https://other/nix/a".into()),
        &elsewhere
    ));
}

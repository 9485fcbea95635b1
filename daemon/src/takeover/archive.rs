//! The archive of a release of nixctl, `nixctl-VERSION-SYSTEM.tar.xz` (or `.tar.zst`): one folder of
//! that name with both programs, and plain files beside them that are not needed.
//!
//! Unpacked by the worker, from bytes that were compared with their SHA-256, and hashed once more on
//! the way. Nothing but the two programs is written, each whole or not at all.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nixctl_proto::Code;
use serde::{Deserialize, Serialize};
use tar::EntryType;

use super::PROGRAMS;
use crate::host::{Cancel, Fs};
use crate::payload::files::open_regular;
use crate::payload::{DOWNLOADS_DIR, PayloadError, decode};
use crate::resource::Progress;

/// Entries an archive may have.
const MAX_ENTRIES: u64 = 64;
/// Bytes each of them may have.
pub const MAX_BYTES: u64 = 512 << 20;
/// Mode of a program.
const MODE: u32 = 0o755;

/// A fetched archive, and where its programs go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfArchive {
    /// SHA-256 of the archive; it lies at [`DOWNLOADS_DIR`]/SHA256.
    pub sha256: String,
    /// Version it must be of.
    pub version: String,
    /// System it must be for.
    pub system: String,
    /// Folder for the programs, which is there.
    pub folder: PathBuf,
}

impl SelfArchive {
    fn top(&self) -> String {
        format!("nixctl-{}-{}", self.version, self.system)
    }
}

/// Unpacks both programs of an archive. Can be repeated after being cut off anywhere.
///
/// # Errors
/// When the archive is not acceptable or the machine refuses.
pub fn unpack(
    fs: &Fs,
    archive: &SelfArchive,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), PayloadError> {
    let path = fs.real(&Path::new(DOWNLOADS_DIR).join(&archive.sha256));
    let file = open_regular(&path)?;
    let size = file.metadata().map_or(0, |meta| meta.len());
    let done = Arc::new(AtomicU64::new(0));
    fs.sweep_temporaries(&archive.folder)?;
    let hash = std::thread::scope(|scope| -> Result<Option<String>, PayloadError> {
        let (stage, thread) = decode::start(scope, file, done.clone(), cancel.clone());
        let report = || progress.bytes(done.load(Ordering::Relaxed), size);
        let mut tar = tar::Archive::new(stage);
        read(fs, archive, &mut tar, cancel, &report)?;
        let mut rest = io::Read::take(tar.into_inner(), MAX_BYTES);
        io::copy(&mut rest, &mut io::sink()).map_err(|error| unreadable(cancel, &error))?;
        Ok(thread.join().ok().flatten())
    })?;
    match hash {
        Some(hash) if hash == archive.sha256 => Ok(()),
        Some(hash) => Err(PayloadError::new(
            Code::ChecksumMismatch,
            format!("cannot use {}: its sha256 is {hash} now", path.display()),
        )),
        None => Err(bad("it could not be read to its end")),
    }
}

fn read(
    fs: &Fs,
    archive: &SelfArchive,
    tar: &mut tar::Archive<impl io::Read>,
    cancel: &Cancel,
    report: &dyn Fn(),
) -> Result<(), PayloadError> {
    let mut missing = PROGRAMS.to_vec();
    let entries = tar.entries().map_err(|error| unreadable(cancel, &error))?;
    for (number, found) in (1..).zip(entries) {
        let mut found = found.map_err(|error| unreadable(cancel, &error))?;
        if number > MAX_ENTRIES || found.size() > MAX_BYTES {
            return Err(bad("it is larger than any release"));
        }
        report();
        let path = found.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&path).escape_debug().to_string();
        let refuse = |why: &str| bad(&format!("`{shown}`: {why}"));
        let kind = found.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let name = name_in(&archive.top(), &path).map_err(|why| refuse(&why))?;
        let is_file = matches!(kind, EntryType::Regular | EntryType::Continuous);
        match (
            name,
            PROGRAMS.iter().find(|program| Some(**program) == name),
        ) {
            (None, _) if kind == EntryType::Directory => {}
            (Some(_), None) if is_file => {}
            (Some(_), Some(program)) if is_file => {
                if !missing.contains(program) {
                    return Err(refuse("it is there twice"));
                }
                missing.retain(|it| it != program);
                let to = archive.folder.join(program);
                fs.write_with(&to, MODE, None, &mut |file| {
                    io::copy(&mut found, file).map(drop)
                })
                .map_err(|error| match error.source.kind() {
                    // What cannot be read of the archive is no fault of the disk.
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => {
                        unreadable(cancel, &error.source)
                    }
                    _ if cancel.requested().is_some() => PayloadError::Stopped,
                    _ => error.into(),
                })?;
            }
            _ => return Err(refuse("a thing of this kind does not belong there")),
        }
    }
    match missing.first() {
        None => Ok(()),
        Some(program) => Err(bad(&format!("it has no {program}"))),
    }
}

/// The name of an entry in the top folder; `None` for that folder itself.
fn name_in<'a>(top: &str, path: &'a [u8]) -> Result<Option<&'a str>, String> {
    let text = std::str::from_utf8(path).map_err(|_| "its name is not UTF-8".to_owned())?;
    let text = text.trim_start_matches("./").trim_end_matches('/');
    if text.is_empty() || text == top {
        return Ok(None);
    }
    let inside = text
        .strip_prefix(top)
        .and_then(|rest| rest.strip_prefix('/'));
    let inside = inside.ok_or_else(|| format!("it is not below {top}"))?;
    match inside {
        "." | ".." => Err("it has dots for a name".to_owned()),
        name if name.contains('/') => Err("there are no folders in it".to_owned()),
        name => Ok(Some(name)),
    }
}

fn unreadable(cancel: &Cancel, error: &io::Error) -> PayloadError {
    match cancel.requested() {
        Some(_) => PayloadError::Stopped,
        None => bad("it is damaged or cut short").with_cause(error),
    }
}

fn bad(why: &str) -> PayloadError {
    PayloadError::new(
        Code::BadArchive,
        format!("cannot unpack the release of nixctl: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::payload::files::hex;
    use crate::resource::Silent;

    const TOP: &str = "nixctl-0.2.0-x86_64-linux";

    fn packed(entries: &[(&str, EntryType, &str)]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, kind, content) in entries {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            if *kind == EntryType::Symlink {
                header.set_link_name(content).unwrap();
                header.set_size(0);
            } else {
                header.set_size(content.len() as u64);
            }
            header.set_cksum();
            let content = if *kind == EntryType::Symlink {
                ""
            } else {
                content
            };
            tar.append(&header, content.as_bytes()).unwrap();
        }
        zstd::encode_all(&*tar.into_inner().unwrap(), 1).unwrap()
    }

    fn unpacked(bytes: &[u8]) -> (Result<(), PayloadError>, Vec<(String, String)>) {
        let root = tempfile::tempdir().unwrap();
        let fs = Fs::at(root.path().canonicalize().unwrap());
        let sha256 = hex(&Sha256::digest(bytes));
        for folder in ["var/lib/nixctl/downloads", "new"] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        std::fs::write(fs.real(&Path::new(DOWNLOADS_DIR).join(&sha256)), bytes).unwrap();
        let archive = SelfArchive {
            sha256,
            version: "0.2.0".to_owned(),
            system: "x86_64-linux".to_owned(),
            folder: "/new".into(),
        };
        let result = unpack(&fs, &archive, &Silent, &Cancel::default());
        let names = fs.list(Path::new("/new")).unwrap();
        let files = names.iter().map(|name| {
            let content = std::fs::read_to_string(root.path().join("new").join(name)).unwrap();
            (name.to_string_lossy().into_owned(), content)
        });
        (result, files.collect())
    }

    #[test]
    fn both_programs_come_out_and_nothing_else() {
        let folder = format!("{TOP}/");
        let names = ["nixctl", "README.md", "nixctld"].map(|name| format!("{TOP}/{name}"));
        let archive = packed(&[
            (&folder, EntryType::Directory, ""),
            (&names[0], EntryType::Regular, "client"),
            (&names[1], EntryType::Regular, "words"),
            (&names[2], EntryType::Regular, "daemon"),
        ]);
        let (result, files) = unpacked(&archive);
        result.unwrap();
        let expected = [("nixctl", "client"), ("nixctld", "daemon")];
        assert_eq!(files, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn what_no_release_holds_is_refused() {
        let file = EntryType::Regular;
        for (name, kind, why) in [
            ("nixctl-0.2.0-x86_64-linux/../x", file, "no folders"),
            ("nixctl-0.2.0-x86_64-linux/..", file, "dots"),
            ("/etc/passwd", file, "not below"),
            ("nixctl-0.3.0-x86_64-linux/nixctl", file, "not below"),
            (
                "nixctl-0.2.0-x86_64-linux/nixctld",
                EntryType::Symlink,
                "of this kind",
            ),
            ("nixctl-0.2.0-x86_64-linux/nixctl", file, "has no nixctld"),
        ] {
            let (result, _) = unpacked(&packed(&[(name, kind, "x")]));
            let error = result.unwrap_err().to_string();
            assert!(error.contains(why), "{name}: {error}");
        }
        let twice = format!("{TOP}/nixctl");
        let archive = packed(&[(&twice, file, "a"), (&twice, file, "b")]);
        let error = unpacked(&archive).0.unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
    }

    #[test]
    fn what_is_cut_short_is_no_fault_of_the_disk() {
        let names = ["nixctl", "nixctld"].map(|name| format!("{TOP}/{name}"));
        let long: String = (0..200_000u32)
            .map(|it| format!("{:x}", it * 7919))
            .collect();
        let archive = packed(&[
            (&names[0], EntryType::Regular, "client"),
            (&names[1], EntryType::Regular, &long),
        ]);
        let (result, files) = unpacked(&archive[..archive.len() / 2]);
        let error = result.unwrap_err();
        assert_eq!(error.code(), Code::BadArchive, "{error}");
        assert!(
            !files.iter().any(|(name, _)| name == "nixctld"),
            "{files:?}"
        );
    }
}

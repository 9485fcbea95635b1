//! Unpacks a verified release archive: every entry is checked before it is written, no link is
//! followed, nothing is written outside the unpacking folder, and the store sees only whole paths.
//!
//! What is written has the form of a Nix store at once: owner root, modes 0444 and 0555, time 1.
//! No file is synced by itself; one `syncfs` at the end covers all.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nixctl_proto::Code;

use super::files::open_regular;
use super::tree::Tree;
use super::{Archive, Manifest, PayloadError, decode, entry, place, reginfo};
use crate::host::fs::Kind;
use crate::host::{Cancel, Fs, FsError};
use crate::resource::Progress;

/// Entries an archive may have.
const MAX_ENTRIES: u64 = 2_000_000;
/// Bytes an archive may unpack to.
const MAX_BYTES: u64 = 32 << 30;
const MAX_REGINFO: u64 = 16 << 20;

/// Unpacks an archive and moves its paths into the store. Can be repeated after being cut off
/// anywhere.
///
/// # Errors
/// When the archive is not acceptable or the machine refuses; the unpacking folder is then gone.
pub fn unpack(
    fs: &Fs,
    archive: &Archive,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), PayloadError> {
    let result = unpack_and_place(fs, archive, progress, cancel);
    if result.is_err() {
        // The error that is reported is the first one; what is left goes with the next attempt.
        let _ = place::clear(fs);
    }
    result
}

fn unpack_and_place(
    fs: &Fs,
    archive: &Archive,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), PayloadError> {
    if !fs
        .meta(place::STORE.as_ref())?
        .is_some_and(|meta| meta.kind == Kind::Directory)
    {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(FsError {
            action: "open",
            path: place::STORE.into(),
            source,
        }
        .into());
    }
    place::clear(fs)?;
    let dir = place::unpack_dir(fs);
    fs.create_dir(&dir, 0o700)?;
    let content = read_archive(fs, archive, &dir, progress, cancel)?;
    let manifest = content.manifest(archive)?;
    manifest.begin(fs, &archive.sha256)?;
    for name in content.found.keys() {
        place::move_in(fs, &dir, name)?;
    }
    fs.remove_tree(&dir)?;
    fs.sync_file_system(place::STORE.as_ref())?;
    manifest.save(fs, &archive.sha256)
}

fn read_archive(
    fs: &Fs,
    archive: &Archive,
    dir: &std::path::Path,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Content, PayloadError> {
    let path = fs.real(&archive.path());
    let file = open_regular(&path)?;
    let size = file.metadata().map_or(0, |meta| meta.len());
    let done = Arc::new(AtomicU64::new(0));
    let mut content = Content::default();
    let hash = std::thread::scope(|scope| -> Result<Option<String>, PayloadError> {
        let (stage, thread) = decode::start(scope, file, done.clone(), cancel.clone());
        let mut reader = Unpacking {
            top: format!("nix-{}-{}", archive.version, archive.system),
            tree: Tree::at(&fs.real(dir), dir)?,
            content: &mut content,
            stopped: cancel,
        };
        let report = || progress.bytes(done.load(Ordering::Relaxed), size);
        reader.read_all(stage, &report)?;
        Ok(thread.join().ok().flatten())
    })?;
    match hash {
        Some(hash) if hash == archive.sha256 => Ok(content),
        Some(hash) => Err(PayloadError::new(
            Code::ChecksumMismatch,
            format!("cannot use {}: its sha256 is {hash} now", path.display()),
        )),
        None => Err(bad("it could not be read to its end")),
    }
}

/// What an archive turned out to hold.
#[derive(Debug, Default)]
struct Content {
    reginfo: Option<String>,
    found: BTreeMap<String, Traits>,
    entries: u64,
    bytes: u64,
}

/// What makes a store path Nix itself, or its certificates.
#[derive(Debug, Default, Clone, Copy)]
struct Traits {
    has_nix_store: bool,
    has_certificates: bool,
}

impl Content {
    fn manifest(&self, archive: &Archive) -> Result<Manifest, PayloadError> {
        let reginfo = self
            .reginfo
            .as_deref()
            .ok_or_else(|| bad("it has no .reginfo"))?;
        let registered = reginfo::paths(reginfo).map_err(|why| bad(&why))?;
        let path = |name: &String| format!("{}/{name}", place::STORE);
        let found: BTreeSet<String> = self.found.keys().map(path).collect();
        if let Some(path) = registered.symmetric_difference(&found).next() {
            let which = if found.contains(path) {
                "not registered"
            } else {
                "not there"
            };
            return Err(bad(&format!("{path} is {which}")));
        }
        let exact = format!("-nix-{}", archive.version);
        let mut nix = self
            .found
            .iter()
            .filter(|(_, traits)| traits.has_nix_store)
            .map(|(n, _)| n);
        let first = nix.next();
        let named = first
            .into_iter()
            .chain(nix)
            .find(|name| name.ends_with(&exact))
            .or(first);
        let cacert = self
            .found
            .iter()
            .find(|(_, traits)| traits.has_certificates);
        Ok(Manifest {
            version: archive.version.clone(),
            nix: named
                .map(path)
                .ok_or_else(|| bad("none of its paths has bin/nix-store"))?,
            cacert: cacert.map(|(name, _)| path(name)),
            paths: found.into_iter().collect(),
            reginfo: reginfo.to_owned(),
            unpacked_bytes: self.bytes,
            unpacked_inodes: self.entries,
        })
    }
}

struct Unpacking<'a> {
    top: String,
    tree: Tree,
    content: &'a mut Content,
    stopped: &'a Cancel,
}

impl Unpacking<'_> {
    fn read_all(&mut self, stage: decode::Stage, report: &dyn Fn()) -> Result<(), PayloadError> {
        let mut archive = tar::Archive::new(stage);
        for found in archive.entries().map_err(|error| self.unreadable(&error))? {
            let mut found = found.map_err(|error| self.unreadable(&error))?;
            self.content.entries += 1;
            self.content.bytes = self.content.bytes.saturating_add(found.size());
            if self.content.entries > MAX_ENTRIES || self.content.bytes > MAX_BYTES {
                return Err(bad("it is larger than any release"));
            }
            self.one(&mut found, report)?;
            report();
        }
        self.tree.seal()?;
        // What follows the end of the archive is read too: the hash is over all of the file.
        let mut rest = archive.into_inner();
        let rest = std::io::copy(
            &mut std::io::Read::take(&mut rest, MAX_BYTES),
            &mut std::io::sink(),
        );
        rest.map_err(|error| self.unreadable(&error))?;
        Ok(())
    }

    fn one<R: std::io::Read>(
        &mut self,
        found: &mut tar::Entry<'_, R>,
        report: &dyn Fn(),
    ) -> Result<(), PayloadError> {
        use tar::EntryType;
        let path = found.path_bytes().into_owned();
        let shown = String::from_utf8_lossy(&path).escape_debug().to_string();
        let refuse = |why: &str| bad(&format!("`{shown}`: {why}"));
        let kind = found.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            return Ok(());
        }
        if is_sparse(found) {
            return Err(refuse("it is a sparse file"));
        }
        let mode = found
            .header()
            .mode()
            .map_err(|error| self.unreadable(&error))?;
        if mode & 0o7000 != 0 {
            return Err(refuse("it has a set-uid, set-gid or sticky bit"));
        }
        match (
            entry::place(&path, &self.top).map_err(|why| refuse(&why))?,
            kind,
        ) {
            (entry::Place::Frame, EntryType::Directory) => Ok(()),
            (entry::Place::Ignored, EntryType::Regular | EntryType::Continuous) => Ok(()),
            (entry::Place::Reginfo, EntryType::Regular) => self.read_reginfo(found),
            (entry::Place::Store(parts), kind) => {
                let name = parts[0].to_string_lossy().into_owned();
                let traits = self.content.found.entry(name).or_default();
                let inside = |path: &[&str]| parts[1..].iter().copied().eq(path.iter().copied());
                traits.has_nix_store |= inside(&["bin", "nix-store"]);
                traits.has_certificates |= inside(&["etc", "ssl", "certs", "ca-bundle.crt"]);
                match kind {
                    EntryType::Directory => self.tree.folder(&parts),
                    EntryType::Regular | EntryType::Continuous => {
                        self.tree.file(&parts, mode & 0o100 != 0, found, report)
                    }
                    EntryType::Symlink => {
                        let target = found.link_name_bytes().unwrap_or_default().into_owned();
                        self.tree.link(&parts, &target)
                    }
                    EntryType::Link => {
                        let target = found.link_name_bytes().unwrap_or_default().into_owned();
                        match entry::place(&target, &self.top).map_err(|why| refuse(&why))? {
                            entry::Place::Store(from) => self.tree.copy(&parts, &from),
                            _ => return Err(refuse("it is a hard link out of the store")),
                        }
                    }
                    _ => return Err(refuse("it is neither a file, a folder nor a link")),
                }
                .map_err(|error| self.explain(error, &shown))
            }
            _ => Err(refuse("a thing of this kind does not belong there")),
        }
    }

    fn read_reginfo(&mut self, found: &mut impl std::io::Read) -> Result<(), PayloadError> {
        use std::io::Read;
        let mut text = String::new();
        let read = found.take(MAX_REGINFO + 1).read_to_string(&mut text);
        read.map_err(|error| self.unreadable(&error))?;
        if text.len() as u64 > MAX_REGINFO || self.content.reginfo.is_some() {
            return Err(bad("its .reginfo is too large, or there are two"));
        }
        self.content.reginfo = Some(text);
        Ok(())
    }

    fn explain(&self, error: super::tree::TreeError, shown: &str) -> PayloadError {
        use super::tree::TreeError;
        match error {
            TreeError::Entry(why) => bad(&format!("`{shown}`: {why}")),
            TreeError::Read(error) => self.unreadable(&error),
            TreeError::Write(error) => error.into(),
        }
    }

    fn unreadable(&self, error: &std::io::Error) -> PayloadError {
        if self.stopped.requested().is_some() {
            return PayloadError::Stopped;
        }
        bad("it is damaged or cut short").with_cause(error)
    }
}

fn is_sparse<R: std::io::Read>(found: &mut tar::Entry<'_, R>) -> bool {
    if found.header().entry_type() == tar::EntryType::GNUSparse {
        return true;
    }
    let Ok(Some(extensions)) = found.pax_extensions() else {
        return false;
    };
    extensions
        .flatten()
        .any(|extension| extension.key_bytes().starts_with(b"GNU.sparse"))
}

fn bad(why: &str) -> PayloadError {
    PayloadError::new(
        Code::BadArchive,
        format!("cannot unpack the archive: {why}"),
    )
}

#[cfg(test)]
#[path = "unpack_tests.rs"]
mod tests;

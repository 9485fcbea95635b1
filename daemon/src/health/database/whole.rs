//! What store paths say of themselves when no database says anything of them.
//!
//! Nix gives everything in a path the same time, owner and modes just before it registers it, after
//! what it fetched was compared with its hash and what was built had ended. A path where all of that
//! is so was whole once, and can be registered again: its hash is made from its files, and its
//! references are found as Nix finds those of a build, by the hashes of store paths in them. Too many
//! references keep too much from the garbage collector, and never too little. Anything else may
//! be half a build, and is not registered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::compare::STORE;
use super::salvage::{Found, Valid};
use super::{DatabaseError, Job};
use crate::host::FsError;
use crate::host::fs::{Kind, Meta};
use crate::payload::files::hex;

/// The time of everything in a store, in milliseconds since 1970.
const STORE_TIME: u64 = 1000;
/// Folders within folders.
const MAX_DEPTH: usize = 128;
/// Characters of the hash in the name of a store path.
const HASH_CHARS: usize = 32;
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;
/// Largest derivation.
const MAX_DERIVATION: u64 = 16 << 20;

impl Job<'_> {
    /// Which of the paths are whole, and what they say. They may refer to each other and to what is
    /// known.
    pub(super) fn whole(
        &self,
        paths: &BTreeSet<String>,
        known: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Found>, DatabaseError> {
        let Some(store) = self.fs.meta(Path::new(STORE))? else {
            return Ok(BTreeMap::new());
        };
        let mut whole = BTreeSet::new();
        for path in paths {
            self.live()?;
            if self.is_final(Path::new(path), store.uid, 0)? {
                whole.insert(path);
            }
        }
        // A path that refers to one that is not whole is not registered without it.
        let all = known.iter().chain(paths);
        let hashes: HashMap<&[u8], &str> = all
            .filter_map(|path| Some((hash_of(path)?, path.as_str())))
            .collect();
        let mut found = BTreeMap::new();
        for path in whole {
            if let Some(one) = self.told_by_itself(path, &hashes)? {
                found.insert(path.clone(), one);
            }
        }
        Ok(found)
    }

    /// Whether everything of it is as Nix leaves it just before it is registered.
    fn is_final(&self, path: &Path, uid: u32, depth: usize) -> Result<bool, DatabaseError> {
        let Some(meta) = self.fs.meta(path)? else {
            return Ok(false);
        };
        let modes: &[u32] = match meta.kind {
            Kind::File => &[0o444, 0o555],
            Kind::Directory => &[0o555],
            Kind::Link => return Ok(meta.uid == uid && meta.modified == STORE_TIME),
            Kind::Other => &[],
        };
        let is_right = meta.uid == uid && meta.modified == STORE_TIME && modes.contains(&meta.mode);
        if !is_right || depth > MAX_DEPTH {
            return Ok(false);
        }
        if meta.kind == Kind::Directory {
            self.live()?;
            for name in self.fs.list(path)? {
                if !self.is_final(&path.join(name), uid, depth + 1)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Hash, size and references, from its archive.
    fn told_by_itself(
        &self,
        path: &str,
        hashes: &HashMap<&[u8], &str>,
    ) -> Result<Option<Found>, DatabaseError> {
        let mut archive = Archive {
            hash: Sha256::new(),
            size: 0,
            scan: Scan::new(hashes),
        };
        archive.word(b"nix-archive-1");
        self.pack(Path::new(path), &mut archive, 0)?;
        let references = if path.ends_with(".drv") {
            // It names its outputs as well, to which it does not refer.
            let bytes = self.fs.read(Path::new(path), MAX_DERIVATION)?;
            let Some(inputs) = bytes.as_deref().and_then(inputs_of) else {
                return Ok(None);
            };
            let mut scan = Scan::new(hashes);
            scan.feed(&inputs);
            scan.found
        } else {
            archive.scan.found
        };
        Ok(Some(Found {
            valid: Valid {
                id: 0,
                path: path.to_owned(),
                hash: format!("sha256:{}", hex(&archive.hash.finalize())),
                deriver: String::new(),
                size: archive.size,
            },
            references: references.into_iter().map(str::to_owned).collect(),
        }))
    }

    fn pack(&self, path: &Path, into: &mut Archive<'_>, depth: usize) -> Result<(), DatabaseError> {
        let gone = || FsError {
            action: "read",
            path: path.to_owned(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        self.live()?;
        let meta = self.fs.meta(path)?.ok_or_else(gone)?;
        into.words(&[b"(", b"type"]);
        match meta.kind {
            Kind::Link => {
                let target = self.fs.read_link(path)?.ok_or_else(gone)?;
                into.words(&[b"symlink", b"target"]);
                into.word(target.as_os_str().as_encoded_bytes());
            }
            Kind::Directory if depth <= MAX_DEPTH => {
                into.word(b"directory");
                for name in self.fs.list(path)? {
                    into.words(&[b"entry", b"(", b"name"]);
                    into.word(name.as_encoded_bytes());
                    into.word(b"node");
                    self.pack(&path.join(&name), into, depth + 1)?;
                    into.word(b")");
                }
            }
            _ => self.pack_file(path, meta, into)?,
        }
        into.word(b")");
        Ok(())
    }

    fn pack_file(
        &self,
        path: &Path,
        meta: Meta,
        into: &mut Archive<'_>,
    ) -> Result<(), DatabaseError> {
        let fail = |source| FsError {
            action: "read",
            path: path.to_owned(),
            source,
        };
        into.word(b"regular");
        if meta.mode & 0o100 != 0 {
            into.words(&[b"executable", b""]);
        }
        into.word(b"contents");
        into.length(meta.size);
        let file = self.fs.open(path)?;
        let file = file.ok_or_else(|| fail(std::io::ErrorKind::NotFound.into()))?;
        // What grows meanwhile does not make the archive longer than it says.
        let mut file = file.take(meta.size);
        let (mut chunk, mut done) = (vec![0; CHUNK], 0u64);
        loop {
            self.live()?;
            match file.read(&mut chunk).map_err(fail)? {
                0 => break,
                read => {
                    into.add(chunk.get(..read).unwrap_or_default());
                    done = done.saturating_add(read as u64);
                }
            }
        }
        if done != meta.size {
            let error = std::io::Error::other("it was cut off while it was read");
            return Err(fail(error).into());
        }
        into.fill(meta.size);
        Ok(())
    }

    /// A sign of life for the daemon.
    fn live(&self) -> Result<(), DatabaseError> {
        self.progress.bytes(0, 0);
        self.go_on()
    }
}

/// An archive (NAR) that is only hashed and searched.
struct Archive<'a> {
    hash: Sha256,
    size: u64,
    scan: Scan<'a>,
}

impl Archive<'_> {
    fn add(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.scan.feed(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
    }

    fn length(&mut self, length: u64) {
        self.add(&length.to_le_bytes());
    }

    /// Fills up to eight.
    fn fill(&mut self, length: u64) {
        let missing = (8 - length % 8) % 8;
        let zeros = [0; 8];
        self.add(zeros.get(..missing as usize).unwrap_or_default());
    }

    fn word(&mut self, word: &[u8]) {
        let length = word.len() as u64;
        self.length(length);
        self.add(word);
        self.fill(length);
    }

    fn words(&mut self, words: &[&[u8]]) {
        for word in words {
            self.word(word);
        }
    }
}

/// Looks for hashes of store paths in a stream.
struct Scan<'a> {
    hashes: &'a HashMap<&'a [u8], &'a str>,
    found: BTreeSet<&'a str>,
    /// The end of what was searched: the beginning of a hash may be in it.
    tail: Vec<u8>,
}

impl<'a> Scan<'a> {
    fn new(hashes: &'a HashMap<&'a [u8], &'a str>) -> Scan<'a> {
        Scan {
            hashes,
            found: BTreeSet::new(),
            tail: Vec::new(),
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let head = bytes.get(..bytes.len().min(HASH_CHARS - 1));
        let seam = [&self.tail[..], head.unwrap_or_default()].concat();
        self.search(&seam);
        self.search(bytes);
        self.tail.extend_from_slice(end_of(bytes));
        let old = self.tail.len().saturating_sub(HASH_CHARS - 1);
        self.tail.drain(..old);
    }

    fn search(&mut self, bytes: &[u8]) {
        let mut run = 0;
        for (place, byte) in bytes.iter().enumerate() {
            run = if is_hash_char(*byte) { run + 1 } else { 0 };
            if run < HASH_CHARS {
                continue;
            }
            let window = bytes.get(place + 1 - HASH_CHARS..=place);
            if let Some(path) = window.and_then(|window| self.hashes.get(window)) {
                self.found.insert(path);
            }
        }
    }
}

/// The part of what was searched in which a hash may begin that does not end in it.
fn end_of(bytes: &[u8]) -> &[u8] {
    let begin = bytes.len().saturating_sub(HASH_CHARS - 1);
    bytes.get(begin..).unwrap_or_default()
}

/// Nix's own base 32: no e, o, u, t.
fn is_hash_char(byte: u8) -> bool {
    byte.is_ascii_digit()
        || (byte.is_ascii_lowercase() && !matches!(byte, b'e' | b'o' | b'u' | b't'))
}

/// The hash in the name of a store path.
fn hash_of(path: &str) -> Option<&[u8]> {
    let name = path.strip_prefix(STORE)?.strip_prefix('/')?;
    name.as_bytes().get(..HASH_CHARS)
}

/// The part of a derivation that names what it is built from: the second and third list of
/// `Derive([outputs],[derivations],[sources],...)`.
fn inputs_of(derivation: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(derivation).ok()?;
    let (_, rest) = text.strip_prefix("Derive([")?.split_once("],[")?;
    let (derivations, rest) = match rest.strip_prefix("],[") {
        Some(rest) => ("", rest),
        None => rest.split_once("],[")?,
    };
    let (sources, _) = match rest.strip_prefix("],") {
        Some(rest) => ("", rest),
        None => rest.split_once("],")?,
    };
    Some(format!("{derivations}\n{sources}").into_bytes())
}

#[cfg(test)]
#[path = "whole_tests.rs"]
mod tests;

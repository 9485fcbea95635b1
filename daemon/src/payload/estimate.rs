//! What a release needs on the store's file system, before it is unpacked: exact for a local xz
//! or zstd archive that says so itself, else a cautious guess.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use super::files::open_regular;
use super::{Manifest, Release, Source};
use crate::host::Fs;

/// How much larger than its archive a release is taken to be. Releases of Nix compressed with
/// xz unpack to between 4 and 7 times their size.
const RATIO: u64 = 8;
/// Size of an archive when nothing is known about it.
const USUAL_ARCHIVE: u64 = 40 << 20;
/// Bytes for each file, folder and link, on the small side: a release has many small pages.
const BYTES_PER_INODE: u64 = 12 << 10;
/// Size of the database, with room for its journal.
const DATABASE: u64 = 4 << 20;

/// What unpacking and registering need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Bytes on the store's file system.
    pub store_bytes: u64,
    /// Inodes there.
    pub store_inodes: u64,
    /// Bytes in the downloads folder.
    pub download_bytes: u64,
    /// Whether the size is known rather than guessed.
    pub exact: bool,
}

/// What a release will need.
pub fn needs(fs: &Fs, release: &Release) -> Needs {
    let archive = release.size.unwrap_or(USUAL_ARCHIVE);
    if let Ok(Some(manifest)) = Manifest::load(fs, &release.sha256) {
        return Needs {
            store_bytes: manifest.unpacked_bytes + manifest.unpacked_inodes * 2048 + DATABASE,
            store_inodes: manifest.unpacked_inodes,
            download_bytes: archive,
            exact: true,
        };
    }
    let unpacked = match &release.source {
        Source::Path(path) => open_regular(path).ok().and_then(unpacked_size),
        Source::Url(_) => None,
    };
    let bytes = unpacked.unwrap_or(archive.saturating_mul(RATIO));
    Needs {
        store_bytes: bytes.saturating_add(DATABASE),
        store_inodes: bytes / BYTES_PER_INODE + 1000,
        download_bytes: archive,
        exact: unpacked.is_some(),
    }
}

/// Decompressed size of an archive, when it says so itself.
fn unpacked_size(mut file: File) -> Option<u64> {
    let mut start = [0; 18];
    let count = file.read(&mut start).ok()?;
    if start.starts_with(b"\xfd7zXZ\0") {
        return xz_size(&mut file);
    }
    zstd::zstd_safe::get_frame_content_size(&start[..count])
        .ok()
        .flatten()
}

const XZ_HEADER: u64 = 12;
const XZ_FOOTER: u64 = 12;
/// Largest index that is read.
const MAX_INDEX: u64 = 1 << 20;

/// Sum over the indexes at the ends of all streams of an xz file, from the last to the first.
fn xz_size(file: &mut (impl Read + Seek)) -> Option<u64> {
    let mut end = file.seek(SeekFrom::End(0)).ok()?;
    let mut total = 0u64;
    while end > 0 {
        let footer = read_at(file, end.checked_sub(XZ_FOOTER)?, XZ_FOOTER)?;
        if footer[8..] == [0; 4] {
            end -= 4; // padding between streams
            continue;
        }
        if &footer[10..] != b"YZ" {
            return None;
        }
        let backward = u32::from_le_bytes(footer[4..8].try_into().ok()?);
        let index_size = (u64::from(backward) + 1) * 4;
        if index_size > MAX_INDEX {
            return None;
        }
        let index_at = end.checked_sub(XZ_FOOTER + index_size)?;
        let (blocks, bytes) = xz_index(&read_at(file, index_at, index_size)?)?;
        total = total.checked_add(bytes)?;
        end = index_at.checked_sub(blocks)?.checked_sub(XZ_HEADER)?;
    }
    (total > 0).then_some(total)
}

fn read_at(file: &mut (impl Read + Seek), at: u64, size: u64) -> Option<Vec<u8>> {
    file.seek(SeekFrom::Start(at)).ok()?;
    let mut bytes = vec![0; usize::try_from(size).ok()?];
    file.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// Bytes of all blocks in the file, and decompressed.
fn xz_index(index: &[u8]) -> Option<(u64, u64)> {
    let mut rest = index.strip_prefix(&[0])?;
    let (mut blocks, mut bytes) = (0u64, 0u64);
    for _ in 0..number(&mut rest)? {
        let unpadded = number(&mut rest)?;
        blocks = blocks.checked_add(unpadded.checked_next_multiple_of(4)?)?;
        bytes = bytes.checked_add(number(&mut rest)?)?;
    }
    Some((blocks, bytes))
}

/// A number in groups of seven bits, the lowest first.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..9 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use proptest::prelude::*;

    use super::*;

    fn xz(size: usize) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
        encoder.write_all(&vec![7; size]).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_index_tells_the_size() {
        assert_eq!(xz_size(&mut Cursor::new(xz(3_000_000))), Some(3_000_000));
        let two = [xz(1000), vec![0; 8], xz(200_000)].concat();
        assert_eq!(xz_size(&mut Cursor::new(two)), Some(201_000));
        assert_eq!(xz_size(&mut Cursor::new(b"short".to_vec())), None);
    }

    #[test]
    fn local_archives_are_exact_and_others_guessed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let fs = Fs::at(dir.path());
        let mut release = Release {
            source: Source::Path(path.clone()),
            sha256: "0".repeat(64),
            size: Some(1000),
            version: "1".into(),
            system: "s".into(),
        };
        for packed in [
            xz(5_000_000),
            zstd::bulk::compress(&vec![7; 5_000_000], 1).unwrap(),
        ] {
            std::fs::write(&path, packed).unwrap();
            let needs = needs(&fs, &release);
            assert!(needs.exact);
            assert_eq!(needs.store_bytes, 5_000_000 + DATABASE);
        }
        release.source = Source::Url("https://h/a".into());
        let needs = needs(&fs, &release);
        assert_eq!((needs.exact, needs.store_bytes), (false, 8000 + DATABASE));
    }

    proptest! {
        #[test]
        fn damaged_archives_are_no_panic(at in 0usize..200, byte in any::<u8>()) {
            let mut packed = xz(100_000);
            let at = packed.len().saturating_sub(1 + at);
            packed[at] = byte;
            let _ = xz_size(&mut Cursor::new(packed));
        }
    }
}

//! What the first bytes of an SQLite database say: whether it is one, and whether its end is there.
//!
//! The format is documented (sqlite.org/fileformat2.html, "The Database Header"). Nothing more is
//! read: it tells files that are empty, cut off or overwritten, which is what power cuts leave.

use std::io::Read;

use super::super::{At, Result};
use crate::host::{Fs, FsError};

const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes of the header.
const LENGTH: usize = 100;

/// What the head of a database looks like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Head {
    /// There is none.
    Absent,
    /// It has no byte.
    Empty,
    /// As it should.
    Sound,
    /// Not as it should: why.
    Damaged(&'static str),
}

/// Looks at the head of a file.
pub(super) fn head(fs: &Fs, at: &At) -> Result<Head> {
    let size = match at.meta {
        None => return Ok(Head::Absent),
        Some(_) if !at.is_file() => return Ok(Head::Damaged("it is no regular file")),
        Some(meta) => meta.size,
    };
    let Some(file) = fs.open(&at.path)? else {
        return Ok(Head::Absent);
    };
    let mut bytes = Vec::with_capacity(LENGTH);
    let read = file.take(LENGTH as u64).read_to_end(&mut bytes);
    read.map_err(|source| FsError {
        action: "read",
        path: at.path.clone(),
        source,
    })?;
    Ok(judged(&bytes, size))
}

fn judged(bytes: &[u8], size: u64) -> Head {
    if bytes.is_empty() {
        return Head::Empty;
    }
    if !bytes.starts_with(MAGIC) {
        return Head::Damaged("it does not begin as a database does");
    }
    let (Some(page), Some(pages), Some(counter), Some(valid_for)) = (
        number::<2>(bytes, 16),
        number::<4>(bytes, 28),
        number::<4>(bytes, 24),
        number::<4>(bytes, 92),
    ) else {
        return Head::Damaged("its head is cut off");
    };
    // One stands for the largest page, which two bytes do not hold.
    let page = if page == 1 { 65536 } else { page };
    if !page.is_power_of_two() || page < 512 {
        return Head::Damaged("its head is overwritten");
    }
    // The number of pages only counts when the counters agree.
    if counter == valid_for && pages.saturating_mul(page) > size {
        return Head::Damaged("its end is cut off");
    }
    Head::Sound
}

/// A number of `N` bytes, the highest first.
fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + N)?;
    Some(
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
    )
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// A database of one empty page, all of it plain ASCII.
    pub(crate) fn page() -> Vec<u8> {
        let mut page = vec![0; 512];
        page[..16].copy_from_slice(MAGIC);
        page[16] = 2;
        page[31] = 1;
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_told_apart() {
        let page = testing::page();
        assert_eq!(judged(&page[..LENGTH], 512), Head::Sound);
        assert_eq!(judged(&page[..LENGTH], 4096), Head::Sound);
        assert_eq!(judged(b"", 0), Head::Empty);
        for (bytes, size) in [
            (&page[..LENGTH], 511),
            (&page[..40], 40),
            (&[0; LENGTH][..], 4096),
        ] {
            assert!(matches!(judged(bytes, size), Head::Damaged(_)), "{size}");
        }
        let mut odd = page.clone();
        odd[16] = 3;
        assert!(matches!(judged(&odd[..LENGTH], 4096), Head::Damaged(_)));
        // An older SQLite does not keep the number of pages up to date.
        let mut old = page;
        old[27] = 9;
        assert_eq!(judged(&old[..LENGTH], 100), Head::Sound);
    }
}

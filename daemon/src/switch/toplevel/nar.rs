//! Nix archives (NAR), and the exports that `nix-store --export` makes of several of them.
//!
//! What is read comes from a cache and may be anything. Lengths are believed only as far as bytes
//! follow, names are those that a folder can have, sorted and each once, and folders nest no deeper
//! than any that exists. Files become their text when they are small and have one, else their size.
//!
//! An archive that is cut off is good for what came before the cut: see [`Folder::is_whole`].

use std::collections::BTreeMap;
use std::io::{self, Read};

/// Folders in folders.
const MAX_DEPTH: usize = 64;

/// Longest name of an entry, and longest target of a link, in bytes: those of Linux.
const MAX_NAME: u64 = 255;
const MAX_TARGET: u64 = 4095;

/// Longest word of the format itself.
const MAX_WORD: u64 = 16;

/// Longest of the strings around an archive: store paths.
const MAX_PATH: u64 = 255;

/// Between an archive of an export and what is said of it.
const EXPORT_MAGIC: u64 = 0x4558_494e;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::switch) enum Node {
    /// A file of this size, with what is in it when that is text and no more than was asked for.
    File(u64, Option<Vec<u8>>),
    /// A link to this.
    Link(Vec<u8>),
    /// A folder.
    Folder(Folder),
    /// Something that was not read, because the archive was cut off or not fetched.
    Unread,
}

/// A folder of an archive.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::switch) struct Folder {
    /// What is in it.
    pub entries: BTreeMap<Vec<u8>, Node>,
    /// Whether that is all.
    pub is_whole: bool,
}

/// An archive of an export.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::switch) struct Exported {
    /// The store path, as the export says; nothing when it was cut off before that.
    pub path: Option<String>,
    /// What is in it.
    pub node: Node,
    /// Bytes that were read of it.
    pub size: u64,
}

/// Why bytes are no archive.
#[derive(Debug, thiserror::Error)]
pub(in crate::switch) enum NarError {
    /// They end too early.
    #[error("it is cut off")]
    CutOff,
    /// They could not be read.
    #[error(transparent)]
    Read(io::Error),
    /// A number, word or name that cannot be there.
    #[error("it has {0}")]
    Bad(String),
}

/// Reads an export, file by file of at most `text` bytes. One that is cut off gives what came before.
///
/// # Errors
/// When it is no export.
pub(in crate::switch) fn read_export(
    input: impl Read,
    text: u64,
) -> Result<Vec<Exported>, NarError> {
    let mut reader = Reader {
        input,
        text,
        count: 0,
    };
    let mut all = Vec::new();
    loop {
        match reader.number() {
            Ok(0) | Err(NarError::CutOff) => return Ok(all),
            Ok(1) => {}
            Ok(other) => return Err(NarError::Bad(format!("a {other} between archives"))),
            Err(error) => return Err(error),
        }
        let mut node = Node::Unread;
        reader.count = 0;
        let archive = reader.archive(&mut node);
        let size = reader.count;
        let path = archive.and_then(|()| reader.path_of_exported());
        let (path, is_last) = match path {
            Ok(path) => (Some(path), false),
            Err(NarError::CutOff) => (None, true),
            Err(error) => return Err(error),
        };
        all.push(Exported { path, node, size });
        if is_last {
            return Ok(all);
        }
    }
}

struct Reader<R> {
    input: R,
    /// Largest file that is kept.
    text: u64,
    /// Bytes that were read.
    count: u64,
}

impl<R: Read> Reader<R> {
    /// One archive. What was read of it is in `into` even when this fails.
    fn archive(&mut self, into: &mut Node) -> Result<(), NarError> {
        self.expect("nix-archive-1")?;
        self.node(into, 0)
    }

    fn node(&mut self, into: &mut Node, depth: usize) -> Result<(), NarError> {
        if depth > MAX_DEPTH {
            return Err(NarError::Bad(format!("{MAX_DEPTH} folders in folders")));
        }
        self.expect("(")?;
        self.expect("type")?;
        let kind = self.word()?;
        match kind.as_slice() {
            b"regular" => *into = self.file()?,
            b"symlink" => *into = self.link()?,
            b"directory" => {
                *into = Node::Folder(Folder::default());
                if let Node::Folder(folder) = into {
                    return self.folder(folder, depth);
                }
            }
            other => return Err(unexpected(other, "a type")),
        }
        self.expect(")")
    }

    fn file(&mut self) -> Result<Node, NarError> {
        let mut word = self.word()?;
        if word == b"executable" {
            self.expect("")?;
            word = self.word()?;
        }
        if word != b"contents" {
            return Err(unexpected(&word, "`contents`"));
        }
        let size = self.number()?;
        let content = if size <= self.text {
            Some(self.bytes(size)?).filter(|bytes| !bytes.contains(&0))
        } else {
            self.skip(size)?;
            None
        };
        self.padding(size)?;
        Ok(Node::File(size, content))
    }

    fn link(&mut self) -> Result<Node, NarError> {
        self.expect("target")?;
        let target = self.string(MAX_TARGET)?;
        if target.is_empty() || target.contains(&0) {
            return Err(NarError::Bad("a link that leads nowhere".to_owned()));
        }
        Ok(Node::Link(target))
    }

    /// The entries of a folder, and its end.
    fn folder(&mut self, folder: &mut Folder, depth: usize) -> Result<(), NarError> {
        loop {
            let word = self.word()?;
            match word.as_slice() {
                b")" => {
                    folder.is_whole = true;
                    return Ok(());
                }
                b"entry" => {}
                other => return Err(unexpected(other, "an entry")),
            }
            self.expect("(")?;
            self.expect("name")?;
            let name = self.string(MAX_NAME)?;
            check_name(&name)?;
            if let Some((last, _)) = folder.entries.last_key_value()
                && *last >= name
            {
                let name = String::from_utf8_lossy(&name).into_owned();
                return Err(NarError::Bad(format!("`{name}` out of order")));
            }
            self.expect("node")?;
            let node = folder.entries.entry(name).or_insert(Node::Unread);
            self.node(node, depth + 1)?;
            self.expect(")")?;
        }
    }

    /// What an export says behind an archive.
    fn path_of_exported(&mut self) -> Result<String, NarError> {
        if self.number()? != EXPORT_MAGIC {
            return Err(NarError::Bad("no mark behind an archive".to_owned()));
        }
        let path = self.string(MAX_PATH)?;
        // The references are known already, the deriver is not needed.
        for _ in 0..self.number()? {
            self.string(MAX_PATH)?;
        }
        self.string(MAX_PATH)?;
        match self.number()? {
            0 => String::from_utf8(path)
                .map_err(|_| NarError::Bad("a path that is no text".to_owned())),
            _ => Err(NarError::Bad("a signature of the old kind".to_owned())),
        }
    }

    fn expect(&mut self, wanted: &str) -> Result<(), NarError> {
        let word = self.word()?;
        if word == wanted.as_bytes() {
            Ok(())
        } else {
            Err(unexpected(&word, &format!("`{wanted}`")))
        }
    }

    fn word(&mut self) -> Result<Vec<u8>, NarError> {
        self.string(MAX_WORD)
    }

    /// A string with its length in front and zeros behind.
    fn string(&mut self, most: u64) -> Result<Vec<u8>, NarError> {
        let length = self.number()?;
        if length > most {
            let why = format!("a text of {length} bytes where {most} are the most");
            return Err(NarError::Bad(why));
        }
        let bytes = self.bytes(length)?;
        self.padding(length)?;
        Ok(bytes)
    }

    fn number(&mut self) -> Result<u64, NarError> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Takes memory as bytes come, not as the length says.
    fn bytes(&mut self, length: u64) -> Result<Vec<u8>, NarError> {
        let mut bytes = Vec::new();
        let taken = self.input.by_ref().take(length).read_to_end(&mut bytes);
        self.count = self.count.saturating_add(length);
        match taken {
            Ok(count) if count as u64 == length => Ok(bytes),
            Ok(_) => Err(NarError::CutOff),
            Err(error) => Err(NarError::Read(error)),
        }
    }

    fn skip(&mut self, length: u64) -> Result<(), NarError> {
        let skipped = io::copy(&mut self.input.by_ref().take(length), &mut io::sink());
        self.count = self.count.saturating_add(length);
        match skipped {
            Ok(count) if count == length => Ok(()),
            Ok(_) => Err(NarError::CutOff),
            Err(error) => Err(NarError::Read(error)),
        }
    }

    /// Zeros up to a multiple of eight.
    fn padding(&mut self, length: u64) -> Result<(), NarError> {
        let mut bytes = [0; 8];
        let count = usize::try_from((8 - length % 8) % 8).unwrap_or(0);
        self.fill(&mut bytes[..count])?;
        if bytes == [0; 8] {
            Ok(())
        } else {
            Err(NarError::Bad("something between two texts".to_owned()))
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), NarError> {
        self.count = self.count.saturating_add(bytes.len() as u64);
        self.input
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => NarError::CutOff,
                _ => NarError::Read(error),
            })
    }
}

fn check_name(name: &[u8]) -> Result<(), NarError> {
    if matches!(name, b"" | b"." | b"..") || name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        let name = String::from_utf8_lossy(name);
        return Err(NarError::Bad(format!("an entry of the name `{name}`")));
    }
    Ok(())
}

fn unexpected(word: &[u8], wanted: &str) -> NarError {
    let word = String::from_utf8_lossy(word);
    NarError::Bad(format!("`{word}` where {wanted} must be"))
}

#[cfg(test)]
#[path = "nar_testing.rs"]
pub(in crate::switch) mod testing;

#[cfg(test)]
#[path = "nar_tests.rs"]
mod tests;

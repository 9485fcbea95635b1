//! Decompression by what the bytes say (xz or zstd), with bounded memory, in a thread of its own
//! that also hashes what it reads.
//!
//! An xz archive of several blocks is decoded on several cores, as far as the memory of the
//! machine allows; with less, or with one block, liblzma does it on one. What was decoded waits in
//! a few pieces of memory that go back and forth between the two threads.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, MtStreamBuilder, Stream};

use super::files::Hashing;
use crate::host::Cancel;

const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";
const ZSTD_MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";
/// Memory an xz archive may ask for: `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;
/// Threads that decode xz: more do not help where one thread writes.
const XZ_THREADS: usize = 4;
/// Part of the memory free now that decoding on several cores may take.
const XZ_MEMORY_SHARE: u64 = 4;
/// Free memory where it cannot be told.
const UNKNOWN_MEMORY: u64 = 256 << 20;
/// Largest window of a zstd archive, as a power of two: 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;
/// Compressed bytes read at once.
const INPUT: usize = 256 << 10;
/// Decompressed bytes handed over at once.
const PIECE: usize = 512 << 10;
/// Decompressed pieces that wait to be written.
const WAITING: usize = 8;

/// Begins to decompress what `reader` gives, in little memory and on this thread alone: for a look
/// at the beginning.
///
/// # Errors
/// When it is neither xz nor zstd.
pub fn decoder<'a>(reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    with_xz(reader, |reader| {
        let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
        Ok(Box::new(XzDecoder::new_stream(reader, stream)))
    })
}

/// The same on several cores.
fn fast_decoder<'a>(reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    with_xz(reader, |reader| Ok(Box::new(Streams::new(reader)?)))
}

fn with_xz<'a, R: BufRead + 'a>(
    mut reader: R,
    xz: impl FnOnce(R) -> io::Result<Box<dyn Read + 'a>>,
) -> io::Result<Box<dyn Read + 'a>> {
    let start = reader.fill_buf()?;
    if start.starts_with(XZ_MAGIC) {
        xz(reader)
    } else if start.starts_with(ZSTD_MAGIC) {
        let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        Ok(Box::new(decoder))
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "it is neither xz nor zstd",
        ))
    }
}

/// One xz stream after the other: the decoder that uses several cores knows only one.
struct Streams<R> {
    /// `None` after the last one.
    current: Option<XzDecoder<R>>,
}

impl<R: BufRead> Streams<R> {
    fn new(reader: R) -> io::Result<Self> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let stream = MtStreamBuilder::new()
            .threads(u32::try_from(threads.min(XZ_THREADS)).unwrap_or(1))
            .memlimit_threading(threading_memory(&meminfo()))
            .memlimit_stop(XZ_MEMORY)
            .decoder()?;
        Ok(Streams {
            current: Some(XzDecoder::new_stream(reader, stream)),
        })
    }
}

impl<R: BufRead> Read for Streams<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.current {
            let count = decoder.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            let Some(ended) = self.current.take() else {
                break;
            };
            let mut reader = ended.into_inner();
            skip_padding(&mut reader)?;
            if !reader.fill_buf()?.is_empty() {
                *self = Streams::new(reader)?;
            }
        }
        Ok(0)
    }
}

/// Zeroes after a stream, four at a time.
fn skip_padding(reader: &mut impl BufRead) -> io::Result<()> {
    let mut skipped = 0;
    loop {
        let bytes = reader.fill_buf()?;
        let zeroes = bytes.iter().take_while(|byte| **byte == 0).count();
        let ends = zeroes < bytes.len() || bytes.is_empty();
        reader.consume(zeroes);
        skipped += zeroes;
        if ends && skipped.is_multiple_of(4) {
            return Ok(());
        } else if ends {
            let why = "its padding is damaged";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
    }
}

fn meminfo() -> String {
    std::fs::read_to_string("/proc/meminfo").unwrap_or_default()
}

/// Memory that decoding may use for more than one thread; with less than a thread needs, liblzma
/// decodes on one.
fn threading_memory(meminfo: &str) -> u64 {
    let kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let free = kib.map_or(UNKNOWN_MEMORY, |kib| kib.saturating_mul(1024));
    (free / XZ_MEMORY_SHARE).clamp(1, XZ_MEMORY)
}

/// Decompressed bytes as another thread makes them.
#[derive(Debug)]
pub struct Stage {
    pieces: Receiver<io::Result<Vec<u8>>>,
    /// Pieces that were used up go back here.
    empty: Sender<Vec<u8>>,
    current: Vec<u8>,
    at: usize,
    cancel: Cancel,
}

impl Read for Stage {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.current.len() {
            if self.cancel.requested().is_some() {
                return Err(io::Error::other("it was asked to stop"));
            }
            match self.pieces.recv() {
                Ok(piece) => {
                    let used = std::mem::replace(&mut self.current, piece?);
                    self.at = 0;
                    // Nobody decodes any more: then nobody needs it.
                    let _ = self.empty.send(used);
                }
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.current.len() - self.at);
        buffer[..count].copy_from_slice(&self.current[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Starts the thread. It ends with the SHA-256 of all of `file`, or `None` when nobody wanted the
/// rest; `done` counts the compressed bytes.
pub fn start<'scope>(
    scope: &'scope Scope<'scope, '_>,
    file: std::fs::File,
    done: Arc<AtomicU64>,
    cancel: Cancel,
) -> (Stage, ScopedJoinHandle<'scope, Option<String>>) {
    let (sender, pieces) = sync_channel(WAITING);
    let (empty, used) = channel();
    let thread = scope.spawn(move || {
        let source = Hashing::new(Counting { file, done });
        let mut reader = BufReader::with_capacity(INPUT, source);
        send_all(&mut reader, &sender, &used)?;
        io::copy(&mut reader, &mut io::sink()).ok()?;
        Some(reader.into_inner().finish())
    });
    (
        Stage {
            pieces,
            empty,
            current: Vec::new(),
            at: 0,
            cancel,
        },
        thread,
    )
}

fn send_all(
    reader: &mut impl BufRead,
    sender: &SyncSender<io::Result<Vec<u8>>>,
    used: &Receiver<Vec<u8>>,
) -> Option<()> {
    let mut decoder = match fast_decoder(reader) {
        Ok(decoder) => decoder,
        Err(error) => return sender.send(Err(error)).ok(),
    };
    loop {
        let mut piece = used.try_recv().unwrap_or_default();
        match fill(&mut decoder, &mut piece) {
            Ok(()) if piece.is_empty() => return Some(()),
            Ok(()) => sender.send(Ok(piece)).ok()?,
            Err(error) => return sender.send(Err(error)).ok(),
        }
    }
}

/// Fills a piece, less than whole only at the end.
fn fill(decoder: &mut impl Read, piece: &mut Vec<u8>) -> io::Result<()> {
    piece.resize(PIECE, 0);
    let mut filled = 0;
    while filled < PIECE {
        match decoder.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    piece.truncate(filled);
    Ok(())
}

struct Counting {
    file: std::fs::File,
    done: Arc<AtomicU64>,
}

impl Read for Counting {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use sha2::{Digest, Sha256};

    use super::super::files::hex;
    use super::*;

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// As `xz` makes it with several threads: blocks that say how long they are.
    fn xz_blocks(bytes: &[u8]) -> Vec<u8> {
        let mut builder = MtStreamBuilder::new();
        let stream = builder.threads(2).preset(1).block_size(1 << 20);
        let stream = stream.encoder().unwrap();
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn through(compressed: &[u8]) -> (io::Result<Vec<u8>>, Option<String>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(compressed).unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let done = Arc::new(AtomicU64::new(0));
        std::thread::scope(|scope| {
            let (mut stage, thread) = start(scope, file, done, Cancel::default());
            let mut bytes = Vec::new();
            let result = stage.read_to_end(&mut bytes).map(|_| bytes);
            drop(stage);
            (result, thread.join().unwrap())
        })
    }

    #[test]
    fn both_formats_come_out_whole_and_hashed() {
        let plain: Vec<u8> = (0..5_000_000u32).map(|n| (n / 7) as u8).collect();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for packed in [xz(&plain), xz_blocks(&plain), zstd] {
            let (bytes, hash) = through(&packed);
            assert!(bytes.unwrap() == plain);
            assert_eq!(hash.unwrap(), hex(&Sha256::digest(&packed)));
        }
    }

    #[test]
    fn cut_and_foreign_bytes_are_errors() {
        let plain: Vec<u8> = (0..3_000_000u32).map(|n| (n / 7) as u8).collect();
        let zstd = zstd::encode_all(&plain[..], 1).unwrap();
        for packed in [xz(&plain), xz_blocks(&plain), zstd] {
            assert!(through(&packed[..packed.len() / 2]).0.is_err());
            assert!(through(&packed[..packed.len() - 1]).0.is_err());
        }
        assert!(through(b"PK\x03\x04").0.is_err());
        assert!(through(b"").0.is_err());
    }

    #[test]
    fn streams_after_each_other_are_one_archive() {
        let (one, two) = (vec![1; 3_000_000], vec![2; 10]);
        let whole = [&one[..], &two].concat();
        for padding in [0, 4, INPUT * 2] {
            let padding = vec![0; padding];
            let packed = [&xz_blocks(&one)[..], &padding, &xz(&two), &padding].concat();
            let (bytes, hash) = through(&packed);
            assert!(bytes.unwrap() == whole, "{}", padding.len());
            assert_eq!(hash.unwrap(), hex(&Sha256::digest(&packed)));
        }
        let after = |more: &[u8]| through(&[&xz(&two)[..], more].concat()).0;
        assert!(after(b"").is_ok());
        for damaged in [&b"\0\0\0"[..], b"\0\0\0\0x", b"PK\x03\x04"] {
            assert!(after(damaged).is_err(), "{damaged:?}");
        }
    }

    #[test]
    fn a_damaged_block_is_an_error() {
        let plain: Vec<u8> = (0..5_000_000u32).map(|n| (n / 7) as u8).collect();
        let mut packed = xz_blocks(&plain);
        let middle = packed.len() / 2;
        packed[middle] ^= 1;
        assert!(through(&packed).0.is_err());
    }

    #[test]
    fn several_cores_take_a_part_of_the_free_memory() {
        let table = |kib: u64| format!("MemTotal: 9 kB\nMemAvailable:  {kib} kB\n");
        assert_eq!(threading_memory(&table(400 << 10)), 100 << 20);
        assert_eq!(threading_memory(&table(64 << 20)), XZ_MEMORY);
        assert_eq!(threading_memory(&table(0)), 1);
        assert_eq!(threading_memory("nothing"), 64 << 20);
    }
}

//! Decompression by what the bytes say (xz or zstd), with bounded memory, in a thread of its own
//! that also hashes what it reads: on two cores, unpacking costs little more than decompressing.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Scope, ScopedJoinHandle};

use liblzma::bufread::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use sha2::{Digest, Sha256};

use super::files::hex;
use crate::host::Cancel;

const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0";
const ZSTD_MAGIC: &[u8] = b"\x28\xb5\x2f\xfd";
/// Memory an xz archive may ask for: `xz -9` asks for 65 MiB.
const XZ_MEMORY: u64 = 256 << 20;
/// Largest window of a zstd archive, as a power of two: 128 MiB.
const ZSTD_WINDOW_LOG: u32 = 27;
const CHUNK: usize = 1 << 20;
/// Decompressed pieces that wait to be written.
const WAITING: usize = 4;

/// Begins to decompress what `reader` gives.
///
/// # Errors
/// When it is neither xz nor zstd.
pub fn decoder<'a>(mut reader: impl BufRead + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let start = reader.fill_buf()?;
    if start.starts_with(XZ_MAGIC) {
        let stream = Stream::new_stream_decoder(XZ_MEMORY, CONCATENATED)?;
        Ok(Box::new(XzDecoder::new_stream(reader, stream)))
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

/// Decompressed bytes as another thread makes them.
#[derive(Debug)]
pub struct Stage {
    pieces: Receiver<io::Result<Vec<u8>>>,
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
                Ok(piece) => (self.current, self.at) = (piece?, 0),
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
    let thread = scope.spawn(move || {
        let source = Hashing {
            file,
            hasher: Sha256::new(),
            done,
        };
        let mut reader = BufReader::with_capacity(CHUNK, source);
        send_all(&mut reader, &sender)?;
        io::copy(&mut reader, &mut io::sink()).ok()?;
        Some(hex(&reader.into_inner().hasher.finalize()))
    });
    (
        Stage {
            pieces,
            current: Vec::new(),
            at: 0,
            cancel,
        },
        thread,
    )
}

fn send_all(reader: &mut impl BufRead, sender: &SyncSender<io::Result<Vec<u8>>>) -> Option<()> {
    let mut decoder = match decoder(reader) {
        Ok(decoder) => decoder,
        Err(error) => return sender.send(Err(error)).ok(),
    };
    loop {
        let mut piece = Vec::with_capacity(CHUNK);
        match decoder.by_ref().take(CHUNK as u64).read_to_end(&mut piece) {
            Ok(0) => return Some(()),
            Ok(_) => sender.send(Ok(piece)).ok()?,
            Err(error) => return sender.send(Err(error)).ok(),
        }
    }
}

struct Hashing {
    file: std::fs::File,
    hasher: Sha256,
    done: Arc<AtomicU64>,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.done.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn xz(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
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
        for packed in [xz(&plain), zstd::encode_all(&plain[..], 1).unwrap()] {
            let (bytes, hash) = through(&packed);
            assert!(bytes.unwrap() == plain);
            assert_eq!(hash.unwrap(), hex(&Sha256::digest(&packed)));
        }
    }

    #[test]
    fn cut_and_foreign_bytes_are_errors() {
        let plain = vec![7; 100_000];
        for packed in [xz(&plain), zstd::encode_all(&plain[..], 1).unwrap()] {
            assert!(through(&packed[..packed.len() / 2]).0.is_err());
        }
        assert!(through(b"PK\x03\x04").0.is_err());
        assert!(through(b"").0.is_err());
    }
}

//! Brings an archive into the downloads folder: continued where an earlier attempt stopped,
//! hashed whole, and given its final name only when the hash is right and the bytes are on the
//! disk.
//!
//! A part is named after the hash it is to have, so it needs no other proof of belonging to the
//! file on the server: when the server changed meanwhile, the hash of the whole is wrong, and a
//! continued download is begun once more from nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::libc::{O_CLOEXEC, O_NOFOLLOW};
use nixctl_proto::Code;

use super::files::{Hashing, hash_all, is_sha256, open_regular, private_dir};
use super::http::{Client, RETRIES};
use super::url::Url;
use super::{DOWNLOADS_DIR, Fetch, PayloadError, Release, Source};
use crate::host::{Cancel, Fs, FsError};
use crate::resource::Progress;

/// Largest archive that is fetched.
pub(super) const MAX_SIZE: u64 = 4 << 30;

/// Fetches and checks an archive.
///
/// # Errors
/// When it cannot be had, or is not what it should be.
pub fn fetch(
    fs: &Fs,
    task: &Fetch,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), PayloadError> {
    let release = &task.release;
    if !is_sha256(&release.sha256) {
        let message = format!(
            "cannot fetch the release: `{}` is no sha256",
            release.sha256
        );
        return Err(PayloadError::new(Code::InvalidArgument, message));
    }
    private_dir(fs, DOWNLOADS_DIR.as_ref())?;
    let job = Job {
        fs,
        release,
        progress,
        cancel,
    };
    if job.is_there_already()? {
        return Ok(());
    }
    match &release.source {
        Source::Path(path) => job.copy(path),
        Source::Url(url) => {
            let client = Client::new(&task.proxy, &task.ssl_cert_file, cancel.clone())?;
            job.download(&client, &Url::parse(url)?)
        }
    }
}

struct Job<'a> {
    fs: &'a Fs,
    release: &'a Release,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

impl Job<'_> {
    fn final_path(&self) -> PathBuf {
        Path::new(DOWNLOADS_DIR).join(&self.release.sha256)
    }

    fn part_path(&self) -> PathBuf {
        Path::new(DOWNLOADS_DIR).join(format!("{}.part", self.release.sha256))
    }

    /// A complete file of an earlier operation counts only when its bytes are still right.
    fn is_there_already(&self) -> Result<bool, PayloadError> {
        let path = self.final_path();
        if self.fs.meta(&path)?.is_none() {
            return Ok(false);
        }
        let mut file = open_regular(&self.fs.real(&path))?;
        if self.hash(&mut file, &path)? == self.release.sha256 {
            return Ok(true);
        }
        self.fs.remove_file(&path)?;
        Ok(false)
    }

    fn copy(&self, from: &Path) -> Result<(), PayloadError> {
        let mut source = open_regular(from).map_err(|error| {
            let message = format!("cannot read the source {}", from.display());
            PayloadError::new(Code::BadSource, message).with_cause(error.source)
        })?;
        self.fs.remove_file(&self.part_path())?;
        let mut part = self.open_part()?;
        let total = source.metadata().map_or(0, |meta| meta.len());
        // Of the bytes as they are written; unpacking hashes once more what it reads.
        let mut source = Hashing::new(&mut source);
        self.pour(&mut source, &mut part, 0, total, |source| {
            FsError {
                action: "read",
                path: from.to_owned(),
                source,
            }
            .into()
        })?;
        let hash = source.finish();
        self.finish(part, hash, false).map(|_| ())
    }

    fn download(&self, client: &Client, url: &Url) -> Result<(), PayloadError> {
        let mut part = self.open_part()?;
        let mut continued = length(&part) > 0;
        let mut failures = 0;
        loop {
            let before = length(&part);
            match self.continue_from(client, url, &mut part) {
                Ok(began_again) => {
                    self.write_error(part.rewind())?;
                    let hash = self.hash(&mut part, &self.part_path())?;
                    if self.finish(part, hash, continued && !began_again)? {
                        return Ok(());
                    }
                    part = self.open_part()?;
                    (continued, failures) = (false, 0);
                }
                Err(error) => {
                    failures = if length(&part) > before {
                        1
                    } else {
                        failures + 1
                    };
                    if error.code() != Code::Network || failures > RETRIES {
                        return Err(error);
                    }
                    client.pause(failures)?;
                    continued = true;
                }
            }
        }
    }

    /// Appends what is missing; whether the server began from nothing.
    fn continue_from(
        &self,
        client: &Client,
        url: &Url,
        part: &mut File,
    ) -> Result<bool, PayloadError> {
        let have = length(part);
        let answer = client.download(url, have)?;
        if answer.start != have {
            self.write_error(part.set_len(0).and_then(|()| part.rewind()))?;
        }
        let start = answer.start;
        let expected = answer.length.map(|length| start + length);
        let size = answer.total.or(expected).or(self.release.size).unwrap_or(0);
        if size > MAX_SIZE {
            return Err(self.too_large());
        }
        self.write_error(part.seek(SeekFrom::End(0)))?;
        let broken = |error| client.broken_body(url, error);
        let end = self.pour(&mut answer.into_reader(), part, start, size, broken)?;
        match expected {
            Some(expected) if end != expected => {
                let why = io::Error::from(io::ErrorKind::UnexpectedEof);
                Err(client.broken_body(url, why))
            }
            _ => Ok(start == 0),
        }
    }

    /// Copies to the end, counting from `done`; the number of bytes there are then.
    fn pour(
        &self,
        from: &mut impl Read,
        to: &mut File,
        mut done: u64,
        total: u64,
        unreadable: impl Fn(io::Error) -> PayloadError,
    ) -> Result<u64, PayloadError> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            if self.cancel.requested().is_some() {
                return Err(PayloadError::Stopped);
            }
            let count = match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                result => result.map_err(&unreadable)?,
            };
            if count == 0 {
                return Ok(done);
            }
            done += count as u64;
            if done > MAX_SIZE {
                return Err(self.too_large());
            }
            self.write_error(to.write_all(&buffer[..count]))?;
            self.progress.bytes(done, total);
        }
    }

    /// Checks the hash of the whole part and gives it its name. `false`: it was wrong, may have
    /// been put together from two different files, and is gone.
    fn finish(&self, part: File, hash: String, continued: bool) -> Result<bool, PayloadError> {
        if hash != self.release.sha256 {
            self.fs.remove_file(&self.part_path())?;
            if continued {
                return Ok(false);
            }
            let message = format!(
                "cannot use {}: its sha256 is {hash}, and should be {}",
                self.release.source, self.release.sha256
            );
            return Err(PayloadError::new(Code::ChecksumMismatch, message));
        }
        self.write_error(part.sync_all())?;
        self.fs.rename(&self.part_path(), &self.final_path())?;
        Ok(true)
    }

    fn hash(&self, file: &mut File, path: &Path) -> Result<String, PayloadError> {
        hash_all(file, path, |_| match self.cancel.requested() {
            Some(_) => Err(PayloadError::Stopped),
            None => Ok(()),
        })
    }

    fn open_part(&self) -> Result<File, PayloadError> {
        let path = self.part_path();
        let opened = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(O_NOFOLLOW | O_CLOEXEC)
            .open(self.fs.real(&path));
        self.write_error(opened)
    }

    fn write_error<T>(&self, result: io::Result<T>) -> Result<T, PayloadError> {
        result.map_err(|source| {
            FsError {
                action: "write",
                path: self.part_path(),
                source,
            }
            .into()
        })
    }

    fn too_large(&self) -> PayloadError {
        let message = format!("cannot fetch the release: it is larger than {MAX_SIZE} bytes");
        PayloadError::new(Code::BadSource, message)
    }
}

fn length(file: &File) -> u64 {
    file.metadata().map_or(0, |meta| meta.len())
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;

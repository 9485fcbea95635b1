//! The pipes of a running command: none of them is ever waited for by reading or writing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::ChildStdin;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// Standard input that is still to be written.
pub(super) struct Feed {
    pub pipe: ChildStdin,
    bytes: Vec<u8>,
    written: usize,
}

impl Feed {
    pub(super) fn new(pipe: ChildStdin, bytes: Vec<u8>) -> io::Result<Self> {
        set_non_blocking(&pipe)?;
        Ok(Feed {
            pipe,
            bytes,
            written: 0,
        })
    }

    /// Writes what fits; says whether there is no more to do. A command that does not read its
    /// input is no error.
    pub(super) fn is_finished(&mut self) -> bool {
        while let Some(rest) = self
            .bytes
            .get(self.written..)
            .filter(|rest| !rest.is_empty())
        {
            match self.pipe.write(rest) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
        true
    }
}

/// One output of a command.
pub(super) struct Pipe {
    pub source: Option<File>,
    pub kept: Vec<u8>,
    limit: usize,
}

impl Pipe {
    pub(super) fn new(source: Option<impl Into<OwnedFd>>, limit: usize) -> Self {
        Pipe {
            source: source.map(|fd| fd.into().into()),
            kept: Vec::new(),
            limit,
        }
    }

    pub(super) fn set_up(&self) -> io::Result<()> {
        self.source.as_ref().map_or(Ok(()), set_non_blocking)
    }

    pub(super) fn is_open(&self) -> bool {
        self.source.is_some()
    }

    /// Reads what is there, at most a mebibyte a turn so that the deadline is looked at in between.
    pub(super) fn read(&mut self) {
        let Some(source) = &mut self.source else {
            return;
        };
        let mut buffer = [0; 16 << 10];
        for _ in 0..64 {
            match source.read(&mut buffer) {
                Ok(count) if count > 0 => {
                    let room = self.limit.saturating_sub(self.kept.len()).min(count);
                    self.kept.extend_from_slice(&buffer[..room]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    self.source = None;
                    return;
                }
            }
        }
    }
}

fn set_non_blocking(pipe: impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(&pipe, FcntlArg::F_GETFL)?);
    fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

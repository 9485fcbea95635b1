//! Deliberate faults: by path prefix from a test, or in the query of a URL.

use std::time::Duration;

/// What goes wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `?truncate=N`: the connection is closed after N bytes of the body.
    Truncate(u64),
    /// `?stall=N`: after N bytes of the body nothing more comes, the connection stays open.
    Stall(u64),
    /// `?rate=N`: at most N bytes of the body per second.
    Rate(u64),
    /// `?status=N`: this status instead of the content.
    Status(u16),
    /// `?corrupt=N`: the byte at offset N of the body is another one (a wrong checksum).
    Corrupt(u64),
    /// `?delay=N`: the answer starts N milliseconds late.
    Delay(u64),
    /// `?refuse=1`: the connection ends without an answer.
    Refuse,
    /// `?norange=1`: range requests are answered with the whole content.
    NoRange,
}

/// The faults of one answer, put together.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Bytes after which the connection closes.
    pub truncate: Option<u64>,
    /// Bytes after which nothing comes.
    pub stall: Option<u64>,
    /// Bytes per second.
    pub rate: Option<u64>,
    /// Status to give instead.
    pub status: Option<u16>,
    /// Offset of the byte to change.
    pub corrupt: Option<u64>,
    /// Time before the answer.
    pub delay: Duration,
    /// There is no answer.
    pub refuse: bool,
    /// Ranges are ignored.
    pub no_range: bool,
}

impl Faults {
    /// Adds one fault.
    pub fn add(&mut self, fault: Fault) {
        match fault {
            Fault::Truncate(bytes) => self.truncate = Some(bytes),
            Fault::Stall(bytes) => self.stall = Some(bytes),
            Fault::Rate(bytes) => self.rate = Some(bytes.max(1)),
            Fault::Status(status) => self.status = Some(status),
            Fault::Corrupt(offset) => self.corrupt = Some(offset),
            Fault::Delay(milliseconds) => self.delay = Duration::from_millis(milliseconds),
            Fault::Refuse => self.refuse = true,
            Fault::NoRange => self.no_range = true,
        }
    }

    /// Adds the faults a query names; other words in it are ignored.
    pub fn add_query(&mut self, query: &str) {
        for pair in query.split('&') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let Ok(number) = value.parse::<u64>() else {
                continue;
            };
            match name {
                "truncate" => self.add(Fault::Truncate(number)),
                "stall" => self.add(Fault::Stall(number)),
                "rate" => self.add(Fault::Rate(number)),
                "status" => self.add(Fault::Status(u16::try_from(number).unwrap_or(500))),
                "corrupt" => self.add(Fault::Corrupt(number)),
                "delay" => self.add(Fault::Delay(number)),
                "refuse" => self.add(Fault::Refuse),
                "norange" => self.add(Fault::NoRange),
                _ => {}
            }
        }
    }
}

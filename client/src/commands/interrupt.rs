//! Ctrl-C and SIGTERM while an operation is followed.
//!
//! They never harm: once detaches (after a moment in which it can be pressed again), twice asks for
//! a cancel, and after that the client leaves. An own daemon has nobody else to ask for a cancel,
//! so there the first press asks for it and the second leaves.

use std::time::Duration;

use nixctl_proto::{Code, Failure};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::follow::LONG;

/// Time after Ctrl-C in which pressing it again asks for a cancel.
const AGAIN: Duration = Duration::from_secs(2);

/// SIGINT and SIGTERM.
#[derive(Debug)]
pub struct Signals(Signal, Signal);

impl Signals {
    /// Takes the signals over; from here on they do not end the process.
    pub fn new() -> Result<Signals, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(
                    Code::Internal,
                    format!("internal error: cannot see signals: {error}"),
                )
            })
        };
        Ok(Signals(
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
        ))
    }

    /// Waits for the next one.
    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// What Ctrl-C means now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Press {
    /// Say that we leave, and that pressing again cancels.
    Warn,
    /// Ask for a cancel.
    Cancel,
    /// Leave at once.
    Leave,
}

/// Counts presses of Ctrl-C.
#[derive(Debug)]
pub struct Presses {
    private: bool,
    cancelled: bool,
    detach_at: Option<Instant>,
}

impl Presses {
    /// None yet.
    pub fn new(private: bool) -> Presses {
        Presses {
            private,
            cancelled: false,
            detach_at: None,
        }
    }

    /// What this press means.
    pub fn press(&mut self, now: Instant) -> Press {
        if self.cancelled {
            return Press::Leave;
        }
        if self.private || self.detach_at.is_some() {
            self.cancelled = true;
            self.detach_at = None;
            return Press::Cancel;
        }
        self.detach_at = Some(now + AGAIN);
        Press::Warn
    }

    /// When to leave by itself.
    pub fn detach_at(&self) -> Instant {
        self.detach_at.unwrap_or_else(|| Instant::now() + LONG)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressing_ctrl_c() {
        let now = Instant::now();
        let mut machine = Presses::new(false);
        assert_eq!(machine.press(now), Press::Warn);
        assert_eq!(machine.detach_at, Some(now + AGAIN));
        assert_eq!(machine.press(now), Press::Cancel);
        assert_eq!(machine.detach_at, None);
        assert_eq!(machine.press(now), Press::Leave);
        let mut own = Presses::new(true);
        assert_eq!(
            (own.press(now), own.press(now)),
            (Press::Cancel, Press::Leave)
        );
    }
}

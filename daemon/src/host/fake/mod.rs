//! Fakes of the machine for unit tests: commands and units that remember what was asked.
//!
//! Files are not faked: tests use a real [`Fs`] over a temporary folder, which makes the machine
//! an image to the code under test. A fake never waits: what hangs fails at once, as the real one
//! would at its deadline.

mod control;
mod exec;
mod services;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use exec::{Answer, FakeExec};
pub use services::FakeServices;

use super::clock::Moment;
use super::power::{Metered, Network};
use super::{Clock, Fs, Host};

/// A clock that stands still.
#[derive(Debug, Clone, Copy)]
pub struct FixedClock(pub u64);

impl Clock for FixedClock {
    fn now(&self) -> u64 {
        self.0
    }

    fn moment(&self) -> Moment {
        let era = "fixed".to_owned();
        Moment {
            era,
            millis: self.0,
        }
    }
}

/// A network of which this is known.
#[derive(Debug, Clone, Copy)]
pub struct FixedNetwork(pub Metered);

impl Network for FixedNetwork {
    fn metered(&self) -> Metered {
        self.0
    }
}

/// A machine whose files are below `root`, without programs and units until they are added.
pub fn host(root: &Path) -> (Host, Arc<FakeExec>, Arc<FakeServices>) {
    let exec = Arc::new(FakeExec::default());
    let services = Arc::new(FakeServices::default());
    let host = Host {
        fs: Fs::at(root),
        exec: exec.clone(),
        services: services.clone(),
        clock: Arc::new(FixedClock(1_700_000_000_000)),
        network: Arc::new(FixedNetwork(Metered::Unknown)),
    };
    (host, exec, services)
}

/// A test that failed while it held the lock is told by its own message.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! The machine: the only room that touches the outside.
//!
//! Everything is blocking and under a deadline; callers run on the engine's thread or in a worker.
//! Paths are absolute *as the machine sees them*: [`Fs`] puts them under its root, which is `/`
//! but for `--root DIR`. Unit tests use a real [`Fs`] over a temporary folder and the fakes of
//! [`fake`].

pub mod accounts;
pub mod cancel;
pub mod clock;
pub mod exec;
pub mod fake;
pub mod fs;
pub mod in_image;
pub mod leashed;
pub mod mounts;
pub mod nix_daemon;
pub mod power;
pub mod service;

use std::sync::Arc;

pub use cancel::Cancel;
pub use clock::Clock;
pub use exec::{Command, Exec, ExecError, Output};
pub use fs::{Fs, FsError};
pub use power::Network;
pub use service::{ServiceError, ServiceManager};

/// The machine as the rest of the daemon sees it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Host {
    /// Files under the root.
    pub fs: Fs,
    /// External commands.
    pub exec: Arc<dyn Exec>,
    /// Units of the service manager.
    pub services: Arc<dyn ServiceManager>,
    /// Wall clock and boot identity.
    pub clock: Arc<dyn Clock>,
    /// What the network costs.
    pub network: Arc<dyn Network>,
}

impl Host {
    /// Whether this is an image or another folder rather than the running machine.
    pub fn is_image(&self) -> bool {
        self.fs.root() != std::path::Path::new("/")
    }
}

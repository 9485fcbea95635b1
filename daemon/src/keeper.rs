//! Keeps nix-daemon running where no service manager does: `nixctld` in the foreground of a
//! container is its parent.
//!
//! It runs while Nix with build users is owned and no operation is at work. What the engine tells
//! of is enough to decide; nothing is polled.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;

use crate::engine::{Engine, Owned};
use crate::host::Cancel;
use crate::host::cancel::Stop;
use crate::host::nix_daemon::SupervisedDaemon;
use crate::resource::Resource;

/// The program, from the profile that is ours.
const PROGRAM: &str = "/nix/var/nix/profiles/nixctl/bin/nix-daemon";
/// Where it serves.
const SOCKET: &str = "/nix/var/nix/daemon-socket/socket";
/// How long it may take to open its socket.
const START: Duration = Duration::from_secs(20);

/// The thread that starts and stops nix-daemon. Dropping it stops both.
#[derive(Debug)]
pub struct Keeper {
    ended: Arc<AtomicBool>,
    cancel: Cancel,
    engine: Engine,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins to keep nix-daemon as the engine's state wants it.
    pub fn start(engine: &Engine) -> Keeper {
        let ended = Arc::new(AtomicBool::new(false));
        let cancel = Cancel::default();
        let (asked, stop, its) = (Arc::clone(&ended), cancel.clone(), engine.clone());
        let keep = move || keep(&its, &asked, &stop);
        let thread = std::thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(keep);
        let thread = thread
            .inspect_err(|error| tracing::error!("cannot keep nix-daemon running: {error}"))
            .ok();
        Keeper {
            ended,
            cancel,
            engine: engine.clone(),
            thread,
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        self.cancel.request(Stop::Shutdown);
        self.engine.nudge();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn keep(engine: &Engine, ended: &AtomicBool, cancel: &Cancel) {
    let mut changes = engine.changes();
    let mut running: Option<SupervisedDaemon> = None;
    while !ended.load(Ordering::SeqCst) {
        match (
            is_wanted(&engine.owned(), engine.is_idle()),
            running.is_some(),
        ) {
            (true, false) => running = start(cancel),
            (false, true) => {
                if let Some(daemon) = running.take() {
                    daemon.stop();
                    tracing::info!("nix-daemon is stopped");
                }
            }
            (true, true) | (false, false) => {}
        }
        match changes.blocking_recv() {
            Ok(_) | Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn start(cancel: &Cancel) -> Option<SupervisedDaemon> {
    let (program, socket) = (Path::new(PROGRAM), Path::new(SOCKET));
    match SupervisedDaemon::start(program, socket, START, cancel) {
        Ok(daemon) => {
            tracing::info!("nix-daemon serves, as a child of this process");
            Some(daemon)
        }
        Err(error) => {
            tracing::error!("{error}");
            None
        }
    }
}

/// A profile says that Nix is ours, build users that it is not for root alone.
fn is_wanted(owned: &[Owned], idle: bool) -> bool {
    let has = |wanted: fn(&Resource) -> bool| owned.iter().any(|owned| wanted(&owned.resource));
    idle && has(|resource| matches!(resource, Resource::Profile(_)))
        && has(|resource| matches!(resource, Resource::BuildUsers(_)))
}

#[cfg(test)]
mod tests {
    use nixctl_proto::OperationId;

    use super::*;
    use crate::resource::Undo;
    use crate::resource::profile::Profile;
    use crate::resource::users::BuildUsers;

    fn owned(resource: Resource) -> Owned {
        Owned {
            order: 0,
            by: OperationId::from_parts(1, 1),
            resource,
            undo: Undo::Created,
        }
    }

    #[test]
    fn it_runs_for_a_multi_user_nix_while_nothing_is_at_work() {
        let profile = || {
            owned(Resource::Profile(Profile {
                link: "/p".into(),
                sha256: String::new(),
            }))
        };
        let users = || {
            owned(Resource::BuildUsers(BuildUsers {
                group: "nixbld".to_owned(),
                gid: 30000,
                prefix: "nixbld".to_owned(),
                count: 1,
                uid_base: 30000,
            }))
        };
        assert!(is_wanted(&[profile(), users()], true));
        assert!(
            !is_wanted(&[profile(), users()], false),
            "an operation is at work"
        );
        assert!(!is_wanted(&[profile()], true), "a single-user install");
        assert!(!is_wanted(&[users()], true), "no Nix");
    }
}

//! Where the socket listens: inherited from the service manager, or bound here.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener as StdListener, UnixStream};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Everybody may connect; what they may do is decided for each request.
const MODE: u32 = 0o666;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The operating system refused.
    #[error("cannot listen on {}: {source}", path.display())]
    Refused {
        /// Where.
        path: PathBuf,
        /// Reason of the operating system.
        source: io::Error,
    },
    /// Another daemon listens there.
    #[error("cannot listen on {}: another nixctld answers there", path.display())]
    Taken {
        /// Where.
        path: PathBuf,
    },
    /// Something that is no socket is in the way.
    #[error("cannot listen on {}: something else is there", path.display())]
    InTheWay {
        /// Where.
        path: PathBuf,
    },
}

/// A listening socket; its file goes with it when it was made here.
#[derive(Debug)]
pub struct Bound {
    /// Where to accept.
    pub listener: Option<UnixListener>,
    made: Option<PathBuf>,
}

impl Drop for Bound {
    fn drop(&mut self) {
        if let Some(path) = &self.made
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::debug!("cannot remove {}: {error}", path.display());
        }
    }
}

/// The inherited socket if there is one, else a new one at `path`.
///
/// # Errors
/// Somebody else is there, or the operating system refused.
pub fn listen(path: &Path) -> Result<Bound, ListenError> {
    let refused = |source| ListenError::Refused {
        path: path.to_owned(),
        source,
    };
    let (listener, made) = match inherited().map_err(refused)? {
        Some(listener) => (listener, None),
        None => (bind(path)?, Some(path.to_owned())),
    };
    listener.set_nonblocking(true).map_err(refused)?;
    let listener = Some(UnixListener::from_std(listener).map_err(refused)?);
    Ok(Bound { listener, made })
}

/// The first descriptor that systemd passed, see sd_listen_fds(3).
fn inherited() -> io::Result<Option<StdListener>> {
    listenfd::ListenFd::from_env().take_unix_listener(0)
}

/// Binds beside the path and moves the socket there: nobody ever sees one with other permissions,
/// and there is always either the old one or the new one.
fn bind(path: &Path) -> Result<StdListener, ListenError> {
    let refused = |source| ListenError::Refused {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => {
            return Err(ListenError::InTheWay {
                path: path.to_owned(),
            });
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(ListenError::Taken {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(refused(error)),
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(refused)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(refused(error)),
        Ok(()) | Err(_) => {}
    }
    let listener = StdListener::bind(&beside).map_err(refused)?;
    std::fs::set_permissions(&beside, Permissions::from_mode(MODE)).map_err(refused)?;
    std::fs::rename(&beside, path).map_err(refused)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_is_open_to_all_and_goes_with_its_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run/socket");
        let bound = listen(&path).unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            MODE
        );
        assert!(matches!(listen(&path), Err(ListenError::Taken { .. })));
        drop(bound);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_a_killed_daemon_left_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(StdListener::bind(&path).unwrap());
        drop(StdListener::bind(folder.path().join("socket.new")).unwrap());
        let _bound = listen(&path).unwrap();
        assert!(UnixStream::connect(&path).is_ok());
    }

    #[tokio::test]
    async fn files_of_others_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        std::fs::write(&path, "mine").unwrap();
        assert!(matches!(listen(&path), Err(ListenError::InTheWay { .. })));
        assert_eq!(std::fs::read(&path).unwrap(), b"mine");
    }
}

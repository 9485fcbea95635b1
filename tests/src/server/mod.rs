//! A release server inside a machine: the layout of releases.nixos.org, and faults on demand.
//!
//! It runs as threads of the test process; only the listening socket is made in the machine's
//! network namespace, so it needs no program in the machine and outlives the machine's reboots.
//! Every request is recorded. Dropping the [`Server`] closes the port. A [`Front`] before it speaks
//! TLS with a certificate of an [`Authority`], also as a proxy that inspects what goes through it.
//! A [`FleetLock`] is another server, which lets machines have their turn.

mod authority;
mod fault;
mod fleet_lock;
mod http;
mod listener;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use authority::{Authority, Identity, Validity};
pub use fault::Fault;
pub use fleet_lock::{Away, Event, FleetLock, Happened};
pub use http::Request;
pub use tls::Front;

use listener::Listener;

use crate::dist::Release;
use crate::error::{Error, Result};

/// What is served under a path.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    /// A file of the host.
    File(PathBuf),
    /// These bytes.
    Bytes(Arc<Vec<u8>>),
}

/// What the server and its threads share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    stopped: AtomicBool,
    state: Mutex<State>,
}

/// The pages, folders, faults and the record of requests.
#[derive(Debug, Default)]
pub(crate) struct State {
    pages: BTreeMap<String, Content>,
    folders: Vec<(String, PathBuf)>,
    faults: Vec<(String, Fault)>,
    redirects: BTreeMap<String, String>,
    requests: Vec<Request>,
    date: Option<String>,
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

impl State {
    /// The content of a path: a page of that name, else a file below a folder.
    pub(crate) fn find(&self, path: &str) -> Option<Content> {
        if let Some(page) = self.pages.get(path) {
            return Some(page.clone());
        }
        self.folders.iter().find_map(|(prefix, folder)| {
            let rest = path.strip_prefix(prefix.as_str())?.trim_start_matches('/');
            let plain = !rest.split('/').any(|part| part == "..");
            let file = folder.join(rest);
            (plain && file.is_file()).then_some(Content::File(file))
        })
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    shared: Arc<Shared>,
    listener: Listener,
}

impl Server {
    /// Listens on 127.0.0.1 of a network namespace (the host's own when none); port 0 picks one.
    pub fn start(network: Option<&Path>, port: u16) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let for_threads = Arc::clone(&shared);
        let listener = Listener::start(network, port, move |stream| {
            http::serve(stream, &for_threads);
        })?;
        Ok(Self { shared, listener })
    }

    /// The address to put paths behind: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.listener.port())
    }

    /// The URL of a release's `.tar.xz`.
    #[must_use]
    pub fn release_url(&self, release: &Release) -> String {
        format!("{}{}", self.url(), release_path(release, "xz"))
    }

    /// Serves a release: both tarballs and, beside each, its `.sha256`.
    pub fn add_release(&self, release: &Release) -> Result<()> {
        let files = [
            ("xz", &release.tar_xz, &release.sha256_xz),
            ("zst", &release.tar_zst, &release.sha256_zst),
        ];
        for (ending, file, sha256) in files {
            if !file.is_file() {
                return Err(Error::new(
                    "serve a release",
                    format!("no file {}", file.display()),
                ));
            }
            let path = release_path(release, ending);
            let mut state = self.shared.state();
            state
                .pages
                .insert(path.clone(), Content::File(file.clone()));
            let digest = Content::Bytes(Arc::new(sha256.clone().into_bytes()));
            state.pages.insert(format!("{path}.sha256"), digest);
        }
        Ok(())
    }

    /// Serves these bytes under a path, in place of what was there.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        let content = Content::Bytes(Arc::new(bytes.into()));
        self.shared.state().pages.insert(path.to_owned(), content);
    }

    /// Serves the files below a folder of the host under a prefix (a binary cache, for instance).
    pub fn put_folder(&self, prefix: &str, folder: &Path) {
        let entry = (prefix.to_owned(), folder.to_path_buf());
        let folders = &mut self.shared.state().folders;
        folders.retain(|known| *known != entry);
        folders.push(entry);
    }

    /// Stops serving a path.
    pub fn remove(&self, path: &str) {
        self.shared.state().pages.remove(path);
    }

    /// Answers a path with a redirect to this URL, until [`Server::heal`].
    pub fn redirect(&self, path: &str, to: &str) {
        let redirects = &mut self.shared.state().redirects;
        redirects.insert(path.to_owned(), to.to_owned());
    }

    /// Makes every answer below a path prefix suffer this fault, until [`Server::heal`].
    pub fn break_prefix(&self, prefix: &str, fault: Fault) {
        self.shared.state().faults.push((prefix.to_owned(), fault));
    }

    /// Takes all faults away.
    pub fn heal(&self) {
        let mut state = self.shared.state();
        state.faults.clear();
        state.redirects.clear();
    }

    /// Puts this into the header `Date` of every answer, which has none otherwise.
    pub fn set_date(&self, date: &str) {
        self.shared.state().date = Some(date.to_owned());
    }

    /// All requests so far, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Answers that wait or are slow on purpose end; then the listener is dropped.
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

fn release_path(release: &Release, ending: &str) -> String {
    format!(
        "/nix/nix-{}/{}.tar.{ending}",
        release.version,
        release.top()
    )
}

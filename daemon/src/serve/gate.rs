//! The transports are up before the engine has loaded its state: calls wait here for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nixctl_proto::{Code, Failure};
use tokio::sync::watch;

use super::Backend;

/// Less than the 25 s after which D-Bus clients give up, so that they get an answer.
const LOADING_SECONDS: u64 = 20;

/// Where calls wait for the backend.
#[derive(Clone)]
pub struct Gate {
    state: watch::Receiver<Option<Arc<dyn Backend>>>,
    patience: Duration,
}

/// Opens a gate. While it is not opened, and after it is dropped unopened, nobody passes.
pub struct Opener(watch::Sender<Option<Arc<dyn Backend>>>);

impl Gate {
    /// A closed gate and its opener.
    pub fn new() -> (Opener, Gate) {
        Gate::with_patience(Duration::from_secs(LOADING_SECONDS))
    }

    /// The same with another time to wait.
    pub fn with_patience(patience: Duration) -> (Opener, Gate) {
        let (sender, state) = watch::channel(None);
        (Opener(sender), Gate { state, patience })
    }

    /// The backend, once it is there.
    ///
    /// # Errors
    /// It did not come in time, or never will.
    pub async fn backend(&self) -> Result<Arc<dyn Backend>, Failure> {
        if let Some(backend) = self.now() {
            return Ok(backend);
        }
        let mut state = self.state.clone();
        let opened = tokio::time::timeout(self.patience, state.wait_for(Option::is_some)).await;
        let why = match opened {
            Ok(Ok(backend)) => match backend.as_ref() {
                Some(backend) => return Ok(Arc::clone(backend)),
                None => "it is not there".to_owned(),
            },
            Ok(Err(_)) => "the state could not be loaded, see the log of nixctld".to_owned(),
            Err(_) => format!(
                "the state was not loaded within {} s",
                self.patience.as_secs()
            ),
        };
        Err(
            Failure::new(Code::Unreachable, format!("cannot reach the engine: {why}"))
                .with_help("see `journalctl -u nixctld`"),
        )
    }

    /// The backend, if it is there already.
    pub fn now(&self) -> Option<Arc<dyn Backend>> {
        self.state.borrow().clone()
    }
}

impl Opener {
    /// Lets everybody pass.
    pub fn open(&self, backend: Arc<dyn Backend>) {
        self.0.send_replace(Some(backend));
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate")
            .field("open", &self.now().is_some())
            .finish()
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::FakeBackend;
    use super::*;

    #[tokio::test]
    async fn calls_wait_until_it_opens() {
        let (opener, gate) = Gate::new();
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { gate.backend().await.is_ok() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        opener.open(FakeBackend::new());
        assert!(waiting.await.unwrap());
        assert!(gate.now().is_some());
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let (opener, gate) = Gate::with_patience(Duration::from_millis(5));
        let failure = gate.backend().await.err().unwrap();
        assert_eq!(failure.code, Code::Unreachable);
        drop(opener);
        assert!(
            gate.backend()
                .await
                .err()
                .unwrap()
                .message
                .contains("could not be loaded")
        );
    }
}

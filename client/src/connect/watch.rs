//! Following an operation through everything: a daemon that restarts in the middle included.
//!
//! A task follows and reports; [`Watch::next`] only takes what was reported, so that a caller may
//! drop it at any time while it waits for a key or a deadline as well. When the daemon goes away
//! (it crashed, or is being restarted) the task tries for [`COME_BACK`] to reach it again, reads
//! the operation anew and goes on.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nixctl_proto::{OperationKind, OperationView};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::{ANSWER, COME_BACK, COME_BACK_AS_BEFORE, TRY_EVERY, Trouble};

/// What a watcher learns.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A snapshot.
    View(Box<OperationView>),
    /// The daemon went away; it is waited for.
    Away,
    /// It is back; a snapshot follows.
    Back,
}

/// A stream of events that ends after the snapshot of the final state.
#[derive(Debug)]
pub struct Watch {
    events: mpsc::UnboundedReceiver<Result<Event, Trouble>>,
    task: JoinHandle<()>,
}

/// Where a transport puts the snapshots it sees.
#[derive(Debug, Clone)]
pub struct Report {
    events: mpsc::UnboundedSender<Result<Event, Trouble>>,
    /// Whether the daemon itself is replaced, and may try in vain for a while.
    is_replaced: Arc<AtomicBool>,
}

/// What each transport brings.
pub trait Source: Send + 'static {
    /// Reports snapshots until one is final; an error when it cannot go on.
    fn follow(&mut self, report: &Report) -> impl Future<Output = Result<(), Trouble>> + Send;

    /// Reaches a daemon that was away, and reads the operation.
    fn reach(&mut self) -> impl Future<Output = Result<OperationView, Trouble>> + Send;

    /// Whether there is a hope that it comes back.
    fn comes_back(&self) -> bool;
}

impl Watch {
    /// Begins to follow.
    pub fn start(source: impl Source) -> Watch {
        // Not bounded: a terminal that is stopped must not stop the reading of the connection.
        let (sender, events) = mpsc::unbounded_channel();
        let report = Report {
            events: sender,
            is_replaced: Arc::default(),
        };
        let task = tokio::spawn(follow(source, report));
        Watch { events, task }
    }

    /// The next event; `None` after the end.
    pub async fn next(&mut self) -> Result<Option<Event>, Trouble> {
        self.events.recv().await.transpose()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Report {
    /// Reports a snapshot; whether it was the last.
    pub fn view(&self, view: OperationView) -> bool {
        let last = view.state.is_final();
        let is_replaced = view.kind == OperationKind::SelfUpgrade;
        self.is_replaced.store(is_replaced, Ordering::Relaxed);
        self.send(Ok(Event::View(Box::new(view))));
        last
    }

    /// How long a daemon that went away is waited for.
    fn patience(&self) -> Duration {
        match self.is_replaced.load(Ordering::Relaxed) {
            true => COME_BACK_AS_BEFORE,
            false => COME_BACK,
        }
    }

    /// A watcher that is gone needs nothing any more.
    fn send(&self, event: Result<Event, Trouble>) {
        let _ = self.events.send(event);
    }
}

async fn follow(mut source: impl Source, report: Report) {
    loop {
        match source.follow(&report).await {
            Ok(()) => return,
            Err(Trouble::Lost(_)) if source.comes_back() => {}
            Err(trouble) => return report.send(Err(trouble)),
        }
        report.send(Ok(Event::Away));
        match come_back(&mut source, report.patience()).await {
            Ok(view) => {
                report.send(Ok(Event::Back));
                if report.view(view) {
                    return;
                }
            }
            Err(trouble) => return report.send(Err(trouble)),
        }
    }
}

/// Waits for the daemon. A refusal counts as "not yet": its state is loaded behind its name.
async fn come_back(source: &mut impl Source, patience: Duration) -> Result<OperationView, Trouble> {
    let end = Instant::now() + patience;
    loop {
        sleep(TRY_EVERY).await;
        let trouble = match timeout(ANSWER, source.reach()).await {
            Ok(Ok(view)) => return Ok(view),
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Lost(format!("no answer within {} s", ANSWER.as_secs())),
        };
        if Instant::now() >= end {
            return Err(match trouble {
                Trouble::Lost(_) => {
                    let seconds = patience.as_secs();
                    Trouble::Lost(format!(
                        "it went away and did not come back within {seconds} s"
                    ))
                }
                refused @ Trouble::Refused(_) => refused,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use nixctl_proto::{Code, Failure, OperationState};

    use super::*;
    use crate::render::operation::tests::{ended_view, view};

    /// Plays a script: each `follow` reports some snapshots and then breaks or ends.
    struct Script {
        follows: VecDeque<(Vec<OperationView>, Result<(), Trouble>)>,
        reaches: VecDeque<Result<OperationView, Trouble>>,
        hope: bool,
    }

    impl Source for Script {
        async fn follow(&mut self, report: &Report) -> Result<(), Trouble> {
            let (views, end) = self.follows.pop_front().expect("no more to follow");
            for view in views {
                report.view(view);
            }
            end
        }

        async fn reach(&mut self) -> Result<OperationView, Trouble> {
            self.reaches.pop_front().unwrap_or_else(|| Err(lost()))
        }

        fn comes_back(&self) -> bool {
            self.hope
        }
    }

    fn lost() -> Trouble {
        Trouble::Lost("broken".to_owned())
    }

    async fn all(script: Script) -> (Vec<&'static str>, Option<Trouble>) {
        let mut watch = Watch::start(script);
        let mut seen = Vec::new();
        loop {
            match watch.next().await {
                Ok(Some(Event::View(view))) => seen.push(view.state.as_str()),
                Ok(Some(Event::Away)) => seen.push("away"),
                Ok(Some(Event::Back)) => seen.push("back"),
                Ok(None) => return (seen, None),
                Err(trouble) => return (seen, Some(trouble)),
            }
        }
    }

    fn done() -> OperationView {
        ended_view(OperationState::Succeeded)
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_in_the_middle_is_survived() {
        let loading = Err(Trouble::Refused(Failure::new(
            Code::NotFound,
            "still loading",
        )));
        let (seen, trouble) = all(Script {
            follows: [(vec![view()], Err(lost())), (vec![view(), done()], Ok(()))].into(),
            reaches: [Err(lost()), loading, Ok(view())].into(),
            hope: true,
        })
        .await;
        assert_eq!(
            seen,
            ["running", "away", "back", "running", "running", "succeeded"]
        );
        assert_eq!(trouble, None);
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_while_away_is_seen() {
        let (seen, trouble) = all(Script {
            follows: [(vec![view()], Err(lost()))].into(),
            reaches: [Ok(done())].into(),
            hope: true,
        })
        .await;
        assert_eq!(
            (seen, trouble),
            (vec!["running", "away", "back", "succeeded"], None)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_is_bounded() {
        let begin = Instant::now();
        let script = Script {
            follows: [(vec![], Err(lost()))].into(),
            reaches: [].into(),
            hope: true,
        };
        let (seen, trouble) = all(script).await;
        assert_eq!(seen, ["away"]);
        assert!(matches!(trouble, Some(Trouble::Lost(why)) if why.contains("30 s")));
        assert!(begin.elapsed() >= COME_BACK && begin.elapsed() < COME_BACK * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_is_replaced_may_come_back_as_before() {
        let begin = Instant::now();
        let replaced = OperationView {
            kind: OperationKind::SelfUpgrade,
            ..view()
        };
        let script = Script {
            follows: [(vec![replaced], Err(lost()))].into(),
            reaches: [].into(),
            hope: true,
        };
        assert_eq!(all(script).await.0, ["running", "away"]);
        assert!(begin.elapsed() >= COME_BACK_AS_BEFORE);
    }

    #[tokio::test(start_paused = true)]
    async fn refusals_and_own_daemons_end_at_once() {
        let refused = Trouble::Refused(Failure::new(Code::NotFound, "no such operation"));
        let script = Script {
            follows: [(vec![], Err(refused.clone()))].into(),
            reaches: [].into(),
            hope: true,
        };
        assert_eq!(all(script).await, (vec![], Some(refused)));
        let script = Script {
            follows: [(vec![], Err(lost()))].into(),
            reaches: [].into(),
            hope: false,
        };
        assert_eq!(all(script).await, (vec![], Some(lost())));
    }
}

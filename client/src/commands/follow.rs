//! Waiting for an operation: progress, Ctrl-C, deadlines, and the message at the end.
//!
//! Whoever stops waiting changes nothing: the operation goes on, and how to find it again is said.
//! An own daemon that is left behind finishes its work before it ends.

use std::time::Duration;

use nixctl_proto::{Code, Exit, Failure, OperationId, OperationState, OperationView};
use tokio::time::{Instant, interval, sleep_until, timeout};

use super::interrupt::{Press, Presses, Signals};
use super::{Context, Outcome};
use crate::cli::Waiting;
use crate::connect::{ANSWER, Connection, Event};
use crate::render::operation::{achievement, failure, remarks};
use crate::render::progress::{DRAW_EVERY, Progress};

/// Stands for "no deadline" in a timer: a day is longer than any operation.
pub const LONG: Duration = Duration::from_secs(86_400);

/// How to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    Not,
    /// To the end.
    ToEnd,
    /// At most so long.
    AtMost(Duration),
}

/// How waiting ended.
#[derive(Debug)]
pub enum End {
    /// With the operation.
    Final(Box<OperationView>),
    /// The time that was given is over.
    TimedOut,
    /// The user left.
    Detached,
}

impl Wait {
    /// As the command line says.
    pub fn new(waiting: &Waiting) -> Wait {
        if waiting.no_wait {
            Wait::Not
        } else {
            Wait::at_most(waiting.timeout)
        }
    }

    /// To the end, or at most so many seconds.
    pub fn at_most(seconds: Option<u64>) -> Wait {
        seconds.map_or(Wait::ToEnd, |seconds| {
            Wait::AtMost(Duration::from_secs(seconds))
        })
    }
}

/// Waits and says how it ended.
pub async fn to_end(
    context: &mut Context,
    connection: &Connection,
    id: &OperationId,
    wait: Wait,
) -> Outcome {
    if wait == Wait::Not && !connection.is_private() {
        return no_wait(context, connection, id).await;
    }
    let end = follow(context, connection, id, wait).await?;
    finish(context, connection, id, end).await
}

/// Waits, showing the progress.
pub async fn follow(
    context: &mut Context,
    connection: &Connection,
    id: &OperationId,
    wait: Wait,
) -> Result<End, Failure> {
    let mut signals = Signals::new()?;
    context.remark(&format!("operation {id}"));
    let mut progress = Progress::new(&context.terminal, context.json, context.quiet);
    let mut presses = Presses::new(connection.is_private());
    let mut draw = interval(DRAW_EVERY);
    let deadline = Instant::now()
        + if let Wait::AtMost(time) = wait {
            time
        } else {
            LONG
        };
    let mut watch = connection.watch(id);
    loop {
        tokio::select! {
            event = watch.next() => match event.map_err(|trouble| lost(trouble.into(), id))? {
                Some(Event::View(view)) => {
                    progress.view(&mut context.terminal, &view, std::time::Instant::now());
                    if view.state.is_final() {
                        context.terminal.erase();
                        return Ok(End::Final(view));
                    }
                }
                Some(Event::Away) => context.remark("nixctld went away; waiting for it to return"),
                Some(Event::Back) => context.remark("nixctld is back"),
                None => return Err(Failure::new(Code::BadFrame, "cannot follow: no end was told")),
            },
            () = signals.next() => match presses.press(Instant::now()) {
                Press::Warn => context.remark("leaving the operation to itself; press Ctrl-C again to cancel it"),
                Press::Cancel => cancel(context, connection, id).await,
                Press::Leave => {
                    context.hurry = true;
                    return Ok(End::Detached);
                }
            },
            () = sleep_until(presses.detach_at()) => return Ok(End::Detached),
            () = sleep_until(deadline) => return Ok(End::TimedOut),
            _ = draw.tick(), if progress.is_live() => progress.tick(&mut context.terminal),
        }
    }
}

/// Says how it ended, and with which code.
pub async fn finish(
    context: &mut Context,
    connection: &Connection,
    id: &OperationId,
    end: End,
) -> Outcome {
    let view = match end {
        End::Final(view) => view,
        End::TimedOut => {
            context.hurry = connection.is_private();
            let failure =
                Failure::new(Code::WaitTimedOut, "gave up waiting; the operation goes on");
            context.complain(&crate::render::error::about(&failure, id), &[]);
            return Ok(Exit::TimedOut);
        }
        End::Detached => {
            context.terminal.erase();
            for line in detached(id, connection.is_private()) {
                context.terminal.complain(&line);
            }
            return Ok(Exit::TimedOut);
        }
    };
    if view.state == OperationState::Succeeded {
        if !context.json {
            let version = version(connection, &view).await;
            succeeded(context, &view, version.as_deref());
        }
    } else {
        let (failure, machine) = failure(&view);
        context.complain(&failure, &[machine]);
        let style = context.terminal.err;
        for line in remarks(&view, style) {
            context.terminal.complain(&line);
        }
    }
    Ok(view.exit())
}

async fn no_wait(context: &mut Context, connection: &Connection, id: &OperationId) -> Outcome {
    if context.json {
        let view = connection.show(id).await?;
        context.terminal.json(&view);
    } else {
        context.terminal.line(id.as_str());
    }
    Ok(Exit::Done)
}

fn succeeded(context: &mut Context, view: &OperationView, version: Option<&str>) {
    let style = context.terminal.out;
    let what = achievement(view.kind);
    let what = match version {
        Some(version) => what.replacen("Nix", &format!("Nix {version}"), 1),
        None => what.to_owned(),
    };
    context.terminal.line(&style.good(&what));
    if !context.quiet {
        context.terminal.lines(remarks(view, style));
    }
}

/// Version of what was installed; that it cannot be told is no failure of the install.
async fn version(connection: &Connection, view: &OperationView) -> Option<String> {
    if view.kind != nixctl_proto::OperationKind::Install {
        return None;
    }
    let status = connection.status().await.ok()?;
    let version = crate::render::text::clean(&status.nix_version);
    (!version.is_empty()).then_some(version)
}

async fn cancel(context: &mut Context, connection: &Connection, id: &OperationId) {
    context.remark("asking nixctld to stop and undo the operation");
    match timeout(ANSWER, connection.cancel(id)).await {
        Ok(Ok(())) => {}
        Ok(Err(trouble)) => context.complain(&trouble.into(), &[]),
        Err(_) => context.remark("no answer yet"),
    }
}

/// The daemon was lost for good: how to go on.
fn lost(failure: Failure, id: &OperationId) -> Failure {
    if failure.code != Code::Unreachable {
        return failure;
    }
    let message = format!("cannot go on watching operation {id}: {}", failure.message);
    let help = format!("see `systemctl status nixctld`, then go on with `nixctl watch {id}`");
    Failure {
        message,
        help,
        ..failure
    }
}

fn detached(id: &OperationId, private: bool) -> Vec<String> {
    if private {
        return vec![format!(
            "operation {id} is finished by nixctld, which ends after that"
        )];
    }
    vec![
        format!("operation {id} goes on without this terminal"),
        format!("  follow it with `nixctl watch {id}`"),
        format!("  stop it with `nixctl cancel {id}`"),
    ]
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nixctl_proto::request::{Reply, Request};

    use super::*;
    use crate::cli::Global;
    use crate::connect::Options;
    use crate::connect::fake::{Fake, Reaction};
    use crate::render::operation::tests::{ended_view, view};

    #[test]
    fn how_to_go_on_is_said() {
        let id = view().id;
        let text = detached(&id, false).join("\n");
        assert!(text.contains("nixctl watch 0000000001000001"));
        assert!(text.contains("nixctl cancel 0000000001000001"));
        let failure = lost(Failure::new(Code::Unreachable, "it went away"), &id);
        assert_eq!(failure.code.exit(), Exit::Unreachable);
        assert!(failure.help.contains("nixctl watch 0000000001000001"));
    }

    async fn wait(fake: Fake, wait: Wait) -> (Exit, Fake) {
        let options = Options {
            socket: Some(fake.path()),
            ..Options::default()
        };
        let connection = Connection::open(&options).await.unwrap();
        let mut context = Context::new(&Global {
            quiet: true,
            ..Global::default()
        });
        let exit = to_end(&mut context, &connection, &view().id, wait)
            .await
            .unwrap();
        (exit, fake)
    }

    #[tokio::test]
    async fn the_exit_code_is_the_operation_s() {
        for (state, expected) in [
            (OperationState::Succeeded, Exit::Done),
            (OperationState::Reverted, Exit::Failed),
            (OperationState::Cancelled, Exit::Failed),
            (OperationState::Attention, Exit::Attention),
        ] {
            let fake = Fake::start(move |_| {
                vec![
                    Reaction::More(Reply::Operation(view())),
                    Reaction::Last(Reply::Operation(ended_view(state))),
                ]
            });
            assert_eq!(wait(fake, Wait::ToEnd).await.0, expected, "{state}");
        }
    }

    #[tokio::test]
    async fn waiting_can_be_bounded() {
        let fake = Fake::start(|_| vec![Reaction::More(Reply::Operation(view())), Reaction::Hold]);
        let wait = wait(fake, Wait::AtMost(Duration::from_millis(50)));
        assert_eq!(
            timeout(Duration::from_secs(10), wait).await.unwrap().0,
            Exit::TimedOut
        );
    }

    #[tokio::test]
    async fn ctrl_c_detaches_and_twice_cancels() {
        let cancelled = Arc::new(Mutex::new(0));
        let count = Arc::clone(&cancelled);
        let fake = Fake::start(move |request| match request {
            Request::Watch(_) => vec![Reaction::More(Reply::Operation(view())), Reaction::Hold],
            Request::Cancel(_) => {
                *count.lock().unwrap() += 1;
                let view = ended_view(OperationState::Cancelled);
                vec![
                    Reaction::Last(Reply::Done),
                    Reaction::Release(Reply::Operation(view)),
                ]
            }
            _ => vec![],
        });
        let interrupt = |times: u32| {
            tokio::spawn(async move {
                for _ in 0..times {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    nix::sys::signal::raise(nix::sys::signal::Signal::SIGINT).unwrap();
                }
            })
        };
        // The handlers must be there before the first signal.
        let _signals = Signals::new().unwrap();
        interrupt(2);
        let (exit, fake) = wait(fake, Wait::ToEnd).await;
        assert_eq!((exit, *cancelled.lock().unwrap()), (Exit::Failed, 1));
        interrupt(1);
        let (exit, _fake) = wait(fake, Wait::ToEnd).await;
        assert_eq!((exit, *cancelled.lock().unwrap()), (Exit::TimedOut, 1));
    }
}

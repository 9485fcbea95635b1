//! The states of an operation and every way between them, in one table.
//!
//! ```text
//! queued -> planning -> running -> committing -> succeeded
//!              |          |  ^
//!              |          v  |(retry)
//!              v      reverting -> reverted | cancelled
//!            failed       |
//!          cancelled      v
//!                     attention -(retry)-> running | reverting
//! ```
//! `waiting` and `soaking` are entered from `running` and return to it. A switch that a newer one
//! supersedes is `cancelled` from any state before `committing`, and nothing of it is undone.

use nixctl_proto::OperationState as State;

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Its turn has come.
    Begin,
    /// The plan speaks against it, or planning failed.
    Refused,
    /// The plan is stored.
    Planned,
    /// The plan has nothing to do, or only planning was asked for.
    NothingToDo,
    /// Something is missing that may come.
    Wait,
    /// What was missing has come.
    Resume,
    /// The result is to be watched for a while, or to be confirmed.
    Soak,
    /// It was watched, or confirmed.
    Proven,
    /// A newer operation goes on from where this one stands.
    Superseded,
    /// Every step is done and proven.
    StepsDone,
    /// The result is the default.
    Committed,
    /// A step failed and everything can be undone.
    StepFailed,
    /// A step failed after the point of no return.
    StepFailedForGood,
    /// Cancelled before anything was done.
    CancelledEarly,
    /// Cancelled; everything is to be undone.
    CancelAsked,
    /// Everything is undone after a failure.
    Undone,
    /// Everything is undone after a cancellation.
    UndoneCancelled,
    /// Undoing failed.
    UndoFailed,
    /// Somebody asked to go on forwards.
    RetryForwards,
    /// Somebody asked to go on undoing.
    RetryUndoing,
}

/// An event that the state does not know: a bug of ours, reported and not acted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("internal error: an operation that is {state} cannot take {event:?}")]
pub struct Illegal {
    /// State.
    pub state: State,
    /// Event.
    pub event: Event,
}

/// The state after the event.
///
/// # Errors
/// [`Illegal`] when the table has no such transition.
pub fn next(state: State, event: Event) -> Result<State, Illegal> {
    let after = match (state, event) {
        (State::Queued, Event::Begin) => State::Planning,
        (State::Queued | State::Planning, Event::CancelledEarly) => State::Cancelled,
        (State::Planning, Event::Refused) => State::Failed,
        (State::Planning, Event::Planned) => State::Running,
        (State::Planning, Event::NothingToDo) => State::Succeeded,
        (
            State::Queued | State::Planning | State::Waiting | State::Running | State::Soaking,
            Event::Superseded,
        ) => State::Cancelled,
        (State::Running | State::Soaking, Event::Wait) => State::Waiting,
        (State::Waiting, Event::Resume) => State::Running,
        (State::Running, Event::Soak) => State::Soaking,
        (State::Soaking, Event::Proven) => State::Running,
        (State::Running, Event::StepsDone) => State::Committing,
        (State::Committing, Event::Committed) => State::Succeeded,
        (
            State::Running | State::Waiting | State::Soaking,
            Event::StepFailed | Event::CancelAsked,
        ) => State::Reverting,
        (State::Running, Event::StepFailedForGood) => State::Attention,
        (State::Reverting, Event::Undone) => State::Reverted,
        (State::Reverting, Event::UndoneCancelled) => State::Cancelled,
        (State::Reverting, Event::UndoFailed) => State::Attention,
        (State::Attention, Event::RetryForwards) => State::Running,
        (State::Attention, Event::RetryUndoing) => State::Reverting,
        (state, event) => return Err(Illegal { state, event }),
    };
    Ok(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [Event; 20] = [
        Event::Begin,
        Event::Refused,
        Event::Planned,
        Event::NothingToDo,
        Event::Wait,
        Event::Resume,
        Event::Soak,
        Event::Proven,
        Event::Superseded,
        Event::StepsDone,
        Event::Committed,
        Event::StepFailed,
        Event::StepFailedForGood,
        Event::CancelledEarly,
        Event::CancelAsked,
        Event::Undone,
        Event::UndoneCancelled,
        Event::UndoFailed,
        Event::RetryForwards,
        Event::RetryUndoing,
    ];

    #[test]
    fn nothing_leaves_a_final_state_but_attention_by_retry() {
        for state in State::ALL.into_iter().filter(|state| state.is_final()) {
            for event in EVENTS {
                let retry = matches!(event, Event::RetryForwards | Event::RetryUndoing);
                assert_eq!(
                    next(state, event).is_ok(),
                    state == State::Attention && retry,
                    "{state} {event:?}"
                );
            }
        }
    }

    #[test]
    fn every_state_is_reached_and_every_state_that_is_not_final_ends() {
        let mut reached = vec![State::Queued];
        let mut at = 0;
        while at < reached.len() {
            for event in EVENTS {
                if let Ok(after) = next(reached[at], event)
                    && !reached.contains(&after)
                {
                    reached.push(after);
                }
            }
            at += 1;
        }
        assert_eq!(reached.len(), State::ALL.len());
        for state in State::ALL.into_iter().filter(|state| !state.is_final()) {
            assert!(
                EVENTS.iter().any(|event| next(state, *event).is_ok()),
                "{state} is a dead end"
            );
        }
    }
}

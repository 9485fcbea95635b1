//! Going back: to a generation by its recorded identity, never to "the one before".

use nixctl_proto::request::{AfterBoot, RollbackRequest, SwitchRequest};
use nixctl_proto::{Code, Failure, Generation, OperationKind};

use crate::engine::{Question, Recorded};
use crate::switch::plan::SwitchFacts;
use crate::switch::plan::facts::{self, file};
use crate::switch::profile::generations;

/// The switch that a rollback is.
///
/// # Errors
/// When there is nothing to go back to.
fn request(question: &Question<'_>, request: &RollbackRequest) -> Result<SwitchRequest, Failure> {
    let generations = generations::list(&question.host.fs).map_err(file)?;
    let toplevel = target(&generations, question.recorded, request.to)?;
    Ok(SwitchRequest {
        toplevel,
        from: request
            .from
            .clone()
            .or_else(|| question.recorded.from.clone()),
        // Nobody is there to confirm what the daemon does by itself.
        confirm_within: request.after_boot.map(|_| 0),
        ..SwitchRequest::default()
    })
}

/// Reads everything for a rollback.
///
/// # Errors
/// When there is nothing to go back to, or something cannot be read.
pub fn gather(question: &Question<'_>, asked: &RollbackRequest) -> Result<SwitchFacts, Failure> {
    let request = request(question, asked)?;
    let mut facts = facts::gather(question, &request, OperationKind::Rollback)?;
    if asked.after_boot == Some(AfterBoot::Restart) {
        // The machine is restarted for it: nothing is activated before.
        facts.inhibited = true;
    }
    Ok(facts)
}

/// The store path to go to: the generation of that number, else where the last switch began.
fn target(
    generations: &[Generation],
    recorded: &Recorded,
    to: Option<u64>,
) -> Result<String, Failure> {
    let refused = |text: String| Failure::new(Code::NotFound, text);
    let list = "list what there is with `nixctl generations`";
    match (to, &recorded.before) {
        (Some(number), before) => {
            let known = generations.iter().find(|it| it.number == number);
            // Its links may be gone with its paths: they can be fetched again.
            let before = before.as_ref().filter(|it| it.generation == number);
            known
                .map(|it| it.path.clone())
                .or_else(|| before.map(|it| it.path.clone()))
                .ok_or_else(|| {
                    let text = format!("cannot go back to generation {number}: there is none");
                    refused(text).with_help(list)
                })
        }
        (None, Some(before)) if !before.path.is_empty() => Ok(before.path.clone()),
        (None, Some(before)) if !before.running.is_empty() => Ok(before.running.clone()),
        (None, _) => {
            let text = "cannot go back: no switch of nixctl is recorded on this machine";
            let help = format!("name a generation with --to; {list}");
            Err(refused(text.to_owned()).with_help(help))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Before;

    fn generation(number: u64, path: &str) -> Generation {
        Generation {
            number,
            path: path.to_owned(),
            ..Generation::default()
        }
    }

    #[test]
    fn a_rollback_goes_to_a_recorded_identity() {
        let generations = [generation(9, "/nine"), generation(7, "/seven")];
        let recorded = Recorded {
            before: Some(Before {
                generation: 5,
                path: "/five".to_owned(),
                running: "/five".to_owned(),
            }),
            ..Recorded::default()
        };
        let go = |recorded: &Recorded, to| target(&generations, recorded, to);
        assert_eq!(go(&recorded, None).unwrap(), "/five");
        assert_eq!(go(&recorded, Some(7)).unwrap(), "/seven");
        assert_eq!(go(&recorded, Some(5)).unwrap(), "/five", "its link is gone");
        assert_eq!(go(&recorded, Some(6)).unwrap_err().code, Code::NotFound);
        let none = Recorded::default();
        assert_eq!(go(&none, None).unwrap_err().code, Code::NotFound);
    }
}

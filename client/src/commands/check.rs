//! `nixctl check`

use nixctl_proto::health::Target;
use nixctl_proto::health::check::Check as Row;
use nixctl_proto::{Code, Exit, Failure};
use serde::Serialize;

use super::{Context, Outcome};
use crate::cli::Check;
use crate::render::findings::{self, Look};
use crate::render::text;
use crate::render::{Style, table};

/// A check as a JSON document.
#[derive(Serialize)]
struct Document {
    check: String,
    severity: &'static str,
    policy: &'static str,
    title: &'static str,
    explanation: &'static str,
}

/// Shows what is wrong with the machine, or tells of the checks themselves.
pub async fn run(context: &mut Context, check: Check) -> Outcome {
    if let Some(target) = &check.explain {
        return explain(context, target);
    }
    if check.list {
        return list(context);
    }
    look(context, &check).await
}

async fn look(context: &mut Context, check: &Check) -> Outcome {
    let ids: Vec<String> = check.ids.iter().map(|id| id.check.clone()).collect();
    let last = check.last;
    let mut found = context
        .connected(async |_, connection| {
            Ok(match last {
                true => connection.findings().await?,
                false => connection.check(&ids).await?,
            })
        })
        .await?;
    let is_meant = |check: &String| ids.is_empty() || ids.contains(check);
    found.findings.retain(|finding| is_meant(&finding.check));
    if context.json {
        context.terminal.json(&found);
    } else {
        let look = Look {
            some: !ids.is_empty(),
            detailed: context.verbose,
            now: text::now(),
            style: context.terminal.out,
        };
        context.terminal.lines(findings::lines(&found, look));
    }
    Ok(match findings::need_attention(&found.findings) {
        true => Exit::Findings,
        false => Exit::Done,
    })
}

fn explain(context: &mut Context, target: &Target) -> Outcome {
    // The command line takes no others.
    let Some(check) = Row::by_id(&target.check) else {
        let message = format!("cannot explain `{target}`: there is no such check");
        return Err(Failure::new(Code::NotFound, message));
    };
    if context.json {
        context.terminal.json(&Document::new(check));
    } else {
        context.terminal.lines(lines(check, context.terminal.out));
    }
    Ok(Exit::Done)
}

fn list(context: &mut Context) -> Outcome {
    if context.json {
        let all: Vec<Document> = Row::ALL.iter().copied().map(Document::new).collect();
        context.terminal.json(&all);
    } else {
        let rows: Vec<Vec<String>> = Row::ALL.iter().copied().map(row).collect();
        let width = context.terminal.width();
        let head = ["CHECK", "SEVERITY", "POLICY", "FINDS"];
        context.terminal.lines(table::lines(&head, &rows, width));
    }
    Ok(Exit::Done)
}

fn row(check: Row) -> Vec<String> {
    vec![
        check.id(),
        check.severity().to_string(),
        check.policy().to_string(),
        check.title().to_owned(),
    ]
}

fn lines(check: Row, style: Style) -> Vec<String> {
    vec![
        format!("{}: {}", style.bold(&check.id()), check.title()),
        String::new(),
        check.explanation().to_owned(),
        String::new(),
        format!(
            "severity {}; policy {} unless health.policy.{check} says otherwise",
            findings::severity(check.severity(), style),
            check.policy(),
        ),
    ]
}

impl Document {
    fn new(check: Row) -> Document {
        Document {
            check: check.id(),
            severity: check.severity().as_str(),
            policy: check.policy().as_str(),
            title: check.title(),
            explanation: check.explanation(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nixctl_proto::health::Severity;
    use nixctl_proto::request::{Reply, Request};

    use super::*;
    use crate::cli::Global;
    use crate::connect::fake::{Fake, Reaction};
    use crate::render::findings::tests::{finding, found};

    /// What the daemon was asked, and how the verb ended.
    async fn look_at(check: Check, severity: Severity) -> (Vec<Request>, Outcome) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let fake = Fake::start(move |request| {
            log.lock().unwrap().push(request);
            let all = found(vec![finding("tree.rights", severity)]);
            vec![Reaction::Last(Reply::Findings(all))]
        });
        let mut context = Context::new(&Global {
            socket: Some(fake.path()),
            ..Global::default()
        });
        let outcome = run(&mut context, check).await;
        let seen = seen.lock().unwrap().clone();
        (seen, outcome)
    }

    fn named(ids: &[&str]) -> Check {
        Check {
            ids: ids.iter().map(|id| Target::from(*id)).collect(),
            ..Check::default()
        }
    }

    #[tokio::test]
    async fn findings_make_the_exit_code() {
        for (severity, exit) in [
            (Severity::Info, Exit::Done),
            (Severity::Warning, Exit::Findings),
            (Severity::Critical, Exit::Findings),
        ] {
            let (asked, outcome) = look_at(Check::default(), severity).await;
            assert_eq!(asked, [Request::Check(Vec::new())]);
            assert_eq!(outcome, Ok(exit), "{severity}");
        }
    }

    #[tokio::test]
    async fn what_is_named_is_asked_for_and_nothing_else_counts() {
        let (asked, outcome) = look_at(named(&["conf.syntax"]), Severity::Error).await;
        assert_eq!(asked, [Request::Check(vec!["conf.syntax".to_owned()])]);
        assert_eq!(outcome, Ok(Exit::Done));
        let last = Check {
            last: true,
            ..named(&["tree.rights"])
        };
        let (asked, outcome) = look_at(last, Severity::Error).await;
        assert_eq!(asked, [Request::Findings]);
        assert_eq!(outcome, Ok(Exit::Findings));
    }

    #[test]
    fn a_check_is_explained_without_a_daemon() {
        let lines = lines(Row::Syntax, Style::PLAIN);
        assert_eq!(
            lines[0],
            "conf.syntax: nix.conf has a line that Nix does not accept"
        );
        let last = lines.last().unwrap();
        assert_eq!(
            last,
            "severity critical; policy ask unless health.policy.conf.syntax says otherwise"
        );
        let json = serde_json::to_value(Document::new(Row::Syntax)).unwrap();
        let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
        assert_eq!(
            keys,
            ["check", "explanation", "policy", "severity", "title"]
        );
        assert_eq!(row(Row::Syntax)[..3], ["conf.syntax", "critical", "ask"]);
    }
}

//! A change of the machine, from the plan over the question to the end of the operation.

use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use nixctl_proto::plan::Plan;
use nixctl_proto::request::{OperationRequest, RequestOptions};
use nixctl_proto::{Code, Exit, Failure, OperationId};
use tokio::time::{Instant, sleep};

use super::follow::{self, Wait};
use super::{Context, Outcome, save};
use crate::cli::Going;
use crate::connect::{COME_BACK, Connection, TRY_EVERY, Trouble};
use crate::render::text::clean;
use crate::render::{plan, svg, switch};

/// Whether it can be asked at all; said before any work is done.
pub fn check_consent(context: &Context, going: &Going) -> Result<(), Failure> {
    if going.yes || going.dry_run || (context.terminal.can_ask() && !context.json) {
        return Ok(());
    }
    let message = "cannot ask whether to go on: there is no terminal to ask on";
    Err(Failure::new(Code::InvalidArgument, message)
        .with_help("pass --yes, or --dry-run to see the plan"))
}

/// Carries out a request over a connection, which is closed at the end.
pub async fn run(
    context: &mut Context,
    connection: Connection,
    request: OperationRequest,
    going: &Going,
    svg: Option<&Path>,
) -> Outcome {
    context
        .with(connection, async |context, connection| {
            if going.dry_run {
                let plan = connection.plan(&request).await?;
                draw(&plan, svg)?;
                return show(context, &[plan]);
            }
            let options = match agree(context, connection, &request, going, svg).await? {
                Ok(options) => options,
                Err(exit) => return Ok(exit),
            };
            carry_out(
                context,
                connection,
                &request,
                &options,
                Wait::new(&going.waiting),
            )
            .await
        })
        .await
}

/// Submits a request and follows the operation as it was asked for.
pub async fn carry_out(
    context: &mut Context,
    connection: &Connection,
    request: &OperationRequest,
    options: &RequestOptions,
    wait: Wait,
) -> Outcome {
    let id = submit(context, connection, request, options).await?;
    follow::to_end(context, connection, &id, wait).await
}

/// Submits a request; when the connection breaks, again: the request id makes it the same one.
pub async fn submit(
    context: &mut Context,
    connection: &Connection,
    request: &OperationRequest,
    options: &RequestOptions,
) -> Result<OperationId, Failure> {
    let mut end = None;
    loop {
        let why = match connection.submit(request, options).await {
            Ok(id) => return Ok(id),
            Err(Trouble::Refused(failure)) => return Err(failure),
            Err(lost @ Trouble::Lost(_)) => lost,
        };
        if end.is_none() {
            context.remark("the connection to nixctld was lost; asking again");
        }
        if Instant::now() >= *end.get_or_insert_with(|| Instant::now() + COME_BACK) {
            return Err(why.into());
        }
        sleep(TRY_EVERY).await;
    }
}

/// Options for a request that is made now.
pub fn options(going: &Going) -> RequestOptions {
    RequestOptions {
        request_id: Some(fresh_id()),
        reason: going.reason.clone(),
        ..RequestOptions::default()
    }
}

/// Shows plans that are carried out one after the other, or why they cannot be.
pub fn show(context: &mut Context, plans: &[Plan]) -> Outcome {
    if context.json {
        document(context, plans);
    } else {
        for plan in plans {
            let lines = lines(context, plan);
            context.terminal.lines(lines);
        }
    }
    match plans.iter().find_map(Plan::refusal) {
        // The plan was the document; the failure is in it.
        Some(failure) => {
            context.complain(failure, &["nothing was changed"]);
            Ok(failure.code.exit())
        }
        None => Ok(Exit::Done),
    }
}

/// One JSON document of all plans: that of a move between generations has a form of its own.
fn document(context: &mut Context, plans: &[Plan]) {
    let moves = match plans {
        [plan] => switch::Document::new(plan),
        _ => None,
    };
    if let Some(document) = moves {
        context.terminal.json(&document);
    } else if let Some(plan) = plans.iter().cloned().reduce(plan::joined) {
        context.terminal.json(&plan);
    }
}

fn lines(context: &Context, plan: &Plan) -> Vec<String> {
    let style = context.terminal.out;
    match &plan.switch {
        Some(view) => {
            let look = switch::Look {
                detailed: context.verbose,
                width: context.terminal.width(),
                utf8: context.terminal.utf8,
                style,
            };
            switch::lines(plan, view, look)
        }
        None => plan::lines(plan, context.verbose, style),
    }
}

/// Draws the disk use of a plan's steps into a file, if one is named.
pub fn draw(plan: &Plan, svg: Option<&Path>) -> Result<(), Failure> {
    let (Some(file), Some(view)) = (svg, &plan.switch) else {
        return Ok(());
    };
    let picture = svg::draw(&switch::chart(view));
    save::replace(file, picture.as_bytes(), save::OPEN).map_err(|error| {
        let message = format!("cannot write {}: {error}", file.display());
        Failure::new(Code::FileFailed, message).with_help("name a file that can be written")
    })
}

/// Says that the answer was no.
pub fn declined(context: &mut Context) -> Exit {
    context.remark("nothing was changed");
    Exit::Refused
}

/// The options to go on with, or the exit code when it ends here.
type Agreed = Result<RequestOptions, Exit>;

/// Shows the plan and asks, unless told not to; the exit code when it ends here: the answer is no,
/// or there is nothing to do.
async fn agree(
    context: &mut Context,
    connection: &Connection,
    request: &OperationRequest,
    going: &Going,
    svg: Option<&Path>,
) -> Result<Agreed, Failure> {
    let mut options = options(going);
    if going.yes {
        if is_needless(context, connection, request).await? {
            return Ok(Err(Exit::Done));
        }
        if svg.is_some() {
            draw(&connection.plan(request).await?, svg)?;
        }
        if takes_off(request) {
            show_only(context, connection, request).await?;
        }
        return Ok(Ok(options));
    }
    // What is agreed to is the plan for the machine as it is now.
    let nix_version = connection.status().await?.nix_version;
    let plan = connection.plan(request).await?;
    options.expected_current = Some(match &plan.switch {
        Some(view) => view.from.clone(),
        None => nix_version,
    });
    draw(&plan, svg)?;
    if let Some(failure) = plan.refusal() {
        return Err(failure.clone());
    }
    let is_idle = plan.is_empty() && may_be_needless(request);
    show(context, &[plan])?;
    if is_idle {
        return Ok(Err(Exit::Done));
    }
    Ok(match context.terminal.ask("Go on?") {
        true => Ok(options),
        false => Err(declined(context)),
    })
}

/// Whether a plan with nothing in it is an answer, and no operation is made for it.
fn may_be_needless(request: &OperationRequest) -> bool {
    matches!(
        request,
        OperationRequest::Repair(_)
            | OperationRequest::Upgrade(_)
            | OperationRequest::SelfUpgrade(_)
    )
}

/// Whether there is nothing to do, which is said then. It is not to be told while an operation
/// changes the machine.
async fn is_needless(
    context: &mut Context,
    connection: &Connection,
    request: &OperationRequest,
) -> Result<bool, Failure> {
    if !may_be_needless(request) || connection.status().await?.active.is_some() {
        return Ok(false);
    }
    let plan = connection.plan(request).await?;
    let is_needless = plan.is_empty() && plan.refusal().is_none();
    if is_needless && context.quiet && !context.json {
        context.terminal.line(&clean(&plan.title));
    } else if is_needless {
        show(context, &[plan])?;
    }
    Ok(is_needless)
}

/// Whether the request takes things off the machine: what goes is shown also to those who agreed
/// beforehand.
pub fn takes_off(request: &OperationRequest) -> bool {
    match request {
        OperationRequest::Uninstall(_) | OperationRequest::SelfUninstall => true,
        OperationRequest::Install(_)
        | OperationRequest::SelfInstall(_)
        | OperationRequest::Switch(_)
        | OperationRequest::Rollback(_)
        | OperationRequest::Repair(_)
        | OperationRequest::Upgrade(_)
        | OperationRequest::SelfUpgrade(_) => false,
    }
}

/// Shows to people what will be done. A program that reads the events has asked for nothing else,
/// and what stands in the way is told when the request is made.
pub async fn show_only(
    context: &mut Context,
    connection: &Connection,
    request: &OperationRequest,
) -> Result<(), Failure> {
    if context.json || context.quiet {
        return Ok(());
    }
    let plan = connection.plan(request).await?;
    if plan.refusal().is_none() && !plan.is_empty() {
        show(context, &[plan])?;
    }
    Ok(())
}

/// An id that nobody else uses: random keys of the standard library's hasher, twice.
fn fresh_id() -> String {
    let part = || {
        std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish()
    };
    format!("nixctl-{:016x}{:016x}", part(), part())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nixctl_proto::OperationView;
    use nixctl_proto::request::{InstallRequest, RepairRequest, Reply, Request, UninstallRequest};
    use nixctl_proto::status::Status;

    use super::*;
    use crate::cli::Global;
    use crate::connect::Options;
    use crate::connect::fake::{Fake, Reaction};
    use crate::render::operation::tests::view;
    use crate::render::status::tests::status;

    #[test]
    fn ids_differ() {
        assert_ne!(fresh_id(), fresh_id());
    }

    #[test]
    fn without_a_terminal_yes_must_be_said() {
        let context = Context::new(&Global {
            json: true,
            ..Global::default()
        });
        let failure = check_consent(&context, &Going::default()).unwrap_err();
        assert_eq!(failure.code.exit(), Exit::Usage);
        assert!(failure.help.contains("--yes"));
        let yes = Going {
            yes: true,
            ..Going::default()
        };
        let dry = Going {
            dry_run: true,
            ..Going::default()
        };
        assert!(check_consent(&context, &yes).is_ok() && check_consent(&context, &dry).is_ok());
    }

    #[tokio::test]
    async fn a_request_is_sent_again_with_the_same_id() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let fake = Fake::start(move |request| match request {
            Request::Submit(_, options) => {
                let mut log = log.lock().unwrap();
                log.push(options.request_id.unwrap());
                match log.len() {
                    1 => vec![Reaction::Vanish],
                    _ => vec![Reaction::Last(Reply::Accepted(view().id))],
                }
            }
            _ => vec![],
        });
        let reach = Options {
            socket: Some(fake.path()),
            ..Options::default()
        };
        let connection = Connection::open(&reach).await.unwrap();
        let mut context = Context::new(&Global {
            quiet: true,
            ..Global::default()
        });
        let request = OperationRequest::Install(InstallRequest::default());
        let options = options(&Going::default());
        let id = submit(&mut context, &connection, &request, &options)
            .await
            .unwrap();
        assert_eq!(id, view().id);
        let seen = seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[0], seen[1]);
    }

    /// What becomes of a repair for which the daemon, that has something at work or not, knows no
    /// step.
    async fn repair_nothing(going: &Going, active: Option<OperationView>) -> Agreed {
        let fake = Fake::start(move |request| match request {
            Request::Plan(request) => {
                let plan = Plan {
                    kind: request.kind(),
                    title: "nothing to repair".to_owned(),
                    steps: Vec::new(),
                    checks: Vec::new(),
                    bytes_needed: 0,
                    inodes_needed: 0,
                    notes: Vec::new(),
                    switch: None,
                };
                vec![Reaction::Last(Reply::Plan(plan))]
            }
            _ => {
                let active = active.clone();
                let status = Status { active, ..status() };
                vec![Reaction::Last(Reply::Status(status))]
            }
        });
        let reach = Options {
            socket: Some(fake.path()),
            ..Options::default()
        };
        let connection = Connection::open(&reach).await.unwrap();
        let mut context = Context::new(&Global::default());
        let request = OperationRequest::Repair(RepairRequest::default());
        agree(&mut context, &connection, &request, going, None)
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn nobody_is_asked_whether_to_repair_nothing_and_no_operation_is_made() {
        let yes = Going {
            yes: true,
            ..Going::default()
        };
        for going in [&Going::default(), &yes] {
            assert_eq!(repair_nothing(going, None).await, Err(Exit::Done));
        }
        // What an operation is about to change is not to be judged before its end.
        assert!(repair_nothing(&yes, Some(view())).await.is_ok());
    }

    #[tokio::test]
    async fn what_goes_is_shown_also_to_those_who_agreed_beforehand() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let fake = Fake::start(move |request| match request {
            Request::Plan(request) => {
                log.lock().unwrap().push(request);
                let failure = Failure::new(Code::Internal, "asked");
                vec![Reaction::Last(Reply::Refused(failure))]
            }
            _ => vec![],
        });
        let reach = Options {
            socket: Some(fake.path()),
            ..Options::default()
        };
        let connection = Connection::open(&reach).await.unwrap();
        let uninstall = OperationRequest::Uninstall(UninstallRequest::default());
        let install = OperationRequest::Install(InstallRequest::default());
        let going = Going {
            yes: true,
            ..Going::default()
        };
        for (request, json, quiet, asks) in [
            (&uninstall, false, false, true),
            (&uninstall, true, false, false),
            (&uninstall, false, true, false),
            (&install, false, false, false),
        ] {
            let mut context = Context::new(&Global {
                json,
                quiet,
                ..Global::default()
            });
            let agreed = agree(&mut context, &connection, request, &going, None).await;
            assert_eq!(agreed.is_err(), asks);
            assert_eq!(seen.lock().unwrap().drain(..).count(), usize::from(asks));
        }
    }
}

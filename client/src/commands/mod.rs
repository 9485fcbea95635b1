//! The verbs: one file each, and what they share.
//!
//! A verb ends with an exit code, or with a failure that is shown here and has its own. What
//! changes the machine goes through [`change`], what waits for it through [`follow`].

mod bootstrap;
mod cancel;
mod change;
mod check;
mod completions;
mod config;
mod confirm;
mod daemon;
mod diff;
mod explain;
mod follow;
mod generations;
mod history;
mod install;
mod interrupt;
mod man;
mod metrics;
mod nearest;
mod operations;
mod plan;
mod plan_instance;
mod release;
mod repair;
mod report;
mod retry;
mod rollback;
mod save;
mod show;
mod status;
mod switch;
mod toplevel;
mod uninstall;
mod upgrade;
mod watch;

use std::process::ExitCode;

use nixctl_proto::{Code, Exit, Failure};
use serde::Serialize;

use crate::cli::{Cli, Global, Verb};
use crate::connect::{Connection, Options};
use crate::render::error::{ErrorDocument, lines};
use crate::render::{Style, Terminal};

/// How a verb ends.
type Outcome = Result<Exit, Failure>;

/// What every verb needs.
#[derive(Debug)]
struct Context {
    terminal: Terminal,
    options: Options,
    json: bool,
    quiet: bool,
    verbose: bool,
    /// The user wants to leave now: nothing is waited for any more.
    hurry: bool,
}

/// Carries out the command line.
pub fn run(cli: Cli) -> ExitCode {
    let mut context = Context::new(&cli.global);
    let outcome = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(&mut context, cli.verb));
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(Failure::new(
            Code::Internal,
            format!("internal error: cannot start: {error}"),
        )),
    };
    context.end(outcome)
}

async fn dispatch(context: &mut Context, verb: Verb) -> Outcome {
    match verb {
        Verb::Install(install) => install::run(context, install).await,
        Verb::Uninstall(uninstall) => uninstall::run(context, uninstall).await,
        Verb::Upgrade(upgrade) => upgrade::run(context, upgrade).await,
        Verb::Plan(plan) => plan::run(context, plan).await,
        Verb::Status => status::run(context).await,
        Verb::Check(check) => check::run(context, check).await,
        Verb::Repair(repair) => repair::run(context, repair).await,
        Verb::Metrics => metrics::run(context).await,
        Verb::Report(report) => report::run(context, &report).await,
        Verb::History(history) => history::run(context, history.limit).await,
        Verb::Switch(switch) => switch::run(context, switch).await,
        Verb::Rollback(rollback) => rollback::run(context, rollback).await,
        Verb::Confirm(confirm) => confirm::run(context, confirm.operation).await,
        Verb::Generations => generations::run(context).await,
        Verb::Diff(diff) => diff::run(context, diff).await,
        Verb::Operations(operations) => operations::run(context, &operations).await,
        Verb::Show(one) => show::run(context, &one.operation).await,
        Verb::Watch(watch) => watch::run(context, watch).await,
        Verb::Cancel(one) => cancel::run(context, &one.operation).await,
        Verb::Retry(retry) => retry::run(context, &retry).await,
        Verb::Release(release) => release::run(context, release.verb),
        Verb::Explain(explain) => explain::run(context, explain.code.as_deref()),
        Verb::Config(config) => config::run(context, config.verb).await,
        Verb::Daemon(daemon) => daemon::run(context, daemon.verb).await,
        Verb::Completions(completions) => completions::run(context, completions.shell),
        Verb::Man(man) => man::run(&man.folder),
    }
}

impl Context {
    fn new(global: &Global) -> Context {
        Context {
            terminal: Terminal::new(global),
            options: Options::new(global),
            json: global.json,
            quiet: global.quiet,
            verbose: global.verbose > 0,
            hurry: false,
        }
    }

    /// Connects, works, and closes the connection whatever came of it.
    async fn connected<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut Context, &Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let connection = Connection::open(&self.options).await?;
        self.with(connection, work).await
    }

    /// Works over a connection, and closes it.
    async fn with<T>(
        &mut self,
        connection: Connection,
        work: impl AsyncFnOnce(&mut Context, &Connection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let result = work(self, &connection).await;
        if !self.hurry {
            connection.close().await;
        }
        result
    }

    /// Says something to people that is neither a fact nor an error.
    fn remark(&mut self, text: &str) {
        if !self.quiet {
            self.terminal.complain(text);
        }
    }

    /// Shows a list as the lines that are made of it for so many columns; of an empty one people
    /// are told `none`.
    fn list<T: Serialize>(
        &mut self,
        all: &[T],
        none: &str,
        lines: impl FnOnce(&[T], Option<usize>) -> Vec<String>,
    ) {
        if self.json {
            self.terminal.json(&all);
        } else if all.is_empty() {
            self.remark(none);
        } else {
            let lines = lines(all, self.terminal.width());
            self.terminal.lines(lines);
        }
    }

    /// Shows a failure on standard error, and in JSON as the last document as well.
    fn complain(&mut self, failure: &Failure, notes: &[&str]) {
        let style: Style = self.terminal.err;
        for line in lines(failure, notes, style) {
            self.terminal.complain(&line);
        }
    }

    fn end(mut self, outcome: Outcome) -> ExitCode {
        let mut exit = match outcome {
            Ok(exit) => exit,
            Err(failure) => {
                if self.json {
                    self.terminal.json(&ErrorDocument::new(&failure));
                }
                self.complain(&failure, &[]);
                failure.code.exit()
            }
        };
        if let Some(error) = self.terminal.finish() {
            let message = format!("cannot write to standard output: {error}");
            self.complain(&Failure::new(Code::FileFailed, message).with_help(""), &[]);
            if exit == Exit::Done {
                exit = Exit::Failed;
            }
        }
        ExitCode::from(exit as u8)
    }
}

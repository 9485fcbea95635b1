//! The command line: verbs, options and their help. Nothing is decided here.
//!
//! The names are an outer interface: they equal the words used on D-Bus and in the manual, and
//! are never reused for something else.

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum, ValueHint};
use nixctl_proto::OperationId;

mod health;
mod release;
mod system;

pub use health::{Check, History, Repair, RepairWhat, Report};
pub use release::{
    Archive, Content, Release, ReleaseKey, ReleaseNew, ReleaseSign, ReleaseVerb, ReleaseVerify,
};
pub use system::{
    Confirm, Diff, Picture, PlanRollback, PlanSwitch, Rollback, RollbackWhat, Switch, SwitchWhat,
};

/// Installs Nix on this machine, says how it is, and takes it off again.
#[derive(Debug, Parser)]
#[command(name = "nixctl", version = nixctl_proto::version(), arg_required_else_help = true)]
#[command(after_help = EXIT_CODES)]
pub struct Cli {
    /// Options of every verb.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the operation failed and was undone
  2  the command line could not be understood
  3  not authorised
  4  the daemon is not reachable
  5  refused before anything was changed
  6  findings need attention
  7  failed and not undone: somebody must look
  8  gave up waiting or detached; the operation goes on";

/// Options of every verb.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// Print JSON: one document, or one document for each event of progress
    #[arg(long, global = true)]
    pub json: bool,
    /// Start an own nixctld for this command instead of asking the machine's
    #[arg(long, global = true, conflicts_with = "socket")]
    pub private: bool,
    /// Work on the image in this folder; implies --private
    #[arg(long, global = true, value_name = "DIR", value_hint = ValueHint::DirPath)]
    #[arg(conflicts_with = "socket")]
    pub root: Option<PathBuf>,
    /// Ask the daemon behind this socket, and no other
    #[arg(long, global = true, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub socket: Option<PathBuf>,
    /// Never ask for a password; be refused instead
    #[arg(long, global = true)]
    pub no_ask_password: bool,
    /// When to use colours and a live progress line
    #[arg(long, global = true, value_name = "WHEN", default_value = "auto")]
    pub color: Color,
    /// Say more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say only what was asked for and what went wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Install Nix, or adopt the one that is there
    Install(Install),
    /// Take off exactly what install put there
    Uninstall(Uninstall),
    /// Replace Nix by another version of it
    Upgrade(Upgrade),
    /// Show what an operation would do; nothing is done
    #[command(subcommand_negates_reqs = true)]
    Plan(PlanWhat),
    /// Move the system to another generation
    Switch(Switch),
    /// Move the system back to an earlier generation
    Rollback(Rollback),
    /// Say that a switch which waits for it is right
    Confirm(Confirm),
    /// List the generations of the system
    Generations,
    /// Compare the packages of two generations
    Diff(Diff),
    /// Show how this machine's Nix is
    Status,
    /// Look at the machine now and show what is wrong
    Check(Check),
    /// Carry out the remedies of what is wrong
    Repair(Repair),
    /// Show what broke, what was done about it, and whether that helped
    History(History),
    /// Print the numbers for a monitoring system, in Prometheus' text format
    Metrics,
    /// Write what a bug report needs, without names and secrets; nothing is sent
    Report(Report),
    /// List the newest operations
    Operations(Operations),
    /// Show one operation and its journal
    Show(One),
    /// Follow an operation to its end
    Watch(Watch),
    /// Stop an operation at its next step and undo it
    Cancel(One),
    /// Try a failed operation again
    Retry(Retry),
    /// Make, sign and look at a release feed, for whoever publishes one
    Release(Release),
    /// Say what an error code means and what helps
    Explain(Explain),
    /// Show or change the daemon's settings
    Config(Config),
    /// Run, install, take off or look at nixctld itself
    Daemon(Daemon),
    /// Print the completions of a shell
    Completions(Completions),
    /// Write the manual pages into a folder
    #[command(hide = true)]
    Man(Man),
}

/// What to install.
#[derive(Debug, Clone, Default, Args)]
pub struct InstallWhat {
    /// Version to fetch from the release server
    #[arg(long, value_name = "V", conflicts_with = "source")]
    pub version: Option<String>,
    /// Tarball of a release: a URL or a path
    #[arg(long, value_name = "URL-or-PATH", value_hint = ValueHint::AnyPath)]
    pub source: Option<String>,
    /// SHA-256 that the tarball must have
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub sha256: Option<String>,
    /// Take over a Nix that is there already; nothing is installed again
    #[arg(long)]
    pub adopt: bool,
    /// Where there is no service manager: no daemon, the store belongs to root alone
    #[arg(long)]
    pub single_user: bool,
}

/// What to take off.
#[derive(Debug, Clone, Default, Args)]
pub struct UninstallWhat {
    /// Leave /nix with the store and its database
    #[arg(long)]
    pub keep_store: bool,
}

/// What to replace Nix by.
#[derive(Debug, Clone, Default, Args)]
pub struct UpgradeWhat {
    /// Version to go to, a newer one or an older one; else the one of the settings
    #[arg(long, value_name = "V", conflicts_with = "source")]
    pub to: Option<String>,
    /// Tarball of a release: a URL or a path
    #[arg(long, value_name = "URL-or-PATH", value_hint = ValueHint::AnyPath)]
    pub source: Option<String>,
    /// SHA-256 that the tarball must have
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub sha256: Option<String>,
    /// Go back to the version before the last upgrade, which is still in the store
    #[arg(long, conflicts_with_all = ["to", "source", "sha256"])]
    pub rollback: bool,
    /// How long builds that run get to end; else as the settings say
    #[arg(long, value_name = "SECONDS")]
    pub drain: Option<u64>,
    /// Put a copy of the database back where the older version cannot read the present one
    #[arg(long)]
    pub restore_database: bool,
}

/// What to replace nixctl itself by.
#[derive(Debug, Clone, Default, Args)]
pub struct SelfUpgradeWhat {
    /// Version to go to, of those that the release feed has or that are kept here
    #[arg(long, value_name = "V", conflicts_with = "source")]
    pub to: Option<String>,
    /// Archive of a release: a URL or a path
    #[arg(long, value_name = "URL-or-PATH", value_hint = ValueHint::AnyPath)]
    pub source: Option<String>,
    /// SHA-256 that the archive must have
    #[arg(long, value_name = "HEX", value_parser = sha256)]
    pub sha256: Option<String>,
    /// Go back to the version before the last upgrade, which is kept
    #[arg(long, conflicts_with_all = ["to", "source", "sha256"])]
    pub rollback: bool,
}

/// `nixctl daemon upgrade`
#[derive(Debug, Args)]
pub struct SelfUpgrade {
    /// What to go to.
    #[command(flatten)]
    pub what: SelfUpgradeWhat,
    /// Say which version there is to go to, and do nothing
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "no_wait", "reason"])]
    pub check: bool,
    /// How.
    #[command(flatten)]
    pub going: Going,
}

/// How to go about a change.
#[derive(Debug, Clone, Default, Args)]
pub struct Going {
    /// Show the plan and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Why; kept in the history
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,
    /// How to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// How to wait for an operation.
#[derive(Debug, Clone, Default, Args)]
pub struct Waiting {
    /// Print the operation's id and go
    #[arg(long)]
    pub no_wait: bool,
    /// Wait at most this long; the operation goes on
    #[arg(long, value_name = "SECONDS", conflicts_with = "no_wait")]
    pub timeout: Option<u64>,
}

/// `nixctl install`
#[derive(Debug, Args)]
pub struct Install {
    /// What to install.
    #[command(flatten)]
    pub what: InstallWhat,
    /// How.
    #[command(flatten)]
    pub going: Going,
}

/// `nixctl uninstall`
#[derive(Debug, Args)]
pub struct Uninstall {
    /// What to take off.
    #[command(flatten)]
    pub what: UninstallWhat,
    /// How.
    #[command(flatten)]
    pub going: Going,
}

/// `nixctl upgrade`
#[derive(Debug, Args)]
pub struct Upgrade {
    /// What to go to.
    #[command(flatten)]
    pub what: UpgradeWhat,
    /// Say which version there is to go to, and do nothing
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "no_wait", "reason"])]
    pub check: bool,
    /// How.
    #[command(flatten)]
    pub going: Going,
}

/// `nixctl plan`
#[derive(Debug, Args)]
pub struct PlanWhat {
    /// The operation.
    #[command(subcommand)]
    pub kind: Option<Plan>,
    /// An abstract instance instead.
    #[command(flatten)]
    pub order: PlanOrder,
}

/// `nixctl plan --instance`
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Disk planner")]
pub struct PlanOrder {
    /// Plan the steps of this instance, a JSON file; - for standard input
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required = true)]
    pub instance: Option<PathBuf>,
    /// One step or several; auto takes one when it fits in the budget
    #[arg(
        long,
        value_name = "STRATEGY",
        default_value = "auto",
        requires = "instance"
    )]
    pub strategy: Strategy,
    /// Take fewer, larger steps as long as they fit in the budget
    #[arg(long, requires = "instance")]
    pub fill_budget: bool,
    /// Draw the disk use of each step into this file
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "instance")]
    pub svg: Option<PathBuf>,
    /// Check the claims of this plan, a JSON file, instead of making one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(requires = "instance", conflicts_with_all = ["strategy", "fill_budget"])]
    pub check: Option<PathBuf>,
}

/// How to go from one state to the next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    /// One step when that fits in the budget, else several.
    #[default]
    Auto,
    /// One step.
    Atomic,
    /// Several steps.
    Stepwise,
}

impl From<Strategy> for nixctl_proto::request::Strategy {
    fn from(strategy: Strategy) -> Self {
        match strategy {
            Strategy::Auto => Self::Auto,
            Strategy::Atomic => Self::Atomic,
            Strategy::Stepwise => Self::Stepwise,
        }
    }
}

/// What `nixctl plan` plans
#[derive(Debug, Subcommand)]
pub enum Plan {
    /// What `nixctl install` would do
    Install(InstallWhat),
    /// What `nixctl uninstall` would do
    Uninstall(UninstallWhat),
    /// What `nixctl upgrade` would do
    Upgrade(UpgradeWhat),
    /// What `nixctl daemon upgrade` would do
    DaemonUpgrade(SelfUpgradeWhat),
    /// What `nixctl switch` would do
    Switch(PlanSwitch),
    /// What `nixctl rollback` would do
    Rollback(PlanRollback),
    /// What `nixctl repair` would do
    Repair(RepairWhat),
}

/// `nixctl operations`
#[derive(Debug, Args)]
pub struct Operations {
    /// At most this many; 0 for all
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
}

/// Verbs about one operation.
#[derive(Debug, Args)]
pub struct One {
    /// Id of the operation
    #[arg(value_name = "OP")]
    pub operation: OperationId,
}

/// `nixctl watch`
#[derive(Debug, Args)]
pub struct Watch {
    /// Id of the operation; without it the one that runs
    #[arg(value_name = "OP")]
    pub operation: Option<OperationId>,
    /// Wait at most this long; the operation goes on
    #[arg(long, value_name = "SECONDS")]
    pub timeout: Option<u64>,
}

/// `nixctl retry`
#[derive(Debug, Args)]
pub struct Retry {
    /// Id of the operation
    #[arg(value_name = "OP")]
    pub operation: OperationId,
    /// How to wait.
    #[command(flatten)]
    pub waiting: Waiting,
}

/// `nixctl explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// Code such as NIX1001, or its name; without it all are listed
    #[arg(value_name = "CODE")]
    pub code: Option<String>,
}

/// `nixctl config`
#[derive(Debug, Args)]
pub struct Config {
    /// What about the settings.
    #[command(subcommand)]
    pub verb: Option<ConfigVerb>,
}

/// What about the settings.
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Show every setting and the file it comes from
    Show,
    /// Print one setting
    Get {
        /// Name of the setting, such as install.version
        key: String,
    },
    /// Change one setting
    Set {
        /// Name of the setting, such as install.version
        key: String,
        /// New value, as TOML spells it; a bare word is taken as text
        value: String,
    },
}

/// `nixctl daemon`
#[derive(Debug, Args)]
pub struct Daemon {
    /// What about the daemon.
    #[command(subcommand)]
    pub verb: Option<DaemonVerb>,
}

/// What about the daemon.
#[derive(Debug, Subcommand)]
pub enum DaemonVerb {
    /// Run it in the foreground; where there is no service manager it keeps nix-daemon running too
    Run,
    /// Put it on this machine and start it
    Install(Going),
    /// Replace nixctl itself, both programs, by another version of it
    Upgrade(SelfUpgrade),
    /// Take it off this machine
    Uninstall(Going),
    /// Show whether it runs, its version and how it can be reached
    Status,
}

/// `nixctl completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// `nixctl man`
#[derive(Debug, Args)]
pub struct Man {
    /// The folder
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub folder: PathBuf,
}

/// A checksum: 64 hexadecimal digits, kept in lower case.
fn sha256(text: &str) -> Result<String, String> {
    let right = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if right {
        Ok(text.to_ascii_lowercase())
    } else {
        Err("a SHA-256 has 64 hexadecimal digits".to_owned())
    }
}

#[cfg(test)]
mod tests;

//! The verbs about health, and the ids of checks as their arguments.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Arg, Args, Command, ValueHint};
use nixctl_proto::health::Target;
use nixctl_proto::health::check::Check as Row;

use super::Going;

/// `nixctl check`
#[derive(Debug, Default, Args)]
pub struct Check {
    /// Checks to make; without any all are made
    #[arg(value_name = "ID", value_parser = Ids { with_subject: false })]
    #[arg(hide_possible_values = true)]
    pub ids: Vec<Target>,
    /// Show what was found before; the machine is not looked at anew
    #[arg(long)]
    pub last: bool,
    /// Say what a check looks for, why, and what is done about it
    #[arg(long, value_name = "ID", value_parser = Ids { with_subject: false })]
    #[arg(hide_possible_values = true, conflicts_with_all = ["ids", "last", "list"])]
    pub explain: Option<Target>,
    /// List every check there is
    #[arg(long, conflicts_with_all = ["ids", "last"])]
    pub list: bool,
}

/// What to repair.
#[derive(Debug, Clone, Default, Args)]
pub struct RepairWhat {
    /// Findings to repair, such as tree.rights or tree.rights:/nix/store; without any all that
    /// have a remedy
    #[arg(value_name = "ID[:SUBJECT]", value_parser = Ids { with_subject: true })]
    #[arg(hide_possible_values = true)]
    pub findings: Vec<Target>,
}

/// `nixctl repair`
#[derive(Debug, Args)]
pub struct Repair {
    /// What to repair.
    #[command(flatten)]
    pub what: RepairWhat,
    /// How.
    #[command(flatten)]
    pub going: Going,
}

/// `nixctl history`
#[derive(Debug, Args)]
pub struct History {
    /// At most this many; 0 for all
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
}

/// `nixctl report`
#[derive(Debug, Args)]
pub struct Report {
    /// File to write; - for standard output only
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    #[arg(default_value = "nixctl-report.json")]
    pub output: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// Reads the id of a check, with a subject where findings are meant.
#[derive(Debug, Clone, Copy)]
struct Ids {
    with_subject: bool,
}

impl Ids {
    fn read(self, text: &str) -> Result<Target, String> {
        let target = match self.with_subject {
            true => Target::from(text),
            false => Target {
                check: text.to_owned(),
                subject: None,
            },
        };
        if Row::by_id(&target.check).is_some() {
            return Ok(target);
        }
        Err(match Row::nearest(&target.check) {
            Some(near) => format!("there is no such check; did you mean {near}?"),
            None => "there is no such check; `nixctl check --list` lists all".to_owned(),
        })
    }
}

impl TypedValueParser for Ids {
    type Value = Target;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Target, clap::Error> {
        let ids = *self;
        let text = StringValueParser::new();
        text.try_map(move |text: String| ids.read(&text))
            .parse_ref(command, argument, value)
    }

    /// For the completions of shells.
    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let all = Row::ALL.iter();
        Some(Box::new(all.map(|check| {
            PossibleValue::new(check.id()).help(check.title())
        })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_checks_that_there_are_can_be_named() {
        let (plain, about) = (
            Ids {
                with_subject: false,
            },
            Ids { with_subject: true },
        );
        assert_eq!(plain.read("tree.rights"), Ok(Target::from("tree.rights")));
        let target = Target::from("tree.rights:/nix/store");
        assert_eq!(about.read("tree.rights:/nix/store"), Ok(target));
        assert!(plain.read("tree.rights:/nix/store").is_err());
        let why = about.read("tree.right:/nix").unwrap_err();
        assert!(why.contains("did you mean tree.rights?"), "{why}");
        assert!(plain.read("x").unwrap_err().contains("--list"));
    }
}

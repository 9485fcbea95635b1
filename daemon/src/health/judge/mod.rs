//! Facts to findings: pure. A healthy machine's facts give none.

pub mod accounts;
pub mod conf;
pub mod daemon;
pub mod database;
pub mod leftovers;
pub mod managed;
pub mod mounts;
pub mod operations;
pub mod owned;
pub mod security;
pub mod space;
pub mod tls;
pub mod tree;
pub mod upgrade;
pub mod versions;

use nixctl_proto::health::Severity;
use nixctl_proto::health::check::{Area, Check};

use super::look::{Facts, LookError};
use super::mend::Mend;
use crate::resource::Resource;

/// Something that is not as it should be, with what would help.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The check.
    pub check: Check,
    /// What it is about: a unit, a path, a user.
    pub subject: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen, one sentence.
    pub seen: String,
    /// What should have been seen.
    pub expected: String,
    /// What would help; empty when only a person can.
    pub cures: Vec<Cure>,
    /// What a person can do when there is no cure.
    pub help: String,
}

/// One thing that helps.
#[derive(Debug, Clone, PartialEq)]
pub enum Cure {
    /// Something that nixctl owns is made as it should be.
    Ensure(Box<Resource>),
    /// A small repair.
    Mend(Mend),
    /// A link or file leaves its place and is kept; where it goes is decided with the plan.
    SetAside(std::path::PathBuf),
}

impl Found {
    /// A finding of a check about a subject.
    pub fn new(check: Check, subject: impl Into<String>) -> Found {
        Found {
            check,
            subject: subject.into(),
            severity: check.severity(),
            seen: String::new(),
            expected: String::new(),
            cures: Vec::new(),
            help: String::new(),
        }
    }

    /// What was seen.
    #[must_use]
    pub fn seen(mut self, seen: impl Into<String>) -> Found {
        self.seen = seen.into();
        self
    }

    /// What should have been seen.
    #[must_use]
    pub fn expected(mut self, expected: impl Into<String>) -> Found {
        self.expected = expected.into();
        self
    }

    /// How bad it is, when it differs from the table.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Found {
        self.severity = severity;
        self
    }

    /// What a person can do.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Found {
        self.help = help.into();
        self
    }

    /// A small repair helps.
    #[must_use]
    pub fn mend(mut self, mend: Mend) -> Found {
        self.cures.push(Cure::Mend(mend));
        self
    }

    /// It helps, too.
    #[must_use]
    pub fn cure(mut self, cure: Cure) -> Found {
        self.cures.push(cure);
        self
    }

    /// Making something that nixctl owns again helps.
    #[must_use]
    pub fn ensure(mut self, resource: impl Into<Option<Resource>>) -> Found {
        if let Some(resource) = resource.into() {
            self.cures.push(Cure::Ensure(Box::new(resource)));
        }
        self
    }

    /// Moving something out of the way helps.
    #[must_use]
    pub fn set_aside(mut self, path: impl Into<std::path::PathBuf>) -> Found {
        self.cures.push(Cure::SetAside(path.into()));
        self
    }
}

/// The findings of one area.
pub fn judge(facts: &Facts) -> Vec<Found> {
    match facts {
        Facts::Mounts(facts) => mounts::judge(facts),
        Facts::Daemon(facts) => daemon::judge(facts),
        Facts::Own { things, unwatched } => {
            let mut found = owned::judge(things);
            found.extend(unwatched.as_deref().map(owned::unwatched));
            found
        }
        Facts::Tree(facts) => tree::judge(facts),
        Facts::Accounts(facts) => accounts::judge(facts),
        Facts::Conf(facts) => conf::judge(facts),
        Facts::Database(facts) => database::judge(facts),
        Facts::Tls(facts) => tls::judge(facts),
        Facts::Shells(facts) => owned::judge(facts),
        Facts::Managed(facts) => managed::judge(facts),
        Facts::Versions(facts) => versions::judge(facts),
        Facts::Leftovers(facts) => leftovers::judge(facts),
        Facts::Space(facts) => space::judge(facts),
        Facts::Selinux(facts) => security::selinux(facts),
        Facts::Sandbox(facts) => security::sandbox(facts),
        Facts::Clock(now) => operations::clock(*now),
        Facts::Operations(open) => operations::judge(open),
        Facts::Upgrade(facts) => upgrade::judge(facts),
    }
}

/// The finding that an area could not be looked at.
pub fn blind(area: Area, error: &LookError) -> Found {
    Found::new(Check::CannotLook, area.name())
        .seen(error.to_string())
        .expected("an answer")
        .help("see the reason, and the log of nixctld")
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::health::look::At;
    use crate::host::fs::{Kind, Meta};

    /// Something of root's at a path.
    pub(crate) fn at(path: &str, kind: Kind, mode: u32) -> At {
        At {
            path: path.into(),
            meta: Some(Meta {
                kind,
                mode,
                uid: 0,
                gid: 0,
                size: 1,
                device: 1,
                modified: 0,
            }),
            target: None,
        }
    }

    /// There is one finding, as in [`ids`], with so many cures. A person is told what to do exactly when
    /// there is none.
    #[track_caller]
    pub(crate) fn expect_one(found: &[Found], expected: &str, cures: usize) {
        assert_eq!(ids(found), [expected]);
        assert_eq!(found[0].cures.len(), cures, "{expected}");
        assert_eq!(found[0].help.is_empty(), cures > 0, "{expected}");
    }

    /// Ids and subjects of findings, as short words for tables.
    pub(crate) fn ids(found: &[Found]) -> Vec<String> {
        let line = |it: &Found| format!("{} {}", it.check, it.subject);
        found.iter().map(line).collect()
    }
}

//! Lists of users (`sysusers.d`, `passwd`, `group`) and of folders (`tmpfiles.d`): which of their lines
//! change, and what these name. A list often serves many units, so only the lines that differ tie it
//! to a unit.

use std::collections::{BTreeMap, BTreeSet};

use super::piece::Piece;
use super::toplevel::{Entry, Toplevel};

/// Words that changed lines of a `sysusers.d` file name: its users and groups.
pub(super) fn changed_accounts(piece: &Piece) -> BTreeSet<String> {
    changed_lines(piece)
        .iter()
        .flat_map(|line| sysusers_accounts(line))
        .collect()
}

/// What changed lines of a `tmpfiles.d` file name: paths, and users and groups.
pub(super) fn changed_folders(piece: &Piece) -> (BTreeSet<String>, BTreeSet<String>) {
    let (mut paths, mut accounts) = (BTreeSet::new(), BTreeSet::new());
    for line in changed_lines(piece) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        paths.extend(fields.get(1).map(|path| path.trim_matches('"').to_owned()));
        accounts.extend(
            fields
                .iter()
                .skip(3)
                .take(2)
                .map(|name| name.trim_start_matches(':').to_owned()),
        );
    }
    (paths, accounts)
}

/// Users and groups that a generation declares in files.
pub(super) struct Accounts {
    /// Those of `sysusers.d`.
    listed: BTreeSet<String>,
    /// Those of `passwd` and `group`, each with the file and its number.
    numbered: BTreeSet<(String, String)>,
}

impl Accounts {
    pub(super) fn of(toplevel: &Toplevel) -> Self {
        let mut numbered = BTreeSet::new();
        for list in ["passwd", "group"] {
            for line in toplevel.etc_text(list).unwrap_or_default().lines() {
                // Name, password, number; members and shells may change freely.
                if let [name, _, number, ..] = line.split(':').collect::<Vec<_>>()[..] {
                    numbered.insert((name.to_owned(), format!("{list} {number}")));
                }
            }
        }
        let listed = toplevel
            .etc
            .keys()
            .filter(|path| path.starts_with("sysusers.d/"))
            .flat_map(|path| lines(toplevel.etc_text(path).unwrap_or_default()))
            .flat_map(sysusers_accounts)
            .collect();
        Accounts { listed, numbered }
    }

    /// Whether it is declared anywhere.
    pub(super) fn has(&self, name: &str) -> bool {
        self.is_in_list(name) || self.numbers(name).next().is_some()
    }

    /// Whether a file in `sysusers.d` declares it.
    pub(super) fn is_in_list(&self, name: &str) -> bool {
        self.listed.contains(name)
    }

    fn numbers(&self, name: &str) -> impl Iterator<Item = &str> {
        self.numbered
            .range((name.to_owned(), String::new())..)
            .take_while(move |(account, _)| account == name)
            .map(|(_, number)| number.as_str())
    }

    /// Whether both have the account, with different numbers.
    pub(super) fn differ(&self, other: &Accounts, name: &str) -> bool {
        let both = self.numbers(name).next().is_some() && other.numbers(name).next().is_some();
        both && !self.numbers(name).eq(other.numbers(name))
    }
}

fn sysusers_accounts(line: &str) -> Vec<String> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let names = match fields.first() {
        // `m USER GROUP` adds a user to a group; both may be made by it.
        Some(kind) if kind.starts_with('m') => fields.get(1..3),
        Some(kind) if kind.starts_with(['u', 'g']) => fields.get(1..2),
        _ => None,
    };
    let names = names.unwrap_or_default();
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Lines that only one side has.
fn changed_lines(piece: &Piece) -> BTreeSet<&str> {
    let (old, new) = (lines_of(&piece.old), lines_of(&piece.new));
    old.symmetric_difference(&new).copied().collect()
}

fn lines_of(side: &BTreeMap<String, Entry>) -> BTreeSet<&str> {
    side.values()
        .flat_map(|entry| lines(entry.content.text()))
        .collect()
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

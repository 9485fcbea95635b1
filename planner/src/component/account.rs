//! Users, groups and folders: units tied to the lists that make them, and units that must wait because
//! only the final step makes what they need.

use std::collections::BTreeSet;

use super::link::{Link, Rules, World};
use super::piece::ComponentKind;
use super::reason::{DeferReason, LinkReason};
use super::snippet::{Accounts, changed_accounts, changed_folders};
use super::unit::Unit;

impl World<'_> {
    /// Units with the lists of users and folders whose changed lines name what they use.
    pub(super) fn link_lists(&self, rules: &mut Rules) {
        let lists = self.pieces.iter().filter(|(id, piece)| {
            let lists = ["tmpfiles.d/", "sysusers.d/"];
            id.kind() == ComponentKind::Etc
                && piece.is_changed()
                && lists.iter().any(|list| id.name().starts_with(list))
        });
        for (id, piece) in lists {
            let (paths, accounts) = if id.name().starts_with("tmpfiles.d/") {
                changed_folders(piece)
            } else {
                (BTreeSet::new(), changed_accounts(piece))
            };
            for unit in self.old_units.values().chain(self.new_units.values()) {
                if let Some(what) = named_by_both(unit, &paths, &accounts) {
                    rules.links.insert(Link {
                        a: unit.id(),
                        b: id.clone(),
                        reason: LinkReason::BothName {
                            unit: unit.name.as_str().to_owned(),
                            list: id.name().to_owned(),
                            what,
                        },
                    });
                }
            }
        }
    }

    /// Units whose users only the final step makes or changes: those of `passwd` and of the
    /// activation script.
    pub(super) fn defer_accounts(&self, rules: &mut Rules) {
        let (old, new) = (Accounts::of(self.old), Accounts::of(self.new));
        for unit in self.new_units.values() {
            let had = self.old_units.get(&unit.name).map(Unit::accounts);
            for account in unit.accounts() {
                // A list that newly declares it is tied to the unit, and comes with it.
                let there = old.has(&account)
                    || new.is_in_list(&account)
                    || had.as_ref().is_some_and(|had| had.contains(&account));
                if !there || old.differ(&new, &account) {
                    let reason = DeferReason::User {
                        unit: unit.name.as_str().to_owned(),
                        user: account,
                    };
                    rules.deferred.entry(unit.id()).or_insert(reason);
                }
            }
        }
    }
}

/// What a unit and the changed lines of a list both name.
fn named_by_both(
    unit: &Unit,
    paths: &BTreeSet<String>,
    accounts: &BTreeSet<String>,
) -> Option<String> {
    if let Some(account) = unit.accounts().iter().find(|name| accounts.contains(*name)) {
        return Some(account_text(account));
    }
    let own = own_folders(unit);
    paths
        .iter()
        .find(|path| own.contains(*path) || (is_specific(path) && names_path(&unit.text, path)))
        .cloned()
}

fn account_text(account: &str) -> String {
    format!("user {account}")
}

/// Folders that systemd makes for a unit.
fn own_folders(unit: &Unit) -> BTreeSet<String> {
    [
        ("RuntimeDirectory", "/run"),
        ("StateDirectory", "/var/lib"),
        ("CacheDirectory", "/var/cache"),
        ("LogsDirectory", "/var/log"),
        ("ConfigurationDirectory", "/etc"),
    ]
    .iter()
    .flat_map(|(key, parent)| {
        let names = unit.words("Service", key).into_iter();
        names.map(move |name| format!("{parent}/{name}"))
    })
    .collect()
}

/// Not a folder that everything uses: at least two names deep, and no usual parent.
fn is_specific(path: &str) -> bool {
    let parents = [
        "/var/lib",
        "/var/log",
        "/var/cache",
        "/var/run",
        "/run/lock",
        "/nix/store",
    ];
    path.matches('/').count() >= 2 && !parents.contains(&path.trim_end_matches('/'))
}

/// Whether a text names the path or something below it.
fn names_path(text: &str, path: &str) -> bool {
    let path = path.trim_end_matches('/');
    text.match_indices(path).any(|(at, _)| {
        let next = text[at + path.len()..].chars().next();
        !next.is_some_and(|c| c.is_alphanumeric() || "-_.+".contains(c))
    })
}

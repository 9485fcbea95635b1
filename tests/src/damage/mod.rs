//! Damage: what really went wrong on machines with Nix, made on purpose, one at a time.
//!
//! Each [`Damage`] is plain data: what makes it on a machine that nixctl has put Nix on, how to see
//! without nixctl that it is there, who can still build meanwhile, what a health check has to call
//! it, and whether it goes without a hand. The numbers of its rows are those of docs/failures.md.
//! This is the judge of the health checks: it shares no code and no knowledge with them, and only
//! real programs (systemctl, getent, sqlite3, Nix) say what a machine is like.
//!
//! Not made, because a machine of the lab cannot have it: SELinux (the kernel has none), a wrong
//! clock and limits of user namespaces (the host's), container ids that are not mapped, and WSL. Nor what
//! is no damage on these machines: a build group with another number (Nix itself gives the store to
//! it), and links in a unit's `wants` that lead elsewhere (systemd goes by their names).

mod accounts;
mod campaign;
mod conf;
mod daemon;
mod database;
mod disturbed;
mod ground;
mod judge;
mod late;
mod leftovers;
mod mounts;
mod own;
mod patient;
mod shells;
mod space;
mod stubborn;
mod tls;
mod tree;
mod versions;

pub use campaign::{combine, heal, healthy, inject};
pub use disturbed::disturbed;
pub use ground::{Ground, Healthy};
pub use judge::{CHECKS, Judge};
pub use late::{Late, Told};
pub use patient::Patient;
pub use stubborn::stubborn;

/// Something that is wrong with a machine.
#[derive(Debug, Clone, Copy)]
pub struct Damage {
    /// Unique, in kebab-case.
    pub name: &'static str,
    /// What came to pass, as the one would tell it who had it.
    pub story: &'static str,
    /// Rows of the list of failures that it makes true; none for the plain ones that are on no row.
    pub rows: &'static [u8],
    /// The machine it is made on.
    pub on: Ground,
    /// Shell lines that make it, as root.
    pub make: &'static str,
    /// When it shows.
    pub shows: Shows,
    /// Shell lines that succeed as long as it is there.
    pub there: &'static str,
    /// Who can build while it is there.
    pub builds: Builds,
    /// Ids of checks, one of which at least has to find it.
    pub checks: &'static [&'static str],
    /// What becomes of it.
    pub outcome: Outcome,
    /// Files that came with it and are somebody's: no repair touches them.
    pub kept: &'static [&'static str],
    /// Keys of a snapshot in which a repaired machine may differ from a healthy one.
    pub differs: &'static [&'static str],
}

/// When a damage shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// As soon as it is made.
    AtOnce,
    /// After the next boot.
    AfterReboot,
}

/// Who can build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builds {
    /// Everybody.
    Everybody,
    /// Root, who opens the store without the daemon.
    Root,
    /// Nobody.
    Nobody,
    /// Trying would change what is there, or says nothing.
    Untold,
}

/// What has to become of a damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is repaired without a hand.
    Repaired,
    /// There is a remedy, which is carried out when somebody agrees.
    Asked,
    /// It is found, and told with what a person can do; the machine stays as it is.
    Explained,
}

impl Damage {
    /// What most damages have in common; the rest has to be said.
    const PLAIN: Self = Self {
        name: "",
        story: "",
        rows: &[],
        on: Ground::Plain,
        make: "",
        shows: Shows::AtOnce,
        there: "",
        builds: Builds::Everybody,
        checks: &[],
        outcome: Outcome::Repaired,
        kept: &[],
        differs: &[],
    };

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|damage| damage.name == name)
    }

    /// All of them, by area.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        let areas: [&[Self]; 12] = [
            mounts::ALL,
            daemon::ALL,
            accounts::ALL,
            tree::ALL,
            database::ALL,
            conf::ALL,
            tls::ALL,
            shells::ALL,
            versions::ALL,
            leftovers::ALL,
            space::ALL,
            own::ALL,
        ];
        areas.into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Damage, Outcome};

    /// Rows about what only macOS has, or that end before there is anything to repair.
    const NOT_HERE: [std::ops::RangeInclusive<u8>; 4] = [5..=14, 18..=25, 27..=34, 79..=80];
    /// Rows in the list.
    const ROWS: u8 = 134;

    #[test]
    fn there_are_enough_of_them_and_no_name_twice() {
        let names: BTreeSet<&str> = Damage::all().map(|damage| damage.name).collect();
        let count = Damage::all().count();
        assert_eq!(names.len(), count, "a name is there twice");
        assert!(count >= 60, "{count} damages");
        let repaired = Damage::all().filter(|one| one.outcome == Outcome::Repaired);
        let repaired = repaired.count();
        assert!(repaired >= 40, "{repaired} are repaired without a hand");
        let rows: BTreeSet<u8> = Damage::all().flat_map(|one| one.rows).copied().collect();
        println!("{count} damages, {repaired} repaired, rows {rows:?}");
        assert!(rows.len() >= 50, "{} rows: {rows:?}", rows.len());
    }

    #[test]
    fn each_says_all_that_it_must() {
        for damage in Damage::all() {
            let name = damage.name;
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(!name.is_empty() && name.chars().all(kebab), "{name}");
            for text in [damage.story, damage.make, damage.there] {
                assert!(!text.is_empty(), "{name} lacks something");
            }
            assert!(!damage.checks.is_empty(), "{name} is found by nothing");
            for id in damage.checks {
                let parts = id.split_once('.');
                let good = parts.is_some_and(|(area, check)| {
                    area.chars().all(kebab) && check.chars().all(kebab) && !check.is_empty()
                });
                assert!(good, "{name}: {id} is no id");
            }
            for row in damage.rows {
                assert!((1..=ROWS).contains(row), "{name}: no row {row}");
                let elsewhere = NOT_HERE.iter().any(|range| range.contains(row));
                assert!(!elsewhere, "{name}: row {row} is not about Linux");
            }
            for path in damage.kept {
                assert!(path.starts_with('/'), "{name}: {path}");
            }
            if damage.outcome == Outcome::Explained {
                assert!(damage.differs.is_empty(), "{name} is not repaired");
            }
        }
    }
}

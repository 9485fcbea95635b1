//! Which other generations stay when old ones are dropped to gain space. Pure.
//!
//! What the machine boots or was booted always stays, and so does the newest of the others that have
//! proven themselves: without it there would be nothing to go back to. The rest depends on who wants
//! the space: the settings keep more than somebody who says so for this one switch.

use std::collections::BTreeSet;

use nixctl_proto::Generation;

/// What decides.
#[derive(Debug, Clone, Copy)]
pub struct Rule<'a> {
    /// Store paths of generations that have proven themselves.
    pub proven: &'a BTreeSet<String>,
    /// How many of the newest stay.
    pub newest: usize,
    /// Whether somebody said for this one switch that old ones may go.
    pub is_told: bool,
}

/// The one to go back to: the newest of these, the newest first, that has proven itself and is no
/// step of a switch.
pub fn refuge<'g>(
    others: impl IntoIterator<Item = &'g Generation>,
    proven: &BTreeSet<String>,
) -> Option<u64> {
    let mut others = others.into_iter();
    others
        .find(|it| proven.contains(&it.path) && !it.hybrid)
        .map(|it| it.number)
}

/// Why a generation stays, `age` being its place among all; nothing when it may be dropped.
pub fn stays(
    generation: &Generation,
    age: usize,
    refuge: Option<u64>,
    rule: Rule<'_>,
) -> Option<&'static str> {
    if generation.default {
        Some("it is the default of the next boot")
    } else if generation.booted {
        Some("it was booted")
    } else if refuge == Some(generation.number) {
        Some("it is the newest that has proven itself")
    } else if rule.is_told {
        None
    } else if rule.proven.contains(&generation.path) {
        Some("it has proven itself")
    } else if age < rule.newest {
        Some("it is one of the newest")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_proven_generation_is_never_dropped() {
        let generation = |number: u64| Generation {
            number,
            path: format!("/{number}"),
            default: number == 9,
            booted: number == 3,
            ..Generation::default()
        };
        let all: Vec<Generation> = [9, 8, 7, 6, 3, 2].map(generation).into();
        let proven = BTreeSet::from(["/6", "/2"].map(str::to_owned));
        let refuge = refuge(&all, &proven);
        assert_eq!(refuge, Some(6));
        let staying = |is_told| -> Vec<u64> {
            let rule = Rule {
                proven: &proven,
                newest: 3,
                is_told,
            };
            let all = all.iter().enumerate();
            all.filter(|(age, it)| stays(it, *age, refuge, rule).is_some())
                .map(|(_, it)| it.number)
                .collect()
        };
        assert_eq!(staying(false), [9, 8, 7, 6, 3, 2]);
        assert_eq!(staying(true), [9, 6, 3]);
    }

    #[test]
    fn what_has_not_proven_itself_is_no_refuge() {
        let one = Generation {
            number: 1,
            path: "/1".to_owned(),
            ..Generation::default()
        };
        assert_eq!(refuge([&one], &BTreeSet::new()), None);
        let rule = Rule {
            proven: &BTreeSet::new(),
            newest: 0,
            is_told: false,
        };
        assert_eq!(stays(&one, 0, None, rule), None);
    }
}

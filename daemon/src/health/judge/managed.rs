//! Whether the files under care are as the settings say.

use super::Found;
use crate::health::look::managed::{ManagedFact, ManagedFacts};
use crate::health::mend::Mend;
use crate::health::mend::managed::Place;
use crate::health::mend::unit::Restart;
use crate::resource::saved::rights;
use nixctl_proto::health::check::Check;

const UNUSABLE: &str = "correct the entry of [[managed]] in the settings, or take it out";
const IN_THE_WAY: &str = "move what is there out of the way, then run `nixctl repair`";

pub(super) fn judge(facts: &ManagedFacts) -> Vec<Found> {
    let unusable = facts.unusable.iter().map(|(path, why)| {
        Found::new(Check::ManagedUnusable, path.display().to_string())
            .seen(why)
            .expected("an entry that can be kept")
            .help(UNUSABLE)
    });
    facts
        .files
        .iter()
        .filter_map(drifted)
        .chain(unusable)
        .collect()
}

fn drifted(fact: &ManagedFact) -> Option<Found> {
    let wanted = &fact.wanted;
    let (seen, is_other_content) = match &fact.seen {
        Place::Right => return None,
        Place::Nothing => ("it is gone".to_owned(), true),
        Place::OtherRights(it) => (rights(it.mode, it.uid, it.gid), false),
        Place::OtherContent(_) => ("it has other content".to_owned(), true),
        Place::Link(target) => (format!("it is a link to {}", target.display()), true),
        Place::Strange(what) => (format!("it is {what}"), true),
    };
    let found = Found::new(Check::ManagedDrifted, wanted.path.display().to_string())
        .seen(seen)
        .expected(format!(
            "the content that the settings give it, {}",
            rights(wanted.mode, wanted.uid, wanted.gid)
        ));
    if let Place::Strange(_) = fact.seen {
        return Some(found.help(IN_THE_WAY));
    }
    let found = found.mend(Mend::Managed(wanted.clone()));
    Some(match &fact.restart {
        Some(unit) if is_other_content => {
            let unit = unit.clone();
            found.mend(Mend::Restart(Restart { unit }))
        }
        _ => found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::judge::Cure;
    use crate::health::mend::managed::Managed;
    use crate::resource::file::Rights;

    fn of(seen: Place) -> Vec<Found> {
        let wanted = Managed {
            path: "/root/.aws/credentials".into(),
            sha256: "aa".to_owned(),
            mode: 0o600,
            uid: 0,
            gid: 0,
            at: 0,
        };
        let restart = Some("nix-daemon.service".to_owned());
        judge(&ManagedFacts {
            files: vec![ManagedFact {
                wanted,
                restart,
                seen,
            }],
            unusable: Vec::new(),
        })
    }

    #[test]
    fn what_is_right_is_no_finding() {
        assert_eq!(judge(&ManagedFacts::default()), []);
        assert_eq!(of(Place::Right), []);
    }

    #[test]
    fn a_unit_is_restarted_for_another_content_only() {
        let rights = Rights {
            mode: 0o644,
            uid: 0,
            gid: 0,
        };
        for (seen, cures) in [
            (Place::Nothing, 2),
            (Place::OtherContent(rights), 2),
            (Place::Link("/x".into()), 2),
            (Place::OtherRights(rights), 1),
            (Place::Strange("a directory"), 0),
        ] {
            let found = of(seen.clone());
            assert_eq!(found.len(), 1, "{seen:?}");
            let id = found[0].check.id();
            assert_eq!(
                (id.as_str(), found[0].cures.len()),
                ("managed.drifted", cures)
            );
            assert_eq!(found[0].help.is_empty(), cures > 0, "{seen:?}");
            let last = found[0].cures.last();
            let restarts = matches!(last, Some(Cure::Mend(Mend::Restart(_))));
            assert_eq!(restarts, cures == 2, "{seen:?}");
        }
    }

    #[test]
    fn an_entry_that_cannot_be_kept_says_why() {
        let found = judge(&ManagedFacts {
            files: Vec::new(),
            unusable: vec![("/etc/x".into(), "there is no user joe".to_owned())],
        });
        assert_eq!(found[0].check, Check::ManagedUnusable);
        assert_eq!(found[0].seen, "there is no user joe");
        assert!(found[0].cures.is_empty() && !found[0].help.is_empty());
    }
}

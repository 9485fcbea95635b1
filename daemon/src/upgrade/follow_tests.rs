use std::collections::BTreeMap;

use nixctl_proto::feed::Target;

use super::*;
use crate::health::timeline::testing::at;
use crate::upgrade::offer::testing::{NOW, feed};

const ONE: &str = "/nix/store/7rjj86a15146cq1d3qy068lml7n7ykzm-one";
const TWO: &str = "/nix/store/7rjj86a15146cq1d3qy068lml7n7ykzm-two";
const HOUR: u64 = 3_600_000;

fn goal(toplevel: &str) -> Goal {
    Goal {
        toplevel: toplevel.to_owned(),
        from: Some("https://cache.example".to_owned()),
    }
}

/// A feed that names this for the group `web`.
fn naming(toplevel: &str) -> Feed {
    let target = Target {
        toplevel: toplevel.to_owned(),
        from: goal(toplevel).from,
    };
    let mut feed = feed(1, Vec::new());
    feed.targets = BTreeMap::from([("web".to_owned(), target)]);
    feed
}

fn id(number: u64) -> OperationId {
    OperationId::from_parts(number, 0)
}

/// What is remembered when a switch to this was begun without a hand.
fn trying(toplevel: &str) -> Memory {
    let mut memory = Memory::default();
    assert!(memory.sees(Some(&goal(toplevel))));
    memory.tried = Some(Tried {
        operation: id(1),
        version: toplevel.to_owned(),
    });
    memory
}

fn is_abandoned(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Abandoned { .. })
}

#[test]
fn what_is_named_and_what_runs_decide() {
    let feed = naming(ONE);
    let end = feed.expires.seconds();
    let unnamed = Standing::Unnamed;
    let unknown = Unnamed::UnknownGroup("db".to_owned());
    for (group, now, runs, on_the_way_to, expected) in [
        ("web", NOW, ONE, None, Standing::There(goal(ONE))),
        ("web", NOW, TWO, None, Standing::Away(goal(ONE))),
        ("web", NOW, "", None, Standing::Away(goal(ONE))),
        ("web", NOW, TWO, Some(ONE), Standing::UnderWay(goal(ONE))),
        ("web", NOW, TWO, Some(TWO), Standing::Away(goal(ONE))),
        // It runs, and something leads away from it.
        ("web", NOW, ONE, Some(TWO), Standing::Away(goal(ONE))),
        ("", NOW, TWO, None, unnamed(Unnamed::NoGroup)),
        ("db", NOW, TWO, None, unnamed(unknown)),
        ("web", end, TWO, None, unnamed(Unnamed::Expired)),
    ] {
        let facts = Facts {
            feed: Some(&feed),
            group,
            now,
            runs,
            on_the_way_to,
        };
        assert_eq!(standing(&facts), expected, "{facts:?}");
        let unread = Facts {
            feed: None,
            ..facts
        };
        assert_eq!(standing(&unread), Standing::Unread);
    }
}

#[test]
fn every_standing_is_told_and_what_does_not_pass_is_found() {
    let ladder = Hold::Ladder {
        until: 1000,
        why: "system one failed once: x".to_owned(),
    };
    let unknown = Unnamed::UnknownGroup("db".to_owned());
    for (standing, hold, kind, words, is_blocked) in [
        (Standing::Unread, None, "unread", "not read yet", false),
        (
            Standing::Unnamed(unknown),
            None,
            "unnamed",
            "group db",
            true,
        ),
        (
            Standing::Unnamed(Unnamed::NoGroup),
            None,
            "unnamed",
            "`system.group`",
            true,
        ),
        (
            Standing::Unnamed(Unnamed::Expired),
            None,
            "unnamed",
            "expired",
            false,
        ),
        (
            Standing::There(goal(ONE)),
            None,
            "there",
            "-one runs",
            false,
        ),
        (
            Standing::UnderWay(goal(ONE)),
            None,
            "under-way",
            "-one is on its way",
            false,
        ),
        (Standing::Away(goal(ONE)), None, "due", "-one is due", false),
        (
            Standing::Away(goal(ONE)),
            Some(Hold::Busy),
            "held",
            "waits: another operation",
            false,
        ),
        (
            Standing::Away(goal(ONE)),
            Some(ladder),
            "held",
            "failed once: x; it is tried again",
            true,
        ),
    ] {
        let hold = hold.as_ref();
        assert_eq!(standing.kind(hold), kind);
        let said = standing.words(hold);
        assert!(said.contains(words), "{said}");
        assert_eq!(standing.blocked(hold).is_some(), is_blocked, "{said}");
    }
}

#[test]
fn what_failed_rests_longer_each_time_and_another_begins_anew() {
    let mut memory = trying(ONE);
    assert!(memory.ended(&id(1), End::Failed("redis does not start".into()), at(0)));
    assert_eq!(memory.tried, None);
    let Verdict::Rest { why, .. } = memory.judge(ONE, at(8 * HOUR - 1)) else {
        panic!("it is tried again");
    };
    assert!(why.contains("redis does not start"), "{why}");
    assert_eq!(memory.judge(ONE, at(8 * HOUR)), Verdict::Go);
    assert_eq!(memory.judge(TWO, at(0)), Verdict::Go);
    // It is the same one when it is named anew.
    assert!(memory.sees(Some(&Goal {
        from: None,
        ..goal(ONE)
    })));
    assert!(matches!(memory.judge(ONE, at(1)), Verdict::Rest { .. }));
    // That it was not healthy after a boot counts twice.
    assert!(memory.ended(&id(9), End::BackAfterBoot, at(0)));
    assert!(matches!(
        memory.judge(ONE, at(23 * HOUR)),
        Verdict::Rest { .. }
    ));
    assert_eq!(memory.judge(ONE, at(24 * HOUR)), Verdict::Go);
    // Somebody made it work.
    assert!(memory.ended(&id(10), End::At(ONE), at(1)));
    assert_eq!(memory.judge(ONE, at(1)), Verdict::Go);
}

#[test]
fn what_succeeds_without_an_effect_is_not_begun_again_at_once() {
    let mut memory = trying(ONE);
    assert!(memory.ended(&id(1), End::At(TWO), at(0)));
    assert!(matches!(memory.judge(ONE, at(1)), Verdict::Rest { .. }));
    // Another was named meanwhile.
    let mut memory = trying(ONE);
    assert!(memory.sees(Some(&goal(TWO))));
    assert!(memory.ended(&id(1), End::At(ONE), at(0)));
    for toplevel in [ONE, TWO] {
        assert_eq!(memory.judge(toplevel, at(1)), Verdict::Go);
    }
}

#[test]
fn what_somebody_went_away_from_is_left_alone_until_another_is_named() {
    let mut memory = trying(ONE);
    assert!(memory.ended(&id(1), End::At(ONE), at(0)));
    assert_eq!(memory.judge(ONE, at(0)), Verdict::Go);
    // Going back by hand.
    assert!(memory.ended(&id(2), End::At(TWO), at(0)));
    assert!(is_abandoned(&memory.judge(ONE, at(1000 * HOUR))));
    // A feed that is away, or names nothing, is no other one.
    assert!(!memory.sees(None));
    assert!(!memory.sees(Some(&goal(ONE))));
    assert!(is_abandoned(&memory.judge(ONE, at(0))));
    assert!(memory.sees(Some(&goal(TWO))));
    assert_eq!(memory.judge(TWO, at(0)), Verdict::Go);
    assert!(memory.sees(Some(&goal(ONE))));
    assert_eq!(memory.judge(ONE, at(0)), Verdict::Go);
    // Somebody who goes there after all has decided anew.
    assert!(memory.ended(&id(3), End::At(TWO), at(0)));
    assert!(memory.ended(&id(4), End::At(ONE), at(0)));
    assert_eq!(memory.judge(ONE, at(0)), Verdict::Go);
}

#[test]
fn what_is_no_failure_of_it_counts_for_nothing() {
    let mut memory = trying(ONE);
    let before = memory.clone();
    // One of somebody else failed, or was superseded.
    for end in [End::Failed("x".into()), End::Superseded] {
        assert!(!memory.ended(&id(2), end, at(0)));
        assert_eq!(memory, before);
    }
    assert!(memory.ended(&id(1), End::Superseded, at(0)));
    assert_eq!(memory.tried, None);
    assert_eq!(memory.judge(ONE, at(0)), Verdict::Go);
    // Nothing is followed.
    assert!(!Memory::default().ended(&id(1), End::At(ONE), at(0)));
}

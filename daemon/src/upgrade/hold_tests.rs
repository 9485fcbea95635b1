use super::*;

const NOW: u64 = 1_700_000_000_000;

fn free() -> Facts {
    Facts {
        asked: false,
        policy: UpgradePolicy::Auto,
        halted: false,
        ladder: Verdict::Go,
        admitted: true,
        window: Opening::Open,
        on_battery: false,
        metered: false,
        inhibited: None,
        jitter: None,
        busy: false,
        fleet_lock: None,
        now: NOW,
    }
}

type Change = fn(&mut Facts);

/// Each reason alone, in the order of the module's page.
const REASONS: [(&str, Change); 14] = [
    ("policy-off", |it| it.policy = UpgradePolicy::Off),
    ("notify-only", |it| it.policy = UpgradePolicy::Notify),
    ("halted", |it| it.halted = true),
    ("abandoned", |it| {
        it.ladder = Verdict::Abandoned {
            why: "nix 2 failed 9 times: it hangs".to_owned(),
        }
    }),
    ("ladder", |it| {
        it.ladder = Verdict::Rest {
            until: NOW + 60_000,
            why: "nix 2 failed once: it hangs".to_owned(),
        }
    }),
    ("rollout-later", |it| it.admitted = false),
    ("outside-window", |it| it.window = Opening::Opens(NOW + 1)),
    ("outside-window", |it| {
        it.window = Opening::Unusable("there is no time zone `X`".to_owned())
    }),
    ("on-battery", |it| it.on_battery = true),
    ("metered", |it| it.metered = true),
    ("inhibited", |it| {
        it.inhibited = Some(("backup".to_owned(), "it copies /nix".to_owned()))
    }),
    ("jitter", |it| it.jitter = Some(NOW + 1)),
    ("busy", |it| it.busy = true),
    ("fleet-lock", |it| {
        it.fleet_lock = Some("all slots are taken".to_owned())
    }),
];

#[test]
fn nothing_holds_it_or_one_thing_does() {
    assert_eq!(decide(&free()), Ok(()));
    for (kind, change) in REASONS {
        let mut facts = free();
        change(&mut facts);
        assert_eq!(decide(&facts).unwrap_err().kind(), kind);
    }
    let past = Facts {
        jitter: Some(NOW),
        ..free()
    };
    assert_eq!(decide(&past), Ok(()));
}

#[test]
fn of_two_the_first_is_named() {
    for (place, (kind, first)) in REASONS.iter().enumerate() {
        for (_, second) in &REASONS[place + 1..] {
            let mut facts = free();
            second(&mut facts);
            first(&mut facts);
            assert_eq!(decide(&facts).unwrap_err().kind(), *kind);
        }
    }
}

#[test]
fn whoever_asks_is_held_by_little() {
    let still = ["halted", "inhibited", "busy", "fleet-lock"];
    for (kind, change) in REASONS {
        let mut facts = Facts {
            asked: true,
            ..free()
        };
        change(&mut facts);
        let held = decide(&facts).err().map(|hold| hold.kind());
        assert_eq!(held, still.contains(&kind).then_some(kind), "{kind}");
    }
}

#[test]
fn kinds_are_the_words_of_json_and_texts_are_for_people() {
    let mut kinds = Vec::new();
    for (kind, change) in REASONS {
        let mut facts = free();
        change(&mut facts);
        let hold = decide(&facts).unwrap_err();
        let json = serde_json::to_value(&hold).unwrap();
        assert_eq!(json["kind"], kind);
        assert_eq!(serde_json::from_value::<Hold>(json).unwrap(), hold);
        let text = hold.to_string();
        assert!(!text.is_empty() && !text.ends_with('.'), "{text}");
        if !kinds.contains(&kind) {
            kinds.push(kind);
        }
    }
    assert_eq!(kinds, Hold::KINDS);
    let text = Hold::Ladder {
        until: NOW,
        why: "nix 2 failed once: it hangs".to_owned(),
    };
    assert_eq!(
        text.to_string(),
        "nix 2 failed once: it hangs; it is tried again at 2023-11-14 22:13 UTC"
    );
    assert_eq!(text.until(), Some(NOW));
}

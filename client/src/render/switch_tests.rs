use std::collections::BTreeMap;

use nixctl_proto::Code;
use nixctl_proto::plan::DowntimeView;

use super::*;

const LOOK: Look = Look {
    detailed: false,
    width: Some(72),
    utf8: false,
    style: Style::PLAIN,
};

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    entries.iter().map(owned).collect()
}

/// A switch in two steps.
pub fn plan() -> Plan {
    const MIB: u64 = 1 << 20;
    let step = |flip: &[&str], high: u64, after: u64| SwitchStepView {
        flip: texts(flip),
        stop: Vec::new(),
        add: texts(&["/nix/store/a"]),
        bytes_before_release: high * MIB,
        release: Vec::new(),
        bytes_after: after * MIB,
    };
    let view = SwitchView {
        from: "/nix/store/old".to_owned(),
        to: "/nix/store/new".to_owned(),
        units: UnitsView {
            restart: texts(&["redis.service"]),
            reload: texts(&["nginx.service"]),
            skip: texts(&["getty@tty1.service"]),
            ..UnitsView::default()
        },
        reasons: map(&[
            ("redis.service", "its ExecStart changed"),
            ("nginx.service", "it asks for a reload"),
        ]),
        space: SpaceView {
            strategy: "stepwise".to_owned(),
            peak: 120 * MIB,
            lower_bound: 100 * MIB,
            optimal: false,
            budget: Some(130 * MIB),
            now: 100 * MIB,
            free: 30 * MIB,
            atomic_peak: 200 * MIB,
            old: 100 * MIB,
            new: 100 * MIB,
        },
        steps: vec![
            step(&["redis", "nginx"], 120, 90),
            step(&["the rest"], 110, 100),
        ],
        downtime: Vec::new(),
        deferred: map(&[("kernel", "it is booted")]),
        diff: super::diff::tests::entries(),
        reboot: texts(&["the kernel differs"]),
    };
    Plan {
        kind: OperationKind::Switch,
        title: "switch to web-25.05 in 2 steps".to_owned(),
        steps: Vec::new(),
        checks: Vec::new(),
        bytes_needed: 0,
        inodes_needed: 0,
        notes: texts(&["signatures are checked"]),
        switch: Some(Box::new(view)),
    }
}

#[test]
fn a_switch_in_steps() {
    let plan = plan();
    let view = plan.switch.as_deref().unwrap();
    assert_eq!(
        lines(&plan, view, LOOK),
        [
            "switch to web-25.05 in 2 steps",
            "",
            "packages:",
            "     PACKAGE  BEFORE      AFTER         SIZE",
            "  ~  glibc    2.40        2.41          +1.0 MiB",
            "  =  hello\u{fffd}   1           rebuilt       0 B",
            "  -  perl     5.38, 5.40                -60.0 MiB",
            "  +  zlib                 (no version)  +2.0 KiB",
            "  4 packages (1 new, 1 gone, 2 changed): -59.0 MiB",
            "",
            "units:",
            "  reload   nginx.service       it asks for a reload",
            "  restart  redis.service       its ExecStart changed",
            "  leave    getty@tty1.service",
            "",
            "disk:",
            "  2 steps, at most 120 MiB of the store: 1.20 x the new system",
            "  no order needs less than 100 MiB; this one is 20.0 % above that",
            "  at once it would be 200 MiB",
            "  the budget is 130 MiB: 10.0 MiB of it stay free",
            "  30.0 MiB are free now",
            "",
            "STEP  FETCH   HIGHEST  RELEASE   AFTER     CHANGES",
            "1     1 path  120 MiB  30.0 MiB  90.0 MiB  redis nginx",
            "2     1 path  110 MiB  10.0 MiB  100 MiB   the rest",
            "",
            "   now  ##########################################            |  100 MiB",
            "step 1  ######################################+++++++++++++   |  120 MiB",
            "step 2  ##########################################+++++       |  110 MiB",
            "                                                 budget 130 MiB",
            "",
            "only in the last step:",
            "  kernel  it is booted",
            "",
            "a reboot is needed:",
            "  the kernel differs",
            "",
            "  note: signatures are checked",
        ]
    );
}

#[test]
fn what_is_down_for_a_while_is_said_plainly() {
    let mut plan = plan();
    let view = plan.switch.as_deref_mut().unwrap();
    view.steps[0].stop = texts(&["unit/redis"]);
    view.steps[0].flip.clear();
    view.downtime = vec![DowntimeView {
        id: "unit/redis".to_owned(),
        units: texts(&["redis.service"]),
        from: 1,
        to: 2,
        bytes: 5 << 20,
        seconds: 9,
    }];
    let view = plan.switch.as_deref().unwrap();
    let lines = lines(&plan, view, LOOK);
    let at = lines
        .iter()
        .position(|line| line == "down for a while:")
        .unwrap();
    assert_eq!(
        lines[at + 1],
        "  redis.service  steps 1 to 2  5.0 MiB to fetch  at least 9 s"
    );
    assert!(
        lines.iter().any(|line| line.ends_with("stop unit/redis")),
        "{lines:#?}"
    );
}

#[test]
fn what_is_missing_is_said() {
    let mut plan = plan();
    let view = plan.switch.as_deref_mut().unwrap();
    view.space.budget = Some(100 << 20);
    view.space.optimal = true;
    let lines = disk(&view.space, 2);
    assert!(lines.contains(&"no order of the steps needs less".to_owned()));
    assert!(lines.contains(&"the budget is 100 MiB: 20.0 MiB are missing".to_owned()));
}

#[test]
fn nothing_to_do_is_short() {
    let mut plan = plan();
    plan.switch = Some(Box::default());
    let view = plan.switch.as_deref().unwrap();
    let lines = lines(&plan, view, LOOK);
    assert_eq!(
        lines,
        [
            "switch to web-25.05 in 2 steps",
            "  nothing to do",
            "  note: signatures are checked"
        ]
    );
    assert!(chart(view).bars.is_empty());
}

#[test]
fn the_document_has_the_parts_by_name() {
    let mut plan = plan();
    plan.checks.push(PlanCheck {
        id: "space".to_owned(),
        seen: "too little".to_owned(),
        failure: Some(Failure::new(Code::NoSpace, "cannot switch")),
    });
    let text = serde_json::to_value(Document::new(&plan).unwrap()).unwrap();
    assert_eq!(text["units"]["restart"][0], "redis.service");
    assert_eq!(text["reasons"]["redis.service"], "its ExecStart changed");
    assert_eq!(text["space"]["peak"], 120 << 20);
    assert_eq!(text["steps"][1]["flip"][0], "the rest");
    assert_eq!(text["diff"][0]["name"], "glibc");
    assert_eq!(text["refusal"]["code"], "NoSpace");
    assert_eq!(text["kind"], "switch");
    plan.switch = None;
    assert!(Document::new(&plan).is_none());
}

//! Every kind of message, once with all of its fields set, so that a field that is added, moved or
//! taken away is seen.
//!
//! The matches name every kind, so that a new one does not compile before it is shown here.

use std::collections::BTreeMap;

use nixctl_proto::frame::{Answer, Call, Hello};
use nixctl_proto::health::{
    Finding, Findings, HealthEvent, HealthEventKind, RemedyView, Severity, Target,
};
use nixctl_proto::operation::JournalLine;
use nixctl_proto::plan::{
    DiffEntry, DowntimeView, Plan, PlanAction, PlanCheck, PlanStep, SpaceView, SwitchStepView,
    SwitchView, UnitsView,
};
use nixctl_proto::request::{
    AfterBoot, InstallRequest, OperationRequest, RepairRequest, Reply, Request, RequestOptions,
    RollbackRequest, SelfInstallRequest, SelfUpgradeRequest, Strategy, SwitchRequest,
    UninstallRequest, UpgradeRequest,
};
use nixctl_proto::settings::SettingView;
use nixctl_proto::status::{Health, Status, UpgradeStatus};
use nixctl_proto::{
    Code, Failure, Generation, OperationId, OperationKind, OperationState, OperationView,
};

use super::Recording;

/// Holds each to its recorded bytes.
pub fn all(recording: &mut Recording) {
    let hello = Hello {
        protocol: 1,
        version: "0.1.0".to_owned(),
    };
    recording.holds("hello", hello);
    for (number, request) in (1..).zip(requests()) {
        let name = format!("request.{}", request_name(&request));
        let call = Call {
            id: number,
            request,
        };
        recording.holds(&name, call);
    }
    for request in operations() {
        let name = format!("operation.{}", operation_name(&request));
        recording.holds(&name, request);
    }
    for (number, reply) in (1..).zip(replies()) {
        let name = format!("reply.{}", reply_name(&reply));
        let answer = Answer {
            id: number,
            last: true,
            reply,
        };
        recording.holds(&name, answer);
    }
    let farewell = Answer {
        id: 0,
        last: true,
        reply: Reply::Refused(failure()),
    };
    recording.holds("farewell", farewell);
}

fn text(text: &str) -> String {
    text.to_owned()
}

fn some(it: &str) -> Option<String> {
    Some(text(it))
}

fn id() -> OperationId {
    OperationId::from_parts(1_700_000_000_000, 7)
}

fn requests() -> Vec<Request> {
    let options = RequestOptions {
        dry_run: true,
        request_id: some("request"),
        expected_current: some("2.26.3"),
        deadline: Some(600),
        reason: some("because"),
    };
    vec![
        Request::Status,
        Request::Plan(OperationRequest::SelfUninstall),
        Request::Submit(OperationRequest::SelfUninstall, options),
        Request::List(7),
        Request::Show(id()),
        Request::Journal(id()),
        Request::Watch(id()),
        Request::Cancel(id()),
        Request::Retry(id()),
        Request::Settings,
        Request::Configure {
            key: text("daemon.history"),
            value: text("9"),
        },
        Request::Confirm(id()),
        Request::Generations,
        Request::Diff {
            from: text("/nix/store/a"),
            to: text("/nix/store/b"),
        },
        Request::Check(vec![text("tree.rights")]),
        Request::Findings,
        Request::History(3),
        Request::Metrics,
    ]
}

fn request_name(request: &Request) -> &'static str {
    match request {
        Request::Status => "status",
        Request::Plan(_) => "plan",
        Request::Submit(..) => "submit",
        Request::List(_) => "list",
        Request::Show(_) => "show",
        Request::Journal(_) => "journal",
        Request::Watch(_) => "watch",
        Request::Cancel(_) => "cancel",
        Request::Retry(_) => "retry",
        Request::Settings => "settings",
        Request::Configure { .. } => "configure",
        Request::Confirm(_) => "confirm",
        Request::Generations => "generations",
        Request::Diff { .. } => "diff",
        Request::Check(_) => "check",
        Request::Findings => "findings",
        Request::History(_) => "history",
        Request::Metrics => "metrics",
    }
}

fn operations() -> Vec<OperationRequest> {
    vec![
        OperationRequest::Install(InstallRequest {
            version: some("2.34.8"),
            source: some("/tmp/nix.tar.xz"),
            sha256: some("00ff"),
            adopt: true,
            single_user: false,
        }),
        OperationRequest::Uninstall(UninstallRequest { keep_store: true }),
        OperationRequest::SelfInstall(SelfInstallRequest {
            client: text("/tmp/nixctl"),
            daemon: text("/tmp/nixctld"),
        }),
        OperationRequest::SelfUninstall,
        OperationRequest::Switch(SwitchRequest {
            toplevel: text("/nix/store/a"),
            from: some("https://cache.example"),
            strategy: Strategy::Stepwise,
            budget: Some(1 << 40),
            drop_old: true,
            allow_downtime: false,
            soak: Some(20),
            confirm_within: Some(300),
        }),
        OperationRequest::Rollback(RollbackRequest {
            to: Some(7),
            from: some("https://cache.example"),
            after_boot: Some(AfterBoot::Restart),
        }),
        OperationRequest::Repair(RepairRequest {
            targets: vec![Target::from("tree.rights:/nix"), Target::from("clock.off")],
            automatic: true,
        }),
        OperationRequest::Upgrade(UpgradeRequest {
            version: some("2.34.8"),
            source: some("/tmp/nix.tar.xz"),
            sha256: some("00ff"),
            rollback: true,
            drain: Some(600),
            may_be_older: false,
            restore_database: true,
        }),
        OperationRequest::SelfUpgrade(SelfUpgradeRequest {
            version: some("0.2.0"),
            source: some("/tmp/nixctl.tar.xz"),
            sha256: some("00ff"),
            rollback: true,
            may_be_older: false,
        }),
    ]
}

fn operation_name(request: &OperationRequest) -> &'static str {
    match request {
        OperationRequest::Install(_) => "install",
        OperationRequest::Uninstall(_) => "uninstall",
        OperationRequest::SelfInstall(_) => "self-install",
        OperationRequest::SelfUninstall => "self-uninstall",
        OperationRequest::Switch(_) => "switch",
        OperationRequest::Rollback(_) => "rollback",
        OperationRequest::Repair(_) => "repair",
        OperationRequest::Upgrade(_) => "upgrade",
        OperationRequest::SelfUpgrade(_) => "self-upgrade",
    }
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Status(status()),
        Reply::Plan(plan()),
        Reply::Accepted(id()),
        Reply::Operations(vec![operation()]),
        Reply::Operation(operation()),
        Reply::Journal(vec![JournalLine {
            sequence: 3,
            time: 1_700_000_000_000,
            record: text("done"),
            step: Some(2),
            text: text("create the directory /nix"),
        }]),
        Reply::Settings(vec![SettingView {
            key: text("daemon.history"),
            value: text("9"),
            file: text("/etc/nixctl/config.toml"),
        }]),
        Reply::Done,
        Reply::Refused(failure()),
        Reply::Generations(vec![generation()]),
        Reply::Diff(vec![difference()]),
        Reply::Findings(findings()),
        Reply::History(vec![HealthEvent {
            number: 4,
            time: 1_700_000_000_000,
            check: text("tree.rights"),
            subject: text("/nix"),
            what: HealthEventKind::Tried,
            operation: Some(id()),
            detail: text("5000"),
        }]),
        Reply::Metrics(text("nixctl_feed_serial 41\n")),
    ]
}

fn reply_name(reply: &Reply) -> &'static str {
    match reply {
        Reply::Status(_) => "status",
        Reply::Plan(_) => "plan",
        Reply::Accepted(_) => "accepted",
        Reply::Operations(_) => "operations",
        Reply::Operation(_) => "operation",
        Reply::Journal(_) => "journal",
        Reply::Settings(_) => "settings",
        Reply::Done => "done",
        Reply::Refused(_) => "refused",
        Reply::Generations(_) => "generations",
        Reply::Diff(_) => "diff",
        Reply::Findings(_) => "findings",
        Reply::History(_) => "history",
        Reply::Metrics(_) => "metrics",
    }
}

fn failure() -> Failure {
    Failure::new(Code::NoSpace, "cannot install: 5 bytes are missing")
        .with_help("free them")
        .with_cause("the disk is full")
}

fn operation() -> OperationView {
    OperationView {
        id: id(),
        kind: OperationKind::Upgrade,
        state: OperationState::Waiting,
        waiting_for: some("a slot"),
        requested_by: 1000,
        reason: text("because"),
        created: 1_700_000_000_000,
        finished: Some(1_700_000_009_000),
        step: 3,
        steps: 12,
        description: text("unpack the release"),
        bytes_done: 5,
        bytes_total: 1 << 33,
        progress: 0.25,
        cancellable: true,
        failure: Some(failure()),
        kept: vec![text("/etc/nix/nix.conf: it was changed")],
        notes: vec![text("the sandbox is on")],
    }
}

fn status() -> Status {
    Status {
        version: text("0.1.0"),
        nix_version: text("2.34.8"),
        health: Health::Degraded,
        health_reason: text("a finding"),
        converged: 0.5,
        active: Some(operation()),
        queued: 2,
        current_generation: 7,
        target_generation: 8,
        reboot_needed: true,
        boot_failure: text("generation 6"),
        convergence: text("12 of 40 components"),
        health_seen: 1_700_000_000_000,
        health_note: text("an operation is at work"),
        findings: 3,
        upgrade: Box::new(UpgradeStatus {
            available: text("2.35.0"),
            waits: text("until the window opens"),
            hold: text("outside-window"),
            feed_read: 1_700_000_000_000,
            feed_trouble: text("it has expired"),
            fleet_lock: text("a slot of db"),
            inhibitors: vec![text("backup")],
            following: text("goes to b"),
            follow_state: text("under-way"),
        }),
    }
}

fn plan() -> Plan {
    Plan {
        kind: OperationKind::Switch,
        title: text("switch to b"),
        steps: vec![PlanStep {
            id: text("file:/etc/nix/nix.conf"),
            action: PlanAction::Change,
            summary: text("write the file"),
            details: vec![text("sandbox = true")],
        }],
        checks: vec![PlanCheck {
            id: text("space"),
            seen: text("5 bytes are free"),
            failure: Some(failure()),
        }],
        bytes_needed: 1 << 33,
        inodes_needed: 1000,
        notes: vec![text("a note")],
        switch: Some(Box::new(switch())),
    }
}

fn switch() -> SwitchView {
    SwitchView {
        from: text("/nix/store/a"),
        to: text("/nix/store/b"),
        units: UnitsView {
            stop: vec![text("a.service")],
            reload: vec![text("b.service")],
            restart: vec![text("c.service")],
            start: vec![text("d.service")],
            skip: vec![text("e.service")],
        },
        reasons: BTreeMap::from([(text("a.service"), text("it goes"))]),
        space: SpaceView {
            strategy: text("stepwise"),
            peak: 1,
            lower_bound: 2,
            optimal: true,
            budget: Some(3),
            now: 4,
            free: 5,
            atomic_peak: 6,
            old: 7,
            new: 8,
        },
        steps: vec![SwitchStepView {
            flip: vec![text("redis")],
            stop: vec![text("nginx")],
            add: vec![text("/nix/store/c")],
            bytes_before_release: 9,
            release: vec![text("/nix/store/d")],
            bytes_after: 10,
        }],
        downtime: vec![DowntimeView {
            id: text("nginx"),
            units: vec![text("nginx.service")],
            from: 1,
            to: 2,
            bytes: 11,
            seconds: 12,
        }],
        deferred: BTreeMap::from([(text("kernel"), text("it is booted"))]),
        diff: vec![difference()],
        reboot: vec![text("the kernel differs")],
    }
}

fn difference() -> DiffEntry {
    DiffEntry {
        name: text("glibc"),
        old: vec![text("2.40")],
        new: vec![text("2.41")],
        bytes: -5,
    }
}

fn generation() -> Generation {
    Generation {
        number: 7,
        path: text("/nix/store/a"),
        created: 1_700_000_000_000,
        current: true,
        default: false,
        booted: true,
        proven: false,
        proven_by_boot: true,
        awaits_boot: false,
        boot_failure: text("it hung"),
        hybrid: true,
        label: text("12 of 40 components"),
    }
}

fn findings() -> Findings {
    Findings {
        health: Health::Broken,
        reason: text("a finding"),
        seen: 1_700_000_000_000,
        note: text("a note"),
        findings: vec![Finding {
            check: text("tree.rights"),
            subject: text("/nix"),
            severity: Severity::Critical,
            seen: text("its mode is 0777"),
            expected: text("0755"),
            why: text("everybody could write"),
            help: text("see to it"),
            since: 1_700_000_000_000,
            remedy: Some(RemedyView {
                summary: text("set the mode"),
                steps: vec![text("set it to 0755")],
                automatic: true,
                held: text("for 5 minutes"),
            }),
        }],
    }
}

//! Plans of a switch over generations that are made of names.

use nixctl_planner::closure::{PathInfo, StorePath};
use nixctl_planner::component::{Content, Entry, Toplevel, UNIT_DIR};
use nixctl_proto::request::Strategy;
use nixctl_proto::settings::ProbeSettings;

use super::*;
use crate::switch::step::{SwitchStep, Toplevel as Top};

mod atomic;
mod behind;
mod downtime;
mod refused;
mod stepwise;

const MIB: u64 = 1 << 20;

fn path(name: &str) -> StorePath {
    // Nix's base 32 knows neither e, o, t nor u.
    let letter = |c: char| match c {
        'e' | 'o' | 't' | 'u' => 'x',
        c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
        _ => '0',
    };
    let hash: String = name
        .chars()
        .map(letter)
        .chain("0".repeat(32).chars())
        .take(32)
        .collect();
    StorePath::new(&format!("/nix/store/{hash}-{name}")).unwrap()
}

/// A generation of services, each with a package of its own of 100 MiB.
fn generation(graph: &mut Graph, version: &str, services: &[&str]) -> Toplevel {
    let top = path(&format!("nixos-{version}"));
    let mut toplevel = Toplevel::new(top.clone());
    let mut all = Vec::new();
    for service in services {
        let package = path(&format!("{service}-{version}"));
        add(graph, &package, 100 * MIB, &[]);
        let unit = path(&format!("unit-{service}-{version}"));
        add(graph, &unit, 1024, std::slice::from_ref(&package));
        let text = format!("[Service]\nExecStart={package}/bin/{service}\n");
        let entry = Entry {
            origin: Some(unit.clone()),
            content: Content::Text(text),
        };
        toplevel
            .etc
            .insert(format!("{UNIT_DIR}{service}.service"), entry);
        let wanted = Entry {
            origin: None,
            content: Content::Link(format!("../{service}.service")),
        };
        let link = format!("{UNIT_DIR}multi-user.target.wants/{service}.service");
        toplevel.etc.insert(link, wanted);
        all.push(unit);
    }
    add(graph, &top, 4096, &all);
    toplevel
}

fn add(graph: &mut Graph, path: &StorePath, bytes: u64, references: &[StorePath]) {
    let info = PathInfo {
        path: path.clone(),
        nar_size: bytes,
        references: references.to_vec(),
        download_size: None,
    };
    graph.add(&info).unwrap();
}

/// Three services that all change; so many MiB are free.
fn facts(free: u64) -> SwitchFacts {
    let mut graph = Graph::new();
    let services = ["alpha", "beta", "gamma"];
    let old = generation(&mut graph, "1", &services);
    let new = generation(&mut graph, "2", &services);
    let present = graph.closure_of([&old.path]).unwrap();
    SwitchFacts {
        kind: OperationKind::Switch,
        request: SwitchRequest {
            toplevel: new.path.to_string(),
            ..SwitchRequest::default()
        },
        settings: SwitchSettings {
            reserve_bytes: 0,
            soak_seconds: 30,
            ..SwitchSettings::default()
        },
        graph,
        old,
        new,
        present,
        keep: PathSet::new(),
        booted: PathSet::new(),
        only_here: PathSet::new(),
        others: Vec::new(),
        stale: Vec::new(),
        free_bytes: free * MIB + budget::OVERHEAD,
        free_inodes: 100_000,
        used: (0, 0),
        boot: None,
        units: Decisions::default(),
        active: services.map(|it| format!("{it}.service")).into(),
        reboot: Vec::new(),
        inhibited: false,
        is_there: false,
        notes: Vec::new(),
    }
}

fn switch_steps(planned: &Planned) -> Vec<SwitchStep> {
    let steps = planned.steps.iter().map(|it| match &it.step {
        Step::Switch(step) => (**step).clone(),
        other => panic!("{other:?}"),
    });
    steps.collect()
}

/// One letter for each kind of step.
fn shape(planned: &Planned) -> String {
    let letters = switch_steps(planned).into_iter().map(|step| match step {
        SwitchStep::Forget(_) => 'x',
        SwitchStep::Fetch(_) => 'f',
        SwitchStep::Compose(_) => 'c',
        SwitchStep::Activate(_) => 'a',
        SwitchStep::Prove(_) => 'p',
        SwitchStep::Confirm { .. } => '?',
        SwitchStep::SetDefault(_) => 'd',
        SwitchStep::Release(_) => 'r',
    });
    letters.collect()
}

fn view(planned: &Planned) -> &nixctl_proto::plan::SwitchView {
    planned.view.switch.as_deref().unwrap()
}

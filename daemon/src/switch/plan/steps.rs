//! The steps of a switch from the plan of the disk. Pure.
//!
//! Each step of the disk plan but the last one makes a hybrid on top of the one before; the last one
//! is the target itself, by its own program.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nixctl_planner::closure::{Graph, PathSet, StorePath};
use nixctl_planner::component::{Component, ComponentKind, Cut, UNIT_DIR};
use nixctl_planner::order;
use nixctl_proto::settings::ProbeSettings;

use crate::switch::identity;
use crate::switch::plan::SwitchFacts;
use crate::switch::step::{
    Activate, Compose, FetchPaths, Probe, ProbeKind, Prove, ROOTS, Release, SetDefault, SwitchStep,
    Toplevel,
};

/// Name of the folder with roots of what the booted kernel needs.
pub const BOOTED: &str = "booted";
/// Part of the time of watching after each step on the way.
const SHARE: u64 = 10;

/// The system's profile.
pub fn profile() -> PathBuf {
    PathBuf::from(identity::PROFILE)
}

/// The paths of a set, sorted.
pub fn texts(graph: &Graph, set: &PathSet) -> Vec<String> {
    let paths = graph.sorted(set).into_iter();
    paths.map(|path| path.to_string()).collect()
}

/// Folder of the roots of a switch to this target.
pub fn roots_of(target: &StorePath) -> PathBuf {
    Path::new(ROOTS).join(target.hash_part())
}

/// The way from one generation to the other.
pub struct Way<'a> {
    facts: &'a SwitchFacts,
    plan: &'a order::Plan,
    components: BTreeMap<&'a str, &'a Component>,
    roots: PathBuf,
    all: usize,
    /// The old generation's own link trees. They go with it, first of all: Nix deletes nothing that
    /// a path refers to which is still there.
    scaffold: Vec<String>,
}

impl<'a> Way<'a> {
    /// The way that a plan of the disk stands for.
    pub fn new(facts: &'a SwitchFacts, cut: &'a Cut, plan: &'a order::Plan) -> Self {
        let components = cut.components.iter();
        Way {
            facts,
            plan,
            components: components.map(|it| (it.id.as_str(), it)).collect(),
            roots: roots_of(&facts.new.path),
            all: plan.steps.iter().map(|step| step.flip.len()).sum(),
            scaffold: scaffold(facts, cut),
        }
    }

    /// All steps, in their order.
    pub fn steps(&self) -> Vec<SwitchStep> {
        let mut steps = Vec::new();
        let last = self.plan.steps.len().saturating_sub(1);
        if last > 0 && !self.facts.booted.is_empty() {
            // What is only used is kept by a root of its own; the old generation's goes.
            steps.push(SwitchStep::Fetch(FetchPaths {
                roots: Path::new(ROOTS).join(BOOTED),
                paths: texts(&self.facts.graph, &self.facts.booted),
                bytes: 0,
                from: None,
            }));
        }
        let mut flipped = 0;
        let mut packages = self.facts.old.packages.clone();
        for (index, step) in self.plan.steps.iter().enumerate() {
            flipped += step.flip.len();
            if !step.add.is_empty() {
                steps.push(SwitchStep::Fetch(self.fetch(step)));
            }
            if index < last {
                steps.push(SwitchStep::Compose(self.compose(
                    index,
                    step,
                    flipped,
                    &mut packages,
                )));
            }
            steps.extend(self.take_over(index, index == last, step));
            steps.push(SwitchStep::SetDefault(SetDefault {
                roots: self.roots.clone(),
                profile: profile(),
                toplevel: self.toplevel(index),
                hybrid: index < last,
            }));
            steps.extend(self.release(index, step).map(SwitchStep::Release));
        }
        steps
    }

    /// What runs after a step of the disk plan.
    fn toplevel(&self, index: usize) -> Toplevel {
        if index + 1 == self.plan.steps.len() {
            Toplevel::Path(self.facts.new.path.to_string())
        } else {
            Toplevel::Hybrid(number(index))
        }
    }

    /// What runs before it.
    fn before(&self, index: usize) -> Toplevel {
        match index.checked_sub(1) {
            Some(earlier) => self.toplevel(earlier),
            None => Toplevel::Path(self.facts.old.path.to_string()),
        }
    }

    fn fetch(&self, step: &order::Step) -> FetchPaths {
        let graph = &self.facts.graph;
        let absent = ids(graph, &step.add).difference(&self.facts.present);
        FetchPaths {
            roots: self.roots.clone(),
            paths: step.add.clone(),
            bytes: graph.size(&absent),
            from: self.facts.request.from.clone(),
        }
    }

    fn flips(&self, step: &'a order::Step) -> impl Iterator<Item = &'a Component> {
        let ids = step.flip.iter();
        ids.filter_map(|id| self.components.get(id.as_str()).copied())
    }

    fn compose(
        &self,
        index: usize,
        step: &order::Step,
        flipped: usize,
        packages: &mut BTreeSet<StorePath>,
    ) -> Compose {
        let mut etc = Vec::new();
        let mut units = Vec::new();
        let mut has_packages = false;
        for component in self.flips(step) {
            match component.kind {
                ComponentKind::Package => {
                    has_packages = true;
                    packages.retain(|path| !component.old.roots.contains(path));
                    packages.extend(component.new.roots.iter().cloned());
                }
                _ => {
                    for path in &component.changed {
                        match path.strip_prefix(UNIT_DIR) {
                            Some(unit) => units.push(unit.to_owned()),
                            None => etc.push(path.clone()),
                        }
                    }
                }
            }
        }
        let all = packages.iter().filter(|_| has_packages);
        Compose {
            roots: self.roots.clone(),
            number: number(index),
            base: self.before(index),
            target: self.facts.new.path.to_string(),
            etc,
            units,
            packages: all.map(ToString::to_string).collect(),
            label: format!("{flipped} of {} components", self.all),
            from: self.facts.request.from.clone(),
        }
    }

    /// Makes it run and looks whether that is well.
    fn take_over(&self, index: usize, is_last: bool, step: &order::Step) -> Vec<SwitchStep> {
        if self.facts.inhibited {
            return Vec::new();
        }
        let settings = &self.facts.settings;
        let soak = self.facts.request.soak.unwrap_or(settings.soak_seconds);
        let mut units: BTreeSet<String> = self.changed_units(step);
        if is_last {
            units.extend(self.facts.active.iter().cloned());
            let gone = |unit: &String| {
                !self
                    .facts
                    .new
                    .etc
                    .contains_key(&format!("{UNIT_DIR}{unit}"))
            };
            units.retain(|unit| !gone(unit) || unit.contains('@'));
        }
        let probes = settings
            .probes
            .iter()
            .filter(|probe| is_last || probe.unit.is_empty() || units.contains(&probe.unit));
        let mut steps = vec![
            SwitchStep::Activate(Activate {
                roots: self.roots.clone(),
                from: self.before(index),
                to: self.toplevel(index),
                own_program: is_last,
                seconds: settings.activate_seconds,
            }),
            SwitchStep::Prove(Prove {
                window_seconds: if is_last { soak } else { soak / SHARE },
                probes: probes.filter_map(probe).collect(),
                units: units.into_iter().collect(),
            }),
        ];
        let asked = match self.facts.request.confirm_within {
            Some(seconds) => seconds,
            None => settings.confirm_seconds,
        };
        if is_last && asked > 0 {
            steps.push(SwitchStep::Confirm { seconds: asked });
        }
        steps
    }

    /// Units with a file in the new generation that a step changes and that are to run.
    fn changed_units(&self, step: &order::Step) -> BTreeSet<String> {
        let paths = self.flips(step).flat_map(|component| &component.changed);
        let names = paths.filter_map(|path| {
            let name = path.strip_prefix(UNIT_DIR)?;
            let plain = !name.contains('/') && self.facts.new.etc.contains_key(path.as_str());
            plain.then(|| name.to_owned())
        });
        names
            .filter(|name| self.facts.active.contains(name))
            .collect()
    }

    /// What nobody needs after a step; nothing when there is nothing.
    fn release(&self, index: usize, step: &order::Step) -> Option<Release> {
        // At once, the old generation stays as one to go back to.
        let toplevels = if self.plan.steps.len() > 1 {
            vec![self.before(index)]
        } else {
            Vec::new()
        };
        let links = tops(&self.facts.graph, &step.add);
        let paths = if toplevels.is_empty() {
            Vec::new()
        } else {
            let mut paths = step.release.clone();
            paths.retain(|path| !self.scaffold.contains(path));
            if index == 0 {
                paths.extend(self.scaffold.iter().cloned());
            }
            paths
        };
        let empty = toplevels.is_empty() && links.is_empty();
        (!empty).then(|| Release {
            roots: self.roots.clone(),
            profile: profile(),
            toplevels,
            links,
            paths,
            from: self.facts.request.from.clone(),
        })
    }
}

/// Link trees of the old generation that nothing else needs.
fn scaffold(facts: &SwitchFacts, cut: &Cut) -> Vec<String> {
    let graph = &facts.graph;
    let ids = facts.old.scaffold.iter();
    let mut trees: PathSet = ids.filter_map(|path| graph.id(path)).collect();
    let others = facts.others.iter().map(|other| &other.closure);
    for needed in [&cut.new_closure, &facts.keep, &facts.only_here]
        .into_iter()
        .chain(others)
    {
        trees.remove_all(needed);
    }
    texts(graph, &trees)
}

fn number(index: usize) -> u32 {
    u32::try_from(index + 1).unwrap_or(u32::MAX)
}

fn ids(graph: &Graph, paths: &[String]) -> PathSet {
    let paths = paths.iter().filter_map(|path| StorePath::new(path).ok());
    paths.filter_map(|path| graph.id(&path)).collect()
}

/// Names of the roots that fetching these paths makes: those that no other one refers to.
fn tops(graph: &Graph, paths: &[String]) -> Vec<String> {
    let set = ids(graph, paths);
    let mut referred = PathSet::new();
    for id in set.iter() {
        for reference in graph.references(id) {
            referred.insert(*reference);
        }
    }
    let tops = graph.sorted(&set.difference(&referred)).into_iter();
    tops.map(|path| path.base_name().to_owned()).collect()
}

fn probe(settings: &ProbeSettings) -> Option<Probe> {
    let kind = if !settings.command.is_empty() {
        ProbeKind::Command(settings.command.clone())
    } else if !settings.tcp.is_empty() {
        ProbeKind::Tcp(settings.tcp.clone())
    } else if !settings.http.is_empty() {
        ProbeKind::Http(settings.http.clone())
    } else if !settings.unix.is_empty() {
        ProbeKind::Unix(PathBuf::from(&settings.unix))
    } else {
        return None;
    };
    Some(Probe {
        name: settings.name.clone(),
        unit: settings.unit.clone(),
        kind,
        seconds: settings.seconds,
    })
}

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

use crate::switch::compose::HYBRID;
use crate::switch::identity;
use crate::switch::plan::{Stale, SwitchFacts};
use crate::switch::step::{
    Activate, BOOTED, Compose, FetchPaths, Probe, ProbeKind, Prove, ROOTS, Release, SetDefault,
    SwitchStep, Toplevel,
};

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
    /// Components that an earlier step stops: when they flip, all of them comes back.
    stopped: BTreeSet<&'a str>,
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
            stopped: plan
                .steps
                .iter()
                .flat_map(|step| &step.stop)
                .map(String::as_str)
                .collect(),
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
            if index == 0 {
                steps.extend(self.left_behind().map(SwitchStep::Release));
            }
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
        self.named(&step.flip)
    }

    fn named(&self, ids: &'a [String]) -> impl Iterator<Item = &'a Component> {
        let ids = ids.iter();
        ids.filter_map(|id| self.components.get(id.as_str()).copied())
    }

    /// What a component's flip changes: of one that was stopped, everything.
    fn changed(&self, component: &'a Component) -> impl Iterator<Item = &'a String> {
        let again = self.stopped.contains(component.id.as_str());
        let entries = component.entries[1].iter().filter(move |_| again);
        let mut seen = BTreeSet::new();
        component
            .changed
            .iter()
            .chain(entries)
            .filter(move |path| seen.insert(*path))
    }

    fn compose(
        &self,
        index: usize,
        step: &'a order::Step,
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
                    for path in self.changed(component) {
                        match path.strip_prefix(UNIT_DIR) {
                            Some(unit) => units.push(unit.to_owned()),
                            None => etc.push(path.clone()),
                        }
                    }
                }
            }
        }
        let mut absent = Vec::new();
        for component in self.named(&step.stop) {
            if component.kind == ComponentKind::Package {
                has_packages = true;
                packages.retain(|path| !component.old.roots.contains(path));
            } else {
                absent.extend(component.entries[0].iter().cloned());
            }
        }
        let all = packages.iter().filter(|_| has_packages);
        let mut label = format!("{flipped} of {} components", self.all);
        if !step.stop.is_empty() {
            label.push_str(&format!(", without {}", step.stop.join(" ")));
        }
        Compose {
            roots: self.roots.clone(),
            number: number(index),
            base: self.before(index),
            target: self.facts.new.path.to_string(),
            etc,
            units,
            packages: all.map(ToString::to_string).collect(),
            label,
            from: self.facts.request.from.clone(),
            absent,
        }
    }

    /// Makes it run and looks whether that is well.
    fn take_over(&self, index: usize, is_last: bool, step: &'a order::Step) -> Vec<SwitchStep> {
        if self.facts.inhibited {
            return Vec::new();
        }
        let settings = &self.facts.settings;
        let window = match is_last {
            true => soak(self.facts),
            false => step_seconds(self.facts),
        };
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
                window_seconds: window,
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
    fn changed_units(&self, step: &'a order::Step) -> BTreeSet<String> {
        let paths = self
            .flips(step)
            .flat_map(|component| self.changed(component));
        let names = paths.filter_map(|path| {
            let name = path.strip_prefix(UNIT_DIR)?;
            let plain = !name.contains('/') && self.facts.new.etc.contains_key(path.as_str());
            plain.then(|| name.to_owned())
        });
        names
            .filter(|name| self.facts.active.contains(name))
            .collect()
    }

    /// Name of the root of the hybrid that the switch begins from, when it begins from one.
    fn hybrid(&self) -> Option<String> {
        let name = self.facts.old.path.name().strip_prefix(HYBRID)?;
        let (number, _) = name.split_once('-')?;
        Some(format!("hybrid-{number}"))
    }

    /// Whether nothing of what runs before the first step stays: at once, the old generation is kept as
    /// one to go back to; a hybrid is none.
    fn leaves_old(&self) -> bool {
        self.plan.steps.len() > 1 || self.hybrid().is_some()
    }

    /// The roots of an earlier switch that still hold what is left: the hybrid which it stopped at and
    /// that could not go as long as it ran, or the generation that it brought here.
    fn left_behind(&self) -> impl Iterator<Item = Release> {
        let old = self.leaves_old().then_some(&self.facts.old.path);
        let id = old.and_then(|path| self.facts.graph.id(path));
        let holds = move |it: &&Stale| id.is_some_and(|id| it.closure.contains(id));
        let stale = self.facts.stale.iter().filter(holds);
        stale.map(|it| Release {
            roots: it.roots.clone(),
            profile: profile(),
            toplevels: vec![Toplevel::Path(self.facts.old.path.to_string())],
            links: it.links.clone(),
            paths: Vec::new(),
            from: self.facts.request.from.clone(),
        })
    }

    /// What nobody needs after a step; nothing when there is nothing.
    fn release(&self, index: usize, step: &order::Step) -> Option<Release> {
        let hybrid = self.hybrid();
        let toplevels = match self.leaves_old() {
            true => vec![self.before(index)],
            false => Vec::new(),
        };
        let mut links = tops(&self.facts.graph, &step.add);
        links.extend(hybrid.filter(|_| index == 0));
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

/// Seconds for which the result is watched.
fn soak(facts: &SwitchFacts) -> u64 {
    facts.request.soak.unwrap_or(facts.settings.soak_seconds)
}

/// Seconds for which a step on the way is watched: what is broken often shows only after a moment.
pub fn step_seconds(facts: &SwitchFacts) -> u64 {
    (soak(facts) / SHARE).max(facts.settings.step_soak_seconds)
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

/// The paths of these names that are known.
pub fn ids(graph: &Graph, paths: &[String]) -> PathSet {
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

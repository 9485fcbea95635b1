//! What a switch is planned from, read from the machine and from the caches. Changes nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::slice;

use nixctl_planner::closure::{Graph, PathId, PathSet, StorePath};
use nixctl_planner::component::Toplevel;
use nixctl_planner::units::Decisions;
use nixctl_proto::operation::OperationKind;
use nixctl_proto::request::{Strategy, SwitchRequest};
use nixctl_proto::{Code, Failure, Generation};

use crate::engine::Question;
use crate::host::{Fs, FsError};
use crate::resource::error::fs_code;
use crate::switch::error::SwitchError;
use crate::switch::files::{Files, canonical};
use crate::switch::plan::SwitchFacts;
use crate::switch::plan::boot::BootRoom;
use crate::switch::plan::ladder::fits_at_once;
use crate::switch::plan::roots::{others, root_paths, stale};
use crate::switch::plan::target::{self, Caches};
use crate::switch::profile::generations;
use crate::switch::running::{BootParts, Running, booted_parts, kernel_parts, reboot_reasons};
use crate::switch::store::NixStore;
use crate::switch::units::facts::{Decided, decide_about};
use crate::switch::{ClosureReader, Limits, Located, Source, read_toplevel};

/// Where programs of Nix may be, the best first.
const PROGRAMS: [&str; 3] = [
    "/nix/var/nix/profiles/nixctl/bin/nix",
    "/nix/var/nix/profiles/default/bin/nix",
    "/run/current-system/sw/bin/nix",
];
/// The generation's own program that also writes boot entries.
const OWN_PROGRAM: &str = "bin/switch-to-configuration";

/// Reads everything for a switch.
///
/// # Errors
/// When the target is none, or something cannot be read.
pub fn gather(
    question: &Question<'_>,
    request: &SwitchRequest,
    kind: OperationKind,
) -> Result<SwitchFacts, Failure> {
    let target = StorePath::new(&request.toplevel)
        .map_err(|error| bad_target(&request.toplevel, &error.to_string()))?;
    let nix = nix(&question.host.fs, &format!("switch to {target}"))?;
    let closures = ClosureReader::new(question.host, &nix, question.cancel);
    let gatherer = Gatherer::new(question, request, target, &closures)?;
    // Where all is as asked already, nothing more has to be known.
    if gatherer.is_there()
        && !gatherer
            .valid(slice::from_ref(&gatherer.target))?
            .is_empty()
    {
        return Ok(gatherer.nothing(kind));
    }
    gatherer.facts(kind)
}

/// Reads what a switch is planned from.
pub(in crate::switch) struct Gatherer<'a> {
    pub(in crate::switch) question: &'a Question<'a>,
    request: &'a SwitchRequest,
    pub(in crate::switch) store: NixStore<'a>,
    closures: &'a ClosureReader<'a>,
    pub(in crate::switch) target: StorePath,
    pub(in crate::switch) old: StorePath,
    pub(in crate::switch) running: Running,
    pub(in crate::switch) generations: Vec<Generation>,
}

impl<'a> Gatherer<'a> {
    fn new(
        question: &'a Question<'a>,
        request: &'a SwitchRequest,
        target: StorePath,
        closures: &'a ClosureReader<'a>,
    ) -> Result<Self, Failure> {
        let host = question.host;
        let what = format!("switch to {target}");
        let store = NixStore::on(host, question.cancel, &what).map_err(|error| error.failure())?;
        let running = Running::read(&host.fs).map_err(file)?;
        let generations = generations::list(&host.fs).map_err(file)?;
        let default = generations.iter().find(|it| it.default);
        let old = running
            .current
            .clone()
            .or_else(|| default.map(|it| it.path.clone()));
        let old = old.ok_or_else(|| {
            let why = "this machine runs no generation that it could be switched from";
            bad_target(target.as_str(), why)
        })?;
        let old = StorePath::new(&old).map_err(|error| bad_target(&old, &error.to_string()))?;
        Ok(Gatherer {
            closures,
            question,
            request,
            store,
            target,
            old,
            running,
            generations,
        })
    }

    fn facts(&self, kind: OperationKind) -> Result<SwitchFacts, Failure> {
        let host = self.question.host;
        let settings = &self.question.settings.switch;
        let mut notes = Vec::new();
        let mut graph = Graph::new();
        let caches = Caches::new(self.closures, self.request);
        let roots = root_paths(self)?;
        self.read_local(&mut graph, &roots)?;
        let located = target::locate(self.closures, &mut graph, &caches, &self.target)?;
        let new_closure = closure(&graph, &self.target)?;
        let old_closure = closure(&graph, &self.old)?;
        let keep = set_closure(&graph, &roots)?;
        let others = others(self, &mut graph)?;
        let stale = stale(self, &mut graph)?;
        let here = others.iter().map(|it| &it.closure);
        let here = here.chain(stale.iter().map(|it| &it.closure));
        let here = here.chain([&old_closure, &keep]);
        let present = present(&graph, here, &new_closure, &located);

        let old = read_toplevel(&host.fs, &graph, &self.old, Limits::default())
            .map_err(|error| bad_target(self.old.as_str(), &error.to_string()))?;
        let seen = target::look(self.closures, &graph, &located, &self.target)?;
        let theirs = &seen.files();
        notes.extend(target::unread_units(&seen.toplevel, &located));

        let (parts, inhibited) = self.reboot(theirs)?;
        let decided = self.decide(theirs, &mut notes)?;
        let booted = self.booted_parts(&graph)?;
        let boot = self.boot_room(theirs, &graph)?;
        let space = host.fs.space(Path::new("/nix/store")).map_err(file)?;
        let new = seen.toplevel;
        let mut facts = SwitchFacts {
            kind,
            request: self.request.clone(),
            settings: settings.clone(),
            keep,
            others,
            stale,
            is_there: false,
            free_bytes: space.free_bytes,
            free_inodes: space.free_inodes,
            used: (space.used_bytes, space.used_inodes),
            units: decided.decisions,
            active: decided.active.iter().map(ToString::to_string).collect(),
            reboot: parts,
            graph,
            old,
            new,
            present,
            booted,
            only_here: PathSet::new(),
            boot,
            inhibited,
            notes,
        };
        let both = old_closure.union(&new_closure);
        let nothing_goes = !self.is_hybrid() && fits_at_once(&facts, &both);
        if self.request.strategy != Strategy::Atomic && !nothing_goes {
            facts.only_here = self.only_here(&facts.graph, &caches, &old_closure, &new_closure)?;
        }
        Ok(facts)
    }

    /// What is to be known when there is nothing to do.
    fn nothing(&self, kind: OperationKind) -> SwitchFacts {
        SwitchFacts {
            kind,
            request: self.request.clone(),
            settings: self.question.settings.switch.clone(),
            graph: Graph::new(),
            old: Toplevel::new(self.old.clone()),
            new: Toplevel::new(self.target.clone()),
            present: PathSet::new(),
            keep: PathSet::new(),
            booted: PathSet::new(),
            only_here: PathSet::new(),
            others: Vec::new(),
            stale: Vec::new(),
            free_bytes: 0,
            free_inodes: 0,
            used: (0, 0),
            boot: None,
            units: Decisions::default(),
            active: BTreeSet::new(),
            reboot: Vec::new(),
            inhibited: false,
            is_there: true,
            notes: Vec::new(),
        }
    }

    /// Reads what runs, what the roots of others hold, and the target where it seems to be here: all
    /// with one question.
    fn read_local(&self, graph: &mut Graph, roots: &[StorePath]) -> Result<(), Failure> {
        let mut local: Vec<StorePath> = vec![self.old.clone()];
        local.extend(roots.iter().cloned());
        let fs = &self.question.host.fs;
        if self.target != self.old && fs.is_dir(Path::new(self.target.as_str())) {
            let with_target = [&local[..], slice::from_ref(&self.target)].concat();
            match self.closures.read(graph, &Source::Local, &with_target) {
                Ok(()) => return Ok(()),
                Err(error) => tracing::debug!("the target is not whole yet: {error}"),
            }
        }
        self.read(graph, &local)
    }

    /// Whether old generations may be dropped because somebody said so for this one switch.
    pub(in crate::switch) fn question_drops(&self) -> bool {
        self.request.drop_old
    }

    /// Whether the target runs and is the default.
    fn is_there(&self) -> bool {
        let default = self.generations.iter().find(|it| it.default);
        self.target == self.old && default.is_some_and(|it| it.path == self.target.as_str())
    }

    /// Those of these paths that are in the store.
    pub(in crate::switch) fn valid(
        &self,
        paths: &[StorePath],
    ) -> Result<BTreeSet<String>, Failure> {
        let paths: Vec<String> = paths.iter().map(ToString::to_string).collect();
        self.store.valid(&paths).map_err(|error| error.failure())
    }

    /// Adds closures of the store to the graph.
    pub(in crate::switch) fn read(
        &self,
        graph: &mut Graph,
        roots: &[StorePath],
    ) -> Result<(), Failure> {
        let read = self.closures.read(graph, &Source::Local, roots);
        read.map_err(|error| error.failure())
    }

    /// Why the machine must be restarted, and whether that must come first.
    fn reboot(&self, theirs: &dyn Files) -> Result<(Vec<String>, bool), Failure> {
        let fs = &self.question.host.fs;
        let read =
            |files: &dyn Files, path: &str| BootParts::read(files, Path::new(path)).map_err(file);
        let current = read(fs, self.old.as_str())?;
        let booted = booted_parts(fs, &current).map_err(file)?;
        let booted = booted.unwrap_or_else(|| current.clone());
        let new = read(theirs, self.target.as_str())?;
        let reasons = reboot_reasons(&booted, &current, &new);
        let inhibited = reasons.iter().any(|reason| reason.inhibits());
        Ok((reasons.iter().map(ToString::to_string).collect(), inhibited))
    }

    /// What happens to units. Without a service manager that is nothing.
    fn decide(&self, theirs: &dyn Files, notes: &mut Vec<String>) -> Result<Decided, Failure> {
        let host = self.question.host;
        let Some(control) = host.services.control() else {
            notes.push("no service manager runs here: what happens to units is not known".into());
            return Ok(Decided {
                decisions: Decisions::default(),
                ..Decided::default()
            });
        };
        let target = Path::new(self.target.as_str());
        decide_about(&host.fs, theirs, control, target, &BTreeSet::new())
            .map_err(|error| error.failure())
    }

    /// What the running kernel needs of the generation that was booted, when that is the one that
    /// is left. Another one is kept as a whole.
    fn booted_parts(&self, graph: &Graph) -> Result<PathSet, Failure> {
        let fs = &self.question.host.fs;
        if self.running.booted.as_deref() != Some(self.old.as_str()) {
            return Ok(PathSet::new());
        }
        let parts = kernel_parts(fs, Path::new(self.old.as_str())).map_err(file)?;
        let paths = parts.iter().filter_map(|path| StorePath::new(path).ok());
        let known: Vec<StorePath> = paths.filter(|path| graph.is_known(path)).collect();
        set_closure(graph, &known)
    }

    /// Room for boot files; nothing where nobody writes any.
    fn boot_room(&self, theirs: &dyn Files, graph: &Graph) -> Result<Option<BootRoom>, Failure> {
        let top = Path::new(self.target.as_str());
        if theirs.look(&top.join(OWN_PROGRAM)).map_err(file)?.is_none() {
            return Ok(None);
        }
        BootRoom::read(&self.question.host.fs, theirs, top, graph).map_err(file)
    }

    /// Whether the switch begins from a generation that is only a step on a way.
    fn is_hybrid(&self) -> bool {
        let is_hybrid = |it: &Generation| it.hybrid && it.path == self.old.as_str();
        self.generations.iter().any(is_hybrid)
    }

    /// Old paths that no cache offers, with what they need.
    fn only_here(
        &self,
        graph: &Graph,
        caches: &Caches,
        old: &PathSet,
        new: &PathSet,
    ) -> Result<PathSet, Failure> {
        let goes = old.difference(new);
        let mut left: BTreeSet<StorePath> = goes.iter().map(|id| graph.path(id).clone()).collect();
        // A hybrid of ours is composed again from its recipe.
        if self.is_hybrid() {
            left.retain(|path| {
                path != &self.old && path.name() != "etc" && path.name() != "system-path"
            });
        }
        for cache in caches.lasting() {
            if left.is_empty() {
                break;
            }
            let asked: Vec<StorePath> = left.iter().cloned().collect();
            let cache = Source::Cache(cache.clone());
            match self.closures.offered(&cache, &asked) {
                Ok(offered) => left.retain(|path| !offered.contains(path)),
                Err(error) => tracing::warn!("cannot ask what can be fetched again: {error}"),
            }
        }
        let left: Vec<StorePath> = left.into_iter().collect();
        set_closure(graph, &left)
    }
}

/// What is in the store: closures that were read from it, and what it has of the new one.
fn present<'s>(
    graph: &Graph,
    here: impl Iterator<Item = &'s PathSet>,
    new: &PathSet,
    located: &Located,
) -> PathSet {
    let is_here = |id: &PathId| located.cache_of(graph.path(*id)).is_none();
    let mut present: PathSet = new.iter().filter(is_here).collect();
    for closure in here {
        present.add_all(closure);
    }
    present
}

/// Store path of the Nix whose programs are used.
fn nix(fs: &Fs, what: &str) -> Result<StorePath, Failure> {
    for program in PROGRAMS {
        let path = canonical(fs, Path::new(program)).map_err(file)?;
        let path = path.map(|path| path.to_string_lossy().into_owned());
        if let Some(path) = path
            && let Ok((store, _)) = StorePath::containing(&path)
            && fs.is_dir(Path::new(store.as_str()))
        {
            return Ok(store);
        }
    }
    let what = what.to_owned();
    Err(SwitchError::NoNix { what }.failure())
}

pub(in crate::switch) fn closure(graph: &Graph, path: &StorePath) -> Result<PathSet, Failure> {
    set_closure(graph, std::slice::from_ref(path))
}

pub(in crate::switch) fn set_closure(
    graph: &Graph,
    paths: &[StorePath],
) -> Result<PathSet, Failure> {
    let closure = graph.closure_of(paths);
    closure.map_err(|error| Failure::from_error(Code::Incomplete, &error))
}

pub(in crate::switch) fn file(error: FsError) -> Failure {
    Failure::from_error(fs_code(&error.source), &error)
}

/// That what was named is no generation to switch to.
pub fn bad_target(target: &str, why: &str) -> Failure {
    let error = SwitchError::BadTarget {
        target: target.to_owned(),
        why: why.to_owned(),
    };
    error.failure()
}

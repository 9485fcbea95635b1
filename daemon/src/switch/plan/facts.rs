//! What a switch is planned from, read from the machine and from the caches. Changes nothing.

use std::collections::BTreeSet;
use std::path::Path;

use nixctl_planner::closure::{Graph, PathSet, StorePath};
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
use crate::switch::plan::roots::{others, root_paths, stale};
use crate::switch::plan::target::{self, Caches};
use crate::switch::profile::generations;
use crate::switch::running::{BootParts, Running, booted_parts, kernel_parts, reboot_reasons};
use crate::switch::store::NixStore;
use crate::switch::units::facts::{Decided, decide_about};
use crate::switch::{ClosureReader, Limits, Source, read_toplevel};

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
    Gatherer::new(question, request, target, &closures)?.facts(kind)
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
        let caches = target::caches(self.closures, self.request);
        let roots = root_paths(self)?;
        let mut local: Vec<StorePath> = vec![self.old.clone()];
        local.extend(roots.iter().cloned());
        self.read(&mut graph, &local)?;
        let located = target::locate(self.closures, &mut graph, &caches, &self.target)?;
        let new_closure = closure(&graph, &self.target)?;
        let old_closure = closure(&graph, &self.old)?;
        let keep = set_closure(&graph, &roots)?;
        let others = others(self, &mut graph)?;
        let stale = stale(self, &mut graph)?;
        let here = others.iter().map(|it| &it.closure);
        let here = here.chain(stale.iter().map(|it| &it.closure));
        let present = self.present(&graph, here.chain([&old_closure, &keep]), &new_closure)?;

        let old = read_toplevel(&host.fs, &graph, &self.old, Limits::default())
            .map_err(|error| bad_target(self.old.as_str(), &error.to_string()))?;
        let seen = target::look(self.closures, &graph, &located, &self.target)?;
        let theirs = &seen.files();
        notes.extend(target::unread_units(&seen.toplevel, &located));

        let (parts, inhibited) = self.reboot(theirs)?;
        let decided = self.decide(theirs, &mut notes)?;
        let booted = self.booted_parts(&graph)?;
        let boot = self.boot_room(theirs, &graph)?;
        let only_here = match self.request.strategy {
            Strategy::Atomic => PathSet::new(),
            _ => self.only_here(&graph, &caches, &old_closure, &new_closure)?,
        };
        let space = host.fs.space(Path::new("/nix/store")).map_err(file)?;
        let new = seen.toplevel;
        let facts = SwitchFacts {
            kind,
            request: self.request.clone(),
            settings: settings.clone(),
            keep,
            others,
            stale,
            is_there: self.is_there(),
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
            only_here,
            boot,
            inhibited,
            notes,
        };
        Ok(facts)
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

    pub(in crate::switch) fn is_valid(&self, path: &StorePath) -> Result<bool, Failure> {
        let valid = self.store.valid(&[path.to_string()]);
        Ok(!valid.map_err(|error| error.failure())?.is_empty())
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

    /// What is in the store: closures that were read from it, and what it has of the new one.
    fn present<'s>(
        &self,
        graph: &Graph,
        here: impl Iterator<Item = &'s PathSet>,
        new: &PathSet,
    ) -> Result<PathSet, Failure> {
        let asked: Vec<String> = new.iter().map(|id| graph.path(id).to_string()).collect();
        let valid = self.store.valid(&asked).map_err(|error| error.failure())?;
        let mut present: PathSet = new
            .iter()
            .filter(|id| valid.contains(graph.path(*id).as_str()))
            .collect();
        for closure in here {
            present.add_all(closure);
        }
        Ok(present)
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
        let is_hybrid = |it: &Generation| it.hybrid && it.path == self.old.as_str();
        if self.generations.iter().any(is_hybrid) {
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

//! What a switch is planned from, read from the machine and from the caches. Changes nothing but
//! Nix's own cache of narinfo files.

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
use crate::resource::nix_command;
use crate::switch::error::SwitchError;
use crate::switch::plan::SwitchFacts;
use crate::switch::plan::roots::{others, root_paths, stale};
use crate::switch::profile::generations;
use crate::switch::running::{BootParts, Running, kernel_parts, reboot_reasons};
use crate::switch::store::NixStore;
use crate::switch::toplevel::peek;
use crate::switch::units::facts::{Decided, decide_about};
use crate::switch::units::read::canonical;
use crate::switch::{ClosureReader, Limits, ReadError, Source, StoreUrl, read_toplevel};

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
    Gatherer::new(question, request)?.facts(kind)
}

/// Reads what a switch is planned from.
pub(in crate::switch) struct Gatherer<'a> {
    pub(in crate::switch) question: &'a Question<'a>,
    request: &'a SwitchRequest,
    pub(in crate::switch) store: NixStore<'a>,
    nix: StorePath,
    pub(in crate::switch) target: StorePath,
    pub(in crate::switch) old: StorePath,
    pub(in crate::switch) running: Running,
    pub(in crate::switch) generations: Vec<Generation>,
}

impl<'a> Gatherer<'a> {
    fn new(question: &'a Question<'a>, request: &'a SwitchRequest) -> Result<Self, Failure> {
        let host = question.host;
        let target = StorePath::new(&request.toplevel)
            .map_err(|error| bad_target(&request.toplevel, &error.to_string()))?;
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
            nix: nix(&host.fs, &what)?,
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
        let caches = self.caches();
        let target_here = self.is_valid(&self.target)?;
        let roots = root_paths(self)?;
        let mut local: Vec<StorePath> = vec![self.old.clone()];
        local.extend(target_here.then(|| self.target.clone()));
        local.extend(roots.iter().cloned());
        self.read(&mut graph, &Source::Local, &local)?;
        let origin = if target_here {
            Source::Local
        } else {
            self.find(&mut graph, &caches)?
        };
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
        let looked = match &origin {
            Source::Local => None,
            cache => {
                let cancel = self.question.cancel;
                let peek = peek::look(host, &self.nix, cache, &graph, &self.target, cancel);
                Some(peek.map_err(|error| error.failure())?)
            }
        };
        let theirs = looked.as_ref().map_or(&host.fs, |peek| &peek.fs);
        let mut new = read_toplevel(theirs, &graph, &self.target, Limits::default())
            .map_err(|error| bad_target(self.target.as_str(), &error.to_string()))?;
        if looked.is_some() {
            let sw = Path::new(self.target.as_str()).join("sw");
            let sw = theirs.read_link(&sw).map_err(file)?;
            peek::settle(&mut new, &graph, sw.as_deref());
        }
        if new.etc.is_empty() {
            return Err(bad_target(self.target.as_str(), "it has no etc/"));
        }

        let (parts, inhibited) = self.reboot(theirs)?;
        let decided = self.decide(theirs, &mut notes)?;
        let booted = self.booted_parts(&graph)?;
        let boot = self.boot_room(theirs, &graph, &parts)?;
        let only_here = match self.request.strategy {
            Strategy::Atomic => PathSet::new(),
            _ => self.only_here(&graph, &caches, &old_closure, &new_closure)?,
        };
        let space = host.fs.space(Path::new("/nix/store")).map_err(file)?;
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

    pub(in crate::switch) fn read(
        &self,
        graph: &mut Graph,
        from: &Source,
        roots: &[StorePath],
    ) -> Result<(), Failure> {
        let reader = ClosureReader::new(self.question.host, &self.nix, self.question.cancel);
        reader
            .read(graph, from, roots)
            .map_err(|error| unread(&error))
    }

    /// Caches that may be asked: the one named, else those of the machine's Nix.
    fn caches(&self) -> Vec<Source> {
        if let Some(from) = &self.request.from {
            return StoreUrl::new(from).map(Source::Cache).into_iter().collect();
        }
        let args = [
            "--extra-experimental-features",
            "nix-command",
            "config",
            "show",
            "substituters",
        ];
        let host = self.question.host;
        let command = nix_command::command_of(host, self.nix.as_str(), "nix", &args);
        let output = self.question.host.exec.run(&command, self.question.cancel);
        let text = output.map(|output| output.text()).unwrap_or_default();
        let urls = text
            .split_whitespace()
            .filter_map(|url| StoreUrl::new(url).ok());
        urls.map(Source::Cache).collect()
    }

    /// The first cache that has the whole target; its closure is in the graph then.
    fn find(&self, graph: &mut Graph, caches: &[Source]) -> Result<Source, Failure> {
        let mut first = None;
        for cache in caches {
            match self.read(graph, cache, std::slice::from_ref(&self.target)) {
                Ok(()) => return Ok(cache.clone()),
                Err(failure) if failure.code == Code::Cancelled => return Err(failure),
                Err(failure) => drop(first.get_or_insert(failure)),
            }
        }
        let why = "it is not in the store, and no cache has it";
        let failure = bad_target(self.target.as_str(), why);
        Err(match first {
            Some(cause) => failure.with_cause(cause.message),
            None => failure,
        })
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
    fn reboot(&self, theirs: &Fs) -> Result<(Vec<String>, bool), Failure> {
        let fs = &self.question.host.fs;
        let read = |fs: &Fs, path: &str| BootParts::read(fs, Path::new(path)).map_err(file);
        let current = read(fs, self.old.as_str())?;
        let booted = match &self.running.booted {
            Some(path) => read(fs, path)?,
            None => current.clone(),
        };
        let new = read(theirs, self.target.as_str())?;
        let reasons = reboot_reasons(&booted, &current, &new);
        let inhibited = reasons.iter().any(|reason| reason.inhibits());
        Ok((reasons.iter().map(ToString::to_string).collect(), inhibited))
    }

    /// What happens to units. Without a service manager that is nothing.
    fn decide(&self, theirs: &Fs, notes: &mut Vec<String>) -> Result<Decided, Failure> {
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

    /// Bytes that come on /boot, and that are free there; nothing where nothing is written there.
    fn boot_room(
        &self,
        theirs: &Fs,
        graph: &Graph,
        reasons: &[String],
    ) -> Result<Option<(u64, u64)>, Failure> {
        let fs = &self.question.host.fs;
        let boot = Path::new("/boot");
        let top = Path::new(self.target.as_str());
        let writes = theirs.meta(&top.join(OWN_PROGRAM)).map_err(file)?.is_some();
        if reasons.is_empty() || !writes || !fs.is_dir(boot) {
            return Ok(None);
        }
        let mut needed = 0;
        for part in ["kernel", "initrd"] {
            let link = theirs.read_link(&top.join(part)).map_err(file)?;
            let text = link.unwrap_or_default().to_string_lossy().into_owned();
            let path = StorePath::containing(&text).ok();
            let id = path.and_then(|(path, _)| graph.id(&path));
            needed += id.map_or(0, |id| graph.nar_size(id));
        }
        Ok(Some((needed, fs.space(boot).map_err(file)?.free_bytes)))
    }

    /// Old paths that no cache offers, with what they need.
    fn only_here(
        &self,
        graph: &Graph,
        caches: &[Source],
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
        let reader = ClosureReader::new(self.question.host, &self.nix, self.question.cancel);
        for cache in caches {
            if left.is_empty() {
                break;
            }
            let asked: Vec<StorePath> = left.iter().cloned().collect();
            match reader.offered(cache, &asked) {
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

fn unread(error: &ReadError) -> Failure {
    use crate::host::ExecError;
    let code = match error {
        ReadError::Exec {
            source: ExecError::Stopped { .. },
            ..
        } => Code::Cancelled,
        ReadError::Exec { .. } | ReadError::Missing { .. } => Code::CannotFetch,
        ReadError::Home(error) => fs_code(&error.source),
        ReadError::Answer { .. } | ReadError::TooMany { .. } | ReadError::Graph(_) => {
            Code::CommandFailed
        }
    };
    Failure::from_error(code, error)
}

//! A machine that switches go over, made of names: what is in the store, what runs, what is booted.
//!
//! `old` needs `a1` and `b1`, the hybrid 1 needs `a2` and `b1`, `new` needs `a2` and `b2`. After every
//! step the default of the next boot must have all that it needs.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use nixctl_proto::{Code, Failure, OperationKind};

use super::super::super::step::{PlannedStep, Step, StepFailure};
use super::super::super::switching::tests::{activate, prove, set_default};
use super::super::planned;
use crate::catalogue::Planned;
use crate::host::clock::Moment;
use crate::host::{Clock, Host, fake};
use crate::resource::{Context, Undo, Undone};
use crate::switch::carry::{Carry, waiting};
use crate::switch::step::{
    Compose, FetchPaths, Forget, Prove, Release, SwitchStep, SwitchUndo, Toplevel,
};

/// Everything that outlives the daemon.
#[derive(Debug, Default)]
pub struct Things {
    pub store: BTreeSet<String>,
    pub composed: BTreeSet<u32>,
    pub running: String,
    pub default: String,
    pub boot: u32,
    /// Where a rollback would lead, when the last plan was made.
    pub back: Option<u64>,
    /// Names of steps that fail, as in the log, how often, and why.
    pub trouble: BTreeMap<String, (u32, StepFailure)>,
    /// What was done: `fetch:a2`, `undo fetch:a2`.
    pub log: Vec<String>,
}

/// The machine; clones share it.
#[derive(Clone)]
pub struct World {
    pub things: Arc<Mutex<Things>>,
    pub root: PathBuf,
}

/// A clock that knows the boot and goes on.
#[derive(Debug)]
struct BootClock(Arc<Mutex<Things>>, Instant);

impl Clock for BootClock {
    fn now(&self) -> u64 {
        1_700_000_000_000
    }

    fn moment(&self) -> Moment {
        Moment {
            era: self.0.lock().unwrap().boot.to_string(),
            millis: self.1.elapsed().as_millis() as u64,
        }
    }
}

pub fn name(toplevel: &Toplevel) -> String {
    match toplevel {
        Toplevel::Path(path) => path.clone(),
        Toplevel::Hybrid(number) => format!("hybrid-{number}"),
    }
}

pub fn needs(toplevel: &str) -> &'static [&'static str] {
    match toplevel {
        "old" => &["a1", "b1"],
        "hybrid-1" => &["a2", "b1"],
        "new" => &["a2", "b2"],
        other => panic!("{other}"),
    }
}

/// The name of a step in the log.
pub fn word(step: &SwitchStep) -> String {
    match step {
        SwitchStep::Forget(_) => "forget".to_owned(),
        SwitchStep::Fetch(it) => format!("fetch:{}", it.paths.join(",")),
        SwitchStep::Compose(it) => format!("compose:{}", it.number),
        SwitchStep::Activate(it) => format!("activate:{}", name(&it.to)),
        SwitchStep::Prove(it) => format!("prove:{}", it.units.join(",")),
        SwitchStep::Confirm { .. } => "confirm".to_owned(),
        SwitchStep::SetDefault(it) => format!("default:{}", name(&it.toplevel)),
        SwitchStep::Release(it) => format!("release:{}", it.paths.join(",")),
    }
}

impl Things {
    fn check(&self) {
        for need in needs(&self.default) {
            assert!(
                self.store.contains(*need),
                "{need} of the default: {self:?}"
            );
        }
    }

    /// What a test compares.
    pub fn state(&self) -> (String, String, Vec<String>) {
        let store = self.store.iter().cloned().collect();
        (self.running.clone(), self.default.clone(), store)
    }
}

impl World {
    pub fn new(root: PathBuf) -> Self {
        let things = Things {
            store: ["a1", "b1"].map(str::to_owned).into(),
            running: "old".to_owned(),
            default: "old".to_owned(),
            ..Things::default()
        };
        let world = World {
            things: Arc::new(Mutex::new(things)),
            root,
        };
        std::fs::create_dir_all(world.root.join("run")).unwrap();
        world.link();
        world
    }

    pub fn host(&self) -> Host {
        Host {
            clock: Arc::new(BootClock(Arc::clone(&self.things), Instant::now())),
            ..fake::host(&self.root).0
        }
    }

    /// Lets a step fail so often.
    pub fn trouble(&self, step: &str, times: u32, failure: StepFailure) {
        let mut things = self.things.lock().unwrap();
        things.trouble.insert(step.to_owned(), (times, failure));
    }

    /// Restarts the machine: the default runs.
    pub fn reboot(&self) {
        let mut things = self.things.lock().unwrap();
        things.check();
        things.boot += 1;
        things.running = things.default.clone();
        drop(things);
        self.link();
    }

    /// The trouble that was prepared for this.
    pub fn fails(&self, word: &str) -> Result<(), StepFailure> {
        let mut things = self.things.lock().unwrap();
        match things.trouble.get_mut(word) {
            Some((times, failure)) if *times > 0 => {
                *times -= 1;
                let failure = failure.clone();
                things.log.push(format!("fail {word}"));
                Err(failure)
            }
            _ => Ok(()),
        }
    }

    pub fn state(&self) -> (String, String, Vec<String>) {
        self.things.lock().unwrap().state()
    }

    pub fn log(&self) -> Vec<String> {
        self.things.lock().unwrap().log.clone()
    }

    fn link(&self) {
        let link = self.root.join("run/current-system");
        let _ = std::fs::remove_file(&link);
        symlink(&self.things.lock().unwrap().running, link).unwrap();
    }

    /// What undoing a step needs.
    pub fn read(&self, step: &SwitchStep) -> SwitchUndo {
        let things = self.things.lock().unwrap();
        match step {
            SwitchStep::Fetch(it) => SwitchUndo::Fetch {
                links: Vec::new(),
                valid: it
                    .paths
                    .iter()
                    .filter(|path| things.store.contains(*path))
                    .cloned()
                    .collect(),
            },
            SwitchStep::Activate(_) => SwitchUndo::Activate {
                running: things.running.clone(),
                boot: things.boot.to_string(),
                decisions: String::new(),
            },
            SwitchStep::SetDefault(_) => SwitchUndo::Default {
                generations: Vec::new(),
                current: 0,
                booted: things.default.clone(),
            },
            _ => SwitchUndo::Release {
                links: Vec::new(),
                generations: Vec::new(),
            },
        }
    }

    /// Does what a step does.
    pub fn act(&self, step: &SwitchStep) {
        let mut things = self.things.lock().unwrap();
        things.log.push(word(step));
        match step {
            SwitchStep::Fetch(it) => things.store.extend(it.paths.iter().cloned()),
            SwitchStep::Compose(it) => drop(things.composed.insert(it.number)),
            SwitchStep::Activate(it) => {
                let to = name(&it.to);
                for need in needs(&to) {
                    assert!(things.store.contains(*need), "{need} of {to}");
                }
                things.running = to;
            }
            SwitchStep::SetDefault(it) => {
                let to = name(&it.toplevel);
                assert_eq!(things.running, to, "nothing unproven becomes the default");
                things.default = to;
            }
            SwitchStep::Release(it) => things.store.retain(|path| !it.paths.contains(path)),
            SwitchStep::Forget(_) | SwitchStep::Prove(_) | SwitchStep::Confirm { .. } => {}
        }
        things.check();
        drop(things);
        self.link();
    }

    /// Undoes it.
    pub fn take_back(&self, step: &SwitchStep, undo: &SwitchUndo) {
        let mut things = self.things.lock().unwrap();
        things.log.push(format!("undo {}", word(step)));
        match (step, undo) {
            (SwitchStep::Fetch(it), SwitchUndo::Fetch { valid, .. }) => {
                let goes = |path: &String| it.paths.contains(path) && !valid.contains(path);
                things.store.retain(|path| !goes(path));
            }
            (SwitchStep::Compose(it), _) => drop(things.composed.remove(&it.number)),
            (SwitchStep::Activate(_), SwitchUndo::Activate { running, .. }) => {
                things.running.clone_from(running);
            }
            (SwitchStep::SetDefault(_), SwitchUndo::Default { booted, .. }) => {
                things.default.clone_from(booted);
            }
            (SwitchStep::Release(it), _) => things.store.extend(it.paths.iter().cloned()),
            _ => {}
        }
        things.check();
        drop(things);
        self.link();
    }
}

impl Carry for World {
    fn prepare(&self, step: &SwitchStep, context: &Context<'_>) -> Result<SwitchUndo, StepFailure> {
        match step {
            SwitchStep::Confirm { .. } => Ok(waiting(context.host)),
            step => Ok(self.read(step)),
        }
    }

    fn apply(
        &self,
        step: &SwitchStep,
        _: &Context<'_>,
        _: &SwitchUndo,
    ) -> Result<Undone, StepFailure> {
        self.fails(&word(step))?;
        self.act(step);
        Ok(Undone::Clean)
    }

    fn undo(
        &self,
        step: &SwitchStep,
        _: &Context<'_>,
        undo: &SwitchUndo,
    ) -> Result<Undone, StepFailure> {
        self.fails(&format!("undo {}", word(step)))?;
        self.take_back(step, undo);
        Ok(Undone::Clean)
    }

    fn sync(&self, _: &SwitchStep, _: &Host) -> Result<(), StepFailure> {
        Ok(())
    }
}

fn roots() -> PathBuf {
    PathBuf::from("/roots")
}

pub fn fetch(paths: &[&str]) -> SwitchStep {
    SwitchStep::Fetch(FetchPaths {
        roots: roots(),
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
        bytes: 1 << 20,
        from: None,
    })
}

fn compose(base: Toplevel) -> SwitchStep {
    SwitchStep::Compose(Compose {
        roots: roots(),
        number: 1,
        base,
        target: "new".to_owned(),
        etc: Vec::new(),
        units: Vec::new(),
        packages: Vec::new(),
        absent: Vec::new(),
        label: "1 of 2 components".to_owned(),
        from: None,
    })
}

fn release(top: Toplevel, paths: &[&str]) -> SwitchStep {
    SwitchStep::Release(Release {
        roots: roots(),
        profile: PathBuf::from("/profile"),
        toplevels: vec![top],
        links: Vec::new(),
        paths: paths.iter().map(|&path| path.to_owned()).collect(),
        from: None,
    })
}

fn prove_of(name: &str) -> SwitchStep {
    match prove() {
        SwitchStep::Prove(it) => SwitchStep::Prove(Prove {
            units: vec![name.to_owned()],
            ..it
        }),
        other => other,
    }
}

/// The whole way from `old` to `new`; with a confirmation when its seconds are named.
pub fn script(confirm: Option<u64>) -> Vec<SwitchStep> {
    let (old, one) = (Toplevel::Path("old".to_owned()), Toplevel::Hybrid(1));
    let new = Toplevel::Path("new".to_owned());
    let mut steps = vec![
        SwitchStep::Forget(Forget {
            profile: PathBuf::from("/profile"),
            generations: Vec::new(),
            paths: Vec::new(),
        }),
        fetch(&["a2"]),
        compose(old.clone()),
        activate(old.clone(), one.clone()),
        prove_of("one"),
        set_default(one.clone()),
        release(old, &["a1"]),
        fetch(&["b2"]),
        activate(one.clone(), new.clone()),
        prove_of("new"),
    ];
    steps.extend(confirm.map(|seconds| SwitchStep::Confirm { seconds }));
    steps.extend([set_default(new), release(one, &["b1"])]);
    steps
}

/// The same as a plan.
pub fn plan(steps: Vec<SwitchStep>) -> Planned {
    let steps = steps.into_iter().map(|step| Step::Switch(Box::new(step)));
    planned(OperationKind::Switch, steps.collect())
}

/// Carries a record of a journal over to a machine: an effect, or its undoing.
pub fn replay(world: &World, steps: &[PlannedStep], step: u32, undoing: Option<&Undo>) {
    let Step::Switch(it) = &steps[step as usize].step else {
        return;
    };
    match undoing {
        None => world.act(it),
        Some(Undo::Switch(undo)) => world.take_back(it, undo),
        Some(_) => {}
    }
}

/// A failure that is waited for.
pub fn passing(reason: &str) -> StepFailure {
    StepFailure {
        failure: Failure::new(Code::DiskFull, "cannot fetch"),
        stopped: false,
        waits: Some(reason.to_owned()),
    }
}

/// One that is not.
pub fn lasting() -> StepFailure {
    Failure::new(Code::NotHealthy, "cannot prove it: a.service failed").into()
}

//! After a boot: what is proven, what is left, and what is left alone.

use std::os::unix::fs::symlink;

use nixctl_proto::request::{AfterBoot, RollbackRequest};

use super::*;
use crate::host::fake::FakeServices;
use crate::switch::boot::vital::Vital;
use crate::switch::boot::{BootRecord, BootState};

const GOOD: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-good";
const BAD: &str = "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-bad";

const ROOTS_OF_KERNELS: &str = "nix/var/nix/gcroots/nixctl/booted";
const ROOT_OF_BOOTED: &str = "nix/var/nix/gcroots/booted-system";

/// A machine that was booted into generation 2, which is the default; 1 is there, too.
struct Booted {
    fixture: Fixture,
    services: Arc<FakeServices>,
}

impl Booted {
    fn new(state: &str) -> Self {
        let booted = Booted {
            fixture: Fixture::new(),
            services: Arc::new(FakeServices::default()),
        };
        booted.services.set("a.service", "enabled", state);
        for folder in ["nix/var/nix/profiles", "run", &GOOD[1..], &BAD[1..]] {
            std::fs::create_dir_all(booted.at(folder)).unwrap();
        }
        for (link, to) in [
            ("nix/var/nix/profiles/system-1-link", GOOD),
            ("nix/var/nix/profiles/system-2-link", BAD),
            ("nix/var/nix/profiles/system", "system-2-link"),
            ("run/booted-system", BAD),
            ("run/current-system", BAD),
        ] {
            symlink(to, booted.at(link)).unwrap();
        }
        booted
    }

    fn at(&self, path: &str) -> PathBuf {
        self.fixture.root.path().join(path)
    }

    /// Writes down what is known of generation 2.
    fn know(&self, change: impl FnOnce(&mut BootRecord)) {
        let vital = Vital {
            unit: "a.service".to_owned(),
            active: true,
        };
        let mut record = BootRecord::awaiting(vec![vital], Some((1, GOOD.to_owned())));
        change(&mut record);
        let store = reopen(&self.fixture);
        let mut batch = Batch::default();
        batch.boot(BAD, &record).unwrap();
        store.commit(batch).unwrap();
    }

    fn known(&self) -> Option<BootRecord> {
        reopen(&self.fixture).boot(BAD).unwrap()
    }

    /// An engine that looks after the boot; going back makes a file.
    fn engine(&self) -> Engine {
        let mut settings = Settings::default();
        settings.switch.boot_seconds = 1;
        let host = Host {
            services: self.services.clone(),
            ..self.fixture.host()
        };
        let engine = Engine::start(EngineParts {
            host,
            state_dir: self.fixture.state.path().join("state"),
            settings,
            planner: Box::new(Files(vec!["/etc/back"])),
            worker: Box::new(Idle),
            switch: Box::new(crate::switch::carry::Machine),
            patience: Duration::from_secs(10),
            is_resident: false,
        })
        .unwrap();
        engine.watch_boot();
        engine
    }

    /// An engine of this planner that looks after a boot which nothing is done about.
    fn engine_with(&self, planner: impl Planner + 'static) -> Engine {
        let mut settings = Settings::default();
        settings.switch.boot_seconds = 0;
        Engine::start(EngineParts {
            host: self.fixture.host(),
            state_dir: self.fixture.state.path().join("state"),
            settings,
            planner: Box::new(planner),
            worker: Box::new(Idle),
            switch: Box::new(crate::switch::carry::Machine),
            patience: Duration::from_secs(10),
            is_resident: false,
        })
        .unwrap()
    }

    fn root_of(&self, number: usize) -> PathBuf {
        self.at(ROOTS_OF_KERNELS).join(format!("part-{number:04}"))
    }

    /// So many roots of the kernel of an earlier boot, beside the root that each boot makes.
    fn keep_kernel(&self, roots: usize) {
        std::fs::create_dir_all(self.at(ROOTS_OF_KERNELS)).unwrap();
        for number in 0..roots {
            symlink(GOOD, self.root_of(number)).unwrap();
        }
        symlink("/run/booted-system", self.at(ROOT_OF_BOOTED)).unwrap();
    }

    fn roots(&self) -> usize {
        std::fs::read_dir(self.at(ROOTS_OF_KERNELS))
            .unwrap()
            .count()
    }
}

/// Waits until something is so.
fn until(is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn rollback(to: u64, how: AfterBoot) -> OperationRequest {
    OperationRequest::Rollback(RollbackRequest {
        to: Some(to),
        from: None,
        after_boot: Some(how),
    })
}

#[test]
fn an_unhealthy_boot_goes_back_once() {
    let booted = Booted::new("failed");
    booted.know(|_| {});
    let engine = booted.engine();
    until(|| engine.list(0).len() == 1);
    let id = engine.list(0)[0].id.clone();
    let view = end_of(&engine, &id);
    assert_eq!(view.state, State::Succeeded);
    assert!(view.reason.contains("a.service has failed"), "{view:?}");
    assert_eq!(engine.request(&id).unwrap(), rollback(1, AfterBoot::AtOnce));
    stop(engine);
    let record = booted.known().unwrap();
    assert_eq!((record.state, record.attempts), (BootState::Failed, 1));
    // Neither in this boot nor in another one.
    for _ in 0..2 {
        let engine = booted.engine();
        std::thread::sleep(Duration::from_millis(2500));
        assert_eq!(engine.list(0).len(), 1);
        stop(engine);
        booted.know(|it| {
            it.state = BootState::Failed;
            it.boot = "earlier".to_owned();
        });
    }
    assert!(
        !booted
            .services
            .calls()
            .contains(&"restart the machine".to_owned())
    );
}

#[test]
fn another_kernel_is_left_by_a_restart() {
    let booted = Booted::new("failed");
    for (top, kernel) in [(GOOD, "/nix/store/k1"), (BAD, "/nix/store/k2")] {
        symlink(kernel, booted.at(&top[1..]).join("kernel")).unwrap();
    }
    booted.know(|_| {});
    let engine = booted.engine();
    let restarted = || {
        booted
            .services
            .calls()
            .contains(&"restart the machine".to_owned())
    };
    until(restarted);
    let id = engine.list(0)[0].id.clone();
    assert_eq!(engine.show(&id).unwrap().state, State::Succeeded);
    assert_eq!(
        engine.request(&id).unwrap(),
        rollback(1, AfterBoot::Restart)
    );
    stop(engine);
}

#[test]
fn a_healthy_boot_is_proven_and_never_left() {
    let booted = Booted::new("active");
    for known in [true, false] {
        if known {
            booted.know(|_| {});
        } else {
            let mut batch = Batch::default();
            batch.drop_boot(BAD);
            reopen(&booted.fixture).commit(batch).unwrap();
        }
        let engine = booted.engine();
        let is_proven = || {
            let mut all = crate::switch::profile::generations::list(&booted.fixture.host().fs);
            let all = all.as_deref_mut().unwrap();
            engine.annotate(all);
            all[0].proven_by_boot && all[0].proven
        };
        until(is_proven);
        stop(engine);
        assert_eq!(booted.known().unwrap().state, BootState::Proven, "{known}");
    }
    booted.services.set("a.service", "enabled", "failed");
    let engine = booted.engine();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(engine.list(0).is_empty());
    stop(engine);
}

#[test]
fn too_many_boots_are_not_looked_at_again() {
    let booted = Booted::new("active");
    booted.know(|it| {
        it.attempts = 3;
        it.boot = "the third".to_owned();
    });
    let engine = booted.engine();
    until(|| engine.list(0).len() == 1);
    let view = end_of(&engine, &engine.list(0)[0].id.clone());
    assert!(view.reason.contains("booted into it 3 times"), "{view:?}");
    stop(engine);
}

#[test]
fn what_runs_by_now_is_not_what_was_booted() {
    let booted = Booted::new("failed");
    booted.know(|_| {});
    std::fs::remove_file(booted.at("run/current-system")).unwrap();
    symlink(GOOD, booted.at("run/current-system")).unwrap();
    let engine = booted.engine();
    std::thread::sleep(Duration::from_millis(2500));
    assert!(engine.list(0).is_empty());
    stop(engine);
}

/// A switch whose plan takes until it is told to go on; what it finds of the roots then stays, and what
/// is missing it makes.
fn keeping(
    roots: Vec<PathBuf>,
    is_told: Arc<AtomicBool>,
    planned_at: Arc<AtomicBool>,
) -> impl Planner {
    Plans(move |question: &Question<'_>| {
        planned_at.store(true, Ordering::SeqCst);
        for root in &roots {
            if !root.is_symlink() {
                symlink(GOOD, root).unwrap();
            }
        }
        until(|| is_told.load(Ordering::SeqCst));
        Ok(planned(question.request.kind(), Vec::new()))
    })
}

#[test]
fn a_switch_that_begins_while_roots_are_let_go_of_keeps_its_own() {
    const ROOTS: usize = 2000;
    let booted = Booted::new("active");
    booted.keep_kernel(ROOTS);
    let roots = (0..ROOTS).map(|number| booted.root_of(number)).collect();
    let told = Arc::new(AtomicBool::new(true));
    let engine = booted.engine_with(keeping(roots, told, Arc::default()));
    engine.watch_boot();
    until(|| booted.roots() < ROOTS);
    let request = rollback(1, AfterBoot::AtOnce);
    let id = engine
        .submit(request, RequestOptions::default(), 0)
        .unwrap();
    end_of(&engine, &id);
    let kept = booted.roots();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!((kept, booted.roots()), (ROOTS, ROOTS));
    stop(engine);
}

#[test]
fn roots_that_an_open_switch_may_count_on_go_after_its_end() {
    let booted = Booted::new("active");
    booted.keep_kernel(2);
    let [told, is_planning] = [(), ()].map(|()| Arc::new(AtomicBool::new(false)));
    let engine = booted.engine_with(keeping(Vec::new(), told.clone(), is_planning.clone()));
    let request = rollback(1, AfterBoot::AtOnce);
    let id = engine
        .submit(request, RequestOptions::default(), 0)
        .unwrap();
    until(|| is_planning.load(Ordering::SeqCst));
    engine.watch_boot();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(booted.roots(), 2);
    told.store(true, Ordering::SeqCst);
    end_of(&engine, &id);
    until(|| booted.roots() == 0);
    stop(engine);
}

#[test]
fn roots_of_what_runs_stay() {
    for missing in [ROOT_OF_BOOTED, &BAD[1..], "run/booted-system"] {
        let booted = Booted::new("active");
        booted.keep_kernel(2);
        let missing = booted.at(missing);
        match missing.is_symlink() {
            true => std::fs::remove_file(missing).unwrap(),
            false => std::fs::remove_dir(missing).unwrap(),
        }
        let engine = booted.engine_with(Files(Vec::new()));
        engine.watch_boot();
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(booted.roots(), 2);
        stop(engine);
    }
}

#[test]
fn roots_that_were_left_in_the_midst_go_with_the_next_look() {
    let booted = Booted::new("active");
    booted.keep_kernel(4);
    // What cannot be removed ends it there, as a kill would.
    let obstacle = booted.root_of(2);
    std::fs::remove_file(&obstacle).unwrap();
    std::fs::create_dir_all(obstacle.join("inner")).unwrap();
    for (cleared, left) in [(false, 2), (false, 2), (true, 0)] {
        if cleared {
            std::fs::remove_dir_all(&obstacle).unwrap();
        }
        let engine = booted.engine_with(Files(Vec::new()));
        engine.watch_boot();
        until(|| booted.roots() == left);
        stop(engine);
    }
}

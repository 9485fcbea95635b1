//! `[system] follow`: the machine goes by itself to what a feed names for its group.

use std::collections::BTreeMap;
use std::sync::Mutex;

use nixctl_proto::feed::{Feed, Target};
use nixctl_proto::request::RollbackRequest;

use super::*;
use crate::upgrade::offer::testing::feed;

const NEW: &str = "/run/new";
const OTHER: &str = "/run/other";

/// A publisher that names a generation for the group `web`; nobody is there while it names none.
#[derive(Clone, Default)]
struct Publisher {
    names: Arc<Mutex<Option<&'static str>>>,
    read: Arc<Mutex<u64>>,
}

impl Publisher {
    fn names(&self, toplevel: &'static str) {
        *self.names.lock().unwrap() = Some(toplevel);
    }

    fn feed(&self, toplevel: &str) -> Feed {
        let mut read = self.read.lock().unwrap();
        *read += 1;
        let target = Target {
            toplevel: toplevel.to_owned(),
            from: None,
        };
        let mut feed = feed(*read, Vec::new());
        feed.targets = BTreeMap::from([("web".to_owned(), target)]);
        feed
    }
}

impl Worker for Publisher {
    fn run(&self, task: &Task, told: &dyn Progress, _: &Cancel) -> Result<(), PayloadError> {
        if !matches!(task, Task::Feed(_)) {
            return Ok(());
        }
        match *self.names.lock().unwrap() {
            Some(name) => {
                told.note(&serde_json::to_string(&self.feed(name)).unwrap());
                Ok(())
            }
            None => Err(PayloadError::new(Code::Network, "cannot fetch it: away")),
        }
    }
}

/// As a machine does it: a rollback by hand is at its end at once.
struct WithBack(World);

impl Planner for WithBack {
    fn plan(&self, question: &Question<'_>) -> Result<Planned, Failure> {
        if let OperationRequest::Rollback(_) = question.request {
            let mut things = self.0.things.lock().unwrap();
            things.store = ["a1", "b1"].map(str::to_owned).into();
            things.default = "old".to_owned();
            drop(things);
            self.0.reboot();
            return Ok(plan(Vec::new()));
        }
        Script(self.0.clone(), None).plan(question)
    }
}

struct Followed {
    fixture: Fixture,
    world: World,
    publisher: Publisher,
}

impl Followed {
    fn new() -> Followed {
        let fixture = Fixture::new();
        let world = World::new(fixture.root.path().to_owned());
        // What runs is read from the machine.
        for name in ["old", "hybrid-1", "new"] {
            std::fs::create_dir(fixture.root.path().join("run").join(name)).unwrap();
        }
        Followed {
            fixture,
            world,
            publisher: Publisher::default(),
        }
    }

    fn start(&self, group: &str) -> Engine {
        let mut settings = Settings::default();
        settings.system.follow = "https://a.example/fleet.json".to_owned();
        settings.system.group = group.to_owned();
        settings.upgrade.feed_seconds = 1;
        settings.upgrade.jitter_minutes = 0;
        Engine::start(EngineParts {
            host: self.world.host(),
            state_dir: self.fixture.state.path().join("state"),
            settings,
            planner: Box::new(WithBack(self.world.clone())),
            worker: Box::new(self.publisher.clone()),
            switch: Box::new(self.world.clone()),
            patience: Duration::from_secs(5),
            is_resident: true,
        })
        .unwrap()
    }

    /// Waits until the feed was read some more.
    fn reads_on(&self) {
        let read = || *self.publisher.read.lock().unwrap();
        let before = read();
        until("it is read", || read() >= before + 2);
    }
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(20), "never {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn switches(engine: &Engine) -> Vec<OperationView> {
    let all = engine.list(0).into_iter();
    all.filter(|it| it.kind == nixctl_proto::OperationKind::Switch)
        .collect()
}

fn state(engine: &Engine) -> String {
    engine.status().upgrade.follow_state
}

fn is_blocked(engine: &Engine) -> bool {
    let found = engine.check(&[]).unwrap().findings;
    found.iter().any(|it| it.check == "upgrade.follow-blocked")
}

#[test]
fn the_machine_goes_there_and_not_again_after_somebody_went_back() {
    let followed = Followed::new();
    let engine = followed.start("web");
    // Nobody is there yet.
    until("trouble", || {
        engine.status().upgrade.following.contains("away")
    });
    assert_eq!(state(&engine), "unread");
    let found = engine.check(&[]).unwrap().findings;
    assert!(found.iter().any(|it| it.check == "upgrade.feed-missing"));
    followed.publisher.names(NEW);
    until("there", || state(&engine) == "there");
    assert_eq!(followed.world.state(), new_state());
    let [view] = &switches(&engine)[..] else {
        panic!("{:?}", engine.list(0));
    };
    assert_eq!((view.state, view.requested_by), (State::Succeeded, 0));
    assert_eq!(view.reason, "system follow");
    let said = engine.status().upgrade.following;
    assert_eq!(said, "web: /run/new runs");
    let line = "nixctl_follow_info{group=\"web\",state=\"there\",toplevel=\"/run/new\"} 1";
    assert!(engine.metrics().contains(line), "{}", engine.metrics());

    let back = OperationRequest::Rollback(RollbackRequest::default());
    let back = engine
        .submit(back, RequestOptions::default(), 1000)
        .unwrap();
    assert_eq!(end_of(&engine, &back).state, State::Succeeded);
    until("held", || state(&engine) == "held");
    let said = engine.status().upgrade.following;
    assert!(said.contains("somebody went away from it"), "{said}");
    followed.reads_on();
    assert!(is_blocked(&engine));
    stop(engine);
    // It is remembered, and another one is another matter.
    let engine = followed.start("web");
    followed.reads_on();
    until("held", || state(&engine) == "held");
    assert_eq!(switches(&engine).len(), 1);
    followed.publisher.names(OTHER);
    until("begun", || switches(&engine).len() == 2);
    stop(engine);
}

#[test]
fn what_fails_is_undone_and_rests_until_the_feed_names_another() {
    let followed = Followed::new();
    followed.publisher.names(NEW);
    followed.world.trouble("prove:new", 1, lasting());
    let engine = followed.start("web");
    until("held", || state(&engine) == "held");
    let view = switches(&engine).remove(0);
    assert_eq!(view.state, State::Reverted, "{view:?}");
    assert_eq!(followed.world.state(), old_state());
    let said = engine.status().upgrade.following;
    assert!(said.contains("failed once"), "{said}");
    assert!(is_blocked(&engine));
    followed.reads_on();
    assert_eq!(switches(&engine).len(), 1);
    followed.publisher.names(OTHER);
    until("begun", || switches(&engine).len() == 2);
    stop(engine);
}

#[test]
fn a_group_that_the_feed_does_not_know_goes_nowhere() {
    for (group, part) in [
        ("db", "no generation for the group db"),
        ("", "name no `system.group`"),
    ] {
        let followed = Followed::new();
        followed.publisher.names(NEW);
        let engine = followed.start(group);
        until("told", || state(&engine) == "unnamed");
        let said = engine.status().upgrade.following;
        assert!(said.contains(part), "{said}");
        followed.reads_on();
        assert!(is_blocked(&engine));
        assert!(switches(&engine).is_empty());
        assert_eq!(followed.world.state(), old_state());
        stop(engine);
    }
}

#[test]
fn what_is_named_meanwhile_takes_the_place_of_what_waits() {
    let followed = Followed::new();
    followed.publisher.names(NEW);
    let trouble = passing("the cache is away");
    followed.world.trouble("fetch:b2", u32::MAX, trouble);
    let engine = followed.start("web");
    until("begun", || !switches(&engine).is_empty());
    let first = switches(&engine)[0].id.clone();
    reaches(&engine, &first, State::Waiting);
    assert_eq!(state(&engine), "under-way");
    // What is named still is not begun anew.
    std::thread::sleep(Duration::from_millis(1200));
    engine.retry(&first, 0).unwrap();
    reaches(&engine, &first, State::Waiting);
    assert_eq!(switches(&engine).len(), 1);
    followed.publisher.names(OTHER);
    let begin = Instant::now();
    while switches(&engine).len() < 2 {
        let _ = engine.retry(&first, 0);
        let told = || (engine.list(0), engine.status(), followed.world.log());
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", told());
        std::thread::sleep(Duration::from_millis(5));
    }
    until("superseded", || {
        engine.show(&first).unwrap().state == State::Cancelled
    });
    let second = switches(&engine)[0].id.clone();
    let OperationRequest::Switch(request) = engine.request(&second).unwrap() else {
        panic!("another operation");
    };
    assert_eq!(request.toplevel, OTHER);
    stop(engine);
}

#[test]
fn a_daemon_that_was_away_finds_its_way() {
    let followed = Followed::new();
    followed.publisher.names(NEW);
    let trouble = passing("the cache is away");
    followed
        .world
        .trouble("fetch:b2", u32::MAX, trouble.clone());
    let engine = followed.start("web");
    until("begun", || !switches(&engine).is_empty());
    let first = switches(&engine)[0].id.clone();
    reaches(&engine, &first, State::Waiting);
    stop(engine);
    followed.world.trouble("fetch:b2", 0, trouble);
    // It goes on, and is told as what it is.
    let engine = followed.start("web");
    until("there", || state(&engine) == "there");
    assert_eq!(followed.world.state(), new_state());
    // The machine was brought elsewhere by nobody that is known.
    let mut things = followed.world.things.lock().unwrap();
    things.store = ["a1", "b1"].map(str::to_owned).into();
    things.default = "old".to_owned();
    drop(things);
    followed.world.reboot();
    until("there again", || followed.world.state() == new_state());
    assert_eq!(switches(&engine).len(), 2);
    stop(engine);
}

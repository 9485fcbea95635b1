//! Releases without a hand: what the feed says is believed or not, remembered, and taken when nothing
//! holds it.

mod windows;

use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use nixctl_proto::feed::{Feed, FeedError};
use nixctl_proto::request::UpgradeRequest;
use nixctl_proto::settings::UpgradePolicy;

use super::*;
use crate::engine::Owned;
use crate::resource::Undo;
use crate::resource::payload::Payload;
use crate::upgrade::offer::testing::{NOW, feed, release};
use crate::upgrade::quiet::Quiet;
use crate::upgrade::reading::Reading;
use crate::upgrade::step::UpgradeStep;
use crate::upgrade::turn::Ask;

const FEED: &str = "https://a.example/feed.json";
const FLEET: &str = "https://lock.example";
const NEW: &str = "2.34.8";
const OLD: &str = "2.26.3";

/// A publisher: what it says next, and what it was asked.
#[derive(Clone, Default)]
struct Publisher {
    says: Arc<Mutex<Option<Result<Feed, FeedError>>>>,
    asked: Arc<Mutex<Vec<Reading>>>,
    upgrades: Arc<AtomicUsize>,
    fails: Arc<AtomicBool>,
    /// Does not answer.
    hangs: Arc<AtomicBool>,
    /// Of the fleet.
    turns: Arc<Mutex<Vec<Ask>>>,
    refuses: Arc<AtomicBool>,
}

impl Publisher {
    fn says(&self, said: Result<Feed, FeedError>) {
        *self.says.lock().unwrap() = Some(said);
    }

    fn asked(&self) -> usize {
        self.asked.lock().unwrap().len()
    }

    fn upgrades(&self) -> usize {
        self.upgrades.load(Ordering::SeqCst)
    }
}

impl Worker for Publisher {
    fn run(&self, task: &Task, told: &dyn Progress, cancel: &Cancel) -> Result<(), PayloadError> {
        let reading = match task {
            Task::Feed(reading) => reading,
            Task::Turn(asking) if self.refuses.load(Ordering::SeqCst) => {
                assert_ne!(asking.ask(), Ask::Unlock, "nothing was given");
                return Err(PayloadError::new(Code::Busy, "all slots are taken"));
            }
            Task::Turn(asking) => {
                self.turns.lock().unwrap().push(asking.ask());
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.asked.lock().unwrap().push(reading.clone());
        while self.hangs.load(Ordering::SeqCst) {
            if cancel.requested().is_some() {
                return Err(PayloadError::Stopped);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        match self.says.lock().unwrap().clone() {
            Some(Ok(feed)) => {
                told.note(&serde_json::to_string(&feed).unwrap());
                Ok(())
            }
            Some(Err(error)) => {
                let failure = error.failure();
                Err(PayloadError::new(failure.code, failure.message))
            }
            None => Err(PayloadError::new(Code::Network, "cannot fetch it: away")),
        }
    }
}

/// An upgrade finds nothing to do, or fails.
impl Planner for Publisher {
    fn plan(&self, question: &Question<'_>) -> Result<Planned, Failure> {
        let kind = question.request.kind();
        let OperationRequest::Upgrade(_) = question.request else {
            return Ok(planned(kind, Vec::new()));
        };
        if let Some(Err(why)) = &question.recorded.offer {
            return Err(Failure::new(Code::NotFound, why));
        }
        self.upgrades.fetch_add(1, Ordering::SeqCst);
        let mut steps = vec![Step::Upgrade(UpgradeStep::Quiet(Quiet { seconds: 0 }))];
        if self.fails.load(Ordering::SeqCst) {
            steps.push(impossible());
        }
        Ok(planned(kind, steps))
    }
}

/// A step that fails.
fn impossible() -> Step {
    Step::Ensure(Resource::File(File {
        path: PathBuf::from("/no/such/folder/file"),
        content: String::new(),
        mode: 0o644,
        uid: 0,
        gid: 0,
        replace: false,
    }))
}

/// A machine that owns an old Nix.
fn machine() -> Fixture {
    let fixture = Fixture::new();
    let store = Store::open(&fixture.state.path().join("state")).unwrap();
    let archive = crate::payload::Archive {
        sha256: "cd".repeat(32),
        version: OLD.to_owned(),
        system: "x86_64-linux".to_owned(),
        store_gid: 0,
    };
    let mut change = Batch::default();
    change
        .own(&Owned {
            order: 0,
            by: OperationId::from_parts(0, 0),
            resource: Resource::Payload(Payload { archive }),
            undo: Undo::Created,
        })
        .unwrap();
    store.commit(change).unwrap();
    drop(store);
    let id = "c988d2509fdf4cdcbed39037c56406fb\n";
    std::fs::write(fixture.root.path().join("etc/machine-id"), id).unwrap();
    fixture
}

/// Upgrades because somebody asks.
fn upgrade(engine: &Engine) -> OperationId {
    let request = OperationRequest::Upgrade(UpgradeRequest {
        version: Some(NEW.to_owned()),
        ..UpgradeRequest::default()
    });
    let id = engine.submit(request, RequestOptions::default(), 1000);
    id.unwrap()
}

fn start(fixture: &Fixture, publisher: &Publisher, policy: UpgradePolicy) -> Engine {
    start_in(fixture, publisher, policy, "")
}

/// The same on a machine of the fleet with this server.
fn start_in(
    fixture: &Fixture,
    publisher: &Publisher,
    policy: UpgradePolicy,
    fleet: &str,
) -> Engine {
    let mut settings = Settings::default();
    settings.upgrade.feed = FEED.to_owned();
    settings.upgrade.policy = policy;
    settings.upgrade.fleet_lock_url = fleet.to_owned();
    settings.upgrade.jitter_minutes = 0;
    settings.upgrade.wariness = nixctl_proto::settings::Wariness::new(0.5).unwrap();
    start_with(fixture, publisher, fixture.host(), settings)
}

fn start_with(fixture: &Fixture, publisher: &Publisher, host: Host, settings: Settings) -> Engine {
    drop(reopen(fixture));
    let engine = Engine::start(EngineParts {
        host,
        state_dir: fixture.state.path().join("state"),
        settings,
        planner: Box::new(publisher.clone()),
        worker: Box::new(publisher.clone()),
        switch: Box::new(crate::switch::carry::Machine),
        patience: Duration::from_secs(5),
        is_resident: true,
    })
    .unwrap();
    // What an upgrade is compared with is known.
    engine.check(&[]).unwrap();
    engine
}

fn until(what: &str, is_so: impl Fn() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Has the feed read now, as somebody does who asks what there is.
fn ask(engine: &Engine) -> Result<Plan, Failure> {
    engine.plan(&OperationRequest::Upgrade(UpgradeRequest::default()))
}

/// Has the feed read anew, as one that is signed by another key.
fn follow(engine: &Engine, key: &str) {
    let mut settings = (*engine.settings()).clone();
    settings.upgrade.feed_keys = vec![key.to_owned()];
    engine.set_settings(settings);
}

fn upgrades(engine: &Engine) -> Vec<OperationView> {
    let all = engine.list(0).into_iter();
    all.filter(|it| it.kind == nixctl_proto::OperationKind::Upgrade)
        .collect()
}

/// Whether somebody who looks finds it; rounds that nobody asks for may be made later.
fn has_finding(engine: &Engine, check: &str) -> bool {
    let found = engine.check(&[check.to_owned()]).unwrap().findings;
    found.iter().any(|it| it.check == check)
}

#[test]
fn what_is_offered_is_told_and_not_taken_where_the_settings_want_that() {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.says(Ok(feed(7, vec![release(NEW, 1.0)])));
    let engine = start(&fixture, &publisher, UpgradePolicy::Notify);
    ask(&engine).unwrap();
    assert_eq!(engine.status().upgrade.available, NEW);
    until("it is held", || {
        engine.status().upgrade.hold == "notify-only"
    });
    until("it is found", || has_finding(&engine, "upgrade.available"));
    assert!(upgrades(&engine).is_empty());
    stop(engine);
    // It is known at once after a restart, and the serial is asked for.
    let engine = start(&fixture, &publisher, UpgradePolicy::Notify);
    assert_eq!(engine.status().upgrade.available, NEW);
    ask(&engine).unwrap();
    assert_eq!(
        publisher.asked.lock().unwrap().last().unwrap().last_serial,
        7
    );
    stop(engine);
}

#[test]
fn what_is_not_believed_changes_nothing_and_is_found() {
    let (fixture, publisher) = (machine(), Publisher::default());
    let engine = start(&fixture, &publisher, UpgradePolicy::Auto);
    let signers = Vec::new();
    let malformed = FeedError::TooLarge { limit: 1 };
    let now = nixctl_proto::date::Timestamp::new(NOW);
    let expired = FeedError::Expired { expires: now, now };
    for (said, code, check) in [
        (None, Code::Network, "upgrade.feed-missing"),
        (
            Some(FeedError::NoKnownKey { signers }),
            Code::FeedUntrusted,
            "upgrade.feed-untrusted",
        ),
        (
            Some(malformed),
            Code::FeedMalformed,
            "upgrade.feed-malformed",
        ),
        (Some(expired), Code::FeedStale, "upgrade.feed-stale"),
    ] {
        *publisher.says.lock().unwrap() = said.map(Err);
        follow(&engine, check);
        assert_eq!(ask(&engine).unwrap_err().code, code);
        until(check, || has_finding(&engine, check));
    }
    assert!(!has_finding(&engine, "upgrade.feed-missing"));
    assert_eq!(engine.status().upgrade.available, "");
    assert!(!engine.status().upgrade.feed_trouble.is_empty());
    assert!(upgrades(&engine).is_empty());
    stop(engine);
}

#[test]
fn a_feed_from_before_is_not_believed_even_when_the_worker_does() {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.says(Ok(feed(7, Vec::new())));
    let engine = start(&fixture, &publisher, UpgradePolicy::Notify);
    ask(&engine).unwrap_err();
    stop(engine);
    let engine = start(&fixture, &publisher, UpgradePolicy::Notify);
    publisher.says(Ok(feed(6, vec![release(NEW, 1.0)])));
    let failure = ask(&engine).unwrap_err();
    assert_eq!(failure.code, Code::FeedStale);
    assert_eq!(engine.status().upgrade.available, "");
    stop(engine);
}

#[test]
fn it_is_taken_without_a_hand_and_what_fails_is_not_tried_again_at_once() {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.says(Ok(feed(7, vec![release(NEW, 1.0)])));
    publisher.fails.store(true, Ordering::SeqCst);
    let engine = start(&fixture, &publisher, UpgradePolicy::Auto);
    ask(&engine).unwrap();
    until("it is tried", || !upgrades(&engine).is_empty());
    let id = upgrades(&engine)[0].id.clone();
    let view = end_of(&engine, &id);
    assert_eq!((view.state, view.requested_by), (State::Reverted, 0));
    assert_eq!(view.reason, "release feed");
    let OperationRequest::Upgrade(request) = engine.request(&id).unwrap() else {
        panic!("another operation");
    };
    assert_eq!(request.version.as_deref(), Some(NEW));
    assert_eq!(request.sha256, Some("ab".repeat(32)));
    until("it rests", || engine.status().upgrade.hold == "ladder");
    let waits = engine.status().upgrade.waits;
    assert!(waits.contains("nix 2.34.8 failed once"), "{waits}");
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(upgrades(&engine).len(), 1);
    stop(engine);
    // It is remembered.
    let engine = start(&fixture, &publisher, UpgradePolicy::Auto);
    ask(&engine).unwrap();
    until("it rests", || engine.status().upgrade.hold == "ladder");
    assert_eq!(upgrades(&engine).len(), 1);
    // The next release is another matter.
    publisher.says(Ok(feed(8, vec![release("2.34.9", 1.0)])));
    follow(&engine, "other");
    until("it is tried", || upgrades(&engine).len() == 2);
    stop(engine);
}

#[test]
fn whose_turn_has_not_come_and_what_is_halted_is_not_taken() {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.says(Ok(feed(7, vec![release(NEW, 0.4)])));
    let engine = start(&fixture, &publisher, UpgradePolicy::Auto);
    let failure = ask(&engine).unwrap_err();
    assert!(
        failure.message.contains("its turn has not come"),
        "{failure}"
    );
    assert_eq!(engine.status().upgrade.hold, "rollout-later");
    let mut halted = release(NEW, 1.0);
    halted.halted = true;
    publisher.says(Ok(feed(8, vec![halted])));
    follow(&engine, "other");
    until("it is halted", || engine.status().upgrade.hold == "halted");
    std::thread::sleep(Duration::from_millis(1500));
    assert!(upgrades(&engine).is_empty());
    assert_eq!((publisher.upgrades(), publisher.asked()), (0, 2));
    stop(engine);
}

#[test]
fn an_inhibitor_holds_it_as_long_as_it_stands() {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.says(Ok(feed(7, vec![release(NEW, 1.0)])));
    let engine = start(&fixture, &publisher, UpgradePolicy::Auto);
    let held = engine.inhibit("upgrade", "backup", "it copies /nix", 0);
    let held = held.unwrap();
    ask(&engine).unwrap();
    until("it is held", || engine.status().upgrade.hold == "inhibited");
    let said = engine.status().upgrade.inhibitors;
    assert_eq!(said, ["backup (user 0) holds up upgrades: it copies /nix"]);
    assert!(upgrades(&engine).is_empty());
    drop(held);
    until("it is taken", || !upgrades(&engine).is_empty());
    assert!(engine.status().upgrade.inhibitors.is_empty());
    stop(engine);
}

#[test]
fn whoever_asks_waits_for_an_inhibitor_too_and_can_cancel() {
    let (fixture, publisher) = (machine(), Publisher::default());
    let engine = start(&fixture, &publisher, UpgradePolicy::Off);
    let held = engine.inhibit("all", "backup", "it copies", 7).unwrap();
    let id = upgrade(&engine);
    let waits = || engine.show(&id).unwrap().waiting_for.unwrap_or_default();
    until("it waits", || waits().contains("backup (user 7)"));
    assert_eq!(publisher.upgrades(), 0);
    engine.cancel(&id).unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Cancelled);
    let id = upgrade(&engine);
    drop(held);
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    stop(engine);
}

#[test]
fn nothing_is_begun_before_the_fleet_gives_this_machine_its_turn() {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.says(Ok(feed(7, vec![release(NEW, 1.0)])));
    publisher.refuses.store(true, Ordering::SeqCst);
    let engine = start_in(&fixture, &publisher, UpgradePolicy::Auto, FLEET);
    ask(&engine).unwrap();
    until("it waits", || engine.status().upgrade.hold == "fleet-lock");
    assert!(
        engine
            .status()
            .upgrade
            .waits
            .contains("all slots are taken")
    );
    assert!(upgrades(&engine).is_empty());
    publisher.refuses.store(false, Ordering::SeqCst);
    until("it has its turn", || !upgrades(&engine).is_empty());
    let id = upgrades(&engine)[0].id.clone();
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    until("it is given back", || {
        publisher.turns.lock().unwrap().last() == Some(&Ask::Unlock)
    });
    stop(engine);
}

#[test]
fn whoever_asks_waits_for_the_turn_and_can_cancel() {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.refuses.store(true, Ordering::SeqCst);
    let engine = start_in(&fixture, &publisher, UpgradePolicy::Off, FLEET);
    let id = upgrade(&engine);
    until("it waits", || {
        engine.show(&id).unwrap().state == State::Waiting
    });
    let waits = engine.show(&id).unwrap().waiting_for.unwrap_or_default();
    assert!(
        waits.contains("not this machine's turn: all slots are taken"),
        "{waits}"
    );
    publisher.refuses.store(false, Ordering::SeqCst);
    engine.cancel(&id).unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Cancelled);
    // The server may have given it all the same.
    until("it is given back", || {
        *publisher.turns.lock().unwrap() == [Ask::Unlock]
    });
    until("it is forgotten", || {
        engine.status().upgrade.fleet_lock.is_empty()
    });
    stop(engine);
}

#[test]
fn a_machine_that_failed_keeps_its_slot_over_a_restart_until_one_succeeds() {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.fails.store(true, Ordering::SeqCst);
    let engine = start_in(&fixture, &publisher, UpgradePolicy::Off, FLEET);
    let id = upgrade(&engine);
    assert_eq!(end_of(&engine, &id).state, State::Reverted);
    stop(engine);
    let engine = start_in(&fixture, &publisher, UpgradePolicy::Off, FLEET);
    std::thread::sleep(Duration::from_millis(2500));
    let said = engine.status().upgrade.fleet_lock;
    assert!(said.contains("keeps its slot (group default"), "{said}");
    assert_eq!(*publisher.turns.lock().unwrap(), [Ask::Lock]);
    // One that never had its turn proves nothing.
    publisher.refuses.store(true, Ordering::SeqCst);
    let id = upgrade(&engine);
    until("it waits", || {
        engine.show(&id).unwrap().state == State::Waiting
    });
    engine.cancel(&id).unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Cancelled);
    std::thread::sleep(Duration::from_millis(1500));
    let said = engine.status().upgrade.fleet_lock;
    assert!(said.contains("keeps its slot"), "{said}");
    publisher.refuses.store(false, Ordering::SeqCst);
    publisher.fails.store(false, Ordering::SeqCst);
    let id = upgrade(&engine);
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    until("it is given back", || {
        *publisher.turns.lock().unwrap() == [Ask::Lock, Ask::Lock, Ask::Unlock]
    });
    stop(engine);
}

#[test]
fn the_numbers_are_written_to_the_file_of_the_settings() {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.says(Ok(feed(7, vec![release(NEW, 1.0)])));
    let engine = start(&fixture, &publisher, UpgradePolicy::Notify);
    let mut settings = (*engine.settings()).clone();
    settings.metrics.textfile = "/etc/nixctl.prom".to_owned();
    engine.set_settings(settings);
    ask(&engine).unwrap();
    let read = || std::fs::read_to_string(fixture.root.path().join("etc/nixctl.prom"));
    for line in [
        "nixctl_nix_info{version=\"2.26.3\"} 1",
        "nixctl_available_info{product=\"nix\",version=\"2.34.8\"} 1",
        "nixctl_upgrade_hold{kind=\"notify-only\"} 1",
        "nixctl_feed_serial 7",
        "nixctl_rollout_position_ratio 0.5",
    ] {
        until(line, || read().is_ok_and(|text| text.contains(line)));
    }
    let id = upgrade(&engine);
    end_of(&engine, &id);
    let line = "nixctl_operations_total{kind=\"upgrade\",outcome=\"succeeded\"} 1";
    until(line, || read().is_ok_and(|text| text.contains(line)));
    assert!(engine.metrics().contains(line));
    std::fs::remove_file(fixture.root.path().join("etc/nixctl.prom")).unwrap();
    until("it is written again", || read().is_ok());
    stop(engine);
}

#[test]
fn a_feed_that_is_both_is_read_once_for_both() {
    let (fixture, publisher) = (machine(), Publisher::default());
    let mut both = feed(7, vec![release(NEW, 1.0)]);
    let target = nixctl_proto::feed::Target {
        toplevel: "/run/new".to_owned(),
        from: None,
    };
    both.targets.insert("web".to_owned(), target);
    publisher.says(Ok(both));
    let engine = start(&fixture, &publisher, UpgradePolicy::Notify);
    let mut settings = (*engine.settings()).clone();
    settings.system.follow = FEED.to_owned();
    settings.system.group = "web".to_owned();
    engine.set_settings(settings);
    ask(&engine).unwrap();
    assert_eq!(engine.status().upgrade.available, NEW);
    // What the planner makes of it has no effect, so that it rests then.
    until("it is named", || {
        engine.status().upgrade.follow_state == "held"
    });
    assert_eq!(publisher.asked(), 1);
    stop(engine);
}

#[test]
fn nobody_waits_for_a_publisher_that_does_not_answer() {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.hangs.store(true, Ordering::SeqCst);
    let engine = start(&fixture, &publisher, UpgradePolicy::Notify);
    // After its start the engine waits for a while before it reads the feed that it begins with.
    let keys = std::cell::Cell::new(0);
    until("it is asked", || {
        keys.set(keys.get() + 1);
        follow(&engine, &format!("key-{}", keys.get()));
        std::thread::sleep(Duration::from_millis(200));
        publisher.asked() > 0
    });
    let begin = Instant::now();
    engine.check(&[]).unwrap();
    until("it is asked again", || publisher.asked() > 1);
    assert_eq!(end_of(&engine, &upgrade(&engine)).state, State::Succeeded);
    assert!(begin.elapsed() < Duration::from_secs(15));
    until("it is asked again", || publisher.asked() > 2);
    assert_eq!(engine.status().upgrade.feed_trouble, "");
    stop(engine);
}

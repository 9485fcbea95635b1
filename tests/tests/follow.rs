//! A machine follows a signed feed: it goes to the generation that is named for its group without a
//! hand, comes back from one that does not work, and leaves alone what somebody went back from.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::generation::{Generation, Service, Site, Spec, Tweak, disk_for, generation};
use nixctl_lab::server::{FleetLock, Happened};
use nixctl_lab::world::fleet::{self, GROUP};
use nixctl_lab::world::{Operation, json};
use nixctl_lab::{full, require_disks};

/// How long something that goes on by itself may take.
const PATIENCE: Duration = Duration::from_secs(120);
const TICK: Duration = Duration::from_millis(200);
/// Where the feed is on its server.
const FEED: &str = "/fleet.json";
/// The publisher's folder, and its secret key in it.
const DESK: &str = "/root/publisher";
/// A machine that is none of the lab's.
const OTHER: &str = "0123456789abcdef0123456789abcdef";

/// A machine, what it follows, and whose turn it is.
struct Follower {
    site: Site,
    lock: FleetLock,
}

impl Follower {
    /// Runs the first of these generations, and follows for the group `web` what is published.
    fn boot(generations: &[&Generation]) -> Self {
        let mut room = generations[0].size();
        for one in &generations[1..] {
            room += one.size_beside(generations[0]);
        }
        let mib = disk_for(room).unwrap() + 100;
        let site = Site::boot("follow", mib, generations).unwrap();
        let network = site.host.machine.network();
        let lock = FleetLock::start(Some(&network), 0, 1).unwrap();
        site.host
            .machine
            .exec(&["mkdir", DESK])
            .unwrap()
            .ok()
            .unwrap();
        let key = format!("release key lab-1 --secret {DESK}/secret --public {DESK}/public");
        site.nixctl(&key).unwrap().ok().unwrap();
        Self { site, lock }
    }

    fn follow(&self) {
        let machine = &self.site.host.machine;
        let key = machine.read_text(&format!("{DESK}/public")).unwrap();
        let settings = format!(
            "{}feed_seconds = 10\njitter_minutes = 0\n[system]\nfollow = \"{}{FEED}\"\n\
             follow_keys = [\"{}\"]\ngroup = \"web\"\n",
            fleet::settings(&self.lock.url()),
            self.site.server.url(),
            key.trim()
        );
        self.site.configure(&settings).unwrap();
    }

    /// Publishes the next feed, which names this for a group.
    fn publish(&self, group: &str, of: &Generation) {
        let machine = &self.site.host.machine;
        let (next, signed) = (format!("{DESK}/next.feed"), format!("{DESK}/signed.json"));
        let from = match machine.exists(&signed).unwrap() {
            true => format!("--from {signed}"),
            false => "--channel stable".to_owned(),
        };
        let others = match group {
            "web" => "",
            _ => "--no-target web",
        };
        let nixctl = |words: String| self.site.nixctl(&words).unwrap().ok().unwrap();
        let target = format!("{group}={},{}", of.toplevel, self.site.cache());
        nixctl(format!(
            "release new {from} -o {next} --replace --target {target} {others}"
        ));
        let key = format!("--key-file {DESK}/secret");
        nixctl(format!("release sign {next} {key} -o {signed} --replace"));
        let bytes = machine.read_file(&signed).unwrap();
        self.site.server.put(FEED, bytes);
    }

    /// What is told of it; nothing while the daemon does not answer.
    fn told(&self) -> (String, String) {
        let status = json(&self.site.host.machine, "status").unwrap_or_default();
        let of = |name: &str| status["upgrade"][name].as_str().unwrap_or("?").to_owned();
        (of("follow_state"), of("following"))
    }

    fn operations(&self) -> Vec<Operation> {
        let all = Operation::all(&self.site.host.machine).unwrap();
        all.into_iter().filter(|it| it.kind == "switch").collect()
    }

    fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let began = Instant::now();
        while !is_so() {
            let log = || (self.told(), self.site.daemon_log());
            assert!(began.elapsed() < PATIENCE, "never {what}: {:?}", log());
            std::thread::sleep(TICK);
        }
    }

    fn until_told(&self, state: &str, part: &str) {
        self.until(state, || {
            let (now, words) = self.told();
            now == state && words.contains(part)
        });
    }

    fn until_at(&self, generation: &Generation) {
        self.until_told("there", &generation.toplevel);
        self.site.check_is(generation).unwrap();
        let newest = &self.operations()[0];
        assert_eq!((&*newest.state, newest.requested_by), ("succeeded", 0));
    }

    /// Waits until the feed was read some more.
    fn reads_on(&self) {
        let read = || {
            let all = self.site.server.requests();
            all.iter().filter(|it| it.path == FEED).count()
        };
        let before = read();
        self.until("read again", || read() >= before + 2);
    }

    /// That the machine stays where it is, though the feed is read again.
    fn stays_at(&self, generation: &Generation) {
        let before = self.operations().len();
        self.reads_on();
        assert_eq!(self.operations().len(), before);
        self.site.check_is(generation).unwrap();
    }
}

#[test]
fn a_machine_goes_where_the_feed_says() {
    if !require_disks() {
        return;
    }
    let few = [Service::Redis, Service::Memcached];
    let one = Spec::new().only("back-new", &few);
    let two = generation(&one.clone().with("back-other", Tweak::OneUnit)).unwrap();
    let broken = generation(&one.clone().with("back-broken", Tweak::RedisBroken)).unwrap();
    let one = generation(&one).unwrap();
    let follower = Follower::boot(&[&one, &two, &broken]);
    let (site, machine) = (&follower.site, &follower.site.host.machine);

    follower.publish("web", &two);
    follower.follow();
    follower.until_at(&two);
    let id = &follower.operations()[0].id;
    let shown = site.nixctl(&format!("show {id}")).unwrap();
    assert!(shown.stdout.contains("system follow"), "{}", shown.stdout);

    // What does not work is undone, and rests.
    follower.publish("web", &broken);
    follower.until_told("held", "failed once");
    assert_eq!(follower.operations()[0].state, "reverted");
    follower.stays_at(&two);
    let found = site.nixctl("check upgrade.follow-blocked").unwrap();
    assert_eq!(found.status, 6, "{found:?}");
    assert!(found.stdout.contains("back-broken"), "{found:?}");
    // It keeps its slot, as any machine that failed.
    let id = fleet::id(machine).unwrap();
    assert!(follower.lock.holders(GROUP).contains(&id));

    // Of another group nothing is said.
    let before = follower.operations().len();
    follower.publish("db", &one);
    follower.until_told("unnamed", "group web");
    assert_eq!(follower.operations().len(), before);
    site.check_is(&two).unwrap();

    // The daemon dies on the way, and goes on.
    follower.publish("web", &one);
    follower.until_told("under-way", &one.toplevel);
    let kill = ["systemctl", "kill", "--signal=KILL", "nixctld.service"];
    machine.exec(&kill).unwrap().ok().unwrap();
    follower.until_at(&one);
    follower.until("given back", || follower.lock.holders(GROUP).is_empty());

    // Somebody goes back; that stands until the feed names another.
    let back = site.nixctl("rollback --yes").unwrap();
    site.ended(&back, 0).unwrap();
    site.check_is(&two).unwrap();
    follower.until_told("held", "somebody went away from it");
    follower.stays_at(&two);
    follower.publish("web", &two);
    follower.until_told("there", &two.toplevel);

    if full() {
        waits_for_its_turn(&follower, &one);
    }
    let journal = follower.lock.journal();
    let malformed = |it: &Happened| *it == Happened::Malformed;
    assert!(!journal.iter().any(|it| malformed(&it.happened)));
}

/// Another machine has the slot.
fn waits_for_its_turn(follower: &Follower, to: &Generation) {
    assert!(follower.lock.take(GROUP, OTHER));
    let before = follower.operations().len();
    follower.publish("web", to);
    follower.until_told("held", "not this machine's turn");
    follower.reads_on();
    assert_eq!(follower.operations().len(), before);
    follower.lock.release(GROUP, OTHER);
    follower.until_at(to);
    let all = || follower.lock.holders(GROUP).is_empty();
    follower.until("given back", all);
}

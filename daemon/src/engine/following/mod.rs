//! `[system] follow` between operations: the feed is read when that is due, and the machine goes to
//! the generation that it names for its group, when nothing holds that.
//!
//! It is done as [`super::releases`] does it for Nix, on the same thread, with the same reading,
//! serials, reasons to wait and turns of the fleet. A feed that is both is read once for both. What is
//! decided is decided in [`crate::upgrade::follow`]; here it is read, stored, begun and told.

mod begin;
mod tell;

use nixctl_proto::Failure;
use nixctl_proto::feed::Feed;
use nixctl_proto::request::OperationRequest;
use nixctl_proto::settings::{Settings, UpgradePolicy};

use super::backoff;
use super::handle::{Shared, lock};
use super::record::OperationRecord;
use super::releases::{Wanted, every};
use super::store::{Change as Batch, StoreError};
use crate::health::look::upgrade::Trouble;
use crate::health::timeline::Now;
use crate::host::Cancel;
use crate::switch::identity;
use crate::upgrade::autopilot::{Due, Pace, Spread, due};
use crate::upgrade::follow::{Facts, Goal, Memory, Standing, standing};
use crate::upgrade::hold::Hold;
use crate::upgrade::inhibit::What;
use crate::upgrade::reading::Source;

/// What the system follows, and what is due.
#[derive(Debug, Default)]
pub(super) struct Following {
    /// What is remembered.
    memory: Memory,
    /// The feed that is followed, and the group of this machine; `None`: none was yet.
    source: Option<(Source, String)>,
    /// What it said when it was believed last.
    feed: Option<Feed>,
    /// What that means here.
    standing: Standing,
    /// When it is read.
    pace: Pace,
    /// What holds going there; `None`: there is nowhere to go.
    hold: Option<Result<(), Hold>>,
    /// How long chance puts it off.
    spread: Option<Spread>,
}

impl Following {
    /// Begins with what is remembered.
    pub(super) fn new(memory: Memory) -> Following {
        Following {
            memory,
            ..Following::default()
        }
    }

    fn held(&self) -> Option<&Hold> {
        self.hold.as_ref()?.as_ref().err()
    }

    /// All that is told of it.
    fn told(&self) -> (String, Option<Trouble>) {
        let words = self.standing.words(self.held());
        (words, self.memory.trouble.clone())
    }
}

/// Whether the system follows a feed.
fn follows(settings: &Settings) -> bool {
    !settings.system.follow.is_empty()
}

impl Shared {
    /// Does what is due about what the system follows, if anything is. Says whether something was.
    pub(super) fn keep_following(&self) -> bool {
        if self.is_going_down() || !self.is_resident {
            return false;
        }
        let settings = self.settings();
        self.follow_other_feed(&settings);
        if !follows(&settings) {
            return false;
        }
        self.weigh_following(&settings);
        match self.due_of_following() {
            Due::Nothing => false,
            Due::Read => {
                self.read_unless_wanted(|cancel| self.read_followed(&settings, cancel));
                true
            }
            Due::Upgrade => self.go_where_is_named(&settings),
        }
    }

    /// The same beside a switch that waits for what may never come, and that the daemon began by itself:
    /// when the feed names another generation meanwhile, that takes its place. Blocks while the feed is
    /// read; `cancel` ends that.
    pub(super) fn keep_following_beside(&self, record: &OperationRecord, cancel: &Cancel) {
        let settings = self.settings();
        let tried = lock(&self.following).memory.tried.clone();
        let goes_to = tried.filter(|it| it.operation == record.id);
        let (true, Some(goes_to)) = (self.is_resident && follows(&settings), goes_to) else {
            return;
        };
        self.follow_other_feed(&settings);
        self.weigh_following(&settings);
        if self.due_of_following() == Due::Read {
            if let Err(failure) = self.read_followed(&settings, cancel) {
                tracing::warn!("{failure}");
            }
            self.weigh_following(&settings);
        }
        let goal = {
            let following = lock(&self.following);
            // That one is at work, and makes way.
            let may_go = matches!(following.hold, Some(Ok(()) | Err(Hold::Busy)));
            following.standing.goal().filter(|_| may_go).cloned()
        };
        if let Some(goal) = goal.filter(|it| it.toplevel != goes_to.version) {
            self.begin_switch(&settings, &goal);
        }
    }

    fn due_of_following(&self) -> Due {
        let Following { hold, pace, .. } = &mut *lock(&self.following);
        let now = self.tick();
        pace.sees(hold.as_ref(), now);
        due(true, pace, hold.as_ref(), now)
    }

    /// When the feed is read next, where one is followed.
    pub(super) fn follow_due(&self, settings: &Settings) -> Option<u64> {
        follows(settings).then(|| lock(&self.following).pace.due())
    }

    /// Reads the feed, and takes in what it says.
    fn read_followed(&self, settings: &Settings, cancel: &Cancel) -> Result<(), Failure> {
        let source = Source::of_system(settings);
        if settings.upgrade.follows() && source == Source::of_releases(settings) {
            return self.read_feed(settings, self.tick(), cancel);
        }
        let read = {
            let _one_at_a_time = lock(&self.reading);
            self.beat();
            let read = self.believed(settings, &source, cancel);
            self.beat();
            read
        };
        if cancel.requested().is_none() {
            self.hear(&source, &read, settings);
        }
        read.map(drop)
    }

    /// Takes in what a feed says, if it is the one that the system follows.
    pub(super) fn hear(&self, of: &Source, read: &Result<Feed, Failure>, settings: &Settings) {
        if !follows(settings) || *of != Source::of_system(settings) {
            return;
        }
        self.follow_other_feed(settings);
        let (tick, now) = (self.tick(), self.host.clock.now());
        let mut following = lock(&self.following);
        let (every, chance) = (every(&settings.upgrade), backoff::chance());
        following.pace.looked(tick, every, read.is_ok(), chance);
        let before = following.memory.trouble.clone();
        match read {
            Ok(feed) => {
                following.memory.trouble = None;
                following.feed = Some(feed.clone());
            }
            Err(failure) => {
                let known = before.as_ref().filter(|it| it.code == failure.code);
                following.memory.trouble = Some(Trouble {
                    code: failure.code,
                    message: failure.message.clone(),
                    since: known.map_or(now, |it| it.since),
                });
            }
        }
        let is_other = before != following.memory.trouble;
        if is_other {
            self.keep_following_memory(&following);
        }
        drop(following);
        self.weigh_following(settings);
        if is_other {
            self.tell_of_releases();
        }
    }

    /// Forgets what another feed than that of the settings said, or said for another group.
    fn follow_other_feed(&self, settings: &Settings) {
        let source = (Source::of_system(settings), settings.system.group.clone());
        let mut following = lock(&self.following);
        if following.source.as_ref() == Some(&source) {
            return;
        }
        let (now, every) = (self.tick(), every(&settings.upgrade));
        let is_first = following.source.is_none();
        let pace = match is_first {
            true => Pace::after_boot(now, every, backoff::chance()),
            false => Pace::at_once(now),
        };
        let memory = std::mem::take(&mut following.memory);
        *following = Following {
            source: Some(source),
            pace,
            ..Following::new(memory)
        };
        let (is_none, memory) = (!follows(settings), &mut following.memory);
        // What is followed after a restart is what was followed before it, until that was read.
        let forgets = !is_first || is_none;
        if forgets && (memory.trouble.is_some() || memory.goal.is_some()) {
            (memory.trouble, memory.goal) = (None, None);
            memory.left.clear();
            self.keep_following_memory(&following);
        }
        drop(following);
        if forgets {
            self.tell_of_releases();
        }
    }

    /// Reckons anew what is named, and what holds going there.
    fn weigh_following(&self, settings: &Settings) {
        let now = self.host.clock.now();
        let at = self.at();
        let runs = self.runs();
        let on_the_way_to = self.on_the_way_to();
        let (before, goal, verdict, spread) = {
            let mut following = lock(&self.following);
            let before = following.told();
            following.standing = standing(&Facts {
                feed: following.feed.as_ref(),
                group: &settings.system.group,
                now: now / 1000,
                runs: &runs,
                on_the_way_to: on_the_way_to.as_deref(),
            });
            let named = following.standing.goal().cloned();
            if following.memory.sees(named.as_ref()) {
                self.keep_following_memory(&following);
            }
            let goal = match &following.standing {
                Standing::Away(goal) => Some(goal.clone()),
                _ => None,
            };
            let judge = |goal: &Goal| following.memory.judge(&goal.toplevel, at);
            let verdict = goal.as_ref().map(judge);
            (before, goal, verdict, following.spread.take())
        };
        let moment = goal.zip(verdict).map(|(goal, ladder)| {
            let wanted = Wanted {
                what: What::Switch,
                name: &goal.toplevel,
                // That it is followed says that it is wanted.
                policy: UpgradePolicy::Auto,
                halted: false,
                ladder,
            };
            self.moment(settings, &wanted, spread, now)
        });
        let (hold, spread) = moment.unzip();
        let mut following = lock(&self.following);
        following.hold = hold;
        following.spread = spread.flatten();
        let is_other = before != following.told();
        drop(following);
        if is_other {
            self.tell_of_releases();
        }
    }

    /// The generation that runs; empty where nobody can tell, and then nothing is gone to.
    fn runs(&self) -> String {
        identity::current(&self.host.fs).unwrap_or_else(|error| {
            tracing::warn!("cannot tell which generation runs: {error}");
            String::new()
        })
    }

    /// The generation that a switch goes to which is not over.
    fn on_the_way_to(&self) -> Option<String> {
        let all = self.store.operations().into_iter().rev();
        let mut open = all.filter(|it| !it.state.is_final() && !it.options.dry_run);
        open.find_map(|it| match it.request {
            OperationRequest::Switch(switch) => Some(switch.toplevel),
            _ => None,
        })
    }

    /// Stores what is remembered.
    fn keep_following_memory(&self, following: &Following) {
        let kept = self.following_in(Batch::default(), &following.memory);
        if let Err(error) = kept.and_then(|change| self.store.commit(change)) {
            tracing::warn!("cannot remember what the system follows: {error}");
        }
    }

    fn following_in(&self, mut change: Batch, memory: &Memory) -> Result<Batch, StoreError> {
        let now = Now::of(self.host.clock.as_ref());
        let mut care = lock(&self.care);
        change.following(care.count(&now), memory)?;
        Ok(change)
    }
}

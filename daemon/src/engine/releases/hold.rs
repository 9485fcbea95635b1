//! Whether now is a moment for what is offered: the machine is asked, [`crate::upgrade::hold`]
//! decides.

use std::os::fd::OwnedFd;
use std::time::Duration;

use nixctl_proto::settings::{Settings, UpgradePolicy};
use nixctl_proto::{Failure, OperationState as State};

use super::super::handle::{Engine, Shared, lock};
use super::super::{Change, backoff};
use crate::host::power::supply;
use crate::takeover;
use crate::upgrade::autopilot::Spread;
use crate::upgrade::hold::{Facts, Hold, Opening, decide};
use crate::upgrade::inhibit::What;
use crate::upgrade::ladder::Verdict;
use crate::upgrade::offer::Standing;
use crate::upgrade::window::Windows;
use crate::upgrade::zone::Zones;

impl Engine {
    /// Takes an inhibitor for a user: nothing of what it names begins as long as the file descriptor is
    /// open.
    ///
    /// # Errors
    /// A word or a text is wrong, or there are too many.
    pub fn inhibit(&self, what: &str, who: &str, why: &str, uid: u32) -> Result<OwnedFd, Failure> {
        let shared = self.shared();
        let taken = shared.inhibitors.take(what, who, why, uid);
        let taken = taken.map_err(|error| Failure::from_error(error.code(), &error))?;
        tracing::info!("{who} (user {uid}) inhibits {what}: {why}");
        shared.tell(Change::Status);
        Ok(taken)
    }
}

/// What is to be begun without a hand.
pub(in super::super) struct Wanted<'a> {
    /// What an inhibitor would have to name.
    pub(in super::super) what: What,
    /// Its name, which chance is drawn for.
    pub(in super::super) name: &'a str,
    /// Whether the settings want it.
    pub(in super::super) policy: UpgradePolicy,
    /// Whether it was withdrawn.
    pub(in super::super) halted: bool,
    /// What came of earlier tries.
    pub(in super::super) ladder: Verdict,
}

impl Shared {
    /// Reckons anew what is offered, and what holds that.
    pub(super) fn weigh(&self, settings: &Settings) {
        let here = self.here(settings);
        let now = self.host.clock.now();
        let (before, standing) = {
            let mut releases = lock(&self.releases);
            let before = (releases.memory.offered.clone(), releases.waits());
            releases.make_of_feed(&here, now / 1000);
            (before, releases.standing.clone())
        };
        let hold = self.hold(settings, &standing, now);
        let mut releases = lock(&self.releases);
        releases.hold = hold;
        let is_other = before != (releases.memory.offered.clone(), releases.waits());
        if before.0 != releases.memory.offered {
            self.keep_memory(&releases);
        }
        drop(releases);
        if is_other {
            self.tell_of_releases();
        }
    }

    /// What holds what is offered; `None` where nothing is.
    fn hold(&self, settings: &Settings, standing: &Standing, now: u64) -> Option<Result<(), Hold>> {
        let upgrade = &settings.upgrade;
        let version = match (&standing.first, &standing.offered, &standing.waiting) {
            (Some(first), _, _) => &first.version,
            (None, Some(offered), _) => &offered.version,
            (None, None, Some(waiting)) if waiting.is_halted => &waiting.version,
            // What is said of its turn says more.
            (None, None, _) => return None,
        };
        let ladder = match &standing.first {
            Some(_) => {
                let kept = takeover::plan::previous_version(&self.store.owned());
                let in_use = nixctl_proto::version();
                let memory = &lock(&self.releases).memory;
                memory.judge_nixctl(version, in_use, kept.as_deref(), self.at())
            }
            None => lock(&self.releases).memory.judge(version, self.at()),
        };
        let what = Wanted {
            what: What::Upgrade,
            name: version,
            policy: upgrade.policy,
            halted: standing.offered.is_none() && standing.first.is_none(),
            ladder,
        };
        let before = lock(&self.releases).spread.take();
        let (decided, spread) = self.moment(settings, &what, before, now);
        lock(&self.releases).spread = spread;
        Some(decided)
    }

    /// Whether now is a moment for something, in milliseconds since 1970, and how long chance puts that
    /// off.
    pub(in super::super) fn moment(
        &self,
        settings: &Settings,
        wanted: &Wanted<'_>,
        before: Option<Spread>,
        now: u64,
    ) -> (Result<(), Hold>, Option<Spread>) {
        let upgrade = &settings.upgrade;
        let windows = Zones::new(self.host.fs.clone());
        let windows = windows.windows(&upgrade.windows, &upgrade.time_zone);
        let (windows, window) = match windows {
            Ok((windows, _)) => {
                let opening = opening(&windows, now);
                (windows, opening)
            }
            Err(error) => (Windows::default(), Opening::Unusable(error.to_string())),
        };
        let inhibitor = self.inhibitors.against(wanted.what);
        let mut facts = Facts {
            asked: false,
            policy: wanted.policy,
            halted: wanted.halted,
            ladder: wanted.ladder.clone(),
            admitted: true,
            window,
            on_battery: false,
            metered: false,
            inhibited: inhibitor.map(|it| (it.who, it.why)),
            jitter: None,
            busy: self.is_occupied(),
            fleet_lock: None,
            now,
        };
        let mut decided = decide(&facts);
        let most = Duration::from_secs(u64::from(upgrade.jitter_minutes) * 60);
        // Half of a window's rest at most, or many would miss it.
        let rest = windows
            .closes_at(now)
            .map(|end| end.saturating_sub(now) / 2);
        let most = rest.map_or(most, |rest| most.min(Duration::from_millis(rest)));
        let chance = backoff::chance();
        let spread = Spread::next(before, wanted.name, &decided, now, most, chance);
        if wanted.policy == UpgradePolicy::Auto && spread.is_some() {
            facts.jitter = spread.as_ref().map(|it| it.until);
            facts.on_battery = !upgrade.on_battery && supply(&self.host.fs).is_battery();
            facts.metered = !upgrade.on_metered && self.host.network.metered().costs();
            // Asked when nothing else holds it.
            facts.fleet_lock = self.refused_turn(settings);
            decided = decide(&facts);
        }
        (decided, spread)
    }

    /// Whether an operation is not over, or failed and was not undone.
    fn is_occupied(&self) -> bool {
        let all = self.store.operations();
        all.iter()
            .any(|it| !it.state.is_final() || it.state == State::Attention)
    }
}

fn opening(windows: &Windows, now: u64) -> Opening {
    match windows.next_open(now) {
        Some(then) if then <= now => Opening::Open,
        Some(then) => Opening::Opens(then),
        None => Opening::Unusable("none of them ever opens".to_owned()),
    }
}

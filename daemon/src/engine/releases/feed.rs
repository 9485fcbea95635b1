//! Reading the feed, and what is made of it.

use nixctl_proto::feed::{Feed, FeedError};
use nixctl_proto::request::OperationRequest;
use nixctl_proto::settings::Settings;
use nixctl_proto::{Code, Failure};

use super::super::handle::{Shared, lock, stored};
use super::super::store::Change as Batch;
use super::super::{Recorded, backoff};
use super::{Releases, every};
use crate::health::look::upgrade::Trouble;
use crate::host::Cancel;
use crate::payload::release::this_system;
use crate::upgrade::machine;
use crate::upgrade::offer::{Here, Offered, of_nixctl, standing};
use crate::upgrade::reading::{Reading, Source, read};
use crate::upgrade::rollout::Machine;

impl Shared {
    /// Reads the feed, unless somebody has since that time, and takes in what it says. Blocks, for two
    /// minutes at most.
    ///
    /// # Errors
    /// Why it is not gone by.
    pub(in super::super) fn read_feed(
        &self,
        settings: &Settings,
        since: u64,
        cancel: &Cancel,
    ) -> Result<(), Failure> {
        let _one_at_a_time = lock(&self.reading);
        if lock(&self.releases).pace.was_read_since(since) {
            return self.trouble();
        }
        self.beat();
        let source = Source::of_releases(settings);
        let read = self.believed(settings, &source, cancel);
        self.beat();
        if cancel.requested().is_some() {
            return Err(Failure::new(
                Code::Cancelled,
                "cannot read the feed: something is begun",
            ));
        }
        self.hear(&source, &read, settings);
        self.take_in_feed(settings, read)
    }

    /// A feed that is believed, and whose serial is on the disk: nobody goes back behind it.
    pub(in super::super) fn believed(
        &self,
        settings: &Settings,
        source: &Source,
        cancel: &Cancel,
    ) -> Result<Feed, Failure> {
        let (url, channel) = (&source.url, &source.channel);
        let seen = self.store.serial(url, channel).map_err(stored)?;
        let now = self.host.clock.now() / 1000;
        let reading = Reading::new(settings, source, seen, now);
        let feed = read(self.worker.as_ref(), reading, cancel).map_err(|error| error.failure())?;
        // The child has looked; what it tells is looked at as anything from outside.
        if feed.serial < seen {
            let serial = feed.serial;
            return Err(FeedError::Replayed { serial, seen }.failure());
        }
        if feed.serial > seen {
            let mut change = Batch::default();
            let noted = change.serial(url, channel, feed.serial);
            noted
                .and_then(|()| self.store.commit(change))
                .map_err(stored)?;
        }
        Ok(feed)
    }

    /// What earlier operations left word of, and the offer where the request leaves it to the feed what
    /// is taken.
    ///
    /// # Errors
    /// Why the feed is not gone by.
    pub(in super::super) fn recorded_for(
        &self,
        request: &OperationRequest,
        settings: &Settings,
        cancel: &Cancel,
    ) -> Result<Recorded, Failure> {
        let mut recorded = self.recorded();
        if leaves_it_to_the_feed(request, settings) {
            recorded.offer = Some(self.fresh_offer(settings, cancel)?);
        }
        if let OperationRequest::SelfUpgrade(request) = request
            && settings.upgrade.follows()
            && request.source.is_none()
            && !request.rollback
        {
            let named = request.version.as_deref();
            let offer = self.offer_of_nixctl(settings, named, cancel)?;
            // One that the feed does not have may be kept here.
            recorded.offer = Some(offer).filter(|it| it.is_ok() || named.is_none());
        }
        Ok(recorded)
    }

    fn take_in_feed(
        &self,
        settings: &Settings,
        read: Result<Feed, Failure>,
    ) -> Result<(), Failure> {
        let (tick, now) = (self.tick(), self.host.clock.now());
        let here = self.here(settings);
        let mut releases = lock(&self.releases);
        let before = releases.memory.clone();
        let chance = backoff::chance();
        releases
            .pace
            .looked(tick, every(&settings.upgrade), read.is_ok(), chance);
        let outcome = match read {
            Ok(feed) => {
                releases.memory.trouble = None;
                releases.memory.read = now;
                releases.memory.serial = feed.serial;
                releases.feed = Some(feed);
                Ok(())
            }
            Err(failure) => {
                let known = before.trouble.as_ref().filter(|it| it.code == failure.code);
                releases.memory.trouble = Some(Trouble {
                    code: failure.code,
                    message: failure.message.clone(),
                    since: known.map_or(now, |it| it.since),
                });
                Err(failure)
            }
        };
        releases.make_of_feed(&here, now / 1000);
        if !before.says_as(&releases.memory) {
            self.keep_memory(&releases);
            drop(releases);
            self.tell_of_releases();
        }
        outcome
    }

    fn trouble(&self) -> Result<(), Failure> {
        match &lock(&self.releases).memory.trouble {
            Some(trouble) => Err(Failure::new(trouble.code, &trouble.message)),
            None => Ok(()),
        }
    }

    /// Which machine this is.
    pub(super) fn here(&self, settings: &Settings) -> Here {
        let upgrade = &settings.upgrade;
        let fs = &self.host.fs;
        let known = lock(&self.releases).machine.clone();
        let mut machine = known.unwrap_or_else(|| Machine {
            id: machine::id(fs),
            ..Machine::default()
        });
        // A machine that boots for the first time gets its id later.
        if machine.id.is_some() {
            lock(&self.releases).machine = Some(machine.clone());
        }
        let ci = std::env::var("CI").ok();
        let kind = machine::container(fs);
        let short = machine::ephemeral(upgrade.ephemeral, kind.as_deref(), ci.as_deref());
        machine.is_ephemeral = short.is_some();
        machine.wariness = upgrade.wariness.number();
        Here {
            machine,
            system: this_system(),
            nix: self.nix_version(),
            nixctld: nixctl_proto::version().to_owned(),
        }
    }

    /// What the feed offers this machine, read anew when it was read some time ago. `None`: nothing
    /// newer, with the reason.
    ///
    /// # Errors
    /// Why the feed is not gone by.
    pub(in super::super) fn fresh_offer(
        &self,
        settings: &Settings,
        cancel: &Cancel,
    ) -> Result<Result<Offered, String>, Failure> {
        self.refresh(settings, cancel)?;
        let (here, now) = (self.here(settings), self.host.clock.now() / 1000);
        let mut releases = lock(&self.releases);
        releases.make_of_feed(&here, now);
        let standing = &releases.standing;
        Ok(match (&standing.offered, &standing.waiting) {
            (Some(offered), _) => Ok(offered.clone()),
            (None, Some(it)) => Err(format!("Nix {}: {}", it.version, it.why)),
            (None, None) => Err("the release feed has nothing newer".to_owned()),
        })
    }

    /// The same of nixctl itself; a version may be named.
    fn offer_of_nixctl(
        &self,
        settings: &Settings,
        named: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Result<Offered, String>, Failure> {
        self.refresh(settings, cancel)?;
        let (here, now) = (self.here(settings), self.host.clock.now() / 1000);
        let releases = lock(&self.releases);
        Ok(match &releases.feed {
            Some(feed) => of_nixctl(feed, &here, named, now),
            None => Err("the release feed was not read yet".to_owned()),
        })
    }

    /// Reads the feed when it was read some time ago.
    fn refresh(&self, settings: &Settings, cancel: &Cancel) -> Result<(), Failure> {
        let now = self.tick();
        self.follow(settings);
        let (is_fresh, may_read) = {
            let pace = &lock(&self.releases).pace;
            (pace.is_fresh(now), pace.may_read(now))
        };
        // Whoever asks again and again has the server asked once in a minute.
        match is_fresh {
            true => Ok(()),
            false if may_read => self.read_feed(settings, now, cancel),
            false => self.trouble(),
        }
    }
}

/// Whether a request leaves to the feed, which is followed, what is taken.
fn leaves_it_to_the_feed(request: &OperationRequest, settings: &Settings) -> bool {
    let OperationRequest::Upgrade(request) = request else {
        return false;
    };
    let names = request.version.is_some() || request.source.is_some() || request.rollback;
    !names && settings.upgrade.follows()
}

impl Releases {
    /// Reckons anew what the feed means here at that time, in seconds since 1970. A feed that is not
    /// known (any more) says nothing, and then what was offered last stands as it was.
    pub(super) fn make_of_feed(&mut self, here: &Here, now: u64) {
        if let Some(feed) = &self.feed {
            self.standing = standing(feed, here, now);
            self.memory.offered.clone_from(&self.standing.offered);
        }
    }
}

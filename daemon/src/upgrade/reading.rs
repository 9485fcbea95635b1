//! Reading the release feed in a child of the daemon: what connections and certificates need of
//! memory goes with it. The child believes nothing that is not signed, and says what it believed.

use std::sync::{Mutex, PoisonError};

use nixctl_proto::Code;
use nixctl_proto::feed::{Feed, Trust};
use nixctl_proto::settings::Settings;
use serde::{Deserialize, Serialize};

use super::feed;
use crate::host::Cancel;
use crate::payload::PayloadError;
use crate::payload::http::Client;
use crate::payload::worker::{Task, Worker};
use crate::resource::Progress;

/// Which feed is followed, and who is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its URL; empty: none is followed.
    pub url: String,
    /// One of these must have signed it.
    pub keys: Vec<String>,
    /// The channel that it must be of.
    pub channel: String,
}

impl Source {
    /// The one of releases.
    pub fn of_releases(settings: &Settings) -> Source {
        let upgrade = &settings.upgrade;
        Source {
            url: upgrade.feed.clone(),
            keys: upgrade.feed_keys.clone(),
            channel: upgrade.channel.clone(),
        }
    }

    /// The one that says which generation this machine should run.
    pub fn of_system(settings: &Settings) -> Source {
        let (system, upgrade) = (&settings.system, &settings.upgrade);
        Source {
            url: system.follow.clone(),
            keys: system.trusted(upgrade).to_vec(),
            channel: upgrade.channel.clone(),
        }
    }
}

/// What to read, and whom to believe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reading {
    /// URL of the feed.
    pub url: String,
    /// One of these must have signed it.
    pub keys: Vec<String>,
    /// The channel that it must be of.
    pub channel: String,
    /// The highest serial that was seen.
    pub last_serial: u64,
    /// Seconds since 1970.
    pub now: u64,
    /// Proxy for downloads; empty: as the environment says.
    pub proxy: String,
    /// File with authorities; empty: the machine's.
    pub ssl_cert_file: String,
}

impl Reading {
    /// Of that feed, as the settings say.
    pub fn new(settings: &Settings, source: &Source, last_serial: u64, now: u64) -> Reading {
        let install = &settings.install;
        Reading {
            url: source.url.clone(),
            keys: source.keys.clone(),
            channel: source.channel.clone(),
            last_serial,
            now,
            proxy: install.proxy.clone(),
            ssl_cert_file: install.ssl_cert_file.clone(),
        }
    }
}

/// Reads it and tells what was believed: in the child.
///
/// # Errors
/// It cannot be fetched, or is not believed.
pub fn work(
    reading: &Reading,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), PayloadError> {
    let client = Client::new(&reading.proxy, &reading.ssl_cert_file, cancel.clone())?;
    let keys = reading.keys.iter().map(|text| text.parse());
    let keys: Result<Vec<_>, _> = keys.collect();
    let keys =
        keys.map_err(|_| PayloadError::new(Code::BadSettings, "cannot use the feed's keys"))?;
    let trust = Trust {
        keys: &keys,
        channel: Some(&reading.channel),
        last_serial: reading.last_serial,
        now: reading.now,
    };
    let feed = feed::fetch(&client, &reading.url, &trust).map_err(reported)?;
    progress.note(&feed.to_text());
    Ok(())
}

fn reported(error: feed::FetchError) -> PayloadError {
    match error {
        feed::FetchError::Http(error) if error.code() != Code::BadSource => error,
        error => {
            let failure = error.failure();
            PayloadError::new(failure.code, failure.message).with_help(failure.help)
        }
    }
}

/// Has a child read it, and says what it believed.
///
/// # Errors
/// As [`work`], or the child was lost.
pub fn read(worker: &dyn Worker, reading: Reading, cancel: &Cancel) -> Result<Feed, PayloadError> {
    let told = Told::default();
    worker.run(&Task::Feed(reading), &told, cancel)?;
    let text = told.0.into_inner().unwrap_or_else(PoisonError::into_inner);
    // Its rules were checked there; a later form is not told as the form that it was read by.
    serde_json::from_str(&text).map_err(|error| {
        let text = format!("internal error: the worker tells of no feed: {error}");
        PayloadError::new(Code::Internal, text)
    })
}

/// The last thing that was told.
#[derive(Debug, Default)]
struct Told(Mutex<String>);

impl Progress for Told {
    fn bytes(&self, _done: u64, _total: u64) {}

    fn note(&self, text: &str) {
        text.clone_into(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

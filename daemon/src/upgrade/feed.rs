//! Fetches the release feed: bounded in bytes and time, never led from the scheme of the settings to
//! another, and nothing of it is given on that is not signed, in its time and in its form.

use std::io::Read;
use std::time::{Duration, Instant};

use nixctl_proto::feed::{Feed, FeedError, MAX_BYTES, Trust, verify};
use nixctl_proto::{Code, Failure};

use crate::payload::PayloadError;
use crate::payload::http::Client;
use crate::payload::url::Url;

/// Time for the body as a whole; the connection and each silence have their own.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why there is no feed to go by. Whatever it is, nothing is changed by it.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// It could not be fetched.
    #[error(transparent)]
    Http(#[from] PayloadError),
    /// It is not believed.
    #[error(transparent)]
    Feed(#[from] FeedError),
}

impl FetchError {
    /// Code for people and programs.
    pub fn code(&self) -> Code {
        match self {
            FetchError::Http(error) => error.code(),
            FetchError::Feed(error) => error.code(),
        }
    }

    /// The error for people, with its code, causes and help.
    pub fn failure(&self) -> Failure {
        match self {
            FetchError::Http(error) if error.code() == Code::BadSource => {
                let failure = error.failure();
                failure.with_help("see whether [upgrade] feed names a file that its server has")
            }
            FetchError::Http(error) => error.failure(),
            FetchError::Feed(error) => error.failure(),
        }
    }
}

/// Fetches the feed at `url` and believes it or says why not. Blocks, a minute or two at most.
///
/// # Errors
/// When it cannot be fetched, or is not to be believed.
pub fn fetch(client: &Client, url: &str, trust: &Trust<'_>) -> Result<Feed, FetchError> {
    let bytes = fetch_within(client, &Url::parse(url)?, DEADLINE)?;
    Ok(verify(&bytes, trust)?)
}

fn fetch_within(client: &Client, url: &Url, deadline: Duration) -> Result<Vec<u8>, FetchError> {
    let until = Instant::now() + deadline;
    let answer = client.download_within_scheme(url)?;
    let too_large = FeedError::TooLarge { limit: MAX_BYTES };
    if answer
        .length
        .is_some_and(|length| length > MAX_BYTES as u64)
    {
        return Err(too_large.into());
    }
    let mut reader = answer.into_reader();
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let count = reader
            .read(&mut chunk)
            .map_err(|error| client.broken_body(url, error))?;
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(&chunk[..count]);
        if bytes.len() > MAX_BYTES {
            return Err(too_large.into());
        }
        if Instant::now() > until {
            let seconds = deadline.as_secs();
            let message = format!(
                "cannot fetch {}: it took longer than {seconds} s",
                url.shown()
            );
            return Err(PayloadError::new(Code::Network, message).into());
        }
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;

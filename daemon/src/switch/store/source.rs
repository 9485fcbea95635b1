//! Where a closure is asked for: the store of the machine, or a binary cache by its URL.
//!
//! A URL comes from outside and goes to Nix as an argument. Only kinds of stores that hold paths for
//! others are taken, and no parameter that would change whom Nix trusts or which program it runs.

use std::fmt;

/// Kinds of stores.
const SCHEMES: [&str; 6] = ["file", "http", "https", "s3", "ssh", "ssh-ng"];

/// Parameters that say where the store is, and nothing else.
const PARAMETERS: [&str; 5] = ["endpoint", "priority", "profile", "region", "scheme"];

/// Longest URL.
const MAX_BYTES: usize = 2048;

/// Whom to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The store of the machine.
    Local,
    /// A binary cache or another machine.
    Cache(StoreUrl),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Local => f.write_str("the store"),
            Source::Cache(url) => f.write_str(url.as_str()),
        }
    }
}

/// The URL of a store that may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreUrl(String);

/// A text that is no URL of a store that may be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot take `{text}` for the URL of a store: {why}")]
pub struct BadStoreUrl {
    /// The text, shortened when it is long.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl StoreUrl {
    /// Takes a URL after checking it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(text: &str) -> Result<Self, BadStoreUrl> {
        check(text).map_err(|why| BadStoreUrl {
            text: text.chars().take(200).collect(),
            why,
        })?;
        Ok(StoreUrl(text.to_owned()))
    }

    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn check(text: &str) -> Result<(), String> {
    if text.len() > MAX_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(format!(
            "it has white space or other characters, or more than {MAX_BYTES} bytes"
        ));
    }
    let (scheme, rest) = text
        .split_once("://")
        .ok_or_else(|| "it does not begin with a kind of store".to_owned())?;
    if !SCHEMES.contains(&scheme) {
        return Err(format!("`{scheme}` is not one of {}", SCHEMES.join(", ")));
    }
    let (place, parameters) = rest.split_once('?').unwrap_or((rest, ""));
    // A host that looks like an option would be one for ssh.
    let host = place.rsplit_once('@').map_or(place, |(_, host)| host);
    if place.is_empty() || place.starts_with('-') || host.starts_with('-') {
        return Err("it names no place".to_owned());
    }
    if scheme == "file" && !place.starts_with('/') {
        return Err("its path is not absolute".to_owned());
    }
    for parameter in parameters.split('&').filter(|it| !it.is_empty()) {
        let name = parameter
            .split_once('=')
            .map_or(parameter, |(name, _)| name);
        if !PARAMETERS.contains(&name) {
            return Err(format!("the parameter `{name}` is not allowed"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_asked() {
        for (text, good) in [
            ("https://cache.nixos.org", true),
            ("http://127.0.0.1:8080/x", true),
            ("file:///srv/cache", true),
            ("ssh-ng://root@host", true),
            ("s3://bucket?region=eu-west-1&profile=x", true),
            ("https://cache.nixos.org?priority=10", true),
            ("", false),
            ("cache.nixos.org", false),
            ("--option", false),
            ("daemon", false),
            ("local?root=/x", false),
            ("unix:///x", false),
            ("file://relative", false),
            ("https://", false),
            ("ssh://-oProxyCommand=x", false),
            ("ssh://a@-oProxyCommand=x", false),
            ("https://x?trusted=1", false),
            ("https://x?priority=1&trusted=true", false),
            ("ssh://x?remote-program=/bin/sh", false),
            ("https://x y", false),
            ("https://x\n", false),
            ("https://ä", false),
        ] {
            assert_eq!(StoreUrl::new(text).is_ok(), good, "{text}");
        }
        let error = StoreUrl::new("https://x?trusted=1").unwrap_err();
        assert!(error.to_string().contains("`trusted`"), "{error}");
        assert!(StoreUrl::new(&format!("https://{}", "x".repeat(MAX_BYTES))).is_err());
    }
}

//! Addresses of archives: just enough of a URL to refuse what is not one, to show it without
//! credentials, and to decide whether a trusted prefix really covers it.
//!
//! A prefix covers a URL only when scheme, host and port are equal and the path begins with the
//! prefix's path at a boundary. Anything that a server might read in another way (dot segments,
//! percent-encoded dots, slashes or backslashes, a user before the host) is never covered.

use nixctl_proto::Code;

use super::PayloadError;

/// Longest URL that is accepted.
const MAX_LENGTH: usize = 2048;

/// A URL in its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    /// Whether it is https.
    pub secure: bool,
    /// What stands before `@`, empty for nothing.
    pub user_info: String,
    /// Host in lower case; an IPv6 address keeps its brackets.
    pub host: String,
    /// Port, the scheme's own when none is named.
    pub port: u16,
    /// Path with its leading slash, query and fragment cut off.
    pub path: String,
    /// Query with its `?`, or empty.
    pub query: String,
}

impl Url {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// When it is no http or https URL, is too long, or has characters no URL has.
    pub fn parse(text: &str) -> Result<Url, PayloadError> {
        parse(text).map_err(|why| {
            let shown = redact(text);
            PayloadError::new(
                Code::BadSource,
                format!("cannot use the source `{shown}`: {why}"),
            )
        })
    }

    /// The URL without credentials, for messages.
    pub fn shown(&self) -> String {
        format!("{}{}{}", self.origin(), self.path, self.query)
    }

    /// Scheme, host and port, the port only when it is not the scheme's own.
    pub fn origin(&self) -> String {
        let (scheme, usual) = if self.secure {
            ("https", 443)
        } else {
            ("http", 80)
        };
        if self.port == usual {
            format!("{scheme}://{}", self.host)
        } else {
            format!("{scheme}://{}:{}", self.host, self.port)
        }
    }

    /// Last part of the path.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The URL that a `Location` header of an answer to this one names, as text.
    pub fn join(&self, location: &str) -> String {
        if location.contains("://") {
            location.to_owned()
        } else if let Some(rest) = location.strip_prefix("//") {
            format!("{}://{rest}", if self.secure { "https" } else { "http" })
        } else if location.starts_with('/') {
            format!("{}{location}", self.origin())
        } else {
            let folder = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{}{folder}/{location}", self.origin())
        }
    }

    /// Whether everything below `prefix` is trusted and this URL is below it.
    pub fn is_below(&self, prefix: &Url) -> bool {
        self.user_info.is_empty()
            && prefix.user_info.is_empty()
            && self.secure == prefix.secure
            && self.host == prefix.host
            && self.port == prefix.port
            && !is_ambiguous(&self.path)
            && !is_ambiguous(&prefix.path)
            && path_is_below(&self.path, &prefix.path)
    }
}

/// Whether `path` is `prefix` or lies below it, at a slash.
pub fn path_is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// The text with everything between `://` and the last `@` of the authority hidden, cut to a
/// length that fits into a message, control characters replaced.
pub fn redact(text: &str) -> String {
    let clean: String = text
        .chars()
        .take(300)
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    let Some((scheme, rest)) = clean.split_once("://") else {
        return clean;
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***@{}", &rest[at + 1..]),
        None => clean,
    }
}

fn parse(text: &str) -> Result<Url, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("it is longer than {MAX_LENGTH} characters"));
    }
    if let Some(c) = text
        .chars()
        .find(|c| !c.is_ascii_graphic() || "\\\"<>^`{|}".contains(*c))
    {
        return Err(format!("{c:?} is not allowed in a URL"));
    }
    let (scheme, rest) = text.split_once("://").ok_or("it has no scheme")?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        other => return Err(format!("the scheme {other} is not http or https")),
    };
    let rest = rest.split_once('#').map_or(rest, |(before, _)| before);
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    let (user_info, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (host, port) = split_port(place)?;
    if host.is_empty() {
        return Err("it names no host".to_owned());
    }
    let (path, query) = tail.find('?').map_or((tail, ""), |at| tail.split_at(at));
    Ok(Url {
        secure,
        user_info: user_info.to_owned(),
        host: host.to_ascii_lowercase(),
        port: port.unwrap_or(if secure { 443 } else { 80 }),
        path: if path.is_empty() {
            "/".to_owned()
        } else {
            path.to_owned()
        },
        query: query.to_owned(),
    })
}

fn split_port(place: &str) -> Result<(&str, Option<u16>), String> {
    let after_host = if place.starts_with('[') {
        place
            .find(']')
            .map(|at| at + 1)
            .ok_or("its IPv6 address has no end")?
    } else {
        place.find(':').unwrap_or(place.len())
    };
    let (host, port) = place.split_at(after_host);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let allowed = |c: char| c.is_ascii_alphanumeric() || ".-_:%".contains(c);
    if !bare.chars().all(allowed) || (bare == host && host.contains('%')) {
        return Err(format!("`{host}` is not a host"));
    }
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok((host, None)),
        Some("") => Ok((host, None)),
        Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits
            .parse()
            .map(|port| (host, Some(port)))
            .map_err(|_| "its port is too large".into()),
        _ => Err(format!("`{port}` is not a port")),
    }
}

fn is_ambiguous(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    lower.split('/').any(|part| part == "." || part == "..")
        || ["%2e", "%2f", "%5c", "%00", "//", ";"]
            .iter()
            .any(|odd| lower.contains(odd))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn a_prefix_covers_only_what_is_really_below_it() {
        let cases = [
            (
                "https://releases.nixos.org/nix/a.tar.xz",
                "https://releases.nixos.org/",
                true,
            ),
            (
                "https://releases.nixos.org/nix/a.tar.xz",
                "https://releases.nixos.org",
                true,
            ),
            (
                "https://RELEASES.nixos.org:443/nix",
                "https://releases.nixos.org/nix/",
                true,
            ),
            (
                "https://releases.nixos.org.evil/nix",
                "https://releases.nixos.org",
                false,
            ),
            (
                "https://releases.nixos.org@evil/nix",
                "https://releases.nixos.org",
                false,
            ),
            (
                "https://user@releases.nixos.org/nix",
                "https://releases.nixos.org/",
                false,
            ),
            (
                "http://releases.nixos.org/nix",
                "https://releases.nixos.org/",
                false,
            ),
            (
                "https://releases.nixos.org:8443/nix",
                "https://releases.nixos.org/",
                false,
            ),
            ("https://h/nix/../other/a", "https://h/nix/", false),
            ("https://h/nix/%2e%2E/other/a", "https://h/nix/", false),
            ("https://h/nix/..%2fother/a", "https://h/nix/", false),
            ("https://h/nixos/a", "https://h/nix", false),
            ("https://h/nix", "https://h/nix", true),
            ("http://127.0.0.1:8080/a", "http://127.0.0.1:8080/", true),
            ("http://127.0.0.1:80800/a", "http://127.0.0.1:8080/", false),
        ];
        for (text, prefix, expected) in cases {
            let covered = Url::parse(text).is_ok_and(|url_| url_.is_below(&url(prefix)));
            assert_eq!(covered, expected, "{text} below {prefix}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused() {
        for text in [
            "",
            "ftp://h/a",
            "file:///etc/passwd",
            "https://",
            "https:///a",
            "https://h/a b",
            "https://h/\u{7f}",
            "https://h\\@evil/",
            "https://h/\n",
            "https://h:x/",
            "https://[::1/",
            "https://ex%61mple/",
            "https://h:99999/",
        ] {
            assert!(Url::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn credentials_are_never_shown() {
        for text in [
            "https://user:secret@h/a",
            "https://user:secret@h:1x/a",
            "ftp://a:secret@h/",
            "https://a:secret@b@h/",
        ] {
            let shown = match Url::parse(text) {
                Ok(url) => url.shown(),
                Err(error) => error.to_string(),
            };
            assert!(!shown.contains("secret"), "{shown}");
            assert!(!redact(text).contains("secret"));
        }
    }

    #[test]
    fn locations_are_joined() {
        let base = url("https://h:8443/nix/a?x=1");
        for (location, expected) in [
            ("https://other/b", "https://other/b"),
            ("//other/b", "https://other/b"),
            ("/b", "https://h:8443/b"),
            ("b", "https://h:8443/nix/b"),
        ] {
            assert_eq!(base.join(location), expected);
        }
    }

    proptest! {
        #[test]
        fn whatever_is_below_stays_on_the_host(tail in "[ -~]{0,40}") {
            let prefix = url("https://releases.nixos.org/nix/");
            let below = Url::parse(&format!("https://releases.nixos.org/nix/{tail}"));
            if let Some(found) = below.ok().filter(|found| found.is_below(&prefix)) {
                prop_assert_eq!(&found.host, "releases.nixos.org");
                prop_assert!(!found.path.contains("/../"));
                prop_assert!(!found.path.ends_with("/.."));
            }
            if let Ok(found) = Url::parse(&format!("https://releases.nixos.org{tail}")) {
                prop_assert!(!found.is_below(&url("https://releases.nixos.org/"))
                    || tail.is_empty() || tail.starts_with(['/', ':', '?', '#']));
            }
        }
    }
}

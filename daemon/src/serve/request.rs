//! Brings a request into its canonical form, or refuses it.
//!
//! Pure. What leaves here is what is shown to an administrator, hashed, authorised, stored and
//! carried out: two spellings of one thing are one thing, and nothing in it can be read in another
//! way by a later program (control characters, `..`, credentials in a URL).

use nixctl_proto::request::{
    InstallRequest, OperationRequest, RequestOptions, SelfInstallRequest, SelfUpgradeRequest,
    UpgradeRequest,
};
use nixctl_proto::{Code, Failure};
use sha2::{Digest as _, Sha256};

pub mod repair;
mod switch;

pub use switch::toplevel;

/// Longest source: what common servers accept as a URL, and half of the longest path.
const MAX_SOURCE: usize = 2048;
/// Longest reason, in characters.
const MAX_REASON: usize = 500;
/// Longest request id.
const MAX_REQUEST_ID: usize = 128;
/// Longest version.
const MAX_VERSION: usize = 64;
/// Longest deadline, one week: longer ones are mistakes of the unit.
const MAX_DEADLINE_SECONDS: u64 = 7 * 24 * 3600;

/// SHA-256 of a canonical request with its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The canonical form of a request.
///
/// # Errors
/// Something in it is not valid; the failure names it.
pub fn canonical(request: OperationRequest) -> Result<OperationRequest, Failure> {
    Ok(match request {
        OperationRequest::Install(request) => OperationRequest::Install(install(request)?),
        OperationRequest::SelfInstall(request) => {
            OperationRequest::SelfInstall(SelfInstallRequest {
                client: absolute_path("client", &request.client)?,
                daemon: absolute_path("daemon", &request.daemon)?,
            })
        }
        OperationRequest::Switch(request) => OperationRequest::Switch(switch::switch(request)?),
        OperationRequest::Rollback(request) => {
            OperationRequest::Rollback(switch::rollback(request)?)
        }
        OperationRequest::Repair(request) => OperationRequest::Repair(repair::repair(request)?),
        OperationRequest::Upgrade(request) => OperationRequest::Upgrade(upgrade(request)?),
        OperationRequest::SelfUpgrade(request) => {
            OperationRequest::SelfUpgrade(self_upgrade(request)?)
        }
        unchanged @ (OperationRequest::Uninstall(_) | OperationRequest::SelfUninstall) => unchanged,
    })
}

/// The canonical form of the options.
///
/// # Errors
/// Something in them is not valid; the failure names it.
pub fn canonical_options(options: RequestOptions) -> Result<RequestOptions, Failure> {
    if let Some(id) = &options.request_id {
        let printable = id.bytes().all(|byte| byte.is_ascii_graphic());
        if id.is_empty() || id.len() > MAX_REQUEST_ID || !printable {
            return Err(invalid(
                "request-id",
                id,
                "it must be 1 to 128 visible ASCII characters",
            ));
        }
    }
    if let Some(current) = options
        .expected_current
        .as_deref()
        .filter(|text| !text.is_empty())
    {
        match current.starts_with('/') {
            true => drop(toplevel("expected-current", current)?),
            false => drop(version("expected-current", current)?),
        }
    }
    if let Some(seconds) = options.deadline
        && !(1..=MAX_DEADLINE_SECONDS).contains(&seconds)
    {
        let why = "it must be between 1 second and one week";
        return Err(invalid("deadline", &seconds.to_string(), why));
    }
    if let Some(reason) = &options.reason
        && (reason.chars().count() > MAX_REASON || reason.chars().any(char::is_control))
    {
        return Err(invalid(
            "reason",
            reason,
            "it must be one line of at most 500 characters",
        ));
    }
    let reason = options
        .reason
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty());
    Ok(RequestOptions { reason, ..options })
}

/// Hash of what was authorised.
///
/// # Errors
/// It is too large to be stored.
pub fn digest(request: &OperationRequest, options: &RequestOptions) -> Result<Digest, Failure> {
    let bytes = nixctl_proto::frame::encode(&(request, options))?;
    Ok(Digest(Sha256::digest(bytes).into()))
}

fn install(request: InstallRequest) -> Result<InstallRequest, Failure> {
    if let Some(text) = &request.version {
        version("version", text)?;
    }
    if let (Some(text), Some(_)) = (&request.version, &request.source) {
        return Err(invalid(
            "version",
            text,
            "a source is given too, which has its own version",
        ));
    }
    let source = request.source.as_deref().map(source).transpose()?;
    let sha256 = request.sha256.as_deref().map(sha256).transpose()?;
    Ok(InstallRequest {
        source,
        sha256,
        ..request
    })
}

fn upgrade(request: UpgradeRequest) -> Result<UpgradeRequest, Failure> {
    let named = request.version.as_ref().or(request.source.as_ref());
    if let (true, Some(named)) = (request.rollback, named) {
        let why = "going back is to the version before, and to no other";
        return Err(invalid("rollback", named, why));
    }
    if let Some(seconds) = request.drain.filter(|it| *it > MAX_DEADLINE_SECONDS) {
        return Err(invalid(
            "drain",
            &seconds.to_string(),
            "it must be at most one week",
        ));
    }
    let wanted = install(request.wanted())?;
    Ok(UpgradeRequest {
        source: wanted.source,
        sha256: wanted.sha256,
        may_be_older: false,
        ..request
    })
}

fn self_upgrade(request: SelfUpgradeRequest) -> Result<SelfUpgradeRequest, Failure> {
    let named = request.version.as_ref().or(request.source.as_ref());
    if let (true, Some(named)) = (request.rollback, named) {
        let why = "going back is to the version before, and to no other";
        return Err(invalid("rollback", named, why));
    }
    if let Some(text) = &request.version {
        version("version", text)?;
    }
    let wanted = install(InstallRequest {
        version: None,
        ..request.wanted()
    })?;
    Ok(SelfUpgradeRequest {
        source: wanted.source,
        sha256: wanted.sha256,
        may_be_older: false,
        ..request
    })
}

fn version(name: &str, text: &str) -> Result<(), Failure> {
    let starts = text.starts_with(|c: char| c.is_ascii_digit());
    let rest = text
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-_+".contains(&byte));
    if starts && rest && text.len() <= MAX_VERSION && !text.contains("..") {
        Ok(())
    } else {
        Err(invalid(name, text, "a version looks like 2.26.3"))
    }
}

fn sha256(text: &str) -> Result<String, Failure> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(invalid("sha256", text, "it must be 64 hexadecimal digits"))
    }
}

/// A URL with scheme and host in lower case, or an absolute path.
fn source(text: &str) -> Result<String, Failure> {
    let refused = |why: &str| Err(invalid("source", text, why));
    if text.len() > MAX_SOURCE {
        return refused("it is too long");
    }
    if text.chars().any(|c| c.is_control()) {
        return refused("it has control characters");
    }
    if let Some(path) = text.strip_prefix("file://") {
        return absolute_path("source", path);
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return absolute_path("source", text);
    };
    let scheme = scheme.to_ascii_lowercase();
    if scheme != "http" && scheme != "https" {
        return refused("only http, https and paths are understood");
    }
    let (host, path) = match rest.find('/') {
        Some(at) => rest.split_at(at),
        None => return refused("the URL names no file"),
    };
    let host_is_plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-:[]_".contains(&byte));
    if host.is_empty() || !host_is_plain {
        return refused("the host must be a plain name or address, without user or password");
    }
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    if lower
        .split(['/', '?'])
        .any(|part| part == ".." || part == ".")
    {
        return refused("a URL with `.` or `..` in its path can mean several places");
    }
    if path.contains(['\\', '#', ' ']) || !path.is_ascii() {
        return refused("special characters in a URL must be percent-encoded");
    }
    Ok(format!("{scheme}://{}{path}", host.to_ascii_lowercase()))
}

/// An absolute path without empty parts and `.`; `..` is refused, because what it means depends on
/// links.
fn absolute_path(name: &str, text: &str) -> Result<String, Failure> {
    if !text.starts_with('/') {
        return Err(invalid(
            name,
            text,
            "it must be an absolute path or an http(s) URL",
        ));
    }
    if text.chars().any(char::is_control) || text.len() > MAX_SOURCE {
        return Err(invalid(
            name,
            text,
            "it has control characters or is too long",
        ));
    }
    let parts: Vec<&str> = text
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return Err(invalid(name, text, "it must not have `..` in it"));
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A refusal that names the argument and shows at most a line of it.
pub fn invalid(name: &str, value: &str, why: &str) -> Failure {
    let shown: String = value.chars().filter(|c| !c.is_control()).take(80).collect();
    Failure::new(
        Code::InvalidArgument,
        format!("cannot use {name} `{shown}`: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from(source: &str) -> OperationRequest {
        let source = Some(source.to_owned());
        OperationRequest::Install(InstallRequest {
            source,
            ..InstallRequest::default()
        })
    }

    fn canonical_source(text: &str) -> Option<String> {
        match canonical(from(text)) {
            Ok(OperationRequest::Install(request)) => request.source,
            _ => None,
        }
    }

    #[test]
    fn spellings_of_one_source_are_one() {
        for (text, canonical) in [
            (
                "HTTPS://Releases.NixOS.org/nix/x.tar.xz",
                "https://releases.nixos.org/nix/x.tar.xz",
            ),
            ("http://[::1]:8000/x", "http://[::1]:8000/x"),
            (
                "https://a.example/x?token=1%2e5",
                "https://a.example/x?token=1%2e5",
            ),
            ("//srv/./nix//x.tar.xz", "/srv/nix/x.tar.xz"),
            ("file:///srv/x", "/srv/x"),
        ] {
            assert_eq!(canonical_source(text).as_deref(), Some(canonical), "{text}");
        }
    }

    #[test]
    fn ambiguous_sources_are_refused() {
        for text in [
            "",
            "x.tar.xz",
            "../x",
            "/srv/../etc/shadow",
            "/srv/\nx",
            "ftp://a.example/x",
            "file://host/../x",
            "https://a.example",
            "https:///x",
            "https://user:secret@a.example/x",
            "https://a.example\\@b.example/x",
            "https://a.example/nix/../x",
            "https://a.example/nix/%2E%2e/x",
            "https://a.example/x#y",
            "https://a.example/x y",
            "https://ä.example/x",
        ] {
            let failure = canonical(from(text)).unwrap_err();
            assert_eq!(failure.code, Code::InvalidArgument, "{text}");
            assert!(
                failure.message.starts_with("cannot use source `"),
                "{}",
                failure.message
            );
        }
        assert!(canonical(from(&format!("/{}", "x".repeat(MAX_SOURCE)))).is_err());
    }

    #[test]
    fn other_arguments_are_checked() {
        let install = |version: Option<&str>, sha256: Option<&str>| {
            canonical(OperationRequest::Install(InstallRequest {
                version: version.map(str::to_owned),
                sha256: sha256.map(str::to_owned),
                ..InstallRequest::default()
            }))
        };
        assert!(install(Some("2.34.8"), None).is_ok());
        assert!(install(Some("2.35.0pre20260101_dda1b2c"), None).is_ok());
        for wrong in ["", "latest", "2/../3", "2..3", "2 3"] {
            assert!(install(Some(wrong), None).is_err(), "{wrong}");
        }
        let upper = "AB".repeat(32);
        match install(None, Some(&upper)) {
            Ok(OperationRequest::Install(r)) => assert_eq!(r.sha256, Some("ab".repeat(32))),
            other => panic!("{other:?}"),
        }
        for wrong in ["", "ab", &"zz".repeat(32)] {
            assert!(install(None, Some(wrong)).is_err(), "{wrong}");
        }
        let both = InstallRequest {
            version: Some("2.34.8".to_owned()),
            source: Some("/x".to_owned()),
            ..InstallRequest::default()
        };
        assert!(canonical(OperationRequest::Install(both)).is_err());
    }

    #[test]
    fn options_are_checked() {
        let good = RequestOptions {
            dry_run: true,
            request_id: Some("a-1".to_owned()),
            expected_current: Some(String::new()),
            deadline: Some(60),
            reason: Some(" because ".to_owned()),
        };
        let canonical = canonical_options(good.clone()).unwrap();
        assert_eq!(canonical.reason.as_deref(), Some("because"));
        for wrong in [
            RequestOptions {
                request_id: Some(String::new()),
                ..good.clone()
            },
            RequestOptions {
                request_id: Some("a b".to_owned()),
                ..good.clone()
            },
            RequestOptions {
                expected_current: Some("new".to_owned()),
                ..good.clone()
            },
            RequestOptions {
                expected_current: Some("/tmp/x".to_owned()),
                ..good.clone()
            },
            RequestOptions {
                deadline: Some(0),
                ..good.clone()
            },
            RequestOptions {
                deadline: Some(u64::MAX),
                ..good.clone()
            },
            RequestOptions {
                reason: Some("a\nb".to_owned()),
                ..good.clone()
            },
        ] {
            assert!(canonical_options(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn digests_tell_requests_apart() {
        let options = RequestOptions::default();
        let one = digest(&from("/a"), &options).unwrap();
        assert_eq!(one, digest(&from("/a"), &options).unwrap());
        assert_ne!(one, digest(&from("/b"), &options).unwrap());
        let dry = RequestOptions {
            dry_run: true,
            ..options
        };
        assert_ne!(one, digest(&from("/a"), &dry).unwrap());
        assert_eq!(one.to_string().len(), 64);
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_its_own(text in "(https?://|/|file:///)[ -~]{0,40}") {
            if let Some(once) = canonical_source(&text) {
                prop_assert_eq!(canonical_source(&once), Some(once));
            }
        }
    }
}

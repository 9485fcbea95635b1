//! Canonical form of what moves the system between generations.
//!
//! The toplevel is a store path and nothing else: links are the client's to resolve, because the
//! daemon sees other ones. The store to copy from is handed to Nix as root, which checks the
//! signatures of all that comes from there; so nothing may be in its URL that turns that off
//! (`trusted=true`), runs a program (`remote-program`) or is taken for an option of ssh.

use nixctl_planner::closure::StorePath;
use nixctl_proto::Failure;
use nixctl_proto::request::{RollbackRequest, SwitchRequest};

use super::{MAX_SOURCE, absolute_path, invalid};

/// Least budget: less than any system takes, so that a forgotten unit is noticed.
const MIN_BUDGET: u64 = 1 << 20;
/// Largest budget.
const MAX_BUDGET: u64 = 1 << 60;
/// Longest soak and longest wait for a confirmation: a day.
const MAX_SECONDS: u64 = 24 * 3600;
/// Shortest wait for a confirmation that somebody can give.
const MIN_CONFIRM_SECONDS: u64 = 5;
/// Largest number of a generation: Nix counts in 32 bits.
const MAX_GENERATION: u64 = u32::MAX as u64;

/// Kinds of stores.
const SCHEMES: [&str; 6] = ["http", "https", "file", "ssh", "ssh-ng", "s3"];
/// Parameters of a bucket's URL, which say where it is. No other kind of store takes one.
const BUCKET_PARAMETERS: [&str; 4] = ["region", "endpoint", "scheme", "profile"];

/// The canonical form of a switch.
pub fn switch(request: SwitchRequest) -> Result<SwitchRequest, Failure> {
    let toplevel = toplevel("toplevel", &request.toplevel)?;
    let from = request.from.as_deref().map(store).transpose()?;
    between("budget", request.budget, MIN_BUDGET, MAX_BUDGET, "bytes")?;
    between("soak", request.soak, 0, MAX_SECONDS, "seconds")?;
    let (least, most) = (MIN_CONFIRM_SECONDS, MAX_SECONDS);
    between(
        "confirm-within",
        request.confirm_within,
        least,
        most,
        "seconds",
    )?;
    Ok(SwitchRequest {
        toplevel,
        from,
        ..request
    })
}

/// The canonical form of a rollback: 0 is how D-Bus says that no number is given.
pub fn rollback(request: RollbackRequest) -> Result<RollbackRequest, Failure> {
    let to = request.to.filter(|number| *number != 0);
    between("generation", to, 1, MAX_GENERATION, "")?;
    let from = request.from.as_deref().map(store).transpose()?;
    if request.after_boot.is_some() {
        let why = "only the daemon itself goes back after a boot";
        return Err(invalid("after-boot", "yes", why));
    }
    Ok(RollbackRequest {
        to,
        from,
        after_boot: None,
    })
}

/// The store path of a toplevel, without slashes too many.
pub fn toplevel(name: &str, text: &str) -> Result<String, Failure> {
    let path = absolute_path(name, text)?;
    match StorePath::new(&path) {
        Ok(_) if path.ends_with(".drv") => {
            let why = "it is a derivation: build it first, and name what it built";
            Err(invalid(name, text, why))
        }
        Ok(_) => Ok(path),
        Err(error) => Err(invalid(name, text, error.why)),
    }
}

/// The store to copy from, as a URL in one spelling.
fn store(text: &str) -> Result<String, Failure> {
    let refused = |why: &str| Err(invalid("from", text, why));
    if text.len() > MAX_SOURCE {
        return refused("it is too long");
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return refused("it has blanks or special characters, which must be percent-encoded");
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Ok(format!("file://{}", folder(text, text)?));
    };
    let scheme = scheme.to_ascii_lowercase();
    if !SCHEMES.contains(&scheme.as_str()) {
        return refused(
            "the stores are http, https, file, ssh, ssh-ng and s3 URLs and absolute paths",
        );
    }
    let (place, parameters) = match rest.split_once('?') {
        Some((place, parameters)) => (place, Some(parameters)),
        None => (rest, None),
    };
    if let Some(why) = parameters.and_then(|text| wrong_parameter(text, scheme == "s3")) {
        return refused(&why);
    }
    let place = match scheme.as_str() {
        "file" => folder(text, place)?,
        _ => match server(place, scheme.starts_with("ssh")) {
            Ok(place) => place,
            Err(why) => return refused(why),
        },
    };
    let parameters = parameters.filter(|text| !text.is_empty());
    let parameters = parameters
        .map(|text| format!("?{text}"))
        .unwrap_or_default();
    Ok(format!("{scheme}://{place}{parameters}"))
}

/// A folder whose name means the same in a path and in a URL.
fn folder(text: &str, path: &str) -> Result<String, Failure> {
    let path = absolute_path("from", path)
        .map_err(|_| invalid("from", text, "it must be a URL or an absolute path"))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.-_+@=,:~".contains(&byte);
    if path.bytes().all(plain) {
        Ok(path)
    } else {
        let why = "the path of a store may have letters, digits and /.-_+@=,:~ only";
        Err(invalid("from", text, why))
    }
}

/// Host and path of a server, the host in lower case; ssh may name a user.
fn server(place: &str, ssh: bool) -> Result<String, &'static str> {
    let (host, path) = match place.find('/') {
        Some(at) => place.split_at(at),
        None => (place, ""),
    };
    let (user, host) = match host.rsplit_once('@') {
        Some((user, host)) if ssh => (Some(user), host),
        Some(_) => {
            return Err("the host must be a plain name or address, without user or password");
        }
        None => (None, host),
    };
    let plain = |text: &str, more: &[u8]| {
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[' || c == '_');
        let rest = |byte: u8| byte.is_ascii_alphanumeric() || more.contains(&byte);
        starts && text.bytes().all(rest)
    };
    if !plain(host, b".-:[]_") || user.is_some_and(|user| !plain(user, b".-_")) {
        return Err("the host must be a plain name or address");
    }
    if ssh && !matches!(path, "" | "/") {
        return Err("a store behind ssh has no path");
    }
    let lower = path.to_ascii_lowercase().replace("%2e", ".");
    if lower.split('/').any(|part| part == ".." || part == ".") || path.contains(['\\', '#']) {
        return Err("a URL with `.` or `..` in its path can mean several places");
    }
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    let host = host.to_ascii_lowercase();
    Ok(format!("{user}{host}{}", path.trim_end_matches('/')))
}

/// What is wrong with the parameters of a URL.
fn wrong_parameter(text: &str, bucket: bool) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/.-_+:=".contains(&byte);
    text.split('&')
        .filter(|part| !part.is_empty())
        .find_map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            if !bucket || !BUCKET_PARAMETERS.contains(&name) {
                Some(format!("its parameter {name} is not allowed here"))
            } else if value.bytes().all(plain) {
                None
            } else {
                Some(format!("the value of its parameter {name} is not plain"))
            }
        })
}

fn between(
    name: &str,
    value: Option<u64>,
    least: u64,
    most: u64,
    unit: &str,
) -> Result<(), Failure> {
    match value {
        Some(value) if !(least..=most).contains(&value) => {
            let why = format!("it must be between {least} and {most} {unit}");
            Err(invalid(name, &value.to_string(), why.trim_end()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use nixctl_proto::Code;
    use nixctl_proto::request::AfterBoot;
    use proptest::prelude::*;

    use super::*;
    use crate::switch::StoreUrl;

    const TOPLEVEL: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web-25.05";

    fn request() -> SwitchRequest {
        SwitchRequest {
            toplevel: TOPLEVEL.to_owned(),
            ..SwitchRequest::default()
        }
    }

    #[test]
    fn the_toplevel_is_a_store_path() {
        for text in [
            TOPLEVEL.to_owned(),
            format!("{TOPLEVEL}/"),
            format!("/{TOPLEVEL}"),
        ] {
            let asked = SwitchRequest {
                toplevel: text,
                ..request()
            };
            assert_eq!(switch(asked).unwrap(), request());
        }
        for text in [
            "",
            "./result",
            "/run/current-system",
            "/nix/var/nix/profiles/system",
            "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-system.drv",
            "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-system/bin",
            "/nix/store/../store/0123456789abcdfghijklmnpqrsvwxyz-system",
            "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-a\nb",
        ] {
            let asked = SwitchRequest {
                toplevel: text.to_owned(),
                ..request()
            };
            let failure = switch(asked).unwrap_err();
            assert_eq!(failure.code, Code::InvalidArgument, "{text}");
            assert!(failure.message.starts_with("cannot use toplevel `"));
        }
    }

    #[test]
    fn spellings_of_one_store_are_one() {
        for (text, canonical) in [
            ("HTTPS://Cache.NixOS.org/", "https://cache.nixos.org"),
            ("http://[::1]:8000/x/", "http://[::1]:8000/x"),
            ("/mnt//usb/./cache/", "file:///mnt/usb/cache"),
            ("file:///mnt/usb/cache", "file:///mnt/usb/cache"),
            ("ssh://root@Host-1", "ssh://root@host-1"),
            ("ssh-ng://host/?", "ssh-ng://host"),
            (
                "s3://bucket?region=eu-west-1&endpoint=a.example",
                "s3://bucket?region=eu-west-1&endpoint=a.example",
            ),
            ("https://a.example?", "https://a.example"),
        ] {
            assert_eq!(store(text).as_deref(), Ok(canonical), "{text}");
            assert!(StoreUrl::new(canonical).is_ok(), "{canonical}");
        }
    }

    #[test]
    fn stores_that_could_mean_more_are_refused() {
        for text in [
            "",
            "cache",
            "./cache",
            "daemon",
            "local?root=/x",
            "/srv/../etc",
            "/srv/a?trusted=true",
            "/srv/a%2f",
            "/srv/a b",
            "unix:///run/x",
            "file://host/x/../y",
            "https://",
            "https://cache.example?trusted=true",
            "https://cache.example/?priority=1",
            "https://cache.example?%74rusted=true",
            "https://u:p@cache.example",
            "https://cache.example/a/%2E%2e/b",
            "https://cache.example/#x",
            "ssh://-oProxyCommand=x",
            "ssh://-l@host",
            "ssh://host/path",
            "ssh://host?remote-program=x",
            "ssh://host?ssh-key=/x",
            "ssh-ng://host?trusted=1",
            "s3://bucket?region=a b",
            "s3://bucket?endpoint=a%26trusted=true",
            "https://ä.example",
        ] {
            let failure = store(text).unwrap_err();
            assert_eq!(failure.code, Code::InvalidArgument, "{text}");
            assert!(failure.message.starts_with("cannot use from `"), "{text}");
        }
        assert!(store(&format!("/{}", "x".repeat(MAX_SOURCE))).is_err());
    }

    #[test]
    fn numbers_have_limits() {
        let good = [
            SwitchRequest {
                budget: Some(1 << 30),
                soak: Some(0),
                confirm_within: Some(20),
                ..request()
            },
            request(),
        ];
        for asked in good {
            assert_eq!(switch(asked.clone()).as_ref(), Ok(&asked));
        }
        for (wrong, name) in [
            (
                SwitchRequest {
                    budget: Some(500),
                    ..request()
                },
                "budget",
            ),
            (
                SwitchRequest {
                    budget: Some(u64::MAX),
                    ..request()
                },
                "budget",
            ),
            (
                SwitchRequest {
                    soak: Some(1 << 40),
                    ..request()
                },
                "soak",
            ),
            (
                SwitchRequest {
                    confirm_within: Some(0),
                    ..request()
                },
                "confirm-within",
            ),
            (
                SwitchRequest {
                    confirm_within: Some(1 << 40),
                    ..request()
                },
                "confirm-within",
            ),
        ] {
            let failure = switch(wrong).unwrap_err();
            assert!(failure.message.contains(name), "{}", failure.message);
        }
        for (to, canonical) in [(None, None), (Some(0), None), (Some(42), Some(42))] {
            let asked = RollbackRequest {
                to,
                from: Some("HTTPS://A.example/".to_owned()),
                after_boot: None,
            };
            let asked = rollback(asked).unwrap();
            assert_eq!(asked.to, canonical);
            assert_eq!(asked.from.as_deref(), Some("https://a.example"));
        }
        for wrong in [
            RollbackRequest {
                to: Some(u64::MAX),
                ..RollbackRequest::default()
            },
            RollbackRequest {
                from: Some("daemon".to_owned()),
                ..RollbackRequest::default()
            },
            RollbackRequest {
                after_boot: Some(AfterBoot::AtOnce),
                ..RollbackRequest::default()
            },
        ] {
            assert!(rollback(wrong.clone()).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn the_canonical_store_is_its_own(
            text in "(https?://|ssh://|ssh-ng://|s3://|/|file:///)[ -~]{0,40}"
        ) {
            if let Ok(once) = store(&text) {
                // What is taken here is taken where closures are read.
                prop_assert!(StoreUrl::new(&once).is_ok(), "{}", once);
                prop_assert_eq!(store(&once), Ok(once));
            }
        }
    }
}

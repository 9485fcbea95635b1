//! Text without anything that says who or where: pure.
//!
//! Left out are secrets, what logs in to URLs, hosts that are not public ones of Nix, addresses,
//! home folders, and the names that are known. A word in brackets stands in the place of each, so
//! that a reader sees what was there.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::names::Names;
use super::secrets::without_secrets;
use super::words::{each_run, without};

const USER: &str = "[user]";
const HOST: &str = "[host]";
const HOME: &str = "[home]";
const ADDRESS: &str = "[address]";
const QUERY: &str = "?[query]";
/// Hosts, and with a dot before them their parts, that say nothing of who asks.
const PUBLIC: [&str; 4] = [
    "nixos.org",
    "github.com",
    "githubusercontent.com",
    "localhost",
];
/// Folders whose folders are homes.
const HOMES: [&str; 2] = ["/home/", "/Users/"];
/// Ends of the names of units, whose `@` is no address.
const UNITS: [&str; 11] = [
    ".service",
    ".socket",
    ".mount",
    ".automount",
    ".timer",
    ".slice",
    ".target",
    ".scope",
    ".device",
    ".path",
    ".swap",
];
/// What stands before the host's name in the name of a NixOS system.
const SYSTEM: &str = "nixos-system-";

/// The text without names, addresses and secrets.
pub fn redact(text: &str, names: &Names) -> String {
    let mut text = without_secrets(text);
    text = without_urls(&text);
    text = without_mail(&text);
    text = without_addresses(&text);
    text = without_homes(&text, names);
    text = without_systems(&text);
    let hosts = longest_first(&names.hosts);
    for (all, by) in [(hosts, HOST), (longest_first(&names.users), USER)] {
        for name in all {
            text = without(&text, name, by);
        }
    }
    text
}

/// So that no part of a longer name is left.
fn longest_first(names: &[String]) -> Vec<&str> {
    let mut all: Vec<&str> = names.iter().map(String::as_str).collect();
    all.sort_by_key(|name| std::cmp::Reverse(name.len()));
    all
}

/// URLs without login, foreign host and query.
fn without_urls(text: &str) -> String {
    let belongs = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\'' | '`' | '<' | '>' | ',');
    each_run(text, belongs, |run| {
        let (scheme, rest) = run.split_once("://")?;
        let (rest, query) = rest
            .split_once('?')
            .map_or((rest, ""), |(rest, _)| (rest, QUERY));
        // Whatever stands before the last `@` may log in, slashes or not.
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        let end = rest.find(['/', '#', ')', ']', ';']).unwrap_or(rest.len());
        let end = match rest.starts_with('[') {
            true => rest.find(']').map_or(rest.len(), |end| end + 1),
            false => end,
        };
        let (authority, path) = rest.split_at(end);
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                (host, format!(":{port}"))
            }
            _ => (authority, String::new()),
        };
        let host = if host.is_empty() || is_public(host) {
            host
        } else {
            HOST
        };
        Some(format!("{scheme}://{host}{port}{path}{query}"))
    })
}

fn is_public(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    PUBLIC.iter().any(|public| {
        let before = host.strip_suffix(public);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    })
}

/// `somebody@somewhere`, of mail and of ssh.
fn without_mail(text: &str) -> String {
    let belongs = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '@' | '\\');
    each_run(text, belongs, |run| {
        let (who, place) = run.split_once('@')?;
        let is_unit = UNITS.iter().any(|end| place.ends_with(end));
        let is_mail = !who.is_empty() && !place.is_empty() && !is_unit;
        is_mail.then(|| format!("{USER}@{HOST}"))
    })
}

fn without_addresses(text: &str) -> String {
    let belongs = |c: char| c.is_alphanumeric() || matches!(c, ':' | '.');
    each_run(text, belongs, |run| {
        let bare = run.trim_end_matches(['.', ':']);
        let rest = &run[bare.len()..];
        let (address, port) = match bare.split_once(':') {
            Some((address, port)) if address.contains('.') => (address, format!(":{port}")),
            _ => (bare, String::new()),
        };
        if let Ok(four) = address.parse::<Ipv4Addr>() {
            let is_own = four.is_loopback() || four.is_unspecified();
            return (!is_own).then(|| format!("{ADDRESS}{port}{rest}"));
        }
        let six = run.parse::<Ipv6Addr>().or_else(|_| bare.parse());
        if let Ok(six) = six {
            let is_own = six.is_loopback() || six.is_unspecified();
            return (!is_own).then(|| ADDRESS.to_owned());
        }
        is_hardware(bare).then(|| format!("{ADDRESS}{rest}"))
    })
}

/// The address of a network card: six pairs of hexadecimal digits.
fn is_hardware(text: &str) -> bool {
    let is_pair = |pair: &str| pair.len() == 2 && pair.bytes().all(|it| it.is_ascii_hexdigit());
    text.split(':').count() == 6 && text.split(':').all(is_pair)
}

fn without_homes(text: &str, names: &Names) -> String {
    let mut text = text.to_owned();
    for home in longest_first(&names.homes) {
        text = without(&text, home, HOME);
    }
    let belongs = |c: char| !c.is_whitespace() && !matches!(c, '"' | '\'' | '`' | '<' | '>' | ':');
    each_run(&text, belongs, |run| {
        let parent = HOMES.iter().find(|parent| run.contains(**parent))?;
        let (before, rest) = run.split_once(parent)?;
        let name = rest.find(['/', ',', ';', ')', ']']).unwrap_or(rest.len());
        Some(format!("{before}{parent}{USER}{}", &rest[name..]))
    })
}

/// Names of NixOS systems, which hold the name of the machine they are made for.
fn without_systems(text: &str) -> String {
    let belongs = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-');
    each_run(text, belongs, |run| {
        let (before, rest) = run.split_once(SYSTEM)?;
        let is_version = |(at, _): &(usize, &str)| {
            let next = rest[at + 1..].chars().next();
            next.is_some_and(|c| c.is_ascii_digit())
        };
        let end = rest.rmatch_indices("-").find(is_version);
        let end = end.map_or(rest.len(), |(at, _)| at);
        Some(format!("{before}{SYSTEM}{HOST}{}", &rest[end..]))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names() -> Names {
        Names {
            users: vec!["alice".to_owned(), "Alice Smith".to_owned()],
            hosts: vec!["web".to_owned(), "web.corp.example".to_owned()],
            homes: vec!["/srv/people/alice".to_owned()],
        }
    }

    #[test]
    fn nobody_is_named_and_the_rest_stays() {
        for (text, expected) in [
            ("/nix is read-only", "/nix is read-only"),
            (
                "http://me:se/cr@et@proxy.corp.example:8080/x?key=1",
                "http://[host]:8080/x?[query]",
            ),
            (
                "fetch https://cache.nixos.org/nar/x.nar (https://a.example)",
                "fetch https://cache.nixos.org/nar/x.nar (https://[host])",
            ),
            ("https://evilnixos.org/", "https://[host]/"),
            (
                "file:///etc/x and s3://bucket?profile=p",
                "file:///etc/x and s3://[host]?[query]",
            ),
            ("ssh://[2001:db8::1]:22/x", "ssh://[host]:22/x"),
            (
                "mail bob@b.example, git@git.corp:x",
                "mail [user]@[host], [user]@[host]:x",
            ),
            (
                "nix-daemon@1.service user@1000.service",
                "nix-daemon@1.service user@1000.service",
            ),
            (
                "10.1.2.3:80 and 2001:db8::1 on 127.0.0.1, ::1.",
                "[address]:80 and [address] on 127.0.0.1, ::1.",
            ),
            (
                "at 11:06:12 Nix 2.34.8 on 52:54:00:12:34:56",
                "at 11:06:12 Nix 2.34.8 on [address]",
            ),
            (
                "/home/bob/.bashrc \"/home/bob\" /Users/x",
                "/home/[user]/.bashrc \"/home/[user]\" /Users/[user]",
            ),
            (
                "/srv/people/alice/.profile of Alice Smith",
                "[home]/.profile of [user]",
            ),
            ("Web and web.corp.example, webs", "[host] and [host], webs"),
            (
                "/nix/store/x-nixos-system-my-box-25.05pre1.ab",
                "/nix/store/x-nixos-system-[host]-25.05pre1.ab",
            ),
            (
                "alice has access-tokens = x",
                "[user] has access-tokens = [secret]",
            ),
        ] {
            assert_eq!(redact(text, &names()), expected);
        }
    }

    /// Whether a name stands in a text as a word of its own.
    fn names_it(text: &str, name: &str) -> bool {
        without(text, name, "") != text
    }

    proptest! {
        #[test]
        fn no_name_survives(
            user in "[a-z][a-z0-9]{1,7}x",
            host in "[a-z][a-z0-9-]{1,7}x",
            shapes in proptest::collection::vec(0usize..16, 1..12),
            noise in "\\PC{0,40}",
        ) {
            let home = format!("/srv/h/{user}");
            let names = Names {
                users: vec![user.clone()],
                hosts: vec![host.clone(), format!("{host}.corp.example")],
                homes: vec![home.clone()],
            };
            let password = "hunter2hunter2";
            let text: String = shapes.iter().map(|shape| match shape {
                0 => format!("/home/{user}/x "),
                1 => format!("{home}/.config:{home} "),
                2 => format!("https://{user}:{password}@{host}/{user}?u={user}"),
                3 => format!("{user}@{host} "),
                4 => format!("machine {host} login {user} password {password}\n"),
                5 => format!("access-tokens = {host}={password}\n"),
                6 => format!("nixos-system-{host}-25.05 "),
                7 => format!("({user})"),
                8 => format!("{}_{} ", user.to_uppercase(), host),
                9 => noise.clone(),
                10 => " ".to_owned(),
                11 => format!("/run/user/{user}@{host}.service "),
                12 => format!("http://{password}@{host}.corp.example:80 "),
                13 => format!("\"{user}\":\"{host}\""),
                14 => "\n".to_owned(),
                _ => format!("password: {password}\n"),
            }).collect();
            let shown = redact(&text, &names);
            prop_assert!(!names_it(&shown, &user), "{user}: {shown}");
            prop_assert!(!names_it(&shown, &host), "{host}: {shown}");
            prop_assert!(!shown.contains(&home), "{home}: {shown}");
            prop_assert!(!shown.contains(password), "{shown}");
        }

        #[test]
        fn any_text_can_be_redacted(text in "\\PC{0,80}", wild: String) {
            let _ = redact(&text, &names());
            let _ = redact(&wild, &names());
        }
    }
}

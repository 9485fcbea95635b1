//! Secrets: what stands behind the words that announce one, and what looks like one.
//!
//! Too much is left out rather than too little: behind `access-tokens =` the rest of the line.

use super::words::each_run;

/// What stands in the place of a secret.
pub const SECRET: &str = "[secret]";
/// Parts of the names of settings whose values are secret.
const SECRET_KEYS: [&str; 11] = [
    "token",
    "secret",
    "password",
    "passwd",
    "passphrase",
    "credential",
    "authorization",
    "api-key",
    "api_key",
    "apikey",
    "access_key",
];
/// Ends of the names of settings that only say where the secret is.
const PLACES: [&str; 4] = ["-file", "-files", "_file", "_path"];
/// Words of a netrc file, and others, before what is secret.
const ANNOUNCE: [&str; 4] = ["login", "password", "account", "bearer"];
/// Beginnings of the tokens of well-known services.
const PREFIXES: [&str; 11] = [
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "AKIA",
    "ASIA",
    "eyJ",
];
/// Shortest token that such a beginning may have.
const MIN_TOKEN: usize = 12;
/// Base64 this long is a key or a signature: checksums are shorter.
const MIN_KEY: usize = 64;

/// The text without secrets.
pub fn without_secrets(text: &str) -> String {
    let text = without_private_keys(text);
    let is_netrc = words(&text).any(|word| matches!(word, "login" | "password"));
    let lines: Vec<String> = text
        .split('\n')
        .map(|line| without_announced(&without_values(line), is_netrc))
        .collect();
    without_tokens(&lines.join("\n"))
}

/// Without the blocks of PEM that hold a private key.
fn without_private_keys(text: &str) -> String {
    let Some(mark) = text.find("PRIVATE KEY-----") else {
        return text.to_owned();
    };
    let begin = text[..mark].rfind("-----BEGIN").unwrap_or(mark);
    let after = &text[mark + "PRIVATE KEY-----".len()..];
    let end = after.find("PRIVATE KEY-----");
    let rest = end.map_or("", |end| &after[end + "PRIVATE KEY-----".len()..]);
    format!("{}{SECRET}{}", &text[..begin], without_private_keys(rest))
}

/// Without what stands behind `secret-thing =` or `"secret-thing":`.
fn without_values(line: &str) -> String {
    let mut from = 0;
    while let Some(at) = line[from..].find(['=', ':']) {
        let at = from + at;
        let before = line[..at].trim_end().trim_end_matches(['"', '\'']);
        let key: String = before.chars().rev().take_while(|c| is_key(*c)).collect();
        let key: String = key.chars().rev().collect::<String>().to_ascii_lowercase();
        let is_place = PLACES.iter().any(|place| key.ends_with(place));
        let is_secret = SECRET_KEYS.iter().any(|word| key.contains(word));
        let value = line[at + 1..].trim_start();
        if is_secret && !is_place && !value.is_empty() && !line[at..].starts_with("://") {
            return format!("{} {SECRET}", &line[..=at]);
        }
        from = at + 1;
    }
    line.to_owned()
}

/// Without the words behind those that announce a secret, and in a netrc file the machines.
fn without_announced(line: &str, is_netrc: bool) -> String {
    let mut out = String::with_capacity(line.len());
    let mut is_next = false;
    for part in line.split_inclusive([' ', '\t']) {
        let word = part.trim_end_matches([' ', '\t']);
        if is_next && !word.is_empty() {
            out.push_str(SECRET);
            out.push_str(&part[word.len()..]);
            is_next = false;
            continue;
        }
        out.push_str(part);
        let plain = word.to_ascii_lowercase();
        is_next |= ANNOUNCE.contains(&plain.as_str()) || (is_netrc && plain == "machine");
    }
    out
}

/// Without what looks like a token or a key wherever it stands.
fn without_tokens(text: &str) -> String {
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    let text = each_run(text, is_token, |run| {
        let begins = PREFIXES.iter().any(|prefix| run.starts_with(prefix));
        (begins && run.len() >= MIN_TOKEN).then(|| SECRET.to_owned())
    });
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    each_run(&text, is_base64, |run| {
        let has = |what: fn(&char) -> bool| run.chars().any(|c| what(&c));
        let is_mixed = has(char::is_ascii_uppercase)
            && has(char::is_ascii_lowercase)
            && has(char::is_ascii_digit);
        (run.len() >= MIN_KEY && is_mixed).then(|| SECRET.to_owned())
    })
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace()
}

fn is_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_left_out_and_the_rest_stays() {
        let key = format!("cache-1:{}==", "aB3".repeat(30));
        for (text, expected) in [
            (
                "access-tokens = github.com=ghp_x gitlab.com=PAT:y",
                "access-tokens = [secret]",
            ),
            ("\"aws_secret\": \"x y\"}", "\"aws_secret\": [secret]"),
            ("aws_access_key_id=AKIAx", "aws_access_key_id= [secret]"),
            ("Authorization: Bearer abc.def", "Authorization: [secret]"),
            ("sent bearer abc to it", "sent bearer [secret] to it"),
            (
                "machine a.example login me password pw",
                "machine [secret] login [secret] password [secret]",
            ),
            (
                "machine a.example\n\tlogin me\n  password  pw",
                "machine [secret]\n\tlogin [secret]\n  password  [secret]",
            ),
            ("the machine is as before", "the machine is as before"),
            ("netrc-file = /etc/nix/netrc", "netrc-file = /etc/nix/netrc"),
            (
                "secret-key-files = /etc/nix/key",
                "secret-key-files = /etc/nix/key",
            ),
            ("it said ghp_0123456789", "it said [secret]"),
            (&key, "cache-1:[secret]"),
            (
                "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=",
                "cache.nixos.org-1:6NCHdD59X431o0gWypbMrAURkbJ16ZPMQFGspcDShjY=",
            ),
            (
                "-----BEGIN OPENSSH PRIVATE KEY-----\nab\n-----END OPENSSH PRIVATE KEY-----\nx",
                "[secret]\nx",
            ),
            ("a -----BEGIN PRIVATE KEY-----\nab", "a [secret]"),
            ("no token", "no token"),
            ("token:", "token:"),
        ] {
            assert_eq!(without_secrets(text), expected);
        }
    }
}

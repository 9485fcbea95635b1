//! `.reginfo` of a release: what `nix-store --load-db` reads. For each path: the path, the hash
//! and size of its archive, its deriver (often empty), how many references it has, and those.

use std::collections::BTreeSet;

use super::entry::is_store_path;

/// The paths it registers.
///
/// # Errors
/// Why it is not a registration, or why it is not closed under references.
pub fn paths(text: &str) -> Result<BTreeSet<String>, String> {
    let mut lines = text.lines().enumerate();
    let mut paths = BTreeSet::new();
    let mut references = BTreeSet::new();
    while let Some((number, path)) = lines.next() {
        let at = |what: &str| format!(".reginfo, line {}: {what}", number + 1);
        if !is_store_path(path) {
            return Err(at("this is not a store path"));
        }
        if !paths.insert(path.to_owned()) {
            return Err(at("this path appears twice"));
        }
        let mut field = || {
            lines
                .next()
                .map(|(_, line)| line)
                .ok_or_else(|| at("it is cut short"))
        };
        if field()?.is_empty() {
            return Err(at("the hash is missing"));
        }
        if field()?.parse::<u64>().is_err() {
            return Err(at("the size is not a number"));
        }
        let deriver = field()?;
        if !deriver.is_empty() && !is_store_path(deriver) {
            return Err(at("the deriver is not a store path"));
        }
        let count: usize = field()?
            .parse()
            .map_err(|_| at("the count is not a number"))?;
        for _ in 0..count {
            references.insert(field()?.to_owned());
        }
    }
    match references.difference(&paths).next() {
        Some(missing) => Err(format!(
            ".reginfo: `{missing}` is referred to and not there"
        )),
        None => Ok(paths),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-a";
    const B: &str = "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-b";

    #[test]
    fn a_closed_registration_is_read() {
        let text = format!("{A}\nhash\n10\n\n2\n{A}\n{B}\n{B}\nhash\n20\n{A}\n0\n");
        let read = paths(&text).unwrap();
        assert_eq!(read.into_iter().collect::<Vec<_>>(), [A, B]);
        assert!(paths("").unwrap().is_empty());
    }

    #[test]
    fn damaged_registrations_are_refused() {
        for text in [
            format!("{A}\nhash\n10\n\n1\n{B}\n"),
            format!("{A}\nhash\n10\n\n1\n"),
            format!("{A}\nhash\nten\n\n0\n"),
            format!("{A}\nhash\n10\n/etc/passwd\n0\n"),
            format!("{A}\n\n10\n\n0\n"),
            format!("{A}\nhash\n10\n\n0\n{A}\nhash\n10\n\n0\n"),
            "/etc/passwd\nhash\n10\n\n0\n".to_owned(),
        ] {
            assert!(paths(&text).is_err(), "{text}");
        }
    }
}

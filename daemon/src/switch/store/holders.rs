//! Who holds a store path that was to be deleted, for people: roots, or paths that refer to it.

use crate::switch::store::NixStore;

/// Holders that are named.
const MOST: usize = 3;

impl NixStore<'_> {
    /// The roots that keep a path, or, where there is none, what refers to it; nothing when Nix does
    /// not say. Only a hint: whoever it was may be gone by now.
    pub fn holders(&self, path: &str) -> String {
        let asked = |query: &str| -> Vec<String> {
            let answer = self.ask(&["--query", query], &[path.to_owned()]);
            let text = answer.map(|output| output.text()).unwrap_or_default();
            text.lines().map(str::to_owned).collect()
        };
        let roots = asked("--roots");
        let links = roots
            .iter()
            .map(|line| line.split(" -> ").next().unwrap_or(line));
        if let Some(links) = listed(links.map(|link| link.trim_matches('"'))) {
            return format!(", held by {links}");
        }
        let others = asked("--referrers");
        let others = others.iter().map(String::as_str);
        match listed(others.filter(|other| *other != path)) {
            Some(others) => format!(", referred to by {others}"),
            None => String::new(),
        }
    }
}

/// The first ones, and how many more there are; nothing of nothing.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let mut names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
    names.sort_unstable();
    names.dedup();
    let more = names.len().saturating_sub(MOST);
    names.truncate(MOST);
    match (names.is_empty(), more) {
        (true, _) => None,
        (false, 0) => Some(names.join(", ")),
        (false, more) => Some(format!("{} and {more} more", names.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use crate::host::fake::Answer;
    use crate::switch::testing::{Fixture, store_path};

    #[test]
    fn roots_are_named_else_what_refers_to_it() {
        let (path, other) = (store_path("a"), store_path("b"));
        let roots = format!(
            "\"/root/result\" -> {path}\n/proc/7/exe -> {path}\n/proc/9/maps -> {path}\n/proc/8/exe -> {path}\n"
        );
        let referrers = format!("{path}\n{other}\n");
        for (roots, referrers, expected) in [
            (
                roots.as_str(),
                "",
                ", held by /proc/7/exe, /proc/8/exe, /proc/9/maps and 1 more".to_owned(),
            ),
            ("", referrers.as_str(), format!(", referred to by {other}")),
            ("", "", String::new()),
        ] {
            let fixture = Fixture::new();
            fixture.answer(&["--query", "--roots"], Answer::text(roots));
            fixture.answer(&["--query", "--referrers"], Answer::text(referrers));
            assert_eq!(fixture.store().holders(&path), expected);
        }
    }
}

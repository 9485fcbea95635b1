//! nix.conf as lines: what is set, what is to be added, and taking exactly that away again.
//!
//! Pure functions over bytes. A line is what stands between two line feeds, so a missing one at
//! the end and the carriage returns of another system are kept by construction. Nix itself cuts
//! a line at `#` and wants `key = value` or `include file` (`!include`: if it is there).

use super::Setting;

/// What one line says to Nix.
#[derive(Debug, PartialEq, Eq)]
enum Meaning<'a> {
    /// Sets this key.
    Key(&'a str),
    /// Includes this file.
    Include(&'a str),
    /// Nothing, or nothing that we understand.
    Other,
}

fn meaning(line: &[u8]) -> Meaning<'_> {
    let code = line.split(|&byte| byte == b'#').next().unwrap_or_default();
    let Ok(code) = std::str::from_utf8(code) else {
        return Meaning::Other;
    };
    if let Some((key, _)) = code.split_once('=') {
        let mut words = key.split_whitespace();
        return match (words.next(), words.next()) {
            (Some(key), None) => Meaning::Key(key),
            _ => Meaning::Other,
        };
    }
    let mut words = code.split_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("include" | "!include"), Some(file), None) => Meaning::Include(file),
        _ => Meaning::Other,
    }
}

fn is_set(lines: &[&[u8]], key: &str) -> bool {
    lines.iter().any(|line| meaning(line) == Meaning::Key(key))
}

fn is_included(lines: &[&[u8]], file: &str) -> bool {
    lines
        .iter()
        .any(|line| meaning(line) == Meaning::Include(file))
}

fn split(content: &[u8]) -> Vec<&[u8]> {
    content.split(|&byte| byte == b'\n').collect()
}

/// A line as it was written, whatever line ends an editor has given it since.
fn bare(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The lines that are missing from the content. A key that is set keeps its value; one that is
/// only set in its `extra-` form is not set.
pub(super) fn missing(content: &[u8], settings: &[Setting], includes: &[String]) -> Vec<String> {
    let lines = split(content);
    let mut added = Vec::new();
    for setting in settings
        .iter()
        .filter(|setting| !is_set(&lines, &setting.key))
    {
        if !setting.reason.is_empty() {
            added.push(format!("# {}", one_line(&setting.reason)));
        }
        added.push(format!("{} = {}", setting.key, one_line(&setting.value)));
    }
    for file in includes.iter().filter(|file| !is_included(&lines, file)) {
        added.push(format!("!include {file}"));
    }
    added
}

/// A value never becomes a second line, which would be a setting of its own.
fn one_line(text: &str) -> String {
    text.split(['\n', '\r'])
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ")
        .trim()
        .to_owned()
}

/// A recorded line with the comment that was written above it.
struct Added<'a> {
    comment: Option<&'a str>,
    line: &'a str,
}

fn grouped(added: &[String]) -> Vec<Added<'_>> {
    let mut groups = Vec::new();
    let mut comment = None;
    for line in added {
        if line.starts_with('#') {
            comment = Some(line.as_str());
        } else {
            groups.push(Added {
                comment: comment.take(),
                line,
            });
        }
    }
    groups
}

/// The content with these lines: settings before the first line that includes a file, so that
/// what users write into included files wins; includes at the end. What is set by now is left.
pub(super) fn insert(content: &[u8], added: &[String]) -> Vec<u8> {
    let lines = split(content);
    let (mut settings, mut includes) = (Vec::new(), Vec::new());
    for group in grouped(added) {
        let target = match meaning(group.line.as_bytes()) {
            Meaning::Include(file) if !is_included(&lines, file) => &mut includes,
            Meaning::Key(key) if !is_set(&lines, key) => &mut settings,
            _ => continue,
        };
        target.extend(group.comment.map(str::as_bytes));
        target.push(group.line.as_bytes());
    }
    // A content that ends with a line feed has an empty last line, which stays the last.
    let end = lines.len() - usize::from(lines.last().is_some_and(|last| last.is_empty()));
    let first_include = lines
        .iter()
        .position(|line| matches!(meaning(line), Meaning::Include(_)));
    let middle = first_include.unwrap_or(end).min(end);
    let carriage_return = end > 0 && end < lines.len() && uses_crlf(&lines[..end]);
    let ours = |line: &[u8]| {
        let mut line = line.to_vec();
        line.extend(carriage_return.then_some(b'\r'));
        line
    };
    let mut whole: Vec<Vec<u8>> = lines[..middle].iter().map(|line| line.to_vec()).collect();
    whole.extend(settings.into_iter().map(ours));
    whole.extend(lines[middle..end].iter().map(|line| line.to_vec()));
    whole.extend(includes.into_iter().map(ours));
    whole.extend(lines[end..].iter().map(|line| line.to_vec()));
    whole.join(&b'\n')
}

fn uses_crlf(lines: &[&[u8]]) -> bool {
    lines.iter().all(|line| line.ends_with(b"\r"))
}

/// The content without these lines, wherever they stand by now. A comment of ours goes with the
/// line below it; when they were parted it is looked for by itself.
pub(super) fn remove(content: &[u8], added: &[String]) -> Vec<u8> {
    let mut lines = split(content);
    let mut changed = false;
    for group in grouped(added) {
        let Some(at) = lines
            .iter()
            .rposition(|line| bare(line) == group.line.as_bytes())
        else {
            continue;
        };
        lines.remove(at);
        changed = true;
        let Some(comment) = group.comment.map(str::as_bytes) else {
            continue;
        };
        let above = at
            .checked_sub(1)
            .filter(|&above| bare(lines[above]) == comment);
        if let Some(at) = above.or_else(|| lines.iter().rposition(|line| bare(line) == comment)) {
            lines.remove(at);
        }
    }
    // Taking the only lines of a content away leaves nothing, not an empty line.
    if changed && lines.is_empty() {
        Vec::new()
    } else {
        lines.join(&b'\n')
    }
}

/// Keys of these lines that the content sets to something else.
pub(super) fn changed(content: &[u8], added: &[String]) -> Vec<String> {
    let lines = split(content);
    grouped(added)
        .iter()
        .filter_map(|group| match meaning(group.line.as_bytes()) {
            Meaning::Key(key) if is_set(&lines, key) => Some(key.to_owned()),
            _ => None,
        })
        .collect()
}

/// How many of these lines stand in the content as they were written.
pub(super) fn present(content: &[u8], added: &[String]) -> usize {
    let lines = split(content);
    grouped(added)
        .iter()
        .filter(|group| lines.iter().any(|line| bare(line) == group.line.as_bytes()))
        .count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn setting(key: &str, value: &str, reason: &str) -> Setting {
        Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            reason: reason.to_owned(),
        }
    }

    fn wanted() -> (Vec<Setting>, Vec<String>) {
        let settings = vec![
            setting("build-users-group", "nixbld", ""),
            setting("sandbox", "false", "user namespaces are off"),
            setting("ssl-cert-file", "/etc/ssl/cert.pem", "of this machine"),
        ];
        (settings, vec!["nix.custom.conf".to_owned()])
    }

    fn merged(content: &str) -> String {
        let (settings, includes) = wanted();
        let added = missing(content.as_bytes(), &settings, &includes);
        String::from_utf8(insert(content.as_bytes(), &added)).unwrap()
    }

    const ALL: &str = "build-users-group = nixbld\n# user namespaces are off\nsandbox = false\n\
        # of this machine\nssl-cert-file = /etc/ssl/cert.pem\n!include nix.custom.conf\n";

    #[test]
    fn what_is_missing_is_added_in_its_place() {
        for (content, expected) in [
            ("", ALL.to_owned()),
            ("# mine\n", format!("# mine\n{ALL}")),
            ("max-jobs = 4", format!("max-jobs = 4\n{}", ALL.trim_end())),
            ("extra-sandbox = x\n", format!("extra-sandbox = x\n{ALL}")),
            ("# sandbox = true\n", format!("# sandbox = true\n{ALL}")),
            (
                "sandbox = true # mine\nssl-cert-file=/x\n\tbuild-users-group\t=\n",
                "sandbox = true # mine\nssl-cert-file=/x\n\tbuild-users-group\t=\n\
                 !include nix.custom.conf\n"
                    .to_owned(),
            ),
            (
                "a = b\n!include mine.conf\nc = d\n",
                format!(
                    "a = b\n{}!include mine.conf\nc = d\n!include nix.custom.conf\n",
                    ALL.replace("!include nix.custom.conf\n", "")
                ),
            ),
            (
                "include nix.custom.conf\nthis is odd\n",
                format!(
                    "{}include nix.custom.conf\nthis is odd\n",
                    ALL.replace("!include nix.custom.conf\n", "")
                ),
            ),
            ("a = b\r\n", format!("a = b\n{ALL}").replace('\n', "\r\n")),
        ] {
            assert_eq!(merged(content), expected, "{content:?}");
            assert_eq!(merged(&expected), expected, "once more");
        }
    }

    #[test]
    fn values_stay_on_their_line() {
        let settings = [setting("a", "b\nsandbox = false\r\n", "because\nof\nthis")];
        assert_eq!(
            missing(b"", &settings, &[]),
            ["# because of this", "a = b sandbox = false"]
        );
    }

    #[test]
    fn lines_are_found_where_the_user_moved_them() {
        let (settings, includes) = wanted();
        let added = missing(b"", &settings, &includes);
        let moved = "!include nix.custom.conf\r\n# user namespaces are off\n# mine\n\
            sandbox = false\nmax-jobs = 4\nssl-cert-file = /my\nbuild-users-group = nixbld";
        let rest = remove(moved.as_bytes(), &added);
        assert_eq!(
            String::from_utf8(rest.clone()).unwrap(),
            "# mine\nmax-jobs = 4\nssl-cert-file = /my"
        );
        assert_eq!(changed(&rest, &added), ["ssl-cert-file"]);
        assert_eq!(remove(&rest, &added), rest);
        assert_eq!(
            (present(moved.as_bytes(), &added), present(&rest, &added)),
            (3, 0)
        );
    }

    #[test]
    fn a_comment_of_the_user_that_says_the_same_stays() {
        let (settings, includes) = wanted();
        let content = b"# of this machine\nmax-jobs = 4\n".as_slice();
        let added = missing(content, &settings, &includes);
        assert_eq!(remove(&insert(content, &added), &added), content);
    }

    fn any_content() -> impl Strategy<Value = Vec<u8>> {
        let line = prop_oneof![
            Just("sandbox = true".to_owned()),
            Just("# user namespaces are off".to_owned()),
            Just("!include nix.custom.conf".to_owned()),
            Just("include other.conf # x".to_owned()),
            Just("extra-sandbox-paths = /a".to_owned()),
            Just("build-users-group=".to_owned()),
            "[ -~\\t]{0,20}",
        ];
        let text = proptest::collection::vec(
            (line, prop_oneof![Just("\n"), Just("\r\n"), Just("")]),
            0..8,
        )
        .prop_map(|lines| {
            lines
                .into_iter()
                .flat_map(|(line, end)| [line, end.to_owned()])
                .collect::<String>()
        })
        .prop_map(String::into_bytes);
        prop_oneof![text, any::<Vec<u8>>()]
    }

    proptest! {
        #[test]
        fn removing_what_was_added_gives_back_every_byte(content in any_content()) {
            let (settings, includes) = wanted();
            let added = missing(&content, &settings, &includes);
            let whole = insert(&content, &added);
            prop_assert!(missing(&whole, &settings, &includes).is_empty());
            prop_assert_eq!(insert(&whole, &added), whole.clone());
            prop_assert_eq!(remove(&whole, &added), content.clone());
            // Undoing what never ran, and undoing twice.
            prop_assert_eq!(remove(&content, &added), content);
        }
    }
}

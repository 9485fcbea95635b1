//! Scanning of text by words: what is replaced where.

/// The text with every stretch of characters that belong together put through `change`; `None`
/// leaves a stretch as it is.
pub fn each_run(
    text: &str,
    belongs: impl Fn(char) -> bool,
    change: impl Fn(&str) -> Option<String>,
) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(&belongs) {
        let (before, run) = rest.split_at(start);
        out.push_str(before);
        let end = run.find(|c| !belongs(c)).unwrap_or(run.len());
        let (run, after) = run.split_at(end);
        out.push_str(change(run).as_deref().unwrap_or(run));
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The text with a name replaced wherever it stands as a word of its own, in whatever case.
pub fn without(text: &str, name: &str, by: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut last = None;
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let end = at + name.len();
        let is_name = text
            .get(at..end)
            .is_some_and(|part| part.eq_ignore_ascii_case(name));
        let after = || text[end..].chars().next();
        if is_name && !is_letter(last) && !is_letter(after()) {
            out.push_str(by);
            last = name.chars().next_back();
            at = end;
        } else {
            out.push(c);
            last = Some(c);
            at += c.len_utf8();
        }
    }
    out
}

fn is_letter(c: Option<char>) -> bool {
    c.is_some_and(char::is_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_changed_one_by_one() {
        let doubled = each_run(
            "a1 b22, c",
            |c| c.is_ascii_digit(),
            |run| (run.len() > 1).then(|| "#".to_owned()),
        );
        assert_eq!(doubled, "a1 b#, c");
        assert_eq!(each_run("", |_| true, |_| None), "");
    }

    #[test]
    fn names_are_words() {
        for (text, expected) in [
            ("al", "*"),
            ("Al's /home/al/x al_2 (al)", "*'s /home/*/x *_2 (*)"),
            ("all real al2 äal", "all real al2 äal"),
            ("al al", "* *"),
            ("ä al ä", "ä * ä"),
        ] {
            assert_eq!(without(text, "al", "*"), expected);
        }
    }
}

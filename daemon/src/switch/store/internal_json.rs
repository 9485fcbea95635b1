//! Nix's log in the format `internal-json`: how many bytes it has copied, and what it complained of.
//!
//! One line is one record, `@nix {...}`; lines of other shapes come from libraries and are kept as
//! complaints only when nothing better is there. The format is not promised to anybody, so what is
//! not understood is passed over. Numbers: `src/libutil/logging.hh` of Nix (activities 1xx, results 1xx).

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

/// Activity "copy one path"; its progress is in bytes of its archive.
const COPY_PATH: u64 = 100;
/// Result "progress": done, expected, running, failed.
const PROGRESS: u64 = 105;
/// Levels of messages: errors are 0, warnings 1; what a failed build could not find is said at 3.
const ERROR: u64 = 0;
const TOLD: u64 = 3;
/// Messages kept, and bytes of an unfinished line.
const MOST_MESSAGES: usize = 50;
const LONGEST_LINE: usize = 1 << 20;

/// A log that is being read.
#[derive(Debug, Default)]
pub struct NixLog {
    line: Vec<u8>,
    too_long: bool,
    running: BTreeMap<u64, u64>,
    finished: u64,
    errors: VecDeque<String>,
    messages: VecDeque<String>,
}

impl NixLog {
    /// Reads on; lines may be cut anywhere.
    pub fn feed(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.line.len() + piece.len() > LONGEST_LINE {
                self.too_long = true;
                self.line.clear();
            }
            if !self.too_long {
                self.line.extend_from_slice(piece);
            }
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                if !std::mem::take(&mut self.too_long) {
                    self.take(&String::from_utf8_lossy(&line));
                }
            }
        }
    }

    /// Bytes of store paths, unpacked, that were copied so far.
    pub fn copied(&self) -> u64 {
        self.running
            .values()
            .fold(self.finished, |sum, bytes| sum.saturating_add(*bytes))
    }

    /// Why it failed: the errors, else the last of what else it said, in one line.
    pub fn complaint(&self) -> String {
        let last = self.messages.back();
        let all: Vec<&str> = match self.errors.is_empty() {
            true => last.map(String::as_str).into_iter().collect(),
            false => self.errors.iter().map(String::as_str).collect(),
        };
        all.join("; ")
    }

    /// Everything it said that was kept, oldest first.
    pub fn messages(&self) -> impl Iterator<Item = &str> {
        self.messages.iter().chain(&self.errors).map(String::as_str)
    }

    fn take(&mut self, line: &str) {
        let line = line.trim_end();
        let Some(json) = line.strip_prefix("@nix ") else {
            let level = if line.starts_with("error:") {
                ERROR
            } else {
                TOLD
            };
            return self.say(level, line);
        };
        let Ok(record) = serde_json::from_str::<Value>(json) else {
            return;
        };
        let number = |name: &str| record.get(name).and_then(Value::as_u64);
        let field = |at: usize| record.get("fields")?.get(at)?.as_u64();
        match record.get("action").and_then(Value::as_str) {
            Some("start") if number("type") == Some(COPY_PATH) => {
                if let Some(id) = number("id") {
                    self.running.insert(id, 0);
                }
            }
            Some("result") if number("type") == Some(PROGRESS) => {
                let known = number("id").and_then(|id| self.running.get_mut(&id));
                if let (Some(bytes), Some(done)) = (known, field(0)) {
                    *bytes = done;
                }
            }
            Some("stop") => {
                let bytes = number("id").and_then(|id| self.running.remove(&id));
                self.finished = self.finished.saturating_add(bytes.unwrap_or(0));
            }
            Some("msg") => {
                let text = record.get("msg").and_then(Value::as_str);
                let level = number("level").unwrap_or(u64::MAX);
                self.say(level, text.unwrap_or_default());
            }
            _ => {}
        }
    }

    fn say(&mut self, level: u64, text: &str) {
        let text = plain(text);
        // Nix gives warnings the level of errors in places.
        let text = text.trim();
        let kept = match level {
            ERROR if !text.starts_with("warning:") => &mut self.errors,
            ERROR..=TOLD => &mut self.messages,
            _ => return,
        };
        let text = text.strip_prefix("error: ").unwrap_or(text);
        if text.is_empty() {
            return;
        }
        if kept.len() == MOST_MESSAGES {
            kept.pop_front();
        }
        kept.push_back(text.chars().take(1000).collect());
    }
}

/// The text without the colours, on one line.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(char) = chars.next() {
        match char {
            '\u{1b}' => {
                // A sequence ends with a letter.
                let _ = chars.by_ref().find(char::is_ascii_alphabetic);
            }
            '\n' | '\r' | '\t' => plain.push(' '),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> NixLog {
        let mut log = NixLog::default();
        log.feed(text.as_bytes());
        log
    }

    const COPY: &str = r#"@nix {"action":"start","fields":["/nix/store/x","a","b"],"id":7,"level":3,"parent":4,"text":"copying","type":100}
@nix {"action":"start","id":8,"level":0,"parent":0,"text":"","type":103}
@nix {"action":"result","fields":[1000,5000,0,0],"id":7,"type":105}
@nix {"action":"result","fields":[3,8,0,0],"id":8,"type":105}
"#;

    #[test]
    fn bytes_are_those_of_copied_paths() {
        let mut log = read(COPY);
        assert_eq!(log.copied(), 1000);
        log.feed(
            b"@nix {\"action\":\"result\",\"fields\":[5000,5000,0,0],\"id\":7,\"type\":105}\n",
        );
        log.feed(b"@nix {\"action\":\"stop\",\"id\":7}\n@nix {\"action\":\"stop\",\"id\":7}\n");
        assert_eq!(log.copied(), 5000);
    }

    #[test]
    fn complaints_are_plain_errors() {
        let log = read(
            "warning: from a library\n\
             @nix {\"action\":\"msg\",\"level\":0,\"msg\":\"warning: the group is not there\"}\n\
             @nix {\"action\":\"msg\",\"level\":1,\"msg\":\"\\u001b[35;1mwarning:\\u001b[0m unable to \\u001b[35;1mdownload\\u001b[0m it\"}\n\
             @nix {\"action\":\"msg\",\"level\":5,\"msg\":\"chatter\"}\n\
             @nix {\"action\":\"msg\",\"level\":0,\"msg\":\"\\u001b[31;1merror:\\u001b[0m build of 'x'\\n failed\"}\n",
        );
        assert_eq!(log.complaint(), "build of 'x'  failed");
        assert!(
            log.messages()
                .any(|text| text == "warning: unable to download it")
        );
        assert!(!log.messages().any(|text| text == "chatter"));
        assert_eq!(read("killed\n").complaint(), "killed");
        assert_eq!(read("error: no\nfor more see x\n").complaint(), "no");
        assert_eq!(read("").complaint(), "");
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut log = NixLog::default();
        log.feed(&vec![b'x'; 3 << 20]);
        assert!(log.line.len() <= LONGEST_LINE);
        log.feed(b"\n");
        for number in 0..1000 {
            log.feed(format!("line {number}\n").as_bytes());
        }
        assert_eq!(log.messages().count(), MOST_MESSAGES);
        assert_eq!(log.complaint(), "line 999");
    }

    proptest! {
        #[test]
        fn how_it_is_cut_does_not_matter(cuts in proptest::collection::vec(0..COPY.len(), 0..8)) {
            let mut cuts = cuts;
            cuts.extend([0, COPY.len()]);
            cuts.sort_unstable();
            let mut log = NixLog::default();
            for pair in cuts.windows(2) {
                log.feed(&COPY.as_bytes()[pair[0]..pair[1]]);
            }
            prop_assert_eq!(log.copied(), 1000);
        }

        #[test]
        fn nothing_makes_it_fail(text in "(@nix |\\{|\"action\":\"msg\"|\"level\":0|\\}|\\PC|\n){0,40}") {
            let _ = read(&text).complaint();
        }
    }
}

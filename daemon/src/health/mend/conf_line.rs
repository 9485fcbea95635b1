//! A line of nix.conf becomes a comment, with a word on why; other lines can take its place.
//!
//! Every other byte of the file stays, line ends and a missing last line feed included, and so do
//! its mode and owner. The line itself stays as a comment, so that nothing of it is lost.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::resource::file::{Rights, SavedFile};
use crate::resource::saved::{Seen, foreign, look};
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone};

/// What stands above a line that was taken out.
const MARK: &str = "# nixctl took the next line out: ";

/// One line of a settings file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ConfLine {
    /// The file.
    pub file: PathBuf,
    /// The line as it stands there, without its end.
    pub line: String,
    /// Why it goes; one line.
    pub why: String,
    /// Lines that take its place.
    pub instead: Vec<String>,
}

impl ConfLine {
    pub(super) fn describe(&self) -> Description {
        let (file, line) = (self.file.display(), self.line.trim());
        let mut details = vec![self.why.clone()];
        details.extend(
            self.instead
                .iter()
                .map(|it| format!("write `{it}` instead")),
        );
        Description {
            id: format!("conf-line:{file}:{line}"),
            summary: format!("make `{line}` a comment in {file}"),
            details,
        }
    }

    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        Ok(match self.read(host)? {
            Some((content, ..)) if self.taken_out(&content).is_some() => Undo::Created,
            _ => Undo::Nothing,
        })
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        if *undo == Undo::Nothing {
            return Ok(());
        }
        self.change(context.host, |content| self.taken_out(content))
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        match self.read(host)? {
            Some((content, ..)) if self.taken_out(&content).is_some() => {
                Err(ResourceError::Drifted {
                    id: self.describe().id,
                    seen: "the line is still there".to_owned(),
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        if *undo != Undo::Nothing {
            self.change(context.host, |content| self.put_back(content))?;
        }
        Ok(Undone::Clean)
    }

    fn change(&self, host: &Host, change: impl Fn(&[u8]) -> Option<Vec<u8>>) -> Result<()> {
        if let Some((content, Rights { mode, uid, gid })) = self.read(host)?
            && let Some(changed) = change(&content)
        {
            host.fs
                .write(&self.file, &changed, mode, Some((uid, gid)))?;
        }
        Ok(())
    }

    fn read(&self, host: &Host) -> Result<Option<(Vec<u8>, Rights)>> {
        match look(host, Path::new(&self.file))? {
            Seen::Nothing => Ok(None),
            Seen::Saved(SavedFile::Regular {
                content,
                mode,
                uid,
                gid,
            }) => Ok(Some((content, Rights { mode, uid, gid }))),
            seen => Err(foreign(self.describe().id, seen.words())),
        }
    }

    /// The content without the line; `None` when it is not there.
    fn taken_out(&self, content: &[u8]) -> Option<Vec<u8>> {
        let instead = self.replacement();
        replaced(content, std::slice::from_ref(&self.line), &instead)
    }

    /// The content with the line in its place again; `None` when it was not taken out.
    fn put_back(&self, content: &[u8]) -> Option<Vec<u8>> {
        let instead = self.replacement();
        replaced(content, &instead, std::slice::from_ref(&self.line))
    }

    fn replacement(&self) -> Vec<String> {
        let why = self.why.replace(['\n', '\r'], " ");
        let mut lines = vec![format!("{MARK}{why}"), format!("# {}", self.line)];
        lines.extend(self.instead.iter().cloned());
        lines
    }
}

/// The content with every run of these lines exchanged; `None` when there is none. A carriage
/// return at the end of the first of them is given to all that come.
fn replaced(content: &[u8], from: &[String], to: &[String]) -> Option<Vec<u8>> {
    let lines: Vec<&[u8]> = content.split(|&byte| byte == b'\n').collect();
    let bare = |line: &[u8]| line.strip_suffix(b"\r").unwrap_or(line).to_vec();
    let mut whole: Vec<Vec<u8>> = Vec::with_capacity(lines.len());
    let mut changed = false;
    let mut rest = lines.as_slice();
    while let Some((first, after)) = rest.split_first() {
        let run = rest.get(..from.len()).unwrap_or_default();
        let same = run.len() == from.len()
            && run
                .iter()
                .zip(from)
                .all(|(line, it)| bare(line) == it.as_bytes());
        if same {
            let end: &[u8] = if first.ends_with(b"\r") { b"\r" } else { b"" };
            whole.extend(to.iter().map(|line| [line.as_bytes(), end].concat()));
            rest = &rest[from.len()..];
            changed = true;
        } else {
            whole.push(first.to_vec());
            rest = after;
        }
    }
    changed.then(|| whole.join(&b'\n'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Mend;
    use super::super::testing::check_laws;
    use super::*;
    use crate::resource::testing::Machine;

    const FILE: &str = "/etc/nix/nix.conf";
    const LINE: &str = "post-build-hook = /gone";

    fn mend() -> ConfLine {
        ConfLine {
            file: FILE.into(),
            line: LINE.to_owned(),
            why: "/gone is not there".to_owned(),
            instead: vec!["cores = 2".to_owned()],
        }
    }

    #[test]
    fn laws() {
        for content in [
            "",
            "max-jobs = auto\n",
            "post-build-hook = /gone",
            "a = b\r\npost-build-hook = /gone\r\nc = d\r\n",
            "post-build-hook = /gone\npost-build-hook = /gone\n\n",
        ] {
            let machine = Machine::new();
            machine.put(FILE, content);
            machine.chmod(FILE, 0o640);
            check_laws(&machine, &Mend::ConfLine(mend()));
        }
        check_laws(&Machine::new(), &Mend::ConfLine(mend()));
    }

    #[test]
    fn the_line_stays_as_a_comment() {
        let machine = Machine::new();
        machine.put(FILE, "a = b\npost-build-hook = /gone\nc = d\n");
        let undo = mend().prepare(&machine.host).unwrap();
        mend().apply(&machine.context(), &undo).unwrap();
        assert_eq!(
            machine.text(FILE).unwrap(),
            "a = b\n# nixctl took the next line out: /gone is not there\n\
             # post-build-hook = /gone\ncores = 2\nc = d\n"
        );
    }

    #[test]
    fn a_link_is_somebody_elses() {
        let machine = Machine::new();
        std::fs::create_dir_all(machine.path("/etc/nix")).unwrap();
        std::os::unix::fs::symlink("/etc/static", machine.path(FILE)).unwrap();
        assert!(mend().prepare(&machine.host).is_err());
    }

    proptest! {
        #[test]
        fn all_other_bytes_stay(
            lines in proptest::collection::vec("[ -~\r]{0,12}", 0..6),
            at in 0usize..6,
        ) {
            let mut lines = lines;
            lines.retain(|line| line.trim_end_matches('\r') != LINE);
            let before = lines.join("\n").into_bytes();
            prop_assert_eq!(mend().taken_out(&before), None);
            let at = at.min(lines.len());
            lines.insert(at, LINE.to_owned());
            let with = lines.join("\n").into_bytes();
            let out = mend().taken_out(&with).unwrap();
            prop_assert_eq!(mend().taken_out(&out), None);
            prop_assert_eq!(mend().put_back(&out).unwrap(), with);
        }
    }
}

//! Fetching store paths, with progress, and telling what kind of trouble it was.
//!
//! Whom to trust is Nix's business: its substituters, and one more when the request names it, all
//! under the keys in `trusted-public-keys`. Nothing is ever built.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::host::Command;
use crate::resource::Progress;
use crate::switch::error::{Result, SwitchError};
use crate::switch::store::internal_json::NixLog;
use crate::switch::store::source::StoreUrl;
use crate::switch::store::{NixStore, batches};

/// For one batch: a gigabyte over a very slow line. Nix itself gives up on a line that stalls.
const FETCH_DEADLINE: Duration = Duration::from_secs(24 * 3600);
/// What is fetched.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Store paths, closures included.
    pub paths: &'a [String],
    /// Bytes they will take, for the progress and for the shortage.
    pub bytes: u64,
    /// A store to ask besides Nix's own substituters.
    pub from: Option<&'a str>,
}

impl NixStore<'_> {
    /// Fetches what is not there yet.
    ///
    /// # Errors
    /// [`SwitchError::NoSpace`] and [`SwitchError::Network`] when trying again later can help.
    pub fn fetch(&self, wanted: Wanted<'_>, progress: &dyn Progress) -> Result<()> {
        let valid = self.valid(wanted.paths)?;
        let missing: Vec<String> = wanted
            .paths
            .iter()
            .filter(|path| !valid.contains(*path))
            .cloned()
            .collect();
        let mut before = 0;
        for batch in batches(&missing)? {
            let command = self.realise(batch, wanted.from)?;
            let mut log = NixLog::default();
            let output = self.host.exec.follow(&command, self.cancel, &mut |said| {
                log.feed(said);
                let done = log.copied().saturating_add(before);
                progress.bytes(done, wanted.bytes.max(done));
            })?;
            if output.code != 0 {
                return Err(self.trouble(batch, wanted.bytes, before, &log));
            }
            before = before.saturating_add(log.copied());
        }
        self.all_there(&missing)
    }

    /// Fetches paths again whose contents are not as they should be.
    ///
    /// # Errors
    /// As [`NixStore::fetch`].
    pub(in crate::switch) fn repair(&self, paths: &[String], from: Option<&str>) -> Result<()> {
        for batch in batches(paths)? {
            let args = ["--log-format", "internal-json", "--repair-path"];
            let command = self.command("nix-store", &args);
            let command = substituter(command, from)?.args(batch);
            self.followed(&command.deadline(FETCH_DEADLINE), batch)?;
        }
        Ok(())
    }

    /// Runs a command that asks a cache about these paths, and whose log is `internal-json`.
    pub(in crate::switch) fn followed(
        &self,
        command: &Command,
        paths: &[String],
    ) -> Result<String> {
        let mut log = NixLog::default();
        let said = &mut |said: &[u8]| log.feed(said);
        let output = self.host.exec.follow(command, self.cancel, said)?;
        match output.code {
            0 => Ok(output.text()),
            _ => Err(self.trouble(paths, 0, 0, &log)),
        }
    }

    fn realise(&self, paths: &[String], from: Option<&str>) -> Result<Command> {
        let args = ["--log-format", "internal-json", "--realise", "--keep-going"];
        let command = self
            .command("nix-store", &args)
            .args(["--option", "max-jobs", "0", "--option", "builders", ""]);
        Ok(substituter(command, from)?
            .args(paths)
            .deadline(FETCH_DEADLINE))
    }

    fn all_there(&self, paths: &[String]) -> Result<()> {
        let valid = self.valid(paths)?;
        match unavailable(
            paths,
            &valid,
            "Nix says that it was fetched, and it is not there",
        ) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// What kind of trouble it was.
    fn trouble(&self, paths: &[String], bytes: u64, done: u64, log: &NixLog) -> SwitchError {
        let what = match paths {
            [path] => format!("fetch {path}"),
            paths => format!("fetch {} store paths", paths.len()),
        };
        self.trouble_with(what, paths, bytes.saturating_sub(done), log)
    }
}

/// Nix's own substituters, and one more. What a cache did not have before it may have by now.
fn substituter(command: Command, from: Option<&str>) -> Result<Command> {
    let command = command.args(["--option", "narinfo-cache-negative-ttl", "0"]);
    Ok(match from {
        Some(from) => command.args(["--option", "extra-substituters", &store_url(from)?]),
        None => command,
    })
}

/// The URL of a store that Nix may be given; an absolute path is a cache in that folder.
pub(in crate::switch) fn store_url(from: &str) -> Result<String> {
    let text = match from.starts_with('/') {
        true => format!("file://{from}"),
        false => from.to_owned(),
    };
    let url = StoreUrl::new(&text).map_err(|error| SwitchError::Unavailable {
        path: "anything".to_owned(),
        others: 0,
        why: error.to_string(),
    })?;
    Ok(url.as_str().to_owned())
}

pub(super) fn unavailable(
    paths: &[String],
    valid: &BTreeSet<String>,
    why: &str,
) -> Option<SwitchError> {
    let mut missing = paths.iter().filter(|path| !valid.contains(*path));
    let first = missing.next()?;
    Some(SwitchError::Unavailable {
        path: first.clone(),
        others: missing.count(),
        why: why.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::Answer;
    use crate::resource::Silent;
    use crate::switch::testing::{Fixture, store_path};

    fn message(level: u8, text: &str) -> String {
        let json = serde_json::json!({"action": "msg", "level": level, "msg": text});
        format!("@nix {json}\n")
    }

    fn fetch(fixture: &Fixture, paths: &[String], from: Option<&str>) -> Result<()> {
        let wanted = Wanted {
            paths,
            bytes: u64::MAX,
            from,
        };
        fixture.store().fetch(wanted, &Silent)
    }

    fn failing(messages: &[String]) -> SwitchError {
        let fixture = Fixture::new();
        let path = store_path("a");
        fixture.answer(&["--check-validity"], Answer::text(&path));
        fixture.answer(&["--log-format"], Answer::code(1, &messages.concat()));
        fetch(&fixture, &[path], None).unwrap_err()
    }

    #[test]
    fn the_kinds_of_trouble() {
        let full = failing(&[message(
            0,
            "error: writing to file: No space left on device",
        )]);
        assert!(
            matches!(full, SwitchError::NoSpace { lacking, .. } if lacking > 1),
            "{full}"
        );
        assert!(full.waits().unwrap().ends_with("more on /nix"));
        let lost = failing(&[
            message(
                1,
                "warning: unable to download 'http://x': Could not connect to server",
            ),
            message(0, "error: build of '/nix/store/x' failed"),
        ]);
        let waits = lost.waits().unwrap();
        assert!(
            waits.starts_with("needs the network: unable to download 'http://x'"),
            "{waits}"
        );
        let cut = "error: unable to download 'http://x/y.narinfo': HTTP error 200 (curl error: \
                   Transferred a partial file)";
        assert!(failing(&[message(0, cut)]).waits().is_some());
        let nobody = failing(&[message(
            0,
            "error: path '/nix/store/x' is required, but there is no substituter that can build it",
        )]);
        assert!(
            matches!(nobody, SwitchError::Unavailable { .. }),
            "{nobody}"
        );
        assert_eq!(nobody.waits(), None);
        let unsigned = failing(&[
            message(
                1,
                "warning: unable to download 'https://y': Timeout was reached",
            ),
            message(
                0,
                "error: cannot add path '/nix/store/x' because it lacks a signature by a trusted key",
            ),
        ]);
        assert!(
            matches!(unsigned, SwitchError::Unavailable { .. }),
            "{unsigned}"
        );
        assert!(matches!(
            failing(&[message(0, "error: bug")]),
            SwitchError::Nix { .. }
        ));
    }

    #[test]
    fn only_what_is_missing_is_fetched() {
        let fixture = Fixture::new();
        let (a, b) = (store_path("a"), store_path("b"));
        fixture.answer(&["--check-validity"], Answer::text(&b));
        let error = fetch(&fixture, &[a.clone(), b.clone()], Some("http://cache")).unwrap_err();
        assert!(error.to_string().contains("it is not there"), "{error}");
        let lines = fixture.lines();
        assert!(
            lines[1].ends_with(&format!("--option extra-substituters http://cache {b}")),
            "{}",
            lines[1]
        );
        assert!(!lines[1].contains(&a) && lines[1].contains("--option max-jobs 0"));
        fixture.answer(&["--check-validity"], Answer::text(""));
        fixture.machine.exec.forget();
        fetch(&fixture, &[a, b], None).unwrap();
        assert_eq!(fixture.lines().len(), 1);
    }

    #[test]
    fn urls_that_nix_may_be_given() {
        for (from, url) in [
            ("/srv/cache", Some("file:///srv/cache")),
            ("https://x?priority=10", Some("https://x?priority=10")),
            ("ssh-ng://root@x", Some("ssh-ng://root@x")),
            ("https://x?trusted=1", None),
            ("/srv/cache?trusted=1", None),
            ("https://x https://y", None),
            ("--option", None),
            ("local?root=/", None),
            ("", None),
        ] {
            assert_eq!(store_url(from).ok().as_deref(), url, "{from}");
        }
    }
}

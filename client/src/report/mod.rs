//! What a bug report needs, as one document that names nobody.
//!
//! Everything that becomes part of it passes [`redact`], string by string; what identifies the
//! machine and its people comes from [`names`]. Nothing here is ever sent anywhere.

pub mod names;
pub mod redact;
mod secrets;
mod words;

use std::collections::BTreeMap;
use std::path::Path;

use nixctl_proto::Failure;
use serde::Serialize;
use serde_json::Value;

use crate::connect::{Connection, Trouble};
use crate::render::text::{moment, now};
use names::Names;

/// Operations that are part of it, with their journals.
const OPERATIONS: u32 = 10;
/// Events of the history that are part of it.
const EVENTS: u32 = 200;
/// Entries of os-release that say what system it is.
const OS_KEYS: [&str; 6] = [
    "ID",
    "ID_LIKE",
    "VERSION_ID",
    "VARIANT_ID",
    "PRETTY_NAME",
    "BUILD_ID",
];

/// The document, before anything is left out of it.
#[derive(Debug, Serialize)]
pub struct Report {
    about: &'static str,
    made: String,
    nixctl: &'static str,
    system: System,
    status: Value,
    findings: Value,
    history: Value,
    operations: Value,
    settings: Value,
}

#[derive(Debug, Serialize)]
struct System {
    kernel: String,
    architecture: &'static str,
    os: BTreeMap<String, String>,
}

/// The document of a machine, redacted. What the daemon does not say is named with its reason.
pub async fn make(
    connection: Result<&Connection, &Failure>,
    root: &Path,
    names: &Names,
) -> serde_json::Result<Value> {
    let report = Report {
        about: "made by `nixctl report`; names, addresses and secrets are left out",
        made: moment(now()),
        nixctl: nixctl_proto::version(),
        system: system(root),
        status: section(connection, async |it| it.status().await).await,
        findings: section(connection, async |it| it.findings().await).await,
        history: section(connection, async |it| it.history(EVENTS).await).await,
        operations: section(connection, operations).await,
        settings: section(connection, async |it| it.settings().await).await,
    };
    let mut document = serde_json::to_value(report)?;
    redact_all(&mut document, names);
    Ok(document)
}

/// The newest operations with their journals.
async fn operations(connection: &Connection) -> Result<Vec<Value>, Trouble> {
    let mut all = Vec::new();
    for view in connection.list(OPERATIONS).await? {
        let journal = connection.journal(&view.id).await?;
        all.push(serde_json::json!({ "operation": view, "journal": journal }));
    }
    Ok(all)
}

async fn section<T: Serialize>(
    connection: Result<&Connection, &Failure>,
    ask: impl AsyncFnOnce(&Connection) -> Result<T, Trouble>,
) -> Value {
    let told = |failure: &Failure| serde_json::json!({ "error": failure });
    let answer = match connection {
        Ok(connection) => ask(connection).await,
        Err(failure) => return told(failure),
    };
    match answer {
        Ok(answer) => serde_json::to_value(answer).unwrap_or_default(),
        Err(trouble) => told(&Failure::from(trouble)),
    }
}

/// Leaves out of every string what must not be told.
fn redact_all(value: &mut Value, names: &Names) {
    match value {
        Value::String(text) => *text = redact::redact(text, names),
        Value::Array(all) => all.iter_mut().for_each(|it| redact_all(it, names)),
        Value::Object(all) => all.values_mut().for_each(|it| redact_all(it, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn system(root: &Path) -> System {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let release = ["etc/os-release", "usr/lib/os-release"]
        .iter()
        .find_map(|path| std::fs::read_to_string(root.join(path)).ok());
    System {
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        architecture: std::env::consts::ARCH,
        os: os(&release.unwrap_or_default()),
    }
}

/// The entries of os-release that matter.
fn os(release: &str) -> BTreeMap<String, String> {
    let entries = release.lines().filter_map(|line| line.split_once('='));
    entries
        .filter(|(key, _)| OS_KEYS.contains(key))
        .map(|(key, value)| (key.to_owned(), value.trim_matches(['"', '\'']).to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use nixctl_proto::Code;
    use nixctl_proto::health::Severity;
    use nixctl_proto::operation::JournalLine;
    use nixctl_proto::request::{Reply, Request};
    use nixctl_proto::settings::SettingView;

    use super::*;
    use crate::connect::Options;
    use crate::connect::fake::{Fake, Reaction};
    use crate::render::findings::tests::{finding, found};
    use crate::render::operation::tests::view;
    use crate::render::status::tests::status;

    fn names() -> Names {
        Names {
            users: vec!["alice".to_owned()],
            hosts: vec!["wonderland".to_owned()],
            homes: vec!["/srv/people/alice".to_owned()],
        }
    }

    #[tokio::test]
    async fn everything_is_in_it_and_nobody_is() {
        let fake = Fake::start(|request| {
            vec![Reaction::Last(match request {
                Request::Status => Reply::Status(status()),
                Request::Findings => {
                    let mut one = finding("conf.syntax", Severity::Error);
                    one.seen = "/srv/people/alice/x on wonderland is wrong".to_owned();
                    Reply::Findings(found(vec![one]))
                }
                Request::History(_) => Reply::History(Vec::new()),
                Request::List(_) => Reply::Operations(vec![view()]),
                Request::Journal(_) => Reply::Journal(vec![JournalLine {
                    sequence: 0,
                    time: 1,
                    record: "failed".to_owned(),
                    step: None,
                    text: "access-tokens = github.com=ghp_0123".to_owned(),
                }]),
                _ => Reply::Settings(vec![SettingView {
                    key: "install.proxy".to_owned(),
                    value: "\"http://alice:secret@10.1.2.3:80\"".to_owned(),
                    file: String::new(),
                }]),
            })]
        });
        let reach = Options {
            socket: Some(fake.path()),
            ..Options::default()
        };
        let connection = Connection::open(&reach).await.unwrap();
        let document = make(Ok(&connection), Path::new("/nonexistent"), &names()).await;
        let text = document.unwrap().to_string();
        for there in [
            "conf.syntax",
            "0.1.0",
            "2.26.3",
            "unpack the release",
            "access-tokens",
            "install.proxy",
        ] {
            assert!(text.contains(there), "{there}: {text}");
        }
        for gone in ["alice", "wonderland", "ghp_", "10.1.2.3", ":secret@"] {
            assert!(!text.contains(gone), "{gone}: {text}");
        }
    }

    #[tokio::test]
    async fn without_a_daemon_that_is_what_it_says() {
        let failure = Failure::new(Code::Unreachable, "nobody answered");
        let document = make(Err(&failure), Path::new("/nonexistent"), &names()).await;
        let document = document.unwrap();
        assert_eq!(document["status"]["error"]["message"], "nobody answered");
        assert_eq!(document["nixctl"], nixctl_proto::VERSION);
    }

    #[test]
    fn only_what_says_which_system_it_is() {
        let release =
            "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\nHOME_URL=\"x\"\nVENDOR='y'\n";
        let os = os(release);
        assert_eq!(os.len(), 2);
        assert_eq!(os["PRETTY_NAME"], "Debian GNU/Linux 12");
    }
}

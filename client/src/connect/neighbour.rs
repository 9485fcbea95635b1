//! A daemon of another version: when it, or this client, does not know what the other says, the
//! versions of both are told, and which one is the older.

use std::cmp::Ordering;

use nixctl_proto::feed::Version;
use nixctl_proto::{Code, Failure, VERSION};

/// Whether a failure may come from a difference of versions.
pub fn may_explain(failure: &Failure) -> bool {
    matches!(
        failure.code,
        Code::UnknownRequest | Code::UnknownOption | Code::BadFrame
    )
}

/// The failure with what to do about a daemon of this version, where it has another one.
pub fn explained(failure: Failure, daemon: &str) -> Failure {
    explained_to(VERSION, failure, daemon)
}

fn explained_to(client: &str, failure: Failure, daemon: &str) -> Failure {
    if !may_explain(&failure) || daemon.is_empty() || daemon == client {
        return failure;
    }
    let what = match (daemon.parse::<Version>(), client.parse::<Version>()) {
        (Ok(theirs), Ok(ours)) => match theirs.compare(&ours) {
            Ordering::Less => "upgrade nixctld, or restart it where its program is newer already",
            Ordering::Equal => "install both programs of one version",
            Ordering::Greater => "upgrade nixctl",
        },
        _ => "install both programs of one version",
    };
    failure.with_help(format!(
        "nixctld is of version {daemon}, this nixctl of version {client}: {what}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_side_is_to_be_upgraded() {
        let help = |code, daemon| {
            let failure = Failure::new(code, "cannot").with_help("try");
            explained_to("0.2.0", failure, daemon).help
        };
        for (code, daemon, expected) in [
            (Code::UnknownRequest, "0.1.0", "0.2.0: upgrade nixctld"),
            (Code::UnknownOption, "0.1.9", "0.2.0: upgrade nixctld"),
            (Code::BadFrame, "0.10.0", "0.2.0: upgrade nixctl"),
            (Code::BadFrame, "unknown", "both programs of one version"),
            (Code::BadFrame, "0.2.0", "try"),
            (Code::BadFrame, "", "try"),
            (Code::NoSpace, "0.1.0", "try"),
        ] {
            let help = help(code, daemon);
            assert!(help.contains(expected), "{code} {daemon}: {help}");
        }
    }
}

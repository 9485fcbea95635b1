//! `nixctl switch`

use std::path::{Path, PathBuf};

use nixctl_proto::request::{OperationRequest, SwitchRequest};
use nixctl_proto::{Code, Failure};

use super::{Context, Outcome, change, toplevel};
use crate::cli;
use crate::connect::Connection;

/// Moves the system to another generation.
pub async fn run(context: &mut Context, switch: cli::Switch) -> Outcome {
    let confirm_within = switch.what.confirm_within;
    let request = request(switch.what)?;
    if let Some(seconds) = confirm_within.filter(|_| !switch.going.dry_run) {
        context.remark(&format!(
            "when it asks for it, run `nixctl confirm` in a new session within {seconds} s, else it goes back"
        ));
    }
    go(context, request, &switch.picture, &switch.going).await
}

/// Carries out a move between generations, and draws it where that is asked for.
pub async fn go(
    context: &mut Context,
    request: OperationRequest,
    picture: &cli::Picture,
    going: &cli::Going,
) -> Outcome {
    change::check_consent(context, going)?;
    let connection = Connection::open(&context.options).await?;
    change::run(context, connection, request, going, picture.file.as_deref()).await
}

/// The request, with links resolved and paths as the daemon must see them.
pub fn request(what: cli::SwitchWhat) -> Result<OperationRequest, Failure> {
    if let Some(number) = toplevel::number(&what.toplevel) {
        let message = format!("cannot switch to `{number}`: a toplevel is a store path or a link");
        return Err(
            Failure::new(Code::InvalidArgument, message).with_help(format!(
                "for a generation there is `nixctl rollback --to {number}`"
            )),
        );
    }
    Ok(OperationRequest::Switch(SwitchRequest {
        toplevel: toplevel::resolve(&what.toplevel)?,
        from: what.from.map(store).transpose()?,
        strategy: what.strategy.into(),
        budget: what.budget,
        drop_old: what.drop_old,
        allow_downtime: what.allow_downtime,
        soak: what.soak,
        confirm_within: what.confirm_within,
    }))
}

/// A URL as it is, a folder from the root on.
pub(super) fn store(from: String) -> Result<String, Failure> {
    if from.contains("://") || from.starts_with('/') {
        return Ok(from);
    }
    let cannot = |why: &dyn std::fmt::Display| {
        let message = format!("cannot use the store `{from}`: {why}");
        Failure::new(Code::InvalidArgument, message)
            .with_help("name a URL such as https://cache.example, or a folder")
    };
    let path: PathBuf = Path::new(&from)
        .canonicalize()
        .map_err(|error| cannot(&error))?;
    path.into_os_string()
        .into_string()
        .map_err(|_| cannot(&"its path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use nixctl_proto::request::Strategy;

    use super::*;

    const PATH: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web-25.05";

    #[test]
    fn everything_asked_for_is_in_the_request() {
        let what = cli::SwitchWhat {
            toplevel: PATH.to_owned(),
            from: Some("https://cache.example".to_owned()),
            strategy: cli::Strategy::Stepwise,
            budget: Some(1),
            drop_old: true,
            allow_downtime: true,
            soak: Some(2),
            confirm_within: Some(3),
        };
        let expected = SwitchRequest {
            toplevel: PATH.to_owned(),
            from: Some("https://cache.example".to_owned()),
            strategy: Strategy::Stepwise,
            budget: Some(1),
            drop_old: true,
            allow_downtime: true,
            soak: Some(2),
            confirm_within: Some(3),
        };
        assert_eq!(request(what), Ok(OperationRequest::Switch(expected)));
    }

    #[test]
    fn a_folder_is_named_from_the_root_on() {
        let here = std::env::current_dir().unwrap().canonicalize().unwrap();
        assert_eq!(store(".".to_owned()).unwrap(), here.to_str().unwrap());
        assert_eq!(store("ssh://host".to_owned()).unwrap(), "ssh://host");
        assert!(store("not-there".to_owned()).is_err());
    }

    #[test]
    fn a_number_is_not_a_toplevel() {
        let what = cli::SwitchWhat {
            toplevel: "42".to_owned(),
            ..cli::SwitchWhat::default()
        };
        assert!(request(what).unwrap_err().help.contains("rollback --to 42"));
    }
}

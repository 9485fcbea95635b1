//! What the daemon is asked: a request as the argument and the options of a method.
//!
//! An option is only sent when it is set, so that an older daemon need not know it.

use zbus::zvariant::Value;

use super::Options;
use crate::health::Target;
use crate::request::{OperationRequest, RequestOptions, Strategy};

/// The argument of `Plan` that a request has beside its options.
pub fn argument(request: &OperationRequest) -> String {
    match request {
        OperationRequest::Switch(switch) => switch.toplevel.clone(),
        OperationRequest::Rollback(rollback) => {
            rollback.to.map(|to| to.to_string()).unwrap_or_default()
        }
        OperationRequest::Repair(repair) => {
            let targets: Vec<String> = repair.targets.iter().map(Target::to_string).collect();
            targets.join("\n")
        }
        OperationRequest::Install(_)
        | OperationRequest::Uninstall(_)
        | OperationRequest::Upgrade(_)
        | OperationRequest::SelfUpgrade(_)
        | OperationRequest::SelfInstall(_)
        | OperationRequest::SelfUninstall => String::new(),
    }
}

/// The options that carry a request: its own ones and those that every request takes.
pub fn options<'a>(request: &'a OperationRequest, common: &'a RequestOptions) -> Options<'a> {
    let mut options = Options::new();
    match request {
        OperationRequest::Install(install) => {
            text(&mut options, "version", install.version.as_ref());
            text(&mut options, "source", install.source.as_ref());
            text(&mut options, "sha256", install.sha256.as_ref());
            flag(&mut options, "adopt", install.adopt);
            flag(&mut options, "single-user", install.single_user);
        }
        OperationRequest::Uninstall(uninstall) => {
            flag(&mut options, "keep-store", uninstall.keep_store);
        }
        OperationRequest::Switch(switch) => {
            text(&mut options, "from", switch.from.as_ref());
            if switch.strategy != Strategy::Auto {
                options.insert("strategy", Value::from(switch.strategy.as_str()));
            }
            number(&mut options, "budget", switch.budget);
            flag(&mut options, "drop-old", switch.drop_old);
            flag(&mut options, "allow-downtime", switch.allow_downtime);
            number(&mut options, "soak", switch.soak);
            number(&mut options, "confirm-within", switch.confirm_within);
        }
        OperationRequest::Rollback(rollback) => {
            text(&mut options, "from", rollback.from.as_ref());
        }
        OperationRequest::Upgrade(upgrade) => {
            text(&mut options, "version", upgrade.version.as_ref());
            text(&mut options, "source", upgrade.source.as_ref());
            text(&mut options, "sha256", upgrade.sha256.as_ref());
            flag(&mut options, "rollback", upgrade.rollback);
            number(&mut options, "drain", upgrade.drain);
            flag(&mut options, "restore-database", upgrade.restore_database);
        }
        OperationRequest::SelfUpgrade(upgrade) => {
            text(&mut options, "version", upgrade.version.as_ref());
            text(&mut options, "source", upgrade.source.as_ref());
            text(&mut options, "sha256", upgrade.sha256.as_ref());
            flag(&mut options, "rollback", upgrade.rollback);
        }
        OperationRequest::SelfInstall(_)
        | OperationRequest::SelfUninstall
        | OperationRequest::Repair(_) => {}
    }
    flag(&mut options, "dry-run", common.dry_run);
    text(&mut options, "request-id", common.request_id.as_ref());
    text(
        &mut options,
        "expected-current",
        common.expected_current.as_ref(),
    );
    text(&mut options, "reason", common.reason.as_ref());
    number(&mut options, "deadline", common.deadline);
    options
}

/// Adds an option that is only sent when it is set, so that older daemons need not know it.
fn text<'a>(options: &mut Options<'a>, key: &'static str, value: Option<&'a String>) {
    if let Some(value) = value {
        options.insert(key, Value::from(value.as_str()));
    }
}

/// Adds a number that is only sent when it is set.
fn number(options: &mut Options<'_>, key: &'static str, value: Option<u64>) {
    if let Some(value) = value {
        options.insert(key, Value::from(value));
    }
}

/// Adds a switch that is only sent when it is on.
fn flag(options: &mut Options<'_>, key: &'static str, on: bool) {
    if on {
        options.insert(key, Value::from(true));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{InstallRequest, RollbackRequest, SwitchRequest, UninstallRequest};

    #[test]
    fn only_options_that_are_set_are_sent() {
        let install = OperationRequest::Install(InstallRequest {
            version: Some("2.26.3".to_owned()),
            adopt: true,
            ..InstallRequest::default()
        });
        let common = RequestOptions {
            request_id: Some("a".to_owned()),
            deadline: Some(60),
            ..RequestOptions::default()
        };
        let mut keys: Vec<_> = options(&install, &common).into_keys().collect();
        keys.sort_unstable();
        assert_eq!(keys, ["adopt", "deadline", "request-id", "version"]);
        let uninstall = OperationRequest::Uninstall(UninstallRequest { keep_store: true });
        let none = RequestOptions::default();
        assert_eq!(
            options(&uninstall, &none).into_keys().collect::<Vec<_>>(),
            ["keep-store"]
        );
    }

    #[test]
    fn a_switch_is_an_argument_and_options() {
        let request = OperationRequest::Switch(SwitchRequest {
            toplevel: "/nix/store/x".to_owned(),
            from: Some("https://cache.example".to_owned()),
            strategy: Strategy::Stepwise,
            budget: Some(1 << 30),
            drop_old: true,
            allow_downtime: true,
            soak: Some(0),
            confirm_within: Some(20),
        });
        let common = RequestOptions::default();
        let options = options(&request, &common);
        let mut keys: Vec<_> = options.keys().copied().collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "allow-downtime",
                "budget",
                "confirm-within",
                "drop-old",
                "from",
                "soak",
                "strategy"
            ]
        );
        assert_eq!(options["strategy"], Value::from("stepwise"));
        assert_eq!(argument(&request), "/nix/store/x");
        for (to, expected) in [(None, ""), (Some(7), "7")] {
            let request = OperationRequest::Rollback(RollbackRequest {
                to,
                ..RollbackRequest::default()
            });
            assert_eq!(argument(&request), expected);
        }
    }
}

//! The `a{sv}` at the end of each method, as a typed request.
//!
//! An option that is not known or of another type is refused by name: a caller must never believe
//! that a safety option was understood when it was not.

use std::collections::HashMap;

use nixctl_proto::health::Target;
use nixctl_proto::request::{
    InstallRequest, OperationRequest, RepairRequest, RequestOptions, RollbackRequest,
    SelfUpgradeRequest, Strategy, SwitchRequest, UninstallRequest, UpgradeRequest,
};
use nixctl_proto::{Code, Failure};
use zbus::zvariant::{OwnedValue, Value};

use crate::serve::request::invalid;

/// Options as they come from the bus; each is taken out when it is understood.
pub type Options = HashMap<String, OwnedValue>;

/// The request and options of `Install`.
pub fn install(mut options: Options) -> Result<(OperationRequest, RequestOptions), Failure> {
    let request = InstallRequest {
        version: text(&mut options, "version")?,
        source: text(&mut options, "source")?,
        sha256: text(&mut options, "sha256")?,
        adopt: flag(&mut options, "adopt")?,
        single_user: flag(&mut options, "single-user")?,
    };
    Ok((OperationRequest::Install(request), common(options)?))
}

/// The request and options of `Upgrade`.
pub fn upgrade(mut options: Options) -> Result<(OperationRequest, RequestOptions), Failure> {
    let request = UpgradeRequest {
        version: text(&mut options, "version")?,
        source: text(&mut options, "source")?,
        sha256: text(&mut options, "sha256")?,
        rollback: flag(&mut options, "rollback")?,
        drain: number(&mut options, "drain")?,
        may_be_older: false,
        restore_database: flag(&mut options, "restore-database")?,
    };
    Ok((OperationRequest::Upgrade(request), common(options)?))
}

/// The request and options of `UpgradeSelf`.
pub fn upgrade_self(mut options: Options) -> Result<(OperationRequest, RequestOptions), Failure> {
    let request = SelfUpgradeRequest {
        version: text(&mut options, "version")?,
        source: text(&mut options, "source")?,
        sha256: text(&mut options, "sha256")?,
        rollback: flag(&mut options, "rollback")?,
        may_be_older: false,
    };
    Ok((OperationRequest::SelfUpgrade(request), common(options)?))
}

/// The request and options of `Uninstall`.
pub fn uninstall(mut options: Options) -> Result<(OperationRequest, RequestOptions), Failure> {
    let request = UninstallRequest {
        keep_store: flag(&mut options, "keep-store")?,
    };
    Ok((OperationRequest::Uninstall(request), common(options)?))
}

/// The request and options of `Switch`.
pub fn switch(
    toplevel: String,
    mut options: Options,
) -> Result<(OperationRequest, RequestOptions), Failure> {
    let strategy = match text(&mut options, "strategy")? {
        Some(word) => word
            .parse()
            .map_err(|why| invalid("strategy", &word, why))?,
        None => Strategy::default(),
    };
    let request = SwitchRequest {
        toplevel,
        from: text(&mut options, "from")?,
        strategy,
        budget: number(&mut options, "budget")?,
        drop_old: flag(&mut options, "drop-old")?,
        allow_downtime: flag(&mut options, "allow-downtime")?,
        soak: number(&mut options, "soak")?,
        confirm_within: number(&mut options, "confirm-within")?,
    };
    Ok((OperationRequest::Switch(request), common(options)?))
}

/// The request and options of `Rollback`; 0 stands for no number.
pub fn rollback(
    generation: u64,
    mut options: Options,
) -> Result<(OperationRequest, RequestOptions), Failure> {
    let request = RollbackRequest {
        to: (generation != 0).then_some(generation),
        from: text(&mut options, "from")?,
        after_boot: None,
    };
    Ok((OperationRequest::Rollback(request), common(options)?))
}

/// The request and options of `Repair`.
pub fn repair<'a>(
    findings: impl Iterator<Item = &'a str>,
    options: Options,
) -> Result<(OperationRequest, RequestOptions), Failure> {
    let request = RepairRequest {
        targets: findings.map(Target::from).collect(),
        automatic: false,
    };
    Ok((OperationRequest::Repair(request), common(options)?))
}

/// The request that `Plan` is about. The argument is what is most often said: for an install or an
/// upgrade its version or source, for a switch its toplevel, for a rollback the number, for a repair the
/// findings, a line each.
pub fn plan(kind: &str, argument: &str, options: Options) -> Result<OperationRequest, Failure> {
    match kind {
        "install" => Ok(install(with_release(argument, options)?)?.0),
        "upgrade" => Ok(upgrade(with_release(argument, options)?)?.0),
        "self-upgrade" => Ok(upgrade_self(with_release(argument, options)?)?.0),
        "uninstall" if argument.is_empty() => Ok(uninstall(options)?.0),
        "uninstall" => Err(invalid("argument", argument, "an uninstall has none")),
        "switch" => Ok(switch(argument.to_owned(), options)?.0),
        "rollback" => {
            let generation = match argument {
                "" => 0,
                text => text
                    .parse()
                    .map_err(|_| invalid("argument", text, "a generation is a number"))?,
            };
            Ok(rollback(generation, options)?.0)
        }
        "repair" => Ok(repair(argument.lines(), options)?.0),
        _ => {
            let why = "the kinds are install, uninstall, upgrade, self-upgrade, switch, rollback and repair";
            Err(invalid("kind", kind, why))
        }
    }
}

/// The options with the argument as their version or source.
fn with_release(argument: &str, mut options: Options) -> Result<Options, Failure> {
    if argument.is_empty() {
        return Ok(options);
    }
    let name = if argument.contains('/') {
        "source"
    } else {
        "version"
    };
    let owned = OwnedValue::try_from(Value::from(argument)).map_err(|e| wrong_type(name, &e))?;
    match options.insert(name.to_owned(), owned) {
        Some(_) => Err(invalid(name, argument, "it is given as an option too")),
        None => Ok(options),
    }
}

/// The options that every method takes, and no others left.
fn common(mut options: Options) -> Result<RequestOptions, Failure> {
    let common = RequestOptions {
        dry_run: flag(&mut options, "dry-run")?,
        request_id: text(&mut options, "request-id")?,
        expected_current: text(&mut options, "expected-current")?,
        deadline: number(&mut options, "deadline")?,
        reason: text(&mut options, "reason")?,
    };
    match options.into_keys().min() {
        None => Ok(common),
        Some(name) => {
            let name: String = name.chars().filter(|c| !c.is_control()).take(80).collect();
            let text = format!("cannot use the option `{name}`: it is not known");
            Err(Failure::new(Code::UnknownOption, text))
        }
    }
}

fn text(options: &mut Options, name: &str) -> Result<Option<String>, Failure> {
    take(options, name)
}

fn number(options: &mut Options, name: &str) -> Result<Option<u64>, Failure> {
    take(options, name)
}

fn flag(options: &mut Options, name: &str) -> Result<bool, Failure> {
    Ok(take(options, name)?.unwrap_or(false))
}

fn take<T>(options: &mut Options, name: &str) -> Result<Option<T>, Failure>
where
    T: TryFrom<OwnedValue, Error = zbus::zvariant::Error>,
{
    match options.remove(name) {
        Some(value) => T::try_from(value)
            .map(Some)
            .map_err(|error| wrong_type(name, &error)),
        None => Ok(None),
    }
}

fn wrong_type(name: &str, error: &zbus::zvariant::Error) -> Failure {
    let text = format!("cannot use the option `{name}`: it has the wrong type ({error})");
    Failure::new(Code::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(list: &[(&str, Value<'_>)]) -> Options {
        list.iter()
            .map(|(k, v)| ((*k).to_owned(), OwnedValue::try_from(v).unwrap()))
            .collect()
    }

    #[test]
    fn every_option_arrives_in_its_place() {
        let (request, common) = install(options(&[
            ("version", "2.34.8".into()),
            ("source", "/x".into()),
            ("sha256", "ab".into()),
            ("adopt", true.into()),
            ("single-user", true.into()),
            ("dry-run", true.into()),
            ("request-id", "r".into()),
            ("expected-current", "".into()),
            ("deadline", 60u64.into()),
            ("reason", "why".into()),
        ]))
        .unwrap();
        let expected = InstallRequest {
            version: Some("2.34.8".to_owned()),
            source: Some("/x".to_owned()),
            sha256: Some("ab".to_owned()),
            adopt: true,
            single_user: true,
        };
        assert_eq!(request, OperationRequest::Install(expected));
        let expected = RequestOptions {
            dry_run: true,
            request_id: Some("r".to_owned()),
            expected_current: Some(String::new()),
            deadline: Some(60),
            reason: Some("why".to_owned()),
        };
        assert_eq!(common, expected);
        let (request, _) = uninstall(options(&[("keep-store", true.into())])).unwrap();
        let expected = UninstallRequest { keep_store: true };
        assert_eq!(request, OperationRequest::Uninstall(expected));
        assert_eq!(
            install(Options::new()).unwrap().1,
            RequestOptions::default()
        );
    }

    #[test]
    fn unknown_options_and_wrong_types_are_named() {
        for (result, code, name) in [
            (
                install(options(&[("dry_run", true.into())])),
                Code::UnknownOption,
                "`dry_run`",
            ),
            (
                install(options(&[("keep-store", true.into())])),
                Code::UnknownOption,
                "`keep-store`",
            ),
            (
                uninstall(options(&[("source", "/x".into())])),
                Code::UnknownOption,
                "`source`",
            ),
            (
                install(options(&[("adopt", "yes".into())])),
                Code::InvalidArgument,
                "`adopt`",
            ),
            (
                install(options(&[("deadline", 60u32.into())])),
                Code::InvalidArgument,
                "`deadline`",
            ),
            (
                install(options(&[("source", 1u8.into())])),
                Code::InvalidArgument,
                "`source`",
            ),
        ] {
            let failure = result.unwrap_err();
            assert_eq!(failure.code, code);
            assert!(failure.message.contains(name), "{}", failure.message);
        }
    }

    #[test]
    fn a_switch_has_its_own_options() {
        let all = options(&[
            ("from", "https://a.example".into()),
            ("strategy", "stepwise".into()),
            ("budget", 5u64.into()),
            ("drop-old", true.into()),
            ("allow-downtime", true.into()),
            ("soak", 6u64.into()),
            ("confirm-within", 7u64.into()),
            ("dry-run", true.into()),
        ]);
        let (request, common) = switch("/x".to_owned(), all).unwrap();
        let expected = SwitchRequest {
            toplevel: "/x".to_owned(),
            from: Some("https://a.example".to_owned()),
            strategy: Strategy::Stepwise,
            budget: Some(5),
            drop_old: true,
            allow_downtime: true,
            soak: Some(6),
            confirm_within: Some(7),
        };
        assert_eq!(request, OperationRequest::Switch(expected));
        assert!(common.dry_run);
        for (option, code) in [
            (("strategy", Value::from("quick")), Code::InvalidArgument),
            (("budget", Value::from(5u32)), Code::InvalidArgument),
            (("confirm", Value::from(5u64)), Code::UnknownOption),
        ] {
            let name = option.0;
            let failure = switch("/x".to_owned(), options(&[option])).unwrap_err();
            assert_eq!(failure.code, code);
            assert!(failure.message.contains(name), "{}", failure.message);
        }
        for (number, to) in [(0, None), (7, Some(7))] {
            let from = options(&[("from", "/srv/cache".into())]);
            let (request, _) = rollback(number, from).unwrap();
            let expected = RollbackRequest {
                to,
                from: Some("/srv/cache".to_owned()),
                after_boot: None,
            };
            assert_eq!(request, OperationRequest::Rollback(expected));
        }
        assert!(rollback(0, options(&[("soak", 1u64.into())])).is_err());
    }

    #[test]
    fn plans_take_their_argument() {
        let source = |request| match request {
            OperationRequest::Install(install) => (install.version, install.source),
            other => panic!("{other:?}"),
        };
        let none = Options::new;
        assert_eq!(source(plan("install", "", none()).unwrap()), (None, None));
        let version = Some("2.26.3".to_owned());
        assert_eq!(
            source(plan("install", "2.26.3", none()).unwrap()),
            (version, None)
        );
        let path = Some("/srv/x".to_owned());
        assert_eq!(
            source(plan("install", "/srv/x", none()).unwrap()),
            (None, path)
        );
        assert!(plan("uninstall", "", none()).is_ok());
        assert!(plan("uninstall", "x", none()).is_err());
        let to = |request| match request {
            OperationRequest::Switch(switch) => switch.toplevel,
            OperationRequest::Rollback(rollback) => format!("{:?}", rollback.to),
            other => panic!("{other:?}"),
        };
        assert_eq!(to(plan("switch", "/x", none()).unwrap()), "/x");
        assert_eq!(to(plan("rollback", "", none()).unwrap()), "None");
        assert_eq!(to(plan("rollback", "7", none()).unwrap()), "Some(7)");
        assert!(plan("rollback", "seven", none()).is_err());
        let findings = |argument| match plan("repair", argument, none()).unwrap() {
            OperationRequest::Repair(repair) => repair.targets,
            other => panic!("{other:?}"),
        };
        assert_eq!(findings(""), []);
        let two = ["conf.syntax", "mounts.not-mounted:/nix"];
        assert_eq!(findings(&two.join("\n")), two.map(Target::from));
        assert!(plan("repair", "", options(&[("adopt", true.into())])).is_err());
        assert!(plan("explode", "", none()).is_err());
        assert!(plan("install", "/a", options(&[("source", "/b".into())])).is_err());
    }
}

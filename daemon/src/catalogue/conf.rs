//! Our settings in /etc/nix/nix.conf, each with the reason that is written above it.

use nixctl_proto::request::InstallRequest;
use nixctl_proto::settings::InstallSettings;

use super::container::Shape;
use super::facts::Facts;
use crate::resource::nix_conf::{NixConf, Setting};

/// File that belongs to the user; it is included last, so that it wins, and never written.
pub const CUSTOM_CONF: &str = "nix.custom.conf";

/// The settings of an install.
pub fn nix_conf(facts: &Facts, settings: &InstallSettings, request: &InstallRequest) -> NixConf {
    let mut list = vec![
        build_users(Shape::of(facts, request), settings),
        setting("max-jobs", "auto", ""),
        setting("extra-experimental-features", "nix-command flakes", ""),
    ];
    if let Some(bundle) = ca_bundle(facts, settings) {
        let reason = "CA certificates of this machine, for the daemon, which has no environment";
        list.push(setting("ssl-cert-file", &bundle, reason));
    }
    // An image is not the machine that will build, so nothing was tried.
    if !facts.is_image() {
        let enabled = if facts.sandbox.enabled {
            "true"
        } else {
            "false"
        };
        list.push(setting("sandbox", enabled, &facts.sandbox.reason));
    }
    // Malformed lines are refused before anything is done.
    list.extend(extra(&settings.extra_conf).unwrap_or_default());
    NixConf {
        settings: list,
        includes: vec![CUSTOM_CONF.to_owned()],
    }
}

/// The lines of `[install] extra_conf` as settings.
///
/// # Errors
/// The first line that is not `key = value`.
pub fn extra(lines: &[String]) -> Result<Vec<Setting>, String> {
    lines
        .iter()
        .map(|line| {
            let (key, value) = line.split_once('=').ok_or_else(|| line.clone())?;
            let (key, value) = (key.trim(), value.trim());
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            let valid = !key.is_empty() && key.chars().all(plain) && !value.contains(['\n', '\r']);
            valid
                .then(|| setting(key, value, ""))
                .ok_or_else(|| line.clone())
        })
        .collect()
}

fn build_users(shape: Shape, settings: &InstallSettings) -> Setting {
    match shape {
        Shape::SingleUser => setting(
            "build-users-group",
            "",
            "a single-user install: builds run as root",
        ),
        _ => setting("build-users-group", &settings.build_group, ""),
    }
}

fn ca_bundle(facts: &Facts, settings: &InstallSettings) -> Option<String> {
    if !settings.ssl_cert_file.is_empty() {
        return Some(settings.ssl_cert_file.clone());
    }
    facts
        .ca_bundle
        .as_ref()
        .map(|path| path.display().to_string())
}

fn setting(key: &str, value: &str, reason: &str) -> Setting {
    Setting {
        key: key.to_owned(),
        value: value.to_owned(),
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::SandboxFact;

    fn values(
        facts: &Facts,
        settings: &InstallSettings,
        single_user: bool,
    ) -> Vec<(String, String)> {
        let request = InstallRequest {
            single_user,
            ..InstallRequest::default()
        };
        let conf = nix_conf(facts, settings, &request);
        assert_eq!(conf.includes, ["nix.custom.conf"]);
        conf.settings
            .into_iter()
            .map(|setting| (setting.key, setting.value))
            .collect()
    }

    fn has(list: &[(String, String)], key: &str, value: &str) -> bool {
        list.iter().any(|(k, v)| k == key && v == value)
    }

    #[test]
    fn a_plain_machine() {
        let list = values(&Facts::plain_debian(), &InstallSettings::default(), false);
        assert!(has(&list, "build-users-group", "nixbld"));
        assert!(has(&list, "max-jobs", "auto"));
        assert!(has(
            &list,
            "extra-experimental-features",
            "nix-command flakes"
        ));
        assert!(has(
            &list,
            "ssl-cert-file",
            "/etc/ssl/certs/ca-certificates.crt"
        ));
        assert!(has(&list, "sandbox", "true"));
        assert_eq!(list.len(), 5);
    }

    #[test]
    fn sandbox_bundle_and_extra_lines_follow_facts_and_settings() {
        let sandbox = SandboxFact {
            enabled: false,
            reason: "it was refused".to_owned(),
        };
        let facts = Facts {
            sandbox,
            ca_bundle: None,
            ..Facts::plain_debian()
        };
        let mut settings = InstallSettings::default();
        let list = values(&facts, &settings, true);
        assert!(has(&list, "build-users-group", "") && has(&list, "sandbox", "false"));
        assert!(!list.iter().any(|(key, _)| key == "ssl-cert-file"));
        let conf = nix_conf(&facts, &settings, &InstallRequest::default());
        assert!(
            conf.settings
                .iter()
                .any(|s| s.key == "sandbox" && s.reason == "it was refused")
        );
        settings.ssl_cert_file = "/etc/corp.pem".to_owned();
        settings.extra_conf = vec!["sandbox-paths = /bin/sh=/x".to_owned()];
        let list = values(&facts, &settings, false);
        assert!(has(&list, "ssl-cert-file", "/etc/corp.pem"));
        assert!(has(&list, "sandbox-paths", "/bin/sh=/x"));
    }

    #[test]
    fn lines_that_are_no_settings_are_named() {
        let lines = |text: &str| extra(&[text.to_owned()]);
        assert!(lines("cores = 4").is_ok() && lines("a=").is_ok());
        for bad in ["cores", "= 4", "a b = 4", "a = 4\nb = 5", "!include x = y"] {
            assert_eq!(lines(bad), Err(bad.to_owned()));
        }
    }
}

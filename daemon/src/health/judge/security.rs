//! Labels and the sandbox.

use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::conf::NIX_CONF;
use crate::health::look::security::{SandboxFacts, SelinuxFacts};
use crate::health::mend::Mend;
use crate::health::mend::conf_line::ConfLine;
use crate::health::mend::nix_repair::Relabel;
use crate::resource::Presence;

/// Paths that a sentence lists.
const NAMED: usize = 3;

pub(super) fn selinux(facts: &SelinuxFacts) -> Vec<Found> {
    let mut found = Vec::new();
    let missing = facts
        .module
        .as_ref()
        .filter(|(_, it)| *it != Presence::Present);
    if let Some((resource, _)) = missing {
        found.push(
            Found::new(Check::ModuleMissing, resource.describe().id)
                .seen("the policy module is not loaded")
                .expected("loaded")
                .ensure(resource.clone()),
        );
    }
    if !facts.wrong.is_empty() {
        let shown: Vec<&str> = facts.wrong.iter().take(NAMED).map(String::as_str).collect();
        let relabel = Relabel {
            path: "/nix".into(),
        };
        found.push(
            Found::new(Check::Labels, "/nix")
                .seen(format!("{} have other labels", shown.join(", ")))
                .expected("the labels of the policy")
                .mend(Mend::Relabel(relabel)),
        );
    }
    found
}

pub(super) fn sandbox(facts: &SandboxFacts) -> Vec<Found> {
    // Without a reason nothing was tried.
    if !facts.is_owned || facts.reason.is_empty() {
        return Vec::new();
    }
    let value = facts.setting.as_ref().map(|it| it.value.as_str());
    let is_used = !matches!(value, Some("false" | "relaxed"));
    let found = |check| {
        Found::new(check, "sandbox")
            .seen(&facts.reason)
            .expected("builds in a sandbox")
    };
    let instead = |value: &str| vec![format!("sandbox = {value}")];
    match (is_used, facts.works) {
        (true, false) => vec![changed(
            found(Check::SandboxBroken),
            facts,
            instead("false"),
        )],
        (false, true) if value == Some("false") => {
            vec![changed(found(Check::SandboxUnused), facts, instead("true"))]
        }
        (true, true) | (false, _) => Vec::new(),
    }
}

/// The line is exchanged; where there is none, a person adds one.
fn changed(found: Found, facts: &SandboxFacts, instead: Vec<String>) -> Found {
    match &facts.setting {
        None => found.help(format!("add `{}` to {NIX_CONF}", instead.join(""))),
        Some(setting) => found.mend(Mend::ConfLine(ConfLine {
            file: setting.file.clone(),
            line: setting.line.clone(),
            why: facts.reason.clone(),
            instead,
        })),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::ids;
    use super::*;
    use crate::health::look::conf::Setting;
    use crate::resource::Resource;
    use crate::resource::selinux::Selinux;

    fn facts(works: bool, value: Option<&str>) -> SandboxFacts {
        SandboxFacts {
            works,
            reason: "it was tried".to_owned(),
            setting: value.map(|value| Setting {
                file: NIX_CONF.into(),
                line: format!("sandbox = {value}"),
                key: "sandbox".to_owned(),
                value: value.to_owned(),
            }),
            is_owned: true,
        }
    }

    #[test]
    fn the_setting_has_to_fit_the_machine() {
        for (works, value, expected, cures) in [
            (true, None, "", 0),
            (true, Some("true"), "", 0),
            (true, Some("relaxed"), "", 0),
            (false, Some("false"), "", 0),
            (false, Some("true"), "sandbox.broken sandbox", 1),
            (false, None, "sandbox.broken sandbox", 0),
            (true, Some("false"), "sandbox.unused sandbox", 1),
        ] {
            let found = sandbox(&facts(works, value));
            assert_eq!(ids(&found).join(""), expected);
            assert_eq!(found.first().map_or(0, |it| it.cures.len()), cures);
        }
        let mut untried = facts(true, Some("false"));
        untried.reason.clear();
        assert_eq!(sandbox(&untried), []);
        let mut others = facts(false, Some("true"));
        others.is_owned = false;
        assert_eq!(sandbox(&others), []);
    }

    #[test]
    fn policy_and_labels() {
        let module = Resource::Selinux(Selinux {
            module: "nixctl".to_owned(),
        });
        let mut facts = SelinuxFacts {
            is_enabled: true,
            module: Some((module.clone(), Presence::Present)),
            wrong: Vec::new(),
        };
        assert_eq!(selinux(&facts), []);
        facts.module = Some((module, Presence::Absent));
        facts.wrong = vec!["/nix".to_owned()];
        assert_eq!(
            ids(&selinux(&facts)),
            [
                "selinux.module-missing selinux:nixctl",
                "selinux.labels /nix"
            ]
        );
    }
}

//! SELinux labels, and whether builds can be sandboxed.

use std::path::Path;
use std::time::Duration;

use super::conf::{self, Setting};
use super::{Expected, Result, Scene};
use crate::catalogue::facts::links::{exists, read_text};
use crate::catalogue::facts::sandbox::probe;
use crate::host::{Command, ExecError};
use crate::resource::{Presence, Resource};

const ENFORCE: &str = "/sys/fs/selinux/enforce";
/// Files that systemd has to be able to use: if these are right, the rest was labelled with them.
const SAMPLES: [&str; 7] = [
    "/nix",
    "/nix/store",
    "/nix/var",
    "/nix/var/nix/daemon-socket",
    "/nix/var/nix/profiles",
    "/etc/systemd/system/nix-daemon.service",
    "/etc/systemd/system/nix-daemon.socket",
];
const DEADLINE: Duration = Duration::from_secs(30);

/// SELinux.
#[derive(Debug, Clone, PartialEq)]
pub struct SelinuxFacts {
    /// Whether the kernel has it switched on.
    pub is_enabled: bool,
    /// The policy module that nixctl owns, and what its probe saw.
    pub module: Option<(Resource, Presence)>,
    /// Files with another label than the policy says.
    pub wrong: Vec<String>,
}

/// The sandbox of builds.
#[derive(Debug, Clone, PartialEq)]
pub struct SandboxFacts {
    /// Whether it can work here.
    pub works: bool,
    /// What was tried and what came of it.
    pub reason: String,
    /// The setting that counts, when there is one; Nix's own default is to use it.
    pub setting: Option<Setting>,
    /// Whether nixctl owns the settings.
    pub is_owned: bool,
}

pub(super) fn selinux(scene: &Scene<'_>, _expected: &Expected) -> Result<SelinuxFacts> {
    let host = scene.host;
    let mut facts = SelinuxFacts {
        is_enabled: exists(&host.fs, Path::new(ENFORCE))?,
        module: None,
        wrong: Vec::new(),
    };
    let owned = scene
        .owned
        .iter()
        .find(|resource| matches!(resource, Resource::Selinux(_)));
    let Some(module) = owned.filter(|_| facts.is_enabled) else {
        return Ok(facts);
    };
    // Listing the modules of a policy takes a second.
    if scene.is_deep {
        facts.module = Some((module.clone(), module.probe(host)?));
    }
    let mut there = Vec::new();
    for path in SAMPLES {
        if host.fs.meta(Path::new(path))?.is_some() {
            there.push(path);
        }
    }
    let command = Command::new("restorecon")
        .arg("-n")
        .arg("-v")
        .args(there)
        .deadline(DEADLINE);
    match host.exec.output(&command, scene.cancel) {
        Ok(output) => facts.wrong = output.text().lines().filter_map(relabelled).collect(),
        Err(ExecError::Missing { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(facts)
}

/// `Would relabel /nix from a to b`; older ones say `restorecon reset /nix context a->b`.
fn relabelled(line: &str) -> Option<String> {
    let rest = line
        .strip_prefix("Would relabel ")
        .or_else(|| line.strip_prefix("restorecon reset "))?;
    rest.split_whitespace().next().map(str::to_owned)
}

pub(super) fn sandbox(scene: &Scene<'_>, expected: &Expected) -> Result<SandboxFacts> {
    let mut facts = SandboxFacts {
        works: true,
        reason: String::new(),
        setting: None,
        is_owned: expected.conf.is_some(),
    };
    // Trying it takes processes with namespaces of their own.
    if !facts.is_owned || !scene.is_deep {
        return Ok(facts);
    }
    let path = Path::new(conf::NIX_CONF);
    let text = read_text(&scene.host.fs, path, 1 << 20)?.unwrap_or_default();
    facts.setting = conf::parse(path, &text)
        .into_iter()
        .filter_map(|item| match item {
            conf::ConfText::Set(setting) if setting.key == "sandbox" => Some(setting),
            _ => None,
        })
        .next_back();
    let tried = probe(scene.host, scene.cancel)?;
    facts.works = tried.enabled;
    facts.reason = tried.reason;
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::resource::nix_conf::NixConf;
    use crate::resource::selinux::Selinux;

    fn module() -> Resource {
        let module = "nixctl".to_owned();
        Resource::Selinux(Selinux { module })
    }

    fn selinux_of(machine: &Machine) -> SelinuxFacts {
        match look_at(machine, &[module()], Area::Selinux) {
            Facts::Selinux(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn module_and_labels_are_asked_for() {
        let machine = Machine::new()
            .file(ENFORCE, "1")
            .directory("/nix/store")
            .answer("semodule -l", 0, "abrt\n", "")
            .answer(
                "restorecon -n",
                0,
                "Would relabel /nix/store from a:b:default_t:s0 to a:b:usr_t:s0\n",
                "",
            );
        let facts = selinux_of(&machine);
        assert!(facts.is_enabled);
        assert!(matches!(facts.module, Some((_, Presence::Absent))));
        assert_eq!(facts.wrong, ["/nix/store"]);
    }

    #[test]
    fn where_it_is_off_nothing_is_asked() {
        let facts = selinux_of(&Machine::new().tool("restorecon"));
        assert!(!facts.is_enabled && facts.module.is_none() && facts.wrong.is_empty());
    }

    #[test]
    fn the_sandbox_is_tried_and_held_against_the_setting() {
        let conf = Resource::NixConf(NixConf {
            settings: Vec::new(),
            includes: Vec::new(),
        });
        let machine = Machine::new()
            .file(conf::NIX_CONF, "sandbox = false\nsandbox = true\n")
            .answer("unshare", 1, "", "no\n");
        let Facts::Sandbox(facts) = look_at(&machine, &[conf], Area::Sandbox) else {
            panic!()
        };
        assert!(!facts.works && facts.is_owned);
        assert_eq!(facts.setting.unwrap().value, "true");
    }
}

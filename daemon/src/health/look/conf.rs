//! nix.conf as Nix reads it, the files it names, and what Nix itself says of it.

mod lines;

use std::path::{Path, PathBuf};

use super::{At, Expected, Result, Scene};
use crate::catalogue::facts::IdRange;
use crate::catalogue::facts::accounts::id_map;
use crate::catalogue::facts::links::exists;
use crate::catalogue::facts::shells::ca_bundle;
use crate::host::fs::Kind;
use crate::resource::nix_command;
use crate::resource::nix_conf::NixConf;
use crate::resource::{Presence, Resource};

pub use lines::{ConfText, Setting, WrongLine, parse};

/// The file.
pub const NIX_CONF: &str = "/etc/nix/nix.conf";
/// Largest settings file that is read, how many, and how deep they include each other.
const LIMIT: u64 = 1 << 20;
const MAX_FILES: usize = 16;
const MAX_DEPTH: usize = 4;

/// Settings that name files which have to be there.
pub(crate) const FILES: [&str; 5] = [
    "ssl-cert-file",
    "post-build-hook",
    "pre-build-hook",
    "netrc-file",
    "secret-key-files",
];

/// nix.conf.
#[derive(Debug, Clone, PartialEq)]
pub struct ConfFacts {
    /// The file itself.
    pub at: At,
    /// What it and the files that it includes set, in the order in which Nix reads them.
    pub settings: Vec<Setting>,
    /// Lines that Nix refuses.
    pub wrong: Vec<WrongLine>,
    /// Lines with `include` whose file is not there.
    pub lost_includes: Vec<WrongLine>,
    /// Settings that name a file which is not there, with that file.
    pub lost_files: Vec<(Setting, PathBuf)>,
    /// The machine's CA bundle.
    pub bundle: Option<PathBuf>,
    /// Our settings, and what their probe saw.
    pub ours: Option<(NixConf, Presence)>,
    /// The group that builds should use.
    pub group: Option<String>,
    /// The folder that it lies in.
    pub folder: At,
    /// Whether it is a link to nothing.
    pub is_lost_link: bool,
    /// Whether nix-daemon is a service, which goes on with the settings that it was started with.
    pub has_service: bool,
    /// User ids that exist here.
    pub uid_map: Vec<IdRange>,
    /// Why Nix refuses its settings; only when looked deeply.
    pub refusal: Option<String>,
    /// Settings that Nix does not know; only when looked deeply.
    pub unknown: Vec<String>,
}

impl ConfFacts {
    /// The setting that counts for a key: the last one.
    pub fn last(&self, key: &str) -> Option<&Setting> {
        self.settings.iter().rev().find(|it| it.key == key)
    }
}

pub(super) fn look(scene: &Scene<'_>, expected: &Expected) -> Result<ConfFacts> {
    let fs = &scene.host.fs;
    let ours = match &expected.conf {
        Some(conf) => Some((
            conf.clone(),
            Resource::NixConf(conf.clone()).probe(scene.host)?,
        )),
        None => None,
    };
    let mut facts = ConfFacts {
        at: At::look(fs, NIX_CONF)?,
        settings: Vec::new(),
        wrong: Vec::new(),
        lost_includes: Vec::new(),
        lost_files: Vec::new(),
        bundle: ca_bundle(fs)?,
        ours,
        group: expected.users.as_ref().map(|users| users.group.clone()),
        folder: At::look(fs, "/etc/nix")?,
        is_lost_link: false,
        has_service: expected.service.is_some(),
        uid_map: id_map(scene.host, "uid_map")?,
        refusal: None,
        unknown: Vec::new(),
    };
    facts.is_lost_link = facts.at.target.is_some() && !exists(fs, Path::new(NIX_CONF))?;
    if facts.at.is_file() {
        read(scene, Path::new(NIX_CONF), 0, &mut Vec::new(), &mut facts)?;
    }
    for key in FILES {
        // Earlier values are overwritten by later ones and do not count.
        let Some(setting) = facts.last(key).cloned() else {
            continue;
        };
        for path in setting.paths() {
            if !exists(fs, &path)? {
                facts.lost_files.push((setting.clone(), path));
            }
        }
    }
    if scene.is_deep {
        ask_nix(scene, expected, &mut facts)?;
    }
    Ok(facts)
}

/// Reads a file and, in their place, the files that it includes.
fn read(
    scene: &Scene<'_>,
    path: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
    facts: &mut ConfFacts,
) -> Result<()> {
    let fs = &scene.host.fs;
    if depth > MAX_DEPTH || files.len() >= MAX_FILES {
        return Ok(());
    }
    files.push(path.to_owned());
    let Some(followed) = crate::catalogue::facts::links::follow(fs, path)? else {
        return Ok(());
    };
    let is_file = fs
        .meta(&followed.path)?
        .is_some_and(|meta| meta.kind == Kind::File && meta.size <= LIMIT);
    if !is_file {
        return Ok(());
    }
    let bytes = fs.read(&followed.path, LIMIT)?.unwrap_or_default();
    for item in parse(path, &String::from_utf8_lossy(&bytes)) {
        match item {
            ConfText::Set(setting) => facts.settings.push(setting),
            ConfText::Wrong(line) => facts.wrong.push(line),
            ConfText::Include {
                target,
                is_needed,
                line,
            } => {
                if exists(fs, &target)? {
                    read(scene, &target, depth + 1, files, facts)?;
                } else if is_needed {
                    facts.lost_includes.push(line);
                }
            }
        }
    }
    Ok(())
}

/// Nix reads its settings and says what it does not like.
fn ask_nix(scene: &Scene<'_>, expected: &Expected, facts: &mut ConfFacts) -> Result<()> {
    let host = scene.host;
    let Some(manifest) = &expected.manifest else {
        return Ok(());
    };
    if !nix_command::is_there(host, manifest, "nix")? {
        return Ok(());
    }
    let args = [
        "--extra-experimental-features",
        "nix-command",
        "show-config",
    ];
    let command = nix_command::command(host, manifest, "nix", &args);
    let output = host.exec.output(&command, scene.cancel)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    facts.unknown = said.lines().filter_map(unknown_setting).collect();
    if output.code != 0 {
        facts.refusal = said.lines().find_map(refusal);
    }
    Ok(())
}

/// `warning: unknown setting 'x'`.
fn unknown_setting(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("warning: unknown setting '")?;
    rest.strip_suffix('\'').map(str::to_owned)
}

/// Why it ended, unless it is the question that it did not understand.
fn refusal(line: &str) -> Option<String> {
    let why = line.trim().strip_prefix("error:")?.trim();
    let is_about_us = why.contains("recognised command") || why.contains("unrecognised flag");
    (!is_about_us && !why.is_empty()).then(|| why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::payload::{Manifest, manifest_path};
    use crate::resource::profile::Profile;

    fn of(machine: &Machine, owned: &[Resource]) -> ConfFacts {
        match look_at(machine, owned, Area::Conf) {
            Facts::Conf(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn included_files_are_read_in_their_place() {
        let machine = Machine::new()
            .file(
                NIX_CONF,
                "cores = 1\n!include nix.custom.conf\n!include none.conf\ninclude gone.conf\n",
            )
            .file("/etc/nix/nix.custom.conf", "cores = 2\nnonsense\n");
        let facts = of(&machine, &[]);
        assert_eq!(facts.last("cores").unwrap().value, "2");
        assert_eq!(facts.wrong[0].file, Path::new("/etc/nix/nix.custom.conf"));
        assert_eq!(facts.lost_includes.len(), 1);
        assert_eq!(facts.lost_includes[0].line, "include gone.conf");
    }

    #[test]
    fn files_that_are_named_are_looked_for() {
        let machine = Machine::new()
            .file(
                NIX_CONF,
                "ssl-cert-file = /gone\nssl-cert-file = /etc/ssl/certs/ca-certificates.crt\n\
                 secret-key-files = /etc/a /etc/b\npost-build-hook = /bin/hook\n",
            )
            .file("/etc/ssl/certs/ca-certificates.crt", "x")
            .file("/etc/a", "");
        let facts = of(&machine, &[]);
        let lost: Vec<String> = facts
            .lost_files
            .iter()
            .map(|(setting, path)| format!("{} {}", setting.key, path.display()))
            .collect();
        assert_eq!(
            lost,
            ["post-build-hook /bin/hook", "secret-key-files /etc/b"]
        );
        assert!(facts.bundle.is_some());
    }

    #[test]
    fn files_that_include_each_other_end() {
        let machine = Machine::new().file(NIX_CONF, "include nix.conf\ncores = 1\n");
        assert!(!of(&machine, &[]).settings.is_empty());
        assert!(of(&Machine::new(), &[]).settings.is_empty());
    }

    #[test]
    fn nix_is_asked() {
        const NIX: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3";
        let manifest = Manifest {
            version: "2.26.3".to_owned(),
            nix: NIX.to_owned(),
            cacert: None,
            paths: Vec::new(),
            reginfo: String::new(),
            unpacked_bytes: 0,
            unpacked_inodes: 0,
        };
        let owned = [Resource::Profile(Profile {
            link: "/nix/var/nix/profiles/nixctl".into(),
            sha256: "aa".to_owned(),
        })];
        let machine = |code, said: &str| {
            let manifest = serde_json::to_string(&manifest).unwrap();
            Machine::new()
                .file(manifest_path("aa").to_str().unwrap(), &manifest)
                .file(&format!("{NIX}/bin/nix"), "")
                .directory("/proc/self")
                .file("/dev/ptmx", "")
                .answer("chroot", code, "", said)
        };
        let said = "warning: unknown setting 'coresx'\nerror: syntax error in line 'x'\n";
        let facts = of(&machine(1, said), &owned);
        assert_eq!(facts.unknown, ["coresx"]);
        assert_eq!(facts.refusal.as_deref(), Some("syntax error in line 'x'"));
        let facts = of(&machine(0, ""), &owned);
        assert_eq!((facts.unknown.len(), facts.refusal), (0, None));
        let said = "error: 'show-config' is not a recognised command\n";
        assert_eq!(of(&machine(1, said), &owned).refusal, None);
    }
}

//! Files that the user put under care, each with what is in its place.
//!
//! Contents may be secrets: of what should be there and of what is there only hashes leave this room.

use std::path::PathBuf;

use super::{Result, Scene};
use crate::health::managed::{ManagedError, files};
use crate::health::mend::managed::{Managed, Place};

/// The entries of `[[managed]]`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ManagedFacts {
    /// Files that can be kept.
    pub files: Vec<ManagedFact>,
    /// Files that cannot, and why.
    pub unusable: Vec<(PathBuf, String)>,
}

/// A file under care.
#[derive(Debug, Clone, PartialEq)]
pub struct ManagedFact {
    /// How it should be.
    pub wanted: Managed,
    /// Unit that is restarted when another content was written.
    pub restart: Option<String>,
    /// What is there.
    pub seen: Place,
}

pub(super) fn look(scene: &Scene<'_>) -> Result<ManagedFacts> {
    let (usable, errors) = files(&scene.settings.managed, scene.owned, scene.host);
    let why = |error: ManagedError| (error.path, error.why);
    let mut facts = ManagedFacts {
        files: Vec::new(),
        unusable: errors.into_iter().map(why).collect(),
    };
    for entry in usable {
        let wanted = Managed::of(&entry.file);
        match wanted.look(scene.host) {
            Ok(seen) => facts.files.push(ManagedFact {
                restart: entry.restart,
                wanted,
                seen,
            }),
            Err(error) if error.is_stopped() => return Err(error.into()),
            Err(error) => facts.unusable.push((wanted.path, error.to_string())),
        }
    }
    Ok(facts)
}

#[cfg(test)]
mod tests {
    use nixctl_proto::settings::{ManagedSettings, Settings};

    use super::super::{Area, Facts, look};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::host::Cancel;
    use crate::resource::testing::own_ids;

    fn entry(path: &str, source: Option<&str>) -> ManagedSettings {
        let (uid, gid) = own_ids();
        ManagedSettings {
            path: path.into(),
            content: source.is_none().then(|| "secret\n".to_owned()),
            source: source.map(str::to_owned),
            owner: format!("{uid}:{gid}"),
            restart: "a.service".to_owned(),
            ..ManagedSettings::default()
        }
    }

    #[test]
    fn what_is_there_is_told_without_its_content() {
        let machine = Machine::new()
            .file("/etc/right", "secret\n")
            .mode("/etc/right", 0o600)
            .file("/etc/open", "secret\n")
            .mode("/etc/open", 0o644)
            .file("/etc/other", "theirs")
            .link("/etc/link", "/etc/right")
            .directory("/etc/folder");
        let mut settings = Settings::default();
        let names = ["right", "open", "other", "link", "folder", "gone"];
        let paths = names.map(|name| format!("/etc/{name}"));
        settings.managed = paths.iter().map(|path| entry(path, None)).collect();
        settings.managed.push(entry("/etc/x", Some("/etc/none")));
        let (host, cancel) = (machine.host(), Cancel::default());
        let scene = Scene::bare(&host, &settings, &cancel);
        let Facts::Managed(facts) = look(&scene, Area::Managed).unwrap() else {
            panic!()
        };
        let seen: Vec<&Place> = facts.files.iter().map(|it| &it.seen).collect();
        let (uid, gid) = own_ids();
        let rights = |mode| crate::resource::file::Rights { mode, uid, gid };
        assert_eq!(
            seen,
            [
                &Place::Right,
                &Place::OtherRights(rights(0o644)),
                &Place::OtherContent(rights(0o644)),
                &Place::Link("/etc/right".into()),
                &Place::Strange("a directory"),
                &Place::Nothing,
            ]
        );
        assert_eq!(facts.unusable.len(), 1);
        assert!(facts.unusable[0].1.contains("is not there"));
        assert!(!format!("{facts:?}").contains("secret"));
    }
}

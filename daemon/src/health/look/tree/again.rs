//! Who may have the release again that our Nix came with.
//!
//! Where it was installed from comes first: a machine without a way to the release server was given
//! its Nix by somebody. Then the release server, which has it whatever it was installed from, and
//! last every Nix that may be left, to fetch single paths from its substituters.

use std::path::Path;

use super::super::{Expected, Result, Scene};
use super::links;
use crate::health::mend::refetch::Refetch;
use crate::payload::release::release_url;
use crate::payload::{Manifest, Source};

/// The profile of all users, in which there may be a Nix of theirs.
const USERS_PROFILE: &str = "/nix/var/nix/profiles/default";

/// How it is fetched again; `None` for a Nix that nixctl has not unpacked.
pub(super) fn look(scene: &Scene<'_>, expected: &Expected) -> Result<Option<Refetch>> {
    let sha256 = expected.profile.as_ref().map(|it| it.sha256.as_str());
    let archive = expected
        .archives
        .iter()
        .find(|it| Some(it.sha256.as_str()) == sha256);
    let Some(archive) = archive else {
        return Ok(None);
    };
    let settings = &scene.settings.install;
    let url = release_url(&settings.release_server, &archive.version, &archive.system);
    let recorded = scene.fetched.iter();
    let recorded = recorded.filter(|it| it.sha256 == archive.sha256);
    let sources = recorded
        .map(|it| it.source.clone())
        .chain(url.ok().map(Source::Url));
    Ok(Some(Refetch {
        sources: unique(sources),
        nix: unique(nixes(scene, expected)?),
        sha256: archive.sha256.clone(),
        version: archive.version.clone(),
        system: archive.system.clone(),
        store_gid: archive.store_gid,
        proxy: settings.proxy.clone(),
        ssl_cert_file: settings.ssl_cert_file.clone(),
    }))
}

/// Store paths with Nix's programs: the release's own, those of other releases, and that of users.
fn nixes(scene: &Scene<'_>, expected: &Expected) -> Result<Vec<String>> {
    let fs = &scene.host.fs;
    let mut found: Vec<String> = expected
        .manifest
        .iter()
        .map(|manifest| manifest.nix.clone())
        .collect();
    for archive in &expected.archives {
        found.extend(Manifest::load(fs, &archive.sha256)?.map(|it| it.nix));
    }
    let users = links::end(fs, Path::new(USERS_PROFILE))?;
    let users = users.filter(|end| end.starts_with("/nix/store"));
    found.extend(users.map(|end| end.display().to_string()));
    found.retain(|nix| fs.meta(Path::new(nix)).is_ok_and(|it| it.is_some()));
    Ok(found)
}

/// Each once, in the order in which they first come.
fn unique<T: PartialEq>(all: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut once = Vec::new();
    for one in all {
        if !once.contains(&one) {
            once.push(one);
        }
    }
    once
}

#[cfg(test)]
mod tests {
    use nixctl_proto::settings::Settings;

    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::host::Cancel;
    use crate::payload::{Archive, Release, manifest_path};
    use crate::resource::Resource;
    use crate::resource::payload::Payload;
    use crate::resource::profile::Profile;

    const SERVER: &str = "https://mirror.example/nix/nix-2.26.3/nix-2.26.3-x86_64-linux.tar.xz";

    fn owned() -> Vec<Resource> {
        let payload = |sha256: &str| {
            let archive = Archive {
                sha256: sha256.to_owned(),
                version: "2.26.3".to_owned(),
                system: "x86_64-linux".to_owned(),
                store_gid: 30_000,
            };
            Resource::Payload(Payload { archive })
        };
        let profile = Resource::Profile(Profile {
            link: "/nix/var/nix/profiles/nixctl".into(),
            sha256: "bb".to_owned(),
        });
        vec![payload("aa"), payload("bb"), profile]
    }

    fn fetched(sha256: &str, source: Source) -> Release {
        Release {
            source,
            sha256: sha256.to_owned(),
            size: None,
            version: "2.26.3".to_owned(),
            system: "x86_64-linux".to_owned(),
        }
    }

    fn of(machine: &Machine, owned: &[Resource], fetched: &[Release]) -> Option<Refetch> {
        let mut settings = Settings::default();
        settings.install.release_server = "https://mirror.example/".to_owned();
        let (host, cancel) = (machine.host(), Cancel::default());
        let scene = Scene {
            owned,
            fetched,
            ..Scene::bare(&host, &settings, &cancel)
        };
        look(&scene, &Expected::of(&scene).unwrap()).unwrap()
    }

    #[test]
    fn where_it_was_installed_from_comes_before_the_release_server() {
        let file = Source::Path("/srv/nix.tar.xz".into());
        let server = Source::Url(SERVER.to_owned());
        let sources = |from: &[Release]| of(&Machine::new(), &owned(), from).unwrap().sources;
        assert_eq!(sources(&[]), std::slice::from_ref(&server));
        let both = [fetched("aa", server.clone()), fetched("bb", file.clone())];
        assert_eq!(sources(&both), [file, server.clone()]);
        // It was installed from the release server.
        assert_eq!(sources(&[fetched("bb", server.clone())]), [server]);
        assert_eq!(of(&Machine::new(), &owned()[..1], &[]), None);
    }

    #[test]
    fn every_nix_that_is_left_may_help() {
        let path =
            |letter: char| format!("/nix/store/{}-nix-2.26.3", letter.to_string().repeat(32));
        let manifest = |letter| {
            let manifest = Manifest {
                version: "2.26.3".to_owned(),
                nix: path(letter),
                cacert: None,
                paths: vec![path(letter)],
                reginfo: String::new(),
                unpacked_bytes: 0,
                unpacked_inodes: 0,
            };
            serde_json::to_string(&manifest).unwrap()
        };
        let users = path('d');
        let machine = Machine::new()
            .file(manifest_path("aa").to_str().unwrap(), &manifest('a'))
            .file(manifest_path("bb").to_str().unwrap(), &manifest('b'))
            .directory(&path('a'))
            .directory(&users)
            .link(USERS_PROFILE, "default-1-link")
            .link("/nix/var/nix/profiles/default-1-link", &users);
        let nix = |machine: &Machine| of(machine, &owned(), &[]).unwrap().nix;
        assert_eq!(nix(&machine), [path('a'), users.clone()]);
        let machine = machine.directory(&path('b'));
        assert_eq!(nix(&machine), [path('b'), path('a'), users]);
    }
}

//! Which releases of Nix are owned, and which of them is in use. Pure.

use crate::catalogue::existing::OWN_PROFILE;
use crate::payload::Archive;
use crate::resource::Resource;

/// The release that our profile leads to; while there is no profile, the newest that was unpacked.
pub fn current<'a>(owned: impl Iterator<Item = &'a Resource> + Clone) -> Option<&'a Archive> {
    let profile = owned.clone().find_map(|resource| match resource {
        Resource::Profile(it) if it.link == std::path::Path::new(OWN_PROFILE) => Some(&it.sha256),
        _ => None,
    });
    let all = archives(owned);
    let of_profile = all.iter().find(|it| Some(&it.sha256) == profile);
    of_profile.or(all.last()).copied()
}

/// The release before it, which is still in the store.
pub fn previous<'a>(owned: impl Iterator<Item = &'a Resource> + Clone) -> Option<&'a Archive> {
    let current = current(owned.clone())?;
    let mut others = archives(owned).into_iter();
    others.rfind(|it| it.sha256 != current.sha256)
}

/// All of them, in the order in which they were unpacked.
pub fn archives<'a>(owned: impl Iterator<Item = &'a Resource>) -> Vec<&'a Archive> {
    let archive = |resource: &'a Resource| match resource {
        Resource::Payload(it) => Some(&it.archive),
        _ => None,
    };
    owned.filter_map(archive).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::payload::Payload;
    use crate::resource::profile::Profile;

    fn payload(sha256: &str) -> Resource {
        let archive = Archive {
            sha256: sha256.to_owned(),
            version: format!("2.{sha256}"),
            system: String::new(),
            store_gid: 0,
        };
        Resource::Payload(Payload { archive })
    }

    fn profile(sha256: &str) -> Resource {
        Resource::Profile(Profile {
            link: OWN_PROFILE.into(),
            sha256: sha256.to_owned(),
        })
    }

    #[test]
    fn the_profile_says_which_is_in_use() {
        for (owned, in_use, before) in [
            (vec![], None, None),
            (vec![payload("1")], Some("2.1"), None),
            (vec![payload("1"), payload("2")], Some("2.2"), Some("2.1")),
            (
                vec![payload("1"), payload("2"), profile("1")],
                Some("2.1"),
                Some("2.2"),
            ),
            (
                vec![payload("1"), profile("3"), payload("2"), payload("3")],
                Some("2.3"),
                Some("2.2"),
            ),
        ] {
            let version = |it: Option<&Archive>| it.map(|it| it.version.clone());
            assert_eq!(version(current(owned.iter())).as_deref(), in_use);
            assert_eq!(version(previous(owned.iter())).as_deref(), before);
        }
    }
}

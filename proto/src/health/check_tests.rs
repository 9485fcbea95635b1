use std::collections::BTreeSet;

use super::*;

#[test]
fn ids_are_unique_and_kebab_case() {
    let mut seen = BTreeSet::new();
    for check in Check::ALL {
        let id = check.id();
        assert!(seen.insert(id.clone()), "{id} appears twice");
        assert_eq!(Check::by_id(&id), Some(*check));
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with('-')
                && !part.ends_with('-')
                && part.chars().all(|c| c.is_ascii_lowercase() || c == '-')
        };
        assert!(
            id.split('.').count() == 2 && id.split('.').all(plain),
            "{id}"
        );
    }
    for id in ["", "mounts", "mounts.", "mounts.none", "daemon.not-mounted"] {
        assert_eq!(Check::by_id(id), None, "{id}");
    }
}

#[test]
fn a_wrong_id_has_a_nearest_one() {
    for (wrong, expected) in [
        ("mounts.notmounted", Some("mounts.not-mounted")),
        ("mount.not-mounted", Some("mounts.not-mounted")),
        ("daemon.maskd", Some("daemon.masked")),
        ("something-else-altogether", None),
    ] {
        assert_eq!(Check::nearest(wrong).as_deref(), expected, "{wrong}");
    }
}

#[test]
fn texts_are_there_and_read_well() {
    for check in Check::ALL {
        let (title, text) = (check.title(), check.explanation());
        assert!(
            title.len() < 80 && !title.ends_with('.'),
            "{check}: {title}"
        );
        assert!(text.len() > 60 && text.ends_with('.'), "{check}: {text}");
    }
}

#[test]
fn every_area_has_a_check_and_is_listed_once() {
    let listed: BTreeSet<Area> = Area::ALL.into_iter().collect();
    assert_eq!(listed.len(), Area::ALL.len());
    for area in Area::ALL {
        assert!(
            Check::ALL.iter().any(|check| check.area() == area),
            "{area:?}"
        );
    }
    assert!(
        Check::ALL
            .iter()
            .all(|check| listed.contains(&check.area()))
    );
}

#[test]
fn nothing_is_off_by_default() {
    assert!(Check::ALL.iter().all(|check| check.policy() != Policy::Off));
}

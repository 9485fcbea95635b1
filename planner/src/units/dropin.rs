//! Where the drop-ins of a unit are, and in which order they count.
//!
//! For `foo-bar@x.service` systemd looks into `foo-bar@x.service.d`, `foo-bar@.service.d`, then, as for the
//! template, `foo-.service.d`, then `foo-@x.service.d`, `foo-@.service.d` and `service.d`. Of files of one
//! name only the one in the most specific directory counts (a link to /dev/null or an empty file there
//! hides the others); what is left is applied in the order of the file names, whatever the directory.

use std::collections::BTreeMap;

use super::name::UnitName;

/// The drop-in directories of a unit, most specific first.
#[must_use]
pub fn directories(unit: &UnitName) -> Vec<String> {
    let kind = unit.kind().as_str();
    let mut found = Vec::new();
    if unit.is_template() {
        of_template(unit.prefix(), unit, kind, &mut found);
    } else if let Some(instance) = unit.instance() {
        for prefix in std::iter::once(unit.prefix()).chain(unit.dashed_prefixes()) {
            push(format!("{prefix}@{instance}.{kind}.d"), &mut found);
            of_template(prefix, unit, kind, &mut found);
        }
    } else {
        for prefix in std::iter::once(unit.prefix()).chain(unit.dashed_prefixes()) {
            push(format!("{prefix}.{kind}.d"), &mut found);
        }
    }
    push(format!("{kind}.d"), &mut found);
    found
}

/// The directory of a template, then those of its shorter prefixes, which have no `@` any more.
fn of_template(prefix: &str, unit: &UnitName, kind: &str, found: &mut Vec<String>) {
    push(format!("{prefix}@.{kind}.d"), found);
    let shorter = unit.dashed_prefixes().into_iter();
    for shorter in shorter.filter(|shorter| shorter.len() < prefix.len()) {
        push(format!("{shorter}.{kind}.d"), found);
    }
}

fn push(directory: String, found: &mut Vec<String>) {
    if !found.contains(&directory) {
        found.push(directory);
    }
}

/// The drop-ins that count, in the order they are applied. `directories` holds the files of each
/// drop-in directory, most specific directory first.
pub fn in_order<'a, T: 'a>(
    directories: impl IntoIterator<Item = &'a BTreeMap<String, T>>,
) -> impl Iterator<Item = (&'a str, &'a T)> {
    let mut chosen: BTreeMap<&str, &T> = BTreeMap::new();
    for directory in directories {
        for (file, content) in directory {
            chosen.entry(file).or_insert(content);
        }
    }
    chosen.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_of_each_kind_of_name() {
        for (name, expected) in [
            ("foo.service", vec!["foo.service.d", "service.d"]),
            (
                "a-b-c.mount",
                vec!["a-b-c.mount.d", "a-b-.mount.d", "a-.mount.d", "mount.d"],
            ),
            (
                "foo@1.2.service",
                vec!["foo@1.2.service.d", "foo@.service.d", "service.d"],
            ),
            // As systemd 257 has them (`DropInPaths`, the first of nine equal names taken away each time).
            (
                "q-b-c@x.service",
                vec![
                    "q-b-c@x.service.d",
                    "q-b-c@.service.d",
                    "q-b-.service.d",
                    "q-.service.d",
                    "q-b-@x.service.d",
                    "q-b-@.service.d",
                    "q-@x.service.d",
                    "q-@.service.d",
                    "service.d",
                ],
            ),
            ("foo@.timer", vec!["foo@.timer.d", "timer.d"]),
        ] {
            assert_eq!(
                directories(&UnitName::new(name).unwrap()),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn the_most_specific_of_one_name_counts_and_names_give_the_order() {
        let files = |names: &[(&str, u8)]| -> BTreeMap<String, u8> {
            names.iter().map(|(name, n)| ((*name).into(), *n)).collect()
        };
        let unit = files(&[("20.conf", 1), ("z.conf", 2)]);
        let kind = files(&[("10.conf", 3), ("20.conf", 4)]);
        let order: Vec<_> = in_order([&unit, &kind]).collect();
        assert_eq!(order, [("10.conf", &3), ("20.conf", &1), ("z.conf", &2)]);
    }
}

use std::collections::BTreeMap;
use std::path::Path;

use nixctl_proto::Code;

use super::*;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn every_row_is_there_once() {
    let numbers: Vec<u16> = ROWS.iter().map(|row| row.number).collect();
    assert_eq!(numbers, (1..=134).collect::<Vec<u16>>());
}

#[test]
fn what_is_named_exists() {
    for row in ROWS {
        match row.does {
            Later(id) => {
                let (area, name) = id.split_once('.').unwrap();
                let areas = nixctl_proto::health::check::Area::ALL;
                assert!(areas.iter().any(|it| it.name() == area), "{id}");
                assert!(!name.is_empty(), "{id}");
            }
            Prevents(how) => {
                for number in how.split("NIX").skip(1) {
                    let number: u16 = number[..4].parse().unwrap();
                    assert!(
                        Code::ALL.iter().any(|code| code.number() == number),
                        "{how}"
                    );
                }
            }
            Repairs(check) => assert!(covered_by(check).contains(&row.number)),
            Explains(check) => assert!(covered_by(check).contains(&row.number)),
            OutOfScope(why) => assert!(!why.is_empty()),
        }
    }
}

#[test]
fn tests_that_are_named_exist() {
    for test in ROWS.iter().filter_map(|row| row.test).chain([HEALED]) {
        let (file, function) = test.split_once(": ").unwrap();
        let text = std::fs::read_to_string(Path::new(REPOSITORY).join(file)).unwrap();
        assert!(text.contains(&format!("fn {function}()")), "{test}");
    }
}

/// What the lab says of a damage: the rows that it makes true, and the checks that find it.
#[derive(Debug, Default)]
struct Made {
    rows: Vec<String>,
    checks: Vec<String>,
}

/// The damages of the lab by their names, as its source has them: the two share no code.
fn lab() -> BTreeMap<String, Made> {
    let words = |text: &str, field: &str| -> Option<Vec<String>> {
        let (_, rest) = text.split_once(&format!("{field}: &["))?;
        let (list, _) = rest.split_once(']')?;
        let word = |word: &str| word.trim().trim_matches('"').to_owned();
        Some(list.split(',').map(word).collect())
    };
    let mut damages = BTreeMap::new();
    let folder = Path::new(REPOSITORY).join("tests/src/damage");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|it| it != "rs") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut parts = text.split("        name: \"");
        // What many of a file have in common stands before the first.
        let common = parts.next().and_then(|part| words(part, "checks"));
        for part in parts {
            let (name, rest) = part.split_once("\",\n").unwrap();
            let made = Made {
                rows: words(rest, "rows").unwrap_or_default(),
                checks: words(rest, "checks").or(common.clone()).unwrap_or_default(),
            };
            damages.insert(name.to_owned(), made);
        }
    }
    damages
}

#[test]
fn damages_that_are_named_are_made_by_the_lab_and_fit_their_rows() {
    let lab = lab();
    assert!(lab.len() > 60, "{} damages", lab.len());
    for row in ROWS {
        let id = match row.does {
            Repairs(check) | Explains(check) => check.id(),
            Later(id) => id.to_owned(),
            Prevents(_) | OutOfScope(_) => String::new(),
        };
        for name in row.damages {
            let number = row.number.to_string();
            let made = lab.get(*name);
            let made = made.unwrap_or_else(|| panic!("{number}: no damage is called {name}"));
            let fits = made.rows.contains(&number) || made.checks.contains(&id);
            assert!(fits, "{number}: {name} makes {made:?}");
        }
    }
}

/// Where the lab makes a row that is found by the row's own check, the row says so.
#[test]
fn what_the_lab_makes_is_named() {
    for (name, made) in lab() {
        for row in ROWS {
            let (Repairs(check) | Explains(check)) = row.does else {
                continue;
            };
            let is_made = made.rows.contains(&row.number.to_string());
            if is_made && made.checks.contains(&check.id()) {
                assert!(
                    row.damages.contains(&name.as_str()),
                    "{}: {name}",
                    row.number
                );
            }
        }
    }
}

#[test]
fn what_is_repaired_or_explained_is_shown_by_a_test() {
    for row in ROWS {
        if matches!(row.does, Repairs(_) | Explains(_)) {
            assert!(row.test.is_some(), "{}: {}", row.number, row.symptom);
        }
    }
}

#[test]
fn the_page_is_the_table() {
    let path = Path::new(REPOSITORY).join("docs/failures.md");
    if std::env::var_os("NIXCTL_BLESS").is_some() {
        std::fs::write(&path, page()).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == page(),
        "docs/failures.md differs from the table; write it with \
         NIXCTL_BLESS=1 cargo test -p nixctld the_page_is_the_table"
    );
}

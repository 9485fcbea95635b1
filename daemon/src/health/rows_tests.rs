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
    for row in ROWS {
        let Some(test) = row.test else { continue };
        let (file, function) = test.split_once(": ").unwrap();
        let text = std::fs::read_to_string(Path::new(REPOSITORY).join(file)).unwrap();
        assert!(
            text.contains(&format!("fn {function}()")),
            "{}: {test}",
            row.number
        );
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

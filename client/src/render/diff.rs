//! How the packages of two generations differ: versions by name, and bytes.

use nixctl_proto::plan::DiffEntry;

use super::style::Style;
use super::table;
use super::text::{clean, counted, cut, signed};

/// Narrowest column of names and versions.
const NARROW: usize = 7;

/// Heads of the columns.
const HEAD: [&str; 5] = ["", "PACKAGE", "BEFORE", "AFTER", "SIZE"];

/// Lines of a comparison; of at most so many packages, those that change most. Names and versions are
/// cut to fit the width, where there is one.
pub fn lines(
    entries: &[DiffEntry],
    most: Option<usize>,
    width: Option<usize>,
    style: Style,
) -> Vec<String> {
    if entries.is_empty() {
        return vec!["no package differs".to_owned()];
    }
    let shown = largest(entries, most.unwrap_or(usize::MAX));
    let mut rows: Vec<Vec<String>> = shown.iter().map(|entry| row(entry)).collect();
    if let Some(width) = width {
        fit(&mut rows, width);
    }
    let mut lines = table::lines(&HEAD, &rows, None);
    if shown.len() < entries.len() {
        let more = counted(entries.len() - shown.len(), "smaller change");
        lines.push(style.dim(&format!("and {more} (all with --verbose)")));
    }
    lines.push(style.bold(&summary(entries)));
    lines
}

/// Cuts names and versions, the widest of them first, until the rows have no more than `width` columns.
fn fit(rows: &mut [Vec<String>], width: usize) {
    let widest = |rows: &[Vec<String>], column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(HEAD[column].len())
    };
    let mut widths: Vec<usize> = (0..5).map(|column| widest(rows, column)).collect();
    // Two blanks stand between columns.
    while widths.iter().sum::<usize>() + 8 > width {
        let Some(column) = (1..4).max_by_key(|column| widths[*column]) else {
            return;
        };
        if widths[column] <= NARROW {
            break;
        }
        widths[column] -= 1;
    }
    for row in rows {
        for column in 1..4 {
            row[column] = cut(&row[column], widths[column], "..");
        }
    }
}

/// `3 packages new, 1 gone, 14 changed: +12.3 MiB`
pub fn summary(entries: &[DiffEntry]) -> String {
    let count = |is: fn(&DiffEntry) -> bool| entries.iter().filter(|entry| is(entry)).count();
    let parts: Vec<String> = [
        (count(|entry| entry.old.is_empty()), "new"),
        (count(|entry| entry.new.is_empty()), "gone"),
        (
            count(|entry| !entry.old.is_empty() && !entry.new.is_empty()),
            "changed",
        ),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    let packages = counted(entries.len(), "package");
    format!(
        "{packages} ({}): {}",
        parts.join(", "),
        signed(total(entries))
    )
}

/// Bytes that are there more afterwards.
pub fn total(entries: &[DiffEntry]) -> i64 {
    let add = |sum: i64, entry: &DiffEntry| sum.saturating_add(entry.bytes);
    entries.iter().fold(0, add)
}

/// The entries that change most, in the order in which they came.
fn largest(entries: &[DiffEntry], most: usize) -> Vec<&DiffEntry> {
    let mut order: Vec<usize> = (0..entries.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(entries[*at].bytes.unsigned_abs()));
    order.truncate(most);
    order.sort_unstable();
    order.into_iter().map(|at| &entries[at]).collect()
}

fn row(entry: &DiffEntry) -> Vec<String> {
    let mark = match (entry.old.is_empty(), entry.new.is_empty()) {
        (true, _) => "+",
        (_, true) => "-",
        _ if entry.old == entry.new => "=",
        _ => "~",
    };
    let versions = |list: &[String]| {
        let words: Vec<&str> = list
            .iter()
            .map(|version| match version.as_str() {
                "" => "(no version)",
                version => version,
            })
            .collect();
        clean(&words.join(", "))
    };
    let after = match mark {
        "=" => "rebuilt".to_owned(),
        _ => versions(&entry.new),
    };
    vec![
        mark.to_owned(),
        clean(&entry.name),
        versions(&entry.old),
        after,
        signed(entry.bytes),
    ]
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Four packages, one of each kind.
    pub fn entries() -> Vec<DiffEntry> {
        let entry = |name: &str, old: &[&str], new: &[&str], bytes| DiffEntry {
            name: name.to_owned(),
            old: old.iter().map(|&text| text.to_owned()).collect(),
            new: new.iter().map(|&text| text.to_owned()).collect(),
            bytes,
        };
        vec![
            entry("glibc", &["2.40"], &["2.41"], 1 << 20),
            entry("hello\x1b", &["1"], &["1"], 0),
            entry("perl", &["5.38", "5.40"], &[], -(60 << 20)),
            entry("zlib", &[], &[""], 2048),
        ]
    }

    #[test]
    fn versions_and_sizes_side_by_side() {
        assert_eq!(
            lines(&entries(), None, None, Style::PLAIN),
            [
                "   PACKAGE  BEFORE      AFTER         SIZE",
                "~  glibc    2.40        2.41          +1.0 MiB",
                "=  hello\u{fffd}   1           rebuilt       0 B",
                "-  perl     5.38, 5.40                -60.0 MiB",
                "+  zlib                 (no version)  +2.0 KiB",
                "4 packages (1 new, 1 gone, 2 changed): -59.0 MiB",
            ]
        );
    }

    #[test]
    fn the_largest_changes_are_shown_first_of_all() {
        let lines = lines(&entries(), Some(2), None, Style::PLAIN);
        assert!(lines[1].contains("glibc") && lines[2].contains("perl"));
        assert_eq!(lines[3], "and 2 smaller changes (all with --verbose)");
        assert_eq!(
            super::lines(&[], None, None, Style::PLAIN),
            ["no package differs"]
        );
    }

    #[test]
    fn narrow_terminals_see_the_beginning_of_names_and_versions() {
        let mut entries = entries();
        entries[0].name = "a-library-with-a-long-name".to_owned();
        for width in [60, 45, 42] {
            let lines = lines(&entries, None, Some(width), Style::PLAIN);
            let table = &lines[..=entries.len()];
            assert!(
                table.iter().all(|line| line.chars().count() <= width),
                "{lines:#?}"
            );
        }
    }
}

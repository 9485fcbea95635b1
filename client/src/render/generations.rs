//! The table of `nixctl generations`.

use nixctl_proto::Generation;

use super::table;
use super::text::{clean, moment};

/// One line for each generation, in the order in which they come.
pub fn lines(all: &[Generation], width: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|generation| {
            vec![
                generation.number.to_string(),
                moment(generation.created),
                state(generation),
                system(generation),
            ]
        })
        .collect();
    table::lines(&["GENERATION", "MADE", "STATE", "SYSTEM"], &rows, width)
}

/// What it is, in words; a dash when there is nothing to say.
fn state(generation: &Generation) -> String {
    let words: Vec<&str> = [
        (generation.current, "runs"),
        (generation.default, "default"),
        (generation.booted, "booted"),
        (generation.proven && !generation.proven_by_boot, "proven"),
        (generation.proven_by_boot, "proven by boot"),
        (generation.awaits_boot, "awaits its first boot"),
        (!generation.boot_failure.is_empty(), "failed its boot"),
        (generation.hybrid, "hybrid"),
    ]
    .into_iter()
    .filter_map(|(is, word)| is.then_some(word))
    .collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(", ")
    }
}

/// Its store path, and how far a hybrid is.
fn system(generation: &Generation) -> String {
    let path = clean(&generation.path);
    if generation.label.is_empty() {
        path
    } else {
        format!("{} ({path})", clean(&generation.label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_are_a_table() {
        let all = [
            Generation {
                number: 43,
                path: "/nix/store/b".to_owned(),
                created: 1_763_723_172_000,
                current: true,
                default: true,
                proven: true,
                hybrid: true,
                label: "12 of 40 components".to_owned(),
                ..Generation::default()
            },
            Generation {
                number: 42,
                path: "/nix/store/a".to_owned(),
                ..Generation::default()
            },
            Generation {
                number: 41,
                path: "/nix/store/c".to_owned(),
                proven: true,
                proven_by_boot: true,
                ..Generation::default()
            },
            Generation {
                number: 40,
                path: "/nix/store/d".to_owned(),
                proven: true,
                boot_failure: "redis.service is failed".to_owned(),
                ..Generation::default()
            },
        ];
        assert_eq!(
            lines(&all, None),
            [
                "GENERATION  MADE                  STATE                          SYSTEM",
                "43          2025-11-21 11:06:12Z  runs, default, proven, hybrid  12 of 40 components (/nix/store/b)",
                "42          -                     -                              /nix/store/a",
                "41          -                     proven by boot                 /nix/store/c",
                "40          -                     proven, failed its boot        /nix/store/d",
            ]
        );
    }
}

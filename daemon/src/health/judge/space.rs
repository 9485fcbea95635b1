//! Whether there is room.

use nixctl_proto::health::Severity;
use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::space::SpaceFact;

const HELP: &str = "nix-collect-garbage, with `--delete-older-than 30d` old generations as well";
/// What is left of the limit when builds and downloads are cut off soon: one part of so many.
const BREAKING: u64 = 8;
const BOOT_HELP: &str = "remove kernels that are not needed any more";

pub(super) fn judge(facts: &[SpaceFact]) -> Vec<Found> {
    facts.iter().flat_map(one).collect()
}

fn one(fact: &SpaceFact) -> Vec<Found> {
    let path = fact.path.display().to_string();
    let help = if path == "/boot" { BOOT_HELP } else { HELP };
    let found = |check, free: u64, limit: u64, unit: &str| {
        (free < limit).then(|| {
            let severity = if free < limit / BREAKING {
                Severity::Error
            } else {
                Severity::Warning
            };
            Found::new(check, path.clone())
                .severity(severity)
                .seen(format!("{free} {unit} are free"))
                .expected(format!("{limit} {unit}"))
                .help(help)
        })
    };
    [
        found(
            Check::BytesLow,
            fact.free_bytes >> 20,
            fact.bytes >> 20,
            "MiB",
        ),
        found(Check::InodesLow, fact.free_inodes, fact.inodes, "inodes"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::ids;
    use super::*;

    fn fact(mebibytes: u64, inodes: u64) -> SpaceFact {
        SpaceFact {
            path: "/nix".into(),
            free_bytes: mebibytes << 20,
            free_inodes: inodes,
            bytes: 1024 << 20,
            inodes: 50_000,
        }
    }

    #[test]
    fn a_healthy_machine_has_no_finding() {
        assert_eq!(judge(&[fact(5000, u64::MAX), fact(1024, 50_000)]), []);
    }

    #[test]
    fn little_room_is_a_warning_and_none_an_error() {
        for (fact, expected, severity) in [
            (
                fact(1023, 60_000),
                "space.bytes-low /nix",
                Severity::Warning,
            ),
            (fact(99, 60_000), "space.bytes-low /nix", Severity::Error),
            (
                fact(5000, 49_999),
                "space.inodes-low /nix",
                Severity::Warning,
            ),
            (fact(5000, 3), "space.inodes-low /nix", Severity::Error),
        ] {
            let found = judge(&[fact]);
            assert_eq!(ids(&found), [expected]);
            assert_eq!(found[0].severity, severity);
        }
        assert_eq!(judge(&[fact(1, 1)]).len(), 2);
    }
}

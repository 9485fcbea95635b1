//! How many bytes a switch may use, and what of the machine is short. Pure.
//!
//! Bytes are those of store contents (NAR sizes), as in the closures: what is on the disk now and may
//! go counts as room. The reserve of the settings and the room for hybrids are never used.

use nixctl_proto::{Code, Failure};

/// Room for the hybrid generations and for the database of Nix.
pub const OVERHEAD: u64 = 8 << 20;

/// The disk as it is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Disk {
    /// Bytes free on the store's file system.
    pub free_bytes: u64,
    /// Inodes free there.
    pub free_inodes: u64,
    /// Bytes of the paths that the plan is about and that are there.
    pub present: u64,
}

/// Most bytes that the paths of a plan may take together.
pub fn budget(disk: Disk, reserve: u64, asked: Option<u64>) -> u64 {
    let whole = disk.present.saturating_add(disk.free_bytes);
    let limit = whole.saturating_sub(reserve).saturating_sub(OVERHEAD);
    asked.map_or(limit, |asked| asked.min(limit))
}

/// What would make a plan fit that does not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remedies {
    /// Bytes that old generations hold which may be dropped and were not told to be.
    pub droppable: u64,
    /// Components that could be stopped, when that would be enough and was not allowed.
    pub stoppable: Vec<String>,
}

/// That a plan does not fit, with what is missing and what would have to go.
pub fn shortfall(
    peak: u64,
    budget: u64,
    lower_bound: u64,
    what: &str,
    remedies: &Remedies,
) -> Failure {
    let missing = peak.saturating_sub(budget);
    let text = format!(
        "cannot switch {what}: it needs {peak} bytes at its highest and {budget} may be used, \
         {missing} bytes more are needed on /nix"
    );
    let bound = if lower_bound > budget {
        format!("no order of steps needs less than {lower_bound} bytes, so none fits")
    } else {
        format!("no order of steps needs less than {lower_bound} bytes")
    };
    let mut help = format!("free {missing} bytes on /nix");
    if remedies.droppable > 0 {
        let bytes = remedies.droppable;
        help.push_str(&format!(
            ", or use --drop-old: old generations hold {bytes} bytes"
        ));
    }
    if !remedies.stoppable.is_empty() {
        let down = remedies.stoppable.join(" ");
        help.push_str(&format!(
            ", or use --allow-downtime: it fits with {down} down for a while"
        ));
    }
    if *remedies == Remedies::default() {
        help.push_str(", then ask again");
    }
    let failure = Failure::new(Code::NoSpace, text);
    failure.with_cause(bound).with_help(help)
}

/// Inodes that so many bytes in so many store paths take. How many files a NAR has is not known before
/// it is there: they are taken to be as large as those on the store's file system are now.
pub fn inodes_for(bytes: u64, paths: usize, used_bytes: u64, used_inodes: u64) -> u64 {
    let files = u128::from(bytes) * u128::from(used_inodes) / u128::from(used_bytes.max(1));
    let files = match used_bytes {
        0 => 0,
        _ => u64::try_from(files).unwrap_or(u64::MAX),
    };
    files.saturating_add(paths as u64)
}

/// That there are fewer inodes than a switch takes, as far as that can be told.
pub fn inodes(needed: u64, free: u64) -> Option<Failure> {
    (needed > free).then(|| {
        let missing = needed - free;
        let text = format!(
            "cannot switch: about {needed} inodes are needed on /nix and {free} are free, {missing} \
             more are needed"
        );
        let help = "estimated from how large the files there are now; delete what is not needed, \
                    or use a file system with more inodes";
        Failure::new(Code::NoSpace, text).with_help(help)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_counts_as_room_and_the_reserve_does_not() {
        let disk = Disk {
            free_bytes: 500 << 20,
            free_inodes: 1000,
            present: 300 << 20,
        };
        let all = (800 << 20) - OVERHEAD;
        for (reserve, asked, expected) in [
            (0, None, all),
            (100 << 20, None, all - (100 << 20)),
            (0, Some(1 << 30), all),
            (0, Some(400 << 20), 400 << 20),
            (u64::MAX, None, 0),
        ] {
            assert_eq!(budget(disk, reserve, asked), expected);
        }
    }

    #[test]
    fn a_refusal_has_the_exact_shortfall() {
        let none = Remedies::default();
        let failure = shortfall(1100, 1000, 1050, "at once", &none);
        assert_eq!(failure.code, Code::NoSpace);
        assert!(failure.message.contains("100 bytes more"), "{failure}");
        assert!(failure.causes[0].contains("so none fits"));
        assert!(failure.help.ends_with("ask again"), "{failure}");
        let some = Remedies {
            droppable: 70,
            stoppable: vec!["unit/redis".to_owned()],
        };
        let failure = shortfall(1100, 1000, 900, "step by step", &some);
        assert!(failure.help.contains("--drop-old") && failure.help.contains("70 bytes"));
        assert!(
            failure
                .help
                .contains("--allow-downtime: it fits with unit/redis down")
        );
    }

    #[test]
    fn inodes_are_estimated_from_what_is_there() {
        for (bytes, paths, used_bytes, used_inodes, expected) in [
            (1000, 3, 10_000, 50, 8),
            (1000, 3, 0, 0, 3),
            (u64::MAX, 1, 1, u64::MAX, u64::MAX),
        ] {
            assert_eq!(inodes_for(bytes, paths, used_bytes, used_inodes), expected);
        }
        assert_eq!(inodes(5, 5), None);
        assert!(inodes(7, 5).unwrap().message.contains("2 more are needed"));
    }
}

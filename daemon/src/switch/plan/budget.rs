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

/// That a plan does not fit, with what is missing and what would have to go.
pub fn shortfall(peak: u64, budget: u64, lower_bound: u64, what: &str, droppable: u64) -> Failure {
    let missing = peak.saturating_sub(budget);
    let text = format!(
        "cannot switch {what}: it needs {peak} bytes at its highest and {budget} may be used, \
         {missing} bytes more are needed on /nix"
    );
    let mut failure = Failure::new(Code::NoSpace, text);
    let bound = if lower_bound > budget {
        format!("no order of steps needs less than {lower_bound} bytes, so none fits")
    } else {
        format!("no order of steps needs less than {lower_bound} bytes")
    };
    failure = failure.with_cause(bound);
    if droppable > 0 {
        let help = format!(
            "free {missing} bytes on /nix, or use --drop-old: old generations hold {droppable} bytes"
        );
        failure = failure.with_help(help);
    } else {
        failure = failure.with_help(format!("free {missing} bytes on /nix, then ask again"));
    }
    failure
}

/// That there are fewer inodes than paths, each of which takes at least one.
pub fn inodes(paths: usize, free: u64) -> Option<Failure> {
    let needed = paths as u64;
    (needed > free).then(|| {
        let text =
            format!("cannot switch: {needed} store paths come and {free} inodes are free on /nix");
        Failure::new(Code::NoSpace, text)
    })
}

/// That the boot partition has no room for another kernel and initrd.
pub fn boot(needed: u64, free: u64) -> Option<Failure> {
    (needed > free).then(|| {
        let missing = needed - free;
        let text = format!(
            "cannot switch: kernel and initrd take {needed} bytes on /boot and {free} are free, \
             {missing} bytes more are needed"
        );
        Failure::new(Code::NoSpace, text)
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
        let failure = shortfall(1100, 1000, 1050, "at once", 0);
        assert_eq!(failure.code, Code::NoSpace);
        assert!(failure.message.contains("100 bytes more"), "{failure}");
        assert!(failure.causes[0].contains("so none fits"));
        let failure = shortfall(1100, 1000, 900, "step by step", 70);
        assert!(failure.help.contains("--drop-old") && failure.help.contains("70 bytes"));
        assert_eq!(inodes(5, 5), None);
        assert!(inodes(6, 5).is_some());
        assert_eq!(boot(7, 7), None);
        assert!(boot(9, 7).unwrap().message.contains("2 bytes more"));
    }
}

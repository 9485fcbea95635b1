//! How much of an operation each of its steps is, for its progress.
//!
//! Pure. The measure is bytes: those that a step moves where they are known, and for the others
//! the bytes that could be moved in the time they usually take. The shares need not be exact; they
//! must be there before the step begins and never change.

use std::collections::BTreeMap;

use super::step::{PlannedStep, Step};
use crate::health::mend::Mend;
use crate::resource::Resource;
use crate::switch::step::SwitchStep;
use crate::takeover::step::SelfStep;
use crate::upgrade::step::UpgradeStep;

/// Size of a release's archive where nobody told it.
const ARCHIVE_BYTES: u64 = 24 << 20;
/// Unpacking writes several times what it reads, and syncs it.
const UNPACKING: u64 = 4;
/// Builds something, several times.
const SELF_TEST_BYTES: u64 = 32 << 20;
/// Runs programs of others or walks the store.
const SLOW_BYTES: u64 = 8 << 20;
/// Everything else: a file or two.
const STEP_BYTES: u64 = 1 << 20;

/// The share of the whole at which each step begins.
#[derive(Debug, Clone, PartialEq)]
pub struct Scale {
    begins: Vec<f64>,
}

impl Scale {
    /// The scale of a plan.
    pub fn of(steps: &[PlannedStep]) -> Self {
        let archives = archives(steps);
        let weights = steps.iter().map(|it| weight(&it.step, &archives));
        let mut sums = vec![0u64];
        for weight in weights {
            let sum = sums.last().copied().unwrap_or(0);
            sums.push(sum.saturating_add(weight));
        }
        let all = sums.last().copied().unwrap_or(0).max(1) as f64;
        Scale {
            begins: sums.into_iter().map(|sum| sum as f64 / all).collect(),
        }
    }

    /// The share of the whole that is done with this share of a step, 0 to 1.
    pub fn at(&self, index: u32, within: f64) -> f64 {
        let begin = |index: usize| self.begins.get(index).copied().unwrap_or(1.0);
        let (begin, end) = (begin(index as usize), begin(index as usize + 1));
        begin + (end - begin) * within.clamp(0.0, 1.0)
    }
}

/// Sizes of the archives that are fetched, by their hash.
fn archives(steps: &[PlannedStep]) -> BTreeMap<&str, u64> {
    let fetched = steps.iter().filter_map(|it| match &it.step {
        Step::Fetch(fetch) | Step::SelfUpgrade(SelfStep::Fetch(fetch)) => {
            Some((fetch.release.sha256.as_str(), fetch.release.size?))
        }
        _ => None,
    });
    fetched.collect()
}

fn weight(step: &Step, archives: &BTreeMap<&str, u64>) -> u64 {
    let size = |sha256: &str| archives.get(sha256).copied().unwrap_or(ARCHIVE_BYTES);
    let resource = match step {
        Step::Fetch(fetch) => return size(&fetch.release.sha256).max(STEP_BYTES),
        Step::SelfTest(_) => return SELF_TEST_BYTES,
        Step::Discard(_) => return STEP_BYTES,
        Step::Mend(mend) => return mend_weight(mend),
        Step::Switch(step) => return switch_weight(step),
        Step::Upgrade(step) => return upgrade_weight(step),
        Step::SelfUpgrade(step) => return self_weight(step, &size),
        Step::Ensure(it) | Step::Adopt(it, _) | Step::Remove(it, _) => it,
    };
    match resource {
        Resource::Payload(payload) => size(&payload.archive.sha256)
            .max(STEP_BYTES)
            .saturating_mul(UNPACKING),
        Resource::BuildUsers(_)
        | Resource::NixTree(_)
        | Resource::Registration(_)
        | Resource::Profile(_)
        | Resource::Service(_)
        | Resource::Selinux(_) => SLOW_BYTES,
        Resource::Directory(_)
        | Resource::File(_)
        | Resource::Block(_)
        | Resource::Group(_)
        | Resource::NixConf(_)
        | Resource::Tmpfiles(_)
        | Resource::Program(_) => STEP_BYTES,
    }
}

/// Units are waited for, and other programs walk the store.
fn mend_weight(mend: &Mend) -> u64 {
    match mend {
        Mend::Start(_) | Mend::Restart(_) | Mend::Relabel(_) | Mend::RepairPath(_) => SLOW_BYTES,
        Mend::Register(_) => SLOW_BYTES,
        Mend::Refetch(_) => SELF_TEST_BYTES,
        Mend::Database(_) => SELF_TEST_BYTES,
        Mend::Unmask(_)
        | Mend::Clear(_)
        | Mend::GroupName(_)
        | Mend::SetAside(_)
        | Mend::ConfLine(_)
        | Mend::Managed(_)
        | Mend::Rights(_)
        | Mend::Content(_) => STEP_BYTES,
    }
}

/// Builds are waited for; the database may be large.
fn upgrade_weight(step: &UpgradeStep) -> u64 {
    match step {
        UpgradeStep::Quiet(_)
        | UpgradeStep::Copy(_)
        | UpgradeStep::Exchange(_)
        | UpgradeStep::Restart(_)
        | UpgradeStep::Reopen(_) => SLOW_BYTES,
        UpgradeStep::GoBack(_) => SELF_TEST_BYTES,
        UpgradeStep::Readable(_)
        | UpgradeStep::Returnable(_)
        | UpgradeStep::Keep(_)
        | UpgradeStep::Forget(_)
        | UpgradeStep::Disown(_)
        | UpgradeStep::Turn(_) => STEP_BYTES,
    }
}

/// Proving watches for a while.
fn self_weight(step: &SelfStep, size: &dyn Fn(&str) -> u64) -> u64 {
    match step {
        SelfStep::Fetch(fetch) => size(&fetch.release.sha256).max(STEP_BYTES),
        SelfStep::Unpack(archive) => size(&archive.sha256).max(STEP_BYTES),
        SelfStep::HandOver(_) | SelfStep::Prove => SLOW_BYTES,
        SelfStep::Describe { .. } | SelfStep::Reload | SelfStep::Settle => STEP_BYTES,
    }
}

/// Activating stops and starts services; composing builds something small.
fn switch_weight(step: &SwitchStep) -> u64 {
    match step {
        SwitchStep::Fetch(it) => it.bytes.max(STEP_BYTES),
        SwitchStep::Activate(_) => SELF_TEST_BYTES,
        SwitchStep::Compose(_) | SwitchStep::SetDefault(_) => SLOW_BYTES,
        SwitchStep::Release(_) | SwitchStep::Forget(_) => SLOW_BYTES,
        SwitchStep::Prove(it) => SLOW_BYTES.max(it.window_seconds.saturating_mul(STEP_BYTES)),
        SwitchStep::Confirm { .. } => STEP_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::{fetch_of, file, planned};
    use super::*;

    fn scale(steps: Vec<Step>) -> Scale {
        Scale::of(&planned(nixctl_proto::OperationKind::Install, steps).steps)
    }

    #[test]
    fn bytes_weigh_most() {
        let scale = scale(vec![file("/etc/a"), fetch_of(98 << 20), file("/etc/b")]);
        for (index, within, share) in [
            (0, 0.0, 0.0),
            (0, 1.0, 0.01),
            (1, 0.5, 0.50),
            (1, 1.0, 0.99),
            (2, 7.0, 1.0),
        ] {
            assert!((scale.at(index, within) - share).abs() < 1e-9, "{index}");
        }
    }

    #[test]
    fn nothing_to_do_is_done() {
        assert_eq!(scale(Vec::new()).at(0, 0.0), 0.0);
        assert_eq!(scale(Vec::new()).at(0, 1.0), 1.0);
    }

    proptest! {
        #[test]
        fn it_only_goes_up_and_ends_at_1(
            sizes in proptest::collection::vec(any::<Option<u64>>(), 1..20),
            within in proptest::collection::vec(0.0f64..1.0, 20),
        ) {
            let steps = sizes.iter().map(|size| match size {
                Some(size) => fetch_of(*size),
                None => file("/etc/a"),
            });
            let scale = scale(steps.collect());
            let mut last = 0.0;
            for index in 0..sizes.len() {
                for within in [0.0, within[index], 1.0] {
                    let share = scale.at(index as u32, within);
                    prop_assert!(share >= last && share <= 1.0);
                    last = share;
                }
            }
            prop_assert_eq!(last, 1.0);
        }
    }
}

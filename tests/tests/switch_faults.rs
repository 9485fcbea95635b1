//! The stepwise switch under faults: its daemon is killed, its machine switched off, its disk full,
//! its cache gone, its new services unwell (`cargo lab test --full` does it at every commit and a
//! hundred moments; a few of each day otherwise).
#![allow(clippy::unwrap_used)]

use nixctl_lab::generation::{Blow, Gone, switch_campaign};
use nixctl_lab::require_disks;

macro_rules! campaigns {
    ($($name:ident: $blow:expr;)+) => {
        $(
            #[test]
            fn $name() {
                if require_disks() {
                    switch_campaign($blow).unwrap();
                }
            }
        )+
    };
}

campaigns! {
    switch_under_sigkill: Blow::Kill;
    switch_under_sigterm: Blow::Term;
    switch_under_power_cuts: Blow::PowerCut;
    switch_to_what_fails_its_probe: Blow::Unwell;
    undoing_under_sigkill: Blow::KillWhileUndoing;
    switch_on_a_full_disk: Blow::FullDisk;
    switch_while_the_cache_refuses: Blow::CacheGone(Gone::Refuses);
    switch_while_the_cache_has_nothing: Blow::CacheGone(Gone::Forgets);
    switch_while_the_cache_breaks_off: Blow::CacheGone(Gone::Resets);
    switch_cancelled_while_it_waits: Blow::Cancel;
    switch_rolled_back_while_it_waits: Blow::Rollback;
}

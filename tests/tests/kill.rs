//! nixctld is killed, asked to end, or the machine is switched off, after every single commit of
//! its journal (`cargo lab test --full`; a few commits of each day otherwise). The operation ends by
//! itself, and the machine equals one that was never disturbed.
#![allow(clippy::unwrap_used)]

use nixctl_lab::damage::disturbed;
use nixctl_lab::require;
use nixctl_lab::world::{Disturbance, Victim, campaign};

macro_rules! campaigns {
    ($($name:ident: $victim:ident, $how:ident;)+) => {
        $(
            #[test]
            fn $name() {
                if require() {
                    campaign(Victim::$victim, Disturbance::$how).unwrap();
                }
            }
        )+
    };
}

campaigns! {
    install_under_sigkill: Install, Kill;
    install_under_sigterm: Install, Term;
    install_under_power_cuts: Install, PowerCut;
    uninstall_under_sigkill: Uninstall, Kill;
    uninstall_under_sigterm: Uninstall, Term;
    uninstall_under_power_cuts: Uninstall, PowerCut;
    upgrade_under_sigkill: Upgrade, Kill;
    upgrade_under_sigterm: Upgrade, Term;
    upgrade_under_power_cuts: Upgrade, PowerCut;
    self_upgrade_under_sigkill: SelfUpgrade, Kill;
    self_upgrade_under_power_cuts: SelfUpgrade, PowerCut;
}

macro_rules! repairs {
    ($($name:ident: $how:ident;)+) => {
        $(
            #[test]
            fn $name() {
                if require() {
                    disturbed(Disturbance::$how).unwrap();
                }
            }
        )+
    };
}

repairs! {
    repair_under_sigkill: Kill;
    repair_under_sigterm: Term;
    repair_under_power_cuts: PowerCut;
}

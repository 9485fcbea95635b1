//! What really went wrong on machines is made on a machine, one at a time (`cargo lab test --full`;
//! a few of each day otherwise; `NIXCTL_LAB_DAMAGE=socket` tries those with that word in their
//! name). The looks that see it know nothing of nixctl.
#![allow(clippy::unwrap_used)]

use nixctl_lab::damage::{CHECKS, Ground, Late, Told, combine, heal, healthy, inject, stubborn};
use nixctl_lab::{require, require_disks};

#[test]
fn each_damage_is_really_there() {
    if require() {
        inject().unwrap();
    }
}

#[test]
fn a_healthy_machine_has_none() {
    if require() {
        healthy(Ground::Plain).unwrap();
    }
}

#[test]
fn a_healthy_machine_with_a_bound_store_has_none() {
    if require() {
        healthy(Ground::Bound).unwrap();
    }
}

#[test]
fn a_healthy_machine_with_a_disk_has_none() {
    if require_disks() {
        healthy(Ground::Disk).unwrap();
    }
}

/// Only with a product that has `check` and `repair`.
#[test]
fn each_damage_is_found_and_healed() {
    if require() {
        heal().unwrap();
    }
}

/// Healed only with such a product.
#[test]
fn three_at_once_are_there_and_healed() {
    if require() {
        combine().unwrap();
    }
}

/// Without checks nobody tries at all.
#[test]
fn what_comes_back_at_once_is_given_up() {
    if !require() {
        return;
    }
    let (tries, wrong) = stubborn().unwrap();
    println!("{tries} tries, with checks: {CHECKS}");
    assert!(wrong.is_empty(), "{tries} tries: {wrong:?}");
    assert!(CHECKS == (tries > 0), "{tries} tries");
}

fn within_the_limit(told: Told, what: &str) {
    println!("{what}: {told:?}, with checks: {CHECKS}");
    assert!(!told.too_slow(), "{what}: {told:?}");
}

#[test]
fn a_disk_in_fstab_comes_late() {
    if require_disks() {
        within_the_limit(Late::Fstab.at_boot().unwrap(), "fstab, at boot");
    }
}

#[test]
fn a_disk_with_a_mount_unit_comes_late() {
    if require_disks() {
        within_the_limit(Late::Unit.at_boot().unwrap(), "unit, at boot");
    }
}

#[test]
fn a_disk_goes_and_comes_back() {
    if require_disks() {
        within_the_limit(Late::Fstab.while_running().unwrap(), "fstab, while running");
    }
}

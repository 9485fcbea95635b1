//! Reading of fstab. What follows from a change is in the table of cases.

use super::*;

fn points(text: &str, mode: Mode) -> Vec<String> {
    Fstab::parse(text, mode).file_systems.into_keys().collect()
}

#[test]
fn reads_and_leaves_out() {
    for (text, exact, right) in [
        ("/dev/a /a ext4 ro 0 0", vec!["/a"], vec!["/a"]),
        ("  /dev/a\t/a   ext4", vec!["/a"], vec!["/a"]),
        ("# /dev/a /a ext4", vec![], vec![]),
        ("LABEL=a#b /a ext4 ro", vec![], vec!["/a"]),
        ("/dev/a /a ext4 ro # why", vec![], vec!["/a"]),
        ("/dev/a /a", vec![], vec![]),
        ("x none bind", vec!["none"], vec![]),
        ("/dev/a /a\\040b ext4", vec!["/a\\040b"], vec!["/a b"]),
        ("", vec![], vec![]),
    ] {
        assert_eq!(points(text, Mode::Exact), exact, "{text}");
        assert_eq!(points(text, Mode::Right), right, "{text}");
    }
}

#[test]
fn swaps_by_device() {
    let fstab = Fstab::parse("/dev/s none swap sw\n/dev/t none swap\n", Mode::Right);
    assert_eq!(
        fstab.swaps,
        BTreeSet::from(["/dev/s".into(), "/dev/t".into()])
    );
    assert!(fstab.file_systems.is_empty());
}

#[test]
fn options_for_the_kernel() {
    assert_eq!(
        for_kernel("defaults,nofail,x-systemd.device-timeout=5,ro"),
        ["ro"]
    );
    assert_eq!(for_kernel(""), [""; 0]);
    assert!(has_option("ro,x-systemd.automount", "x-systemd.automount"));
    assert!(!has_option(
        "ro,x-systemd.automounted",
        "x-systemd.automount"
    ));
}

#[test]
fn paths_of_devices() {
    for (device, path) in [
        ("/dev/sda2", "/dev/sda2"),
        ("UUID=12-34", "/dev/disk/by-uuid/12-34"),
        ("LABEL=swap", "/dev/disk/by-label/swap"),
        ("PARTUUID=\"ab\"", "/dev/disk/by-partuuid/ab"),
        ("ODD=1", "ODD=1"),
    ] {
        assert_eq!(device_path(device), path);
    }
}

//! Room that is running out. What takes it is somebody's, so it is only told.

use super::{Builds, Damage, Ground, Outcome};

/// On a disk that can be filled.
const SMALL: Damage = Damage {
    on: Ground::Disk,
    builds: Builds::Untold,
    outcome: Outcome::Explained,
    ..Damage::PLAIN
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "nix-nearly-full",
        story: "nothing is left on the disk of the store but a few megabytes",
        make: "mkdir /nix/mine; free=$(df --output=avail --block-size=1M /nix | tail -n 1)
               fallocate --length $((free - 6))M /nix/mine/film",
        there: "test \"$(df --output=avail --block-size=1M /nix | tail -n 1)\" -lt 50",
        checks: &["space.bytes-low"],
        ..SMALL
    },
    Damage {
        name: "nix-without-inodes",
        story: "millions of small files have taken the inodes, and bytes are left",
        make: "mkdir /nix/mine; cd /nix/mine
               seq $(($(df --output=iavail /nix | tail -n 1) - 200)) | xargs touch",
        there: "test \"$(df --output=iavail /nix | tail -n 1)\" -lt 1000",
        checks: &["space.inodes-low"],
        ..SMALL
    },
    Damage {
        name: "boot-full",
        story: "old kernels have filled /boot",
        on: Ground::Plain,
        make: "mount -t tmpfs -o size=16m boot /boot; head -c 16500000 /dev/zero >/boot/vmlinuz-5.10",
        there: "test \"$(df --output=avail --block-size=1K /boot | tail -n 1)\" -lt 1000",
        builds: Builds::Everybody,
        checks: &["space.bytes-low"],
        kept: &["/boot/vmlinuz-5.10"],
        ..SMALL
    },
];

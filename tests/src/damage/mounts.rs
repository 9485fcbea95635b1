//! The store is a file system of its own, and is not where it should be.

use super::{Builds, Damage, Ground, Outcome, Shows};

/// The store is a folder elsewhere, bound to /nix.
const BOUND: Damage = Damage {
    on: Ground::Bound,
    builds: Builds::Nobody,
    ..Damage::PLAIN
};

/// The store is on a disk.
const ON_DISK: Damage = Damage {
    on: Ground::Disk,
    ..BOUND
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "store-unmounted",
        story: "somebody has unmounted /nix while nothing used it",
        rows: &[74, 75],
        make: "rest; umount /nix",
        there: "! mountpoint -q /nix",
        checks: &["mounts.not-mounted"],
        ..BOUND
    },
    Damage {
        name: "store-unmounted-under-the-daemon",
        story: "/nix was taken away lazily, and the daemon goes on in the old one",
        rows: &[75],
        make: "wake; umount --lazy /nix",
        there: "! mountpoint -q /nix",
        checks: &["mounts.not-mounted"],
        ..BOUND
    },
    Damage {
        name: "store-not-mounted-at-boot",
        story: "the disk was late at boot, the mount failed, and nobody tried again",
        rows: &[3, 59],
        // The disk has another name until the boot is over.
        make: "printf '%s\\n' '[Unit]' 'DefaultDependencies=no' 'Before=nix.mount local-fs-pre.target' \
               '[Service]' 'Type=oneshot' 'RemainAfterExit=yes' \
               'ExecStart=/bin/mv /srv/disk /srv/later' \
               '[Install]' 'WantedBy=local-fs-pre.target nix.mount' >$units/late-disk.service
               printf '%s\\n' '[Unit]' 'After=local-fs.target nix.mount' \
               '[Service]' 'Type=oneshot' 'RemainAfterExit=yes' \
               'ExecStart=/bin/mv /srv/later /srv/disk' \
               '[Install]' 'WantedBy=multi-user.target' >$units/disk-is-there.service
               systemctl --quiet enable late-disk.service disk-is-there.service",
        shows: Shows::AfterReboot,
        there: "test -e /srv/disk && ! mountpoint -q /nix",
        checks: &["mounts.not-mounted"],
        differs: &[
            "/etc/systemd/system/late-disk.service",
            "/etc/systemd/system/disk-is-there.service",
            "/etc/systemd/system/local-fs-pre.target.wants",
            "/etc/systemd/system/nix.mount.wants",
            "/etc/systemd/system/multi-user.target.wants",
            "unit:late-disk.service",
            "unit:disk-is-there.service",
        ],
        ..ON_DISK
    },
    Damage {
        name: "own-mount-unit-not-started",
        story: "the store has a mount unit of an administrator's, which something has stopped",
        rows: &[75],
        make: "rest; umount /nix; sed -i '/ \\/nix /d' /etc/fstab
               printf '%s\\n' '[Mount]' 'What=/srv/nix' 'Where=/nix' 'Type=none' 'Options=bind' \
               '[Install]' 'WantedBy=local-fs.target' >$units/nix.mount
               systemctl daemon-reload; systemctl --quiet enable nix.mount; systemctl stop nix.mount",
        there: "! mountpoint -q /nix",
        checks: &["mounts.not-mounted"],
        differs: &[
            "/etc/fstab",
            "/etc/systemd/system/nix.mount",
            "/etc/systemd/system/local-fs.target.wants",
            "unit:nix.mount",
        ],
        kept: &["/etc/fstab", "/etc/systemd/system/nix.mount"],
        ..BOUND
    },
    Damage {
        name: "fstab-names-what-is-gone",
        story: "fstab names the disk of another machine, as after a move to new hardware",
        rows: &[17],
        make: "sed -i 's|^/srv/disk |/srv/disk-of-the-old-machine |' /etc/fstab",
        shows: Shows::AfterReboot,
        there: "! mountpoint -q /nix",
        checks: &["mounts.not-mounted"],
        outcome: Outcome::Explained,
        kept: &["/etc/fstab"],
        ..ON_DISK
    },
    Damage {
        name: "bound-folder-moved",
        story: "the folder that fstab binds was moved, and the system has bound a new, empty one",
        rows: &[75],
        make: "rest; umount /nix; mv /srv/nix /srv/moved",
        shows: Shows::AfterReboot,
        there: "test -d /srv/moved/store && ! test -e $profile",
        checks: &["tree.store-gone"],
        outcome: Outcome::Explained,
        ..BOUND
    },
    Damage {
        name: "store-mounted-elsewhere",
        story: "the disk with the store was opened by a desktop, under /media instead of /nix",
        rows: &[1],
        make: "rest; umount /nix; mkdir -p /media/disk; mount /srv/disk /media/disk",
        there: "test -d /media/disk/store && ! mountpoint -q /nix",
        checks: &["mounts.wrong-place", "mounts.not-mounted"],
        // What somebody mounted elsewhere stays mounted there.
        differs: &["/media/disk", "unit:media-disk.mount"],
        ..ON_DISK
    },
    Damage {
        name: "disk-unmounted",
        story: "the disk with the store was unmounted by hand",
        rows: &[75],
        make: "rest; umount /nix",
        there: "! mountpoint -q /nix",
        checks: &["mounts.not-mounted"],
        ..ON_DISK
    },
    Damage {
        name: "store-read-only",
        story: "the kernel has made the file system read-only after an error",
        make: "rest; mount -o remount,ro /nix",
        there: "! touch /nix/var/nix/temproots",
        checks: &["mounts.read-only"],
        outcome: Outcome::Explained,
        ..ON_DISK
    },
    Damage {
        name: "store-without-programs",
        story: "the file system was mounted with noexec",
        rows: &[74],
        make: "rest; mount -o remount,noexec /nix",
        there: "! $profile/bin/nix --version",
        checks: &["mounts.noexec"],
        outcome: Outcome::Explained,
        ..ON_DISK
    },
    Damage {
        name: "something-else-over-the-store",
        story: "a file system of somebody's was mounted over /nix",
        rows: &[75],
        make: "rest; mount -t tmpfs mine /nix; echo precious >/nix/file",
        there: "test \"$(findmnt --noheadings --output SOURCE --mountpoint /nix | tail -n 1)\" = mine",
        checks: &["mounts.wrong-device"],
        outcome: Outcome::Explained,
        kept: &["/nix/file"],
        ..BOUND
    },
    Damage {
        name: "nix-is-a-link",
        story: "the store was moved to a larger disk and a symbolic link put in its place",
        rows: &[75],
        make: "rest; cp -a /nix /srv/nix; rm -rf /nix || rm -rf /nix; ln -s /srv/nix /nix",
        there: "test -L /nix",
        builds: Builds::Nobody,
        checks: &["mounts.nix-is-link"],
        outcome: Outcome::Explained,
        ..Damage::PLAIN
    },
    Damage {
        name: "service-waits-for-the-store",
        story: "a service that runs from the store was started before the store was mounted",
        rows: &[15, 39],
        make: "busybox=$(in_store busybox-static); rest; umount /nix
               printf '%s\\n' '[Service]' \"ExecStart=$busybox/bin/sleep 10000\" \
               '[Install]' 'WantedBy=multi-user.target' >$units/from-the-store.service
               systemctl daemon-reload; systemctl --quiet enable from-the-store.service
               systemctl start from-the-store.service || true
               sleep 0.5; systemctl start nix.mount nix-daemon.socket",
        there: "systemctl cat from-the-store.service && ! active from-the-store.service",
        builds: Builds::Everybody,
        checks: &["mounts.waiting-units"],
        differs: &[
            "/etc/systemd/system/from-the-store.service",
            "/etc/systemd/system/multi-user.target.wants/from-the-store.service",
            "unit:from-the-store.service",
        ],
        kept: &["/etc/systemd/system/from-the-store.service"],
        ..BOUND
    },
];

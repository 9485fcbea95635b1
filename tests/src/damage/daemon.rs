//! nix-daemon and its units: stopped, failed, masked, lost, or somebody else's.

use super::{Builds, Damage, Ground, Outcome, Shows};

/// Only root can build, who does not need the daemon.
const DOWN: Damage = Damage {
    builds: Builds::Root,
    ..Damage::PLAIN
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "daemon-not-started",
        story: "nothing has started the daemon",
        rows: &[92],
        make: "rest",
        there: "! active nix-daemon.socket",
        checks: &["daemon.socket-dead"],
        ..DOWN
    },
    Damage {
        name: "socket-file-gone",
        story: "the socket was removed by a cleaner, and systemd believes that it listens",
        rows: &[119],
        make: "systemctl stop nix-daemon.service; rm /nix/var/nix/daemon-socket/socket",
        there: "! test -S /nix/var/nix/daemon-socket/socket",
        checks: &["daemon.socket-dead"],
        ..DOWN
    },
    Damage {
        name: "daemon-given-up",
        story: "the daemon ended at once too often, and systemd starts neither it nor its socket",
        rows: &[64, 119],
        make: "printf '[Service]\\nExecStartPre=/bin/false\\n' >/run/bad.conf
               mkdir -p /run/systemd/system/nix-daemon.service.d
               mv /run/bad.conf /run/systemd/system/nix-daemon.service.d/bad.conf
               systemctl daemon-reload; systemctl stop nix-daemon.service
               for turn in 1 2 3 4 5 6 7 8; do systemctl start nix-daemon.service || true; done
               rm -r /run/systemd/system/nix-daemon.service.d; systemctl daemon-reload
               runuser --user bob -- curl -s --unix-socket /nix/var/nix/daemon-socket/socket x:/ || true",
        there: "systemctl --quiet is-failed nix-daemon.service",
        checks: &["daemon.service-failed", "daemon.socket-dead"],
        builds: Builds::Untold,
        ..DOWN
    },
    Damage {
        name: "service-masked",
        story: "an earlier uninstaller has masked the service",
        rows: &[62],
        make: "rest; ln -sf /dev/null $units/nix-daemon.service; systemctl daemon-reload
               systemctl start nix-daemon.socket || true",
        there: "test \"$(systemctl is-enabled nix-daemon.service)\" = masked",
        checks: &["daemon.masked"],
        ..DOWN
    },
    Damage {
        name: "socket-masked",
        story: "an earlier uninstaller has masked the socket",
        rows: &[62],
        make: "rest; ln -sf /dev/null $units/nix-daemon.socket; systemctl daemon-reload",
        there: "test \"$(systemctl is-enabled nix-daemon.socket)\" = masked",
        checks: &["daemon.masked"],
        ..DOWN
    },
    Damage {
        name: "socket-disabled",
        story: "the units were not enabled when the image of the machine was made",
        rows: &[81],
        make: "systemctl --quiet disable nix-daemon.socket nix-daemon.service",
        there: "! enabled nix-daemon.socket",
        checks: &["daemon.disabled"],
        ..Damage::PLAIN
    },
    Damage {
        name: "disabled-and-booted",
        story: "the units were disabled, and the machine was booted since",
        rows: &[81],
        make: "systemctl --quiet disable nix-daemon.socket nix-daemon.service",
        shows: Shows::AfterReboot,
        there: "! active nix-daemon.socket && ! active nix-daemon.service",
        checks: &["daemon.disabled", "daemon.socket-dead"],
        ..DOWN
    },
    Damage {
        name: "service-lost",
        story: "the service's file is gone, after an upgrade of the distribution",
        rows: &[61],
        make: "rest; rm $units/nix-daemon.service; systemctl daemon-reload",
        there: "! test -e $units/nix-daemon.service",
        checks: &["daemon.unit-lost"],
        ..DOWN
    },
    Damage {
        name: "socket-lost",
        story: "`Unit nix-daemon.socket does not exist`",
        rows: &[65],
        make: "rest; rm $units/nix-daemon.socket; systemctl daemon-reload",
        there: "! systemctl cat nix-daemon.socket",
        checks: &["daemon.unit-lost"],
        ..DOWN
    },
    Damage {
        name: "both-units-lost-and-booted",
        story: "both files are gone, and the machine was booted since",
        rows: &[65, 81],
        make: "rm $units/nix-daemon.socket $units/nix-daemon.service",
        shows: Shows::AfterReboot,
        there: "! systemctl cat nix-daemon.socket",
        checks: &["daemon.unit-lost"],
        ..DOWN
    },
    Damage {
        name: "units-are-links-into-nix",
        story: "another installer has replaced the units by links into a profile",
        rows: &[61, 63],
        make: "rest; nix=$(in_store nix-2)
               for unit in nix-daemon.service nix-daemon.socket; do
                   ln -sf $nix/lib/systemd/system/$unit $units/$unit
               done
               systemctl daemon-reload; systemctl start nix-daemon.socket",
        there: "test -L $units/nix-daemon.service || test -L $units/nix-daemon.socket",
        builds: Builds::Untold,
        checks: &["daemon.unit-linked"],
        ..Damage::PLAIN
    },
    Damage {
        name: "links-into-a-store-that-comes-later",
        story: "the units are links into /nix, which is a mount: systemd read them before it",
        rows: &[59, 70],
        on: Ground::Bound,
        make: "nix=$(in_store nix-2)
               for unit in nix-daemon.service nix-daemon.socket; do
                   ln -sf $nix/lib/systemd/system/$unit $units/$unit
               done",
        shows: Shows::AfterReboot,
        there: "test -L $units/nix-daemon.socket",
        builds: Builds::Root,
        checks: &["daemon.unit-linked"],
        ..Damage::PLAIN
    },
    Damage {
        name: "unit-edited",
        story: "an administrator has changed the unit's file instead of adding a drop-in",
        make: "sed -i 's/^TimeoutStopSec=.*/TimeoutStopSec=33/' $units/nix-daemon.service
               systemctl daemon-reload",
        there: "grep -q TimeoutStopSec=33 $units/nix-daemon.service",
        checks: &["daemon.unit-edited"],
        outcome: Outcome::Asked,
        kept: &["/etc/systemd/system/nix-daemon.service"],
        ..Damage::PLAIN
    },
    Damage {
        name: "daemon-before-its-socket",
        story: "the daemon was started by itself: `Socket service already active, refusing`",
        rows: &[89],
        make: "rest; systemctl start nix-daemon.service",
        there: "active nix-daemon.service && ! active nix-daemon.socket",
        checks: &["daemon.before-socket"],
        ..Damage::PLAIN
    },
    Damage {
        name: "another-daemon-on-the-socket",
        story: "somebody has started a daemon of their own, on the same socket",
        rows: &[110],
        make: "rest; systemd-run --quiet --unit=mine $profile/bin/nix-daemon --daemon
               for turn in $(seq 50); do test -S /nix/var/nix/daemon-socket/socket && break; sleep 0.1; done",
        there: "active mine.service && ! active nix-daemon.socket",
        checks: &["daemon.socket-taken"],
        outcome: Outcome::Explained,
        ..Damage::PLAIN
    },
    Damage {
        name: "daemon-hangs",
        story: "the daemon takes connections and never answers",
        rows: &[119],
        make: "wake; systemctl kill --signal=STOP nix-daemon.service",
        there: "pid=$(systemctl show --property=MainPID --value nix-daemon.service)
                test \"$(sed -n 's/^State:.//p' /proc/$pid/status | cut -c 1)\" = T",
        checks: &["daemon.silent"],
        outcome: Outcome::Asked,
        ..DOWN
    },
    Damage {
        name: "drop-in-of-a-removed-installer",
        story: "a drop-in of an installer that was removed starts a program that is gone",
        rows: &[109, 133],
        make: "rest; printf '[Service]\\nExecStart=\\nExecStart=/usr/local/bin/determinate-nixd daemon\\n' \
               >$units/nix-daemon.service.d/installer.conf; systemctl daemon-reload
               systemctl start nix-daemon.service || true; systemctl start nix-daemon.socket || true",
        there: "systemctl show --property=ExecStart nix-daemon.service | grep -q determinate-nixd",
        checks: &["daemon.program-lost"],
        outcome: Outcome::Explained,
        kept: &["/etc/systemd/system/nix-daemon.service.d/installer.conf"],
        ..DOWN
    },
    Damage {
        name: "no-folder-for-the-socket",
        story: "systemd-tmpfiles had ended early, and the socket's folder is not there",
        rows: &[66],
        make: "rest; rm -r /nix/var/nix/daemon-socket; systemctl start nix-daemon.socket || true",
        there: "! test -d /nix/var/nix/daemon-socket",
        checks: &["tree.folder-missing"],
        ..DOWN
    },
];

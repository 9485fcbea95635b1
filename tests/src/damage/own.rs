//! Files of nixctl's own.

use super::{Damage, Outcome};

/// One of them is gone.
const LOST: Damage = Damage {
    checks: &["own.lost"],
    ..Damage::PLAIN
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "rule-for-the-socket-folder-gone",
        story: "somebody has removed the file in /etc/tmpfiles.d that makes the socket's folder",
        rows: &[66],
        make: "rm /etc/tmpfiles.d/nix-daemon.conf",
        there: "! test -e /etc/tmpfiles.d/nix-daemon.conf",
        ..LOST
    },
    Damage {
        name: "own-socket-lost",
        story: "the unit of nixctl's own socket is gone",
        make: "rm $units/nixctld.socket",
        there: "! test -e $units/nixctld.socket",
        ..LOST
    },
    Damage {
        name: "own-service-edited",
        story: "the unit of nixctl itself was changed",
        make: "echo '# mine' >>$units/nixctld.service; systemctl daemon-reload",
        there: "grep -q '# mine' $units/nixctld.service",
        checks: &["own.changed"],
        outcome: Outcome::Asked,
        kept: &["/etc/systemd/system/nixctld.service"],
        ..Damage::PLAIN
    },
    Damage {
        name: "bus-policy-lost",
        story: "the bus does not let nixctld take its name: the policy is gone",
        make: "rm /etc/dbus-1/system.d/org.nixctl1.conf",
        there: "! test -e /etc/dbus-1/system.d/org.nixctl1.conf",
        ..LOST
    },
    Damage {
        name: "polkit-rule-lost",
        story: "members of the group are asked for a password: the rule is gone",
        make: "rm /usr/share/polkit-1/rules.d/50-nixctl.rules",
        there: "! test -e /usr/share/polkit-1/rules.d/50-nixctl.rules",
        ..LOST
    },
    Damage {
        name: "polkit-actions-lost",
        story: "polkit knows no action of nixctl any more",
        make: "rm /usr/share/polkit-1/actions/org.nixctl1.policy",
        there: "! pkaction --action-id org.nixctl1.install",
        ..LOST
    },
    Damage {
        name: "own-group-lost",
        story: "the rule that makes nixctl's group is gone",
        make: "rm /etc/sysusers.d/nixctl.conf",
        there: "! test -e /etc/sysusers.d/nixctl.conf",
        ..LOST
    },
    Damage {
        name: "state-open-to-all",
        story: "a chmod that went too far has opened nixctl's state to everybody",
        make: "chmod 777 /var/lib/nixctl",
        there: "test \"$(stat --format %a /var/lib/nixctl)\" = 777",
        checks: &["own.rights"],
        ..Damage::PLAIN
    },
    Damage {
        name: "settings-folder-closed",
        story: "/etc/nix was closed, and users' programs do not see the settings",
        make: "chmod 700 /etc/nix",
        there: "! runuser --user bob -- ls /etc/nix",
        builds: super::Builds::Untold,
        checks: &["conf.unreadable"],
        // Whoever closed it may keep a secret in it.
        outcome: Outcome::Asked,
        ..Damage::PLAIN
    },
    Damage {
        name: "shell-script-edited",
        story: "somebody has changed the file that puts Nix on PATH",
        make: "echo 'export MINE=1' >>/etc/nix/nixctl.sh",
        there: "grep -q MINE /etc/nix/nixctl.sh",
        checks: &["own.changed"],
        outcome: Outcome::Asked,
        kept: &["/etc/nix/nixctl.sh"],
        ..Damage::PLAIN
    },
];

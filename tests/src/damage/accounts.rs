//! The build users and their group.

use super::{Builds, Damage, Outcome};

/// No build gets a user.
const NOBODY: Damage = Damage {
    builds: Builds::Nobody,
    ..Damage::PLAIN
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "group-gone",
        story: "a removal that stopped half way has taken the group",
        rows: &[47],
        make: "sed -i '/^nixbld:/d' /etc/group /etc/gshadow",
        there: "! getent group nixbld",
        checks: &["accounts.group-missing"],
        ..NOBODY
    },
    Damage {
        name: "group-without-members",
        story: "`the build users group 'nixbld' has no members`, after a migration",
        rows: &[48],
        make: "gpasswd --members '' nixbld",
        there: "test -z \"$(getent group nixbld | cut -d: -f4)\"",
        checks: &["accounts.not-members"],
        ..NOBODY
    },
    Damage {
        name: "one-is-no-member",
        story: "an installer was killed and had added 31 of 32",
        rows: &[57],
        make: "gpasswd --delete nixbld32 nixbld",
        there: "! getent group nixbld | cut -d: -f4 | tr , '\\n' | grep -qx nixbld32",
        checks: &["accounts.not-members"],
        ..Damage::PLAIN
    },
    Damage {
        name: "some-users-gone",
        story: "an update of the system has taken the numbers of four of the users",
        rows: &[45, 46],
        make: "for user in 1 2 3 4; do sed -i \"/^nixbld$user:/d\" /etc/passwd /etc/shadow; done",
        there: "! getent passwd nixbld2",
        builds: Builds::Untold,
        checks: &["accounts.users-missing"],
        // The users stand at the end of the files then.
        differs: &["/etc/passwd", "/etc/shadow"],
        ..Damage::PLAIN
    },
    Damage {
        name: "all-users-gone",
        story: "somebody has removed users that nobody logs in as",
        rows: &[45],
        make: "for user in $(seq 32); do userdel nixbld$user; done",
        there: "! getent passwd nixbld1 && ! getent passwd nixbld32",
        checks: &["accounts.users-missing", "accounts.group-missing"],
        ..NOBODY
    },
    Damage {
        name: "group-with-a-blank",
        story: "the group's name has a blank at its end, after an edit by hand",
        rows: &[49],
        make: "sed -i 's/^nixbld:/nixbld :/' /etc/group",
        there: "! getent group nixbld",
        checks: &["accounts.group-missing"],
        // The entry goes to the end of the file.
        differs: &["group:nixbld ", "/etc/group"],
        ..NOBODY
    },
    Damage {
        name: "number-of-a-user-taken",
        story: "other software has made a user with the number of a build user",
        rows: &[53],
        make: "useradd --non-unique --uid 30005 --no-create-home intruder",
        there: "test \"$(getent passwd intruder | cut -d: -f3)\" = 30005",
        checks: &["accounts.shared-id"],
        outcome: Outcome::Explained,
        kept: &["/etc/passwd"],
        ..Damage::PLAIN
    },
    Damage {
        name: "group-twice",
        story: "two installers have each added the group, and its members differ",
        rows: &[52],
        make: "sed -i '/^nixbld:/i nixbld:x:977:nixbld1' /etc/group",
        there: "test \"$(grep -c '^nixbld:' /etc/group)\" = 2",
        builds: Builds::Untold,
        checks: &["accounts.duplicate-group"],
        outcome: Outcome::Explained,
        kept: &["/etc/group"],
        ..Damage::PLAIN
    },
    Damage {
        name: "directory-without-an-answer",
        story: "the directory service in nsswitch.conf does not answer for groups",
        rows: &[50],
        make: "sed -i 's/^group:.*/group: nothere [UNAVAIL=return] files/' /etc/nsswitch.conf
               systemctl try-restart nix-daemon.service",
        there: "! getent group nixbld",
        checks: &["accounts.directory-silent", "accounts.group-missing"],
        outcome: Outcome::Explained,
        kept: &["/etc/nsswitch.conf", "/etc/group"],
        ..NOBODY
    },
];

//! nix.conf, and the files that it names.

use super::{Builds, Damage, Outcome, Shows};

/// The user has to agree before nix.conf is changed; until then it is as it is.
const ASKED: Damage = Damage {
    outcome: Outcome::Asked,
    kept: &["/etc/nix/nix.conf"],
    ..Damage::PLAIN
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "conf-gone",
        story: "a removal of something else has taken nix.conf",
        rows: &[101],
        make: "rm $conf",
        there: "! test -e $conf",
        // Nix has settings of its own without it.
        builds: Builds::Untold,
        checks: &["conf.settings-missing", "own.lost"],
        differs: &["/etc/nix/nix.conf"],
        ..Damage::PLAIN
    },
    Damage {
        name: "conf-with-half-a-line",
        story: "an edit by hand has lost the equals sign of a setting",
        make: "echo 'max-jobs 4' >>$conf",
        there: "settings | grep -q 'configuration line .max-jobs 4'",
        builds: Builds::Nobody,
        checks: &["conf.syntax", "conf.refused"],
        ..ASKED
    },
    Damage {
        name: "conf-with-a-bad-value",
        story: "a setting has a value that Nix does not take",
        make: "echo 'cores = many' >>$conf",
        there: "settings | grep -q \"invalid value\"",
        builds: Builds::Nobody,
        checks: &["conf.refused", "conf.syntax"],
        ..ASKED
    },
    Damage {
        name: "included-file-gone",
        story: "nix.conf includes a file that another tool has removed",
        make: "echo 'include /etc/nix/cachix.conf' >>$conf",
        there: "settings | grep -q cachix.conf",
        builds: Builds::Nobody,
        checks: &["conf.include-missing", "conf.refused"],
        ..ASKED
    },
    Damage {
        name: "certificate-file-gone",
        story: "`ssl-cert-file` names the bundle of a proxy that is not used any more",
        rows: &[41, 42],
        make: "sed -i 's|^ssl-cert-file.*|ssl-cert-file = /etc/ssl/proxy.crt|' $conf
               systemctl try-restart nix-daemon.service",
        there: "settings | grep -q 'ssl-cert-file = /etc/ssl/proxy.crt'",
        checks: &["conf.missing-ca"],
        differs: &["/etc/nix/nix.conf"],
        ..Damage::PLAIN
    },
    Damage {
        name: "hook-after-builds-gone",
        story: "the program of `post-build-hook` is gone, and every build fails at its end",
        rows: &[122],
        make: "echo 'post-build-hook = /nix/var/determinate/post-build-hook.sh' >>$conf
               systemctl try-restart nix-daemon.service",
        there: "settings | grep -q 'post-build-hook = /nix/var/determinate' &&
                ! test -e /nix/var/determinate/post-build-hook.sh",
        builds: Builds::Nobody,
        checks: &["conf.hook-missing"],
        ..ASKED
    },
    Damage {
        name: "passwords-for-caches-gone",
        story: "`netrc-file` names a file that an update of the system has removed",
        make: "echo 'netrc-file = /root/netrc' >>$conf
               systemctl try-restart nix-daemon.service",
        there: "settings | grep -q 'netrc-file = /root/netrc' && ! test -e /root/netrc",
        checks: &["conf.netrc-missing"],
        outcome: Outcome::Explained,
        ..ASKED
    },
    Damage {
        name: "signing-key-gone",
        story: "an uninstaller has removed all of /etc/nix, the signing key included",
        rows: &[103],
        make: "echo 'secret-key-files = /etc/nix/signing.key' >>$conf
               systemctl try-restart nix-daemon.service",
        there: "settings | grep -q 'secret-key-files = /etc/nix/signing.key' &&
                ! test -e /etc/nix/signing.key",
        builds: Builds::Nobody,
        checks: &["conf.key-missing"],
        ..ASKED
    },
    Damage {
        name: "another-group-in-conf",
        story: "the group of the build users is set again, to one that does not exist",
        rows: &[49],
        make: "echo 'build-users-group = nixbuild' >>$conf
               systemctl try-restart nix-daemon.service",
        there: "settings | grep -qx 'build-users-group = nixbuild'",
        builds: Builds::Nobody,
        checks: &["conf.wrong-group"],
        ..ASKED
    },
    Damage {
        name: "no-group-in-conf",
        story: "an action for containers has written `build-users-group =`, and builds run as root",
        rows: &[92],
        make: "echo 'build-users-group =' >>$conf; systemctl try-restart nix-daemon.service",
        there: "settings | grep -qx 'build-users-group = *'",
        builds: Builds::Everybody,
        checks: &["conf.wrong-group"],
        ..ASKED
    },
    Damage {
        name: "conf-closed",
        story: "nix.conf holds a token, so that somebody has closed it to others",
        make: "chmod 600 $conf",
        there: "! runuser --user bob -- cat $conf",
        builds: Builds::Untold,
        checks: &["conf.unreadable", "own.rights"],
        // Opening it would show the token to everybody: only its owner can move that away.
        outcome: Outcome::Explained,
        ..ASKED
    },
    Damage {
        name: "setting-misspelt",
        story: "a setting is spelt wrong, and Nix only warns",
        make: "echo 'max-jbos = 4' >>$conf",
        there: "settings | grep -q \"unknown setting 'max-jbos'\"",
        checks: &["conf.unknown-setting"],
        outcome: Outcome::Explained,
        ..ASKED
    },
    Damage {
        name: "settings-taken-out",
        story: "a tool that manages files has written nix.conf anew, without what Nix needs",
        rows: &[101],
        make: "sed -i '/^build-users-group/d; /^ssl-cert-file/d; /^extra-experimental-features/d' $conf
               systemctl try-restart nix-daemon.service",
        there: "! grep -q build-users-group $conf",
        builds: Builds::Untold,
        checks: &["conf.settings-missing"],
        differs: &["/etc/nix/nix.conf"],
        ..Damage::PLAIN
    },
    Damage {
        name: "conf-is-a-link-to-nothing",
        story: "nix-darwin or NixOS once managed nix.conf and left a link to nothing",
        rows: &[40],
        make: "ln -sf /etc/static/nix/nix.conf $conf",
        there: "test -L $conf && ! test -e $conf",
        builds: Builds::Untold,
        checks: &["conf.unreadable"],
        outcome: Outcome::Asked,
        differs: &["/etc/nix/nix.conf"],
        ..Damage::PLAIN
    },
    Damage {
        name: "no-build-allowed",
        story: "`max-jobs = 0` is left of a time when another machine built",
        make: "echo 'max-jobs = 0' >>$conf; systemctl try-restart nix-daemon.service",
        there: "settings | grep -qx 'max-jobs = 0'",
        builds: Builds::Nobody,
        checks: &["conf.breaking"],
        outcome: Outcome::Explained,
        ..ASKED
    },
    Damage {
        name: "namespaces-restricted",
        story: "an update hardens all services: they may not make namespaces, and builds see the machine",
        rows: &[72],
        make: "mkdir -p $units/service.d
               printf '[Service]\\nRestrictNamespaces=yes\\n' >$units/service.d/hardening.conf",
        shows: Shows::AfterReboot,
        there: "! systemd-run --quiet --wait --collect unshare --mount true &&
                ! settings | grep -qx 'sandbox = false'",
        // Nix builds without a sandbox where it cannot make one, and does not say so.
        builds: Builds::Everybody,
        checks: &["sandbox.broken"],
        outcome: Outcome::Asked,
        differs: &["/etc/nix/nix.conf"],
        kept: &[
            "/etc/systemd/system/service.d",
            "/etc/systemd/system/service.d/hardening.conf",
        ],
        ..Damage::PLAIN
    },
];

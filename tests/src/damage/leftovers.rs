//! What other installers have left behind. It is somebody's: it is told, and stays.

use super::{Builds, Damage, Outcome};

/// Harmless until somebody runs it.
const TOLD: Damage = Damage {
    outcome: Outcome::Explained,
    ..Damage::PLAIN
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "package-of-the-distribution",
        story: "the distribution's own Nix is installed beside this one",
        rows: &[110],
        make: "mkdir -p /var/tmp/package/DEBIAN /var/tmp/package/usr/bin; cd /var/tmp
               printf '%s\\n' 'Package: nix-bin' 'Version: 2.8.0' 'Architecture: all' \
               'Maintainer: nobody <nobody@example.org>' 'Description: Nix' >package/DEBIAN/control
               printf '#!/bin/sh\\necho nix-env (Nix) 2.8.0\\n' >package/usr/bin/nix
               chmod 755 package/usr/bin/nix; ln -s nix package/usr/bin/nix-env
               dpkg-deb --root-owner-group --build package nix-bin.deb; dpkg --install nix-bin.deb",
        there: "dpkg-query --show nix-bin",
        checks: &["leftovers.package"],
        kept: &["/usr/bin/nix", "/usr/bin/nix-env"],
        ..TOLD
    },
    Damage {
        name: "backups-of-start-up-files",
        story: "the official installer refuses: `backup-before-nix already exists`",
        rows: &[107],
        make: "for file in /etc/bash.bashrc /etc/zsh/zshrc; do
                   echo '# the only copy' >$file.backup-before-nix
               done",
        there: "test -e /etc/bash.bashrc.backup-before-nix",
        checks: &["leftovers.backups"],
        kept: &[
            "/etc/bash.bashrc.backup-before-nix",
            "/etc/zsh/zshrc.backup-before-nix",
        ],
        ..TOLD
    },
    Damage {
        name: "receipt-of-an-installer",
        story: "another installer's receipt and uninstaller lie in /nix",
        rows: &[96],
        make: "echo '{\"version\":\"0.11.0\",\"actions\":[]}' >/nix/receipt.json
               chmod 600 /nix/receipt.json
               printf '#!/bin/sh\\nexit 1\\n' >/nix/nix-installer; chmod 755 /nix/nix-installer",
        there: "test -e /nix/receipt.json",
        checks: &["leftovers.receipt"],
        kept: &["/nix/receipt.json", "/nix/nix-installer"],
        ..TOLD
    },
    Damage {
        name: "daemon-of-an-installer",
        story: "another installer's daemon and its socket are still there",
        rows: &[109],
        make: "printf '#!/bin/sh\\nexit 1\\n' >/usr/local/bin/determinate-nixd
               chmod 555 /usr/local/bin/determinate-nixd
               printf '%s\\n' '[Socket]' 'ListenStream=/nix/var/determinate/determinate-nixd.socket' \
               'Service=nix-daemon.service' '[Install]' 'WantedBy=sockets.target' \
               >$units/determinate-nixd.socket
               systemctl daemon-reload",
        there: "test -e /usr/local/bin/determinate-nixd",
        checks: &["leftovers.receipt"],
        kept: &[
            "/usr/local/bin/determinate-nixd",
            "/etc/systemd/system/determinate-nixd.socket",
        ],
        ..TOLD
    },
    Damage {
        name: "links-of-a-removed-generation",
        story: "/etc/static and links into it are left of NixOS or nix-darwin",
        rows: &[36, 40],
        make: "ln -s /nix/store/4gxypn8rzkkcmwcfq1xi1xnbkb7bhkpz-etc/etc /etc/static
               ln -s /etc/static/gitconfig /etc/gitconfig",
        there: "test -L /etc/static && ! test -e /etc/static",
        checks: &["leftovers.static-links"],
        ..TOLD
    },
    Damage {
        name: "installation-of-one-user",
        story: "a user has a Nix of their own from before there was a daemon",
        rows: &[111],
        make: "runuser --login alice --command 'mkdir -p ~/.nix-defexpr
               echo \". /home/alice/.nix-profile/etc/profile.d/nix.sh # added by Nix installer\" \
               >>~/.profile'
               printf '{\"version\":3,\"elements\":{}}' >/var/tmp/manifest.json
               mkdir -p /home/alice/.local/state/nix/profiles/profile-1
               cp /var/tmp/manifest.json /home/alice/.local/state/nix/profiles/profile-1/
               ln -s profile-1 /home/alice/.local/state/nix/profiles/profile
               chown -R alice:alice /home/alice/.local",
        there: "grep -q 'added by Nix installer' /home/alice/.profile",
        checks: &["leftovers.single-user"],
        builds: Builds::Untold,
        kept: &["/home/alice/.profile"],
        ..TOLD
    },
];

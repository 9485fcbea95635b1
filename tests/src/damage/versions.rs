//! Versions that do not fit together.

use super::{Builds, Damage, Outcome};

/// Fetches the newer release and registers it, as an upgrade by hand does; `$newer` is its Nix.
macro_rules! with_newer {
    ($then:literal) => {
        concat!(
            "curl -sSf \"$NEWER\" | tar -C /var/tmp -xJ; cd /var/tmp/nix-*-linux
             for path in store/*; do test -e /nix/$path || cp -a $path /nix/store/; done
             $profile/bin/nix-store --load-db <.reginfo
             newer=/nix/$(echo store/*-nix-[0-9]*)
             ",
            $then
        )
    };
}

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "old-daemon-new-client",
        story: "Nix was upgraded by hand, and the daemon was not restarted",
        rows: &[120, 123],
        make: with_newer!("wake; $profile/bin/nix-env --quiet --profile $profile --install $newer"),
        there:
            "running=$(readlink /proc/$(systemctl show --property=MainPID --value nix-daemon)/exe)
                test -n \"$running\" && test \"$running\" != \"$(readlink -f $profile/bin/nix-daemon)\"",
        builds: Builds::Untold,
        checks: &["versions.daemon-old"],
        differs: &[
            "/nix/store",
            "/nix/var/nix/profiles",
            "nix:",
            "/root",
            "unit:nix-daemon.service",
        ],
        ..Damage::PLAIN
    },
    Damage {
        name: "another-nix-first",
        story: "a Nix of another version lies in /usr/local/bin, before the one of the daemon",
        rows: &[110, 130],
        make: with_newer!(
            "for program in nix nix-build nix-env; do
                 ln -s $newer/bin/$program /usr/local/bin/$program
             done"
        ),
        there: "test -x /usr/local/bin/nix",
        builds: Builds::Untold,
        checks: &["versions.mixed"],
        outcome: Outcome::Explained,
        kept: &["/usr/local/bin/nix"],
        ..Damage::PLAIN
    },
    Damage {
        name: "a-user-has-another-nix",
        story: "a user has installed a newer Nix into the own profile",
        rows: &[123],
        make: with_newer!("runuser --login bob --command \"nix-env --quiet --install $newer\""),
        there: "runuser --login bob --command 'nix --version' | grep -qv ' 2.26'",
        builds: Builds::Everybody,
        checks: &["versions.mixed"],
        outcome: Outcome::Explained,
        ..Damage::PLAIN
    },
];

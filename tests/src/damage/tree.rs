//! Folders, links and store paths below /nix.

use super::{Builds, Damage, Outcome};

/// Nix itself cannot be started.
const NOBODY: Damage = Damage {
    builds: Builds::Nobody,
    ..Damage::PLAIN
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "store-of-a-user",
        story: "a chown that went too far has given the store to a user",
        make: "rest; chown alice:alice /nix /nix/store; systemctl start nix-daemon.socket",
        there: "test \"$(stat --format %U /nix)\" = alice",
        builds: Builds::Untold,
        checks: &["tree.rights"],
        ..Damage::PLAIN
    },
    Damage {
        name: "nix-closed-to-others",
        story: "root's umask was 077 when /nix was made again from a backup",
        make: "chmod 700 /nix",
        there: "! runuser --user bob -- ls /nix/store",
        builds: Builds::Root,
        checks: &["tree.rights"],
        ..Damage::PLAIN
    },
    Damage {
        name: "store-without-write-bit",
        story: "a tool that hardens machines has taken the group's right to write to the store",
        make: "rest; chmod 0755 /nix/store; systemctl start nix-daemon.socket",
        there: "test \"$(stat --format %a /nix/store)\" != 1775",
        builds: Builds::Untold,
        checks: &["tree.rights"],
        ..Damage::PLAIN
    },
    Damage {
        name: "state-of-a-user",
        story: "an installation for a single user had owned /nix/var, and was only half replaced",
        make: "rest; chown -R alice:alice /nix/var/nix/profiles /nix/var/nix/gcroots
               systemctl start nix-daemon.socket",
        there: "test \"$(stat --format %U /nix/var/nix/profiles)\" = alice",
        builds: Builds::Untold,
        checks: &["tree.rights"],
        // Whose a link is means nothing.
        differs: &[
            "/nix/var/nix/profiles/nixctl",
            "/nix/var/nix/profiles/per-user/root",
            "/nix/var/nix/gcroots/auto",
        ],
        ..Damage::PLAIN
    },
    Damage {
        name: "database-folder-closed",
        story: "the folder of the database was closed, and clients cannot even look",
        make: "chmod 000 /nix/var/nix/db; chown alice /nix/var/nix/db",
        there: "test \"$(stat --format %U%a /nix/var/nix/db)\" = alice0",
        builds: Builds::Untold,
        checks: &["tree.rights"],
        ..Damage::PLAIN
    },
    Damage {
        name: "no-per-user-profiles",
        story: "`nix profile` fails, since the folder of users' profiles is not there",
        rows: &[51, 126],
        // The daemon would make it again as soon as it is spoken to.
        make: "rest; rm -r /nix/var/nix/profiles/per-user; systemctl start nix-daemon.socket",
        there: "! test -d /nix/var/nix/profiles/per-user",
        builds: Builds::Untold,
        checks: &["tree.folder-missing"],
        // Nix makes a user's own folder there when that user needs it.
        differs: &["/nix/var/nix/profiles/per-user/root"],
        ..Damage::PLAIN
    },
    Damage {
        name: "no-roots-folder",
        story: "the folder with the roots of the garbage collector is not there",
        rows: &[125],
        make: "rest; rm -r /nix/var/nix/gcroots/auto /nix/var/nix/gcroots/per-user
               rmdir /nix/var/nix/temproots || rm -r /nix/var/nix/temproots
               systemctl start nix-daemon.socket",
        there: "! test -d /nix/var/nix/gcroots/per-user",
        builds: Builds::Untold,
        checks: &["tree.folder-missing"],
        differs: &["/nix/var/nix/gcroots"],
        ..Damage::PLAIN
    },
    Damage {
        name: "profile-link-gone",
        story: "an upgrade has removed Nix from its profile",
        rows: &[65, 118],
        make: "rest; rm $profile; systemctl start nix-daemon.socket",
        there: "! $profile/bin/nix --version",
        checks: &["tree.profile-dangling"],
        ..NOBODY
    },
    Damage {
        name: "profile-generation-gone",
        story: "the link's target was taken for an old generation and removed",
        rows: &[118, 125],
        make: "rest; rm $profile-*-link; systemctl start nix-daemon.socket",
        there: "! $profile/bin/nix --version",
        checks: &["tree.profile-dangling"],
        ..NOBODY
    },
    Damage {
        name: "profile-in-the-store-gone",
        story: "the garbage collector has taken the environment that the profile leads to",
        rows: &[125],
        make: "rest; environment=$(readlink -f $profile); chmod -R u+w $environment
               rm -r $environment; systemctl start nix-daemon.socket",
        there: "! $profile/bin/nix --version",
        checks: &["tree.profile-dangling", "tree.path-missing"],
        ..NOBODY
    },
    Damage {
        name: "profile-emptied",
        story: "a user has taken Nix out of its own profile: `nix-env -e '*'`",
        rows: &[124],
        make: "rest; $(in_store nix-2)/bin/nix-env --profile $profile --uninstall '.*'
               systemctl start nix-daemon.socket",
        there: "! $profile/bin/nix --version",
        checks: &["tree.profile-dangling"],
        differs: &["/nix/var/nix/profiles", "/nix/store", "nix:", "/root"],
        ..NOBODY
    },
    Damage {
        name: "default-profile-dangling",
        story: "the profile of all users leads to a generation of an earlier installation",
        rows: &[65, 93],
        make: "ln -s /nix/store/4gxypn8rzkkcmwcfq1xi1xnbkb7bhkpz-user-environment \
               /nix/var/nix/profiles/default-1-link
               ln -s default-1-link /nix/var/nix/profiles/default",
        there: "test -L /nix/var/nix/profiles/default && ! test -e /nix/var/nix/profiles/default",
        checks: &["tree.default-profile-dangling"],
        differs: &["/nix/var/nix/profiles"],
        ..Damage::PLAIN
    },
    Damage {
        name: "roots-profile-dangling",
        story: "root's own profile points to what an earlier installation had",
        rows: &[65],
        make: "ln -s /nix/var/nix/profiles/per-user/root/profile-3-link /root/.nix-profile",
        there: "test -L /root/.nix-profile && ! test -e /root/.nix-profile",
        checks: &["tree.default-profile-dangling"],
        differs: &["/root/.nix-profile", "/root/.nix-profile.set-aside"],
        ..Damage::PLAIN
    },
    Damage {
        name: "users-profile-dangling",
        story: "nix-collect-garbage has removed what a user's profile leads to",
        rows: &[125],
        make: "own=/nix/var/nix/profiles/per-user/alice; mkdir -p $own
               ln -s /nix/store/4gxypn8rzkkcmwcfq1xi1xnbkb7bhkpz-user-environment $own/profile-1-link
               ln -s profile-1-link $own/profile; chown -R --no-dereference alice:alice $own
               ln -s $own/profile /home/alice/.nix-profile
               chown --no-dereference alice:alice /home/alice/.nix-profile",
        there: "test -L /home/alice/.nix-profile && ! test -e /home/alice/.nix-profile",
        checks: &["tree.user-profile-dangling"],
        outcome: Outcome::Explained,
        ..Damage::PLAIN
    },
    Damage {
        name: "root-of-the-collector-dangling",
        story: "a root of the garbage collector names a store path that is gone",
        rows: &[125],
        make: "ln -s /nix/store/4gxypn8rzkkcmwcfq1xi1xnbkb7bhkpz-gone /nix/var/nix/gcroots/gone",
        there: "test -L /nix/var/nix/gcroots/gone",
        checks: &["tree.root-dangling"],
        differs: &["/nix/var/nix/gcroots"],
        ..Damage::PLAIN
    },
    Damage {
        name: "certificates-path-gone",
        story: "a store path of the release is gone, removed by hand",
        make: "path=$(in_store nss-cacert); chmod -R u+w $path; rm -r $path",
        there: "! test -e \"$(sqlite3 $db/db.sqlite \
                \"select path from ValidPaths where path like '%-nss-cacert-%'\")\"",
        checks: &["tree.path-missing"],
        ..Damage::PLAIN
    },
    Damage {
        name: "nix-path-gone",
        story: "the store path of Nix itself is gone",
        make: "rest; path=$(in_store nix-2); chmod -R u+w $path; rm -r $path
               systemctl start nix-daemon.socket",
        there: "! $profile/bin/nix --version",
        checks: &["tree.path-missing"],
        ..NOBODY
    },
    Damage {
        name: "program-of-no-length",
        story: "after a power cut the program of Nix is a file of zero length",
        rows: &[128],
        make: "rest; file=$(readlink -f $profile/bin/nix); chmod u+w $file; : >$file
               systemctl start nix-daemon.socket",
        there: "! test -s $profile/bin/nix",
        checks: &["tree.path-damaged"],
        ..NOBODY
    },
    Damage {
        name: "library-cut-off",
        story: "a library of Nix was cut off by a disk error",
        rows: &[128],
        make: "rest; file=$(readlink -f $(in_store nix-2)/lib/libsqlite3.so.0); chmod u+w $file
               truncate --size 4096 $file; systemctl start nix-daemon.socket",
        there: "! $profile/bin/nix --version",
        checks: &["tree.path-damaged"],
        ..NOBODY
    },
];

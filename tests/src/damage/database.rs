//! Nix's databases.

use super::{Builds, Damage, Outcome};

/// The store cannot be opened.
const NOBODY: Damage = Damage {
    builds: Builds::Nobody,
    ..Damage::PLAIN
};

/// Trying to build would write to what is damaged.
const UNTRIED: Damage = Damage {
    builds: Builds::Untold,
    outcome: Outcome::Asked,
    // What is registered anew does not know its deriver; that nothing is lost, the looks see.
    differs: &["nix:"],
    ..Damage::PLAIN
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "database-malformed",
        story: "`database disk image is malformed`, after a crash of the machine's host",
        rows: &[128],
        make: "rest; sqlite3 $db/db.sqlite 'pragma wal_checkpoint(truncate)' >/dev/null
               dd if=/dev/urandom of=$db/db.sqlite bs=4096 seek=1 count=6 conv=notrunc status=none
               systemctl start nix-daemon.socket",
        there: "! sound_database || ! all_registered",
        checks: &["database.malformed"],
        ..UNTRIED
    },
    Damage {
        name: "database-is-no-database",
        story: "the first block of the database was overwritten",
        rows: &[128],
        make: "rest; sqlite3 $db/db.sqlite 'pragma wal_checkpoint(truncate)' >/dev/null
               dd if=/dev/urandom of=$db/db.sqlite bs=4096 count=1 conv=notrunc status=none
               systemctl start nix-daemon.socket",
        there: "! sound_database || ! all_registered",
        checks: &["database.malformed"],
        ..UNTRIED
    },
    Damage {
        name: "database-empty",
        story: "the disk was full, and the database is a file of zero length",
        rows: &[128],
        make: "rest; rm -f $db/db.sqlite-wal $db/db.sqlite-shm; : >$db/db.sqlite
               systemctl start nix-daemon.socket",
        there: "! test -s $db/db.sqlite || ! all_registered",
        checks: &["database.missing"],
        ..UNTRIED
    },
    Damage {
        name: "database-gone",
        story: "the database was not in the backup that /nix was restored from",
        rows: &[128],
        make: "rest; rm $db/db.sqlite*; systemctl start nix-daemon.socket",
        there: "! test -s $db/db.sqlite || ! all_registered",
        checks: &["database.missing"],
        ..UNTRIED
    },
    Damage {
        name: "schema-empty",
        story: "after a power cut the file with the database's version is empty",
        rows: &[128],
        make: "rest; : >$db/schema; systemctl start nix-daemon.socket",
        there: "! test -s $db/schema",
        checks: &["database.schema-damaged"],
        ..NOBODY
    },
    Damage {
        name: "schema-gone",
        story: "the file with the database's version is gone",
        make: "rest; rm $db/schema; systemctl start nix-daemon.socket",
        there: "! test -e $db/schema",
        builds: Builds::Untold,
        checks: &["database.schema-damaged"],
        ..Damage::PLAIN
    },
    Damage {
        name: "schema-of-a-newer-nix",
        story: "a newer Nix has used the store, and an older one was put back",
        make: "rest; echo 99 >$db/schema; systemctl start nix-daemon.socket",
        there: "test \"$(cat $db/schema)\" = 99",
        checks: &["database.schema-too-new"],
        outcome: Outcome::Explained,
        kept: &["/nix/var/nix/db/schema"],
        ..NOBODY
    },
    Damage {
        name: "list-of-caches-malformed",
        story: "the list of what binary caches have is damaged: `malformed`",
        rows: &[129],
        make: "mkdir -p /root/.cache/nix
               head -c 20000 /dev/urandom >/root/.cache/nix/binary-cache-v6.sqlite",
        there: "file=/root/.cache/nix/binary-cache-v6.sqlite
                test -e $file && ! sqlite3 -readonly $file 'pragma quick_check'",
        checks: &["database.cache-malformed"],
        ..Damage::PLAIN
    },
    Damage {
        name: "nix-not-registered",
        story: "the database was restored from before the last upgrade and does not know Nix",
        rows: &[128],
        make: "rest; sqlite3 $db/db.sqlite \"pragma foreign_keys = off;
               delete from ValidPaths where path like '%-nss-cacert-%';\"
               systemctl start nix-daemon.socket",
        there: "! all_registered",
        checks: &["database.unregistered"],
        // Taking the row out loses which other paths refer to it, which a database from before never
        // knew; no repair can know it either.
        differs: &["nix:"],
        ..Damage::PLAIN
    },
];

//! Nix's database is damaged on a machine and put back together: from a copy, and from nothing but the
//! store. What is known afterwards is compared with what was known before, by SQLite and by Nix, which
//! share nothing with the product.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use nixctl_lab::damage::CHECKS;
use nixctl_lab::require;
use nixctl_lab::world::World;

const DB: &str = "/nix/var/nix/db/db.sqlite";
/// A copy as the daemon names it, made by SQLite's own program.
const COPY: &str = "install -d -m 700 /var/lib/nixctl/database && \
    sqlite3 /nix/var/nix/db/db.sqlite \
    '.backup /var/lib/nixctl/database/db-000001-1700000000000-0000000000001.sqlite'";
const REST: &str = "systemctl stop nix-daemon.socket nix-daemon.service && \
    sqlite3 /nix/var/nix/db/db.sqlite 'pragma wal_checkpoint(truncate)' >/dev/null";
/// The middle of it is zeros.
const ZERO_MIDDLE: &str = "pages=$(($(stat -c %s /nix/var/nix/db/db.sqlite) / 4096)) && \
    dd if=/dev/zero of=/nix/var/nix/db/db.sqlite bs=4096 seek=$((pages / 3)) \
    count=$((pages / 3)) conv=notrunc status=none";
/// Nothing of it is left.
const OVERWRITE: &str = "dd if=/dev/urandom of=/nix/var/nix/db/db.sqlite bs=4096 \
    count=$(($(stat -c %s /nix/var/nix/db/db.sqlite) / 4096)) conv=notrunc status=none";
const WAKE: &str = "systemctl start nix-daemon.socket";
/// With what paths are and what they refer to; all of it was registered by Nix itself.
const PATHS: &str = "select path, hash, narSize from ValidPaths";
const REFERENCES: &str = "select a.path, b.path from Refs \
    join ValidPaths a on a.id = referrer join ValidPaths b on b.id = reference";

fn root(world: &World, command: &str) -> String {
    let output = world.run("root", command).unwrap();
    assert!(
        output.success(),
        "{command}: {output:?}\n{}",
        world.daemon_log()
    );
    output.stdout
}

fn rows(world: &World, question: &str) -> BTreeSet<String> {
    let lines = root(world, &format!("sqlite3 -readonly {DB} '{question}'"));
    lines.lines().map(str::to_owned).collect()
}

/// Asks for the remedy, and gives what was said.
fn repair(world: &World) -> String {
    root(world, "nixctl repair database.malformed --yes")
}

fn damage_and_repair(name: &str, has_copy: bool, damage: &str) {
    if !require() || !CHECKS {
        return;
    }
    let world = World::boot_installed(name).unwrap();
    world.build("bob", "bash", "before-the-copy").unwrap();
    if has_copy {
        root(&world, COPY);
    } else {
        root(&world, "rm -rf /var/lib/nixctl/database");
    }
    world.build("bob", "bash", "after-the-copy").unwrap();
    let later = root(&world, "ls -d /nix/store/*-after-the-copy");
    root(&world, REST);
    let (paths, references) = (rows(&world, PATHS), rows(&world, REFERENCES));
    assert!(paths.iter().any(|row| row.starts_with(later.trim())));
    root(&world, damage);
    root(&world, WAKE);
    println!("{}", repair(&world));
    assert_eq!(
        root(
            &world,
            &format!("sqlite3 -readonly {DB} 'pragma quick_check'")
        )
        .trim(),
        "ok"
    );
    let lost: Vec<String> = paths.difference(&rows(&world, PATHS)).cloned().collect();
    assert!(lost.is_empty(), "{lost:?}");
    let now = rows(&world, REFERENCES);
    let lost: Vec<&String> = references.difference(&now).collect();
    assert!(lost.is_empty(), "{lost:?}");
    println!(
        "{} paths, {} references and {} more than before",
        paths.len(),
        references.len(),
        now.len() - references.len()
    );
    // Nix reads every file again.
    let store = "/nix/var/nix/profiles/nixctl/bin/nix-store";
    root(&world, &format!("{store} --verify --check-contents"));
    assert!(world.machine.exists(later.trim()).unwrap());
    for user in ["root", "bob"] {
        world.build(user, "bash", "after-the-repair").unwrap();
    }
    // What Nix itself needs is registered with its references, and stays.
    let bin = "/nix/var/nix/profiles/nixctl/bin";
    root(
        &world,
        &format!("{bin}/nix-collect-garbage && {bin}/nix-build --version"),
    );
    let kept = root(&world, "ls -d /nix/var/nix/db/damaged-*/db.sqlite");
    assert_eq!(kept.lines().count(), 1, "what was there is kept: {kept}");
}

#[test]
fn a_damaged_database_comes_back_from_its_copy() {
    damage_and_repair("db-copy", true, ZERO_MIDDLE);
}

#[test]
fn without_a_copy_it_comes_back_from_what_is_left() {
    damage_and_repair("db-rest", false, ZERO_MIDDLE);
}

#[test]
fn without_anything_it_comes_back_from_the_store() {
    damage_and_repair("db-none", false, OVERWRITE);
}

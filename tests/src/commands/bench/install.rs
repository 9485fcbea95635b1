//! The install of a local tarball beside the floor: unpacking the same with `tar` and registering it
//! with `nix-store --load-db`; beside everything else that an install does, done with plain tools
//! and no journal; and the build users in one call beside one by one.

use std::path::Path;
use std::time::Duration;

use nixctl_lab::Result;
use nixctl_lab::world::{OPERATION, World};

use super::table::{Series, Table};

const TARBALL: &str = "/var/tmp/nix.tar.xz";
/// What anybody must do at least. Nothing is synced to the disk, nobody can build yet.
const FLOOR: &str = "set -e
    mkdir -p /nix/store /nix/var/nix/db /var/tmp/unpacked
    tar -xJf /var/tmp/nix.tar.xz -C /var/tmp/unpacked
    mv /var/tmp/unpacked/*/store/* /nix/store/
    nix=$(echo /nix/store/*-nix-[0-9]*)
    cat /var/tmp/unpacked/*/.reginfo | \"$nix/bin/nix-store\" --load-db";
/// The floor, and its bytes safe on the disk.
const SYNC: &str = "sync --file-system /nix";
/// What an install does after that: users, profile, units, and a build as root and as a user, the
/// two side by side. No journal, nothing is looked at twice, nothing can be undone.
const REST: &str = r#"set -e
    { echo 'g nixbld 30000'
    for i in $(seq 32); do
        echo "u nixbld$i $((30000 + i)):30000 'Nix build user' /var/empty /usr/sbin/nologin"
        echo "m nixbld$i nixbld"
    done; } | systemd-sysusers -
    chown root:nixbld /nix/store
    chmod 1775 /nix/store
    mkdir -p /etc/nix /nix/var/nix/daemon-socket
    echo 'build-users-group = nixbld' > /etc/nix/nix.conf
    export HOME=/var/empty/nobody
    nix=$(echo /nix/store/*-nix-[0-9]*)
    "$nix/bin/nix-env" --quiet --profile /nix/var/nix/profiles/nixctl --install "$nix" \
        --option substitute false --option sandbox false --option build-users-group ''
    cp /var/tmp/units/nix-daemon.* /etc/systemd/system/
    systemctl --quiet enable nix-daemon.socket nix-daemon.service
    systemctl start nix-daemon.socket
    export NIX_REMOTE=daemon
    build() {
        "$@" "$nix/bin/nix-build" --quiet --no-out-link --option substitute false --expr "derivation {
            name = \"floor-$$-$1\"; system = builtins.currentSystem;
            builder = \"\${builtins.storePath \"$nix\"}/bin/nix-store\";
            args = [ \"--generate-binary-cache-key\" \"floor-1\" (placeholder \"out\") \"public\" ];
            NIX_REMOTE = \"dummy://\"; }"
    }
    build env > /var/tmp/root & root=$!
    build runuser -u alice -- > /var/tmp/user & user=$!
    for shell in sh bash zsh fish; do $shell -l -c true; done
    wait $root
    wait $user
    drv=$("$nix/bin/nix-store" --query --deriver $(cat /var/tmp/root /var/tmp/user))
    "$nix/bin/nix-store" --quiet --delete $(cat /var/tmp/root /var/tmp/user) $drv
    sync --file-system /nix"#;
const SOCKET: &str = include_str!("../../../../units/etc/systemd/system/nix-daemon.socket");
const SERVICE: &str = include_str!("../../../../units/etc/systemd/system/nix-daemon.service");
/// As installers do it that know no systemd-sysusers.
const ONE_BY_ONE: &str = "groupadd --system --gid 31000 one
    for i in $(seq 32); do
        useradd --system --no-create-home --home-dir /var/empty --shell /usr/sbin/nologin \\
            --gid one --uid $((31000 + i)) --comment 'Nix build user' one$i
    done";
const AT_ONCE: &str = "{ echo 'g all 32000'
    for i in $(seq 32); do
        echo \"u all$i $((32000 + i)):32000 'Nix build user' /var/empty /usr/sbin/nologin\"
    done; } | systemd-sysusers -";

/// Measures; each run of each kind has a fresh machine.
pub fn measure(table: &mut Table, runs: usize) -> Result<()> {
    let (mut ours, mut floor, mut synced) = (Vec::new(), Vec::new(), Vec::new());
    let mut whole = Vec::new();
    let (mut one_by_one, mut at_once) = (Vec::new(), Vec::new());
    let mut steps = Vec::new();
    for run in 0..runs {
        println!("lab: run {} of {runs}", run + 1);
        let world = with_tarball("bench-floor")?;
        let unpacked = time(&world, FLOOR)?;
        floor.push(unpacked);
        synced.push(unpacked + time(&world, SYNC)?);
        drop(world);

        let world = with_tarball("bench-whole")?;
        for (unit, text) in [("socket", SOCKET), ("service", SERVICE)] {
            let path = format!("/var/tmp/units/nix-daemon.{unit}");
            world.machine.write_file(&path, text, 0o644)?;
        }
        whole.push(time(&world, FLOOR)? + time(&world, REST)?);
        drop(world);

        let world = with_tarball("bench-install")?;
        let sum = &world.release().sha256_xz;
        let install = format!("nixctl install --source {TARBALL} --sha256 {sum} --yes --quiet");
        ours.push(time(&world, &install)?);
        steps = slowest_steps(&world)?;
        drop(world);

        let world = World::boot("bench-users")?;
        one_by_one.push(time(&world, ONE_BY_ONE)?);
        at_once.push(time(&world, AT_ONCE)?);
    }
    let (ours, floor, synced) = (Series::of(&ours), Series::of(&floor), Series::of(&synced));
    let whole = Series::of(&whole);
    table.series("nixctl install, self-test included", &ours);
    table.series("floor: tar xJf and nix-store --load-db", &floor);
    table.series("floor, and sync --file-system", &synced);
    table.series("all that an install does, plain tools, no journal", &whole);
    table.goal("install / floor", ours.median() / floor.median(), "x", 1.25);
    let against_synced = format!("{:.2} x", ours.median() / synced.median());
    table.row("install / floor with sync", &against_synced, "", "");
    let against_whole = format!("{:.2} x", ours.median() / whole.median());
    table.row("install / all of it, plain", &against_whole, "", "");
    table.row(
        "the release's own multi-user script",
        "-",
        "",
        "the lab's tarballs have none",
    );
    table.series(
        "32 build users one by one (useradd)",
        &Series::of(&one_by_one),
    );
    table.series(
        "32 build users in one call (systemd-sysusers)",
        &Series::of(&at_once),
    );
    println!("lab: the slowest steps of the last install:");
    for line in steps {
        println!("lab:   {line}");
    }
    Ok(())
}

fn with_tarball(name: &str) -> Result<World> {
    let world = World::boot(name)?;
    world
        .machine
        .copy_in(&world.release().tar_xz, Path::new(TARBALL), 0o644)?;
    // Read once, so that no kind profits from another's reading.
    world.machine.exec(&["cksum", TARBALL])?.ok()?;
    Ok(world)
}

fn time(world: &World, script: &str) -> Result<Duration> {
    let run = world.machine.command(&["sh", "-c", script]);
    Ok(run.deadline(OPERATION).run()?.ok()?.took)
}

/// How long the steps took, by the times in the journal.
fn slowest_steps(world: &World) -> Result<Vec<String>> {
    let Some(operation) = world.operations()?.into_iter().next() else {
        return Ok(Vec::new());
    };
    let show = world.json(&format!("show {}", operation.id))?;
    let journal = show["journal"].as_array().cloned().unwrap_or_default();
    let mut steps: Vec<(u64, String)> = journal
        .windows(2)
        .filter_map(|pair| {
            let took = pair[1]["time"]
                .as_u64()?
                .checked_sub(pair[0]["time"].as_u64()?)?;
            let text = pair[1]["text"].as_str()?.to_owned();
            Some((
                took,
                format!("{took:5} ms until: {} {text}", pair[1]["record"].as_str()?),
            ))
        })
        .collect();
    steps.sort_by_key(|(took, _)| std::cmp::Reverse(*took));
    Ok(steps.into_iter().take(12).map(|(_, line)| line).collect())
}

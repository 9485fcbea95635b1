//! The install of a local tarball beside the floor: unpacking the same with `tar` and registering it
//! with `nix-store --load-db`; beside everything else that an install does, done with plain tools
//! and no journal; and the build users in one call beside one by one.

use std::path::Path;
use std::time::Duration;

use nixctl_lab::Result;
use nixctl_lab::dist::{self, Sized};
use nixctl_lab::world::{OPERATION, World};

use super::Archive;
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

/// Measures one release; each run of each kind has a fresh machine. The kinds take turns, so that
/// what else the host does hits all of them.
pub fn measure(table: &mut Table, runs: usize, archive: Archive, only_ratio: bool) -> Result<()> {
    let (name, sized) = match archive {
        Archive::Official => ("official size", dist::official_size()?),
        Archive::Lab => {
            let release = dist::nix_release(dist::Version::Nix226)?;
            ("lab's release", dist::lab_size(&release)?)
        }
    };
    let mut all = Runs::default();
    for run in 0..runs {
        println!("lab: {name}: run {} of {runs}", run + 1);
        all.floor(&sized)?;
        all.ours(&sized)?;
        if !only_ratio {
            all.whole(&sized)?;
        }
    }
    table.row(&format!("archive: {name}"), "", &sized.to_string(), "");
    all.tell(table);
    println!("lab: the slowest steps of the last install:");
    for line in &all.steps {
        println!("lab:   {line}");
    }
    Ok(())
}

/// Measures making the build users.
pub fn users(table: &mut Table, runs: usize) -> Result<()> {
    let (mut one_by_one, mut at_once) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        let world = World::boot("bench-users")?;
        one_by_one.push(time(&world, ONE_BY_ONE)?.wall);
        at_once.push(time(&world, AT_ONCE)?.wall);
    }
    let name = "32 build users one by one (useradd)";
    table.series(name, &Series::of(&one_by_one));
    let name = "32 build users in one call (systemd-sysusers)";
    table.series(name, &Series::of(&at_once));
    Ok(())
}

/// What a command took: wall time, and processor time of the whole machine.
#[derive(Debug, Clone, Copy)]
struct Cost {
    wall: Duration,
    processor: Duration,
}

impl std::ops::Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            wall: self.wall + other.wall,
            processor: self.processor + other.processor,
        }
    }
}

/// All runs with one release.
#[derive(Debug, Default)]
struct Runs {
    ours: Vec<Cost>,
    floor: Vec<Cost>,
    synced: Vec<Cost>,
    whole: Vec<Cost>,
    steps: Vec<String>,
}

impl Runs {
    fn floor(&mut self, sized: &Sized) -> Result<()> {
        let world = with_tarball("bench-floor", sized)?;
        let unpacked = time(&world, FLOOR)?;
        self.floor.push(unpacked);
        self.synced.push(unpacked + time(&world, SYNC)?);
        Ok(())
    }

    fn ours(&mut self, sized: &Sized) -> Result<()> {
        let world = with_tarball("bench-install", sized)?;
        let sum = &sized.sha256;
        let install = format!("nixctl install --source {TARBALL} --sha256 {sum} --yes --quiet");
        self.ours.push(time(&world, &install)?);
        self.steps = slowest_steps(&world)?;
        Ok(())
    }

    fn whole(&mut self, sized: &Sized) -> Result<()> {
        let world = with_tarball("bench-whole", sized)?;
        for (unit, text) in [("socket", SOCKET), ("service", SERVICE)] {
            let path = format!("/var/tmp/units/nix-daemon.{unit}");
            world.machine.write_file(&path, text, 0o644)?;
        }
        self.whole.push(time(&world, FLOOR)? + time(&world, REST)?);
        Ok(())
    }

    fn tell(&self, table: &mut Table) {
        let walls = |costs: &[Cost]| {
            let walls: Vec<Duration> = costs.iter().map(|cost| cost.wall).collect();
            Series::of(&walls)
        };
        let ours = walls(&self.ours);
        table.series("nixctl install, self-test included", &ours);
        let floor = walls(&self.floor);
        table.series("floor: tar xJf and nix-store --load-db", &floor);
        let synced = walls(&self.synced);
        table.series("floor, and sync --file-system", &synced);
        table.goal("install / floor", ours.median() / floor.median(), "x", 1.25);
        let turns = ratios(&self.ours, &self.floor, |cost| cost.wall);
        table.ratios("install / floor, turn by turn", &turns);
        let busy = |costs: &[Cost]| {
            let times: Vec<Duration> = costs.iter().map(|cost| cost.processor).collect();
            Series::of(&times)
        };
        table.series("  processor time of the install", &busy(&self.ours));
        table.series("  processor time of the floor", &busy(&self.floor));
        let turns = ratios(&self.ours, &self.floor, |cost| cost.processor);
        table.ratios("install / floor in processor time", &turns);
        let against = format!("{:.2} x", ours.median() / synced.median());
        table.row("install / floor with sync", &against, "", "");
        if self.whole.is_empty() {
            return;
        }
        let whole = walls(&self.whole);
        table.series("all that an install does, plain tools, no journal", &whole);
        let against = format!("{:.2} x", ours.median() / whole.median());
        table.row("install / all of it, plain", &against, "", "");
        let why = "the lab's tarballs have none";
        table.row("the release's own multi-user script", "-", "", why);
    }
}

fn ratios(ours: &[Cost], theirs: &[Cost], what: impl Fn(&Cost) -> Duration) -> Series {
    let pairs = ours.iter().zip(theirs);
    let ratios = pairs.map(|(a, b)| what(a).as_secs_f64() / what(b).as_secs_f64());
    Series::from(ratios.collect::<Vec<_>>())
}

fn with_tarball(name: &str, sized: &Sized) -> Result<World> {
    let world = World::boot(name)?;
    world
        .machine
        .copy_in(&sized.tar_xz, Path::new(TARBALL), 0o644)?;
    // Read once, so that no kind profits from another's reading; and nobody pays for writing it.
    world.machine.exec(&["cksum", TARBALL])?.ok()?;
    world.machine.exec(&["sync", "--file-system", "/"])?.ok()?;
    Ok(world)
}

fn time(world: &World, script: &str) -> Result<Cost> {
    let before = world.machine.processor_time()?;
    let run = world.machine.command(&["sh", "-c", script]);
    let wall = run.deadline(OPERATION).run()?.ok()?.took;
    Ok(Cost {
        wall,
        processor: world.machine.processor_time()?.saturating_sub(before),
    })
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

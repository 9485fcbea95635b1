//! `demo`: the main job, told and shown on a throw-away machine.
//!
//! Nothing is staged: the commands are what a person would type, their output is printed as it
//! comes, and each promise is checked; one that does not hold ends the demonstration with a failure.

use std::process::ExitCode;
use std::time::Instant;

use nixctl_lab::server::Fault;
use nixctl_lab::world::{OPERATION, PROGRAMS, changes, install_daemon};
use nixctl_lab::{Error, Output, Result, World};

use super::build;
use super::narrator::{follow, run, say, start};

/// Bytes per second of the server, so that there is something to see.
const RATE: u64 = 6_000_000;

/// What people's shells keep at home is theirs.
const HOMES: [&str; 1] = ["/home"];

/// Runs the command.
pub fn run_demo() -> Result<ExitCode> {
    let began = Instant::now();
    say(
        "nixctl, shown on a throw-away Debian machine. First what the lab needs, and nixctl itself.",
    );
    super::prepare::run()?;
    if !build::debug(&[])? {
        return Ok(ExitCode::FAILURE);
    }

    say(
        "A fresh Debian trixie with systemd, D-Bus and polkit boots. Its users: alice, who will be \
         in the group nixctl; bob, who is nobody in particular; carol, an administrator. A release \
         server runs beside it, for the machine has no network.",
    );
    let world = World::boot_fresh("demo")?;
    put_daemon(&world)?;
    let before = world.snapshot_but(&HOMES)?;
    install(&world)?;
    use_it(&world)?;
    uninstall(&world)?;
    verdict(&world, &before)?;
    crash(&world)?;
    uninstall(&world)?;
    verdict(&world, &before)?;
    let seconds = began.elapsed().as_secs();
    say(&format!(
        "Everything was as promised, in {seconds} seconds. The machine is thrown away."
    ));
    Ok(ExitCode::SUCCESS)
}

fn put_daemon(world: &World) -> Result<()> {
    say(
        "1. root puts the daemon on the machine: the two programs, its unit, and its bus and polkit \
         files. (The lab writes its settings, which trust the lab's server, and puts alice into the \
         group nixctl.)",
    );
    println!("\n  root# {PROGRAMS}/nixctl daemon install --yes");
    let output = install_daemon(&world.machine)?;
    for line in output.stdout.lines().chain(output.stderr.lines()) {
        println!("  | {line}");
    }
    good(&run(world, "bob", "nixctl status")?)
}

fn install(world: &World) -> Result<()> {
    say(
        "2. bob may not install Nix. (polkit would admit him if an administrator typed a password; \
         here nobody does.)",
    );
    let command = world.install_command();
    let refused = run(world, "bob", &format!("{command} --no-ask-password"))?;
    expect(refused.status == 3, "bob was not refused with exit code 3")?;
    say(
        "   alice may. She has no privileges of her own: her client asks the daemon over D-Bus, \
         polkit agrees, and she watches. The server is slow on purpose.",
    );
    world.server.break_prefix("/nix/", Fault::Rate(RATE));
    let installed = run(world, "alice", &world.install_command());
    world.server.heal();
    good(&installed?)
}

fn use_it(world: &World) -> Result<()> {
    say(
        "3. Nix is there for everybody. bob builds a derivation in its sandbox, in a login shell \
         of each kind.",
    );
    good(&run(world, "bob", "nixctl status")?)?;
    for shell in nixctl_lab::world::SHELLS {
        let built = world.build("bob", shell, &format!("demo-{shell}"))?;
        println!("  | {shell}: {built}");
    }
    Ok(())
}

fn uninstall(world: &World) -> Result<()> {
    say(
        "   alice looks at what an uninstall would do, and then has it done: exactly that, backwards.",
    );
    good(&run(world, "alice", "nixctl uninstall --dry-run")?)?;
    good(&run(world, "alice", "nixctl uninstall --yes")?)
}

fn verdict(world: &World, before: &nixctl_lab::snapshot::Snapshot) -> Result<()> {
    let left = changes(before, &world.snapshot_but(&HOMES)?);
    for line in &left {
        println!("  | {line}");
    }
    expect(left.is_empty(), "something was left behind")?;
    say(
        "   The lab compared every file, mode, owner, user, group and unit with what was there \
         before: no difference, but for nixctl's own state, what every boot touches, and what bob's \
         shells keep in his home.",
    );
    Ok(())
}

fn crash(world: &World) -> Result<()> {
    say("4. Now the same install, and in the middle of it the daemon is killed with SIGKILL.");
    world.server.break_prefix("/nix/", Fault::Rate(RATE));
    let client = start(world, "alice", &world.install_command())?;
    let mut killed = 0;
    let output = follow(client, || {
        if killed == 0
            && let Some(operation) = world.operations()?.first()
            && operation.state == "running"
            && operation.progress > 0.1
        {
            killed = world.daemon_pid()?;
            println!("\n  root# kill -KILL {killed}    # nixctld, in mid-install\n");
            world
                .machine
                .exec(&["kill", "-KILL", &killed.to_string()])?
                .ok()?;
            world.server.heal();
        }
        Ok(())
    })?;
    expect(killed != 0, "the install was over before the kill")?;
    say(
        "   systemd started it again, it read its journal and went on with what had begun; alice's \
         client waited for it. The journal tells the story:",
    );
    let operation = world
        .settled(OPERATION)?
        .ok_or_else(|| Error::new("see the operation", "there is none"))?;
    good(&run(
        world,
        "bob",
        &format!("nixctl show {}", operation.id),
    )?)?;
    expect(
        operation.state == "succeeded",
        "the operation did not succeed",
    )?;
    good(&output)?;
    let pid = world.daemon_pid()?;
    expect(pid != killed, "the daemon was not killed at all")?;
    let built = world.build("bob", "bash", "after-the-kill")?;
    println!("  | bob: {built}");
    Ok(())
}

fn good(output: &Output) -> Result<()> {
    output.clone().ok().map(drop)
}

fn expect(holds: bool, otherwise: &str) -> Result<()> {
    if holds {
        Ok(())
    } else {
        Err(Error::new("go on with the demonstration", otherwise))
    }
}

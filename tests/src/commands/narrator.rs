//! Telling a person what happens: sentences, the commands with who gives them, and what they print
//! while they print it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use nixctl_lab::{Background, Output, Result, World};

/// How long one command of the demonstration may take.
const DEADLINE: Duration = Duration::from_secs(180);
/// How often new output is looked for.
const TICK: Duration = Duration::from_millis(20);

/// Says a paragraph.
pub fn say(text: &str) {
    println!("\n{text}");
}

/// Runs a command as a user in the machine and shows both; the status is the caller's to judge.
pub fn run(world: &World, user: &str, command: &str) -> Result<Output> {
    let started = start(world, user, command)?;
    follow(started, || Ok(()))
}

/// Shows a command and starts it.
pub fn start(world: &World, user: &str, command: &str) -> Result<Background> {
    let sign = if user == "root" { '#' } else { '$' };
    println!("\n  {user}{sign} {command}");
    if live() {
        // On a terminal of its own, so that there is a progress bar.
        return world.machine.command_on_terminal(user, command).spawn();
    }
    world.start(user, command)
}

/// Whether somebody sits in front of it.
fn live() -> bool {
    std::io::stdout().is_terminal()
}

/// Shows what a command prints until it ends, calling `meanwhile` over and over.
pub fn follow(
    mut command: Background,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<Output> {
    let until = Instant::now() + DEADLINE;
    let mut shown = [0, 0];
    loop {
        let running = command.is_running() && Instant::now() < until;
        show(&command, &mut shown);
        if !running {
            let output = command.wait(Duration::from_millis(500))?;
            let texts = [&output.stdout, &output.stderr];
            for (text, shown) in texts.into_iter().zip(shown) {
                let rest = text.get(shown..).unwrap_or_default();
                if live() {
                    print!("{rest}");
                } else {
                    lines(rest);
                }
            }
            return Ok(output);
        }
        meanwhile()?;
        std::thread::sleep(TICK);
    }
}

/// Prints the whole lines that are new.
fn show(command: &Background, shown: &mut [usize; 2]) {
    let texts = [command.stdout(), command.stderr()];
    for (text, shown) in texts.iter().zip(shown) {
        let new = text.get(*shown..).unwrap_or_default();
        if live() {
            print!("{new}");
            let _ = std::io::stdout().flush();
            *shown += new.len();
        } else if let Some(end) = new.rfind('\n') {
            lines(&new[..end]);
            *shown += end + 1;
        }
    }
}

fn lines(text: &str) {
    for line in text.lines() {
        println!("  | {line}");
    }
}

//! `shell`: a machine for a person, with nixctl in it when it has been built.

use std::process::ExitCode;

use nixctl_lab::{Machine, Result, paths, product};

/// Options of `shell`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// A machine without systemd and bus, like a container.
    #[arg(long)]
    no_init: bool,
    /// Log in as this user.
    #[arg(long, default_value = "root")]
    user: String,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let mut builder = Machine::builder("shell");
    if arguments.no_init {
        builder = builder.without_init();
    }
    if let Some(product) = product::built() {
        builder = product.put_in(builder, "/usr/local/bin");
    } else {
        let target = paths::target();
        println!(
            "lab: nixctl is not built in {}; the machine is without it",
            target.display()
        );
    }
    let machine = builder.boot()?;
    println!(
        "lab: {} is up; its disk is {}",
        machine.name(),
        machine.root().display()
    );
    // `script` gives the shell a terminal of the machine's own: the host's is not visible inside.
    let login = format!("exec runuser --login '{}'", arguments.user);
    let term = std::env::var("TERM").unwrap_or_else(|_| "dumb".to_owned());
    let status = machine
        .command(&[
            "script",
            "--quiet",
            "--return",
            "--command",
            &login,
            "/dev/null",
        ])
        .env("TERM", &term)
        .interactive()?;
    Ok(ExitCode::from(u8::try_from(status).unwrap_or(1)))
}

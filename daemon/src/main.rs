//! `nixctld`: the privileged daemon that owns Nix on a machine.

use std::process::ExitCode;

use nixctld::backend::Local;
use nixctld::cli::{self, Parts};
use nixctld::health::database;
use nixctld::payload::worker;

fn main() -> ExitCode {
    cli::main(Parts {
        open: Local::open,
        worker: worker::main,
        examine: database::examine,
    })
}

//! `nixctl`: the client of `nixctld`. It asks, shows and waits; every change is the daemon's.

mod cli;
mod commands;
mod connect;
mod render;
mod report;

fn main() -> std::process::ExitCode {
    commands::run(clap::Parser::parse())
}

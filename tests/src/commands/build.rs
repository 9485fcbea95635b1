//! Running cargo on the workspace, on this terminal.

use std::process::Command;

use nixctl_lab::error::Context;
use nixctl_lab::{Result, paths};

/// How often cargo repeats a download.
const RETRY: &str = "CARGO_NET_RETRY";

/// Runs cargo; true when it succeeded.
pub fn cargo(words: &[&str], variables: &[(&str, &str)]) -> Result<bool> {
    println!("lab: cargo {}", words.join(" "));
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if std::env::var_os(RETRY).is_none() {
        command.env(RETRY, "10");
    }
    command
        .args(words)
        .envs(variables.iter().copied())
        .current_dir(paths::workspace());
    let status = command.status().context(|| "run cargo")?;
    Ok(status.success())
}

/// Builds both programs for development, and makes the rest of this process use those.
pub fn debug(more: &[&str]) -> Result<bool> {
    product("debug", more)
}

/// Builds both programs as they are released, and makes the rest of this process use those.
pub fn release(more: &[&str]) -> Result<bool> {
    product("release", &[&["--release"], more].concat())
}

fn product(folder: &str, more: &[&str]) -> Result<bool> {
    let words = [
        "build",
        "--quiet",
        "--package",
        "nixctl",
        "--package",
        "nixctld",
    ];
    nixctl_lab::product::use_folder(&paths::target().join(folder));
    cargo(&[&words, more].concat(), &[])
}

//! Builds in a world: the proof that Nix works, as a user and in a login shell.

use super::World;
use crate::error::{Error, Result};
use crate::exec::Output;

/// The login shells a system image has.
pub const SHELLS: [&str; 4] = ["sh", "bash", "zsh", "fish"];

impl World {
    /// Writes a derivation with the release's busybox as builder, which makes a file that says
    /// `NAME is built`; returns the file that `nix-build` takes.
    pub fn write_derivation(&self, name: &str) -> Result<String> {
        let file = format!("/var/tmp/{name}.nix");
        // That its path may be named also proves that it is registered.
        let found = "ls -d /nix/store/*-busybox-static-* | tail -n 1";
        let builder = self.machine.sh(found)?.ok()?.text().to_owned();
        let expression = format!(
            "derivation {{\n  name = \"{name}\";\n  system = \"{}\";\n  \
             builder = \"${{builtins.storePath {builder}}}/bin/sh\";\n  \
             args = [ \"-c\" \"echo {name} is built >$out\" ];\n}}\n",
            self.release().system
        );
        self.machine.write_file(&file, expression, 0o644)?;
        Ok(file)
    }

    /// Builds a derivation that no other call of this name has built, in a login shell of a user:
    /// `nix-build`, found on PATH. Returns what it made.
    pub fn build(&self, user: &str, shell: &str, name: &str) -> Result<String> {
        let file = self.write_derivation(name)?;
        let command = format!("cat (nix-build --no-out-link --option substitute false {file})");
        let command = match shell {
            "fish" => command,
            _ => command.replacen('(', "$(", 1),
        };
        let output = self.in_shell(user, shell, &command)?.ok()?;
        let text = output.text().to_owned();
        if text == format!("{name} is built") {
            Ok(text)
        } else {
            Err(Error::new(
                format!("build as {user} in {shell}"),
                format!("{output:?}"),
            ))
        }
    }

    /// Runs a command in a login shell of this kind.
    pub fn in_shell(&self, user: &str, shell: &str, command: &str) -> Result<Output> {
        let shell = format!("/bin/{shell}");
        self.machine
            .command(&[
                "runuser",
                "--login",
                "--shell",
                &shell,
                user,
                "--command",
                command,
            ])
            .label(command)
            .run()
    }
}

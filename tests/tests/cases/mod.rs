//! Commands that must be refused, several on one machine: each ends with its own code and exit code
//! and leaves the machine as it was.

use nixctl_lab::Output;
use nixctl_lab::world::{OPERATION, World, changes};

/// Collects what was wrong in several cases on one machine.
pub struct Cases {
    /// The machine they are on.
    pub world: World,
    wrong: Vec<String>,
}

impl Cases {
    /// Cases on this machine.
    pub fn on(world: World) -> Self {
        Self {
            world,
            wrong: Vec::new(),
        }
    }

    /// Prepares the machine, runs a command that must end like this and change nothing, tidies up.
    /// Returns what it said.
    pub fn expect(
        &mut self,
        prepare: &str,
        command: &str,
        (code, exit): (&str, i32),
        tidy: &str,
    ) -> Output {
        let world = &self.world;
        world.machine.sh(prepare).unwrap().ok().unwrap();
        // systemd learns of a mount a moment later.
        let look = || {
            world
                .snapshot_but(&["unit:nix.mount", "unit:etc.mount"])
                .unwrap()
        };
        let before = look();
        let output = world.run("root", command).unwrap();
        world.settled(OPERATION).unwrap();
        let changed = changes(&before, &look());
        println!(
            "--- {prepare}\n{command}\n{}{}",
            output.stdout, output.stderr
        );
        let mut wrong = complaints(&output, code, exit);
        wrong.extend(changed);
        if !wrong.is_empty() {
            println!("WRONG: {wrong:#?}");
            self.wrong.push(format!(
                "after `{prepare}`, `{command}`: {wrong:#?}\n{output:?}"
            ));
        }
        world.machine.sh(tidy).unwrap().ok().unwrap();
        output
    }

    /// Fails when one of them was wrong.
    pub fn finish(self) {
        assert!(
            self.wrong.is_empty(),
            "{}\n{}",
            self.wrong.join("\n"),
            self.world.daemon_log()
        );
    }
}

/// What is wrong with how a command ended: code, exit code, help.
pub fn complaints(output: &Output, code: &str, exit: i32) -> Vec<String> {
    let mut wrong = Vec::new();
    if output.status != exit {
        wrong.push(format!("exit code {} instead of {exit}", output.status));
    }
    if !output.stderr.contains(&format!("error[{code}]")) {
        wrong.push(format!("no error[{code}]"));
    }
    if !output.stderr.contains("help:") {
        wrong.push("no help".to_owned());
    }
    wrong
}

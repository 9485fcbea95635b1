//! Asks the services of a machine whether they answer, and as what.

use std::time::{Duration, Instant};

use super::spec::Service;
use crate::Machine;
use crate::error::{Error, Result};

/// How often a service that does not answer yet is asked again.
const TICK: Duration = Duration::from_millis(200);
/// Says something to a port and prints the first line that comes back. Arguments: port, words.
const TALK: &str = "exec 3<>/dev/tcp/127.0.0.1/$1 || exit 1; printf \"$2\" >&3; \
                    read -r -t 5 line <&3 && echo \"$line\"";
/// Asks unbound for the TXT record, and prints it.
const DNS: &str = "import socket as s\n\
                   q = b'\\0\\1\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0\\x0ageneration\\3lab\\0\\0\\x10\\0\\1'\n\
                   u = s.socket(s.AF_INET, s.SOCK_DGRAM)\nu.settimeout(5)\n\
                   u.sendto(q, ('127.0.0.1', 5353))\nr = u.recv(512)\nprint(r[-r[len(q) + 12]:].decode())\n";

impl Service {
    /// What the service says of itself: a version or the generation it serves. A service that does
    /// not answer is an error.
    pub fn ask(self, machine: &Machine) -> Result<String> {
        let port = self.port().to_string();
        let curl = |path: &str| {
            let url = format!("http://127.0.0.1:{port}{path}");
            machine.exec(&["curl", "-sSi", "--fail", "--max-time", "5", &url])
        };
        let talk = |words: &str| {
            machine.exec(&["timeout", "10", "bash", "-c", TALK, "bash", &port, words])
        };
        let output = match self {
            Self::Redis => {
                let tool = "/run/current-system/sw/bin/redis-cli";
                machine.exec(&[tool, "-e", "-p", &port, "INFO", "server"])
            }
            Self::Nginx | Self::Caddy | Self::Haproxy => curl("/"),
            Self::NodeExporter => curl("/metrics"),
            Self::Sshd => talk(""),
            Self::Memcached => talk("version\\r\\n"),
            Self::Nats => talk(""),
            Self::Postgresql => machine.exec(&[
                "/run/current-system/sw/bin/psql",
                "--host=127.0.0.1",
                "--username=postgres",
                "-Atc",
                "SELECT version()",
            ]),
            Self::Unbound => machine.exec(&["python3", "-c", DNS]),
        };
        Ok(output?.ok()?.text().to_owned())
    }

    /// The same, asked until it answers or the deadline passes.
    pub fn wait(self, machine: &Machine, deadline: Duration) -> Result<String> {
        let until = Instant::now() + deadline;
        loop {
            match self.ask(machine) {
                Ok(answer) => return Ok(answer),
                Err(error) if Instant::now() > until => {
                    let why = format!("{error}\n{}", status(machine, self.unit()));
                    return Err(Error::new(format!("reach {}", self.unit()), why));
                }
                Err(_) => std::thread::sleep(TICK),
            }
        }
    }

    /// The program that the unit's main process runs.
    pub fn program(self, machine: &Machine) -> Result<String> {
        let script = "readlink /proc/$(systemctl show --property=MainPID --value \"$1\")/exe";
        let output = machine.exec(&["sh", "-c", script, "sh", self.unit()])?;
        Ok(output.ok()?.text().to_owned())
    }
}

fn status(machine: &Machine, unit: &str) -> String {
    let words = [
        "systemctl",
        "status",
        "--no-pager",
        "--full",
        "--lines=20",
        unit,
    ];
    machine
        .exec(&words)
        .map(|output| output.stdout)
        .unwrap_or_default()
}

//! `[switch]`: how the system moves between generations, and what proves it healthy.

use serde::{Deserialize, Serialize};

/// `[switch]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SwitchSettings {
    /// Seconds for which the result is watched before it becomes the default; after each step a
    /// tenth of it.
    pub soak_seconds: u64,
    /// Seconds for which each step is watched at least.
    pub step_soak_seconds: u64,
    /// Seconds for one activation as a whole.
    pub activate_seconds: u64,
    /// Seconds within which somebody must confirm the result; 0: nobody has to.
    pub confirm_seconds: u64,
    /// Bytes that a switch never takes of the store's file system.
    pub reserve_bytes: u64,
    /// What happens when an activation or a proof fails.
    pub on_failure: OnFailure,
    /// Whether old generations may be dropped to gain space, without being told each time.
    pub drop_old: bool,
    /// Generations that are kept when old ones are dropped, the newest ones.
    pub keep_generations: u32,
    /// Seconds after a boot within which a generation that was never booted before must be healthy,
    /// else the machine goes back by itself; 0: nobody looks.
    pub boot_seconds: u64,
    /// Boots without ever having been healthy after which the machine goes back at once.
    pub boot_attempts: u32,
    /// Whether the machine is restarted for that when the kernel, the initrd or systemd differ.
    pub boot_restart: bool,
    /// Units, and packages as `sw/NAME`, that may be down for a while where `--allow-downtime` says so.
    pub non_vital: Vec<String>,
    /// What must answer after a step.
    pub probes: Vec<ProbeSettings>,
}

impl Default for SwitchSettings {
    fn default() -> Self {
        SwitchSettings {
            soak_seconds: 30,
            step_soak_seconds: 1,
            activate_seconds: 900,
            confirm_seconds: 0,
            reserve_bytes: 128 << 20,
            on_failure: OnFailure::Rollback,
            drop_old: false,
            keep_generations: 3,
            boot_seconds: 300,
            boot_attempts: 3,
            boot_restart: true,
            non_vital: Vec::new(),
            probes: Vec::new(),
        }
    }
}

/// What happens when an activation or a proof fails.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The machine goes back to the generation from before.
    #[default]
    Rollback,
    /// It stays where it is, and the switch waits for somebody.
    Stay,
}

/// One of `[[switch.probes]]`. Exactly one of `command`, `tcp`, `http` and `unix` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeSettings {
    /// For people.
    pub name: String,
    /// Unit that it is about; empty: the machine, probed after every step.
    pub unit: String,
    /// A program and its arguments, which must end with 0.
    pub command: Vec<String>,
    /// `HOST:PORT` that must take a connection.
    pub tcp: String,
    /// An http(s) URL that must answer with 2xx or 3xx.
    pub http: String,
    /// A Unix socket that must take a connection.
    pub unix: String,
    /// Seconds for one try.
    pub seconds: u64,
}

impl Default for ProbeSettings {
    fn default() -> Self {
        ProbeSettings {
            name: String::new(),
            unit: String::new(),
            command: Vec::new(),
            tcp: String::new(),
            http: String::new(),
            unix: String::new(),
            seconds: 10,
        }
    }
}

impl ProbeSettings {
    /// Whether it can be carried out.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn check(&self) -> Result<(), String> {
        let about = |why: &str| Err(format!("probe `{}`: {why}", self.name));
        if self.name.is_empty() {
            return Err("a probe has no name".to_owned());
        }
        let kinds = [
            !self.command.is_empty(),
            !self.tcp.is_empty(),
            !self.http.is_empty(),
            !self.unix.is_empty(),
        ];
        if kinds.into_iter().filter(|it| *it).count() != 1 {
            return about("exactly one of command, tcp, http and unix must be set");
        }
        let port = self
            .tcp
            .rsplit_once(':')
            .map(|(_, port)| port.parse::<u16>());
        if !self.tcp.is_empty() && !matches!(port, Some(Ok(_))) {
            return about("tcp must be HOST:PORT");
        }
        let web = ["http://", "https://"];
        if !self.http.is_empty() && !web.iter().any(|it| self.http.starts_with(it)) {
            return about("http must be an http or https URL");
        }
        if !self.unix.is_empty() && !self.unix.starts_with('/') {
            return about("unix must be an absolute path");
        }
        if self.seconds == 0 {
            return about("seconds must be at least 1");
        }
        Ok(())
    }
}

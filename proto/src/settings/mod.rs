//! Settings of the daemon: `/etc/nixctl/config.toml`, then `/etc/nixctl/config.d/*.toml` by name,
//! later files winning key by key. Every key has a default, so that no file is needed.
//!
//! [`load`] reads the files and says for each key where its value comes from; [`edit`] changes the
//! one file that belongs to `nixctl config set`. Keys, types and defaults are those of [`Settings`]
//! and are written down nowhere else.

mod edit;
mod error;
mod health;
mod load;
mod managed;
mod metrics;
mod switch;
mod system;
mod upgrade;
mod value;
mod window;

pub use edit::edit;
pub use error::SettingsError;
pub use health::{HealthSettings, MIN_INTERVAL_SECONDS, POLICIES, policy_of};
pub use load::{MAX_FILE_BYTES, load, merge};
pub use managed::{MAX_MANAGED_BYTES, ManagedSettings, not_to_be_managed};
pub use metrics::MetricsSettings;
pub use switch::{OnFailure, ProbeSettings, SwitchSettings};
pub use system::SystemSettings;
pub use upgrade::{Ephemeral, UpgradePolicy, UpgradeSettings, Wariness};
pub(crate) use value::nearest;
pub use window::{DAY_MINUTES, MAX_WINDOWS, WEEK_MINUTES, Window, WindowError};

use serde::{Deserialize, Serialize};

/// The file that is read first.
pub const MAIN_FILE: &str = "/etc/nixctl/config.toml";
/// Folder of the files that are read after it, sorted by name.
pub const FRAGMENT_DIRECTORY: &str = "/etc/nixctl/config.d";
/// The file that `nixctl config set` writes.
pub const OWN_FILE: &str = "/etc/nixctl/config.d/90-nixctl.toml";

/// All settings with their effective values.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How Nix is installed.
    pub install: InstallSettings,
    /// How the daemon serves its clients.
    pub daemon: DaemonSettings,
    /// How the system moves between generations.
    pub switch: SwitchSettings,
    /// When the machine is looked at, and what is done about what is found.
    pub health: HealthSettings,
    /// Where releases are announced, what is done about them, when and how.
    pub upgrade: UpgradeSettings,
    /// Where a monitoring system finds the numbers.
    pub metrics: MetricsSettings,
    /// Which generation this machine goes to by itself.
    pub system: SystemSettings,
    /// Further files that are kept as they should be.
    pub managed: Vec<ManagedSettings>,
}

/// `[install]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InstallSettings {
    /// Server with the layout of releases.nixos.org, without a slash at the end.
    pub release_server: String,
    /// Version that `nixctl install` takes when none is named.
    pub version: String,
    /// Sources that members of the group nixctl may install from: URL prefixes and path prefixes.
    pub trusted_sources: Vec<String>,
    /// Proxy for downloads; empty: the daemon's environment decides.
    pub proxy: String,
    /// CA bundle for downloads and for Nix; empty: the machine's own is looked for.
    pub ssl_cert_file: String,
    /// Group of the build users.
    pub build_group: String,
    /// Build users are named by this and a number from 1.
    pub build_user_prefix: String,
    /// How many build users there are.
    pub build_user_count: u32,
    /// Id of the group; user N gets this plus N. 0: a free range is searched from 30000 on.
    pub build_user_id_base: u32,
    /// Lines added to nix.conf as they are, `key = value` each.
    pub extra_conf: Vec<String>,
    /// Free bytes that must be left on the store's file system after an install.
    pub reserve_bytes: u64,
    /// Seconds for each command of the self-test.
    pub self_test_seconds: u64,
}

impl Default for InstallSettings {
    fn default() -> Self {
        InstallSettings {
            release_server: "https://releases.nixos.org".to_owned(),
            version: "2.34.8".to_owned(),
            trusted_sources: vec!["https://releases.nixos.org/".to_owned()],
            proxy: String::new(),
            ssl_cert_file: String::new(),
            build_group: "nixbld".to_owned(),
            build_user_prefix: "nixbld".to_owned(),
            build_user_count: 32,
            build_user_id_base: 0,
            extra_conf: Vec::new(),
            reserve_bytes: 64 << 20,
            self_test_seconds: 60,
        }
    }
}

/// `[daemon]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DaemonSettings {
    /// Least severe level that is logged: error, warn, info, debug or trace.
    pub log_level: String,
    /// Connections to the socket for each user at a time.
    pub connections_per_user: u32,
    /// Operations that may wait in the queue.
    pub queue_length: u32,
    /// Ended operations that are remembered.
    pub history: u32,
}

impl Default for DaemonSettings {
    fn default() -> Self {
        DaemonSettings {
            log_level: "info".to_owned(),
            connections_per_user: 32,
            queue_length: 16,
            history: 200,
        }
    }
}

/// One setting for `nixctl config`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingView {
    /// Dotted name, such as `install.release_server`.
    pub key: String,
    /// Effective value in TOML's spelling.
    pub value: String,
    /// File that sets it; empty for the default.
    pub file: String,
}

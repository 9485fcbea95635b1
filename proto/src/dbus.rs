//! The D-Bus interface seen from a client: proxies, and the translation of what travels there.
//!
//! [`ManagerProxy`] and [`OperationProxy`] name every method that `nixctl` calls. Properties are
//! read in one `GetAll` and become the same types as on the socket in [`values`]; refusals travel
//! as `org.nixctl1.Error.NAME` and become a [`crate::Failure`] again in [`error`]. Callers that
//! must not wait for an authentication use the proxies' inner proxy with other flags.

pub mod error;
pub mod options;
pub mod values;

use std::collections::HashMap;

use zbus::zvariant::{ObjectPath, OwnedFd, OwnedObjectPath, OwnedValue, Value};

/// A dictionary as D-Bus methods return it.
pub type Dictionary = HashMap<String, OwnedValue>;
/// A dictionary of options as D-Bus methods take it.
pub type Options<'a> = HashMap<&'a str, Value<'a>>;

/// The manager at [`crate::MANAGER_PATH`].
#[zbus::proxy(
    interface = "org.nixctl1.Manager",
    default_service = "org.nixctl1",
    default_path = "/org/nixctl1",
    gen_blocking = false
)]
pub trait Manager {
    /// Installs Nix, or adopts one; returns the operation.
    #[zbus(allow_interactive_auth)]
    fn install(&self, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Takes Nix off; returns the operation.
    #[zbus(allow_interactive_auth)]
    fn uninstall(&self, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Moves the system to another generation; returns the operation.
    #[zbus(allow_interactive_auth)]
    fn switch(&self, toplevel: &str, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Moves the system back, 0: to where it was before the last switch; returns the operation.
    #[zbus(allow_interactive_auth)]
    fn rollback(&self, generation: u64, options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Says that the switch which waits for it is right.
    #[zbus(allow_interactive_auth)]
    fn confirm(&self, operation: &ObjectPath<'_>) -> zbus::Result<()>;

    /// Carries out the remedies of findings, `area.name` or `area.name:subject` each; none: of all
    /// that have one. Returns the operation.
    #[zbus(allow_interactive_auth)]
    fn repair(&self, findings: &[String], options: Options<'_>) -> zbus::Result<OwnedObjectPath>;

    /// Looks at the machine now, for these checks (none: all), see [`values::finding`].
    fn check(&self, checks: &[String]) -> zbus::Result<Vec<Dictionary>>;

    /// What was found when the daemon looked last, see [`values::finding`].
    fn findings(&self) -> zbus::Result<Vec<Dictionary>>;

    /// What became of findings, newest first, at most `limit` (0: all), see [`values::event`].
    fn list_health_events(&self, limit: u32) -> zbus::Result<Vec<Dictionary>>;

    /// The numbers for a monitoring system, in Prometheus' text format.
    fn metrics(&self) -> zbus::Result<String>;

    /// Has nothing begin of `upgrade`, `switch` or `all` as long as the descriptor is open.
    fn inhibit(&self, what: &str, who: &str, why: &str) -> zbus::Result<OwnedFd>;

    /// What an operation would do, as the JSON of [`crate::plan::Plan`]; nothing is done.
    fn plan(&self, kind: &str, argument: &str, options: Options<'_>) -> zbus::Result<String>;

    /// The newest operations, newest first, at most `limit` (0: all).
    fn list_operations(&self, limit: u32) -> zbus::Result<Vec<OwnedObjectPath>>;

    /// The generations of the system, newest first, see [`values::generation`].
    fn list_generations(&self) -> zbus::Result<Vec<Dictionary>>;

    /// How the packages of two closures differ, see [`values::difference`].
    fn diff(&self, from: &str, to: &str) -> zbus::Result<Vec<Dictionary>>;

    /// Effective settings: `key`, `value` and `file` of each.
    fn settings(&self) -> zbus::Result<Vec<Dictionary>>;

    /// Writes one setting.
    #[zbus(allow_interactive_auth)]
    fn configure(&self, key: &str, value: &str) -> zbus::Result<()>;
}

/// One operation, below [`crate::OPERATION_PATH_PREFIX`]. Its end is seen by its properties, which change
/// before the signal `Finished` is sent.
#[zbus::proxy(
    interface = "org.nixctl1.Operation",
    default_service = "org.nixctl1",
    gen_blocking = false
)]
pub trait Operation {
    /// Stops the operation at the next step boundary and undoes it.
    #[zbus(allow_interactive_auth)]
    fn cancel(&self) -> zbus::Result<()>;

    /// Tries a failed operation again; returns the operation that does.
    #[zbus(allow_interactive_auth)]
    fn retry(&self) -> zbus::Result<OwnedObjectPath>;

    /// The journal: `sequence`, `time`, `record`, `step` and `text` of each line.
    fn journal(&self) -> zbus::Result<Vec<Dictionary>>;
}

//! What `nixctl` and `nixctld` say to each other.
//!
//! Both transports (D-Bus and the Unix socket) carry the same ideas: a client submits a
//! [`request::OperationRequest`], gets back an [`operation::OperationId`], and follows an
//! [`operation::OperationView`] until its state is final. Whatever goes wrong is a
//! [`failure::Failure`] with a [`code::Code`] from one closed catalogue, from which D-Bus error
//! names, exit codes and the error index of the manual are made.

pub mod bus;
pub mod code;
pub mod date;
pub mod dbus;
pub mod failure;
pub mod feed;
pub mod frame;
pub mod generation;
pub mod health;
pub mod operation;
pub mod plan;
pub mod request;
pub mod settings;
pub mod status;
mod version;

pub use code::{Code, Exit};
pub use failure::Failure;
pub use generation::Generation;
pub use operation::{OperationId, OperationKind, OperationState, OperationView};
#[cfg(feature = "fault-injection")]
pub use version::marked;
pub use version::version;

/// Well-known name of the daemon on the system bus.
pub const BUS_NAME: &str = "org.nixctl1";
/// Path of the manager object; operations live below it.
pub const MANAGER_PATH: &str = "/org/nixctl1";
/// Path below which every operation has an object, named by its id.
pub const OPERATION_PATH_PREFIX: &str = "/org/nixctl1/operation/";
/// Unix socket of the daemon for hosts and callers without a bus.
#[cfg(target_os = "macos")]
pub const SOCKET_PATH: &str = "/var/run/nixctl/socket";
/// Unix socket of the daemon for hosts and callers without a bus.
#[cfg(not(target_os = "macos"))]
pub const SOCKET_PATH: &str = "/run/nixctl/socket";
/// Group whose members may change things without a password (root-equivalent, empty by default).
pub const ADMIN_GROUP: &str = "nixctl";
/// Version that both programs are built as; [`version`] is the one that is told.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

//! Operations as `nixctl --json` prints them, read on purpose without the product's own types.

use serde::Deserialize;

/// One operation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Operation {
    /// Identity.
    pub id: String,
    /// `install`, `uninstall` and so on.
    pub kind: String,
    /// `running`, `succeeded` and so on.
    pub state: String,
    /// User id of who asked.
    pub requested_by: u32,
    /// Steps that are done.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// Share that is done.
    pub progress: f64,
    /// What failed.
    pub failure: Option<Failure>,
    /// What was left on purpose, with the reason.
    pub kept: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// What failed in an operation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// The name of the code, as `NoSpace`.
    pub code: String,
    /// One sentence.
    pub message: String,
}

impl Operation {
    /// Whether it has ended.
    #[must_use]
    pub fn is_final(&self) -> bool {
        ["succeeded", "reverted", "failed", "cancelled", "attention"].contains(&self.state.as_str())
    }

    /// Whether it is about Nix rather than about the daemon itself.
    #[must_use]
    pub fn is_about_nix(&self) -> bool {
        !self.kind.starts_with("self-")
    }

    /// Whether it left the machine as it was.
    #[must_use]
    pub fn left_as_before(&self) -> bool {
        ["reverted", "failed", "cancelled"].contains(&self.state.as_str())
    }
}

//! What went wrong, in the one shape that every transport, log line and journal record uses.

use serde::{Deserialize, Serialize};

use crate::code::Code;

/// A failure: its code, one sentence, the causes below it, and the one command that helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Stable code from the catalogue.
    pub code: Code,
    /// One sentence, "cannot <do what> <to what>: <why>", lower case, no full stop.
    pub message: String,
    /// Deeper causes, outermost first.
    pub causes: Vec<String>,
    /// What to do; starts as the catalogue's and may be more exact.
    pub help: String,
}

impl Failure {
    /// A failure with the catalogue's help and no deeper cause.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Failure {
            code,
            message: message.into(),
            causes: Vec::new(),
            help: code.help().to_owned(),
        }
    }

    /// A failure from an error of ours, whose chain of sources becomes the causes.
    pub fn from_error(code: Code, error: &(dyn std::error::Error + 'static)) -> Self {
        let mut failure = Failure::new(code, error.to_string());
        let mut source = error.source();
        while let Some(cause) = source {
            let text = cause.to_string();
            if !failure.message.contains(&text) {
                failure.causes.push(text);
            }
            source = cause.source();
        }
        failure
    }

    /// The same failure with a more exact help.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = help.into();
        self
    }

    /// The same failure with one more cause.
    pub fn with_cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }
}

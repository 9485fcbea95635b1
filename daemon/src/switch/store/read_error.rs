//! Why something could not be read from a store, and whose fault that is.
//!
//! Nix has no codes for its errors, only words. Of what a cache says it matters whether trying again
//! can help: one that does not answer may answer later, one that gives something else than it
//! promises must be repaired.

use nixctl_planner::closure::{ClosureError, StorePath};
use nixctl_proto::{Code, Failure};

use crate::host::{ExecError, FsError};
use crate::resource::error::fs_code;
use crate::switch::store::closure::MOST_PATHS;
use crate::switch::store::source::Source;

/// What Nix, its decompressors and curl say of something that is not what the cache said it was.
const DAMAGED: [&str; 13] = [
    "has changed from",
    "hash mismatch",
    "is corrupt",
    "truncated",
    "decompress",
    "compressed data",
    "unexpected end",
    "bad archive",
    "failed to open archive",
    "nix archive",
    "does not exist in binary cache",
    "is not in the nix store",
    "http error 404",
];

/// Why a closure could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Nix could not be asked, or refused to answer.
    #[error("cannot read the closure from {from}: {source}")]
    Exec {
        /// Whom it was asked of.
        from: Source,
        /// Why.
        source: ExecError,
    },
    /// The folder in which Nix keeps what it was told could not be made.
    #[error(transparent)]
    Home(#[from] FsError),
    /// An answer that is not understood.
    #[error("cannot understand what Nix says of a closure in {from}: {why}")]
    Answer {
        /// Whom it was asked of.
        from: Source,
        /// What is wrong with it.
        why: String,
    },
    /// A path that is not there.
    #[error("cannot read the closure from {from}: it does not have {path}")]
    Missing {
        /// Whom it was asked of.
        from: Source,
        /// The path.
        path: StorePath,
    },
    /// A path that none of several has.
    #[error(
        "cannot read the closure: {path} is not in {}{}",
        names_of(asked),
        silence(silent)
    )]
    Nowhere {
        /// The path.
        path: StorePath,
        /// Whom it was asked of, and who answered.
        asked: Vec<Source>,
        /// What a cache that did not answer said.
        silent: Option<Box<ReadError>>,
    },
    /// A closure beyond any that exists.
    #[error("cannot read the closure from {from}: it has more than {MOST_PATHS} paths")]
    TooMany {
        /// Whom it was asked of.
        from: Source,
    },
    /// Sizes that cannot be counted.
    #[error(transparent)]
    Graph(#[from] ClosureError),
}

impl ReadError {
    /// The error for people, with its code. Nothing was changed.
    pub fn failure(&self) -> Failure {
        Failure::from_error(self.code(), self)
    }

    fn code(&self) -> Code {
        match self {
            ReadError::Exec {
                source: ExecError::Stopped { .. },
                ..
            } => Code::Cancelled,
            ReadError::Exec {
                from: Source::Cache(_),
                source,
            } if is_damage(source) => Code::CacheDamaged,
            ReadError::Exec {
                from: Source::Cache(_),
                ..
            } => Code::CacheSilent,
            ReadError::Answer {
                from: Source::Cache(_),
                ..
            }
            | ReadError::TooMany {
                from: Source::Cache(_),
            }
            | ReadError::Missing {
                from: Source::Cache(_),
                ..
            } => Code::CacheDamaged,
            ReadError::Exec {
                source: ExecError::Deadline { .. },
                ..
            } => Code::Timeout,
            ReadError::Nowhere { silent, .. } => silent
                .as_ref()
                .map_or(Code::BadTarget, |silent| silent.code()),
            ReadError::Home(error) => fs_code(&error.source),
            ReadError::Exec { .. }
            | ReadError::Missing { .. }
            | ReadError::Answer { .. }
            | ReadError::TooMany { .. }
            | ReadError::Graph(_) => Code::CommandFailed,
        }
    }
}

fn is_damage(error: &ExecError) -> bool {
    let ExecError::Failed { stderr, .. } = error else {
        return false;
    };
    let stderr = stderr.to_lowercase();
    DAMAGED.iter().any(|word| stderr.contains(word))
}

fn silence(silent: &Option<Box<ReadError>>) -> String {
    silent
        .as_ref()
        .map(|error| format!("; {error}"))
        .unwrap_or_default()
}

fn names_of(sources: &[Source]) -> String {
    let names: Vec<String> = sources.iter().map(ToString::to_string).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::StoreUrl;

    #[test]
    fn whose_fault_it_is() {
        let cache = || Source::Cache(StoreUrl::new("https://cache.example").unwrap());
        let failed = |from: Source, stderr: &str| ReadError::Exec {
            from,
            source: ExecError::Failed {
                line: "nix".to_owned(),
                code: 1,
                stderr: stderr.to_owned(),
            },
        };
        for (stderr, code) in [
            (
                "error: hash of path '/nix/store/x' has changed from 'a' to 'b'!",
                Code::CacheDamaged,
            ),
            (
                "error: unable to download 'https://x': Could not resolve host: x",
                Code::CacheSilent,
            ),
            (
                "error: unable to download 'https://x/nar/y': HTTP error 404",
                Code::CacheDamaged,
            ),
        ] {
            assert_eq!(failed(cache(), stderr).failure().code, code, "{stderr}");
            let here = failed(Source::Local, stderr).failure().code;
            assert_eq!(here, Code::CommandFailed, "{stderr}");
        }
        let nowhere = |silent: Option<ReadError>| ReadError::Nowhere {
            path: StorePath::from_base_name("0123456789abcdfghijklmnpqrsvwxyz-a").unwrap(),
            asked: vec![Source::Local, cache()],
            silent: silent.map(Box::new),
        };
        assert_eq!(nowhere(None).failure().code, Code::BadTarget);
        let silent = nowhere(Some(failed(cache(), "error: Connection refused")));
        assert_eq!(silent.failure().code, Code::CacheSilent);
        let text = silent.to_string();
        assert!(
            text.contains("is not in the store, https://cache.example; "),
            "{text}"
        );
        assert!(text.ends_with("Connection refused"), "{text}");
    }
}

//! `nixctl man`: what packagers call to make the manual pages.

use std::path::Path;

use clap::CommandFactory;
use nixctl_proto::{Code, Exit, Failure};

use super::Outcome;
use crate::cli::Cli;

/// Writes a page for every verb into a folder.
pub fn run(folder: &Path) -> Outcome {
    clap_mangen::generate_to(Cli::command(), folder).map_err(|error| {
        let message = format!("cannot write manual pages to {}: {error}", folder.display());
        Failure::new(Code::FileFailed, message).with_help("name a folder that can be written")
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verb_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(run(folder.path()), Ok(Exit::Done));
        for page in ["nixctl.1", "nixctl-install.1", "nixctl-config-set.1"] {
            assert!(folder.path().join(page).is_file(), "{page}");
        }
        assert!(!folder.path().join("nixctl-man.1").exists());
        assert!(run(Path::new("/nonexistent/folder")).is_err());
    }
}

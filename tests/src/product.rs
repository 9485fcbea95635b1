//! The product under test: the two binaries cargo built, and how they get into a machine.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::machine::Builder;
use crate::paths;

/// The binaries on the host.
#[derive(Debug, Clone)]
pub struct Product {
    /// The client.
    pub nixctl: PathBuf,
    /// The daemon.
    pub nixctld: PathBuf,
}

/// The folder that [`use_folder`] chose.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// Makes [`built`] look only there, for the rest of this process. The first call counts.
pub fn use_folder(folder: &Path) {
    let _ = FOLDER.set(folder.to_path_buf());
}

/// The binaries in the folder that was chosen or that `NIXCTL_BINARIES` names, else in
/// `target/debug`, else in `target/release`. None when they are not built.
#[must_use]
pub fn built() -> Option<Product> {
    let named = std::env::var_os("NIXCTL_BINARIES").map(PathBuf::from);
    let folders = match FOLDER.get().cloned().or(named) {
        Some(folder) => vec![folder],
        None => ["debug", "release"]
            .map(|profile| paths::target().join(profile))
            .to_vec(),
    };
    folders
        .into_iter()
        .map(|dir| Product {
            nixctl: dir.join("nixctl"),
            nixctld: dir.join("nixctld"),
        })
        .find(|product| product.nixctl.is_file() && product.nixctld.is_file())
}

impl Product {
    /// Puts both into a folder of a machine before it boots.
    #[must_use]
    pub fn put_in(&self, builder: Builder, folder: &str) -> Builder {
        builder
            .file(&self.nixctl, &format!("{folder}/nixctl"), 0o755)
            .file(&self.nixctld, &format!("{folder}/nixctld"), 0o755)
    }
}

//! Roots that already have nixctl in them, so that a test need not put it there first.
//!
//! A root is made by booting an ordinary machine, doing in it what a person would do, switching it
//! off and copying its files. It is kept for as long as the product's binaries are the same.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{PROGRAMS, World};
use crate::error::{Context, Error, Result};
use crate::product::{self, Product};
use crate::{Machine, image, paths};

/// A root that was not used to build another one for so long belongs to binaries that are gone.
const OLD: Duration = Duration::from_secs(3 * 3600);

/// How far a root is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The daemon is installed, its settings written, alice is in the group nixctl.
    Daemon,
    /// The same, and Nix 2.26 was installed by alice.
    Nix,
}

/// The root of a stage, made when it is not there yet.
pub fn root(stage: Stage) -> Result<PathBuf> {
    let product = product::built().ok_or_else(|| {
        let help = "`cargo lab test` builds it, or `cargo build --workspace --bins`";
        Error::new("use nixctl", format!("it is not built; {help}"))
    })?;
    let parent = paths::lab("warm")?;
    let name = format!("{}-{}", stage.name(), key(&product)?);
    let entry = paths::cached_with(&parent, &name, 1, |scratch| {
        forget_old(&parent);
        stage.make(&product, &scratch.join("root"))
    })?;
    Ok(entry.join("root"))
}

impl Stage {
    fn name(self) -> &'static str {
        match self {
            Self::Daemon => "daemon",
            Self::Nix => "nix",
        }
    }

    fn make(self, product: &Product, target: &Path) -> Result<()> {
        let mut machine = match self {
            Self::Daemon => {
                let builder = product.put_in(Machine::builder("warm"), PROGRAMS);
                let machine = builder.boot()?;
                super::install_daemon(&machine)?;
                machine
            }
            Self::Nix => {
                let world = World::boot("warm-nix")?;
                world.install()?.ok()?;
                world.into_machine()
            }
        };
        machine.power_off()?;
        paths::copy_tree(machine.root(), target)
    }
}

/// Names the binaries without reading them: which files they are and when they were written.
fn key(product: &Product) -> Result<String> {
    let mut parts = vec![image::root(image::Kind::System)?.display().to_string()];
    for file in [&product.nixctl, &product.nixctld] {
        let data = std::fs::metadata(file).context(|| format!("read {}", file.display()))?;
        let (seconds, nanoseconds) = (data.mtime(), data.mtime_nsec());
        parts.push(format!(
            "{} {} {seconds}.{nanoseconds}",
            file.display(),
            data.size()
        ));
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(paths::key(&parts))
}

/// Removes what was made of binaries that have been replaced since.
fn forget_old(parent: &Path) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        let made = entry.metadata().and_then(|data| data.modified()).ok();
        let age = made.and_then(|made| SystemTime::now().duration_since(made).ok());
        let folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if folder && age.is_some_and(|age| age > OLD) {
            let _ = paths::remove_tree(&entry.path());
        }
    }
}

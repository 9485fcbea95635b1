//! The overlay a machine lives in: the image below, the machine's own writes above.
//!
//! The features that would make the upper layer hard to read (redirected folders, files that are
//! metadata only) are off, so that the upper layer alone says what a machine changed.

use std::fs;
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::statfs::{FsType, OVERLAYFS_SUPER_MAGIC, statfs};

use crate::error::{Context, Error, Result};
use crate::paths;

/// The folders of one overlay.
#[derive(Debug)]
pub struct Layers {
    lower: PathBuf,
    upper: PathBuf,
    merged: PathBuf,
}

impl Layers {
    /// Mounts an overlay under `dir`, over `lower`, with a copy of what was `written` over it before.
    /// With a size, what the machine may write is limited to that many bytes.
    pub fn mount(
        dir: &Path,
        lower: &Path,
        written: Option<&Path>,
        size: Option<u64>,
    ) -> Result<Self> {
        let writes = dir.join("writes");
        let layers = Self {
            lower: lower.to_path_buf(),
            upper: writes.join("upper"),
            merged: dir.join("merged"),
        };
        let work = writes.join("work");
        make(&writes)?;
        // An overlay cannot keep its writes on another overlay, as in a container.
        let nested = statfs(dir).is_ok_and(|fs| is_overlay(fs.filesystem_type()));
        if size.is_some() || nested {
            let options = match size {
                Some(bytes) => format!("mode=0755,size={bytes}"),
                None => "mode=0755".to_owned(),
            };
            mount(
                Some("tmpfs"),
                &writes,
                Some("tmpfs"),
                MsFlags::empty(),
                Some(options.as_str()),
            )
            .context(|| format!("mount a tmpfs on {}", writes.display()))?;
        }
        for folder in [layers.upper(), work.as_path(), layers.merged()] {
            make(folder)?;
        }
        if let Some(written) = written {
            paths::copy_tree(&written.join("."), layers.upper())?;
        }
        let name = |path: &Path| {
            let text = path.to_string_lossy().into_owned();
            if text.contains([':', ',', '\\']) {
                return Err(Error::new(
                    "mount an overlay",
                    format!("odd character in {text}"),
                ));
            }
            Ok(text)
        };
        let options = format!(
            "lowerdir={},upperdir={},workdir={},redirect_dir=off,index=off,metacopy=off",
            name(lower)?,
            name(layers.upper())?,
            name(&work)?
        );
        mount(
            Some("overlay"),
            layers.merged(),
            Some("overlay"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .context(|| format!("mount an overlay on {}", layers.merged().display()))?;
        Ok(layers)
    }

    pub fn lower(&self) -> &Path {
        &self.lower
    }

    pub fn upper(&self) -> &Path {
        &self.upper
    }

    pub fn merged(&self) -> &Path {
        &self.merged
    }
}

/// Takes down whatever is mounted below a machine's folder; nothing mounted is fine.
pub fn unmount(dir: &Path) {
    for name in ["merged", "writes", "netns"] {
        while umount2(&dir.join(name), MntFlags::MNT_DETACH).is_ok() {}
    }
}

fn make(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).context(|| format!("create {}", dir.display()))
}

fn is_overlay(kind: FsType) -> bool {
    kind == OVERLAYFS_SUPER_MAGIC
}

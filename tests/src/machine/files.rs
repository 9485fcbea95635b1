//! Files in and out of a machine, running or off.

use std::fs;
use std::path::Path;

use super::Machine;
use crate::error::{Context, Result};

/// Writes a file beside its place, then moves it there; makes the folders on the way.
const WRITE: &str = "mkdir -p \"$(dirname \"$1\")\" && cat >\"$1.new\" && chmod \"$2\" \"$1.new\" && \
                     mv -f \"$1.new\" \"$1\"";

impl Machine {
    /// Copies a file of the host into the machine.
    pub fn copy_in(&self, source: &Path, target: &Path, mode: u32) -> Result<()> {
        let bytes = fs::read(source).context(|| format!("read {}", source.display()))?;
        self.write_file(&target.to_string_lossy(), bytes, mode)
    }

    /// Writes a file in the machine, owned by root.
    pub fn write_file(&self, path: &str, content: impl Into<Vec<u8>>, mode: u32) -> Result<()> {
        let mode = format!("{mode:04o}");
        self.command(&["sh", "-c", WRITE, "sh", path, &mode])
            .label(&format!("write {path}"))
            .input(content)
            .run()?
            .ok()
            .map(drop)
    }

    /// Reads a file of the machine.
    pub fn read_file(&self, path: &str) -> Result<Vec<u8>> {
        Ok(self.exec(&["cat", path])?.ok()?.bytes)
    }

    /// Reads a file of the machine as text, invalid UTF-8 replaced.
    pub fn read_text(&self, path: &str) -> Result<String> {
        Ok(self.exec(&["cat", path])?.ok()?.stdout)
    }

    /// True when the path exists in the machine (a dangling link exists too).
    pub fn exists(&self, path: &str) -> Result<bool> {
        Ok(self
            .exec(&["sh", "-c", "test -e \"$1\" || test -L \"$1\"", "sh", path])?
            .success())
    }

    /// The same for a path without links in a running machine, seen from the host: for waits, since
    /// no process is started.
    #[must_use]
    pub fn appears(&self, path: &str) -> bool {
        let Some(leader) = self.leader() else {
            return false;
        };
        fs::symlink_metadata(format!("/proc/{leader}/root{path}")).is_ok()
    }
}

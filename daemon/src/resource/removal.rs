//! Taking trees off that others can have mounted something in, or made unremovable.
//!
//! What the operating system does not let go is left, with the folders that lead to it, and is
//! named; it never keeps the rest from going. A mount is neither entered nor taken off.

use std::io::ErrorKind;
use std::path::Path;

use super::{Context, ResourceError, Result, Undone};
use crate::host::FsError;

/// Paths that are named; of the others only the number is told.
const NAMED: usize = 20;

/// What could not be removed so far.
#[derive(Debug, Default)]
pub(super) struct Removal {
    left: Vec<FsError>,
}

impl Removal {
    /// Removes a file, link or whole tree; `each` is called again and again on the way.
    pub(super) fn tree(
        &mut self,
        context: &Context<'_>,
        path: &Path,
        id: &str,
        each: &mut dyn FnMut(),
    ) -> Result<()> {
        let fs = &context.host.fs;
        match fs.remove_what_goes(path, context.cancel, each) {
            Ok(left) => self.left.extend(left),
            Err(error) if error.is_stopped() => {
                return Err(ResourceError::Stopped { id: id.to_owned() });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Removes a folder when it is empty.
    pub(super) fn empty_folder(&mut self, context: &Context<'_>, path: &Path) -> Result<()> {
        match context.host.fs.remove_dir(path) {
            Ok(_) => {}
            Err(error) if error.is_left() => self.left.push(error),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// How it ended.
    pub(super) fn end(self) -> Undone {
        if self.left.is_empty() {
            return Undone::Clean;
        }
        let mut lines: Vec<String> = self.left.iter().take(NAMED).map(line).collect();
        if let Some(more) = self.left.len().checked_sub(NAMED).filter(|&more| more > 0) {
            lines.push(format!("{more} more paths could not be removed, they stay"));
        }
        Undone::Left(lines)
    }
}

fn line(left: &FsError) -> String {
    let why = match left.source.kind() {
        ErrorKind::CrossesDevices => "busy, another file system is mounted there",
        ErrorKind::ResourceBusy => "busy, something is mounted there or it is in use",
        _ => "protected, not even root may remove it",
    };
    let path = left.path.display();
    format!("{path}: it is {why}; it stays with the folders that lead to it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_counted() {
        let left = |count: usize| {
            let error = |index| FsError {
                action: "remove",
                path: format!("/nix/{index}").into(),
                source: std::io::ErrorKind::ResourceBusy.into(),
            };
            let left = (0..count).map(error).collect();
            match (Removal { left }).end() {
                Undone::Left(lines) => lines,
                _ => Vec::new(),
            }
        };
        assert_eq!(left(0), [""; 0]);
        assert_eq!(left(NAMED).len(), NAMED);
        let many = left(NAMED + 3);
        assert_eq!(many.len(), NAMED + 1);
        assert!(many[0].starts_with("/nix/0: it is busy,"), "{}", many[0]);
        assert!(many[NAMED].starts_with("3 more"));
    }
}

//! Short words for the steps that catalogues are made of.

use std::path::{Path, PathBuf};

use super::files::Shipped;
use crate::engine::Step;
use crate::resource::Resource;
use crate::resource::directory::Directory;
use crate::resource::file::File;

/// A folder of root; one that is there already stays as it is.
pub(super) fn directory(path: impl AsRef<Path>, mode: u32) -> Step {
    let path = path.as_ref().to_owned();
    Step::Ensure(Resource::Directory(Directory {
        path,
        mode,
        uid: 0,
        gid: 0,
        lenient: true,
    }))
}

/// A file of root.
pub(super) fn file(path: impl Into<PathBuf>, content: impl Into<String>, mode: u32) -> Step {
    Step::Ensure(Resource::File(plain_file(path, content, mode)))
}

/// A shipped file at its own place.
pub(super) fn shipped(file_of_ours: Shipped, mode: u32) -> Step {
    file(file_of_ours.path, file_of_ours.content, mode)
}

/// A file of root, as a resource.
pub(super) fn plain_file(path: impl Into<PathBuf>, content: impl Into<String>, mode: u32) -> File {
    File {
        path: path.into(),
        content: content.into(),
        mode,
        uid: 0,
        gid: 0,
        replace: false,
    }
}

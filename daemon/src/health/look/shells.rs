//! Which owned things put Nix on PATH: blocks in start-up files and the scripts they call.

use std::path::Path;

use crate::catalogue::files::{HOOK_FISH, HOOK_SH};
use crate::resource::Resource;

/// Whether it is one of them.
pub(crate) fn is_shell_area(resource: &Resource) -> bool {
    match resource {
        Resource::Block(_) => true,
        Resource::File(it) => [HOOK_SH, HOOK_FISH]
            .iter()
            .any(|hook| it.path == Path::new(hook.path)),
        _ => false,
    }
}

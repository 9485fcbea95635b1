//! Leaving the generation that was booted.
//!
//! NixOS keeps a root of it, whatever runs since then. A machine that was restarted on the way boots
//! a hybrid, or the target before it is proven: while that root is there, nothing of what is taken
//! back goes, and the disk is too small for what comes again. What its kernel may still ask for gets
//! roots of its own; the next boot makes the root anew.

use std::path::Path;

use crate::host::Fs;
use crate::payload::entry::is_store_path;
use crate::switch::error::Result;
use crate::switch::fetch::make_roots_folder;
use crate::switch::running::{BOOTED_SYSTEM, CURRENT_SYSTEM, kernel_parts};
use crate::switch::step::{BOOTED, ROOTS};

/// Root of the generation that was booted, as a whole.
pub(super) const BOOTED_ROOT: &str = "/nix/var/nix/gcroots/booted-system";

/// Takes the root of the generation that was booted away, when that is among the store paths that go
/// and does not run any more.
///
/// # Errors
/// When a link cannot be read, made or removed.
pub(super) fn leave(fs: &Fs, going: &[String]) -> Result<()> {
    let Some(booted) = system_at(fs, BOOTED_SYSTEM)? else {
        return Ok(());
    };
    let runs = system_at(fs, CURRENT_SYSTEM)?.as_ref() == Some(&booted);
    if runs || !going.contains(&booted) || fs.read_link(Path::new(BOOTED_ROOT))?.is_none() {
        return Ok(());
    }
    let roots = Path::new(ROOTS).join(BOOTED);
    for part in kernel_parts(fs, Path::new(&booted))? {
        make_roots_folder(fs, &roots)?;
        let link = roots.join(part.trim_start_matches("/nix/store/"));
        if fs.read_link(&link)?.as_deref() != Some(Path::new(&part)) {
            fs.symlink(Path::new(&part), &link)?;
        }
    }
    fs.remove_file(Path::new(BOOTED_ROOT))?;
    Ok(())
}

/// Removes what the kernel of an earlier boot was kept by. What was booted this time must be there and
/// have the root that a boot makes: without it the roots are what the running kernel is kept by.
///
/// Nothing else may move the machine meanwhile: a switch that finds a root here counts on it. Cut off
/// in the midst, it leaves roots that the next time removes.
///
/// # Errors
/// When a link cannot be read or removed.
pub fn let_go_of_kernels(fs: &Fs) -> Result<()> {
    let roots = Path::new(ROOTS).join(BOOTED);
    let Some(booted) = system_at(fs, BOOTED_SYSTEM)? else {
        return Ok(());
    };
    let is_kept = fs.read_link(Path::new(BOOTED_ROOT))?.is_some();
    if !is_kept || !fs.is_dir(Path::new(&booted)) || !fs.is_dir(&roots) {
        return Ok(());
    }
    for name in fs.list(&roots)? {
        fs.remove_file(&roots.join(name))?;
    }
    Ok(())
}

/// Store path of the system that a link leads to.
pub(super) fn system_at(fs: &Fs, link: &str) -> Result<Option<String>> {
    let target = fs.read_link(Path::new(link))?;
    let target = target.and_then(|target| Some(target.to_str()?.to_owned()));
    Ok(target.filter(|path| is_store_path(path)))
}

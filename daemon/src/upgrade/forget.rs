//! Letting go of a release that neither runs nor is gone back to.
//!
//! The generations of our profile that hold it go, and with them the last root of its store paths:
//! Nix's own collection of garbage takes those, when it is run.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::step::line;
use crate::catalogue::existing::OWN_PROFILE;
use crate::host::Host;
use crate::payload::Manifest;
use crate::resource::profile::Profile;
use crate::resource::saved::mismatch;
use crate::resource::{Context, Description, Resource, Result, Undo, Undone};

/// A release is let go of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forget {
    /// Its version.
    pub version: String,
    /// SHA-256 of its archive, which names the list of its store paths.
    pub sha256: String,
}

impl Forget {
    pub(super) fn describe(&self) -> Description {
        let version = &self.version;
        line(
            &format!("forget:{}", self.sha256),
            format!("let go of Nix {version}, which a collection of garbage then takes"),
        )
    }

    /// The generations that go, a link and where it leads in turn.
    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        let Some(manifest) = Manifest::load(&host.fs, &self.sha256)? else {
            return Ok(Undo::Entries(Vec::new()));
        };
        let profile = Profile {
            link: OWN_PROFILE.into(),
            sha256: String::new(),
        };
        let found = profile.others_with(host, &manifest.nix)?;
        let both = found.into_iter().flat_map(|(link, to)| [link, to]);
        let texts = both.filter_map(|path| path.into_os_string().into_string().ok());
        Ok(Undo::Entries(texts.collect()))
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        for (link, _) in self.links(undo)? {
            context.host.fs.remove_file(&link)?;
        }
        Ok(())
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let fs = &context.host.fs;
        for (link, to) in self.links(undo)? {
            if fs.read_link(&link)?.is_none() {
                fs.symlink(Path::new(&to), &link)?;
            }
        }
        Ok(Undone::Clean)
    }

    fn links(&self, undo: &Undo) -> Result<Vec<(PathBuf, PathBuf)>> {
        let Undo::Entries(texts) = undo else {
            return Err(mismatch(self.describe().id));
        };
        let pairs = texts.chunks_exact(2);
        let pair = |it: &[String]| (PathBuf::from(&it[0]), PathBuf::from(&it[1]));
        Ok(pairs.map(pair).collect())
    }
}

/// A thing of such a release is not owned any more. Nothing is done to it: it goes with the rest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disown {
    /// The thing.
    pub resource: Box<Resource>,
}

impl Disown {
    pub(super) fn describe(&self) -> Description {
        let Description { id, .. } = self.resource.describe();
        line(
            &format!("disown:{id}"),
            format!("stop owning {}", self.resource.thing()),
        )
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, _context: &Context<'_>, _undo: &Undo) -> Result<()> {
        Ok(())
    }

    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

#[cfg(test)]
#[path = "forget_tests.rs"]
mod tests;

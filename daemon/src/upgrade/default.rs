//! The default profile of all users, where the Nix that is replaced lies in it.
//!
//! The script of the Nix project puts it there, and what was taken over stays so: users would go on
//! with the old programs. What else they have in that profile stays as it is. A profile that `nix
//! profile` manages is left to its users, and that is said.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::step::line;
use crate::host::Host;
use crate::payload::Manifest;
use crate::resource::profile::Profile;
use crate::resource::{Context, Description, Result, Undo, Undone};

/// The profile.
const DEFAULT: &str = "/nix/var/nix/profiles/default";

/// Another version comes into the default profile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// SHA-256 of the archive of the old version.
    pub from: String,
    /// SHA-256 of that of the new one.
    pub to: String,
}

impl Exchange {
    pub(super) fn describe(&self) -> Description {
        line(
            "profile:default",
            format!("put it into the profile {DEFAULT} too, if the old one is there"),
        )
    }

    /// The generation that is current, if it holds the old version.
    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        let old = Manifest::load(&host.fs, &self.from)?;
        let profile = self.profile();
        match old {
            Some(old) if profile.holds(host, &old.nix)? => profile.prepare(host),
            _ => Ok(Undo::Nothing),
        }
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        if *undo != Undo::Nothing {
            return self.profile().exchange(context);
        }
        let list = Path::new(DEFAULT).join("manifest.json");
        let held = context.host.fs.read(&list, super::MAX_LIST)?;
        let old = Manifest::load(&context.host.fs, &self.from)?;
        if let (Some(held), Some(old)) = (held, old)
            && String::from_utf8_lossy(&held).contains(&old.nix)
        {
            let note = format!(
                "{DEFAULT} goes on with the old Nix: it is managed with `nix profile`, which upgrades it"
            );
            context.progress.note(&note);
        }
        Ok(())
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        match undo {
            Undo::Nothing => Ok(Undone::Clean),
            undo => self.profile().undo(context, undo),
        }
    }

    fn profile(&self) -> Profile {
        Profile {
            link: DEFAULT.into(),
            sha256: self.to.clone(),
        }
    }
}

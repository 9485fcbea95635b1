//! NixOS-shaped generations made of Debian's services, and machines that run them.
//!
//! A [`Spec`] says what is wanted; [`generation`] makes it: packages of one Debian suite as store
//! paths (one each, see `relocate.rs`), units, /etc and the scripts of a toplevel around them,
//! all registered by a real Nix, with a binary cache to fetch them from. [`Host`] is a machine whose
//! /nix is a disk of its own and which boots such a generation.
//!
//! ```no_run
//! use nixctl_lab::generation::{Spec, generation};
//! let new = generation(&Spec::new())?;
//! println!("{} needs {} bytes", new.toplevel, new.size());
//! # Ok::<(), nixctl_lab::Error>(())
//! ```

mod arena;
mod campaign;
mod compose;
mod disk;
mod host;
mod outage;
mod parts;
mod pool;
mod probe;
mod relocate;
mod scan;
mod site;
mod sound;
mod spec;
mod store;
mod toplevel;
mod watch;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

pub use arena::Arena;
pub use campaign::{Blow, Gone, campaign as switch_campaign};
pub use disk::{Disk, FileSystem, Space, missing as missing_for_disks};
pub use host::{Host, NIX_PROFILE, SYSTEM_PROFILE, Start, machine};
pub use outage::{Alone, Outage, Poller, Watched, alone};
pub use site::{SWITCH, Site, disk_for};
pub use spec::{Base, Service, Spec, Tweak};
pub use watch::Peaks;

use crate::dist::StorePath;
use crate::error::{Context, Error, Result};
use crate::paths;
use compose::Composer;
use store::Packages;

/// A generation on the host's disk: registered, and ready to be fetched or copied.
#[derive(Debug, Clone)]
pub struct Generation {
    /// What it was made of.
    pub spec: Spec,
    /// Store path of the toplevel.
    pub toplevel: String,
    /// Its whole closure.
    pub closure: Vec<StorePath>,
    /// A binary cache of the closure without signatures, for `file://` or [`crate::server`].
    pub cache: PathBuf,
    /// The same, signed.
    pub signed_cache: PathBuf,
    /// What must be among `trusted-public-keys` for the signed cache.
    pub public_key: String,
    /// The closure's registration, for `nix-store --load-db`.
    pub registration: PathBuf,
    stores: [PathBuf; 2],
}

impl Generation {
    /// Bytes of all NARs of the closure.
    #[must_use]
    pub fn size(&self) -> u64 {
        size(&self.closure)
    }

    /// Bytes of what this closure has and the other has not.
    #[must_use]
    pub fn size_beside(&self, other: &Self) -> u64 {
        let known: BTreeSet<&str> = other.closure.iter().map(|path| &*path.path).collect();
        let extra = self
            .closure
            .iter()
            .filter(|path| !known.contains(&*path.path));
        extra.map(|path| path.nar_size).sum()
    }

    /// Where the content of a store path of the closure lies on the host.
    #[must_use]
    pub fn on_host(&self, path: &str) -> Option<PathBuf> {
        let name = path.strip_prefix("/nix/store/")?;
        let found = self.stores.iter().map(|store| store.join(name));
        found
            .into_iter()
            .find(|file| file.symlink_metadata().is_ok())
    }
}

/// Bytes of the NARs of these paths.
#[must_use]
pub fn size(paths: &[StorePath]) -> u64 {
    paths.iter().map(|path| path.nar_size).sum()
}

/// The generation of this description, made when it is not there yet: some minutes for the first
/// one, a few seconds for every other.
pub fn generation(spec: &Spec) -> Result<Generation> {
    let packages = Packages::get()?;
    let recipe = [
        include_str!("compose.rs"),
        include_str!("toplevel.rs"),
        include_str!("parts.rs"),
        include_str!("mod.rs"),
    ];
    let texts = parts::texts();
    let description = format!("{spec:?}");
    let name = packages.name();
    let mut key = vec![&*description, &*name];
    key.extend(recipe);
    key.extend(texts);
    let entry = format!("{}-{}", spec.name, paths::key(&key));
    let dir = paths::cached_with(&paths::lab("generation")?, &entry, 1, |scratch| {
        build(spec, &packages, scratch)
    })?;
    let toplevel = dir.join("toplevel");
    let toplevel = fs::read_to_string(&toplevel).context(|| "read a generation's toplevel")?;
    let registration = dir.join("out/registration");
    Ok(Generation {
        spec: spec.clone(),
        toplevel,
        closure: store::read_registration(&registration)?,
        cache: dir.join("cache"),
        signed_cache: dir.join("signed"),
        public_key: packages.public_key()?,
        registration,
        stores: [dir.join("nix/store"), packages.root().join("nix/store")],
    })
}

fn build(spec: &Spec, packages: &Packages, dir: &Path) -> Result<()> {
    let names = packages.of(spec.base);
    let mut composer = Composer::new(&dir.join("new"), names.clone());
    for package in spec.kept_packages() {
        if let Some(path) = packages.of(Base::Old).get(package) {
            composer.name(package, path);
        }
    }
    let toplevel = toplevel::compose(&mut composer, spec, names, &packages.root())?;
    packages.add(dir, composer.made(), &toplevel)?;
    let closure = store::read_registration(&dir.join("out/registration"))?;
    caches(dir, &closure)?;
    fs::write(dir.join("toplevel"), &toplevel).context(|| "write a generation's toplevel")
}

/// Makes the caches of just the closure, signed and not, out of the one of all packages.
fn caches(dir: &Path, closure: &[StorePath]) -> Result<()> {
    let all = dir.join("out/cache");
    let (signed, plain) = (dir.join("signed"), dir.join("cache"));
    for cache in [&signed, &plain] {
        fs::create_dir_all(cache.join("nar")).context(|| "make a binary cache")?;
        link(&all.join("nix-cache-info"), &cache.join("nix-cache-info"))?;
    }
    for path in closure {
        let hash = path
            .path
            .trim_start_matches("/nix/store/")
            .split('-')
            .next();
        let name = format!("{}.narinfo", hash.unwrap_or_default());
        let info = fs::read_to_string(all.join(&name)).context(|| format!("read {name}"))?;
        let nar = info.lines().find_map(|line| line.strip_prefix("URL: "));
        let nar = nar.ok_or_else(|| Error::new(format!("read {name}"), "it names no file"))?;
        let unsigned: Vec<&str> = info
            .lines()
            .filter(|line| !line.starts_with("Sig: "))
            .collect();
        fs::write(plain.join(&name), unsigned.join("\n") + "\n").context(|| "write a narinfo")?;
        fs::write(signed.join(&name), &info).context(|| "write a narinfo")?;
        for cache in [&signed, &plain] {
            link(&all.join(nar), &cache.join(nar))?;
        }
    }
    paths::remove_tree(&all)
}

/// A hard link; two store paths of the same content have one NAR.
fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::hard_link(from, to) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).context(|| format!("link {}", to.display()))
        }
        _ => Ok(()),
    }
}

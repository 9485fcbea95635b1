//! What trials of the stepwise switch begin with: two small generations, and a machine just before
//! the switch, prepared once for all binaries that are the same and booted as a copy each time.

use std::path::PathBuf;

use super::{Disk, Generation, Host, Service, Site, Spec, Tweak, disk_for, generation};
use crate::error::Result;
use crate::world::{self, Stage};
use crate::{Error, paths};

/// The services of both: one that keeps data, one that does not, and one bigger than the others.
const SERVICES: [Service; 3] = [Service::Redis, Service::Memcached, Service::NodeExporter];
/// Room for generations on the disk, in per cent of the new one.
const ROOM: u64 = 140;
/// Settings beside those of every site. Redis is asked when the last one of the services has changed,
/// so that there is much to take back.
const SETTINGS: &str = "[switch]\nsoak_seconds = 1\n\n[[switch.probes]]\nname = \"redis\"\n\
                        unit = \"node-exporter.service\"\ntcp = \"127.0.0.1:6379\"\nseconds = 2\n";
/// The daemon starts at once again, whatever generation runs.
const AT_ONCE: &str = include_str!("../../files/restart-at-once.conf");
const DROP_IN: &str = "/usr/local/lib/systemd/system/nixctld.service.d/lab-at-once.conf";

/// The generations, and the machine as it was left.
#[derive(Debug)]
pub struct Arena {
    /// What runs.
    pub old: Generation,
    /// What is switched to.
    pub new: Generation,
    /// The same with a redis that is active, but on another port.
    pub unwell: Generation,
    entry: PathBuf,
}

impl Arena {
    /// The arena, made when it is not there yet.
    pub fn get() -> Result<Self> {
        let small = |spec: Spec, name: &str| spec.only(name, &SERVICES).tweaked(Tweak::FewTools);
        let new = small(Spec::new(), "small-new");
        let old = generation(&small(Spec::old(), "small-old"))?;
        let unwell = generation(&new.clone().tweaked(Tweak::RedisElsewhere))?;
        let new = generation(&new)?;
        let mib = disk_for(new.size() * ROOM / 100)?;
        // Named after the binaries.
        let root = world::root(Stage::Nix)?.display().to_string();
        let own = [include_str!("arena.rs"), include_str!("site.rs")];
        let key = paths::key(&[&root, &old.toplevel, &mib.to_string(), own[0], own[1]]);
        let parent = paths::lab("warm")?;
        let entry = paths::cached_with(&parent, &format!("arena-{key}"), 1, |scratch| {
            let mut site = Site::boot("arena", mib, &[&old])?;
            let machine = &site.host.machine;
            machine.write_file("/etc/nixctl/config.d/trials.toml", SETTINGS, 0o644)?;
            machine.write_file(DROP_IN, AT_ONCE, 0o644)?;
            if let Some(problem) = site.wrong_with(&old)?.into_iter().next() {
                return Err(Error::new("prepare an arena", problem));
            }
            site.host.machine.power_off()?;
            site.host.disk.save(&scratch.join("disk"))?;
            paths::copy_tree(site.host.machine.upper(), &scratch.join("written"))
        })?;
        Ok(Self {
            old,
            new,
            unwell,
            entry,
        })
    }

    /// A file beside the machine, for what is to be known as long as it is the same.
    pub(super) fn note(&self, name: &str) -> PathBuf {
        self.entry.join(name)
    }

    /// A machine just before the switch, and its cache.
    pub fn boot(&self, name: &str) -> Result<Site> {
        let disk = Disk::of(&self.entry.join("disk"))?;
        let host = Host::resume(name, &self.entry.join("written"), disk)?;
        Site::beside(host, &[&self.old, &self.new, &self.unwell])
    }
}

//! Which units are listened to, and what it means that one of them changed.
//!
//! Of a unit only the states count in which it can stay: that it was started again on its way
//! from one to the other is no news. The first that is heard of a unit is news only when it is
//! not as a healthy machine has it; the round at boot has seen the rest. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use nixctl_planner::units::escape_path;

use nixctl_proto::health::check::Area;

use super::watch::ground::Ground;
use crate::catalogue::own;
use crate::host::service::Heard;
use crate::resource::Resource;

/// States in which a unit can stay.
const SETTLED: [&str; 3] = ["active", "inactive", "failed"];
/// The daemon itself: what happens to it, it cannot hear.
const ITSELF: &str = "nixctld.service";

/// Units to listen to, each with the area of the checks that look at it.
pub fn units(owned: &[Resource], ground: &Ground) -> BTreeMap<String, Area> {
    let mut units = BTreeMap::new();
    for resource in owned {
        match resource {
            Resource::Service(it) => {
                let area = match own::is_own(resource) {
                    true => Area::Own,
                    false => Area::Daemon,
                };
                let all = it.enable.iter().chain(&it.start).chain(&it.also_stop);
                let all = all.filter(|unit| *unit != ITSELF);
                units.extend(all.map(|unit| (unit.clone(), area)));
            }
            Resource::NixTree(_) => {
                let mounts = ground.points.iter().map(|point| unit_of(point, "mount"));
                // What is no device has no such unit, and its folder is watched.
                let devices = ground.sources.iter().filter(|it| it.starts_with("/dev"));
                let devices = devices.map(|source| unit_of(source, "device"));
                let names = mounts.chain(devices);
                units.extend(names.map(|name| (name, Area::Mounts)));
            }
            _ => {}
        }
    }
    units
}

fn unit_of(path: &Path, kind: &str) -> String {
    format!("{}.{kind}", escape_path(&path.to_string_lossy()))
}

/// What is known of the units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Signals {
    units: BTreeMap<String, Area>,
    states: BTreeMap<String, String>,
}

/// What has to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct News {
    /// Where.
    pub areas: BTreeSet<String>,
    /// Whether something was mounted or unmounted, so that files have to be watched anew.
    pub is_mount: bool,
}

impl Signals {
    /// Listens to these units. Says which, when they are others than before.
    pub fn set(&mut self, units: BTreeMap<String, Area>) -> Option<BTreeSet<String>> {
        if units == self.units {
            return None;
        }
        self.states.retain(|unit, _| units.contains_key(unit));
        self.units = units;
        Some(self.units.keys().cloned().collect())
    }

    /// What it means that this was heard.
    pub fn news(&mut self, heard: &Heard) -> Option<News> {
        let unit = match heard {
            Heard::State { unit, active } => {
                if !SETTLED.contains(&active.as_str()) {
                    return None;
                }
                let before = self.states.insert(unit.clone(), active.clone());
                let is_news = match before {
                    Some(before) => before != *active,
                    // A service may wait for its socket; most mounts and devices are only possible.
                    None => active == "failed" || (active != "active" && unit.ends_with(".socket")),
                };
                if !is_news {
                    return None;
                }
                unit
            }
            Heard::JobFailed { unit, .. } => unit,
        };
        let area = self.units.get(unit)?;
        let mut areas = BTreeSet::from([area.name().to_owned()]);
        let is_mount = unit.ends_with(".mount");
        if is_mount {
            // All of these lie in it, and nix-daemon is started from it.
            let below = [Area::Daemon, Area::Tree, Area::Database, Area::Versions];
            areas.extend(below.map(|area| area.name().to_owned()));
        }
        Some(News { areas, is_mount })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::nix_tree::NixTree;
    use crate::resource::service::Service;

    fn owned() -> Vec<Resource> {
        let service = |units: &[&str]| {
            let units: Vec<String> = units.iter().map(|it| (*it).to_owned()).collect();
            Resource::Service(Service {
                enable: units.clone(),
                start: units,
                also_stop: Vec::new(),
            })
        };
        vec![
            service(&["nix-daemon.socket", "nix-daemon.service"]),
            service(&["nixctld.socket", "nixctld.service"]),
            Resource::NixTree(NixTree {
                store_gid: 0,
                keep: false,
            }),
        ]
    }

    fn ground() -> Ground {
        Ground {
            points: ["/nix".into(), "/nix/var/nix".into()].into(),
            sources: ["/dev/disk/by-uuid/aa-bb".into(), "/srv/disk".into()].into(),
            ..Ground::default()
        }
    }

    #[test]
    fn the_units_of_what_is_owned_are_listened_to() {
        let units = units(&owned(), &ground());
        let shown: Vec<String> = units
            .iter()
            .map(|(unit, area)| format!("{unit} {}", area.name()))
            .collect();
        assert_eq!(
            shown,
            [
                "dev-disk-by\\x2duuid-aa\\x2dbb.device mounts",
                "nix-daemon.service daemon",
                "nix-daemon.socket daemon",
                "nix-var-nix.mount mounts",
                "nix.mount mounts",
                "nixctld.socket own",
            ]
        );
        assert!(super::units(&[], &ground()).is_empty());
    }

    #[test]
    fn news_is_what_differs_from_what_was() {
        let mut signals = Signals::default();
        let asked = signals.set(units(&owned(), &ground())).unwrap();
        assert_eq!(signals.set(units(&owned(), &ground())), None);
        let device = asked.iter().find(|unit| unit.ends_with("device")).unwrap();
        let state = |unit: &str, active: &str| Heard::State {
            unit: unit.to_owned(),
            active: active.to_owned(),
        };
        let mount = "daemon database mounts tree versions";
        for (heard, areas) in [
            (state("nix-daemon.socket", "active"), ""),
            (state("nix-daemon.socket", "active"), ""),
            (state("nix-daemon.socket", "deactivating"), ""),
            (state("nix-daemon.socket", "inactive"), "daemon"),
            (state("nix-daemon.socket", "inactive"), ""),
            (state("nix-daemon.socket", "activating"), ""),
            (state("nix-daemon.socket", "failed"), "daemon"),
            (state("nix-daemon.socket", "active"), "daemon"),
            (state("nix-daemon.service", "inactive"), ""),
            (state("nix-daemon.service", "active"), "daemon"),
            (state("nixctld.socket", "inactive"), "own"),
            (state("nix.mount", "active"), ""),
            (state("nix.mount", "inactive"), mount),
            (state("nix.mount", "active"), mount),
            (state("nix-var-nix.mount", "inactive"), ""),
            (state("nix-var-nix.mount", "failed"), mount),
            (state(device, "inactive"), ""),
            (state(device, "active"), "mounts"),
            (state(device, "inactive"), "mounts"),
            (state("other.service", "failed"), ""),
        ] {
            let news = signals.news(&heard);
            let told = news.as_ref().map(|it| {
                let areas: Vec<&str> = it.areas.iter().map(String::as_str).collect();
                areas.join(" ")
            });
            assert_eq!(told.unwrap_or_default(), areas, "{heard:?}");
            assert_eq!(news.is_some_and(|it| it.is_mount), areas == mount);
        }
        let failed = Heard::JobFailed {
            unit: "nix.mount".to_owned(),
            result: "dependency".to_owned(),
        };
        assert!(signals.news(&failed).unwrap().areas.contains("mounts"));
    }
}

//! One round: the facts of some areas, judged.

use std::collections::BTreeSet;
use std::path::Path;

use nixctl_proto::health::check::Area;

use super::judge::{Found, blind, judge};
use super::look::{Scene, look};
use crate::host::Fs;
use crate::resource::Resource;
use crate::switch::identity::RUNNING;

/// A round that was asked to stop, and has nothing to say therefore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot finish the round of checks: it was asked to stop")]
pub struct Stopped;

/// Those of the areas that say something about a machine: where nixctl has put no Nix, what Nix
/// needs is nobody's business; and where a generation runs, it says what is in /etc, most of which
/// are links into the store. What nixctl once wrote there is not to be written again.
pub fn relevant(fs: &Fs, areas: &[Area], owned: &[Resource]) -> Vec<Area> {
    let is_nix = |it: &Resource| {
        matches!(
            it,
            Resource::Payload(_) | Resource::Profile(_) | Resource::Registration(_)
        )
    };
    let has_nix = owned.iter().any(is_nix);
    let has_generation = has_generation(fs);
    let all = areas.iter().copied();
    all.filter(|area| match has_generation {
        true => area.is_of_any_system(),
        false => has_nix || !area.is_of_nix(),
    })
    .collect()
}

/// Whether the system is one that is switched from generation to generation. What cannot be read is
/// taken for one: less is looked at then, and nothing is repaired that should not be.
pub fn has_generation(fs: &Fs) -> bool {
    !matches!(fs.read_link(Path::new(RUNNING)), Ok(None))
}

/// Looks at these areas and judges them, each finding once. `beat` is called between areas: one
/// may wait for a program until its deadline. An area that cannot be looked at is a finding of
/// its own and takes nothing from the others.
///
/// # Errors
/// When it was asked to stop.
pub fn round(scene: &Scene<'_>, areas: &[Area], beat: &dyn Fn()) -> Result<Vec<Found>, Stopped> {
    let mut found: Vec<Found> = Vec::new();
    for area in areas {
        if scene.cancel.requested().is_some() {
            return Err(Stopped);
        }
        beat();
        match look(scene, *area) {
            Ok(facts) => found.extend(judge(&facts)),
            Err(error) if error.is_stopped() => return Err(Stopped),
            Err(error) => found.push(blind(*area, &error)),
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|it| seen.insert((it.check, it.subject.clone())));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::host::Cancel;
    use crate::host::cancel::Stop;
    use nixctl_proto::health::check::Check;

    fn at(machine: &Machine, cancel: &Cancel, beat: &dyn Fn()) -> Result<Vec<Found>, Stopped> {
        let (host, settings) = (machine.host(), Default::default());
        let scene = Scene {
            is_deep: true,
            ..Scene::bare(&host, &settings, cancel)
        };
        round(&scene, &[Area::Conf, Area::Tls, Area::Tls], beat)
    }

    #[test]
    fn an_area_that_cannot_be_looked_at_takes_nothing_from_the_others() {
        // A folder in the place of a file.
        let machine = Machine::new().directory("/proc/self/uid_map");
        let beats = Cell::new(0);
        let found = at(&machine, &Cancel::default(), &|| beats.set(beats.get() + 1)).unwrap();
        let checks: Vec<Check> = found.iter().map(|it| it.check).collect();
        assert_eq!(checks, [Check::CannotLook, Check::BundleMissing]);
        assert_eq!((found[0].subject.as_str(), beats.get()), ("conf", 3));
    }

    #[test]
    fn what_a_generation_owns_is_not_looked_at() {
        let plain = Machine::new().host();
        assert!(!has_generation(&plain.fs));
        assert!(relevant(&plain.fs, &Area::ALL, &[]).contains(&Area::Own));
        let machine = Machine::new().link(RUNNING, "/nix/store/x-nixos-system");
        let areas = relevant(&machine.host().fs, &Area::ALL, &[]);
        let expected = [
            Area::Mounts,
            Area::Managed,
            Area::Space,
            Area::Clock,
            Area::Operations,
            Area::Upgrade,
        ];
        assert_eq!(areas, expected);
    }

    #[test]
    fn a_round_that_is_stopped_says_nothing() {
        let cancel = Cancel::default();
        cancel.request(Stop::Shutdown);
        assert_eq!(at(&Machine::new(), &cancel, &|| {}), Err(Stopped));
    }
}

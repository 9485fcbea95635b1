//! How a machine is after a boot: whether systemd has settled, the vital units are well, and the
//! probes pass; what is wrong in words.

use std::collections::BTreeMap;

use nixctl_proto::settings::ProbeSettings;

use crate::host::service::{Control, LoadedUnit};
use crate::host::{Cancel, Host, ServiceError};
use crate::switch::boot::vital::Vital;
use crate::switch::prove::probe::{Attempts, probes_for};

/// States of systemd in which the boot is over.
const SETTLED: [&str; 2] = ["running", "degraded"];

/// What one look has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// What is wrong; nothing when all is well.
    pub wrong: Option<String>,
    /// How often the vital units that run were started: another one the next time is not steady.
    pub starts: BTreeMap<String, String>,
}

/// Looks once. The probes are tried when all else is well.
///
/// # Errors
/// When the service manager does not answer.
pub fn look(
    host: &Host,
    cancel: &Cancel,
    vital: &[Vital],
    probes: &[ProbeSettings],
) -> Result<Seen, ServiceError> {
    let Some(control) = host.services.control() else {
        return Ok(Seen::default());
    };
    let state = control.system_state()?;
    let wrong = unsettled(&state).or(unwell(vital, &control.loaded()?));
    if wrong.is_some() {
        return Ok(Seen {
            wrong,
            ..Seen::default()
        });
    }
    Ok(Seen {
        wrong: failed_probe(host, cancel, vital, probes),
        starts: starts(control, vital)?,
    })
}

fn unsettled(state: &str) -> Option<String> {
    (!SETTLED.contains(&state)).then(|| format!("the system is {state}"))
}

/// The first vital unit that is not well.
fn unwell(vital: &[Vital], loaded: &[LoadedUnit]) -> Option<String> {
    let states: BTreeMap<&str, &LoadedUnit> =
        loaded.iter().map(|it| (it.name.as_str(), it)).collect();
    vital.iter().find_map(|it| {
        let state = states
            .get(it.unit.as_str())
            .map(|unit| unit.active.as_str());
        match state.unwrap_or("not loaded") {
            "active" | "reloading" | "refreshing" => None,
            "failed" => Some(format!("{} has failed", it.unit)),
            state if it.active => Some(format!("{} is {state}", it.unit)),
            _ => None,
        }
    })
}

fn failed_probe(
    host: &Host,
    cancel: &Cancel,
    vital: &[Vital],
    probes: &[ProbeSettings],
) -> Option<String> {
    let units: Vec<String> = vital.iter().map(|it| it.unit.clone()).collect();
    let probes = probes_for(probes, &units);
    let failed = Attempts::new(host, cancel, &probes)
        .last()
        .into_iter()
        .next();
    failed.map(|it| it.why)
}

fn starts(
    control: &dyn Control,
    vital: &[Vital],
) -> Result<BTreeMap<String, String>, ServiceError> {
    let running = vital.iter().filter(|it| it.active);
    let services = running.filter(|it| it.unit.ends_with(".service"));
    services
        .map(|it| Ok((it.unit.clone(), control.details(&it.unit)?.invocation)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vital_units_must_be_well() {
        let vital = [
            Vital {
                unit: "a.service".to_owned(),
                active: true,
            },
            Vital {
                unit: "once.service".to_owned(),
                active: false,
            },
        ];
        let units = |states: &[(&str, &str)]| -> Vec<LoadedUnit> {
            let states = states.iter();
            states
                .map(|(name, active)| LoadedUnit {
                    name: (*name).to_owned(),
                    active: (*active).to_owned(),
                    ..LoadedUnit::default()
                })
                .collect()
        };
        for (states, wrong) in [
            (
                &[("a.service", "active"), ("once.service", "active")][..],
                None,
            ),
            (&[("a.service", "reloading"), ("x.service", "failed")], None),
            (
                &[("a.service", "activating")],
                Some("a.service is activating"),
            ),
            (&[], Some("a.service is not loaded")),
            (&[("a.service", "failed")], Some("a.service has failed")),
            (
                &[("a.service", "active"), ("once.service", "failed")],
                Some("once.service has failed"),
            ),
        ] {
            assert_eq!(unwell(&vital, &units(states)).as_deref(), wrong);
        }
        for (state, wrong) in [("running", false), ("degraded", false), ("starting", true)] {
            assert_eq!(unsettled(state).is_some(), wrong);
        }
    }
}

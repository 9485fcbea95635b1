//! Units of the service manager that are enabled at boot and started.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::saved::mismatch;
use super::{Context, Description, Presence, ResourceError, Result, Undo, Undone};
use crate::host::service::UnitState;
use crate::host::{Host, ServiceError};

/// For one unit to start or to stop; systemd's own default is 90 s, and its answer is the better
/// one when it comes.
const DEADLINE: Duration = Duration::from_secs(100);

/// Units whose files are resources before this one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Units to enable.
    pub enable: Vec<String>,
    /// Units to start, in this order; stopped in reverse.
    pub start: Vec<String>,
    /// Units to stop at the end besides those started (such as the service behind a socket).
    pub also_stop: Vec<String>,
}

/// How the units were before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceUndo {
    /// Units that were enabled already.
    pub enabled: Vec<String>,
    /// Units that were active already, of those to start and of those to stop at the end.
    pub active: Vec<String>,
}

impl Service {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        let mut details: Vec<String> = Vec::new();
        details.extend(self.enable.iter().map(|unit| format!("enable {unit}")));
        details.extend(self.start.iter().map(|unit| format!("start {unit}")));
        Description {
            id: self.id(),
            summary: format!("enable and start {}", self.units().join(", ")),
            details,
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        Ok(self.judge(host, &States::read(host, self.units())?))
    }

    /// Reads what undoing will need.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        let also = self.also_stop.iter().map(String::as_str);
        let states = States::read(host, self.units().into_iter().chain(also))?;
        if self.judge(host, &states) == Presence::Present {
            return Ok(Undo::Nothing);
        }
        let enabled = |unit: &&String| states.of(unit).is_enabled();
        let active = |unit: &&String| states.of(unit).is_active();
        let stopped_at_the_end = self.start.iter().chain(&self.also_stop);
        Ok(Undo::Service(ServiceUndo {
            enabled: self.enable.iter().filter(enabled).cloned().collect(),
            active: stopped_at_the_end.filter(active).cloned().collect(),
        }))
    }

    fn judge(&self, host: &Host, states: &States) -> Presence {
        let mut wrong = Vec::new();
        let mut right = 0;
        for unit in &self.enable {
            let state = states.of(unit);
            if state.is_enabled() {
                right += 1;
            } else if state.load == "masked" {
                wrong.push(format!("{unit} is masked"));
            } else {
                wrong.push(format!("{unit} is not enabled"));
            }
        }
        for unit in self.started(host) {
            let state = states.of(unit);
            if state.is_active() {
                right += 1;
            } else {
                wrong.push(format!("{unit} is {}", state.active));
            }
        }
        match (wrong.is_empty(), right) {
            (true, _) => Presence::Present,
            (false, 0) => Presence::Absent,
            (false, _) => Presence::Drifted(wrong.join(", ")),
        }
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let services = &context.host.services;
        for unit in &self.enable {
            self.look_whether_to_stop(context)?;
            if !services.state(unit)?.is_enabled() {
                services.enable(unit)?;
            }
        }
        if !services.is_running() {
            return Ok(());
        }
        // The unit files are new, and so are the links that enabling made.
        services.reload()?;
        for unit in &self.start {
            self.look_whether_to_stop(context)?;
            let state = services.state(unit)?;
            if state.is_active() {
                continue;
            }
            if state.active == "failed" {
                services.reset_failed(unit)?;
            }
            self.stop_service_behind(context, unit)?;
            services.start(unit, DEADLINE)?;
        }
        Ok(())
    }

    /// Takes it back to what it was. What fails does not keep the rest from being done; the first
    /// failure is told.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let undo = match undo {
            Undo::Nothing => return Ok(Undone::Clean),
            Undo::Service(undo) => undo,
            _ => return Err(mismatch(self.id())),
        };
        let services = &context.host.services;
        let mut first = Ok(());
        // A socket stops before the service behind it, which it would start again.
        for unit in self.start.iter().rev().chain(&self.also_stop) {
            if services.is_running() && !undo.active.contains(unit) {
                note(&mut first, services.stop(unit, DEADLINE));
            }
        }
        for unit in self
            .enable
            .iter()
            .rev()
            .filter(|unit| !undo.enabled.contains(unit))
        {
            note(&mut first, services.disable(unit));
        }
        if services.is_running() {
            note(&mut first, services.reload());
            for unit in self.start.iter().chain(&self.also_stop) {
                note(&mut first, self.back_to_before(context.host, unit, undo));
            }
        }
        first.map(|()| Undone::Clean)
    }

    fn id(&self) -> String {
        format!("service:{}", self.units().join(","))
    }

    /// Every unit once, in the order of their naming.
    pub(super) fn units(&self) -> Vec<&str> {
        let mut units: Vec<&str> = Vec::new();
        for unit in self.enable.iter().chain(&self.start) {
            if !units.contains(&unit.as_str()) {
                units.push(unit);
            }
        }
        units
    }

    /// The units that should run: none where nothing can.
    fn started(&self, host: &Host) -> &[String] {
        if host.services.is_running() {
            &self.start
        } else {
            &[]
        }
    }

    fn look_whether_to_stop(&self, context: &Context<'_>) -> Result<()> {
        match context.cancel.requested() {
            None => Ok(()),
            Some(_) => Err(ResourceError::Stopped { id: self.id() }),
        }
    }

    /// systemd refuses to start a socket while its service runs (NX#9970).
    fn stop_service_behind(&self, context: &Context<'_>, unit: &str) -> Result<()> {
        let services = &context.host.services;
        if let Some(stem) = unit.strip_suffix(".socket") {
            let service = format!("{stem}.service");
            if services.state(&service)?.is_active() {
                services.stop(&service, DEADLINE)?;
            }
        }
        Ok(())
    }

    /// Forgets a failure of ours, and starts again what ran before and was stopped for a socket.
    fn back_to_before(
        &self,
        host: &Host,
        unit: &str,
        undo: &ServiceUndo,
    ) -> std::result::Result<(), ServiceError> {
        let state = host.services.state(unit)?;
        if state.active == "failed" {
            host.services.reset_failed(unit)?;
        }
        let ran = undo.active.iter().any(|active| active == unit);
        if ran && !state.is_active() && state.load == "loaded" {
            host.services.start(unit, DEADLINE)?;
        }
        Ok(())
    }
}

/// Units as they were at one moment, each asked about once.
struct States(BTreeMap<String, UnitState>);

impl States {
    fn read<'a>(host: &Host, units: impl IntoIterator<Item = &'a str>) -> Result<States> {
        let mut states = BTreeMap::new();
        for unit in units {
            if let Entry::Vacant(place) = states.entry(unit.to_owned()) {
                place.insert(host.services.state(unit)?);
            }
        }
        Ok(States(states))
    }

    fn of(&self, unit: &str) -> UnitState {
        let state = self.0.get(unit).cloned();
        state.unwrap_or_else(UnitState::not_found)
    }
}

fn note(first: &mut Result<()>, result: std::result::Result<(), ServiceError>) {
    if let (Ok(()), Err(error)) = (&first, result) {
        *first = Err(error.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::cancel::Stop;
    use crate::resource::Resource;
    use crate::resource::testing::{Machine, check_laws, make, undone};

    const SOCKET: &str = "nix-daemon.socket";
    const SERVICE: &str = "nix-daemon.service";

    fn service() -> Resource {
        Resource::Service(Service {
            enable: vec![SOCKET.to_owned(), SERVICE.to_owned()],
            start: vec![SOCKET.to_owned()],
            also_stop: vec![SERVICE.to_owned()],
        })
    }

    fn machine() -> Machine {
        let machine = Machine::new();
        machine.services.add(SOCKET);
        machine.services.add(SERVICE);
        machine
    }

    #[test]
    fn laws_for_every_state_before() {
        let files = ["enabled", "disabled"];
        for socket_file in files {
            for service_file in files {
                for (socket, service_state) in [
                    ("inactive", "inactive"),
                    ("active", "inactive"),
                    ("active", "active"),
                    ("inactive", "active"),
                ] {
                    let machine = machine();
                    machine.services.set(SOCKET, socket_file, socket);
                    machine.services.set(SERVICE, service_file, service_state);
                    check_laws(&machine, &service());
                }
            }
        }
    }

    #[test]
    fn it_reloads_between_enabling_and_starting_and_after_disabling() {
        let machine = machine();
        let undo = make(&machine, &service()).unwrap();
        assert_eq!(
            machine.services.calls(),
            [
                "enable nix-daemon.socket",
                "enable nix-daemon.service",
                "reload",
                "start nix-daemon.socket"
            ]
        );
        machine.services.forget();
        machine.services.set(SERVICE, "enabled", "active");
        assert_eq!(undone(&machine, &service(), &undo), None);
        assert_eq!(
            machine.services.calls(),
            [
                "stop nix-daemon.socket",
                "stop nix-daemon.service",
                "disable nix-daemon.service",
                "disable nix-daemon.socket",
                "reload"
            ]
        );
    }

    #[test]
    fn cut_off_after_any_change_it_is_finished_or_undone() {
        for finish in [true, false] {
            for successes in 0..6 {
                let machine = machine();
                machine.services.set(SERVICE, "disabled", "active");
                let before = machine.state();
                let undo = service().prepare(&machine.host).unwrap();
                machine.services.fail_after(successes);
                let cut_off = service().apply(&machine.context(), &undo).is_err();
                assert_eq!(cut_off, successes < 5, "{successes}");
                machine.services.fail_after(usize::MAX);
                if finish {
                    service().apply(&machine.context(), &undo).unwrap();
                    service().verify(&machine.host).unwrap();
                }
                assert_eq!(undone(&machine, &service(), &undo), None);
                assert_eq!(machine.state(), before, "after {successes} changes");
            }
        }
    }

    #[test]
    fn undoing_goes_on_after_a_failure_and_tells_it() {
        let machine = machine();
        let before = machine.state();
        let undo = make(&machine, &service()).unwrap();
        for failing in 0..5 {
            service().apply(&machine.context(), &undo).unwrap();
            machine.services.fail_after(failing);
            assert!(
                service().undo(&machine.context(), &undo).is_err(),
                "{failing}"
            );
            machine.services.fail_after(usize::MAX);
            assert_eq!(undone(&machine, &service(), &undo), None);
            assert_eq!(machine.state(), before);
        }
    }

    #[test]
    fn an_image_is_only_enabled() {
        let machine = machine();
        machine.services.set_running(false);
        check_laws(&machine, &service());
        assert!(
            !machine
                .services
                .calls()
                .iter()
                .any(|call| call.starts_with("start"))
        );
    }

    #[test]
    fn units_that_are_gone_are_clean() {
        let machine = machine();
        let undo = make(&machine, &service()).unwrap();
        machine.services.remove(SOCKET);
        machine.services.remove(SERVICE);
        assert_eq!(undone(&machine, &service(), &undo), None);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let machine = machine();
        assert_eq!(service().probe(&machine.host).unwrap(), Presence::Absent);
        machine.services.set(SOCKET, "enabled", "failed");
        machine.services.set(SERVICE, "masked", "inactive");
        let Presence::Drifted(seen) = service().probe(&machine.host).unwrap() else {
            panic!()
        };
        assert_eq!(
            seen,
            "nix-daemon.service is masked, nix-daemon.socket is failed"
        );
        assert!(make(&machine, &service()).is_err());
    }

    #[test]
    fn it_stops_between_units_when_asked() {
        let machine = machine();
        machine.cancel.request(Stop::Cancelled);
        assert!(make(&machine, &service()).unwrap_err().is_stopped());
        assert!(machine.services.calls().is_empty());
    }
}

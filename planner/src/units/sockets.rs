//! Sockets and their services, done right (mode Right; switch-to-configuration ignores changed sockets).
//!
//! systemd refuses to start a socket beside its running service, and a socket that stays wakes the service
//! in the middle of the change. So sockets and services stop together and start together, sockets first.
//! A service that ran runs again, instead of waiting for somebody to knock: only so its health is known.
//! What serves a single connection (`Accept=yes`) cannot be started again and is left to end by itself.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{DecideError, Planner, Subject, can_reload};
use super::decisions::note;
use super::facts::Facts;
use super::name::{UnitName, UnitType};
use super::reason::{Cause, Rule};
use super::set::UnitSet;

/// Which sockets belong to which service, in either generation.
#[derive(Debug, Default)]
pub(super) struct Wiring {
    /// Service -> sockets that pass it their descriptor.
    sockets: BTreeMap<UnitName, BTreeSet<UnitName>>,
    /// Prefix of the instances that serve one connection -> their socket.
    connections: BTreeMap<String, UnitName>,
}

impl Wiring {
    /// Reads the sockets of both generations; instances of socket templates only when they are active.
    pub(super) fn new<'a>(facts: &Facts<'_>, active: impl Iterator<Item = &'a UnitName>) -> Wiring {
        let mut wiring = Wiring::default();
        let active: Vec<&UnitName> = active.collect();
        for set in [facts.old, facts.new] {
            let of_kind = |kind| move |unit: &&UnitName| unit.kind() == kind;
            let sockets = set.names().chain(active.iter().copied());
            for socket in sockets.filter(of_kind(UnitType::Socket)) {
                wiring.add_socket(set, socket);
            }
            let services = active.iter().copied();
            for service in services.filter(of_kind(UnitType::Service)) {
                wiring.add_named(set, service);
            }
        }
        wiring
    }

    /// The sockets that pass their descriptor to a service.
    pub(super) fn sockets_of(&self, service: &UnitName) -> BTreeSet<UnitName> {
        self.sockets.get(service).cloned().unwrap_or_default()
    }

    /// The socket whose connection an instance serves.
    pub(super) fn connection_of(&self, service: &UnitName) -> Option<&UnitName> {
        service.instance()?;
        self.connections.get(service.prefix())
    }

    fn services_of(&self, socket: &UnitName) -> impl Iterator<Item = &UnitName> {
        let all = self.sockets.iter();
        all.filter(move |(_, sockets)| sockets.contains(socket))
            .map(|(service, _)| service)
    }

    fn add_socket(&mut self, set: &UnitSet, socket: &UnitName) {
        let Ok(Some(file)) = set.read(socket) else {
            return;
        };
        if file.flag("Socket", "Accept", false) {
            let prefix = socket.stem().to_owned();
            self.connections.insert(prefix, socket.clone());
            return;
        }
        let service = match file.last("Socket", "Service") {
            Some(named) => UnitName::new(named).ok(),
            None => socket.with_type(UnitType::Service),
        };
        if let Some(service) = service.filter(|_| !socket.is_template()) {
            let service = set.canonical(&service);
            self.sockets
                .entry(service)
                .or_default()
                .insert(socket.clone());
        }
    }

    fn add_named(&mut self, set: &UnitSet, service: &UnitName) {
        let Ok(Some(file)) = set.read(service) else {
            return;
        };
        for socket in file.words("Service", "Sockets") {
            if let Ok(socket) = UnitName::new(&socket) {
                self.sockets
                    .entry(service.clone())
                    .or_default()
                    .insert(socket);
            }
        }
    }
}

impl Planner<'_> {
    /// Stops a service with its sockets, and starts all of them that the new generation has.
    pub(super) fn stop_and_start(&mut self, service: &UnitName, cause: Cause, rule: Rule) {
        note(
            &mut self.decisions.stop,
            service,
            cause.clone(),
            rule.clone(),
        );
        note(&mut self.decisions.start, service, cause, rule);
        for socket in self.wiring.sockets_of(service) {
            let active = self.is_active(&socket);
            let with = || Cause::WithService {
                service: service.clone(),
            };
            if active && !self.refuses_stop_now(&socket) {
                note(&mut self.decisions.stop, &socket, with(), Rule::SocketFirst);
            }
            if self.can_load(&socket) && (active || self.is_wanted(&socket)) {
                note(
                    &mut self.decisions.start,
                    &socket,
                    with(),
                    Rule::SocketFirst,
                );
            }
        }
    }

    /// A socket that differs: it is restarted, and its running service with it.
    pub(super) fn socket_changed(&mut self, subject: &Subject<'_>) -> Result<(), DecideError> {
        let socket = subject.name;
        let cause = subject.cause.clone();
        if let Some(rule) = self.forbidden(socket, subject.new) {
            note(&mut self.decisions.skip, socket, cause, rule);
            return Ok(());
        }
        let services = self.running_services(socket);
        if let Some(service) = self.first_that_stays(&services)? {
            let rule = Rule::ServiceStays { service };
            note(&mut self.decisions.skip, socket, cause, rule);
            return Ok(());
        }
        if services.is_empty() {
            note(&mut self.decisions.restart, socket, cause, Rule::NotService);
            return Ok(());
        }
        let with = || Cause::WithSocket {
            socket: socket.clone(),
        };
        if self.all_restart_at_once(&services)? {
            note(
                &mut self.decisions.restart,
                socket,
                cause,
                Rule::NoStopIfChanged,
            );
            for service in &services {
                note(
                    &mut self.decisions.restart,
                    service,
                    with(),
                    Rule::NoStopIfChanged,
                );
            }
            return Ok(());
        }
        note(
            &mut self.decisions.stop,
            socket,
            cause.clone(),
            Rule::SocketFirst,
        );
        note(&mut self.decisions.start, socket, cause, Rule::SocketFirst);
        for service in services {
            if self.can_load(&service) {
                self.stop_and_start(&service, with(), Rule::SocketFirst);
            }
        }
        Ok(())
    }

    /// New sockets that something active wants: a target would try to start them beside their running
    /// service, which systemd refuses.
    pub(super) fn take_over_for_new_sockets(&mut self) -> Result<(), DecideError> {
        let (old, new) = (self.facts.old, self.facts.new);
        let names = new.names().filter(|name| name.kind() == UnitType::Socket);
        for socket in names {
            let added = !old.loaded(socket).is_present() && self.can_load(socket);
            if !added || self.is_active(socket) || !self.is_wanted(socket) {
                continue;
            }
            let services = self.running_services(socket);
            if let Some(service) = self.first_that_stays(&services)? {
                let rule = Rule::ServiceStays { service };
                note(&mut self.decisions.skip, socket, Cause::Added, rule);
                continue;
            }
            for service in services {
                let cause = Cause::WithSocket {
                    socket: socket.clone(),
                };
                if self.can_load(&service) {
                    note(
                        &mut self.decisions.start,
                        socket,
                        Cause::Added,
                        Rule::SocketFirst,
                    );
                    self.stop_and_start(&service, cause, Rule::SocketFirst);
                }
            }
        }
        Ok(())
    }

    /// Notes the services that restart together with one of their sockets.
    pub(super) fn part_restarts(&mut self) {
        let restart = &self.decisions.restart;
        let apart = restart
            .keys()
            .flat_map(|socket| self.wiring.services_of(socket))
            .filter(|service| restart.contains_key(*service))
            .cloned()
            .collect();
        self.decisions.stop_for_socket = apart;
    }

    /// The services of a socket that run.
    fn running_services(&self, socket: &UnitName) -> Vec<UnitName> {
        let runs = |service: &&UnitName| {
            let unit = self.active.get(*service);
            unit.is_some_and(|unit| unit.state.runs(self.facts.mode))
        };
        self.wiring
            .services_of(socket)
            .filter(runs)
            .cloned()
            .collect()
    }

    fn first_that_stays(&self, services: &[UnitName]) -> Result<Option<UnitName>, DecideError> {
        for service in services {
            let Some(file) = self.facts.new.read(service)? else {
                continue;
            };
            let reloads = file.flag("Service", "X-ReloadIfChanged", false);
            let stored = file.last("Service", "FileDescriptorStoreMax");
            // What systemd keeps for it is lost by a stop: the journal would cut off every service.
            if stored.is_some_and(|count| count != "0")
                || (reloads && can_reload(service, &file))
                || self.forbidden(service, &file).is_some()
                || self.refuses_stop_now(service)
            {
                return Ok(Some(service.clone()));
            }
        }
        Ok(None)
    }

    fn all_restart_at_once(&self, services: &[UnitName]) -> Result<bool, DecideError> {
        for service in services {
            let file = self.facts.new.read(service)?;
            if file.is_none_or(|file| file.flag("Service", "X-StopIfChanged", true)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether something active pulls the unit in, in the new generation.
    fn is_wanted(&self, unit: &UnitName) -> bool {
        let from = self.facts.new.pulled_in_by(unit);
        from.into_iter().any(|from| self.is_active(from))
    }
}

//! Units in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use super::control::Switching;
use super::lock;
use crate::host::service::{
    Control, Hear, Heard, Listening, ServiceError, ServiceManager, UnitState,
};

/// Units in memory, with every change that was asked for.
///
/// As with systemd, a socket does not start while the service behind it runs, and a change of an
/// unknown unit is refused.
#[derive(Debug)]
pub struct FakeServices {
    units: Mutex<BTreeMap<String, UnitState>>,
    calls: Mutex<Vec<String>>,
    running: AtomicBool,
    /// How many changes are still to succeed before one fails.
    until_failure: AtomicUsize,
    pub(super) switching: Mutex<Switching>,
    listeners: Mutex<Vec<Weak<FakeListener>>>,
}

/// Somebody who listens.
struct FakeListener {
    units: Mutex<BTreeSet<String>>,
    hear: Hear,
}

/// The end of a listener that its owner holds.
#[derive(Debug)]
struct Held(Arc<FakeListener>);

impl std::fmt::Debug for FakeListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("FakeListener").field(&self.units).finish()
    }
}

impl Listening for Held {
    fn set(&self, units: BTreeSet<String>) {
        *lock(&self.0.units) = units;
    }
}

impl Default for FakeServices {
    fn default() -> Self {
        FakeServices {
            units: Mutex::default(),
            calls: Mutex::default(),
            running: AtomicBool::new(true),
            until_failure: AtomicUsize::new(usize::MAX),
            switching: Mutex::default(),
            listeners: Mutex::default(),
        }
    }
}

impl FakeServices {
    /// Adds a unit with a file, disabled and inactive.
    pub fn add(&self, unit: &str) {
        self.set(unit, "disabled", "inactive");
    }

    /// Adds or changes a unit: state of its file, and whether it is active.
    pub fn set(&self, unit: &str, file: &str, active: &str) {
        let state = UnitState {
            load: if file == "masked" { "masked" } else { "loaded" }.to_owned(),
            active: active.to_owned(),
            file: file.to_owned(),
            fragment: format!("/etc/systemd/system/{unit}"),
        };
        lock(&self.units).insert(unit.to_owned(), state);
    }

    /// Tells those who listen to the unit.
    pub fn say(&self, heard: &Heard) {
        let (Heard::State { unit, .. } | Heard::JobFailed { unit, .. }) = heard;
        let listeners: Vec<_> = lock(&self.listeners)
            .iter()
            .filter_map(Weak::upgrade)
            .collect();
        for listener in listeners {
            if lock(&listener.units).contains(unit) {
                (listener.hear)(heard.clone());
            }
        }
    }

    /// Takes a unit away.
    pub fn remove(&self, unit: &str) {
        lock(&self.units).remove(unit);
    }

    /// Whether units can be started.
    pub fn set_running(&self, running: bool) {
        self.running.store(running, Ordering::SeqCst);
    }

    /// Lets the next `count` changes succeed and fails the one after them; only that one.
    pub fn fail_after(&self, count: usize) {
        self.until_failure.store(count, Ordering::SeqCst);
    }

    /// Every change so far, such as `start nix-daemon.socket`.
    pub fn calls(&self) -> Vec<String> {
        lock(&self.calls).clone()
    }

    /// Forgets the changes so far.
    pub fn forget(&self) {
        lock(&self.calls).clear();
    }

    /// All units, for comparing before with after.
    pub fn units(&self) -> BTreeMap<String, UnitState> {
        lock(&self.units).clone()
    }

    /// Remembers a change and fails it when that was asked for.
    pub(super) fn note(&self, action: &'static str, unit: &str) -> Result<(), ServiceError> {
        self.die_if_due();
        lock(&self.calls).push(format!("{action} {unit}").trim_end().to_owned());
        let fails = self
            .until_failure
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
                Some(if left == usize::MAX {
                    left
                } else {
                    left.wrapping_sub(1)
                })
            })
            .is_ok_and(|left| left == 0);
        if fails {
            return Err(ServiceError::Job {
                action,
                unit: unit.to_owned(),
                result: "failed".to_owned(),
            });
        }
        Ok(())
    }

    pub(super) fn change(
        &self,
        action: &'static str,
        unit: &str,
        change: impl FnOnce(&mut UnitState),
    ) -> Result<(), ServiceError> {
        let refuse = |why: &str| ServiceError::Refused {
            action,
            unit: unit.to_owned(),
            why: why.to_owned(),
        };
        match lock(&self.units).get_mut(unit) {
            None => Err(refuse("the unit is not found")),
            Some(state) if state.load == "masked" => Err(refuse("the unit is masked")),
            Some(state) => {
                change(state);
                Ok(())
            }
        }
    }

    pub(super) fn is_active(&self, unit: &str) -> bool {
        lock(&self.units)
            .get(unit)
            .is_some_and(UnitState::is_active)
    }

    pub(super) fn running_only(
        &self,
        action: &'static str,
        unit: &str,
    ) -> Result<(), ServiceError> {
        if self.is_running() {
            return Ok(());
        }
        let why = "the service manager does not run".to_owned();
        Err(ServiceError::Refused {
            action,
            unit: unit.to_owned(),
            why,
        })
    }
}

impl ServiceManager for FakeServices {
    fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }

    fn control(&self) -> Option<&dyn Control> {
        self.is_running().then_some(self)
    }

    fn listen(&self, hear: Hear) -> Option<Box<dyn Listening>> {
        let units = Mutex::default();
        let listener = Arc::new(FakeListener { units, hear });
        lock(&self.listeners).push(Arc::downgrade(&listener));
        Some(Box::new(Held(listener)))
    }

    fn reload(&self) -> Result<(), ServiceError> {
        self.note("reload", "")
    }

    fn state(&self, unit: &str) -> Result<UnitState, ServiceError> {
        Ok(lock(&self.units)
            .get(unit)
            .cloned()
            .unwrap_or_else(UnitState::not_found))
    }

    fn enable(&self, unit: &str) -> Result<(), ServiceError> {
        self.note("enable", unit)?;
        self.change("enable", unit, |state| state.file = "enabled".to_owned())
    }

    fn disable(&self, unit: &str) -> Result<(), ServiceError> {
        self.note("disable", unit)?;
        if let Some(state) = lock(&self.units).get_mut(unit) {
            state.file = "disabled".to_owned();
        }
        Ok(())
    }

    fn start(&self, unit: &str, _deadline: Duration) -> Result<(), ServiceError> {
        self.note("start", unit)?;
        self.running_only("start", unit)?;
        if let Some(stem) = unit.strip_suffix(".socket")
            && self.is_active(&format!("{stem}.service"))
            && !self.is_active(unit)
        {
            return Err(ServiceError::Job {
                action: "start",
                unit: unit.to_owned(),
                result: "failed".to_owned(),
            });
        }
        self.change("start", unit, |state| state.active = "active".to_owned())
    }

    fn stop(&self, unit: &str, _deadline: Duration) -> Result<(), ServiceError> {
        self.note("stop", unit)?;
        let mut units = lock(&self.units);
        if units.get(unit).is_some_and(|it| it.file == "transient") {
            units.remove(unit);
        } else if let Some(state) = units.get_mut(unit) {
            state.active = "inactive".to_owned();
        }
        Ok(())
    }

    fn restart(&self, unit: &str, _deadline: Duration) -> Result<(), ServiceError> {
        self.note("restart", unit)?;
        self.running_only("restart", unit)?;
        self.change("restart", unit, |state| state.active = "active".to_owned())
    }

    fn reset_failed(&self, unit: &str) -> Result<(), ServiceError> {
        self.note("reset", unit)?;
        if let Some(state) = lock(&self.units).get_mut(unit)
            && state.active == "failed"
        {
            state.active = "inactive".to_owned();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chosen_change_fails_and_only_that_one() {
        let services = FakeServices::default();
        services.add("a.service");
        services.fail_after(1);
        services.enable("a.service").unwrap();
        assert!(services.start("a.service", Duration::ZERO).is_err());
        services.start("a.service", Duration::ZERO).unwrap();
        assert!(services.enable("none.service").is_err());
        services.stop("none.service", Duration::ZERO).unwrap();
        assert_eq!(
            services.calls()[..2],
            ["enable a.service", "start a.service"]
        );
    }

    #[test]
    fn a_socket_does_not_start_behind_its_running_service() {
        let services = FakeServices::default();
        services.add("a.socket");
        services.set("a.service", "disabled", "active");
        assert!(services.start("a.socket", Duration::ZERO).is_err());
        services.stop("a.service", Duration::ZERO).unwrap();
        services.start("a.socket", Duration::ZERO).unwrap();
    }
}

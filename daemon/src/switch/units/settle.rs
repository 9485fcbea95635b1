//! Waits until the units have come to rest, and tells which of them failed.

use std::time::{Duration, Instant};

use crate::host::Cancel;
use crate::host::ServiceError;
use crate::host::cancel::Stop;
use crate::host::service::{Control, LoadedUnit};
use crate::switch::activate::error::UnitFailure;

/// Between two looks; nothing may have moved in between.
const PAUSE: Duration = Duration::from_millis(250);

/// So many looks without any change are rest too: whatever is still on its way takes long, and may
/// have nothing to do with us.
const LOOKS_WITHOUT_CHANGE: u32 = 40;

/// So long nobody needs to answer.
const SILENCE_PATIENCE: Duration = Duration::from_secs(10);

/// Longest wait, as switch-to-configuration has it.
const PATIENCE: Duration = Duration::from_secs(90);

/// Looks until two in a row saw the same and nothing on its way, or the time is over; then names the
/// units that failed, or that fail again and again.
///
/// # Errors
/// When the service manager cannot be reached.
pub fn settle(
    control: &dyn Control,
    left: Duration,
    cancel: &Cancel,
) -> Result<Vec<UnitFailure>, ServiceError> {
    let until = Instant::now() + left.min(PATIENCE);
    let mut before = loaded(control)?;
    let mut same = 0;
    loop {
        std::thread::sleep(PAUSE);
        let now = loaded(control)?;
        same = if now == before { same + 1 } else { 0 };
        let rests = same > LOOKS_WITHOUT_CHANGE || (same > 0 && !now.iter().any(is_on_its_way));
        let asked = cancel.requested() == Some(Stop::Shutdown);
        if rests || asked || Instant::now() >= until {
            return Ok(failures(control, &now));
        }
        before = now;
    }
}

/// All units; asked again for a while when nobody answers, as when the bus itself is started anew.
///
/// # Errors
/// When the service manager cannot be reached for long.
pub fn loaded(control: &dyn Control) -> Result<Vec<LoadedUnit>, ServiceError> {
    let until = Instant::now() + SILENCE_PATIENCE;
    loop {
        match control.loaded() {
            Err(ServiceError::Unreachable { .. }) if Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            answer => return answer,
        }
    }
}

/// The failed units among these, and those that start again by themselves after a failure.
pub fn failures(control: &dyn Control, units: &[LoadedUnit]) -> Vec<UnitFailure> {
    let candidates = units
        .iter()
        .filter(|it| it.active == "failed" || is_starting_again(it));
    candidates
        .filter_map(|unit| failure(control, unit))
        .collect()
}

/// Whether it is between a failure and the next start.
pub fn is_starting_again(unit: &LoadedUnit) -> bool {
    unit.sub.starts_with("auto-restart")
}

fn is_on_its_way(unit: &LoadedUnit) -> bool {
    let moving = matches!(
        unit.active.as_str(),
        "activating" | "deactivating" | "reloading" | "refreshing"
    );
    // A start that may take for ever is none that is waited for; what waits for a connection or a
    // device is at rest.
    let moving = moving && (unit.name.ends_with(".service") || unit.name.ends_with(".mount"));
    moving && unit.following.is_empty() && !is_starting_again(unit)
}

fn failure(control: &dyn Control, unit: &LoadedUnit) -> Option<UnitFailure> {
    let details = control.details(&unit.name).unwrap_or_default();
    let why = if unit.active == "failed" {
        match (details.result.as_str(), details.exit_status) {
            ("" | "success", _) => "it failed".to_owned(),
            ("exit-code", code) => format!("it failed: its process ended with {code}"),
            (result, _) => format!("it failed: {result}"),
        }
    } else if details.exit_status != 0 {
        format!("it ends with {} and starts again", details.exit_status)
    } else {
        return None;
    };
    Some(UnitFailure {
        unit: unit.name.clone(),
        why,
        lines: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::FakeServices;

    const LONG: Duration = Duration::from_secs(30);

    fn settled(services: &FakeServices) -> Vec<String> {
        let failed = settle(services, LONG, &Cancel::default()).unwrap();
        failed.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_failed_or_fails_again_and_again_is_named() {
        let services = FakeServices::default();
        for (unit, active, sub, code, result) in [
            ("good.service", "active", "running", 0, "success"),
            ("bad.service", "failed", "failed", 3, "exit-code"),
            ("late.service", "failed", "failed", 0, "timeout"),
            (
                "again.service",
                "activating",
                "auto-restart",
                1,
                "exit-code",
            ),
            ("often.service", "activating", "auto-restart", 0, "success"),
        ] {
            services.set(unit, "static", active);
            services.change_details(unit, |it| {
                it.sub = sub.to_owned();
                it.exit_status = code;
                it.result = result.to_owned();
            });
        }
        assert_eq!(
            settled(&services),
            [
                "again.service: it ends with 1 and starts again",
                "bad.service: it failed: its process ended with 3",
                "late.service: it failed: timeout",
            ]
        );
    }

    #[test]
    fn a_service_that_is_just_starting_is_waited_for() {
        let services = FakeServices::default();
        services.set("a.service", "static", "activating");
        let began = Instant::now();
        let failed = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(700));
                services.set("a.service", "static", "failed");
            });
            settled(&services)
        });
        assert_eq!(failed, ["a.service: it failed"]);
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "{:?}",
            began.elapsed()
        );
    }

    #[test]
    fn no_time_is_no_wait() {
        let services = FakeServices::default();
        services.set("a.service", "static", "activating");
        let failed = settle(&services, Duration::ZERO, &Cancel::default()).unwrap();
        assert!(failed.is_empty());
    }
}

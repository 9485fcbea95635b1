//! A machine without a service manager: nothing can be started, and nothing is there to stop.

use std::time::Duration;

use super::{ServiceError, ServiceManager, UnitState};

/// No service manager.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoServices;

impl NoServices {
    fn refusal(action: &'static str, unit: &str) -> ServiceError {
        ServiceError::Refused {
            action,
            unit: unit.to_owned(),
            why: "this machine has no service manager".to_owned(),
        }
    }
}

impl ServiceManager for NoServices {
    fn is_running(&self) -> bool {
        false
    }

    fn reload(&self) -> Result<(), ServiceError> {
        Ok(())
    }

    fn state(&self, _unit: &str) -> Result<UnitState, ServiceError> {
        Ok(UnitState::not_found())
    }

    fn enable(&self, unit: &str) -> Result<(), ServiceError> {
        Err(Self::refusal("enable", unit))
    }

    fn disable(&self, _unit: &str) -> Result<(), ServiceError> {
        Ok(())
    }

    fn start(&self, unit: &str, _deadline: Duration) -> Result<(), ServiceError> {
        Err(Self::refusal("start", unit))
    }

    fn stop(&self, _unit: &str, _deadline: Duration) -> Result<(), ServiceError> {
        Ok(())
    }

    fn restart(&self, unit: &str, _deadline: Duration) -> Result<(), ServiceError> {
        Err(Self::refusal("restart", unit))
    }

    fn reset_failed(&self, _unit: &str) -> Result<(), ServiceError> {
        Ok(())
    }
}

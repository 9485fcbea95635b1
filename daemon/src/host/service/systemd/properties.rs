//! One property of many units, asked for without waiting for one answer before the next question.
//!
//! A unit's object is called by the name that systemd derives from the unit's, which spares the call
//! that would tell it; systemd loads what is not loaded when its object is asked for.

use tokio::task::JoinError;
use zbus::zvariant::OwnedValue;

use super::link::{CALL_DEADLINE, CallError, Link, PATH, PROPERTIES, read};

/// Questions on their way at the same time.
const CALLS_AT_ONCE: usize = 32;

/// The property of each of these units, in their order.
pub(super) async fn each(
    link: &Link,
    units: &[&str],
    interface: &'static str,
    name: &'static str,
) -> Vec<Result<OwnedValue, CallError>> {
    let mut values = Vec::with_capacity(units.len());
    for some in units.chunks(CALLS_AT_ONCE) {
        let asked: Vec<_> = some
            .iter()
            .map(|unit| {
                let (link, path) = (link.clone(), path_of(unit));
                tokio::spawn(async move { one(&link, &path, interface, name).await })
            })
            .collect();
        for answer in asked {
            let lost = |error: JoinError| CallError::Lost(error.to_string());
            values.push(answer.await.map_err(lost).flatten());
        }
    }
    values
}

async fn one(link: &Link, path: &str, of: &str, name: &str) -> Result<OwnedValue, CallError> {
    let body = (of, name);
    let reply = link
        .call(path, PROPERTIES, "Get", &body, CALL_DEADLINE)
        .await?;
    read(&reply)
}

/// The object of a unit, as sd_bus_path_encode(3) spells it.
fn path_of(unit: &str) -> String {
    let mut path = format!("{PATH}/unit/");
    for (at, byte) in unit.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (at > 0 && byte.is_ascii_digit()) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_have_the_paths_that_systemd_gives_them() {
        for (unit, path) in [
            ("a.service", "a_2eservice"),
            ("9p.mount", "_39p_2emount"),
            ("a@b-1.socket", "a_40b_2d1_2esocket"),
        ] {
            assert_eq!(path_of(unit), format!("{PATH}/unit/{path}"));
        }
    }
}

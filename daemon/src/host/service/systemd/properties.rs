//! Properties of many units, asked for without waiting for one answer before the next question.
//!
//! A unit's object is called by the name that systemd derives from the unit's, which spares the call
//! that would tell it; systemd loads what is not loaded when its object is asked for.

use std::collections::HashMap;

use tokio::task::JoinError;
use zbus::zvariant::OwnedValue;

use super::link::{CALL_DEADLINE, CallError, Link, PATH, PROPERTIES, read};

/// Questions on their way at the same time.
const CALLS_AT_ONCE: usize = 32;

/// All properties of a unit.
pub(super) type Properties = HashMap<String, OwnedValue>;

/// The property of each of these units, in their order.
pub(super) async fn each(
    link: &Link,
    units: &[&str],
    interface: &'static str,
    name: &'static str,
) -> Vec<Result<OwnedValue, CallError>> {
    let ask = |link: Link, path: String| async move {
        let body = (interface, name);
        let reply = link.call(&path, PROPERTIES, "Get", &body, CALL_DEADLINE);
        read(&reply.await?)
    };
    together(link, units, ask).await
}

/// All properties of each of these units, in their order.
pub(super) async fn all(link: &Link, units: &[&str]) -> Vec<Result<Properties, CallError>> {
    let ask = |link: Link, path: String| async move {
        let of_every_interface = ("",);
        let reply = link.call(
            &path,
            PROPERTIES,
            "GetAll",
            &of_every_interface,
            CALL_DEADLINE,
        );
        read(&reply.await?)
    };
    together(link, units, ask).await
}

/// Asks about the object of each unit.
async fn together<T, Answer>(
    link: &Link,
    units: &[&str],
    ask: impl Fn(Link, String) -> Answer,
) -> Vec<Result<T, CallError>>
where
    T: Send + 'static,
    Answer: Future<Output = Result<T, CallError>> + Send + 'static,
{
    let mut answers = Vec::with_capacity(units.len());
    for some in units.chunks(CALLS_AT_ONCE) {
        let asked: Vec<_> = some
            .iter()
            .map(|unit| tokio::spawn(ask(link.clone(), path_of(unit))))
            .collect();
        for answer in asked {
            let lost = |error: JoinError| CallError::Lost(error.to_string());
            answers.push(answer.await.map_err(lost).flatten());
        }
    }
    answers
}

/// The object of a unit, as sd_bus_path_encode(3) spells it.
pub(super) fn path_of(unit: &str) -> String {
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

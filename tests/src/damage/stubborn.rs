//! A damage that comes back as soon as it is repaired: whoever repairs has to stop after a while, to
//! say so, and to cost nothing from then on.

use std::time::{Duration, Instant};

use super::ground::Ground;
use super::judge::{self, CHECKS};
use super::patient::Patient;
use crate::error::{Error, Result};

/// Somebody stops the socket again and again.
const AGAIN: &str = "printf '%s\\n' '[Service]' \
    \"ExecStart=/bin/sh -c 'while :; do systemctl stop nix-daemon.socket; sleep 0.3; done'\" \
    >/run/systemd/system/again.service
    systemctl daemon-reload; systemctl start again.service";
/// How often the socket was started since the boot.
const STARTS: &str = "journalctl --boot --quiet --output=cat --unit=nix-daemon.socket \
    --grep='Listening on' | wc -l";
/// Nanoseconds of processor time that nixctld has used.
const USED: &str = "systemctl show --property=CPUUsageNSec --value nixctld.service";
/// The longest time until nobody tries any more.
const PATIENCE: Duration = Duration::from_secs(240);
/// Nobody tries when nothing was tried for so long: longer than the time between two rounds that
/// nobody asked for, in the second of which a return is seen.
const QUIET: Duration = Duration::from_secs(45);
/// Most of a core that nixctld may use from then on, in thousandths.
const THOUSANDTHS: u128 = 10;

/// Makes it and waits until nobody tries any more; returns how many tries there were and what is
/// wrong.
pub fn stubborn() -> Result<(u64, Vec<String>)> {
    let patient = Patient::admit(&Ground::Plain.prepare()?)?;
    let before = number(&patient, STARTS)?;
    patient.script(AGAIN)?.ok()?;
    let until = Instant::now() + PATIENCE;
    let mut tries = number(&patient, STARTS)?;
    let mut wrong = Vec::new();
    loop {
        let used = number(&patient, USED)?;
        std::thread::sleep(QUIET);
        let now = number(&patient, STARTS)?;
        if now == tries {
            let used = u128::from(number(&patient, USED)? - used);
            if used > QUIET.as_nanos() * THOUSANDTHS / 1000 {
                wrong.push(format!("{used} ns of processor time in {QUIET:?}"));
            }
            break;
        }
        tries = now;
        if Instant::now() > until {
            wrong.push(format!("still tried after {PATIENCE:?}"));
            break;
        }
    }
    if CHECKS && judge::findings(&patient)?.is_empty() {
        wrong.push("it is not told".to_owned());
    }
    Ok((tries.saturating_sub(before), wrong))
}

fn number(patient: &Patient, lines: &str) -> Result<u64> {
    let output = patient.script(lines)?;
    let text = output.text();
    text.parse()
        .map_err(|why| Error::new(format!("read the number `{text}`"), why))
}

//! Lines of tables as the dictionaries of the bus.

use std::collections::HashMap;

use nixctl_proto::Generation;
use nixctl_proto::health::{Finding, HealthEvent, RemedyView};
use nixctl_proto::plan::DiffEntry;
use nixctl_proto::settings::SettingView;
use zbus::zvariant::Value;

/// Dictionary of a line of a table.
pub type Row = HashMap<&'static str, Value<'static>>;

/// A setting.
pub fn setting(view: SettingView) -> Row {
    Row::from([
        ("key", Value::from(view.key)),
        ("value", Value::from(view.value)),
        ("file", Value::from(view.file)),
    ])
}

/// A generation.
pub fn generation(generation: Generation) -> Row {
    Row::from([
        ("number", Value::from(generation.number)),
        ("path", Value::from(generation.path)),
        ("created", Value::from(generation.created)),
        ("current", Value::from(generation.current)),
        ("default", Value::from(generation.default)),
        ("booted", Value::from(generation.booted)),
        ("proven", Value::from(generation.proven)),
        ("proven-by-boot", Value::from(generation.proven_by_boot)),
        ("awaits-boot", Value::from(generation.awaits_boot)),
        ("boot-failure", Value::from(generation.boot_failure)),
        ("hybrid", Value::from(generation.hybrid)),
        ("label", Value::from(generation.label)),
    ])
}

/// How a package differs.
pub fn difference(entry: DiffEntry) -> Row {
    Row::from([
        ("name", Value::from(entry.name)),
        ("old", Value::from(entry.old)),
        ("new", Value::from(entry.new)),
        ("bytes", Value::from(entry.bytes)),
    ])
}

/// A finding; one without a remedy has an empty `remedy-summary`.
pub fn finding(finding: Finding) -> Row {
    let remedy = finding.remedy.unwrap_or(RemedyView {
        summary: String::new(),
        steps: Vec::new(),
        automatic: false,
        held: String::new(),
    });
    Row::from([
        ("check", Value::from(finding.check)),
        ("subject", Value::from(finding.subject)),
        ("severity", Value::from(finding.severity.as_str())),
        ("seen", Value::from(finding.seen)),
        ("expected", Value::from(finding.expected)),
        ("why", Value::from(finding.why)),
        ("help", Value::from(finding.help)),
        ("since", Value::from(finding.since)),
        ("remedy-summary", Value::from(remedy.summary)),
        ("remedy-steps", Value::from(remedy.steps)),
        ("automatic", Value::from(remedy.automatic)),
        ("held", Value::from(remedy.held)),
    ])
}

/// What became of a finding.
pub fn event(event: HealthEvent) -> Row {
    let operation = event.operation.map(|id| id.to_string()).unwrap_or_default();
    Row::from([
        ("number", Value::from(event.number)),
        ("time", Value::from(event.time)),
        ("check", Value::from(event.check)),
        ("subject", Value::from(event.subject)),
        ("what", Value::from(event.what.as_str())),
        ("operation", Value::from(operation)),
        ("detail", Value::from(event.detail)),
    ])
}

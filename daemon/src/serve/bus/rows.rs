//! Lines of tables as the dictionaries of the bus.

use std::collections::HashMap;

use nixctl_proto::Generation;
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

//! Users, groups and units of a machine, as one line of words each.

use std::fs;
use std::path::Path;

use crate::Machine;
use crate::error::{Context, Result};
use crate::image;

/// `user:NAME` and `group:NAME` of the machine's own files, without passwords.
pub fn accounts(root: &Path) -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for (file, kind) in [("etc/passwd", "user"), ("etc/group", "group")] {
        let path = root.join(file);
        let text = fs::read_to_string(&path).context(|| format!("read {}", path.display()))?;
        for line in text.lines() {
            let mut fields = line.split(':');
            let (Some(name), Some(_password)) = (fields.next(), fields.next()) else {
                continue;
            };
            let rest: Vec<&str> = fields.collect();
            found.push((format!("{kind}:{name}"), rest.join(":")));
        }
    }
    Ok(found)
}

/// `unit:NAME` of a running machine: enabled state and active state. Devices, slices and what
/// belongs to a login are left out.
pub fn units(machine: &Machine) -> Result<Vec<(String, String)>> {
    if machine.leader().is_none() || machine.kind() == image::Kind::Container {
        return Ok(Vec::new());
    }
    let list = |verb: &str, options: &[&str]| -> Result<String> {
        let mut argv = vec!["systemctl", verb, "--no-legend", "--no-pager", "--plain"];
        argv.extend(["--type=service,socket,timer,mount,path,target"]);
        argv.extend(options);
        Ok(machine.exec(&argv)?.ok()?.stdout)
    };
    let mut states = std::collections::BTreeMap::<String, (String, String)>::new();
    for line in list("list-unit-files", &[])?.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(enabled)) = (words.next(), words.next()) {
            states.entry(name.to_owned()).or_default().0 = enabled.to_owned();
        }
    }
    for line in list("list-units", &["--all"])?.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(load), Some(active)) = (words.next(), words.next(), words.next()) {
            let active = if load == "loaded" {
                active.to_owned()
            } else {
                load.to_owned()
            };
            states.entry(name.to_owned()).or_default().1 = active;
        }
    }
    // A unit that is only mentioned somewhere comes and goes with whoever mentions it.
    states.retain(|_, (enabled, active)| !(enabled.is_empty() && active == "not-found"));
    // Loaded but inactive is the same as not loaded: systemd forgets and remembers such units freely.
    let words = |(enabled, active): (String, String)| {
        let active = if active.is_empty() {
            "inactive".to_owned()
        } else {
            active
        };
        let enabled = if enabled.is_empty() {
            "no file".to_owned()
        } else {
            enabled
        };
        format!("{enabled}, {active}")
    };
    Ok(states
        .into_iter()
        .map(|(name, state)| (format!("unit:{name}"), words(state)))
        .collect())
}

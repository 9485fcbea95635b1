//! `[health]`: when the machine is looked at, what is done about what is found.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::health::Policy;
use crate::health::check::Check;

/// Words that a policy takes: the remedy is carried out, is waited with until somebody asks for it,
/// or the check does not run.
pub const POLICIES: [&str; 3] = ["auto", "ask", "off"];
/// The shortest time between two rounds of everything, in seconds.
pub const MIN_INTERVAL_SECONDS: u64 = 60;
/// The key whose entries are merged one by one.
pub(super) const POLICY_KEY: &str = "health.policy";

/// `[health]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HealthSettings {
    /// Policies by id of the check, one of [`POLICIES`]; the others have their default.
    pub policy: BTreeMap<String, String>,
    /// Seconds between two rounds of all checks; 0: they are made when something happens only.
    pub interval_seconds: u64,
    /// Seconds that chance adds to that at most.
    pub jitter_seconds: u64,
    /// Free bytes of the store's file system below which there is a finding.
    pub low_space_bytes: u64,
    /// Free inodes of the store's file system below which there is a finding.
    pub low_space_inodes: u64,
    /// Free bytes of /boot below which there is a finding.
    pub low_boot_bytes: u64,
    /// Copies of Nix's database that are kept; 0: none are made.
    pub database_copies: u32,
    /// Seconds between two copies at least.
    pub database_copy_seconds: u64,
}

impl Default for HealthSettings {
    fn default() -> Self {
        HealthSettings {
            policy: BTreeMap::new(),
            interval_seconds: 3600,
            jitter_seconds: 300,
            low_space_bytes: 512 << 20,
            low_space_inodes: 10_000,
            low_boot_bytes: 32 << 20,
            database_copies: 3,
            database_copy_seconds: 24 * 3600,
        }
    }
}

impl HealthSettings {
    /// Whether its values make sense.
    ///
    /// # Errors
    /// What is wrong with the value of that name.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        match name {
            "policy" => self.policy.iter().try_for_each(|(id, policy)| {
                if Check::by_id(id).is_none() {
                    return Err(unknown_check(id));
                }
                if !POLICIES.contains(&policy.as_str()) {
                    return Err(format!("`{id}` must be one of {}", POLICIES.join(", ")));
                }
                Ok(())
            }),
            "interval_seconds" => match self.interval_seconds {
                1..MIN_INTERVAL_SECONDS => {
                    Err(format!("must be 0 or at least {MIN_INTERVAL_SECONDS}"))
                }
                _ => Ok(()),
            },
            "database_copies" if self.database_copies > 100 => Err("must be at most 100".into()),
            _ => Ok(()),
        }
    }
}

/// The policies of a file with dotted ids, which without quotes TOML takes for tables.
pub(super) fn flattened(value: Value) -> Value {
    let Value::Table(table) = value else {
        return value;
    };
    let mut flat = Table::new();
    for (area, value) in table {
        match value {
            Value::Table(checks) => flat.extend(
                checks
                    .into_iter()
                    .map(|(name, value)| (format!("{area}.{name}"), value)),
            ),
            value => drop(flat.insert(area, value)),
        }
    }
    Value::Table(flat)
}

/// Earlier policies with those of a later file.
pub(super) fn merged(earlier: &Value, later: Value) -> Value {
    match (earlier, later) {
        (Value::Table(earlier), Value::Table(later)) => {
            let mut all = earlier.clone();
            all.extend(later);
            Value::Table(all)
        }
        (_, later) => later,
    }
}

/// That a check does not exist, and which one may have been meant.
pub(super) fn unknown_check(id: &str) -> String {
    match Check::nearest(id) {
        Some(near) => format!("unknown check `{id}`, did you mean `{near}`?"),
        None => format!("unknown check `{id}`"),
    }
}

/// What is to be done about the findings of a check, from the value of `health.policy` as
/// [`super::SettingView`] has it; `None` when that says nothing of it.
pub fn policy_of(check: Check, policies: &str) -> Option<Policy> {
    let table: Table = toml::from_str(&format!("policy = {policies}")).ok()?;
    let word = table.get("policy")?.get(check.id())?.as_str()?;
    let mut known = [Policy::Auto, Policy::Ask, Policy::Off].into_iter();
    known.find(|it| it.as_str() == word)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Settings, SettingsError, merge};
    use super::*;

    fn read(files: &[&str]) -> Result<Settings, SettingsError> {
        let named = |(place, text): (usize, &&str)| {
            let path = PathBuf::from(format!("/etc/nixctl/config.d/{place}.toml"));
            (path, (*text).to_owned())
        };
        let files: Vec<_> = files.iter().enumerate().map(named).collect();
        merge(&files).map(|(settings, _)| settings)
    }

    #[test]
    fn policies_are_merged_one_by_one() {
        let settings = read(&[
            "[health]\npolicy = { \"mounts.not-mounted\" = \"ask\", \"tree.rights\" = \"off\" }\n",
            "[health.policy]\n\"mounts.not-mounted\" = \"auto\"\nconf.syntax = \"ask\"\n",
            "[health]\ninterval_seconds = 0\n",
        ])
        .unwrap();
        let all: Vec<(&str, &str)> = settings
            .health
            .policy
            .iter()
            .map(|(id, policy)| (&**id, &**policy))
            .collect();
        let expected = [
            ("conf.syntax", "ask"),
            ("mounts.not-mounted", "auto"),
            ("tree.rights", "off"),
        ];
        assert_eq!(all, expected);
        assert_eq!(settings.health.interval_seconds, 0);
    }

    #[test]
    fn wrong_values_are_refused() {
        for (text, line, part) in [
            ("[health]\npolicy = \"auto\"", 2, "map"),
            (
                "[health.policy]\n\"mounts.not-mounted\" = \"maybe\"",
                1,
                "one of auto, ask, off",
            ),
            (
                "[health.policy]\nmounts = \"auto\"",
                1,
                "unknown check `mounts`",
            ),
            (
                "[health.policy]\nmounts.notmounted = \"auto\"",
                1,
                "did you mean `mounts.not-mounted`?",
            ),
            ("[health.policy]\n\"mounts.not-mounted\" = 1", 1, "string"),
            ("[health]\n\ninterval_seconds = 5", 3, "at least 60"),
            ("[health]\ndatabase_copies = 1000", 2, "at most 100"),
            (
                "[health]\ninterval_second = 5",
                2,
                "did you mean `health.interval_seconds`",
            ),
        ] {
            let error = read(&[text]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert!(error.contains(&format!("0.toml line {line}: ")), "{error}");
        }
    }

    #[test]
    fn what_is_done_about_a_check_is_read_from_the_view() {
        let file = PathBuf::from("/etc/nixctl/config.toml");
        let text = "[health.policy]\n\"mounts.not-mounted\" = \"ask\"\nconf.syntax = \"off\"\n";
        let (_, views) = merge(&[(file, text.to_owned())]).unwrap();
        let view = views.iter().find(|view| view.key == POLICY_KEY).unwrap();
        for (check, expected) in [
            (Check::NotMounted, Some(Policy::Ask)),
            (Check::Syntax, Some(Policy::Off)),
            (Check::SocketDead, None),
        ] {
            assert_eq!(policy_of(check, &view.value), expected, "{check}");
        }
        assert_eq!(policy_of(Check::SocketDead, "what?"), None);
    }

    #[test]
    fn a_policy_can_be_set_from_the_command_line() {
        let text =
            super::super::edit("", POLICY_KEY, "{ \"mounts.not-mounted\" = \"off\" }").unwrap();
        let settings = read(&[&text]).unwrap();
        assert_eq!(settings.health.policy["mounts.not-mounted"], "off");
    }
}

//! What the daemon answers: dictionaries and properties of the bus as the types that both transports
//! share. What it is asked is in [`super::options`].
//!
//! A property that an older daemon does not have reads as its empty value; a property of the
//! wrong type, or a missing one without which nothing can be shown, is an error.

use zbus::zvariant::OwnedValue;

use super::Dictionary;
use crate::code::Code;
use crate::failure::Failure;
use crate::generation::Generation;
use crate::health::{Finding, HealthEvent, HealthEventKind, RemedyView, Severity};
use crate::operation::{JournalLine, OperationId, OperationKind, OperationState, OperationView};
use crate::plan::DiffEntry;
use crate::settings::SettingView;
use crate::status::{Health, Status, UpgradeStatus};

/// A dictionary cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {key} of the daemon's answer: {why}")]
pub struct BadValue {
    /// Key of the entry.
    pub key: String,
    /// What is wrong with it.
    pub why: String,
}

impl From<BadValue> for Failure {
    fn from(error: BadValue) -> Failure {
        Failure::new(Code::BadFrame, error.to_string())
    }
}

/// The operation whose properties these are.
pub fn operation(id: OperationId, all: &Dictionary) -> Result<OperationView, BadValue> {
    let finished: u64 = optional(all, "Finished")?;
    let waiting_for: String = optional(all, "WaitingFor")?;
    Ok(OperationView {
        id,
        kind: kind(&required::<String>(all, "Kind")?)?,
        state: state(&required::<String>(all, "State")?)?,
        waiting_for: (!waiting_for.is_empty()).then_some(waiting_for),
        requested_by: optional(all, "RequestedBy")?,
        reason: optional(all, "Reason")?,
        created: optional(all, "Created")?,
        finished: (finished != 0).then_some(finished),
        step: optional(all, "Step")?,
        steps: optional(all, "Steps")?,
        description: optional(all, "Description")?,
        bytes_done: optional(all, "BytesDone")?,
        bytes_total: optional(all, "BytesTotal")?,
        progress: optional(all, "Progress")?,
        cancellable: optional(all, "Cancellable")?,
        failure: failure(all)?,
        kept: optional(all, "Kept")?,
        notes: optional(all, "Notes")?,
    })
}

/// The manager's properties as a status, and the path of the operation at work.
pub fn status(all: &Dictionary) -> Result<(Status, Option<OperationId>), BadValue> {
    let path: zbus::zvariant::OwnedObjectPath = match all.get("ActiveOperation") {
        Some(value) => convert("ActiveOperation", value)?,
        None => zbus::zvariant::OwnedObjectPath::default(),
    };
    let active = path.as_str().parse().ok();
    let status = Status {
        version: required(all, "Version")?,
        nix_version: optional(all, "NixVersion")?,
        health: health(&optional::<String>(all, "Health")?),
        health_reason: optional(all, "HealthReason")?,
        converged: if all.contains_key("Converged") {
            required(all, "Converged")?
        } else {
            1.0
        },
        active: None,
        queued: optional(all, "Queued")?,
        current_generation: optional(all, "CurrentGeneration")?,
        target_generation: optional(all, "TargetGeneration")?,
        reboot_needed: optional(all, "RebootNeeded")?,
        boot_failure: optional(all, "BootFailure")?,
        convergence: optional(all, "Convergence")?,
        health_seen: optional(all, "HealthSeen")?,
        health_note: optional(all, "HealthNote")?,
        findings: optional(all, "FindingCount")?,
        upgrade: Box::new(UpgradeStatus {
            available: optional(all, "AvailableVersion")?,
            waits: optional(all, "UpgradeWaits")?,
            hold: optional(all, "UpgradeHold")?,
            feed_read: optional(all, "FeedRead")?,
            feed_trouble: optional(all, "FeedTrouble")?,
            fleet_lock: optional(all, "FleetLock")?,
            inhibitors: optional(all, "Inhibitors")?,
            following: optional(all, "Following")?,
            follow_state: optional(all, "FollowState")?,
        }),
    };
    Ok((status, active))
}

/// One line of `Journal()`.
pub fn journal_line(all: &Dictionary) -> Result<JournalLine, BadValue> {
    let step: u32 = optional(all, "step")?;
    Ok(JournalLine {
        sequence: required(all, "sequence")?,
        time: optional(all, "time")?,
        record: required(all, "record")?,
        step: (step != 0).then_some(step),
        text: optional(all, "text")?,
    })
}

/// One entry of `Settings()`.
pub fn setting(all: &Dictionary) -> Result<SettingView, BadValue> {
    Ok(SettingView {
        key: required(all, "key")?,
        value: required(all, "value")?,
        file: optional(all, "file")?,
    })
}

/// One entry of `ListGenerations()`.
pub fn generation(all: &Dictionary) -> Result<Generation, BadValue> {
    Ok(Generation {
        number: required(all, "number")?,
        path: required(all, "path")?,
        created: optional(all, "created")?,
        current: optional(all, "current")?,
        default: optional(all, "default")?,
        booted: optional(all, "booted")?,
        proven: optional(all, "proven")?,
        proven_by_boot: optional(all, "proven-by-boot")?,
        awaits_boot: optional(all, "awaits-boot")?,
        boot_failure: optional(all, "boot-failure")?,
        hybrid: optional(all, "hybrid")?,
        label: optional(all, "label")?,
    })
}

/// One entry of `Diff()`.
pub fn difference(all: &Dictionary) -> Result<DiffEntry, BadValue> {
    Ok(DiffEntry {
        name: required(all, "name")?,
        old: optional(all, "old")?,
        new: optional(all, "new")?,
        bytes: optional(all, "bytes")?,
    })
}

/// One entry of `Findings()` and `Check()`. One without a remedy has an empty `remedy-summary`.
pub fn finding(all: &Dictionary) -> Result<Finding, BadValue> {
    let summary: String = optional(all, "remedy-summary")?;
    let remedy = RemedyView {
        steps: optional(all, "remedy-steps")?,
        automatic: optional(all, "automatic")?,
        held: optional(all, "held")?,
        summary,
    };
    Ok(Finding {
        check: required(all, "check")?,
        subject: optional(all, "subject")?,
        severity: severity(&required::<String>(all, "severity")?)?,
        seen: optional(all, "seen")?,
        expected: optional(all, "expected")?,
        why: optional(all, "why")?,
        help: optional(all, "help")?,
        since: optional(all, "since")?,
        remedy: (!remedy.summary.is_empty()).then_some(remedy),
    })
}

/// One entry of `ListHealthEvents()`.
pub fn event(all: &Dictionary) -> Result<HealthEvent, BadValue> {
    let operation: String = optional(all, "operation")?;
    let operation = match operation.as_str() {
        "" => None,
        id => Some(
            id.parse()
                .map_err(|_| bad("operation", format!("`{id}` is no id of an operation")))?,
        ),
    };
    Ok(HealthEvent {
        number: required(all, "number")?,
        time: optional(all, "time")?,
        check: required(all, "check")?,
        subject: optional(all, "subject")?,
        what: event_kind(&required::<String>(all, "what")?)?,
        operation,
        detail: optional(all, "detail")?,
    })
}

/// Why the operation failed, from the four properties that say so.
fn failure(all: &Dictionary) -> Result<Option<Failure>, BadValue> {
    let code: String = optional(all, "ErrorCode")?;
    if code.is_empty() {
        return Ok(None);
    }
    let code = Code::parse(&code).unwrap_or(Code::Internal);
    let mut failure = Failure::new(code, optional::<String>(all, "ErrorMessage")?);
    failure.causes = optional(all, "ErrorCauses")?;
    let help: String = optional(all, "ErrorHelp")?;
    if !help.is_empty() {
        failure.help = help;
    }
    Ok(Some(failure))
}

fn kind(text: &str) -> Result<OperationKind, BadValue> {
    [
        OperationKind::Install,
        OperationKind::Uninstall,
        OperationKind::SelfInstall,
        OperationKind::SelfUninstall,
        OperationKind::Switch,
        OperationKind::Rollback,
        OperationKind::Repair,
        OperationKind::Upgrade,
        OperationKind::SelfUpgrade,
    ]
    .into_iter()
    .find(|kind| kind.as_str() == text)
    .ok_or_else(|| bad("Kind", format!("`{text}` is not known to this client")))
}

fn state(text: &str) -> Result<OperationState, BadValue> {
    text.parse().map_err(|why| bad("State", why))
}

fn severity(text: &str) -> Result<Severity, BadValue> {
    Severity::ALL
        .into_iter()
        .find(|severity| severity.as_str() == text)
        .ok_or_else(|| bad("severity", format!("`{text}` is not known to this client")))
}

fn event_kind(text: &str) -> Result<HealthEventKind, BadValue> {
    HealthEventKind::ALL
        .into_iter()
        .find(|kind| kind.as_str() == text)
        .ok_or_else(|| bad("what", format!("`{text}` is not known to this client")))
}

/// A judgement that this client does not know is shown as unknown.
fn health(text: &str) -> Health {
    [Health::Healthy, Health::Degraded, Health::Broken]
        .into_iter()
        .find(|health| health.as_str() == text)
        .unwrap_or(Health::Unknown)
}

fn required<T>(all: &Dictionary, key: &str) -> Result<T, BadValue>
where
    T: TryFrom<OwnedValue>,
    T::Error: std::fmt::Display,
{
    let value = all.get(key).ok_or_else(|| bad(key, "it is missing"))?;
    convert(key, value)
}

fn optional<T>(all: &Dictionary, key: &str) -> Result<T, BadValue>
where
    T: TryFrom<OwnedValue> + Default,
    T::Error: std::fmt::Display,
{
    all.get(key)
        .map_or_else(|| Ok(T::default()), |value| convert(key, value))
}

fn convert<T>(key: &str, value: &OwnedValue) -> Result<T, BadValue>
where
    T: TryFrom<OwnedValue>,
    T::Error: std::fmt::Display,
{
    let value = value
        .try_clone()
        .map_err(|error| bad(key, error.to_string()))?;
    T::try_from(value).map_err(|error| bad(key, error.to_string()))
}

fn bad(key: &str, why: impl Into<String>) -> BadValue {
    BadValue {
        key: key.to_owned(),
        why: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use zbus::zvariant::Value;

    use super::*;

    fn dictionary(entries: Vec<(&str, Value<'static>)>) -> Dictionary {
        entries
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.try_into_owned().unwrap()))
            .collect()
    }

    fn id() -> OperationId {
        OperationId::from_parts(1, 2)
    }

    #[test]
    fn an_operation_is_read_from_its_properties() {
        let view = operation(
            id(),
            &dictionary(vec![
                ("Kind", "install".into()),
                ("State", "running".into()),
                ("Progress", 0.25f64.into()),
                ("Step", 3u32.into()),
                ("Steps", 12u32.into()),
                ("BytesTotal", 99u64.into()),
                ("Cancellable", true.into()),
                ("ErrorCode", "".into()),
                ("WaitingFor", "".into()),
                ("Finished", 0u64.into()),
                ("Notes", vec!["a", "b"].into()),
            ]),
        )
        .unwrap();
        assert_eq!(view.kind, OperationKind::Install);
        assert_eq!(view.state, OperationState::Running);
        assert_eq!((view.step, view.steps, view.bytes_total), (3, 12, 99));
        assert_eq!(
            (view.failure, view.finished, view.waiting_for),
            (None, None, None)
        );
        assert_eq!(view.notes, ["a", "b"]);
        assert!(view.cancellable);
    }

    #[test]
    fn a_failed_operation_carries_its_failure() {
        let view = operation(
            id(),
            &dictionary(vec![
                ("Kind", "uninstall".into()),
                ("State", "reverted".into()),
                ("ErrorCode", "NIX2004".into()),
                ("ErrorMessage", "cannot write".into()),
                ("ErrorCauses", vec!["the disk is full"].into()),
                ("ErrorHelp", "free something".into()),
                ("Finished", 17u64.into()),
            ]),
        )
        .unwrap();
        let failure = view.failure.unwrap();
        assert_eq!(
            (failure.code, failure.help.as_str()),
            (Code::DiskFull, "free something")
        );
        assert_eq!(failure.causes, ["the disk is full"]);
        assert_eq!(view.finished, Some(17));
    }

    #[test]
    fn what_cannot_be_shown_is_an_error() {
        let missing = dictionary(vec![("Kind", "install".into())]);
        assert_eq!(operation(id(), &missing).unwrap_err().key, "State");
        let wrong = dictionary(vec![
            ("Kind", "install".into()),
            ("State", "running".into()),
            ("Step", "three".into()),
        ]);
        assert_eq!(operation(id(), &wrong).unwrap_err().key, "Step");
        let unknown = dictionary(vec![("Kind", "dance".into()), ("State", "running".into())]);
        assert_eq!(operation(id(), &unknown).unwrap_err().key, "Kind");
    }

    #[test]
    fn the_status_names_the_operation_at_work() {
        let path = zbus::zvariant::ObjectPath::try_from(id().object_path()).unwrap();
        let (now, active) = status(&dictionary(vec![
            ("Version", "1.2.3".into()),
            ("Health", "degraded".into()),
            ("Converged", 0.5f64.into()),
            ("NixVersion", "2.26.3".into()),
            ("ActiveOperation", path.into()),
        ]))
        .unwrap();
        assert_eq!((now.health, now.converged), (Health::Degraded, 0.5));
        assert_eq!(active, Some(id()));
        let (idle, none) = status(&dictionary(vec![("Version", "1".into())])).unwrap();
        assert_eq!(
            (idle.health, idle.converged, none),
            (Health::Unknown, 1.0, None)
        );
    }

    #[test]
    fn generations_and_differences() {
        let read = generation(&dictionary(vec![
            ("number", 4u64.into()),
            ("path", "/nix/store/x".into()),
            ("default", true.into()),
        ]))
        .unwrap();
        assert_eq!((read.number, read.default, read.proven), (4, true, false));
        assert!(generation(&dictionary(vec![("number", 4u64.into())])).is_err());
        let read = difference(&dictionary(vec![
            ("name", "glibc".into()),
            ("old", vec!["2.40"].into()),
            ("bytes", (-5i64).into()),
        ]))
        .unwrap();
        assert_eq!((read.old.len(), read.new.len(), read.bytes), (1, 0, -5));
    }

    #[test]
    fn findings_and_what_became_of_them() {
        let read = finding(&dictionary(vec![
            ("check", "mounts.not-mounted".into()),
            ("subject", "/nix".into()),
            ("severity", "critical".into()),
            ("since", 5u64.into()),
            ("remedy-summary", "mount /nix".into()),
            ("remedy-steps", vec!["start nix.mount"].into()),
            ("automatic", true.into()),
        ]))
        .unwrap();
        let remedy = read.remedy.unwrap();
        assert_eq!((read.severity, read.since), (Severity::Critical, 5));
        assert_eq!((remedy.steps.len(), remedy.automatic), (1, true));
        for (severity, is_known) in [("info", true), ("dire", false)] {
            let read = finding(&dictionary(vec![
                ("check", "conf.syntax".into()),
                ("severity", severity.into()),
                ("remedy-summary", "".into()),
            ]));
            assert_eq!(read.is_ok_and(|it| it.remedy.is_none()), is_known);
        }
        for (what, operation, is_right) in [
            ("gone", "", true),
            ("did-not-help", "0000000000001000001", false),
            ("tried", "0000000000001001", true),
            ("vanished", "", false),
        ] {
            let read = event(&dictionary(vec![
                ("number", 4u64.into()),
                ("check", "mounts.not-mounted".into()),
                ("what", what.into()),
                ("operation", operation.into()),
            ]));
            assert_eq!(read.is_ok(), is_right, "{what} {operation}");
        }
    }

    #[test]
    fn journal_and_settings() {
        let line = journal_line(&dictionary(vec![
            ("sequence", 4u32.into()),
            ("time", 5u64.into()),
            ("record", "done".into()),
            ("step", 0u32.into()),
            ("text", "it".into()),
        ]))
        .unwrap();
        assert_eq!((line.sequence, line.step), (4, None));
        assert!(setting(&dictionary(vec![("key", "a.b".into())])).is_err());
    }
}

//! Whether nix-daemon can be reached, now and after the next boot.

use std::path::{Path, PathBuf};

use super::Found;
use crate::health::look::daemon::{DaemonFacts, Greeting, SOCKET, UnitFacts};
use crate::health::mend::Mend;
use crate::health::mend::unit::{Clear, Restart, Unmask};
use crate::resource::Resource;
use nixctl_proto::health::Severity;
use nixctl_proto::health::check::Check;

pub(super) fn judge(facts: &DaemonFacts) -> Vec<Found> {
    let Some(service) = &facts.service else {
        return Vec::new();
    };
    if !facts.is_managed {
        return vec![no_manager()];
    }
    let service = || Resource::Service(service.clone());
    let mut found: Vec<Found> = facts
        .units
        .iter()
        .filter_map(|unit| file(unit, &service))
        .collect();
    // Starting what has no file, or a mask in its place, is done with the file.
    let has_file = |unit: &&UnitFacts| !found.iter().any(|it| it.subject == unit.name);
    let sound: Vec<&UnitFacts> = facts.units.iter().filter(has_file).collect();
    for unit in sound {
        found.extend(disabled(unit, &service));
        found.extend(running(unit, facts, &service));
    }
    found.extend(silent(facts));
    found.extend(facts.lost_programs.iter().map(lost_program));
    found
}

fn no_manager() -> Found {
    Found::new(Check::NoManager, "systemd")
        .seen("systemd does not run")
        .expected("systemd, which starts nix-daemon")
        .help(
            "under WSL add `[boot]` and `systemd=true` to /etc/wsl.conf and run `wsl --shutdown`; \
             in a container run `nixctl daemon run`, which keeps nix-daemon running itself",
        )
}

/// Somebody's drop-in starts what is not there; it is theirs.
fn lost_program((program, drop_in): &(PathBuf, PathBuf)) -> Found {
    let (program, drop_in) = (program.display(), drop_in.display());
    Found::new(Check::ProgramLost, drop_in.to_string())
        .seen(format!(
            "{drop_in} has nix-daemon started as {program}, which is not there"
        ))
        .expected("a program that is there")
        .help(format!(
            "remove {drop_in} or install what it names, then: systemctl daemon-reload"
        ))
}

/// What is wrong with the unit's file.
fn file(unit: &UnitFacts, service: &dyn Fn() -> Resource) -> Option<Found> {
    let name = &unit.name;
    let written = || unit.file.clone().map(Resource::File);
    let whole = |found: Found| found.ensure(written()).ensure(service());
    let is_mask = unit.at.target.as_deref() == Some(Path::new("/dev/null"));
    if is_mask || unit.state.load == "masked" || unit.state.file.starts_with("masked") {
        let unmask = Mend::Unmask(Unmask { unit: name.clone() });
        return Some(whole(
            Found::new(Check::Masked, name)
                .seen(format!("{name} is masked (a link to /dev/null)"))
                .expected("the unit's own file")
                .mend(unmask),
        ));
    }
    // Whose file it is nobody knows when it is not ours: a unit that works is left alone.
    unit.file.as_ref()?;
    let path = unit.at.path.display();
    match (unit.at.meta, &unit.at.target) {
        (None, _) => Some(whole(
            Found::new(Check::UnitLost, name)
                .seen(format!("{path} is gone"))
                .expected("the unit's file"),
        )),
        (Some(_), Some(target)) => Some(whole(
            Found::new(Check::UnitLinked, name)
                .seen(format!("{path} is a link to {}", target.display()))
                .expected("a real file, which is there before /nix is mounted")
                .set_aside(&unit.at.path),
        )),
        (Some(_), None) if !unit.is_as_written => Some(whole(
            Found::new(Check::UnitEdited, name)
                .seen(format!("{path} has other content than nixctl wrote"))
                .expected("changes in a drop-in (`systemctl edit`)")
                .set_aside(&unit.at.path),
        )),
        (Some(_), None) => None,
    }
}

fn disabled(unit: &UnitFacts, service: &dyn Fn() -> Resource) -> Option<Found> {
    if !unit.is_enabled_by_us || unit.state.is_enabled() {
        return None;
    }
    let name = &unit.name;
    Some(
        Found::new(Check::Disabled, name)
            .seen(format!("{name} is {}", words(&unit.state.file)))
            .expected("enabled")
            .ensure(service()),
    )
}

fn words(state: &str) -> &str {
    if state.is_empty() { "not known" } else { state }
}

fn running(unit: &UnitFacts, facts: &DaemonFacts, service: &dyn Fn() -> Resource) -> Option<Found> {
    let name = &unit.name;
    let state = &unit.state.active;
    if unit.is_started_by_us && !unit.state.is_active() {
        let behind = facts
            .units
            .iter()
            .find(|it| !it.is_started_by_us && it.state.is_active());
        if let Some(behind) = behind {
            return Some(
                Found::new(Check::BeforeSocket, name)
                    .seen(format!("{} runs, and {name} is {state}", behind.name))
                    .expected("the socket listens and starts the service")
                    .ensure(service()),
            );
        }
        if facts.is_listening {
            return Some(
                Found::new(Check::SocketTaken, SOCKET)
                    .severity(Severity::Error)
                    .seen(format!(
                        "{name} is {state}, and another process listens there"
                    ))
                    .expected(format!("{name} listens"))
                    .help(format!(
                        "see who it is (`ss -xlp | grep {SOCKET}`), end it, then: \
                         systemctl restart {name}"
                    )),
            );
        }
        return Some(
            Found::new(Check::SocketDead, name)
                .seen(format!("{name} is {state}"))
                .expected("active")
                .ensure(service()),
        );
    }
    if unit.is_started_by_us && !facts.has_socket {
        return Some(
            Found::new(Check::SocketDead, name)
                .seen(format!("{name} is {state}, and {SOCKET} is gone"))
                .expected(format!("{name} listens"))
                .mend(Mend::Restart(Restart { unit: name.clone() })),
        );
    }
    (unit.state.active == "failed").then(|| {
        Found::new(Check::ServiceFailed, name)
            .seen(format!("{name} has failed"))
            .expected("it runs when somebody connects")
            .mend(Mend::Clear(Clear { unit: name.clone() }))
            .ensure(service())
    })
}

fn silent(facts: &DaemonFacts) -> Option<Found> {
    if facts.greeting != Greeting::Missing {
        return None;
    }
    let unit = facts.units.iter().find(|unit| !unit.is_started_by_us)?;
    let restart = Restart {
        unit: unit.name.clone(),
    };
    Some(
        Found::new(Check::Silent, &unit.name)
            .seen("it took a connection and sent no greeting within 10 s")
            .expected("an answer")
            .mend(Mend::Restart(restart)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, ids};
    use super::*;
    use crate::catalogue::linux::{SERVICE_UNIT, SOCKET_UNIT};
    use crate::health::judge::Cure;
    use crate::host::fs::Kind;
    use crate::host::service::UnitState;
    use crate::resource::service::Service;
    use crate::resource::testing::empty_file;

    fn unit(name: &str, active: &str) -> UnitFacts {
        let path = format!("/etc/systemd/system/{name}");
        UnitFacts {
            name: name.to_owned(),
            state: UnitState {
                load: "loaded".to_owned(),
                active: active.to_owned(),
                file: "enabled".to_owned(),
                fragment: path.clone(),
            },
            is_enabled_by_us: true,
            is_started_by_us: name == SOCKET_UNIT,
            at: at(&path, Kind::File, 0o644),
            file: Some(empty_file(&path)),
            is_as_written: true,
        }
    }

    fn healthy() -> DaemonFacts {
        DaemonFacts {
            service: Some(Service {
                enable: vec![SOCKET_UNIT.to_owned(), SERVICE_UNIT.to_owned()],
                start: vec![SOCKET_UNIT.to_owned()],
                also_stop: vec![SERVICE_UNIT.to_owned()],
            }),
            is_managed: true,
            units: vec![unit(SOCKET_UNIT, "active"), unit(SERVICE_UNIT, "inactive")],
            greeting: Greeting::NotAsked,
            is_listening: true,
            has_socket: true,
            lost_programs: Vec::new(),
        }
    }

    fn with(change: impl FnOnce(&mut DaemonFacts)) -> Vec<Found> {
        let mut facts = healthy();
        change(&mut facts);
        judge(&facts)
    }

    #[test]
    fn a_socket_without_its_file_and_a_program_that_is_gone_are_told() {
        let gone = with(|facts| facts.has_socket = false);
        assert_eq!((gone.len(), gone[0].check), (1, Check::SocketDead));
        assert_eq!(gone[0].cures.len(), 1);
        let pair = (PathBuf::from("/usr/bin/x"), PathBuf::from("/etc/y.conf"));
        let lost = with(|facts| facts.lost_programs = vec![pair]);
        assert_eq!((lost.len(), lost[0].check), (1, Check::ProgramLost));
        assert!(lost[0].cures.is_empty() && lost[0].seen.contains("/usr/bin/x"));
    }

    #[test]
    fn a_healthy_machine_has_no_finding() {
        assert_eq!(judge(&healthy()), []);
        assert_eq!(
            with(|facts| facts.units[1].state.active = "active".to_owned()),
            []
        );
        assert_eq!(with(|facts| facts.greeting = Greeting::Came), []);
        // Where nixctl has no units nothing is expected of them.
        assert_eq!(with(|facts| facts.service = None), []);
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut DaemonFacts);
        let table: [(Change, &str); 11] = [
            (
                |facts| {
                    facts.units[0].state.active = "failed".to_owned();
                    facts.is_listening = false;
                },
                "daemon.socket-dead nix-daemon.socket",
            ),
            (
                |facts| facts.units[0].state.active = "inactive".to_owned(),
                "daemon.socket-taken /nix/var/nix/daemon-socket/socket",
            ),
            (
                |facts| {
                    facts.units[0].state.active = "inactive".to_owned();
                    facts.units[1].state.active = "active".to_owned();
                },
                "daemon.before-socket nix-daemon.socket",
            ),
            (
                |facts| facts.units[1].state.active = "failed".to_owned(),
                "daemon.service-failed nix-daemon.service",
            ),
            (
                |facts| facts.units[0].at.target = Some("/dev/null".into()),
                "daemon.masked nix-daemon.socket",
            ),
            (
                |facts| facts.units[1].state.file = "disabled".to_owned(),
                "daemon.disabled nix-daemon.service",
            ),
            (
                |facts| facts.units[0].at.meta = None,
                "daemon.unit-lost nix-daemon.socket",
            ),
            (
                |facts| facts.units[1].at.target = Some("/nix/var/x".into()),
                "daemon.unit-linked nix-daemon.service",
            ),
            (
                |facts| facts.units[1].is_as_written = false,
                "daemon.unit-edited nix-daemon.service",
            ),
            (
                |facts| facts.greeting = Greeting::Missing,
                "daemon.silent nix-daemon.service",
            ),
            (
                |facts| facts.is_managed = false,
                "daemon.no-manager systemd",
            ),
        ];
        for (change, expected) in table {
            assert_eq!(ids(&with(change)), [expected]);
        }
    }

    #[test]
    fn a_unit_without_its_file_is_written_before_it_is_brought_up() {
        let found = with(|facts| {
            facts.units[0].at.meta = None;
            facts.units[0].state = UnitState::not_found();
        });
        assert_eq!(ids(&found), ["daemon.unit-lost nix-daemon.socket"]);
        let kinds: Vec<bool> = found[0]
            .cures
            .iter()
            .map(|cure| matches!(cure, Cure::Ensure(it) if matches!(**it, Resource::File(_))))
            .collect();
        assert_eq!(kinds, [true, false]);
    }

    #[test]
    fn a_unit_of_somebody_else_is_left_alone() {
        let found = with(|facts| {
            for unit in &mut facts.units {
                unit.file = None;
                unit.at.target = Some("/nix/var/nix/profiles/default/x".into());
            }
        });
        assert_eq!(found, []);
    }
}

//! nix-daemon: its units, their files, its socket, and whether it answers.

mod drop_ins;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{At, Expected, Result, Scene};
use crate::catalogue::facts::leftovers::UNIT_DIR;
use crate::catalogue::linux::{SERVICE_UNIT, SOCKET_UNIT};
use crate::host::fs::Kind;
use crate::host::nix_daemon;
use crate::host::service::UnitState;
use crate::resource::Resource;
use crate::resource::file::File;
use crate::resource::service::Service;

/// Where it serves.
pub const SOCKET: &str = "/nix/var/nix/daemon-socket/socket";
/// Time for its greeting. A machine that swaps needs long; a client waits for ever.
const GREETING: Duration = Duration::from_secs(10);
/// The kernel's list of sockets.
const SOCKETS: &str = "/proc/net/unix";
const SOCKETS_LIMIT: u64 = 32 << 20;

/// nix-daemon.
#[derive(Debug, Clone, PartialEq)]
pub struct DaemonFacts {
    /// The resource that brings it up, when nixctl owns one.
    pub service: Option<Service>,
    /// Whether a service manager runs.
    pub is_managed: bool,
    /// Its units: socket, then service.
    pub units: Vec<UnitFacts>,
    /// What came of a greeting; only asked of a daemon that runs, and only when looked deeply.
    pub greeting: Greeting,
    /// Whether something listens on the socket's path.
    pub is_listening: bool,
    /// Whether the socket's file is there.
    pub has_socket: bool,
    /// Programs that the service's drop-ins start and that are not there, with the drop-in.
    pub lost_programs: Vec<(PathBuf, PathBuf)>,
}

/// One unit of it.
#[derive(Debug, Clone, PartialEq)]
pub struct UnitFacts {
    /// Name.
    pub name: String,
    /// What the service manager says.
    pub state: UnitState,
    /// Whether it should start at boot.
    pub is_enabled_by_us: bool,
    /// Whether it should run.
    pub is_started_by_us: bool,
    /// What is at the place of its file.
    pub at: At,
    /// The file that belongs there, when nixctl owns it.
    pub file: Option<File>,
    /// Whether it has that content.
    pub is_as_written: bool,
}

/// Whether it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Greeting {
    /// It does not run, so it was not asked.
    NotAsked,
    /// It sent its greeting.
    Came,
    /// Nothing came within the deadline.
    Missing,
}

pub(super) fn look(scene: &Scene<'_>, expected: &Expected) -> Result<DaemonFacts> {
    let host = scene.host;
    let Some(service) = &expected.service else {
        return Ok(DaemonFacts {
            service: None,
            is_managed: host.services.is_running(),
            units: Vec::new(),
            greeting: Greeting::NotAsked,
            is_listening: false,
            has_socket: false,
            lost_programs: Vec::new(),
        });
    };
    let units = [SOCKET_UNIT, SERVICE_UNIT]
        .into_iter()
        .map(|name| unit(scene, service, name))
        .collect::<Result<Vec<_>>>()?;
    let runs = units
        .iter()
        .any(|unit| unit.name == SERVICE_UNIT && unit.state.is_active());
    // Each greeting is a line in the daemon's log.
    let greeting = match scene.is_deep && runs && !host.is_image() {
        false => Greeting::NotAsked,
        true if nix_daemon::greets(&host.fs.real(Path::new(SOCKET)), GREETING) => Greeting::Came,
        true => Greeting::Missing,
    };
    let table = host.fs.read(Path::new(SOCKETS), SOCKETS_LIMIT)?;
    Ok(DaemonFacts {
        service: Some(service.clone()),
        is_managed: host.services.is_running(),
        units,
        greeting,
        has_socket: host.fs.meta(Path::new(SOCKET))?.is_some(),
        lost_programs: drop_ins::lost_programs(&host.fs)?,
        is_listening: listens(&String::from_utf8_lossy(&table.unwrap_or_default()), SOCKET),
    })
}

fn unit(scene: &Scene<'_>, service: &Service, name: &str) -> Result<UnitFacts> {
    let path = Path::new(UNIT_DIR).join(name);
    let file = owned_file(scene.owned, &path);
    let at = At::look(&scene.host.fs, &path)?;
    Ok(UnitFacts {
        name: name.to_owned(),
        state: scene.host.services.state(name)?,
        is_enabled_by_us: service.enable.iter().any(|unit| unit == name),
        is_started_by_us: service.start.iter().any(|unit| unit == name),
        is_as_written: match &file {
            Some(file) => has_content(scene, &at, &file.content)?,
            None => true,
        },
        at,
        file,
    })
}

fn owned_file(owned: &[Resource], path: &PathBuf) -> Option<File> {
    owned.iter().find_map(|resource| match resource {
        Resource::File(file) if file.path == *path => Some(file.clone()),
        _ => None,
    })
}

fn has_content(scene: &Scene<'_>, at: &At, content: &str) -> Result<bool> {
    let length = content.len() as u64;
    // One byte more than ours is another file.
    match at.meta {
        Some(meta) if meta.kind == Kind::File && meta.size == length => {
            let there = scene.host.fs.read(&at.path, length)?;
            Ok(there.as_deref() == Some(content.as_bytes()))
        }
        _ => Ok(false),
    }
}

/// Whether the kernel's table has a socket at the path that accepts connections.
fn listens(table: &str, path: &str) -> bool {
    // Num RefCount Protocol Flags Type St Inode Path; the flag 0x10000 is `accepts connections`.
    const ACCEPTS: u64 = 0x10000;
    table.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        let flags = fields
            .nth(3)
            .and_then(|it| u64::from_str_radix(it, 16).ok());
        fields.nth(3) == Some(path) && flags.is_some_and(|it| it & ACCEPTS != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::catalogue::files::NIX_DAEMON_SOCKET;

    pub(crate) fn owned() -> Vec<Resource> {
        let file = File {
            path: NIX_DAEMON_SOCKET.path.into(),
            content: NIX_DAEMON_SOCKET.content.to_owned(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            replace: false,
        };
        let service = Service {
            enable: vec![SOCKET_UNIT.to_owned(), SERVICE_UNIT.to_owned()],
            start: vec![SOCKET_UNIT.to_owned()],
            also_stop: vec![SERVICE_UNIT.to_owned()],
        };
        vec![Resource::File(file), Resource::Service(service)]
    }

    fn of(machine: &Machine) -> DaemonFacts {
        match look_at(machine, &owned(), Area::Daemon) {
            Facts::Daemon(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn units_are_read_with_their_files() {
        let machine = Machine::new()
            .file(NIX_DAEMON_SOCKET.path, NIX_DAEMON_SOCKET.content)
            .unit(SOCKET_UNIT, "enabled", "active");
        let facts = of(&machine);
        let socket = &facts.units[0];
        assert!(socket.is_as_written && socket.is_enabled_by_us && socket.is_started_by_us);
        assert!(socket.state.is_active() && facts.is_managed);
        let service = &facts.units[1];
        assert!(service.is_enabled_by_us && !service.is_started_by_us);
        assert_eq!(service.file, None);
        let edited = Machine::new().file(NIX_DAEMON_SOCKET.path, "[Socket]\n");
        assert!(!of(&edited).units[0].is_as_written);
    }

    #[test]
    fn where_nothing_is_owned_nothing_is_asked() {
        let machine = Machine::new();
        let Facts::Daemon(facts) = look_at(&machine, &[], Area::Daemon) else {
            panic!()
        };
        assert!(facts.service.is_none() && facts.units.is_empty());
    }

    #[test]
    fn listening_sockets_are_told_from_connections() {
        let head = "Num       RefCount Protocol Flags    Type St Inode Path\n";
        let line = |flags: &str, path: &str| {
            format!("{head}0000000000000000: 00000002 00000000 {flags} 0001 01 22345 {path}\n")
        };
        assert!(listens(&line("00010000", SOCKET), SOCKET));
        assert!(!listens(&line("00000000", SOCKET), SOCKET));
        assert!(!listens(&line("00010000", "/run/x"), SOCKET));
        assert!(!listens("", SOCKET));
    }
}

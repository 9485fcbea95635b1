//! Checks for what an install needs: room, writable places, ids, tools, time, network, release.

use nixctl_proto::{Code, Failure};

use super::{Case, Verdict};
use crate::catalogue::container::Shape;
use crate::catalogue::facts::{Facts, Manager, NixDir, Place};
use crate::catalogue::{conf, ids};
use crate::health::judge::operations::EARLIEST_NOW;
use crate::payload::{Release, Source};

/// Clocks this far apart break certificates.
const MAX_SKEW_SECONDS: i64 = 3600;

/// Bytes of an unpacked release for each byte of its archive; xz of programs reaches five.
const UNPACKED_PER_BYTE: u64 = 6;
/// Bytes of an archive whose size is not known.
const TYPICAL_ARCHIVE: u64 = 32 << 20;
/// Bytes of a file on average, to guess the number of inodes.
const BYTES_PER_INODE: u64 = 16 << 10;
/// Nix's database, profile and log folders.
const DATABASE_BYTES: u64 = 8 << 20;
/// Journal and manifest in the state folder.
const STATE_BYTES: u64 = 16 << 20;
/// Folders, links and database files besides the release.
const EXTRA_INODES: u64 = 256;

/// What an install needs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Needs {
    /// Bytes on the store's file system, without the reserve.
    pub store_bytes: u64,
    /// Inodes there.
    pub store_inodes: u64,
    /// Bytes on the file system of the daemon's state, for the download.
    pub state_bytes: u64,
    /// Bytes that must be left on the store's file system.
    pub reserve_bytes: u64,
}

impl Needs {
    /// What a release needs: estimated from the size of its archive, since only unpacking tells.
    pub fn of(release: &Release, reserve_bytes: u64) -> Needs {
        let archive = release.size.unwrap_or(TYPICAL_ARCHIVE);
        let unpacked = archive.saturating_mul(UNPACKED_PER_BYTE);
        Needs::exactly(archive, unpacked, unpacked / BYTES_PER_INODE, reserve_bytes)
    }

    /// What a release needs whose unpacked size is known.
    pub fn exactly(archive: u64, bytes: u64, inodes: u64, reserve_bytes: u64) -> Needs {
        Needs {
            store_bytes: bytes.saturating_add(DATABASE_BYTES),
            store_inodes: inodes.saturating_add(EXTRA_INODES),
            state_bytes: archive.saturating_add(STATE_BYTES),
            reserve_bytes,
        }
    }

    /// Bytes on the store's file system with the reserve, and with the download when the two
    /// share it.
    pub fn bytes(&self, facts: &Facts) -> u64 {
        let shared = facts.places.store.device == facts.places.state.device;
        let download = if shared { self.state_bytes } else { 0 };
        self.store_bytes
            .saturating_add(self.reserve_bytes)
            .saturating_add(download)
    }
}

pub(super) fn space(case: &Case<'_>) -> Verdict {
    if case.facts.owned_version().is_some() || case.adopts() {
        return Ok("no release has to be unpacked".to_owned());
    }
    let (store, state) = (&case.facts.places.store, &case.facts.places.state);
    let bytes = case.needs.bytes(case.facts);
    short("bytes", &store.path, bytes, store.free_bytes, human)?;
    short(
        "inodes",
        &store.path,
        case.needs.store_inodes,
        store.free_inodes,
        |n| n.to_string(),
    )?;
    if store.device != state.device {
        short(
            "bytes",
            &state.path,
            case.needs.state_bytes,
            state.free_bytes,
            human,
        )?;
    }
    Ok(format!(
        "{} of {} free on the file system of /nix are needed",
        human(bytes),
        human(store.free_bytes)
    ))
}

fn short(
    unit: &str,
    path: &std::path::Path,
    needed: u64,
    free: u64,
    show: impl Fn(u64) -> String,
) -> Result<(), Failure> {
    if needed <= free {
        return Ok(());
    }
    let path = path.display();
    let message = format!(
        "cannot install Nix on the file system of {path}: it needs {} {unit} free, reserve \
         included, and has {}",
        show(needed),
        show(free)
    );
    let help = format!(
        "free {} {unit} on the file system of {path}",
        show(needed - free)
    );
    Err(Failure::new(Code::NoSpace, message).with_help(help))
}

/// Bytes for people, in the binary units.
fn human(bytes: u64) -> String {
    let units = [(30, "Gi"), (20, "Mi"), (10, "Ki")];
    for (shift, unit) in units {
        if bytes >> shift > 0 {
            let tenths = (bytes >> (shift - 10)).saturating_mul(10) >> 10;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    bytes.to_string()
}

pub(super) fn read_only(case: &Case<'_>) -> Verdict {
    let places = &case.facts.places;
    // A read-only root folder does no harm when /nix is there already and can be written.
    let store = if case.facts.nix_dir == NixDir::Absent {
        &places.root
    } else {
        &places.store
    };
    for (place, what) in [
        (store, "make /nix"),
        (&places.etc, "write the settings"),
        (&places.state, "write the journal"),
    ] {
        if place.read_only {
            let path = place.path.display();
            let message = format!("cannot {what}: the file system of {path} is read-only");
            let help = format!("remount it: mount -o remount,rw {path}");
            return Err(Failure::new(Code::ReadOnly, message).with_help(help));
        }
    }
    Ok("/nix, /etc and the state folder can be written".to_owned())
}

pub(super) fn noexec(case: &Case<'_>) -> Verdict {
    let store: &Place = &case.facts.places.store;
    if !store.noexec {
        return Ok("programs can run from the file system of /nix".to_owned());
    }
    let message = "cannot run programs from /nix: its file system is mounted with noexec";
    Err(Failure::new(Code::NoexecTemp, message).with_help("remount it: mount -o remount,exec /nix"))
}

pub(super) fn ids(case: &Case<'_>) -> Verdict {
    if Shape::of(case.facts, case.request) == Shape::SingleUser {
        return Ok("a single-user install has no build users".to_owned());
    }
    ids::choose(case.facts, case.settings).map(|ids| ids.origin)
}

pub(super) fn tools(case: &Case<'_>) -> Verdict {
    let facts = case.facts;
    if facts.selinux.enabled
        && let Some(tool) = facts.selinux.missing_tools.first()
    {
        let message = format!("cannot label /nix for SELinux: `{tool}` is not installed");
        let help = "install policycoreutils, or switch SELinux off";
        return Err(Failure::new(Code::MissingTool, message).with_help(help));
    }
    if Shape::of(facts, case.request) == Shape::SingleUser {
        return Ok("no tools are needed".to_owned());
    }
    let there = |tool: &str| facts.tools.contains(tool);
    let makers: [&[&str]; 3] = [
        &["systemd-sysusers"],
        &["useradd", "groupadd"],
        &["adduser", "addgroup"],
    ];
    let removers: [&[&str]; 2] = [&["userdel", "groupdel"], &["deluser", "delgroup"]];
    let any = |sets: &[&[&str]]| sets.iter().any(|set| set.iter().all(|tool| there(tool)));
    if !any(&makers) {
        return Err(missing(
            "make",
            "systemd-sysusers, useradd with groupadd, adduser with addgroup",
        ));
    }
    if !any(&removers) {
        return Err(missing(
            "take away",
            "userdel with groupdel, deluser with delgroup",
        ));
    }
    Ok("the tools for users and groups are installed".to_owned())
}

fn missing(what: &str, tools: &str) -> Failure {
    let message = format!("cannot {what} the build users: none of {tools} is installed");
    Failure::new(Code::MissingTool, message)
        .with_help("install the package with useradd and userdel (passwd or shadow)")
}

pub(super) fn settings(case: &Case<'_>) -> Verdict {
    match conf::extra(&case.settings.extra_conf) {
        Ok(_) => Ok("the settings for nix.conf are well-formed".to_owned()),
        Err(line) => {
            let message = format!("cannot use [install] extra_conf: `{line}` is not `key = value`");
            let help = "correct it in /etc/nixctl/config.toml";
            Err(Failure::new(Code::BadSettings, message).with_help(help))
        }
    }
}

pub(super) fn clock(case: &Case<'_>) -> Verdict {
    let refuse = |message: String| Err(Failure::new(Code::ClockOff, message));
    match case.facts.clock_skew {
        Some(skew) if skew.abs() > MAX_SKEW_SECONDS => {
            let side = if skew > 0 { "behind" } else { "ahead of" };
            let hours = skew.unsigned_abs() / 3600;
            refuse(format!(
                "cannot trust the clock: it is {hours} h {side} the release server's"
            ))
        }
        _ if case.facts.now < EARLIEST_NOW => {
            refuse("cannot trust the clock: it is set to a day before nixctl was made".to_owned())
        }
        Some(skew) => Ok(format!(
            "the clock is within {} s of the release server's",
            skew.abs()
        )),
        None => Ok("the clock is plausible; no server was asked".to_owned()),
    }
}

pub(super) fn network(case: &Case<'_>) -> Verdict {
    let local = case
        .release
        .is_some_and(|release| matches!(release.source, Source::Path(_)));
    match &case.facts.network {
        Some(failure) if !local && !case.adopts() => Err(failure.clone()),
        _ if local => Ok("the release lies on this machine".to_owned()),
        _ if case.adopts() => Ok("nothing is fetched".to_owned()),
        _ if case.release.is_none() => Ok("the release server was not asked".to_owned()),
        _ => Ok("the release server answers".to_owned()),
    }
}

pub(super) fn release(case: &Case<'_>) -> Verdict {
    let Some(release) = case.release else {
        let needless = case.adopts() || case.other_version().is_some();
        return match needless || case.facts.network.is_some() {
            true => Ok("no release is needed or could be looked at".to_owned()),
            false => Err(Failure::new(
                Code::BadSource,
                "cannot install Nix: no release was found",
            )),
        };
    };
    let (wanted, system) = (&case.facts.system.name, &release.system);
    let foreign_image = matches!(case.facts.system.manager, Manager::Image { .. });
    if wanted == system || foreign_image {
        return Ok(format!("Nix {} for {system}", release.version));
    }
    let message = format!(
        "cannot install Nix {} here: it is for {system}, not {wanted}",
        release.version
    );
    Err(Failure::new(Code::BadSource, message).with_help(format!("name a release for {wanted}")))
}

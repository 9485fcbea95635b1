//! What a Linux machine has after an install, in the order in which it is made.
//!
//! Parents come before what lies in them, and nothing is started before everything it needs is
//! there and labelled: folders, users (the store belongs to their group), the tree below /nix,
//! the release, its registration, the profile, settings, shells, units. Undone backwards, the
//! daemon is stopped first and /nix goes nearly last.

use std::path::PathBuf;

use nixctl_proto::request::InstallRequest;
use nixctl_proto::settings::InstallSettings;

use super::container::Shape;
use super::existing::{Adoption, OWN_PROFILE};
use super::facts::Facts;
use super::files::{NIX_DAEMON_SERVICE, NIX_DAEMON_SOCKET, NIX_DAEMON_TMPFILES};
use super::ids::Ids;
use super::steps::{directory, file, shipped};
use super::{conf, shell};
use crate::engine::Step;
use crate::health::self_test::SelfTest;
use crate::payload::{Archive, Fetch, Release};
use crate::resource::nix_tree::NixTree;
use crate::resource::payload::Payload;
use crate::resource::profile::Profile;
use crate::resource::registration::Registration;
use crate::resource::selinux::Selinux;
use crate::resource::service::Service;
use crate::resource::tmpfiles::Tmpfiles;
use crate::resource::users::BuildUsers;
use crate::resource::{Resource, Undo};

/// Variables for nix-daemon, read by its unit when the file is there.
pub const DAEMON_ENVIRONMENT: &str = "/etc/nix/nix-daemon.env";
/// Name of our SELinux policy module.
pub const SELINUX_MODULE: &str = "nixctl";
/// Socket unit of Nix's daemon.
pub const SOCKET_UNIT: &str = "nix-daemon.socket";
/// Service unit of Nix's daemon.
pub const SERVICE_UNIT: &str = "nix-daemon.service";

/// The steps of an install. `ids` is `None` only for single-user installs.
pub fn install(
    facts: &Facts,
    release: &Release,
    settings: &InstallSettings,
    request: &InstallRequest,
    ids: Option<&Ids>,
) -> Vec<Step> {
    let shape = Shape::of(facts, request);
    let archive = Archive {
        sha256: release.sha256.clone(),
        version: release.version.clone(),
        system: release.system.clone(),
        store_gid: ids.map_or(0, |ids| ids.gid),
    };
    let mut steps = vec![fetch(release, settings)];
    steps.extend(folders(shape));
    steps.extend(ids.map(|ids| users(ids, settings)));
    steps.extend(store(facts, &archive));
    steps.push(Step::Ensure(Resource::NixConf(conf::nix_conf(
        facts, settings, request,
    ))));
    steps.extend(daemon_environment(shape, settings));
    steps.extend(shell::steps(facts));
    steps.extend(service(facts, shape));
    steps.extend(self_test(facts, shape, settings, &archive.sha256));
    steps.push(Step::Discard(archive.path()));
    steps
}

pub(crate) fn fetch(release: &Release, settings: &InstallSettings) -> Step {
    Step::Fetch(Fetch {
        release: release.clone(),
        proxy: settings.proxy.clone(),
        ssl_cert_file: settings.ssl_cert_file.clone(),
    })
}

/// Folders that may be missing on a small system; all stay as they are where they exist.
pub(super) fn folders(shape: Shape) -> Vec<Step> {
    let mut paths = vec!["/etc/nix"];
    if shape.has_units() {
        paths.extend(["/etc/tmpfiles.d", "/etc/systemd", "/etc/systemd/system"]);
    }
    paths
        .into_iter()
        .map(|path| directory(path, 0o755))
        .collect()
}

fn users(ids: &Ids, settings: &InstallSettings) -> Step {
    Step::Ensure(Resource::BuildUsers(BuildUsers {
        group: settings.build_group.clone(),
        gid: ids.gid,
        prefix: settings.build_user_prefix.clone(),
        count: settings.build_user_count,
        uid_base: ids.uid_base,
    }))
}

fn store(facts: &Facts, archive: &Archive) -> Vec<Step> {
    let sha256 = || archive.sha256.clone();
    let tree = Resource::NixTree(NixTree {
        store_gid: archive.store_gid,
        keep: false,
    });
    let kept = facts
        .existing
        .as_ref()
        .is_some_and(|it| it.adoption == Adoption::Natural);
    vec![
        // A store that we left once is ours again, all of it.
        if kept {
            Step::Adopt(tree, Undo::Created)
        } else {
            Step::Ensure(tree)
        },
        Step::Ensure(Resource::Payload(Payload {
            archive: archive.clone(),
        })),
        Step::Ensure(Resource::Registration(Registration { sha256: sha256() })),
        Step::Ensure(Resource::Profile(Profile {
            link: OWN_PROFILE.into(),
            sha256: sha256(),
        })),
    ]
}

/// The proxy for nix-daemon, readable by root alone: it may hold a password.
fn daemon_environment(shape: Shape, settings: &InstallSettings) -> Option<Step> {
    if settings.proxy.is_empty() || !shape.has_units() {
        return None;
    }
    let names = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"];
    let lines: Vec<String> = names
        .iter()
        .map(|name| format!("{name}={}\n", settings.proxy))
        .collect();
    Some(file(DAEMON_ENVIRONMENT, lines.concat(), 0o600))
}

/// Units; labels come before the start, since systemd may not run what is not labelled.
pub(super) fn service(facts: &Facts, shape: Shape) -> Vec<Step> {
    let mut steps = Vec::new();
    if shape.has_units() {
        steps.push(Step::Ensure(Resource::Tmpfiles(Tmpfiles {
            path: NIX_DAEMON_TMPFILES.path.into(),
            content: NIX_DAEMON_TMPFILES.content.to_owned(),
        })));
        steps.push(shipped(NIX_DAEMON_SERVICE, 0o644));
        steps.push(shipped(NIX_DAEMON_SOCKET, 0o644));
    }
    if facts.selinux.enabled {
        let module = SELINUX_MODULE.to_owned();
        steps.push(Step::Ensure(Resource::Selinux(Selinux { module })));
    }
    if shape.has_units() {
        steps.push(Step::Ensure(Resource::Service(units(shape))));
    }
    steps
}

/// Both units enabled, the socket started: the service starts when somebody connects.
pub(super) fn units(shape: Shape) -> Service {
    let start = match shape {
        Shape::Managed => vec![SOCKET_UNIT.to_owned()],
        _ => Vec::new(),
    };
    Service {
        enable: vec![SOCKET_UNIT.to_owned(), SERVICE_UNIT.to_owned()],
        also_stop: if start.is_empty() {
            Vec::new()
        } else {
            vec![SERVICE_UNIT.to_owned()]
        },
        start,
    }
}

pub(crate) fn self_test(
    facts: &Facts,
    shape: Shape,
    settings: &InstallSettings,
    sha256: &str,
) -> Option<Step> {
    let runs = !matches!(shape, Shape::Image | Shape::BareImage);
    runs.then(|| {
        Step::SelfTest(SelfTest {
            sha256: sha256.to_owned(),
            // Only where something starts nix-daemon can be built through it.
            daemon: shape == Shape::Managed,
            shells: facts.shells.clone(),
            seconds: settings.self_test_seconds,
        })
    })
}

/// What the user should know about the choices that were made.
pub fn notes(facts: &Facts, request: &InstallRequest, ids: Option<&Ids>) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(Shape::of(facts, request).note().map(str::to_owned));
    notes.extend(ids.map(|ids| ids.origin.clone()));
    let sandbox = if facts.sandbox.enabled {
        "stays on"
    } else {
        "is switched off"
    };
    notes.push(format!(
        "the build sandbox {sandbox}: {}",
        facts.sandbox.reason
    ));
    let links: Vec<String> = shell::left_alone(facts)
        .iter()
        .map(PathBuf::as_path)
        .map(|p| p.display().to_string())
        .collect();
    if !links.is_empty() {
        notes.push(format!(
            "left alone, because they are links that somebody else manages: {}",
            links.join(", ")
        ));
    }
    notes
}

#[cfg(test)]
#[path = "linux_tests.rs"]
mod tests;

//! Taking over an installation that others made: nothing is reinstalled, everything becomes ours.
//!
//! Parts that are recognised are adopted with the undo data of something we made, so that
//! uninstall takes them off; when the adoption itself fails, each goes back to what it was
//! before. Only what is missing is made: our profile (which points at the Nix that is there),
//! our settings, the hook scripts, and units that are real files instead of links into /nix.

use std::path::{Path, PathBuf};

use nixctl_proto::request::InstallRequest;
use nixctl_proto::settings::InstallSettings;
use sha2::{Digest, Sha256};

use super::container::Shape;
use super::existing::{Adoption, ExistingKind, FoundFile, OWN_PROFILE, Parts};
use super::facts::{Facts, RcState};
use super::files::{NIX_DAEMON_SERVICE, NIX_DAEMON_SOCKET, NIX_DAEMON_TMPFILES};
use super::ids::Ids;
use super::steps::{directory, file, plain_file};
use super::{conf, linux, shell};
use crate::engine::Step;
use crate::payload::files::hex;
use crate::payload::{Archive, MANIFESTS_DIR, Manifest, STATE_DIR};
use crate::resource::block::Block;
use crate::resource::directory::Directory;
use crate::resource::file::{File, SavedFile};
use crate::resource::nix_conf::NixConfUndo;
use crate::resource::nix_tree::NixTree;
use crate::resource::payload::Payload;
use crate::resource::profile::Profile;
use crate::resource::registration::Registration;
use crate::resource::selinux::Selinux;
use crate::resource::service::ServiceUndo;
use crate::resource::users::{BuildUsers, UsersUndo};
use crate::resource::{Resource, Undo};

/// Parts of the installation that can be taken over, when there is one.
pub fn parts(facts: &Facts) -> Option<&Parts> {
    match &facts.existing.as_ref()?.adoption {
        Adoption::Safe(parts) => Some(parts),
        Adoption::Natural | Adoption::Unsafe { .. } => None,
    }
}

/// The key of the manifest that stands for an adopted Nix: no archive of it was ever seen.
pub fn manifest_key(nix: &str) -> String {
    hex(&Sha256::digest(nix.as_bytes()))
}

/// The steps of an adoption.
pub fn adopt(
    facts: &Facts,
    parts: &Parts,
    settings: &InstallSettings,
    request: &InstallRequest,
    ids: &Ids,
) -> Vec<Step> {
    let shape = Shape::of(facts, request);
    let key = manifest_key(&parts.nix);
    let mut steps = vec![adopted_folder("/etc/nix")];
    steps.extend(
        linux::folders(shape)
            .into_iter()
            .filter(|step| !is_folder(step, "/etc/nix")),
    );
    steps.push(users(facts, settings, ids));
    steps.extend(store(facts, parts, ids, &key));
    steps.push(nix_conf(parts, facts, settings, request));
    steps.extend(start_up_files(facts, parts));
    steps.extend(shell::steps(facts));
    steps.extend(units(facts, parts, shape));
    if facts
        .existing
        .as_ref()
        .is_some_and(|it| it.kind == ExistingKind::Own)
    {
        steps = steps
            .into_iter()
            .map(|step| made_by_us(facts, step))
            .collect();
    }
    steps.extend(linux::self_test(facts, shape, settings, &key));
    steps
}

/// Files and blocks of an install of ours whose record was lost: what is there is taken off at the
/// end, as if the record were there.
fn made_by_us(facts: &Facts, step: Step) -> Step {
    match step {
        Step::Ensure(Resource::Block(block)) => {
            let undo = block_undo(facts, &block.path, &block.text);
            Step::Adopt(Resource::Block(block), undo)
        }
        Step::Ensure(it @ (Resource::File(_) | Resource::Tmpfiles(_) | Resource::Selinux(_))) => {
            Step::Adopt(it, Undo::Created)
        }
        other => other,
    }
}

/// What the user should know.
pub fn notes(parts: &Parts) -> Vec<String> {
    vec![
        format!(
            "Nix {} at {} is taken over as it is; nothing is reinstalled",
            parts.version, parts.nix
        ),
        "an uninstall will take off the whole of /nix, its build users and its units".to_owned(),
        "channels and profiles in home folders stay with their users".to_owned(),
    ]
}

fn adopted_folder(path: &str) -> Step {
    let path = PathBuf::from(path);
    let folder = Directory {
        path,
        mode: 0o755,
        uid: 0,
        gid: 0,
        lenient: true,
    };
    Step::Adopt(Resource::Directory(folder), Undo::Created)
}

fn is_folder(step: &Step, path: &str) -> bool {
    matches!(step, Step::Ensure(Resource::Directory(it)) if it.path == Path::new(path))
}

/// Users that exist are taken over, as many as there are: others are not made.
fn users(facts: &Facts, settings: &InstallSettings, ids: &Ids) -> Step {
    let there = (1..)
        .take_while(|number| facts.build_users.users.contains_key(number))
        .count();
    let count = u32::try_from(there).unwrap_or(0).max(1);
    let users = (1..=count).map(|number| format!("{}{number}", settings.build_user_prefix));
    let undo = UsersUndo {
        users: users.collect(),
        members: Vec::new(),
        group: true,
    };
    let resource = BuildUsers {
        group: settings.build_group.clone(),
        gid: ids.gid,
        prefix: settings.build_user_prefix.clone(),
        count,
        uid_base: ids.uid_base,
    };
    Step::Adopt(Resource::BuildUsers(resource), Undo::Users(undo))
}

/// The tree, its Nix under a manifest of its own, and our profile for it.
fn store(facts: &Facts, parts: &Parts, ids: &Ids, key: &str) -> Vec<Step> {
    let archive = Archive {
        sha256: key.to_owned(),
        version: parts.version.clone(),
        system: facts.system.name.clone(),
        store_gid: ids.gid,
    };
    let paths = [Some(&parts.nix), parts.cacert.as_ref()];
    let manifest = Manifest {
        version: parts.version.clone(),
        nix: parts.nix.clone(),
        cacert: parts.cacert.clone(),
        paths: paths.into_iter().flatten().cloned().collect(),
        reginfo: String::new(),
        unpacked_bytes: 0,
        unpacked_inodes: 0,
    };
    // Plain data cannot fail to be written as JSON.
    let manifest = serde_json::to_string(&manifest).unwrap_or_default();
    let sha256 = || key.to_owned();
    vec![
        Step::Adopt(
            Resource::NixTree(NixTree {
                store_gid: ids.gid,
                keep: false,
            }),
            Undo::Created,
        ),
        directory(STATE_DIR, 0o700),
        directory(MANIFESTS_DIR, 0o700),
        file(
            Path::new(MANIFESTS_DIR).join(format!("{key}.json")),
            manifest,
            0o600,
        ),
        // The tree takes everything with it; these two say what it is, for checks.
        Step::Adopt(Resource::Payload(Payload { archive }), Undo::Nothing),
        Step::Adopt(
            Resource::Registration(Registration { sha256: sha256() }),
            Undo::Nothing,
        ),
        Step::Ensure(Resource::Profile(Profile {
            link: OWN_PROFILE.into(),
            sha256: sha256(),
        })),
    ]
}

/// Settings that are missing are added; the installer's lines are taken off with ours.
fn nix_conf(
    parts: &Parts,
    facts: &Facts,
    settings: &InstallSettings,
    request: &InstallRequest,
) -> Step {
    let conf = Resource::NixConf(conf::nix_conf(facts, settings, request));
    let undo = NixConfUndo {
        created: true,
        added: parts.conf_lines.clone(),
    };
    Step::Adopt(conf, Undo::NixConf(undo))
}

fn start_up_files(facts: &Facts, parts: &Parts) -> Vec<Step> {
    let blocks = parts.blocks.iter().map(|(path, text)| {
        let block = Block {
            path: path.clone(),
            text: text.clone(),
            create: false,
        };
        Step::Adopt(Resource::Block(block), block_undo(facts, path, text))
    });
    blocks
        .chain(parts.backups.iter().map(adopted_file))
        .collect()
}

/// A file with nothing but the block was made for it; any other was there before.
fn block_undo(facts: &Facts, path: &Path, block: &str) -> Undo {
    let rest = facts
        .rc_files
        .iter()
        .find(|rc| rc.path == path)
        .map(|rc| match &rc.state {
            RcState::Regular(text) => text.replacen(block, "", 1),
            RcState::Absent { .. } | RcState::Link(_) => String::new(),
        });
    match rest {
        Some(rest) if !rest.is_empty() => Undo::File(SavedFile::Regular {
            content: rest.into_bytes(),
            mode: 0o644,
            uid: 0,
            gid: 0,
        }),
        _ => Undo::Created,
    }
}

fn adopted_file(found: &FoundFile) -> Step {
    let file = File {
        path: found.path.clone(),
        content: found.content.clone(),
        mode: found.mode,
        uid: found.uid,
        gid: found.gid,
        replace: false,
    };
    Step::Adopt(Resource::File(file), Undo::Created)
}

/// Real files in place of links into /nix; what was there is not put back by an uninstall.
fn units(facts: &Facts, parts: &Parts, shape: Shape) -> Vec<Step> {
    let replaced = [NIX_DAEMON_TMPFILES, NIX_DAEMON_SERVICE, NIX_DAEMON_SOCKET].map(|shipped| {
        let file = File {
            replace: true,
            ..plain_file(shipped.path, shipped.content, 0o644)
        };
        Step::Adopt(Resource::File(file), Undo::Created)
    });
    let mut folders: Vec<&Path> = parts
        .drop_ins
        .iter()
        .filter_map(|it| it.path.parent())
        .collect();
    folders.dedup();
    let mut steps: Vec<Step> = replaced.into();
    steps.extend(
        folders
            .iter()
            .filter_map(|path| path.to_str())
            .map(adopted_folder),
    );
    steps.extend(parts.drop_ins.iter().map(adopted_file));
    if facts.selinux.enabled {
        let module = linux::SELINUX_MODULE.to_owned();
        steps.push(Step::Ensure(Resource::Selinux(Selinux { module })));
    }
    let undo = ServiceUndo {
        enabled: Vec::new(),
        active: Vec::new(),
    };
    steps.push(Step::Adopt(
        Resource::Service(linux::units(shape)),
        Undo::Service(undo),
    ));
    steps
}

#[cfg(test)]
#[path = "adopt_tests.rs"]
mod tests;

use super::*;
use crate::catalogue::existing::{Existing, ExistingKind};
use crate::catalogue::facts::RcState;
use crate::catalogue::files::{BLOCK_SH, common_part, own_part};

const NIX: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-2.20.1";

fn found(path: &str) -> FoundFile {
    FoundFile {
        path: path.into(),
        content: "x\n".to_owned(),
        mode: 0o644,
        uid: 0,
        gid: 0,
    }
}

fn facts() -> Facts {
    let block = common_part(BLOCK_SH).to_owned();
    let parts = Parts {
        nix: NIX.to_owned(),
        version: "2.20.1".to_owned(),
        blocks: vec![("/etc/bash.bashrc".into(), block.clone())],
        backups: vec![found("/etc/bash.bashrc.backup-before-nix")],
        conf_lines: vec!["build-users-group = nixbld".to_owned()],
        drop_ins: vec![found(
            "/etc/systemd/system/nix-daemon.service.d/override.conf",
        )],
        ..Parts::default()
    };
    let mut facts = Facts::plain_debian();
    facts.rc_files[1].state = RcState::Regular(format!("{block}rest\n"));
    facts.build_users.gid = Some(30_000);
    facts.build_users.users = (1..=32).map(|number| (number, 30_000 + number)).collect();
    facts.existing = Some(Existing {
        kind: ExistingKind::MultiUserScript,
        version: Some("2.20.1".to_owned()),
        store_path: Some(NIX.to_owned()),
        seen: Vec::new(),
        adoption: Adoption::Safe(Box::new(parts)),
    });
    facts
}

fn steps() -> Vec<Step> {
    let facts = facts();
    let ids = Ids {
        gid: 30_000,
        uid_base: 30_000,
        origin: String::new(),
    };
    let settings = InstallSettings::default();
    let request = InstallRequest {
        adopt: true,
        ..InstallRequest::default()
    };
    adopt(&facts, parts(&facts).unwrap(), &settings, &request, &ids)
}

fn adopted(steps: &[Step], wanted: impl Fn(&Resource) -> bool) -> Option<&Undo> {
    steps.iter().find_map(|step| match step {
        Step::Adopt(resource, undo) if wanted(resource) => Some(undo),
        _ => None,
    })
}

#[test]
fn nothing_is_fetched_or_unpacked_and_the_result_is_tested() {
    let steps = steps();
    assert!(!steps.iter().any(|step| matches!(
        step,
        Step::Fetch(_) | Step::Discard(_) | Step::Remove(..) | Step::Ensure(Resource::Payload(_))
    )));
    assert!(matches!(steps.last(), Some(Step::SelfTest(test)) if test.daemon));
}

#[test]
fn recognised_parts_are_owned_as_if_we_had_made_them() {
    let steps = steps();
    assert_eq!(
        adopted(&steps, |r| matches!(r, Resource::NixTree(_))),
        Some(&Undo::Created)
    );
    let users = adopted(
        &steps,
        |r| matches!(r, Resource::BuildUsers(it) if it.count == 32),
    );
    assert!(matches!(users, Some(Undo::Users(undo)) if undo.users.len() == 32 && undo.group));
    let conf = adopted(&steps, |r| matches!(r, Resource::NixConf(_)));
    assert!(
        matches!(conf, Some(Undo::NixConf(undo)) if undo.added == ["build-users-group = nixbld"])
    );
    for path in [
        "/etc/bash.bashrc.backup-before-nix",
        "/etc/systemd/system/nix-daemon.service.d/override.conf",
        "/etc/systemd/system/nix-daemon.service",
        "/etc/systemd/system/nix-daemon.socket",
        "/etc/tmpfiles.d/nix-daemon.conf",
    ] {
        let undo = adopted(
            &steps,
            |r| matches!(r, Resource::File(it) if it.path == Path::new(path)),
        );
        assert_eq!(undo, Some(&Undo::Created), "{path}");
    }
    let block = adopted(
        &steps,
        |r| matches!(r, Resource::Block(it) if it.text == common_part(BLOCK_SH)),
    );
    // The file has more lines than the block, so it was there before.
    assert!(
        matches!(block, Some(Undo::File(SavedFile::Regular { content, .. })) if content == b"rest\n")
    );
    let facts = facts();
    assert_eq!(
        block_undo(&facts, Path::new("/etc/profile.d/nix.sh"), "x"),
        Undo::Created
    );
    let service = adopted(&steps, |r| matches!(r, Resource::Service(_)));
    assert!(matches!(service, Some(Undo::Service(undo)) if undo.enabled.is_empty()));
}

#[test]
fn our_own_part_is_added_beside_the_block_that_is_there() {
    let ensured: Vec<(PathBuf, String)> = steps()
        .into_iter()
        .filter_map(|step| match step {
            Step::Ensure(Resource::Block(it)) => Some((it.path, it.text)),
            _ => None,
        })
        .collect();
    assert_eq!(
        ensured[1],
        ("/etc/bash.bashrc".into(), own_part(BLOCK_SH).to_owned())
    );
}

#[test]
fn links_into_the_store_are_replaced_by_real_files() {
    let replaced = steps()
        .iter()
        .filter(|step| matches!(step, Step::Adopt(Resource::File(it), _) if it.replace))
        .count();
    assert_eq!(replaced, 3);
}

#[test]
fn a_manifest_stands_for_the_nix_that_is_there() {
    let steps = steps();
    let key = manifest_key(NIX);
    assert_eq!(key.len(), 64);
    let path = format!("/var/lib/nixctl/releases/{key}.json");
    let at = |wanted: &dyn Fn(&Step) -> bool| steps.iter().position(wanted).unwrap();
    let file =
        at(&|step| matches!(step, Step::Ensure(Resource::File(it)) if it.path == Path::new(&path)));
    let Step::Ensure(Resource::File(content)) = &steps[file] else {
        panic!()
    };
    let manifest: Manifest = serde_json::from_str(&content.content).unwrap();
    assert_eq!(
        (manifest.nix.as_str(), manifest.paths),
        (NIX, vec![NIX.to_owned()])
    );
    let profile =
        at(&|step| matches!(step, Step::Ensure(Resource::Profile(it)) if it.sha256 == key));
    let tree = at(&|step| matches!(step, Step::Adopt(Resource::NixTree(_), _)));
    assert!(file < profile && tree < profile);
    assert_ne!(key, manifest_key("/nix/store/other"));
}

#[test]
fn only_a_safe_installation_has_parts() {
    let mut facts = facts();
    assert!(parts(&facts).is_some());
    if let Some(existing) = &mut facts.existing {
        existing.adoption = Adoption::Natural;
    }
    assert!(parts(&facts).is_none());
    assert!(parts(&Facts::plain_debian()).is_none());
}

#[test]
fn lines_that_are_added_go_together_with_those_that_were_there() {
    let steps = steps();
    let conf = steps
        .iter()
        .find(|step| matches!(step, Step::Adopt(Resource::NixConf(_), _)));
    let ours = NixConfUndo {
        created: false,
        added: vec!["max-jobs = auto".to_owned()],
    };
    let Undo::NixConf(undo) = conf.unwrap().owned_undo(&Undo::NixConf(ours)) else {
        panic!()
    };
    assert!(undo.created);
    assert_eq!(
        undo.added,
        ["build-users-group = nixbld", "max-jobs = auto"]
    );
    // Where nothing had to be added, what was there still becomes ours.
    let Undo::NixConf(undo) = conf.unwrap().owned_undo(&Undo::Nothing) else {
        panic!()
    };
    assert_eq!(undo.added, ["build-users-group = nixbld"]);
    let tree = steps
        .iter()
        .find(|step| matches!(step, Step::Adopt(Resource::NixTree(_), _)));
    assert_eq!(tree.unwrap().owned_undo(&Undo::Nothing), Undo::Created);
}

#[test]
fn no_two_steps_share_a_name_in_the_journal() {
    let mut paths: Vec<String> = steps()
        .iter()
        .filter_map(|step| match step {
            Step::Ensure(resource) | Step::Adopt(resource, _) => Some(match resource {
                Resource::Directory(it) => format!("directory {}", it.path.display()),
                Resource::File(it) => format!("file {}", it.path.display()),
                Resource::Block(it) => {
                    let own = it.text.starts_with("# nixctl");
                    format!("block {} {own}", it.path.display())
                }
                Resource::NixConf(_) => "nix.conf".to_owned(),
                _ => return None,
            }),
            _ => None,
        })
        .collect();
    let all = paths.len();
    paths.sort();
    paths.dedup();
    assert_eq!(paths.len(), all);
}

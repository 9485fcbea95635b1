use super::super::testing::{at, expect_one, ids};
use super::*;
use crate::catalogue::facts::IdRange;
use crate::health::judge::Cure;
use crate::health::look::At;
use crate::host::fs::{Kind, Meta};
use crate::resource::nix_conf::NixConf;

fn setting(key: &str, value: &str) -> Setting {
    Setting {
        file: NIX_CONF.into(),
        line: format!("{key} = {value}"),
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn healthy() -> ConfFacts {
    let conf = NixConf {
        settings: Vec::new(),
        includes: Vec::new(),
    };
    ConfFacts {
        at: at(NIX_CONF, Kind::File, 0o644),
        settings: vec![
            setting("build-users-group", "nixbld"),
            setting("max-jobs", "auto"),
        ],
        wrong: Vec::new(),
        lost_includes: Vec::new(),
        lost_files: Vec::new(),
        bundle: Some("/etc/ssl/certs/ca-certificates.crt".into()),
        ours: Some((conf, Presence::Present)),
        group: Some("nixbld".to_owned()),
        folder: At {
            path: "/etc/nix".into(),
            meta: None,
            target: None,
        },
        is_lost_link: false,
        has_service: true,
        uid_map: vec![IdRange {
            first: 0,
            count: u32::MAX,
        }],
        refusal: None,
        unknown: Vec::new(),
    }
}

fn with(change: impl FnOnce(&mut ConfFacts)) -> Vec<Found> {
    let mut facts = healthy();
    change(&mut facts);
    judge(&facts)
}

fn wrong(line: &str) -> WrongLine {
    WrongLine {
        file: NIX_CONF.into(),
        number: 3,
        line: line.to_owned(),
    }
}

#[test]
fn a_group_that_is_set_twice_is_told() {
    let found = with(|facts| {
        let other = setting("build-users-group", "others");
        facts.settings.insert(0, other);
    });
    assert_eq!(ids(&found), ["conf.wrong-group build-users-group"]);
    assert_eq!(found[0].severity, Severity::Warning);
    let twice = with(|facts| facts.settings.push(setting("build-users-group", "nixbld")));
    assert_eq!(twice, []);
}

fn lost(key: &str) -> (Setting, std::path::PathBuf) {
    (setting(key, "/gone"), "/gone".into())
}

#[test]
fn a_healthy_machine_has_no_finding() {
    assert_eq!(judge(&healthy()), []);
    // A link is managed by somebody else; a machine with room for the ids may allocate them.
    assert_eq!(
        with(|facts| facts.at.target = Some("/etc/static/x".into())),
        []
    );
    let found = with(|facts| facts.settings.push(setting("auto-allocate-uids", "true")));
    assert_eq!(found, []);
    assert_eq!(with(|facts| facts.settings.clear()), []);
}

#[test]
fn what_is_wrong_is_named() {
    type Change = fn(&mut ConfFacts);
    let table: [(Change, &str, usize); 13] = [
        (
            |facts| facts.at.meta.as_mut().unwrap().mode = 0o600,
            "conf.unreadable /etc/nix/nix.conf",
            0,
        ),
        (
            |facts| facts.wrong = vec![wrong("a=b")],
            "conf.syntax /etc/nix/nix.conf:3",
            1,
        ),
        (
            |facts| facts.lost_includes = vec![wrong("include x")],
            "conf.include-missing /etc/nix/nix.conf:3",
            1,
        ),
        (
            |facts| facts.lost_files = vec![lost("ssl-cert-file")],
            "conf.missing-ca ssl-cert-file /gone",
            1,
        ),
        (
            |facts| facts.lost_files = vec![lost("post-build-hook")],
            "conf.hook-missing post-build-hook /gone",
            2,
        ),
        (
            |facts| facts.lost_files = vec![lost("netrc-file")],
            "conf.netrc-missing netrc-file /gone",
            0,
        ),
        (
            |facts| facts.lost_files = vec![lost("secret-key-files")],
            "conf.key-missing secret-key-files /gone",
            2,
        ),
        (
            |facts| facts.settings.push(setting("build-users-group", "others")),
            "conf.wrong-group build-users-group",
            2,
        ),
        (
            |facts| {
                facts.settings.push(setting("auto-allocate-uids", "true"));
                facts.uid_map[0].count = 65536;
            },
            "conf.breaking auto-allocate-uids",
            0,
        ),
        (
            |facts| facts.settings.push(setting("max-jobs", "0")),
            "conf.breaking max-jobs",
            0,
        ),
        (
            |facts| facts.ours.as_mut().unwrap().1 = Presence::Absent,
            "conf.settings-missing /etc/nix/nix.conf",
            1,
        ),
        (
            |facts| facts.unknown = vec!["coresx".to_owned()],
            "conf.unknown-setting coresx",
            0,
        ),
        (
            |facts| facts.refusal = Some("no".to_owned()),
            "conf.refused /etc/nix/nix.conf",
            0,
        ),
    ];
    for (change, expected, cures) in table {
        let found = with(change);
        expect_one(&found, expected, cures);
    }
}

#[test]
fn a_bundle_that_is_there_takes_the_place_of_one_that_is_not() {
    let found = with(|facts| facts.lost_files = vec![lost("ssl-cert-file")]);
    let [Cure::Mend(Mend::ConfLine(it))] = &found[0].cures[..] else {
        panic!()
    };
    assert_eq!(
        it.instead,
        ["ssl-cert-file = /etc/ssl/certs/ca-certificates.crt"]
    );
    let found = with(|facts| {
        facts.lost_files = vec![lost("ssl-cert-file")];
        facts.bundle = None;
    });
    assert!(found[0].cures.is_empty() && !found[0].help.is_empty());
}

#[test]
fn what_others_manage_is_not_written_to() {
    let found = with(|facts| {
        facts.at.target = Some("/etc/static/nix/nix.conf".into());
        facts.lost_files = vec![lost("post-build-hook")];
    });
    assert!(found[0].cures.is_empty() && found[0].help.contains("a link"));
}

#[test]
fn what_nix_says_counts_only_where_nothing_else_explains_it() {
    let found = with(|facts| {
        facts.wrong = vec![wrong("a=b")];
        facts.refusal = Some("syntax error".to_owned());
    });
    assert_eq!(ids(&found), ["conf.syntax /etc/nix/nix.conf:3"]);
}

#[test]
fn a_setting_whose_value_nix_names_is_taken_out_when_asked() {
    let found = with(|facts| {
        facts.settings.push(setting("cores", "many"));
        facts.refusal = Some("setting 'cores' has invalid value 'many'".to_owned());
    });
    assert_eq!(ids(&found), ["conf.refused /etc/nix/nix.conf"]);
    let line = |cure: &Cure| match cure {
        Cure::Mend(Mend::ConfLine(it)) => Some(it.line.clone()),
        _ => None,
    };
    assert_eq!(line(&found[0].cures[0]).as_deref(), Some("cores = many"));
    for why in [
        "cannot open the store",
        "setting 'gone' has invalid value 'x'",
    ] {
        let found = with(|facts| facts.refusal = Some(why.to_owned()));
        assert!(
            found[0].cures.is_empty() && !found[0].help.is_empty(),
            "{why}"
        );
    }
}

#[test]
fn a_daemon_that_is_a_service_is_started_with_the_new_settings() {
    let group = |facts: &mut ConfFacts| facts.settings.push(setting("build-users-group", ""));
    let hook = |facts: &mut ConfFacts| {
        let setting = setting("post-build-hook", "/gone");
        facts.lost_files = vec![(setting, "/gone".into())];
    };
    let restart = Cure::Mend(Mend::Restart(Restart {
        unit: SERVICE_UNIT.to_owned(),
    }));
    for change in [&group as &dyn Fn(&mut ConfFacts), &hook] {
        let found = with(change);
        assert_eq!(
            found[0].cures.get(1..),
            Some(std::slice::from_ref(&restart))
        );
        let found = with(|facts| {
            change(facts);
            facts.has_service = false;
        });
        assert_eq!(found[0].cures.len(), 1);
    }
}

#[test]
fn a_link_to_nothing_is_set_aside_and_our_settings_written() {
    let found = with(|facts| {
        facts.at.target = Some("/etc/static/nix/nix.conf".into());
        facts.is_lost_link = true;
        facts.settings.clear();
    });
    assert_eq!(ids(&found), ["conf.unreadable /etc/nix/nix.conf"]);
    assert!(matches!(
        &found[0].cures[..],
        [Cure::SetAside(path), Cure::Ensure(_)] if path == Path::new(NIX_CONF)
    ));
}

#[test]
fn a_folder_that_is_closed_to_others_is_opened_when_asked() {
    let folder = |mode| {
        with(|facts| {
            let meta = facts.at.meta.unwrap();
            facts.folder.meta = Some(Meta {
                kind: Kind::Directory,
                mode,
                ..meta
            });
        })
    };
    assert_eq!(folder(0o755), []);
    let found = folder(0o700);
    assert_eq!(ids(&found), ["conf.unreadable /etc/nix"]);
    assert!(matches!(
        &found[0].cures[..],
        [Cure::Mend(Mend::Rights(it))] if it.mode == 0o755
    ));
}

use super::*;

fn programs() -> Vec<Source> {
    ["nixctl", "nixctld"]
        .map(|name| Source {
            name,
            from: Path::new("/src").join(name),
            sha256: "ab".repeat(32),
        })
        .into()
}

fn paths(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .filter_map(|step| match step {
            Step::Ensure(Resource::File(it)) => Some(it.path.display().to_string()),
            Step::Ensure(Resource::Program(it)) => Some(it.path.display().to_string()),
            _ => None,
        })
        .collect()
}

#[test]
fn a_plain_machine_gets_programs_bus_polkit_and_units() {
    let steps = install(&Facts::plain_debian(), &programs());
    assert_eq!(
        paths(&steps),
        [
            "/usr/local/bin/nixctl",
            "/usr/local/bin/nixctld",
            "/etc/sysusers.d/nixctl.conf",
            "/etc/dbus-1/system.d/org.nixctl1.conf",
            "/usr/share/dbus-1/system-services/org.nixctl1.service",
            "/usr/share/polkit-1/actions/org.nixctl1.policy",
            "/usr/share/polkit-1/rules.d/50-nixctl.rules",
            "/etc/systemd/system/nixctld.service",
            "/etc/systemd/system/nixctld.socket",
        ]
    );
    let Some(Step::Ensure(Resource::Service(service))) = steps.last() else {
        panic!("no service")
    };
    assert_eq!(service.enable, UNITS);
    assert_eq!(service.start, UNITS);
}

#[test]
fn read_only_places_are_gone_around() {
    let mut facts = Facts::plain_debian();
    facts.places.programs.read_only = true;
    facts.places.share.read_only = true;
    let listed = paths(&install(&facts, &programs()));
    for path in [
        "/opt/nixctl/bin/nixctld",
        "/usr/local/share/dbus-1/system-services/org.nixctl1.service",
        "/etc/polkit-1/actions/org.nixctl1.policy",
        "/etc/polkit-1/rules.d/50-nixctl.rules",
        "/etc/systemd/system/nixctld.service.d/program.conf",
    ] {
        assert!(listed.contains(&path.to_owned()), "{path} in {listed:?}");
    }
    assert!(
        !listed
            .iter()
            .any(|path| path.starts_with("/usr/share") || path.starts_with("/usr/local/bin"))
    );
}

#[test]
fn parents_come_before_what_lies_in_them() {
    let mut facts = Facts::plain_debian();
    for read_only in [false, true] {
        facts.places.programs.read_only = read_only;
        facts.places.share.read_only = read_only;
        let mut made: Vec<PathBuf> = vec!["/etc/systemd/system".into(), "/etc".into()];
        for step in install(&facts, &programs()) {
            let (path, is_folder) = match step {
                Step::Ensure(Resource::Directory(it)) => (it.path, true),
                Step::Ensure(Resource::File(it)) => (it.path, false),
                Step::Ensure(Resource::Program(it)) => (it.path, false),
                _ => continue,
            };
            let parent = path.parent().unwrap();
            let base = [
                "/",
                "/usr",
                "/usr/share",
                "/usr/local",
                "/usr/local/share",
                "/etc",
            ];
            let there = base.iter().any(|it| Path::new(it) == parent);
            assert!(
                there || made.contains(&parent.to_owned()),
                "{}",
                path.display()
            );
            if is_folder {
                assert!(!made.contains(&path), "{} twice", path.display());
                made.push(path);
            }
        }
    }
}

#[test]
fn without_systemd_there_are_programs_and_the_group_only() {
    let mut facts = Facts::plain_debian();
    facts.system.manager = Manager::None;
    let steps = install(&facts, &programs());
    assert_eq!(paths(&steps).len(), 2);
    assert!(
        matches!(steps.last(), Some(Step::Ensure(Resource::Group(group))) if group.name == "nixctl")
    );
}

#[test]
fn an_image_is_enabled_but_not_started() {
    let mut facts = Facts::plain_debian();
    facts.system.manager = Manager::Image { systemd: true };
    let steps = install(&facts, &programs());
    let Some(Step::Ensure(Resource::Service(service))) = steps.last() else {
        panic!("no service")
    };
    assert_eq!((service.enable.len(), service.start.len()), (2, 0));
}

#[test]
fn every_step_of_the_daemon_and_none_of_nix_is_its_own() {
    let mut facts = Facts::plain_debian();
    facts.fish_dir = true;
    for read_only in [false, true] {
        facts.places.programs.read_only = read_only;
        facts.places.share.read_only = read_only;
        for step in install(&facts, &programs()) {
            let Step::Ensure(resource) = step else {
                panic!("{step:?}")
            };
            assert!(is_own(&resource), "{resource:?}");
        }
    }
    let release = crate::payload::Release {
        source: crate::payload::Source::Path("/x".into()),
        sha256: "ab".repeat(32),
        size: None,
        version: "2".to_owned(),
        system: "x86_64-linux".to_owned(),
    };
    let ids = crate::catalogue::ids::Ids {
        gid: 1,
        uid_base: 1,
        origin: String::new(),
    };
    let (request, settings) = (Default::default(), Default::default());
    for step in crate::catalogue::linux::install(&facts, &release, &settings, &request, Some(&ids))
    {
        if let Step::Ensure(resource) = step {
            assert!(!is_own(&resource), "{resource:?}");
        }
    }
}

use super::*;

fn target(path: &str, area: &str, inside: bool) -> Target {
    Target {
        path: path.into(),
        area: area.into(),
        inside,
        counts: Counts::Content,
    }
}

fn there<'a>(folders: &'a [&str], links: &'a [&str]) -> impl Fn(&Path) -> There + 'a {
    move |path| match path {
        path if folders.iter().any(|it| Path::new(it) == path) => There::Folder,
        path if path.extension().is_some() => There::File,
        path if links.iter().any(|it| Path::new(it) == path) => There::Link,
        _ => There::No,
    }
}

fn folders(plan: &Plan) -> Vec<String> {
    let shown = |path: PathBuf| path.display().to_string();
    plan.paths().into_keys().map(shown).collect()
}

#[test]
fn the_nearest_folder_is_watched() {
    let conf = target("/etc/nix/nix.conf", "conf", false);
    let dropins = target("/etc/systemd/system/a.service.d", "daemon", true);
    for (there, target, watched) in [
        (
            there(&["/", "/etc", "/etc/nix"], &[]),
            &conf,
            vec!["/etc/nix", "/etc/nix/nix.conf"],
        ),
        (there(&["/", "/etc"], &[]), &conf, vec!["/etc"]),
        (there(&["/"], &[]), &conf, vec!["/"]),
        (there(&[], &[]), &conf, vec![]),
        (
            there(&["/", "/etc"], &["/etc/nix"]),
            &conf,
            vec!["/etc", "/etc/nix", "/etc/nix/nix.conf"],
        ),
        (there(&["/", "/etc"], &[]), &dropins, vec!["/etc"]),
        (
            there(
                &[
                    "/",
                    "/etc",
                    "/etc/systemd",
                    "/etc/systemd/system",
                    "/etc/systemd/system/a.service.d",
                ],
                &[],
            ),
            &dropins,
            vec!["/etc/systemd/system/a.service.d"],
        ),
    ] {
        let plan = Plan::of(std::slice::from_ref(target), &there);
        assert_eq!(folders(&plan), watched, "{target:?}");
    }
}

#[test]
fn only_what_was_asked_for_means_something() {
    let targets = [
        target("/etc/nix/nix.conf", "conf", false),
        target("/etc/profile", "shell", false),
        Target {
            counts: Counts::Being,
            ..target("/etc/group", "accounts", false)
        },
        target("/etc/nix/lost/file", "tls", false),
        target("/run/d", "own", true),
    ];
    let there = there(&["/", "/etc", "/etc/nix", "/run", "/run/d"], &[]);
    let plan = Plan::of(&targets, &there);
    assert_eq!(plan.areas().len(), 5);
    for (path, what, areas, rearm) in [
        ("/etc/nix/nix.conf", Counts::Content, "conf", false),
        ("/etc/nix/nix.conf", Counts::Being, "conf", true),
        ("/etc/nix/other", Counts::Being, "", false),
        ("/etc/passwd", Counts::Being, "", false),
        ("/etc/group", Counts::Being, "accounts", false),
        ("/etc/group", Counts::Rights, "", false),
        ("/etc/profile", Counts::Being, "shell", true),
        ("/etc/profile", Counts::Rights, "shell", false),
        ("/etc/nix/lost", Counts::Rights, "tls", false),
        ("/etc/nix/lost", Counts::Being, "tls", true),
        ("/etc/nix", Counts::Being, "conf tls", true),
        ("/etc", Counts::Being, "accounts conf shell tls", true),
        ("/etc/nix", Counts::Content, "", false),
        ("/run/d/anything", Counts::Content, "own", false),
        ("/run/d/anything", Counts::Being, "own", false),
        ("/run/d", Counts::Rights, "own", false),
        ("/run/d", Counts::Being, "own", true),
        ("/elsewhere", Counts::Being, "", false),
    ] {
        let meaning = plan.meaning(Path::new(path), what);
        let found: Vec<&str> = meaning.areas.iter().map(String::as_str).collect();
        assert_eq!(found.join(" "), areas, "{path} {what:?}");
        assert_eq!(meaning.rearm, rearm, "{path} {what:?}");
        assert_eq!(meaning.is_empty(), areas.is_empty(), "{path} {what:?}");
    }
}

#[test]
fn neighbours_are_not_heard() {
    let counting = |path: &str, counts| Target {
        counts,
        ..target(path, "own", false)
    };
    let there = there(&["/", "/etc", "/nix", "/nix/var"], &[]);
    for (targets, heard) in [
        (
            vec![counting("/etc/a.conf", Counts::Content)],
            vec![("/etc", Counts::Being), ("/etc/a.conf", Counts::Content)],
        ),
        (
            vec![counting("/etc/a.conf", Counts::Being)],
            vec![("/etc", Counts::Being)],
        ),
        // What is not there yet is watched itself as soon as it is.
        (
            vec![counting("/etc/lost", Counts::Content)],
            vec![("/etc", Counts::Being)],
        ),
        (
            vec![counting("/nix/var", Counts::Content)],
            vec![("/nix", Counts::Rights)],
        ),
        // The root of a mount tells only itself, in whichever order they come.
        (
            vec![
                counting("/nix", Counts::Rights),
                counting("/nix/var", Counts::Being),
            ],
            vec![("/", Counts::Rights), ("/nix", Counts::Rights)],
        ),
    ] {
        let plan = Plan::of(&targets, &there);
        let expected = heard
            .into_iter()
            .map(|(path, it)| (PathBuf::from(path), it));
        assert_eq!(plan.paths(), expected.collect(), "{targets:?}");
    }
}

#[test]
fn a_link_that_leads_elsewhere_now_makes_watches_below_it_stale() {
    let there = there(&["/", "/p", "/p/link/etc"], &["/p/link"]);
    let plan = Plan::of(&[target("/p/link/etc/conf", "conf", false)], &there);
    assert_eq!(folders(&plan), ["/p", "/p/link/etc"]);
    let meaning = plan.meaning(Path::new("/p/link"), Counts::Being);
    assert!(meaning.rearm && meaning.areas.contains("conf"));
    assert!(meaning.stale.contains(Path::new("/p/link/etc")));
}

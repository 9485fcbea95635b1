use nixctl_proto::settings::ManagedSettings;

use super::*;
use crate::health::watch::plan::{Plan, There};
use crate::resource::block::Block;
use crate::resource::nix_conf::NixConf;
use crate::resource::nix_tree::NixTree;
use crate::resource::profile::Profile;
use crate::resource::service::Service;
use crate::resource::testing::empty_file;
use crate::resource::users::BuildUsers;

fn owned() -> Vec<Resource> {
    let units = || vec![SOCKET_UNIT.to_owned(), SERVICE_UNIT.to_owned()];
    let file = |path: &str| Resource::File(empty_file(path));
    vec![
        file("/etc/systemd/system/nix-daemon.socket"),
        file("/etc/dbus-1/system.d/org.nixctl1.conf"),
        file("/etc/nix/nixctl.sh"),
        Resource::Block(Block {
            path: "/etc/bash.bashrc".into(),
            text: String::new(),
            create: false,
        }),
        Resource::BuildUsers(BuildUsers {
            group: "nixbld".to_owned(),
            gid: 30000,
            prefix: "nixbld".to_owned(),
            count: 1,
            uid_base: 30000,
        }),
        Resource::NixTree(NixTree {
            store_gid: 0,
            keep: false,
        }),
        Resource::Profile(Profile {
            link: "/nix/var/nix/profiles/nixctl".into(),
            sha256: String::new(),
        }),
        Resource::NixConf(NixConf {
            settings: Vec::new(),
            includes: Vec::new(),
        }),
        Resource::Service(Service {
            enable: units(),
            start: units(),
            also_stop: Vec::new(),
        }),
    ]
}

/// A machine where all is there; what has a dot in its name, or is known to be one, is a file.
fn plan() -> Plan {
    let ground = Ground {
        points: ["/nix".into(), "/nix/var".into()].into(),
        sources: ["/dev/disk/by-uuid/aa-bb".into()].into(),
        includes: ["/etc/nix/more.conf".into()].into(),
        named: ["/root/.netrc".into()].into(),
    };
    let mut settings = Settings::default();
    settings.managed.push(ManagedSettings {
        path: "/root/.aws/credentials".to_owned(),
        source: Some("/etc/secret/aws".to_owned()),
        ..ManagedSettings::default()
    });
    let there = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let folder = [".d", ".wants"].iter().any(|end| name.ends_with(end));
        let hidden = matches!(&*name, ".aws" | ".local" | ".config");
        let file = name.contains('.') || matches!(&*name, "passwd" | "group" | "schema" | "fstab");
        match (folder || hidden, file) {
            (true, _) | (false, false) => There::Folder,
            (false, true) => There::File,
        }
    };
    Plan::of(&targets(&owned(), &settings, &ground), &there)
}

fn told(plan: &Plan, path: &str, what: Counts) -> String {
    let meaning = plan.meaning(Path::new(path), what);
    let areas: Vec<&str> = meaning.areas.iter().map(String::as_str).collect();
    areas.join(" ")
}

#[test]
fn what_can_make_or_end_a_finding_is_told() {
    let plan = plan();
    for (path, what, areas) in [
        (
            "/etc/systemd/system/nix-daemon.socket",
            Counts::Being,
            "daemon own",
        ),
        (
            "/etc/systemd/system/nix-daemon.service",
            Counts::Content,
            "daemon",
        ),
        (
            "/run/systemd/system/nix-daemon.service",
            Counts::Being,
            "daemon",
        ),
        (
            "/etc/systemd/system/nix-daemon.service.d/x.conf",
            Counts::Content,
            "daemon",
        ),
        (
            "/etc/systemd/system/sockets.target.wants/nix-daemon.socket",
            Counts::Being,
            "daemon",
        ),
        ("/etc/systemd/system/nix.mount", Counts::Content, "mounts"),
        ("/etc/fstab", Counts::Content, "mounts"),
        ("/dev/disk/by-uuid/aa-bb", Counts::Being, "mounts"),
        ("/etc/nix/nix.conf", Counts::Content, "conf"),
        ("/etc/nix/more.conf", Counts::Content, "conf"),
        ("/root/.netrc", Counts::Being, "conf"),
        ("/etc/ssl/certs/ca-certificates.crt", Counts::Content, "tls"),
        (
            "/etc/ssl/certs/ca-certificates.crt",
            Counts::Being,
            "conf tls",
        ),
        ("/etc/bash.bashrc", Counts::Content, "shells"),
        ("/etc/nix/nixctl.sh", Counts::Rights, "shells"),
        (
            "/etc/dbus-1/system.d/org.nixctl1.conf",
            Counts::Content,
            "own",
        ),
        ("/etc/passwd", Counts::Being, "accounts"),
        ("/etc/group", Counts::Content, "accounts"),
        ("/nix/var/nix/daemon-socket", Counts::Rights, "tree"),
        ("/nix/store", Counts::Rights, "accounts tree"),
        ("/nix/var/nix/db/db.sqlite", Counts::Being, "database"),
        ("/nix/var/nix/db/schema", Counts::Content, "database"),
        (
            "/nix/var/nix/profiles/nixctl",
            Counts::Being,
            "tree versions",
        ),
        ("/nix/var/nix/profiles/nixctl-1-link", Counts::Being, "tree"),
        ("/root/.aws/credentials", Counts::Content, "own"),
        ("/etc/secret/aws", Counts::Content, "own"),
        ("/nix/receipt.json", Counts::Being, "leftovers"),
        ("/usr/bin/nix", Counts::Being, "leftovers"),
    ] {
        assert_eq!(told(&plan, path, what), areas, "{path} {what:?}");
    }
    // All that is below goes with it.
    let gone = told(&plan, "/nix", Counts::Being);
    assert_eq!(gone, "accounts database leftovers mounts tree versions");
}

#[test]
fn a_machine_in_use_is_quiet() {
    let plan = plan();
    let heard = plan.paths();
    for path in [
        // Builds.
        "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x",
        "/nix/store/.links",
        "/nix/var/nix/db/db.sqlite-wal",
        "/nix/var/nix/db/big-lock",
        "/nix/var/nix/gc.lock",
        "/nix/var/nix/temproots/4711",
        "/nix/var/nix/builds/nix-1-1",
        "/nix/var/nix/gcroots/auto/x",
        "/nix/var/nix/profiles/per-user/jo/profile",
        "/nix/var/log/nix/drvs/ab",
        "/root/.cache/nix/binary-cache-v6.sqlite",
        // Logins and upgrades.
        "/root/.bash_history",
        "/root/.viminfo",
        "/etc/shadow",
        "/etc/mtab",
        "/etc/ld.so.cache",
        "/etc/resolv.conf",
        "/usr/bin/other",
        "/etc/systemd/system/other.service",
        "/etc/systemd/system/multi-user.target.wants/other.service",
        "/dev/disk/by-uuid/cc-dd",
        "/dev/null",
        "/tmp",
    ] {
        for what in [Counts::Being, Counts::Rights, Counts::Content] {
            assert_eq!(told(&plan, path, what), "", "{path} {what:?}");
        }
    }
    assert_eq!(
        told(&plan, "/nix/var/nix/db/db.sqlite", Counts::Content),
        ""
    );
    // What is written all the time there is not even heard. The folders of Nix hear of rights, too:
    // theirs are asked for, and each may be the root of a mount.
    for path in ["/etc", "/root", "/dev/disk/by-uuid", "/usr/bin"] {
        assert_eq!(heard[Path::new(path)], Counts::Being, "{path}");
    }
    for path in ["/nix/var/nix", "/nix/var/nix/db"] {
        assert_eq!(heard[Path::new(path)], Counts::Rights, "{path}");
    }
    for path in [
        "/nix/store",
        "/dev",
        "/nix/var/nix/temproots",
        "/nix/var/nix/db/db.sqlite",
    ] {
        assert!(!heard.contains_key(Path::new(path)), "{path}");
    }
}

#[test]
fn without_a_store_of_ours_only_what_is_ours_is_watched() {
    let (settings, ground) = (Settings::default(), Ground::default());
    assert_eq!(targets(&[], &settings, &ground), []);
    let one = targets(&owned()[1..2], &settings, &ground);
    assert_eq!(one.len(), 1);
}

#[test]
fn the_ends_of_links_are_watched_for_what_is_written() {
    let all = targets(&owned(), &Settings::default(), &Ground::default());
    let bundle = Path::new(CA_BUNDLES[0]);
    let end = |path: &Path| (path == bundle).then(|| PathBuf::from("/etc/pki/bundle"));
    let with = with_ends(all.clone(), &end);
    let added: Vec<&Target> = with.iter().filter(|it| !all.contains(it)).collect();
    assert_eq!(added.len(), 1);
    assert_eq!(
        (added[0].path.as_path(), &*added[0].area),
        (Path::new("/etc/pki/bundle"), "tls")
    );
    assert_eq!(with_ends(all.clone(), &|path| Some(path.to_owned())), all);
}

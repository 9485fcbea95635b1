//! Trees of toplevels in a temporary store.

use std::os::unix::fs::symlink;

use nixctl_planner::closure::PathInfo;
use nixctl_planner::units::{UnitName, UnitSource};

use super::*;

struct Store {
    dir: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("nix/store")).unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::write(dir.path().join("etc/secret"), "of the machine").unwrap();
        Store { dir }
    }

    fn real(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    fn file(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.real(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        let path = self.real(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    fn read(&self, limits: Limits) -> Result<Toplevel, ToplevelError> {
        let fs = Fs::at(self.dir.path());
        let info = |name: &str, references: &[&str]| PathInfo {
            path: store(name),
            nar_size: 1,
            references: references.iter().map(|name| store(name)).collect(),
            download_size: None,
        };
        let mut graph = Graph::new();
        for info in [info("sw", &["hello-1", "sw"]), info("hello-1", &[])] {
            graph.add(&info).unwrap();
        }
        read_toplevel(&fs, &graph, &store("top"), limits)
    }
}

fn store(name: &str) -> StorePath {
    StorePath::from_base_name(&format!("0123456789abcdfghijklmnpqrsvwxyz-{name}")).unwrap()
}

/// `NAME/...` in the store.
fn at(path: &str) -> String {
    format!("/nix/store/0123456789abcdfghijklmnpqrsvwxyz-{path}")
}

/// As NixOS makes it: link trees for `etc`, units and `sw`.
fn nixos() -> Store {
    let it = Store::new();
    it.link(&at("top/etc"), &at("etc/etc"));
    it.link(&at("top/sw"), &at("sw"));
    it.link(&at("top/kernel"), &at("linux/bzImage"));
    it.link(&at("top/firmware"), &at("linux/firmware"));
    it.file(&at("top/activate"), format!("#!{}", at("bash/bin/sh")));
    it.file(&at("top/bin/switch-to-configuration"), [0x7f, b'E', 0]);
    it.file(&at("linux/bzImage"), vec![b'x'; 300 << 10]);
    it.file(&at("linux/firmware/f"), "x");
    it.file(&at("sw/bin/hello"), "x");
    it.link(&at("etc/etc/nginx/nginx.conf"), &at("nginx.conf"));
    it.file(&at("nginx.conf"), "worker 1");
    it.file(&at("etc/etc/hostname"), "box");
    it.link(&at("etc/etc/mtab"), "/proc/mounts");
    it.link(&at("etc/etc/localtime"), "zone");
    it.file(&at("etc/etc/zone"), "UTC");
    it.link(&at("etc/etc/fonts"), &at("fonts"));
    it.file(&at("fonts/fonts.conf"), "x");
    it.link(&at("etc/etc/systemd/system"), &at("system-units"));
    it.link(
        &at("system-units/nginx.service"),
        &at("unit-nginx/nginx.service"),
    );
    it.file(&at("unit-nginx/nginx.service"), "[Service]\nExecStart=x");
    it.link(&at("system-units/web.service"), "nginx.service");
    it.link(
        &at("system-units/multi-user.target.wants/nginx.service"),
        "../nginx.service",
    );
    it.link(&at("system-units/masked.service"), &at("unit-masked/x"));
    it.link(&at("unit-masked/x"), "/dev/null");
    it.link(&at("system-units/nginx.service.d"), &at("extra/dropins"));
    it.file(&at("extra/dropins/x.conf"), "[Service]\nNice=1");
    it
}

#[test]
fn a_toplevel_as_nixos_makes_it() {
    let toplevel = nixos().read(Limits::default()).unwrap();
    let etc: Vec<String> = toplevel
        .etc
        .iter()
        .map(|(key, entry)| {
            let origin = entry.origin.as_ref().map_or("-", StorePath::name);
            let content = match &entry.content {
                Content::Text(text) => text.replace('\n', " "),
                Content::Link(target) => format!("-> {target}"),
                Content::Opaque(_) => "?".to_owned(),
            };
            format!("{key} {origin} {content}")
        })
        .collect();
    assert_eq!(
        etc,
        [
            "fonts fonts ?",
            "hostname - box",
            "localtime - -> zone",
            "mtab - -> /proc/mounts",
            "nginx/nginx.conf nginx.conf worker 1",
            "systemd/system/masked.service - -> /dev/null",
            "systemd/system/multi-user.target.wants/nginx.service - -> ../nginx.service",
            "systemd/system/nginx.service unit-nginx [Service] ExecStart=x",
            "systemd/system/nginx.service.d/x.conf extra [Service] Nice=1",
            "systemd/system/web.service - -> nginx.service",
            "zone - UTC",
        ]
    );
    let names = |paths: &BTreeSet<StorePath>| -> Vec<String> {
        paths.iter().map(|path| path.name().to_owned()).collect()
    };
    assert_eq!(
        names(&toplevel.scaffold),
        ["etc", "sw", "system-units", "top"]
    );
    assert_eq!(names(&toplevel.packages), ["hello-1"]);
    let rest: Vec<(&str, &str, bool)> = toplevel
        .rest
        .iter()
        .map(|(key, entry)| {
            let origin = entry.origin.as_ref().map_or("-", StorePath::name);
            (
                key.as_str(),
                origin,
                matches!(entry.content, Content::Text(_)),
            )
        })
        .collect();
    assert_eq!(
        rest,
        [
            ("activate", "-", true),
            ("bin/switch-to-configuration", "-", false),
            ("firmware", "linux", false),
            ("kernel", "linux", false),
        ]
    );
    let units = toplevel.unit_set();
    let source = |name| units.source(&UnitName::new(name).unwrap());
    assert!(source("nginx.service").is_present() && source("web.service").is_present());
    assert_eq!(source("masked.service"), UnitSource::Masked);
}

#[test]
fn plain_folders_do_as_well() {
    let it = Store::new();
    it.file(&at("top/etc/systemd/system/a.service"), "[Unit]");
    it.file(&at("top/etc/a.conf"), "x");
    let toplevel = it.read(Limits::default()).unwrap();
    let keys: Vec<&str> = toplevel.etc.keys().map(String::as_str).collect();
    assert_eq!(keys, ["a.conf", "systemd/system/a.service"]);
    assert!(toplevel.packages.is_empty());
}

#[test]
fn nothing_of_the_machine_is_read() {
    let it = nixos();
    for (name, target) in [
        ("absolute", "/etc/secret"),
        ("climbing", "../../../../etc/secret"),
        ("twice", "/nix/store/../../etc/secret"),
        (
            "back",
            "/etc/../nix/store/0123456789abcdfghijklmnpqrsvwxyz-nginx.conf",
        ),
    ] {
        it.link(&at(&format!("etc/etc/{name}")), target);
    }
    it.link(&at("etc/etc/through"), &at("out/secret"));
    it.link(&at("out"), "/etc");
    let toplevel = it.read(Limits::default()).unwrap();
    for name in ["absolute", "climbing", "twice", "back", "through"] {
        let entry = &toplevel.etc[name];
        assert!(
            matches!(entry.content, Content::Link(_)),
            "{name}: {entry:?}"
        );
        assert_eq!(entry.origin, None);
    }
    assert!(!format!("{toplevel:?}").contains("of the machine"));
}

#[test]
fn a_part_that_leads_out_of_the_store_is_refused() {
    for part in ["etc", "sw"] {
        let it = Store::new();
        it.file(&at("top/activate"), "x");
        it.link(&at(&format!("top/{part}")), "/etc");
        let error = it.read(Limits::default()).unwrap_err().to_string();
        assert!(error.contains("out of the store, to /etc"), "{error}");
    }
    let error = Store::new()
        .read(Limits::default())
        .unwrap_err()
        .to_string();
    assert!(error.contains("not in the store"), "{error}");
}

#[test]
fn circles_end() {
    let it = Store::new();
    it.link(&at("top/etc/a"), &at("top/etc/b"));
    it.link(&at("top/etc/b"), &at("top/etc/a"));
    let error = it.read(Limits::default()).unwrap_err();
    assert!(matches!(error, ToplevelError::Loop { .. }), "{error}");
    let it = Store::new();
    it.file(&at("top/etc/x"), "");
    it.link(&at("top/etc/systemd/system"), &at("top"));
    it.link(&at("top/etc/tmpfiles.d"), &at("top/etc"));
    // A folder that leads to itself: bounded by the depth.
    let error = it.read(Limits::default());
    assert!(
        error.is_ok()
            || error
                .unwrap_err()
                .to_string()
                .contains("folders in folders")
    );
}

#[test]
fn it_is_bounded() {
    for (limits, word) in [
        (
            Limits {
                entries: 5,
                ..Limits::default()
            },
            "5 entries",
        ),
        (
            Limits {
                texts: 20,
                ..Limits::default()
            },
            "20 bytes of text",
        ),
    ] {
        let error = nixos().read(limits).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    let limits = Limits {
        text: 4,
        ..Limits::default()
    };
    let toplevel = nixos().read(limits).unwrap();
    assert!(matches!(
        toplevel.etc["nginx/nginx.conf"].content,
        Content::Opaque(_)
    ));
}

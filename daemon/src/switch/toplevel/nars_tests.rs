//! Toplevels that are in a cache only.

use std::os::unix::fs::symlink;

use nixctl_planner::component::{Content, Toplevel};

use super::*;
use crate::host::Host;
use crate::host::exec::STDOUT_LIMIT;
use crate::resource::testing::Machine;
use crate::switch::testing_caches::{Known, Stores, machine as script, store_path};
use crate::switch::toplevel::nar::Folder;
use crate::switch::toplevel::nar::testing::archive;
use crate::switch::toplevel::read_located_toplevel;
use crate::switch::{Source, StoreUrl, ToplevelError, read_toplevel};

const CACHE: &str = "https://cache.example.org";

fn folder(entries: &[(&str, Node)]) -> Node {
    Node::Folder(Folder {
        entries: entries
            .iter()
            .map(|(name, node)| (name.as_bytes().to_vec(), node.clone()))
            .collect(),
        is_whole: true,
    })
}

fn file(text: &str) -> Node {
    Node::File(text.len() as u64, Some(text.into()))
}

/// `NAME/...` in the store.
fn at(text: &str) -> String {
    match text.split_once('/') {
        Some((name, rest)) => format!("{}/{rest}", store_path(name)),
        None => store_path(text).to_string(),
    }
}

/// A link to `NAME/...` in the store, or to what has a slash in front or dots.
fn link(target: &str) -> Node {
    Node::Link(if target.starts_with(['/', '.']) {
        target.into()
    } else {
        at(target).into()
    })
}

/// As NixOS makes it, in one store.
fn nixos(store: &str) -> Stores {
    let mut stores = Stores::default();
    let [etc, sw, units, unit, conf, systemd] = [
        "etc",
        "sw",
        "system-units",
        "unit-web",
        "web.conf",
        "systemd",
    ]
    .map(store_path);
    let [hello, linux] = ["hello-1", "linux"].map(store_path);
    let mut put = |name: &str, references: &[&StorePath], node| {
        stores.put(store, &store_path(name), references, node);
    };
    put(
        "top",
        &[&etc, &sw, &linux],
        folder(&[
            ("activate", file("#!/bin/sh")),
            ("etc", link("etc/etc")),
            ("kernel", link("linux/bzImage")),
            ("sw", link("sw")),
        ]),
    );
    let system = [("system", link("system-units"))];
    put(
        "etc",
        &[&units, &conf],
        folder(&[(
            "etc",
            folder(&[
                ("hostname", file("box")),
                ("mtab", link("/proc/mounts")),
                ("systemd", folder(&system)),
                ("web.conf", link("web.conf")),
            ]),
        )]),
    );
    let wants = [("web.service", link("../web.service"))];
    put(
        "system-units",
        &[&unit, &systemd],
        folder(&[
            ("journal.service", link("systemd/example/journal.service")),
            ("late.service", link("systemd/lib/late.service")),
            ("multi-user.target.wants", folder(&wants)),
            ("web.service", link("unit-web/web.service")),
        ]),
    );
    let units = [("journal.service", file("[Service]\nExecStart=j"))];
    put(
        "systemd",
        &[],
        folder(&[
            ("example", folder(&units)),
            ("lib", folder(&[("late.service", file("[Unit]"))])),
        ]),
    );
    let unit = [("web.service", file("[Service]\nExecStart=w"))];
    put("unit-web", &[], folder(&unit));
    put("web.conf", &[], file("worker 1"));
    put("sw", &[&hello], folder(&[("bin", folder(&[]))]));
    put("hello-1", &[], folder(&[]));
    put("linux", &[], folder(&[("bzImage", file("x"))]));
    stores
}

fn read(machine: &Machine, limits: Limits) -> Result<Toplevel, ToplevelError> {
    let nix = store_path("nix-2.34.8");
    let closures = ClosureReader::new(&machine.host, &nix, &machine.cancel);
    let mut graph = Graph::new();
    let mut located = Located::new([StoreUrl::new(CACHE).unwrap()]);
    closures.locate(&mut graph, &mut located, &[store_path("top")])?;
    machine.exec.forget();
    let known = read_located_toplevel(&closures, &graph, &located, &store_path("top"), limits)?;
    Ok(known.toplevel)
}

/// The same as it is when all of it was fetched.
fn read_here(known: &BTreeMap<StorePath, Known>, machine: &Machine) -> Toplevel {
    for (path, known) in known {
        write(&machine.host, path.as_str(), &known.node);
    }
    let nix = store_path("nix-2.34.8");
    let closures = ClosureReader::new(&machine.host, &nix, &machine.cancel);
    let mut graph = Graph::new();
    let cache = Source::Cache(StoreUrl::new(CACHE).unwrap());
    closures
        .read(&mut graph, &cache, &[store_path("top")])
        .unwrap();
    read_toplevel(
        &machine.host.fs,
        &graph,
        &store_path("top"),
        Limits::default(),
    )
    .unwrap()
}

fn write(host: &Host, at: &str, node: &Node) {
    let real = host.fs.real(at.as_ref());
    std::fs::create_dir_all(real.parent().unwrap()).unwrap();
    match node {
        Node::File(_, content) => std::fs::write(real, content.as_ref().unwrap()).unwrap(),
        Node::Link(target) => symlink(std::str::from_utf8(target).unwrap(), real).unwrap(),
        Node::Folder(folder) => {
            std::fs::create_dir_all(real).unwrap();
            for (name, node) in &folder.entries {
                let name = std::str::from_utf8(name).unwrap();
                write(host, &format!("{at}/{name}"), node);
            }
        }
        Node::Unread => panic!("nothing to write"),
    }
}

/// The store paths that were exported, command by command.
fn exported(machine: &Machine) -> Vec<Vec<String>> {
    let calls = machine.exec.calls().into_iter();
    calls
        .filter(|call| call.args.iter().any(|arg| arg == "--export"))
        .map(|call| {
            let paths = call.args.iter().filter_map(|arg| StorePath::new(arg).ok());
            paths.map(|path| path.name().to_owned()).collect()
        })
        .collect()
}

#[test]
fn it_is_the_same_as_when_it_is_here() {
    let stores = nixos(CACHE);
    let known = stores.known.clone();
    let (machine, _) = script(stores);
    let remote = read(&machine, Limits::default()).unwrap();
    assert_eq!(
        exported(&machine),
        [
            vec!["top"],
            vec!["etc", "linux"],
            vec!["system-units", "web.conf"],
            vec!["systemd", "unit-web"],
        ]
    );
    let line = &machine.exec.lines()[0];
    let asked = format!("--export --store {CACHE} --option substituters  --option ");
    assert!(line.contains(&asked), "{line}");
    assert!(line.ends_with(store_path("top").as_str()), "{line}");
    let here = read_here(&known, &machine);
    assert_eq!(remote, here);
    assert_eq!(remote.etc_text("web.conf"), Some("worker 1"));
    let names: Vec<&str> = remote.packages.iter().map(StorePath::name).collect();
    assert_eq!(names, ["hello-1"]);
}

#[test]
fn what_is_here_is_read_here() {
    let mut stores = nixos(CACHE);
    for name in ["web.conf", "unit-web"] {
        let node = stores.known[&store_path(name)].node.clone();
        stores.put("local", &store_path(name), &[], node);
    }
    let (machine, stores) = script(stores);
    for name in ["web.conf", "unit-web"] {
        let node = stores.lock().unwrap().known[&store_path(name)].node.clone();
        write(&machine.host, store_path(name).as_str(), &node);
    }
    // What lies there and is not valid, as after a broken download, is not.
    write(&machine.host, store_path("etc").as_str(), &folder(&[]));
    let toplevel = read(&machine, Limits::default()).unwrap();
    assert_eq!(toplevel.etc_text("web.conf"), Some("worker 1"));
    assert!(toplevel.etc_text("systemd/system/web.service").is_some());
    assert_eq!(toplevel.etc_text("hostname"), Some("box"));
    let all = exported(&machine).concat();
    assert_eq!(all, ["top", "etc", "linux", "system-units", "systemd"]);
}

#[test]
fn large_archives_are_left_alone() {
    let mut stores = nixos(CACHE);
    for (name, size) in [("linux", 2 << 20), ("web.conf", 1 << 20), ("sw", 1 << 40)] {
        stores.known.get_mut(&store_path(name)).unwrap().size = size;
    }
    let (machine, stores) = script(stores);
    let toplevel = read(&machine, Limits::default()).unwrap();
    let content = |entry: &nixctl_planner::component::Entry| entry.content.clone();
    let opaque = |name: &str| Content::Opaque(at(name));
    assert_eq!(content(&toplevel.rest["kernel"]), opaque("linux/bzImage"));
    assert_eq!(content(&toplevel.etc["web.conf"]), opaque("web.conf"));
    assert_eq!(
        toplevel.etc["web.conf"].origin,
        Some(store_path("web.conf"))
    );
    let all = exported(&machine).concat();
    assert_eq!(all, ["top", "etc", "system-units", "systemd", "unit-web"]);
    // A folder without which every unit would seem to be gone is not.
    let units = store_path("system-units");
    stores.lock().unwrap().known.get_mut(&units).unwrap().size = 1 << 30;
    let said = read(&machine, Limits::default()).unwrap_err().to_string();
    assert!(said.contains("too large to be read from a cache"), "{said}");
    let limits = Limits {
        nars: 100_000,
        ..Limits::default()
    };
    stores.lock().unwrap().known.get_mut(&units).unwrap().size = 100_000;
    let said = read(&machine, limits).unwrap_err().to_string();
    assert!(
        said.contains("system-units") && said.contains("cache"),
        "{said}"
    );
}

#[test]
fn an_archive_that_is_cut_off_says_what_came_before() {
    let mut stores = nixos(CACHE);
    let systemd = stores.known.get_mut(&store_path("systemd")).unwrap();
    if let Node::Folder(folder) = &mut systemd.node {
        let large = Node::File(STDOUT_LIMIT as u64, None);
        folder.entries.insert(b"large".to_vec(), large);
    }
    systemd.size = STDOUT_LIMIT as u64 + 1000;
    // Sorted as in an archive: example, large, lib.
    let (machine, _) = script(stores);
    let toplevel = read(&machine, Limits::default()).unwrap();
    let unit = |name: &str| toplevel.etc[&format!("systemd/system/{name}.service")].clone();
    assert_eq!(
        unit("journal").content,
        Content::Text("[Service]\nExecStart=j".into())
    );
    let late = format!("{}/lib/late.service", store_path("systemd"));
    assert_eq!(unit("late").content, Content::Opaque(late));
    assert_eq!(unit("late").origin, Some(store_path("systemd")));
    assert_eq!(exported(&machine).last().unwrap().len(), 1);
}

#[test]
fn batches_fit_into_an_answer() {
    let mut graph = Graph::new();
    let mut located = Located::new([StoreUrl::new(CACHE).unwrap()]);
    let mut stores = Stores::default();
    let names: Vec<StorePath> = (0..2500).map(|n| store_path(&format!("p{n:04}"))).collect();
    let all: Vec<&StorePath> = names.iter().collect();
    stores.put(CACHE, &store_path("top"), &all, folder(&[]));
    for (n, name) in names.iter().enumerate() {
        stores.put(CACHE, name, &[], file("x"));
        let size = match n {
            0..5 => 5 << 20,
            5 => 20 << 20,
            _ => 200,
        };
        stores.known.get_mut(name).unwrap().size = size;
    }
    let (machine, _) = script(stores);
    let nix = store_path("nix-2.34.8");
    let closures = ClosureReader::new(&machine.host, &nix, &machine.cancel);
    closures
        .locate(&mut graph, &mut located, &[store_path("top")])
        .unwrap();
    machine.exec.forget();
    let mut nars = Nars::new(&graph, &located, Limits::default());
    for name in &names {
        assert_eq!(nars.look(&Place::of(name.clone()), 64 << 20), Some(&UNREAD));
    }
    let wanted = nars.wanted.take();
    let counts: Vec<usize> = nars
        .batches(wanted)
        .iter()
        .map(|(_, it)| it.len())
        .collect();
    assert_eq!(counts, [2, 2, 1, 1, 1000, 1000, 494]);
}

#[test]
fn caches_that_lie_are_refused() {
    let with = |node: Node| {
        let mut stores = nixos(CACHE);
        let etc = stores.known.get_mut(&store_path("etc")).unwrap();
        etc.size = archive(&node).len() as u64;
        etc.node = node;
        let (machine, _) = script(stores);
        read(&machine, Limits::default())
    };
    let said = with(folder(&[("..", file("x"))])).unwrap_err().to_string();
    assert!(said.contains(CACHE) && said.contains("name `..`"), "{said}");
    let said = with(link("/etc")).unwrap_err().to_string();
    assert!(said.contains("out of the store, to /etc"), "{said}");
    let loops = folder(&[("etc", link("etc/etc"))]);
    let said = with(loops).unwrap_err().to_string();
    assert!(said.contains("in a circle"), "{said}");
    let secret = folder(&[("etc", folder(&[("s", link("/etc/shadow"))]))]);
    let toplevel = with(secret).unwrap();
    assert_eq!(
        toplevel.etc["s"].content,
        Content::Link("/etc/shadow".into())
    );
    let mut stores = nixos(CACHE);
    let etc = stores.known.get_mut(&store_path("etc")).unwrap();
    etc.node = folder(&[("etc", folder(&[("x", file(&"x".repeat(9000)))]))]);
    let (machine, _) = script(stores);
    let said = read(&machine, Limits::default()).unwrap_err().to_string();
    assert!(said.contains("larger than it says"), "{said}");
    let mut stores = nixos(CACHE);
    stores.known.get_mut(&store_path("etc")).unwrap().size += 8;
    let (machine, _) = script(stores);
    let said = read(&machine, Limits::default()).unwrap_err().to_string();
    assert!(said.contains("bytes instead of"), "{said}");
    // An answer that ends too early although it is short, and one of something else.
    for (cut, word) in [(100, "cut off"), (0, "no archive of")] {
        let mut stores = nixos(CACHE);
        stores.cut = Some(cut);
        let (machine, _) = script(stores);
        let said = read(&machine, Limits::default()).unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
    }
}

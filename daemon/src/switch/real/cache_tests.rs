//! Targets that are in a cache only: what is seen of them, and caches that do not give what they say.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nixctl_planner::component::Toplevel;
use nixctl_planner::units::UnitName;
use nixctl_proto::request::Strategy;
use nixctl_proto::{Code, Exit};

use crate::switch::real::testing::Switch;

const CACHE: Option<&str> = Some("file:///cache");

/// Everything that there is, but for the bookkeeping of Nix's database.
fn look(switch: &Switch) -> BTreeMap<PathBuf, (u32, u64, Option<PathBuf>)> {
    let mut all = BTreeMap::new();
    let mut open = vec![switch.real.real("/")];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            if path.ends_with("nix/var/nix/db") {
                continue;
            }
            let size = if meta.is_dir() { 0 } else { meta.len() };
            if meta.is_dir() {
                open.push(path.clone());
            }
            let target = std::fs::read_link(&path).ok();
            all.insert(path, (meta.mode(), size, target));
        }
    }
    all
}

fn seen(switch: &Switch, from: Option<&str>) -> Toplevel {
    let facts = switch.facts(from, Strategy::Stepwise);
    facts.unwrap_or_else(|failure| panic!("{failure:?}")).new
}

#[test]
fn planning_changes_nothing_and_sees_all() {
    Switch::both().for_each(|switch| check_plans(&switch));
}

fn check_plans(switch: &Switch) {
    let before = look(switch);
    let named = seen(switch, CACHE);
    assert_eq!(look(switch), before);
    let unit = UnitName::new("a.service").unwrap();
    assert!(named.unit_set().source(&unit).is_present(), "{named:?}");

    // Nobody names the cache: Nix knows it.
    let conf = "require-sigs = false\nsubstituters = file:///cache\nbuild-users-group =\n";
    std::fs::write(switch.real.real("/etc/nix/nix.conf"), conf).unwrap();
    let before = look(switch);
    assert_eq!(seen(switch, None), named);
    assert_eq!(look(switch), before);

    // A part is in the cache that is named, the rest in those of Nix.
    let narinfo = narinfo(switch, "libc");
    let some = switch.real.real("/some");
    std::fs::create_dir_all(&some).unwrap();
    std::fs::copy(
        switch.real.real("/cache/nix-cache-info"),
        some.join("nix-cache-info"),
    )
    .unwrap();
    std::fs::copy(&narinfo, some.join(narinfo.file_name().unwrap())).unwrap();
    assert_eq!(seen(switch, Some("file:///some")), named);

    // What was seen is what it is once it is here.
    switch.real.fetch_now(&switch.new["toplevel"]);
    assert_eq!(seen(switch, None), named);
}

/// Nix takes `localhost` for this machine and runs the other side without ssh: what it finds is ours,
/// which answers for another store.
#[test]
fn another_machine_is_asked_over_ssh() {
    let Some(switch) = Switch::new() else { return };
    let other = "local?root=/other";
    switch
        .real
        .copy("file:///cache", other, &switch.new["toplevel"]);
    let shell = format!(
        "#!{}/bin/sh\nexec {}/bin/nix-store --serve --store '{other}'\n",
        switch.real.busybox, switch.real.nix
    );
    // Its program is found on PATH by one Nix, and run by bash from the other.
    for name in ["nix-store", "bash"] {
        let program = switch.real.real("/bin").join(name);
        std::fs::create_dir_all(program.parent().unwrap()).unwrap();
        std::fs::write(&program, &shell).unwrap();
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let before = look(&switch);
    assert_eq!(seen(&switch, Some("ssh://localhost")), seen(&switch, CACHE));
    assert_eq!(look(&switch), before);
}

fn narinfo(switch: &Switch, part: &str) -> PathBuf {
    let name = Path::new(&switch.new[part])
        .file_name()
        .unwrap()
        .to_str()
        .unwrap();
    let hash = name.split_once('-').unwrap().0;
    switch.real.real(&format!("/cache/{hash}.narinfo"))
}

fn archive(switch: &Switch, part: &str) -> PathBuf {
    let text = std::fs::read_to_string(narinfo(switch, part)).unwrap();
    let url = text
        .lines()
        .find_map(|line| line.strip_prefix("URL: "))
        .unwrap();
    switch.real.real("/cache").join(url)
}

type Damage = fn(&Switch);

#[test]
fn caches_that_do_not_give_what_they_say() {
    Switch::both().for_each(|switch| check_damages(&switch));
}

fn check_damages(switch: &Switch) {
    let cases: [(&str, Damage, Code); 7] = [
        (
            "a part is not there",
            |it| std::fs::remove_file(narinfo(it, "libc")).unwrap(),
            Code::BadTarget,
        ),
        (
            "nothing is there",
            |it| std::fs::remove_file(narinfo(it, "toplevel")).unwrap(),
            Code::BadTarget,
        ),
        (
            "an archive is not there",
            |it| std::fs::remove_file(archive(it, "etc")).unwrap(),
            Code::CacheDamaged,
        ),
        (
            "an archive is another one",
            |it| {
                std::fs::copy(archive(it, "conf"), archive(it, "etc")).unwrap();
            },
            Code::CacheDamaged,
        ),
        (
            "an archive is cut short",
            |it| {
                let path = archive(it, "units");
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            },
            Code::CacheDamaged,
        ),
        (
            "an archive has another size",
            |it| {
                let path = narinfo(it, "etc");
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(path, text.replace("NarSize: ", "NarSize: 1")).unwrap();
            },
            Code::CacheDamaged,
        ),
        (
            "what it says is no answer",
            |it| std::fs::write(narinfo(it, "etc"), "StorePath: /etc/passwd\n").unwrap(),
            Code::CacheDamaged,
        ),
    ];
    let whole = switch.real.real("/whole");
    let cache = switch.real.real("/cache");
    copy_tree(&cache, &whole);
    for (name, damage, code) in cases {
        damage(switch);
        let before = look(switch);
        let failure = switch.facts(CACHE, Strategy::Auto).unwrap_err();
        assert_eq!(failure.code, code, "{name}: {failure:?}");
        assert_eq!(failure.code.exit(), Exit::Refused, "{name}");
        assert_eq!(look(switch), before, "{name}");
        println!("{name}: {failure:?}");
        std::fs::remove_dir_all(&cache).unwrap();
        copy_tree(&whole, &cache);
    }
    let failure = switch.facts(Some("http://127.0.0.1:9"), Strategy::Auto);
    let failure = failure.unwrap_err();
    assert_eq!(failure.code, Code::CacheSilent, "{failure:?}");
    assert!(!seen(switch, CACHE).etc.is_empty());
}

fn copy_tree(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let to = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_tree(&path, &to);
        } else {
            std::fs::copy(&path, &to).unwrap();
        }
    }
}

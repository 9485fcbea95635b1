//! Whole rounds on a machine in a folder: a fault is made, looked at, judged, repaired, and looked
//! at again. The faults are made with the tests' own means and share nothing with the checks.

mod faults;

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use faults::{faults, told};
use nixctl_proto::health::check::{Area, Check};

use super::judge::{Found, judge};
use super::look::daemon::SOCKET;
use super::look::{Scene, look};
use super::remedy;
use crate::catalogue::files::{BLOCK_SH, NIX_DAEMON_SERVICE, NIX_DAEMON_SOCKET, Shipped};
use crate::catalogue::linux::{SERVICE_UNIT, SOCKET_UNIT};
use crate::host::fake::{Answer, FixedClock};
use crate::host::{Cancel, Command, Output};
use crate::resource::block::Block;
use crate::resource::directory::Directory;
use crate::resource::file::File;
use crate::resource::nix_conf::{NixConf, Setting};
use crate::resource::nix_tree::NixTree;
use crate::resource::service::Service;
use crate::resource::testing::{Machine, make, own_ids};
use crate::resource::users::tests as users;
use crate::resource::{Resource, Undone};

const NOW: u64 = 1_800_000_000_000;
const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
const CONF: &str = "/etc/nix/nix.conf";
const RC: &str = "/etc/bash.bashrc";
const DATABASE: &str = "/nix/var/nix/db/db.sqlite";
const PROFILES: &str = "/nix/var/nix/profiles";
/// What the user wrote into files that nixctl writes to as well.
const OF_THE_USER: &str = "# mine\nexport EDITOR=vi\n";
const SETTINGS_OF_THE_USER: &str = "# mine\ncores = 2\n";

/// A machine with a healthy Nix, and what nixctl owns there. Nothing for those who are not root:
/// folders below /nix belong to root.
fn site() -> Option<(Machine, Vec<Resource>)> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    let mut machine = Machine::new();
    machine.host.clock = Arc::new(FixedClock(NOW));
    std::fs::create_dir_all(machine.path("/var/lib/nixctl")).unwrap();
    let (uid, gid) = own_ids();
    let file = |shipped: Shipped| {
        Resource::File(File {
            path: shipped.path.into(),
            content: shipped.content.to_owned(),
            mode: 0o644,
            uid,
            gid,
            replace: false,
        })
    };
    let setting = |key: &str, value: &str| Setting {
        key: key.to_owned(),
        value: value.to_owned(),
        reason: String::new(),
    };
    let owned = vec![
        Resource::Directory(Directory {
            path: "/etc/nix".into(),
            mode: 0o755,
            uid,
            gid,
            lenient: true,
        }),
        users::users(),
        Resource::NixTree(NixTree {
            store_gid: 30_000,
            keep: false,
        }),
        Resource::NixConf(NixConf {
            settings: vec![
                setting("build-users-group", "nixbld"),
                setting("ssl-cert-file", BUNDLE),
            ],
            includes: Vec::new(),
        }),
        Resource::Block(Block {
            path: RC.into(),
            text: BLOCK_SH.content.to_owned(),
            create: true,
        }),
        file(NIX_DAEMON_SERVICE),
        file(NIX_DAEMON_SOCKET),
        Resource::Service(Service {
            enable: vec![SOCKET_UNIT.to_owned(), SERVICE_UNIT.to_owned()],
            start: vec![SOCKET_UNIT.to_owned()],
            also_stop: vec![SERVICE_UNIT.to_owned()],
        }),
    ];
    machine.put("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n");
    machine.put("/etc/group", "root:x:0:\n");
    users::with_fake_tools(&machine);
    let group = machine.path("/etc/group");
    let leaves = move |command: &Command| {
        let name = &command.args[command.args.len() - 2];
        let text = std::fs::read_to_string(&group).unwrap();
        let text = text.replace(&format!(",{name}"), "");
        let text = text.replace(&format!(":{name},"), ":");
        std::fs::write(&group, text.replace(&format!(":{name}\n"), ":\n")).unwrap();
        Output::default()
    };
    machine.exec.answer("gpasswd", &[], Answer::effect(leaves));
    machine.put(BUNDLE, include_str!("look/testdata/bundle.pem"));
    machine.put(RC, OF_THE_USER);
    machine.put(CONF, SETTINGS_OF_THE_USER);
    machine.put("/etc/systemd/system/none", "");
    machine.put(SOCKET, "");
    machine.services.add(SOCKET_UNIT);
    machine.services.add(SERVICE_UNIT);
    for resource in &owned {
        make(&machine, resource).unwrap();
    }
    // As SQLite writes it: a head, and as many pages as it says.
    let mut page = vec![0; 512];
    page[..16].copy_from_slice(b"SQLite format 3\0");
    (page[16], page[31]) = (2, 1);
    machine.put(DATABASE, &page);
    machine.put("/nix/var/nix/db/schema", "10");
    machine.put("/nix/store/aaa-env/bin/x", "");
    link(
        &machine,
        "/nix/store/aaa-env",
        &format!("{PROFILES}/default-1-link"),
    );
    link(&machine, "default-1-link", &format!("{PROFILES}/default"));
    Some((machine, owned))
}

fn link(machine: &Machine, target: &str, path: &str) {
    let real = machine.path(path);
    std::fs::create_dir_all(real.parent().unwrap()).unwrap();
    let _ = std::fs::remove_file(&real);
    symlink(target, real).unwrap();
}

fn remove(machine: &Machine, path: &str) {
    let real = machine.path(path);
    if real.is_dir() && !real.is_symlink() {
        std::fs::remove_dir_all(real).unwrap();
    } else {
        std::fs::remove_file(real).unwrap();
    }
}

fn replace(machine: &Machine, path: &str, from: &str, to: &str) {
    let text = machine.text(path).unwrap();
    assert!(text.contains(from), "{path} has no {from}");
    machine.put(path, text.replace(from, to));
}

/// The findings of a round, deep or not, over all areas but the one that looks at the disk of whoever runs the tests.
fn round(machine: &Machine, owned: &[Resource]) -> Vec<Found> {
    looked(machine, owned, true)
}

fn looked(machine: &Machine, owned: &[Resource], is_deep: bool) -> Vec<Found> {
    let (settings, cancel) = (Default::default(), Cancel::default());
    let scene = Scene {
        owned,
        is_deep,
        ..Scene::bare(&machine.host, &settings, &cancel)
    };
    let areas = Area::ALL.into_iter().filter(|area| *area != Area::Space);
    areas
        .flat_map(|area| judge(&look(&scene, area).unwrap()))
        .collect()
}

fn ids(found: &[Found]) -> BTreeSet<Check> {
    found.iter().map(|found| found.check).collect()
}

/// What the kernel and systemd do by themselves, which the fakes do not.
fn settle(machine: &Machine) {
    let state = |unit: &str| machine.services.units().get(unit).cloned();
    if state("nix.mount").is_some_and(|state| state.is_active()) {
        machine.put(
            "/proc/self/mountinfo",
            "1 0 8:1 / /nix rw - ext4 /dev/vdb rw\n",
        );
    }
    for unit in [SOCKET_UNIT, SERVICE_UNIT] {
        let mask = machine.path(&format!("/etc/systemd/system/{unit}"));
        if state(unit).is_some_and(|it| it.load == "masked") && !mask.is_symlink() {
            machine.services.add(unit);
        }
    }
}

/// Carries out a plan as the engine does, up to `steps` steps; what is needed to undo it.
fn carry_out(
    machine: &Machine,
    found: &[Found],
    steps: usize,
) -> Vec<(crate::engine::Step, crate::resource::Undo)> {
    let mut done = Vec::new();
    for step in remedy::steps(found, NOW).into_iter().take(steps) {
        let undo = step.prepare(&machine.context()).unwrap();
        let applied = step.apply(&machine.context(), &undo);
        assert!(applied.is_ok(), "{:?}: {applied:?}", step.describe().id);
        settle(machine);
        done.push((step, undo));
    }
    done
}

/// What rounds cost, for whoever wants to know: of a machine on which all is well, ten times over.
#[test]
#[ignore = "measures and asserts nothing"]
fn what_rounds_cost() {
    let Some((machine, owned)) = site() else {
        return;
    };
    for is_deep in [false, true] {
        let (settings, cancel) = (Default::default(), Cancel::default());
        let scene = Scene {
            owned: &owned,
            is_deep,
            ..Scene::bare(&machine.host, &settings, &cancel)
        };
        for area in Area::ALL {
            let begin = std::time::Instant::now();
            for _ in 0..10 {
                judge(&look(&scene, area).unwrap());
            }
            println!("{:10} {is_deep:5} {:?}", area.name(), begin.elapsed() / 10);
        }
    }
}

#[test]
fn a_healthy_machine_has_no_finding() {
    let Some((machine, owned)) = site() else {
        return;
    };
    assert_eq!(round(&machine, &owned), []);
}

#[test]
fn a_round_that_is_not_deep_misses_only_what_needs_depth() {
    for (name, fault, _) in faults() {
        let Some((machine, owned)) = site() else {
            return;
        };
        fault(&machine);
        let (deep, shallow) = (round(&machine, &owned), looked(&machine, &owned, false));
        for found in &deep {
            let is_there = shallow.contains(found) || found.check.is_deep();
            assert!(is_there, "{name}: {found:?}");
        }
        assert!(shallow.iter().all(|found| deep.contains(found)), "{name}");
    }
}

#[test]
fn each_fault_is_found_and_repaired() {
    for (name, fault, check) in faults() {
        let Some((machine, owned)) = site() else {
            return;
        };
        let healthy = machine.state();
        fault(&machine);
        let found = round(&machine, &owned);
        assert!(ids(&found).contains(&check), "{name}: {:?}", ids(&found));
        carry_out(&machine, &found, usize::MAX);
        let left = round(&machine, &owned);
        assert!(!ids(&left).contains(&check), "{name}: {left:?}");
        let worse: Vec<_> = left.iter().filter(|it| !found.contains(it)).collect();
        assert!(worse.is_empty(), "{name}: {worse:?}");
        // Nothing that was there before the fault is gone, but for what the fault itself took.
        for path in healthy.0.keys() {
            let there = path.symlink_metadata().is_ok();
            let is_aside = check == Check::DefaultProfileDangling || check == Check::BundleDangling;
            assert!(there || is_aside, "{name}: {} is gone", path.display());
        }
        for (path, text) in [(RC, OF_THE_USER), (CONF, SETTINGS_OF_THE_USER)] {
            assert!(machine.text(path).unwrap().contains(text), "{name}: {path}");
        }
    }
}

#[test]
fn a_repair_that_stops_after_any_step_goes_back() {
    for (name, fault, check) in faults() {
        for steps in 1..4 {
            let Some((machine, owned)) = site() else {
                return;
            };
            fault(&machine);
            let found = round(&machine, &owned);
            // What was brought up stays up, and the kernel tells of it.
            let files = |machine: &Machine| {
                let mut files = machine.state().0;
                files.retain(|path, _| !path.starts_with(machine.path("/proc")));
                files
            };
            let before = files(&machine);
            let mut done = carry_out(&machine, &found, steps);
            while let Some((step, undo)) = done.pop() {
                for _ in 0..2 {
                    let undone = step.undo(&machine.context(), &undo).unwrap();
                    // A group that is the main one of users who were there is not taken away.
                    let is_kept = check == Check::GroupMissing && undone != Undone::Clean;
                    assert!(is_kept || undone == Undone::Clean, "{name}: {undone:?}");
                }
            }
            if check == Check::GroupMissing {
                continue;
            }
            let after = files(&machine);
            let same = |path: &&std::path::PathBuf| before.get(*path) == after.get(*path);
            let changed: Vec<_> = before
                .keys()
                .chain(after.keys())
                .filter(|path| !same(path))
                .collect();
            assert!(changed.is_empty(), "{name}, after {steps}: {changed:?}");
            let again = round(&machine, &owned);
            let is_unit = check.area() == Area::Daemon || check.area() == Area::Mounts;
            assert!(is_unit || ids(&again) == ids(&found), "{name}: {again:?}");
        }
    }
}

#[test]
fn three_faults_at_once_are_repaired_by_one_plan() {
    let all = faults();
    for first in 0..all.len() {
        let chosen = [first, (first + 7) % all.len(), (first + 19) % all.len()];
        let Some((machine, owned)) = site() else {
            return;
        };
        // Two that write the same file anew would undo each other's fault.
        for index in chosen {
            all[index].1(&machine);
        }
        for _ in 0..2 {
            // What a mount hides is found in the round after it.
            let found = round(&machine, &owned);
            carry_out(&machine, &found, usize::MAX);
        }
        let left = round(&machine, &owned);
        let curable: Vec<_> = left.iter().filter(|it| !it.cures.is_empty()).collect();
        let names = chosen.map(|index| all[index].0);
        assert!(curable.is_empty(), "{names:?}: {curable:?}");
    }
}

#[test]
fn what_only_a_person_can_do_is_told() {
    for (name, fault, check) in told() {
        let Some((machine, owned)) = site() else {
            return;
        };
        fault(&machine);
        let found = round(&machine, &owned);
        let told = found.iter().find(|found| found.check == check);
        let told = told.unwrap_or_else(|| panic!("{name}: {:?}", ids(&found)));
        assert!(
            told.cures.is_empty() && !told.help.is_empty(),
            "{name}: {told:?}"
        );
        assert!(!told.seen.is_empty() && !told.expected.is_empty(), "{name}");
    }
}

//! Planning a switch to a generation that is in a cache only changes nothing, whatever the cache does.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use nixctl_lab::generation::{Generation, Service, Site, Spec, disk_for, generation};
use nixctl_lab::require_disks;
use nixctl_lab::server::Fault;
use nixctl_lab::snapshot::{NOISE, Snapshot};

/// Everything on the disk of /nix but its database, and what the daemon keeps.
const FILES: &str = "find /nix -path /nix/var/nix/db -prune -o -printf '%p %y %m %U %s %l %T@\n' | sort; \
                     find /run/nixctl /var/lib/nixctl -printf '%p %y %m %U %l\n' | sort";

/// What changes by itself: the daemon's own database, which it tidies up when it has nothing else to
/// do, and a unit that a timer starts again and again, with the file that it writes at each beat.
const ITSELF: [&str; 3] = ["/var/lib/nixctl/db", "unit:beat.", "/var/lib/beat"];

/// How long a cache that hangs may hold a plan up.
const PATIENCE: Duration = Duration::from_secs(75);

struct State {
    snapshot: Snapshot,
    files: String,
}

impl State {
    fn of(site: &Site) -> Self {
        let machine = &site.host.machine;
        let files = machine.sh(FILES).unwrap().ok().unwrap();
        State {
            snapshot: Snapshot::take(machine, &[&NOISE[..], &ITSELF].concat()).unwrap(),
            files: files.stdout,
        }
    }

    fn assert_is(&self, site: &Site, what: &str) {
        let now = State::of(site);
        let changes = self.snapshot.diff(&now.snapshot);
        assert!(changes.is_empty(), "{what}: {changes:?}");
        let differ = |a: &str, b: &str| -> Vec<String> {
            let known: Vec<&str> = b.lines().collect();
            let new = a.lines().filter(|line| !known.contains(line));
            new.map(str::to_owned).collect()
        };
        let (gone, new) = (
            differ(&self.files, &now.files),
            differ(&now.files, &self.files),
        );
        assert!(
            gone.is_empty() && new.is_empty(),
            "{what}: {gone:?} {new:?}"
        );
    }
}

/// The plan as the client prints it, but for what depends on the moment.
fn plan(site: &Site, new: &Generation, more: &str) -> serde_json::Value {
    let words = format!("switch {} --dry-run --json {more}", new.toplevel);
    let output = site.nixctl(&words).unwrap();
    assert!(output.success(), "{output:?}\n{}", site.daemon_log());
    println!("planned in {:?}: {more}", output.took);
    let mut plan: serde_json::Value = serde_json::from_str(&output.stdout).unwrap();
    let space = plan["space"].as_object_mut().unwrap();
    for of_moment in ["free", "budget"] {
        space.remove(of_moment);
    }
    plan.as_object_mut().unwrap().remove("checks");
    plan
}

#[test]
fn a_plan_changes_nothing_whatever_the_caches_do() {
    if !require_disks() {
        return;
    }
    let few = [Service::Redis];
    let old = generation(&Spec::old().only("one-old", &few)).unwrap();
    let new = generation(&Spec::new().only("one-new", &few)).unwrap();
    let mib = disk_for(old.size() + new.size()).unwrap() + 100;
    let site = Site::boot("plan-cache", mib, &[&old, &new]).unwrap();
    let from = format!("--from {}", site.cache());

    // Nobody else is asked: a machine without a network is not to say so.
    let machine = &site.host.machine;
    let substituters = |cache: &str| {
        let text = format!(
            "extra-trusted-public-keys = {}\nsubstituters = {cache}\n",
            new.public_key
        );
        let conf = "/etc/nix/nix.custom.conf";
        machine.write_file(conf, text, 0o644).unwrap();
    };
    substituters("");

    // What the first request starts may stay.
    plan(&site, &new, &from);
    let before = State::of(&site);
    let named = plan(&site, &new, &from);
    before.assert_is(&site, "the cache is named");
    let units = &named["units"];
    assert!(units["start"].to_string().contains("redis"), "{units}");
    assert_eq!(named["to"], new.toplevel.as_str());

    let hash = |path: &str| {
        let name = Path::new(path).file_name().unwrap().to_str().unwrap();
        format!("/cache/{}.narinfo", name.split_once('-').unwrap().0)
    };
    let only_new = new.closure.iter().find(|one| {
        let path = &one.path;
        *path != new.toplevel && !old.closure.iter().any(|it| it.path == *path)
    });
    let part = hash(&only_new.unwrap().path);
    let nowhere = "--from http://127.0.0.1:9/cache".to_owned();
    let cases: [(&str, &str, Option<Fault>, &[&str]); 7] = [
        ("nothing listens", "", None, &["NIX1023"]),
        (
            "the target is not there",
            &hash(&new.toplevel),
            Some(Fault::Status(404)),
            &["NIX1019"],
        ),
        (
            "a part is not there",
            &part,
            Some(Fault::Status(404)),
            &["NIX1019"],
        ),
        (
            "it says that it fails",
            "/cache",
            Some(Fault::Status(500)),
            &["NIX1023"],
        ),
        (
            "archives are damaged",
            "/cache/nar",
            Some(Fault::Corrupt(60)),
            &["NIX1024"],
        ),
        (
            "archives end early",
            "/cache/nar",
            Some(Fault::Truncate(60)),
            &["NIX1023", "NIX1024"],
        ),
        ("it hangs", "/cache", Some(Fault::Stall(0)), &["NIX1023"]),
    ];
    for (what, prefix, fault, codes) in cases {
        let from = if let Some(fault) = fault {
            site.server.break_prefix(prefix, fault);
            &from
        } else {
            &nowhere
        };
        let began = Instant::now();
        let words = format!("switch {} --dry-run --json {from}", new.toplevel);
        let refused = site.nixctl(&words).unwrap();
        site.server.heal();
        println!("{what}, {:?}: {}", began.elapsed(), refused.stderr);
        assert_eq!(refused.status, 5, "{what}: {refused:?}");
        let said = |code: &&str| refused.stderr.contains(&format!("error[{code}]"));
        assert!(codes.iter().any(said), "{what}: {refused:?}");
        assert!(began.elapsed() < PATIENCE, "{what}: {:?}", began.elapsed());
        before.assert_is(&site, what);
    }

    // Nobody names it: Nix knows it.
    substituters(&site.cache());
    let before = State::of(&site);
    assert_eq!(plan(&site, &new, ""), named);
    before.assert_is(&site, "nobody names the cache");
    let same = machine.sh("nix-store --version").unwrap();
    println!("with {}", same.stdout.trim());
}

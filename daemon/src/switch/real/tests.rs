//! The steps with a real Nix (see `testing`): composing, releasing, the way back.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command as Process;

use crate::resource::Undone;
use crate::switch::compose::MARKER;
use crate::switch::real::testing::{Real, Switch, laboratory};
use crate::switch::step::Toplevel;
use crate::switch::testing::ROOTS;

/// Parts of the old generation that go with the first step.
const FIRST: [&str; 7] = ["a", "unit-a", "conf", "etc", "units", "sw", "toplevel"];

#[test]
fn a_hybrid_is_composed_made_the_default_and_undone() {
    let Some(switch) = Switch::new() else { return };
    let (real, context) = (&switch.real, switch.real.context());
    let (old, new) = (&switch.old, &switch.new);

    let fetch = switch.fetch(&["libc", "a", "unit-a", "conf"]);
    let fetched = fetch.prepare(&context).unwrap();
    fetch.apply(&context, &fetched).unwrap();
    let compose = switch.compose();
    let composed = compose.prepare(&context).unwrap();
    compose.apply(&context, &composed).unwrap();
    let hybrid = Toplevel::Hybrid(1)
        .resolve(&real.host.fs, Path::new(ROOTS))
        .unwrap();
    compose.apply(&context, &composed).unwrap();
    assert_eq!(
        Toplevel::Hybrid(1)
            .resolve(&real.host.fs, Path::new(ROOTS))
            .unwrap(),
        hybrid
    );

    let store = real.store();
    let closure = store.complete("test", &hybrid, true).unwrap();
    for part in ["a", "unit-a", "conf"] {
        assert!(
            closure.contains(&new[part]) && !closure.contains(&old[part]),
            "{part}"
        );
    }
    for part in ["b", "unit-b", "libc", "kernel"] {
        assert!(closure.contains(&old[part]), "{part}");
    }
    for part in FIRST {
        assert!(
            !closure.contains(&old[part]),
            "{part} is held by the hybrid"
        );
    }
    let link = |path: &str| real.target_of(&format!("{hybrid}/{path}"));
    assert_eq!(link("etc/app/a.conf"), new["conf"]);
    assert_eq!(link("etc/a.conf"), "app/a.conf");
    assert_eq!(link("etc/mtab"), "/proc/mounts");
    assert_eq!(link("etc/nodename"), format!("{hybrid}/etc/hostname"));
    assert_eq!(
        link("etc/systemd/system/a.service"),
        format!("{}/a.service", new["unit-a"])
    );
    assert_eq!(
        link("etc/systemd/system/b.service"),
        format!("{}/b.service", old["unit-b"])
    );
    assert_eq!(
        link("etc/systemd/system/multi-user.target.wants/a.service"),
        "../a.service"
    );
    assert_eq!(link("sw/bin/a"), format!("{}/bin/a", new["a"]));
    assert_eq!(link("sw/share/doc/b"), format!("{}/share/doc/b", old["b"]));
    assert_eq!(link("kernel"), old["kernel"]);
    let text =
        |path: &str| std::fs::read_to_string(real.real(&format!("{hybrid}/{path}"))).unwrap();
    let activate = format!(
        "#!{}/bin/sh\necho {hybrid} {hybrid}/etc {hybrid}/sw\n",
        real.busybox
    );
    assert_eq!(text("activate"), activate);
    assert!(text(MARKER).contains("1 of 2 components"));

    let default = switch.set_default(Toplevel::Hybrid(1));
    let defaulted = default.prepare(&context).unwrap();
    default.apply(&context, &defaulted).unwrap();
    assert_eq!(real.default_path(), hybrid);
    assert_eq!(real.booted(), format!("boot {hybrid}"));
    real.link("/run/current-system", &hybrid);

    let release = switch.release(Toplevel::Path(old["toplevel"].clone()), &FIRST);
    let released = release.prepare(&context).unwrap();
    assert_eq!(release.apply(&context, &released).unwrap(), Undone::Clean);
    let left = real.content();
    assert!(
        FIRST.iter().all(|&part| !left.contains(&old[part])),
        "{left:?}"
    );
    store.complete("test", &hybrid, true).unwrap();

    assert_eq!(release.undo(&context, &released).unwrap(), Undone::Clean);
    real.link("/run/current-system", &old["toplevel"]);
    assert_eq!(default.undo(&context, &defaulted).unwrap(), Undone::Clean);
    assert_eq!(real.booted(), format!("boot {}", old["toplevel"]));
    assert_eq!(compose.undo(&context, &composed).unwrap(), Undone::Clean);
    assert_eq!(fetch.undo(&context, &fetched).unwrap(), Undone::Clean);
    assert_eq!(real.content(), switch.before);
    assert_eq!(real.default_path(), old["toplevel"]);
    assert!(!real.real(ROOTS).exists());
}

#[test]
fn the_end_is_the_target_and_a_released_hybrid_comes_back() {
    let Some(switch) = Switch::new() else { return };
    let (real, context) = (&switch.real, switch.real.context());
    let (old, new) = (&switch.old, &switch.new);
    let fetch = switch.fetch(&["libc", "a", "unit-a", "conf"]);
    fetch
        .apply(&context, &fetch.prepare(&context).unwrap())
        .unwrap();
    let compose = switch.compose();
    compose
        .apply(&context, &compose.prepare(&context).unwrap())
        .unwrap();
    let hybrid = Toplevel::Hybrid(1)
        .resolve(&real.host.fs, Path::new(ROOTS))
        .unwrap();
    let default = switch.set_default(Toplevel::Hybrid(1));
    default
        .apply(&context, &default.prepare(&context).unwrap())
        .unwrap();
    real.link("/run/current-system", &hybrid);
    let release = switch.release(Toplevel::Path(old["toplevel"].clone()), &FIRST);
    release
        .apply(&context, &release.prepare(&context).unwrap())
        .unwrap();

    let fetch = switch.fetch(&["b", "unit-b", "kernel", "etc", "units", "sw", "toplevel"]);
    fetch
        .apply(&context, &fetch.prepare(&context).unwrap())
        .unwrap();
    real.link("/run/current-system", &new["toplevel"]);
    let target = switch.set_default(Toplevel::Path(new["toplevel"].clone()));
    target
        .apply(&context, &target.prepare(&context).unwrap())
        .unwrap();
    let mut last = switch.release(Toplevel::Hybrid(1), &["b", "unit-b", "kernel", "libc"]);
    last.links = crate::switch::fetch::names(&real.host.fs, Path::new(ROOTS)).unwrap();
    let undo = last.prepare(&context).unwrap();
    let with_hybrid = real.content();
    for _ in 0..2 {
        assert_eq!(last.apply(&context, &undo).unwrap(), Undone::Clean);
    }
    let wanted = real
        .store()
        .closure(std::slice::from_ref(&new["toplevel"]))
        .unwrap();
    let nix = real
        .store()
        .closure(std::slice::from_ref(&real.nix))
        .unwrap();
    let left: BTreeSet<String> = real.content().difference(&nix).cloned().collect();
    let others: Vec<&String> = left
        .difference(&wanted)
        .filter(|path| !path.contains("cacert"))
        .collect();
    assert!(others.is_empty(), "{others:?} are left");
    assert_eq!(real.default_path(), new["toplevel"]);

    assert_eq!(last.undo(&context, &undo).unwrap(), Undone::Clean);
    assert_eq!(real.content(), with_hybrid);
    assert_eq!(
        Toplevel::Hybrid(1)
            .resolve(&real.host.fs, Path::new(ROOTS))
            .unwrap(),
        hybrid
    );
}

#[test]
fn a_part_that_is_missing_is_named() {
    let Some(switch) = Switch::new() else { return };
    let context = switch.real.context();
    let compose = switch.compose();
    let undo = compose.prepare(&context).unwrap();
    let error = compose.apply(&context, &undo).unwrap_err().to_string();
    assert!(error.ends_with("is not in the store"), "{error}");
    assert_eq!(compose.undo(&context, &undo).unwrap(), Undone::Clean);
    let mut fetch = switch.fetch(&["a"]);
    fetch.from = Some("/no/cache".to_owned());
    let undo = fetch.prepare(&context).unwrap();
    let error = fetch.apply(&context, &undo).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with(&format!("cannot fetch {}", switch.new["a"])),
        "{error}"
    );
    assert_eq!(switch.real.content(), switch.before);
}

#[test]
fn link_trees_are_trusted_as_nix_trusts_them() {
    let Some(switch) = Switch::new() else { return };
    let conf = switch.real.real("/etc/nix/nix.conf");
    std::fs::write(
        conf,
        "require-sigs = true\nsubstituters =\nbuild-users-group =\n",
    )
    .unwrap();
    let context = switch.real.context();
    let compose = switch.compose();
    let undo = compose.prepare(&context).unwrap();
    let error = compose.apply(&context, &undo).unwrap_err();
    assert!(error.to_string().contains("signature"), "{error}");
    assert_eq!(error.waits(), None);
    assert_eq!(switch.real.content(), switch.before);
}

/// Needs generations that the laboratory made before: `cargo nextest run -p nixctl-lab generation`.
#[test]
#[ignore = "fetches some hundred megabytes of the laboratory's generations"]
fn a_hybrid_of_the_laboratorys_generations() {
    let Some(real) = Real::new() else { return };
    let (Some(old), Some(new)) = (laboratory("old"), laboratory("new")) else {
        eprintln!("skipped: the laboratory has not made its generations");
        return;
    };
    let context = real.context();
    for (folder, (from, _)) in [("old", &old), ("new", &new)] {
        let to = real.real(&format!("/{folder}"));
        let copied = Process::new("cp")
            .arg("-a")
            .arg(from.join("cache"))
            .arg(to)
            .status();
        assert!(copied.unwrap().success());
    }
    let fetch = |from: &str, paths: Vec<String>| {
        let step = crate::switch::step::FetchPaths {
            roots: ROOTS.into(),
            paths,
            bytes: 1 << 20,
            from: Some(from.to_owned()),
        };
        step.apply(&context, &step.prepare(&context).unwrap())
            .unwrap();
    };
    let began = std::time::Instant::now();
    fetch("/old", vec![old.1.clone()]);
    eprintln!("fetched the old one in {:?}", began.elapsed());
    let mut compose = crate::switch::step::Compose {
        roots: ROOTS.into(),
        number: 1,
        base: Toplevel::Path(old.1.clone()),
        target: new.1.clone(),
        etc: vec!["redis.conf".to_owned()],
        units: vec!["redis.service".to_owned()],
        packages: Vec::new(),
        label: "redis".to_owned(),
        from: Some("/new".to_owned()),
        absent: Vec::new(),
    };
    let mut needed = Vec::new();
    // What the hybrid lacks is named, one after the other.
    let hybrid = loop {
        let began = std::time::Instant::now();
        match compose.apply(&context, &compose.prepare(&context).unwrap()) {
            Ok(_) => {
                eprintln!("composed in {:?}", began.elapsed());
                break compose.number;
            }
            Err(crate::switch::SwitchError::Incomplete { path, .. }) => {
                eprintln!("needs {path}");
                assert!(!needed.contains(&path));
                needed.push(path.clone());
                fetch("/new", vec![path]);
            }
            Err(error) => panic!("{error}"),
        }
    };
    let hybrid = Toplevel::Hybrid(hybrid)
        .resolve(&real.host.fs, Path::new(ROOTS))
        .unwrap();
    let store = real.store();
    let closure = store.complete("test", &hybrid, true).unwrap();
    let before = store.complete("test", &old.1, false).unwrap();
    let gone: Vec<&String> = before.difference(&closure).collect();
    eprintln!(
        "{hybrid}: {} paths, {} of the old one are gone: {gone:#?}",
        closure.len(),
        gone.len()
    );
    let has = |name: &str| gone.iter().any(|path| path.ends_with(name));
    for name in ["-etc", "-system-units", "unit-redis.service"] {
        assert!(has(name), "{name}");
    }
    // All packages of the old `sw`, composed anew: nothing is different but the links' owner.
    compose.number = 2;
    let sw = real.target_of(&format!("{}/sw", old.1));
    let all = store.registered(&[sw]).unwrap();
    compose.packages = all[0].references.clone();
    compose
        .apply(&context, &compose.prepare(&context).unwrap())
        .unwrap();
    let second = Toplevel::Hybrid(2)
        .resolve(&real.host.fs, Path::new(ROOTS))
        .unwrap();
    let commands = |toplevel: &str| {
        let names = std::fs::read_dir(real.real(&format!("{toplevel}/sw/bin"))).unwrap();
        names
            .map(|it| it.unwrap().file_name())
            .collect::<BTreeSet<_>>()
    };
    let sw = real
        .real(&real.target_of(&format!("{}/sw", old.1)))
        .join("bin");
    let theirs = std::fs::read_dir(sw)
        .unwrap()
        .map(|it| it.unwrap().file_name());
    assert_eq!(commands(&second), theirs.collect());
    let text = std::fs::read_to_string(real.real(&format!("{second}/activate"))).unwrap();
    assert!(text.contains(&second) && !text.contains(&old.1), "{text}");
}

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::*;
use crate::host::fake::Answer;
use crate::host::{Cancel, Fs};
use crate::resource::Progress;
use crate::resource::nix_testing as release;
use crate::resource::testing::Machine;

const BUILT: &str = "/nix/store/3123456789abcdfghijklmnpqrsvwxyz-nixctl-self-test";

fn test(shells: &[&str]) -> SelfTest {
    SelfTest {
        sha256: release::SHA256.into(),
        daemon: false,
        shells: shells.iter().map(|&it| it.to_owned()).collect(),
        seconds: 5,
    }
}

/// A machine that is no image to the code under test, with a script for every program.
fn machine() -> (Machine, Manifest) {
    let machine = Machine::new();
    let manifest = release::unpacked(&machine);
    for program in ["nix-build", "nix-store"] {
        machine
            .exec
            .install(&format!("{}/bin/{program}", manifest.nix));
    }
    (machine, manifest)
}

fn builder(name: &str, uid: u32) -> Builder {
    Builder {
        name: name.into(),
        ids: Some((uid, uid + 1)),
    }
}

fn build(
    machine: &Machine,
    manifest: &Manifest,
    builders: &[Builder],
) -> Result<(), ResourceError> {
    let mut running = machine.host.clone();
    running.fs = Fs::at("/");
    let context = Context {
        host: &running,
        ..machine.context()
    };
    test(&[]).build_all(&context, manifest, builders)
}

#[test]
fn a_build_that_works_is_deleted_again() {
    let (machine, manifest) = machine();
    let program = |name: &str| format!("{}/bin/{name}", manifest.nix);
    let nix_store = program("nix-store");
    machine
        .exec
        .answer(&program("nix-build"), &[], Answer::text(BUILT));
    machine.exec.answer(
        &nix_store,
        &["--query"],
        Answer::text(&format!("{BUILT}.drv")),
    );
    build(&machine, &manifest, &[builder("root", 7)]).unwrap();
    let calls = machine.exec.calls();
    assert_eq!(calls[0].run_as, Some((7, 8)));
    assert!(calls[0].args.last().unwrap().contains("dummy://"));
    assert!(
        calls[1..].iter().all(|call| call.run_as.is_none()),
        "only root may delete"
    );
    let lines = machine.exec.lines();
    assert_eq!(
        lines[2..],
        [format!("{nix_store} --delete {BUILT} {BUILT}.drv")]
    );
}

#[test]
fn what_nix_named_while_it_built_is_not_asked_for() {
    let (machine, manifest) = machine();
    let said = format!(
        "this derivation will be built:\n  {BUILT}.drv\nbuilding '{BUILT}.drv'...\n\
         building '/nix/store/4123456789abcdfghijklmnpqrsvwxyz-of-somebody.drv'...\n"
    );
    let answer = Output {
        stdout: BUILT.into(),
        stderr: said.into(),
        ..Output::default()
    };
    let answer = Answer::effect(move |_| answer.clone());
    machine
        .exec
        .answer(&format!("{}/bin/nix-build", manifest.nix), &[], answer);
    build(&machine, &manifest, &[builder("root", 7)]).unwrap();
    let lines = machine.exec.lines();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].ends_with(&format!("--delete {BUILT} {BUILT}.drv")));
}

#[test]
fn builds_run_side_by_side_and_all_of_them_are_deleted() {
    let (machine, manifest) = machine();
    let there = std::sync::atomic::AtomicU32::new(0);
    machine.exec.answer(
        &format!("{}/bin/nix-build", manifest.nix),
        &[],
        // Neither ends well before the other is there.
        Answer::effect(move |command| {
            there.fetch_add(1, Ordering::SeqCst);
            let both = (0..500).any(|_| {
                std::thread::sleep(Duration::from_millis(10));
                there.load(Ordering::SeqCst) == 2
            });
            let uid = command.run_as.map_or(0, |(uid, _)| uid);
            Output {
                code: i32::from(!both),
                stdout: format!("{BUILT}-{uid}").into(),
                ..Output::default()
            }
        }),
    );
    let builders = [builder("root", 7), builder("alice", 8)];
    build(&machine, &manifest, &builders).unwrap();
    let last = machine.exec.lines().pop().unwrap();
    assert!(
        last.ends_with(&format!("--delete {BUILT}-7 {BUILT}-8")),
        "{last}"
    );
}

#[test]
fn a_build_beside_one_that_fails_is_deleted_too() {
    let (machine, manifest) = machine();
    machine.exec.answer(
        &format!("{}/bin/nix-build", manifest.nix),
        &[],
        Answer::effect(|command| Output {
            code: i32::from(command.run_as == Some((8, 9))),
            stdout: BUILT.into(),
            stderr: "no".into(),
        }),
    );
    let builders = [builder("alice", 8), builder("root", 7)];
    let built = build(&machine, &manifest, &builders);
    assert_eq!(
        built.unwrap_err().to_string(),
        "cannot build a derivation as alice: no"
    );
    let last = machine.exec.lines().pop().unwrap();
    assert!(last.ends_with(&format!("--delete {BUILT}")), "{last}");
}

#[test]
fn what_could_not_be_built_is_deleted_with_its_locks() {
    let (machine, manifest) = machine();
    let (nix_build, nix_store) = ["nix-build", "nix-store"]
        .map(|name| format!("{}/bin/{name}", manifest.nix))
        .into();
    machine.exec.answer(
        &nix_build,
        &[],
        Answer::effect(|command| Output {
            code: 1,
            stderr: match command.args.last().unwrap().contains("/bin/sh") {
                true => format!("this derivation will be built:\n  {BUILT}-sh.drv\nno"),
                false => format!("this derivation will be built:\n  {BUILT}.drv\nno"),
            }
            .into(),
            ..Output::default()
        }),
    );
    let outputs = Answer::text(&format!("{BUILT}\n{BUILT}-sh\n"));
    machine.exec.answer(&nix_store, &["--query"], outputs);
    build(&machine, &manifest, &[builder("root", 7)]).unwrap_err();
    let both = format!("{BUILT}.drv {BUILT}-sh.drv");
    assert_eq!(
        machine.exec.lines()[2..],
        [
            format!("{nix_store} --query --outputs {both}"),
            format!("{nix_store} --delete {both} {BUILT}.lock {BUILT}-sh.lock"),
        ]
    );
}

#[test]
fn the_shell_is_tried_and_the_first_error_told() {
    let (machine, manifest) = machine();
    let nix_build = format!("{}/bin/nix-build", manifest.nix);
    machine.exec.answer(
        &nix_build,
        &[],
        Answer::effect(|command| {
            if command.args.last().unwrap().contains("/bin/sh") {
                Output {
                    stdout: BUILT.into(),
                    ..Output::default()
                }
            } else {
                Output {
                    code: 1,
                    stderr: "no such builder".into(),
                    ..Output::default()
                }
            }
        }),
    );
    build(&machine, &manifest, &[builder("root", 7)]).unwrap();
    machine
        .exec
        .answer(&nix_build, &[], Answer::code(1, "no such builder"));
    let error = build(&machine, &manifest, &[builder("root", 7)]).unwrap_err();
    assert_eq!(error.failure().code, nixctl_proto::Code::SelfTestFailed);
    assert_eq!(
        error.to_string(),
        "cannot build a derivation as root: no such builder"
    );
    machine.exec.answer(&nix_build, &[], Answer::Hang);
    assert!(
        build(&machine, &manifest, &[builder("root", 7)])
            .unwrap_err()
            .to_string()
            .contains("within 5 s")
    );
    machine
        .exec
        .answer(&nix_build, &[], Answer::text("not a path"));
    assert!(build(&machine, &manifest, &[builder("root", 7)]).is_err());
}

#[test]
fn shells_must_find_nix_in_a_profile() {
    let (machine, _) = machine();
    let find = |shell: &str| test(&[]).find_in(&machine.context(), shell, Path::new(SHELL_HOMES));
    find("zsh").unwrap();
    assert!(machine.notes.0.lock().unwrap()[0].contains("zsh was tried: it is not installed"));
    let path = "/nix/var/nix/profiles/nixctl/bin/nix-build";
    machine.exec.answer(
        "bash",
        &["-l"],
        Answer::text(&format!("Welcome!\n{path}\n")),
    );
    find("bash").unwrap();
    machine.exec.answer("fish", &[], Answer::text(path));
    find("fish").unwrap();
    let calls = machine.exec.calls();
    assert_eq!(calls[0].line(), "bash -l -c command -v nix-build");
    assert_eq!(calls[1].line(), "fish -l -c type -p nix-build");
    machine
        .exec
        .answer("bash", &["-l"], Answer::code(127, "bash: no such thing"));
    let text = find("bash").unwrap_err().to_string();
    assert!(
        text.contains("login bash: nix-build is not there: bash: no such thing"),
        "{text}"
    );
    machine
        .exec
        .answer("bash", &["-l"], Answer::text("/usr/bin/nix-build"));
    assert!(
        find("bash")
            .unwrap_err()
            .to_string()
            .contains("/usr/bin/nix-build")
    );
    machine.exec.answer("bash", &["-l"], Answer::Hang);
    assert!(find("bash").unwrap_err().to_string().contains("within 5 s"));
    machine.cancel.request(crate::host::cancel::Stop::Cancelled);
    assert!(find("bash").unwrap_err().is_stopped());
}

#[test]
fn a_shell_leaves_nothing_in_anybody_s_home() {
    let (machine, _) = machine();
    machine.exec.answer(
        "fish",
        &[],
        Answer::effect(|command| {
            let home = command.env.iter().find(|(name, _)| name == "HOME").unwrap();
            std::fs::create_dir(Path::new(&home.1).join(".config")).unwrap();
            Output {
                stdout: "/nix/var/nix/profiles/nixctl/bin/nix-build".into(),
                ..Output::default()
            }
        }),
    );
    for _ in 0..2 {
        let test = test(&["fish", "fish"]);
        test.find_everywhere(&machine.context()).unwrap();
    }
    assert!(!machine.path(SHELL_HOMES).exists());
}

#[test]
fn an_image_is_left_out_with_a_note() {
    let (machine, _) = machine();
    test(&["sh"]).run(&machine.context()).unwrap();
    assert!(machine.exec.calls().is_empty());
    assert_eq!(machine.notes.0.lock().unwrap().len(), 1);
}

#[test]
fn a_log_goes_with_its_folder() {
    let (machine, _) = machine();
    machine.put(&format!("{LOGS}/31/23-a.drv.bz2"), "log");
    machine.put(&format!("{LOGS}/44/23-b.drv.bz2"), "log");
    remove_log(&machine.host, "3123-a.drv").unwrap();
    assert!(!machine.path(&format!("{LOGS}/31")).exists());
    assert!(machine.path(&format!("{LOGS}/44/23-b.drv.bz2")).exists());
}

/// Installs a real release on the machine it runs on, tests and removes it: for throw-away
/// machines only. `NIXCTL_RELEASE` names the archive.
#[test]
#[ignore = "changes the machine it runs on"]
fn a_real_release_works() {
    use crate::payload::release::resolve;
    use crate::payload::worker::{InProcess, Task, Worker};
    use crate::resource::{Resource, nix_tree, payload, profile, registration, users};

    struct Print;
    impl Progress for Print {
        fn bytes(&self, _done: u64, _total: u64) {}
        fn note(&self, text: &str) {
            println!("note: {text}");
        }
    }
    let source = std::env::var("NIXCTL_RELEASE").unwrap();
    let (mut host, _, _) = crate::host::fake::host(Path::new("/"));
    host.exec = Arc::new(crate::host::exec::SystemExec);

    let (cancel, worker) = (Cancel::default(), InProcess::new(host.fs.clone()));
    let context = Context {
        host: &host,
        progress: &Print,
        cancel: &cancel,
        worker: &worker,
    };
    let request = nixctl_proto::request::InstallRequest {
        source: Some(source),
        ..nixctl_proto::request::InstallRequest::default()
    };
    let release = resolve(&request, &Default::default(), &cancel).unwrap();
    let sha256 = release.sha256.clone();
    let archive = crate::payload::Archive {
        sha256: sha256.clone(),
        version: release.version.clone(),
        system: release.system.clone(),
        store_gid: 30_000,
    };
    let fetch = crate::payload::Fetch {
        release,
        proxy: String::new(),
        ssl_cert_file: String::new(),
    };
    worker.run(&Task::Fetch(fetch), &Print, &cancel).unwrap();
    let link = "/nix/var/nix/profiles/nixctl".into();
    let steps = [
        Resource::BuildUsers(users::BuildUsers {
            group: "nixbld".into(),
            gid: 30_000,
            prefix: "nixbld".into(),
            count: 32,
            uid_base: 30_000,
        }),
        Resource::NixTree(nix_tree::NixTree {
            store_gid: 30_000,
            keep: false,
        }),
        Resource::Payload(payload::Payload { archive }),
        Resource::Registration(registration::Registration {
            sha256: sha256.clone(),
        }),
        Resource::Profile(profile::Profile {
            link,
            sha256: sha256.clone(),
        }),
    ];
    let mut undo = Vec::new();
    for step in &steps {
        let started = std::time::Instant::now();
        undo.push(step.prepare(&host).unwrap());
        for _ in 0..2 {
            step.apply(&context, undo.last().unwrap()).unwrap();
            step.verify(&host).unwrap();
        }
        println!("{}: {:?}", step.describe().id, started.elapsed());
    }
    let names = |path: &str| host.fs.list(path.as_ref()).unwrap();
    println!("profiles: {:?}", names("/nix/var/nix/profiles"));
    let before = names("/nix/store");
    let test = SelfTest {
        daemon: true,
        sha256,
        ..test(&[])
    };
    let started = std::time::Instant::now();
    test.run(&context).unwrap();
    println!("self-test: {:?}", started.elapsed());
    assert_eq!(
        names("/nix/store"),
        before,
        "the test left something in the store"
    );
    for (step, undo) in steps.iter().zip(&undo).rev() {
        for _ in 0..2 {
            let started = std::time::Instant::now();
            println!(
                "{}: {:?} {:?}",
                step.describe().id,
                step.undo(&context, undo).unwrap(),
                started.elapsed()
            );
        }
    }
    assert!(!Path::new("/nix").exists());
}

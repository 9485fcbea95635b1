//! A folder that is a machine with a real Nix and toy generations, for the tests of the steps.
//!
//! Needs root and the laboratory's release under `target/lab/dist`; without them there is none.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::Arc;

use nixctl_proto::request::{OperationRequest, Strategy, SwitchRequest};
use nixctl_proto::settings::Settings;
use nixctl_proto::{Failure, OperationKind};

use crate::engine::{Question, Recorded};
use crate::host::exec::SystemExec;
use crate::host::fake::{self, FakeServices};
use crate::host::{Cancel, Command, Exec, ExecError, Host, Output};
use crate::payload::worker::InProcess;
use crate::resource::{Context, Silent};
use crate::switch::plan::SwitchFacts;
use crate::switch::plan::facts::gather;
use crate::switch::profile::Generations;
use crate::switch::step::{Compose, FetchPaths, Release, SetDefault, Toplevel};
use crate::switch::store::NixStore;
use crate::switch::testing::{PROFILE, ROOTS};

/// Enters the machine with /proc and /dev in it, in a mount namespace that goes with the command.
const ENTER: &str =
    "mount --rbind /proc $1/proc && mount --rbind /dev $1/dev && exec chroot \"$@\"";

#[derive(Debug)]
struct Inside;

impl Inside {
    fn wrapped(command: &Command) -> Command {
        assert_eq!(command.program, "chroot");
        let args = [
            "-m",
            "--propagation",
            "private",
            "/bin/sh",
            "-c",
            ENTER,
            "sh",
        ];
        let mut wrapped = Command::new("unshare")
            .args(args)
            .args(command.args.clone());
        wrapped.env.clone_from(&command.env);
        wrapped.stdin.clone_from(&command.stdin);
        wrapped.deadline(command.deadline)
    }
}

impl Exec for Inside {
    fn output(&self, command: &Command, cancel: &Cancel) -> Result<Output, ExecError> {
        SystemExec.output(&Self::wrapped(command), cancel)
    }

    fn follow(
        &self,
        command: &Command,
        cancel: &Cancel,
        said: &mut dyn FnMut(&[u8]),
    ) -> Result<Output, ExecError> {
        SystemExec.follow(&Self::wrapped(command), cancel, said)
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        SystemExec.find(program)
    }
}

pub(super) struct Real {
    dir: tempfile::TempDir,
    pub(super) host: Host,
    cancel: Cancel,
    worker: InProcess,
    pub(super) busybox: String,
    pub(super) nix: String,
}

impl Drop for Real {
    fn drop(&mut self) {
        // The store is read-only.
        let _ = Process::new("chmod")
            .arg("-R")
            .arg("u+w")
            .arg(self.dir.path())
            .status();
    }
}

impl Real {
    pub(super) fn new() -> Option<Self> {
        Self::of(archives().into_values().next())
    }

    fn of(archive: Option<PathBuf>) -> Option<Self> {
        if !nix::unistd::Uid::effective().is_root() || archive.is_none() {
            eprintln!("skipped: this needs root, and the laboratory's release of Nix");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for folder in [
            "proc/self",
            "dev/ptmx",
            "tmp",
            "run",
            "etc/nix",
            "nix/var/nix/profiles",
            "unpacked",
        ] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let unpacked = root.join("unpacked");
        let tar = ["--zstd", "--strip-components=1", "-xf"];
        let status = Process::new("tar")
            .args(tar)
            .arg(archive?)
            .arg("-C")
            .arg(&unpacked)
            .status();
        assert!(status.unwrap().success());
        std::fs::rename(unpacked.join("store"), root.join("nix/store")).unwrap();
        std::fs::write(
            root.join("etc/nix/nix.conf"),
            "require-sigs = false\nsubstituters =\nbuild-users-group =\n",
        )
        .unwrap();
        let find = |part: &str| {
            let names = std::fs::read_dir(root.join("nix/store")).unwrap();
            let mut names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
            format!(
                "/nix/store/{}",
                names.find(|name| name.contains(part)).unwrap()
            )
        };
        let (nix, busybox) = (find("-nix-2"), find("-busybox"));
        std::os::unix::fs::symlink(&nix, root.join("nix/var/nix/profiles/nixctl")).unwrap();
        let (mut host, _, _) = fake::host(root);
        host.exec = Arc::new(Inside);
        host.services = Arc::new(FakeServices::default());
        let worker = InProcess::new(host.fs.clone());
        let real = Real {
            host,
            cancel: Cancel::default(),
            worker,
            busybox,
            nix,
            dir,
        };
        let registration = std::fs::read(unpacked.join(".reginfo")).unwrap();
        let load = real
            .store()
            .command("nix-store", &["--load-db"])
            .stdin(registration);
        real.host.exec.run(&load, &real.cancel).unwrap();
        Some(real)
    }

    pub(super) fn context(&self) -> Context<'_> {
        Context {
            host: &self.host,
            progress: &Silent,
            cancel: &self.cancel,
            worker: &self.worker,
        }
    }

    pub(super) fn store(&self) -> NixStore<'_> {
        NixStore::find(&self.context(), "test").unwrap()
    }

    /// Builds a generation; its parts by their names.
    pub(super) fn generation(&self, version: &str) -> BTreeMap<&'static str, String> {
        let text = include_str!("generation.nix");
        let text = text
            .replace("BUSYBOX", &self.busybox)
            .replace("VERSION", version);
        let parts = [
            "libc", "a", "b", "unit-a", "unit-b", "units", "conf", "etc", "sw", "kernel",
            "toplevel",
        ];
        let build = |part| {
            self.store()
                .build(format!("({text}).{part}").as_bytes())
                .unwrap()
        };
        parts.into_iter().map(|part| (part, build(part))).collect()
    }

    pub(super) fn put_into_cache(&self, path: &str) {
        self.copy("auto", "file:///cache", path);
    }

    /// Brings a path into the store.
    pub(super) fn fetch_now(&self, path: &str) {
        self.copy("file:///cache", "auto", path);
    }

    pub(super) fn copy(&self, from: &str, to: &str, path: &str) {
        let feature = ["--extra-experimental-features", "nix-command"];
        let args = ["copy", "--no-check-sigs", "--from", from, "--to", to, path];
        let args = [&feature[..], &args[..]].concat();
        let copy = self.store().command("nix", &args);
        self.host.exec.run(&copy, &self.cancel).unwrap();
    }

    pub(super) fn real(&self, path: &str) -> PathBuf {
        self.host.fs.real(Path::new(path))
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        let path = self.real(path);
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    pub(super) fn target_of(&self, path: &str) -> String {
        std::fs::read_link(self.real(path))
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// Everything in the store but Nix itself and what was left of building.
    pub(super) fn content(&self) -> BTreeSet<String> {
        let names = std::fs::read_dir(self.real("/nix/store")).unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        let paths: Vec<String> = names
            .filter(|name| {
                !name.starts_with('.') && !name.ends_with(".drv") && !name.ends_with(".lock")
            })
            .map(|name| format!("/nix/store/{name}"))
            .collect();
        self.store().valid(&paths).unwrap()
    }

    pub(super) fn booted(&self) -> String {
        let record = std::fs::read_to_string(self.real("/tmp/booted")).unwrap();
        record.lines().last().unwrap().to_owned()
    }

    pub(super) fn default_path(&self) -> String {
        let generations = Generations::read(&self.host.fs, Path::new(PROFILE)).unwrap();
        generations.default_path().unwrap().to_owned()
    }
}

/// A generation that the laboratory has made: its folder, and its toplevel.
pub(super) fn laboratory(name: &str) -> Option<(PathBuf, String)> {
    let made = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab/generation");
    let entries = std::fs::read_dir(made).ok()?.flatten();
    let mut folders = entries.map(|entry| entry.path()).filter(|path| {
        let own = path.file_name().and_then(|own| own.to_str());
        own.is_some_and(|own| own.starts_with(&format!("{name}-"))) && path.is_dir()
    });
    folders.find_map(|folder| {
        let toplevel = std::fs::read_to_string(folder.join("toplevel")).ok()?;
        Some((folder, toplevel))
    })
}

/// The laboratory's releases by their names, the oldest first.
fn archives() -> BTreeMap<OsString, PathBuf> {
    let dist = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/lab/dist");
    let releases = std::fs::read_dir(dist).into_iter().flatten().flatten();
    let files = releases.filter_map(|release| std::fs::read_dir(release.path()).ok());
    let files = files.flatten().flatten().map(|file| file.path());
    let named = files.filter_map(|file| Some((file.file_name()?.to_owned(), file)));
    let releases = named.filter(|(name, _)| {
        let name = name.to_string_lossy();
        name.contains("nix-2") && name.ends_with(".tar.zst")
    });
    releases.collect()
}

/// A machine that runs the old generation, beside a cache with both.
pub(super) struct Switch {
    pub(super) real: Real,
    pub(super) old: BTreeMap<&'static str, String>,
    pub(super) new: BTreeMap<&'static str, String>,
    pub(super) before: BTreeSet<String>,
}

impl Switch {
    pub(super) fn new() -> Option<Self> {
        Some(Self::on(Real::new()?))
    }

    /// With the oldest and with the newest Nix that there is.
    pub(super) fn both() -> impl Iterator<Item = Self> {
        let mut all = archives().into_values();
        let ends = [all.next(), all.next_back()];
        ends.into_iter()
            .filter(Option::is_some)
            .filter_map(|archive| Some(Self::on(Real::of(archive)?)))
    }

    fn on(real: Real) -> Self {
        let (old, new) = (real.generation("1"), real.generation("2"));
        for top in [&old["toplevel"], &new["toplevel"]] {
            real.put_into_cache(top);
        }
        real.link(&format!("{PROFILE}-1-link"), &old["toplevel"]);
        real.link(PROFILE, "system-1-link");
        real.link("/run/current-system", &old["toplevel"]);
        let store = real.store();
        let dead: Vec<String> = store.dead().unwrap().into_iter().collect();
        let keep = [&real.nix, &real.busybox];
        let dead: Vec<String> = dead
            .into_iter()
            .filter(|path| !keep.contains(&path))
            .collect();
        let deleted = store.delete(&dead).unwrap();
        assert!(deleted.alive.is_empty(), "{deleted:?}");
        let before = real.content();
        assert!(before.contains(&old["toplevel"]) && !before.contains(&new["libc"]));
        Switch {
            real,
            old,
            new,
            before,
        }
    }

    /// What a switch to the new one is planned from.
    pub(super) fn facts(
        &self,
        from: Option<&str>,
        strategy: Strategy,
    ) -> Result<SwitchFacts, Failure> {
        let request = SwitchRequest {
            toplevel: self.new["toplevel"].clone(),
            from: from.map(str::to_owned),
            strategy,
            ..SwitchRequest::default()
        };
        let question = Question {
            request: &OperationRequest::Switch(request.clone()),
            host: &self.real.host,
            settings: &Settings::default(),
            owned: &[],
            recorded: &Recorded::default(),
            unwatched: None,
            cancel: &Cancel::default(),
        };
        gather(&question, &request, OperationKind::Switch)
    }

    pub(super) fn fetch(&self, parts: &[&str]) -> FetchPaths {
        FetchPaths {
            roots: ROOTS.into(),
            paths: parts.iter().map(|&part| self.new[part].clone()).collect(),
            bytes: 100_000,
            from: Some("/cache".to_owned()),
        }
    }

    /// The first hybrid: `a` with its unit and file is new.
    pub(super) fn compose(&self) -> Compose {
        Compose {
            roots: ROOTS.into(),
            number: 1,
            base: Toplevel::Path(self.old["toplevel"].clone()),
            target: self.new["toplevel"].clone(),
            etc: vec!["app/a.conf".to_owned()],
            units: vec!["a.service".to_owned()],
            packages: vec![
                self.new["a"].clone(),
                self.old["b"].clone(),
                self.real.busybox.clone(),
            ],
            label: "1 of 2 components".to_owned(),
            from: Some("/cache".to_owned()),
            absent: Vec::new(),
        }
    }

    pub(super) fn set_default(&self, toplevel: Toplevel) -> SetDefault {
        SetDefault {
            roots: ROOTS.into(),
            profile: PROFILE.into(),
            hybrid: matches!(toplevel, Toplevel::Hybrid(_)),
            toplevel,
        }
    }

    pub(super) fn release(&self, toplevel: Toplevel, parts: &[&str]) -> Release {
        Release {
            roots: ROOTS.into(),
            profile: PROFILE.into(),
            toplevels: vec![toplevel],
            links: Vec::new(),
            paths: parts.iter().map(|&part| self.old[part].clone()).collect(),
            from: Some("/cache".to_owned()),
        }
    }
}

//! An upgrade that is cut off: at every call that it makes of others, and between any two steps, the
//! whole machine is copied as it is then, and another daemon goes on from the copy.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;

use nixctl_proto::request::UpgradeRequest;

use super::*;
use crate::catalogue::existing::OWN_PROFILE;
use crate::catalogue::facts::Facts;
use crate::engine::record::Owned;
use crate::health::database::DATABASE;
use crate::health::database::testing::{load, nix_at};
use crate::host::fake::{Answer, FakeServices};
use crate::host::service::{Processes, UnitState};
use crate::host::{Command, Output};
use crate::payload::worker::InProcess;
use crate::payload::{Archive, Manifest, manifest_path};
use crate::resource::payload::Payload;
use crate::resource::profile::Profile;
use crate::resource::registration::Registration;
use crate::upgrade::schema::SCHEMA;

/// The first is let go of, the second is replaced by the third.
const VERSIONS: [&str; 3] = ["2.24.1", "2.26.3", "2.34.8"];
const UNITS: [&str; 2] = ["nix-daemon.socket", "nix-daemon.service"];

/// Store path of a version.
fn nix_path(version: &str) -> String {
    let number = VERSIONS.iter().position(|it| *it == version).unwrap();
    format!("/nix/store/{number:032}-nix-{version}")
}

/// SHA-256 of its archive.
fn sha256(version: &str) -> String {
    format!("{:0>64}", version.replace('.', ""))
}

fn archive(version: &str) -> Archive {
    Archive {
        sha256: sha256(version),
        version: version.to_owned(),
        system: "x86_64-linux".to_owned(),
        store_gid: 0,
    }
}

/// The number of the form that it writes.
fn schema(version: &str) -> &'static str {
    if version == VERSIONS[2] { "11" } else { "10" }
}

/// A machine, with what survives the daemon.
struct World {
    root: tempfile::TempDir,
    state: tempfile::TempDir,
    services: Arc<FakeServices>,
    /// What was asked of the units before.
    earlier: Vec<String>,
    /// How many steps had begun.
    begun: AtomicUsize,
    /// Copies of it, taken while that is on.
    shots: Mutex<Option<Vec<World>>>,
}

/// All that has to be as before or as asked.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// Version that the profile leads to.
    profile: String,
    /// Versions that a generation of the profile holds.
    generations: BTreeSet<String>,
    /// Names in the store, but for environments.
    store: BTreeSet<String>,
    schema: String,
    /// Whether the tables are those of that number.
    fits: bool,
    registered: BTreeSet<String>,
    owned: Vec<String>,
    active: Vec<bool>,
    downloads: usize,
}

fn copy_tree(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_symlink() {
            symlink(std::fs::read_link(&from).unwrap(), &to).unwrap();
        } else if kind.is_dir() {
            std::fs::create_dir(&to).unwrap();
            copy_tree(&from, &to);
            let mode = std::fs::metadata(&from).unwrap().permissions();
            std::fs::set_permissions(&to, mode).unwrap();
        } else {
            std::fs::copy(&from, &to).unwrap();
        }
    }
}

impl World {
    fn bare() -> World {
        let services = Arc::new(FakeServices::default());
        services.set_processes(Processes {
            main: Some(10),
            others: Vec::new(),
        });
        World {
            root: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
            services,
            earlier: Vec::new(),
            begun: AtomicUsize::new(0),
            shots: Mutex::new(None),
        }
    }

    fn new() -> World {
        let world = World::bare();
        for folder in ["etc", "proc/self", "proc/10", "dev", "nix/store"] {
            std::fs::create_dir_all(world.at(folder)).unwrap();
        }
        for folder in ["nix/var/nix/db", "nix/var/nix/profiles", "var/lib/nixctl"] {
            std::fs::create_dir_all(world.at(folder)).unwrap();
        }
        for file in ["dev/ptmx", "nix/var/nix/db/big-lock"] {
            std::fs::write(world.at(file), "").unwrap();
        }
        let program = format!("{}/bin/nix-daemon", nix_path(VERSIONS[1]));
        symlink(program, world.at("proc/10/exe")).unwrap();
        for unit in UNITS {
            world.services.set(unit, "enabled", "active");
        }
        world
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// Takes a copy, as a power cut at this moment would leave it.
    fn shoot(&self) {
        let mut shots = self.shots.lock().unwrap();
        let Some(shots) = shots.as_mut() else {
            return;
        };
        let mut shot = World::bare();
        copy_tree(self.root.path(), shot.root.path());
        copy_tree(self.state.path(), shot.state.path());
        for (name, UnitState { active, .. }) in self.services.units() {
            shot.services.set(&name, "enabled", &active);
        }
        shot.earlier = [self.earlier.clone(), self.services.calls()].concat();
        shot.begun = AtomicUsize::new(self.begun.load(Ordering::SeqCst));
        shots.push(shot);
    }

    fn unpack(&self, version: &str) {
        for program in ["nix-store", "nix-env", "nix-daemon"] {
            let path = self.at(&format!("{}/bin/{program}", nix_path(version)));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let path = nix_path(version);
        let manifest = Manifest {
            version: version.to_owned(),
            nix: path.clone(),
            cacert: None,
            paths: vec![path.clone()],
            reginfo: format!("{path}\n{:064x}\n7\n\n0\n", 7),
            unpacked_bytes: 1,
            unpacked_inodes: 1,
        };
        let file = self.at(manifest_path(&sha256(version)).to_str().unwrap());
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, serde_json::to_vec(&manifest).unwrap()).unwrap();
    }

    /// What Nix's own programs do.
    fn nix(&self, command: &Command) -> Output {
        let args: Vec<&str> = command.args.iter().map(String::as_str).collect();
        let version = VERSIONS
            .into_iter()
            .find(|it| args[1].starts_with(&nix_path(it)))
            .unwrap();
        let (paths, database) = (&args[2..], self.at(DATABASE));
        let paths = paths.iter().filter(|it| it.starts_with("/nix/store/"));
        let paths: Vec<&str> = paths.copied().collect();
        if args.contains(&"--dump-db") {
            let store = args.iter().find_map(|it| it.strip_prefix("local?root="));
            let file = self.at(&format!("{}{SCHEMA}", store.unwrap()));
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, schema(version)).unwrap();
            return Output::default();
        }
        if args.contains(&"--profile") {
            self.install(version, paths[0]);
            return Output::default();
        }
        let found = std::fs::read_to_string(self.at(SCHEMA)).unwrap_or_default();
        assert!(
            *found <= *schema(version),
            "Nix {version} refuses the form {found}"
        );
        if found != schema(version) {
            let nix = nix_at(&database);
            if schema(version) == "11" {
                nix.execute_batch("alter table ValidPaths add column novel text")
                    .unwrap();
            }
            std::fs::write(self.at(SCHEMA), schema(version)).unwrap();
        }
        let mut said = String::new();
        if args.contains(&"--load-db") {
            load(&database, std::str::from_utf8(&command.stdin).unwrap());
        } else if args.contains(&"--check-validity") {
            let known = self.registered();
            let unknown = paths.iter().filter(|it| !known.contains(**it));
            said = unknown.map(|it| format!("{it}\n")).collect();
        } else if args.contains(&"--delete") {
            for path in paths {
                let sql = "delete from ValidPaths where path = ?1";
                nix_at(&database).execute(sql, [path]).unwrap();
                let _ = std::fs::remove_dir_all(self.at(path));
            }
        } else {
            // Nothing here refers to another path.
            assert!(args.contains(&"--referrers-closure"), "{args:?}");
        }
        Output {
            stdout: said.into_bytes(),
            ..Output::default()
        }
    }

    /// What `nix-env --install --remove-all` does.
    fn install(&self, version: &str, path: &str) {
        let environment = format!("/nix/store/{version}-user-environment");
        std::fs::create_dir_all(self.at(&environment)).unwrap();
        let list = self.at(&format!("{environment}/manifest.nix"));
        std::fs::write(list, path).unwrap();
        let _ = symlink(
            format!("{path}/bin"),
            self.at(&format!("{environment}/bin")),
        );
        if self.profile().is_some_and(|it| it == version) {
            return;
        }
        let number = self.generations().len() + 1;
        let number = (number..)
            .find(|it| !self.at(&format!("{OWN_PROFILE}-{it}-link")).is_symlink())
            .unwrap();
        let link = format!("{OWN_PROFILE}-{number}-link");
        symlink(environment, self.at(&link)).unwrap();
        let _ = std::fs::remove_file(self.at(OWN_PROFILE));
        symlink(format!("nixctl-{number}-link"), self.at(OWN_PROFILE)).unwrap();
    }

    fn version_of(&self, link: &Path) -> Option<String> {
        let environment = std::fs::read_link(link).ok()?;
        let name = environment.file_name()?.to_str()?;
        Some(name.strip_suffix("-user-environment")?.to_owned())
    }

    fn profile(&self) -> Option<String> {
        let link = std::fs::read_link(self.at(OWN_PROFILE)).ok()?;
        self.version_of(&self.at("/nix/var/nix/profiles").join(link))
    }

    fn generations(&self) -> Vec<String> {
        let links = std::fs::read_dir(self.at("/nix/var/nix/profiles")).unwrap();
        let links = links.map(|it| it.unwrap().path());
        links.filter_map(|it| self.version_of(&it)).collect()
    }

    fn registered(&self) -> BTreeSet<String> {
        let nix = nix_at(&self.at(DATABASE));
        let mut all = nix.prepare("select path from ValidPaths").unwrap();
        let all = all.query_map([], |row| row.get(0)).unwrap();
        all.map(Result::unwrap).collect()
    }

    fn seen(&self, engine: &Engine) -> Seen {
        let names = std::fs::read_dir(self.at("/nix/store")).unwrap();
        let names = names.map(|it| it.unwrap().file_name().into_string().unwrap());
        let units = self.services.units();
        let owned = engine.owned().into_iter();
        let owned = owned.map(|Owned { resource, undo, .. }| {
            let id = resource.describe().id;
            match resource {
                Resource::Profile(it) => format!("{id} {} {undo:?}", it.sha256),
                _ => id,
            }
        });
        let schema = std::fs::read_to_string(self.at(SCHEMA)).unwrap();
        let nix = nix_at(&self.at(DATABASE));
        let is_new = nix.prepare("select novel from ValidPaths").is_ok();
        Seen {
            fits: is_new == (schema == "11"),
            profile: self.profile().unwrap_or_default(),
            generations: self.generations().into_iter().collect(),
            store: names.filter(|it| !it.ends_with("environment")).collect(),
            schema,
            registered: self.registered(),
            owned: owned.collect(),
            active: UNITS
                .iter()
                .map(|it| units[*it].active == "active")
                .collect(),
            downloads: std::fs::read_dir(self.at(crate::payload::DOWNLOADS_DIR))
                .map_or(0, Iterator::count),
        }
    }

    /// Nobody waits for a main process that stays halted.
    fn is_served(&self) -> bool {
        let calls = [self.earlier.clone(), self.services.calls()].concat();
        let last = |words: &[&str]| {
            let is_one = |it: &String| words.iter().any(|word| it.starts_with(word));
            calls.iter().rposition(is_one)
        };
        last(&["halt"]) < last(&["continue", "restart", "stop nix-daemon.service"])
            || last(&["halt"]).is_none()
    }
}

/// Does its work in this process, with a copy of the machine before and after it.
struct Working(Arc<World>);

impl Worker for Working {
    fn run(
        &self,
        task: &Task,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), PayloadError> {
        let world = &self.0;
        world.shoot();
        match task {
            // The mark between two steps brings nothing.
            Task::Fetch(fetch) if fetch.release.sha256.starts_with("ab") => {
                world.begun.fetch_add(1, Ordering::SeqCst);
                return Ok(());
            }
            Task::Fetch(fetch) => {
                let folder = world.at(crate::payload::DOWNLOADS_DIR);
                std::fs::create_dir_all(&folder).unwrap();
                std::fs::write(folder.join(&fetch.release.sha256), "").unwrap();
            }
            Task::Unpack(archive) => world.unpack(&archive.version),
            Task::Feed(_) | Task::Turn(_) | Task::UnpackSelf(_) => panic!("nobody is asked"),
            Task::Database(_) => {
                let fs = crate::host::Fs::at(world.root.path());
                InProcess::new(fs).run(task, progress, cancel)?;
            }
        }
        world.shoot();
        Ok(())
    }
}

fn engine(world: &Arc<World>, fails: bool) -> Engine {
    let (host, exec, _) = fake::host(world.root.path());
    let host = Host {
        services: world.services.clone(),
        ..host
    };
    let nix = Arc::clone(world);
    let effect = move |command: &Command| {
        nix.shoot();
        let output = nix.nix(command);
        nix.shoot();
        output
    };
    exec.answer("chroot", &[], Answer::effect(effect));
    let planner = move |question: &Question<'_>| match question.request {
        OperationRequest::Install(_) => Ok(planned(question.request.kind(), first())),
        _ => plan_of(question, fails),
    };
    Engine::start(EngineParts {
        host,
        state_dir: world.state.path().join("state"),
        settings: Settings::default(),
        planner: Box::new(Plans(planner)),
        worker: Box::new(Working(Arc::clone(world))),
        switch: Box::new(crate::switch::carry::Machine),
        patience: Duration::from_millis(200),
        is_resident: false,
    })
    .unwrap()
}

/// Two releases, one after the other.
fn first() -> Vec<Step> {
    let of = |version: &str| {
        let sha256 = sha256(version);
        let profile = Profile {
            link: OWN_PROFILE.into(),
            sha256: sha256.clone(),
        };
        let archive = archive(version);
        [
            Resource::Payload(Payload { archive }),
            Resource::Registration(Registration { sha256 }),
            Resource::Profile(profile),
        ]
        .map(Step::Ensure)
    };
    VERSIONS[..2].iter().flat_map(|it| of(it)).collect()
}

/// The upgrade with a mark before every step; with one at its end that fails.
fn plan_of(question: &Question<'_>, fails: bool) -> Result<Planned, Failure> {
    let request = UpgradeRequest {
        version: Some(VERSIONS[2].to_owned()),
        drain: Some(0),
        ..UpgradeRequest::default()
    };
    let release = Release {
        source: Source::Path("/srv/nix.tar.xz".into()),
        sha256: sha256(VERSIONS[2]),
        size: Some(1),
        version: VERSIONS[2].to_owned(),
        system: "x86_64-linux".to_owned(),
    };
    let plan = crate::upgrade::plan::plan(question, &request, Facts::plain_debian(), |_, _| {
        Ok(Some(release))
    })?;
    assert_eq!(plan.view.refusal(), None);
    let steps = plan.steps.into_iter().map(|it| it.step);
    let steps = steps.filter(|it| !matches!(it, Step::SelfTest(_)));
    let failing = fails.then(|| file("/missing/c"));
    let marked = steps.chain(failing).flat_map(|it| [fetch_of(1), it]);
    Ok(planned(question.request.kind(), marked.collect()))
}

fn off() -> OperationRequest {
    OperationRequest::Uninstall(UninstallRequest::default())
}

fn done(engine: &Engine, request: OperationRequest) -> OperationView {
    let id = engine.submit(request, RequestOptions::default(), 0);
    end_of(engine, &id.unwrap())
}

/// Upgrades, and goes on from every copy that was taken meanwhile.
fn each_cut_ends_alike(fails: bool) {
    let world = Arc::new(World::new());
    let engine_of = |world: &Arc<World>| engine(world, fails);
    let whole = engine_of(&world);
    let installed = done(&whole, install());
    assert_eq!(installed.state, State::Succeeded, "{installed:?}");
    let before = world.seen(&whole);
    assert_eq!(before.profile, VERSIONS[1]);
    *world.shots.lock().unwrap() = Some(Vec::new());
    let end = done(&whole, off());
    let mut shots = world.shots.lock().unwrap().take().unwrap();
    let (state, after) = (end.state, world.seen(&whole));
    stop(whole);
    if fails {
        assert_eq!(state, State::Reverted, "{end:?}");
        assert_eq!(after, before);
    } else {
        assert_eq!(state, State::Succeeded, "{end:?}");
        assert_eq!((&*after.profile, &*after.schema), (VERSIONS[2], "11"));
        assert_eq!(
            after.generations,
            VERSIONS[1..].iter().map(|it| (*it).to_owned()).collect()
        );
        let lost = sha256(VERSIONS[0]);
        assert!(
            !after.owned.iter().any(|it| it.contains(&lost)),
            "{after:?}"
        );
        assert_eq!(after.owned.len(), before.owned.len());
        assert_eq!((after.downloads, before.downloads), (0, 0));
    }
    assert!(world.is_served() && after.active == [true, true]);
    assert!(shots.len() > 20, "{}", shots.len());
    if fails {
        // Until then it is as without the failure.
        let all = world.begun.load(Ordering::SeqCst);
        shots.retain(|it| it.begun.load(Ordering::SeqCst) == all);
        assert!(shots.len() > 10, "{}", shots.len());
    }
    for (shot, cut) in shots.into_iter().zip(0..) {
        let shot = Arc::new(shot);
        let engine = engine_of(&shot);
        let end = end_of(&engine, &end.id);
        let seen = shot.seen(&engine);
        stop(engine);
        assert_eq!(end.state, state, "cut {cut}: {end:?}");
        assert_eq!(seen, after, "cut {cut}");
        assert!(shot.is_served(), "cut {cut}: {:?}", shot.services.calls());
    }
}

#[test]
fn an_upgrade_that_is_cut_off_anywhere_ends_with_the_new_version() {
    each_cut_ends_alike(false);
}

#[test]
fn an_upgrade_that_fails_and_is_cut_off_anywhere_ends_with_the_old_version() {
    each_cut_ends_alike(true);
}

/// Stands still until the daemon goes down.
struct Late;

impl Worker for Late {
    fn run(&self, _: &Task, _: &dyn Progress, cancel: &Cancel) -> Result<(), PayloadError> {
        while cancel.requested() != Some(Stop::Shutdown) {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// Nobody knows for how long it is down.
#[test]
fn while_the_daemon_is_down_in_the_middle_of_an_upgrade_nobody_waits() {
    let world = World::new();
    let (host, ..) = fake::host(world.root.path());
    let steps = |question: &Question<'_>| {
        let quiet = crate::upgrade::quiet::Quiet { seconds: 0 };
        let quiet = Step::Upgrade(crate::upgrade::step::UpgradeStep::Quiet(quiet));
        let steps = vec![quiet, fetch_of(1), file("/etc/a")];
        Ok(planned(question.request.kind(), steps))
    };
    let engine = Engine::start(EngineParts {
        host: Host {
            services: world.services.clone(),
            ..host
        },
        state_dir: world.state.path().join("state"),
        settings: Settings::default(),
        planner: Box::new(Plans(steps)),
        worker: Box::new(Late),
        switch: Box::new(crate::switch::carry::Machine),
        patience: Duration::from_millis(200),
        is_resident: false,
    })
    .unwrap();
    let request = OperationRequest::Upgrade(UpgradeRequest::default());
    let id = engine
        .submit(request, RequestOptions::default(), 0)
        .unwrap();
    let begin = Instant::now();
    while engine.show(&id).unwrap().step < 2 {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
    stop(engine);
    let calls = ["halt nix-daemon.service", "continue nix-daemon.service"];
    assert_eq!(world.services.calls(), calls);
}

/// What the daemon adds to a request by who asked does not make it another one.
#[test]
fn the_same_upgrade_asked_for_again_is_the_same_operation() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let ask = |version: &str, may_be_older: bool| {
        let request = OperationRequest::Upgrade(UpgradeRequest {
            version: Some(version.to_owned()),
            may_be_older,
            ..UpgradeRequest::default()
        });
        let options = RequestOptions {
            request_id: Some("mine".to_owned()),
            dry_run: true,
            ..RequestOptions::default()
        };
        engine.submit(request, options, 0)
    };
    let first = ask("2.34.8", false).unwrap();
    assert_eq!(ask("2.34.8", true).unwrap(), first);
    assert_eq!(ask("2.26.3", false).unwrap_err().code, Code::Conflict);
    end_of(&engine, &first);
    stop(engine);
}

//! The self-test: a real build through the daemon, as root and as an ordinary user, and Nix on
//! PATH in a login shell of every shell present, each under a deadline.
//!
//! None of them needs another, so they run side by side, and all are heard to their end.
//! The derivation needs nothing but Nix: its builder is `nix-store` itself, which writes a key
//! into the output. So it works in a sandbox without any shell; where that builder fails, `/bin/sh`
//! is tried before the test counts as failed. What was built is deleted again.

use std::path::Path;
use std::thread::ScopedJoinHandle;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::host::accounts;
use crate::host::nix_daemon::{self, NixDaemonError, SupervisedDaemon};
use crate::host::{Command, ExecError, Host, Output};
use crate::payload::{Manifest, STATE_DIR};
use crate::resource::{Context, Description, ResourceError, nix_command};

const SOCKET: &str = "/nix/var/nix/daemon-socket/socket";
const LOGS: &str = "/nix/var/log/nix/drvs";
/// Time for a daemon that is started for the test.
const DAEMON_DEADLINE: Duration = Duration::from_secs(10);
/// Bytes of a program's output in an error.
const TAIL: usize = 1500;
/// A home that does not exist: nothing of the test stays in anybody's.
const NO_HOME: &str = "/var/empty/nixctl-self-test";

/// Homes of the login shells that are tested: fish makes folders in its home, and they shall not
/// stay in anybody's.
const SHELL_HOMES: &str = "/var/lib/nixctl/self-test-home";

/// Beginning of the names of what is built.
const NAME: &str = "nixctl-self-test";

/// What is tested.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfTest {
    /// SHA-256 of the release, whose manifest names the store paths.
    pub sha256: String,
    /// Through nix-daemon (false: single user, as root only).
    pub daemon: bool,
    /// Shells to test, of `sh`, `bash`, `zsh`, `fish`.
    pub shells: Vec<String>,
    /// Seconds for each command.
    pub seconds: u64,
}

/// What was built, and the derivations that Nix named while it did: none when it was silent.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Built {
    path: String,
    derivations: Vec<String>,
}

/// Why nothing was built, and the derivations that Nix named before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Unbuilt {
    why: String,
    derivations: Vec<String>,
}

/// What became of a builder's attempts: what was built, and the derivations of which nothing was.
#[derive(Debug)]
struct Attempts {
    built: Result<Built, ResourceError>,
    in_vain: Vec<String>,
}

/// Somebody who builds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Builder {
    name: String,
    ids: Option<(u32, u32)>,
}

impl Builder {
    fn root() -> Builder {
        Builder {
            name: "root".to_owned(),
            ids: None,
        }
    }
}

impl SelfTest {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        let way = if self.daemon {
            "through nix-daemon, as root and as a user"
        } else {
            "as root"
        };
        let shells = self
            .shells
            .iter()
            .map(|it| format!("find Nix on PATH in a login {it}"));
        Description {
            id: "self-test".to_owned(),
            summary: "prove that Nix works".to_owned(),
            details: std::iter::once(format!("build a small derivation {way}"))
                .chain(shells)
                .collect(),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// [`ResourceError::SelfTest`] with who or which shell failed and what was printed.
    pub fn run(&self, context: &Context<'_>) -> Result<(), ResourceError> {
        let host = context.host;
        if host.is_image() {
            context
                .progress
                .note("the self-test was left out: nothing runs in an image");
            return Ok(());
        }
        let manifest = nix_command::manifest(host, &self.sha256, "self-test")?;
        let daemon = self.daemon_for_the_test(context, &manifest)?;
        let builders = self.builders(context)?;
        let (built, found) = std::thread::scope(|scope| {
            let looking = scope.spawn(|| self.find_everywhere(context));
            let built = self.build_all(context, &manifest, &builders);
            (built, joined(looking))
        });
        drop(daemon);
        built.and(found)
    }

    /// Builds as all of them at once, then deletes what was built.
    fn build_all(
        &self,
        context: &Context<'_>,
        manifest: &Manifest,
        builders: &[Builder],
    ) -> Result<(), ResourceError> {
        let attempts: Vec<Attempts> = std::thread::scope(|scope| {
            let building: Vec<_> = builders
                .iter()
                .map(|builder| scope.spawn(|| self.build(context, manifest, builder)))
                .collect();
            building.into_iter().map(joined).collect()
        });
        let successes: Vec<&Built> = attempts.iter().flat_map(|it| &it.built).collect();
        let in_vain: Vec<&str> = attempts
            .iter()
            .flat_map(|it| it.in_vain.iter().map(String::as_str))
            .collect();
        let deleted = self
            .delete(context, manifest, &successes)
            .and_then(|()| self.delete_unbuilt(context, manifest, &in_vain));
        attempts
            .into_iter()
            .try_for_each(|it| it.built.map(drop))
            .and(deleted)
    }

    /// Without a service manager nothing has started nix-daemon yet.
    fn daemon_for_the_test(
        &self,
        context: &Context<'_>,
        manifest: &Manifest,
    ) -> Result<Option<SupervisedDaemon>, ResourceError> {
        let socket = Path::new(SOCKET);
        if !self.daemon || nix_daemon::answers(socket) {
            return Ok(None);
        }
        let program = Path::new(&manifest.nix).join("bin/nix-daemon");
        match SupervisedDaemon::start(&program, socket, DAEMON_DEADLINE, context.cancel) {
            Ok(daemon) => Ok(Some(daemon)),
            Err(NixDaemonError::Stopped) => Err(stopped()),
            Err(error) => Err(failed("reach nix-daemon", &error.to_string())),
        }
    }

    fn builders(&self, context: &Context<'_>) -> Result<Vec<Builder>, ResourceError> {
        let root = Builder::root();
        if !self.daemon {
            return Ok(vec![root]);
        }
        let user = match accounts::first_ordinary_user(context.host)? {
            Some(user) => Some(user),
            None => accounts::user(context.host, "nobody")?,
        };
        let Some(user) = user else {
            context
                .progress
                .note("no build was tried as an ordinary user: there is none");
            return Ok(vec![root]);
        };
        Ok(vec![
            root,
            Builder {
                name: user.name,
                ids: Some((user.uid, user.gid)),
            },
        ])
    }

    /// Builds it.
    fn build(&self, context: &Context<'_>, manifest: &Manifest, builder: &Builder) -> Attempts {
        let name = format!("{NAME}-{}-{}", builder.name, context.host.clock.now());
        let (mut first_why, mut in_vain) = (None, Vec::new());
        for derivation in [own_derivation(&name, manifest), shell_derivation(&name)] {
            let built = match self.try_build(context, manifest, builder, &derivation) {
                Err(error) => Err(error),
                Ok(Ok(built)) => Ok(built),
                Ok(Err(unbuilt)) => {
                    in_vain.extend(unbuilt.derivations);
                    first_why.get_or_insert(unbuilt.why);
                    continue;
                }
            };
            return Attempts { built, in_vain };
        }
        let what = format!("build a derivation as {}", builder.name);
        Attempts {
            built: Err(failed(&what, &first_why.unwrap_or_default())),
            in_vain,
        }
    }

    /// What was built; the inner error has what Nix said.
    fn try_build(
        &self,
        context: &Context<'_>,
        manifest: &Manifest,
        builder: &Builder,
        derivation: &str,
    ) -> Result<Result<Built, Unbuilt>, ResourceError> {
        let options = ["--no-out-link", "--option", "substitute", "false"];
        let more = [
            "--option",
            "builders",
            "",
            "--option",
            "post-build-hook",
            "",
        ];
        let command = self
            .nix(context.host, manifest, builder, "nix-build")
            .args(options)
            .args(more)
            .args(["--expr", derivation]);
        let output = match self.output(context, &command)? {
            Ok(output) => output,
            Err(why) => {
                return Ok(Err(Unbuilt {
                    why,
                    ..Unbuilt::default()
                }));
            }
        };
        let path = output.text().lines().last().unwrap_or_default().to_owned();
        let derivations = named_derivations(&output.stderr);
        if output.code != 0 || !path.starts_with("/nix/store/") {
            let why = tail(&output);
            return Ok(Err(Unbuilt { why, derivations }));
        }
        Ok(Ok(Built { path, derivations }))
    }

    /// As well as it goes: a leftover of the test is the garbage collector's.
    fn delete(
        &self,
        context: &Context<'_>,
        manifest: &Manifest,
        built: &[&Built],
    ) -> Result<(), ResourceError> {
        if built.is_empty() {
            return Ok(());
        }
        let root = Builder::root();
        let nix_store = |words: &[&str]| {
            self.nix(context.host, manifest, &root, "nix-store")
                .args(words.iter().copied())
                .args(built.iter().map(|built| built.path.as_str()))
        };
        let mut derivations: Vec<String> = built
            .iter()
            .flat_map(|built| built.derivations.iter().cloned())
            .collect();
        if built.iter().any(|built| built.derivations.is_empty()) {
            let asked = self.output(context, &nix_store(&["--query", "--deriver"]))?;
            let text = asked.map(|output| output.text()).unwrap_or_default();
            let lines = text.lines().filter(|line| is_derivation(line));
            derivations.extend(lines.map(str::to_owned));
            derivations.sort();
            derivations.dedup();
        }
        let _ = self.output(
            context,
            &nix_store(&["--delete"]).args(derivations.iter().map(String::as_str)),
        )?;
        for name in derivations
            .iter()
            .filter_map(|path| path.strip_prefix("/nix/store/"))
        {
            remove_log(context.host, name)?;
        }
        Ok(())
    }

    /// The same of derivations of which nothing was built: with the locks of what they would have made,
    /// which Nix leaves where it fails early.
    fn delete_unbuilt(
        &self,
        context: &Context<'_>,
        manifest: &Manifest,
        derivations: &[&str],
    ) -> Result<(), ResourceError> {
        if derivations.is_empty() {
            return Ok(());
        }
        let root = Builder::root();
        let nix_store = |words: &[&str]| {
            self.nix(context.host, manifest, &root, "nix-store")
                .args(words.iter().copied())
                .args(derivations.iter().copied())
        };
        let asked = self.output(context, &nix_store(&["--query", "--outputs"]))?;
        let text = asked.map(|output| output.text()).unwrap_or_default();
        let locks = text.lines().filter(|it| it.starts_with("/nix/store/"));
        let delete = nix_store(&["--delete"]).args(locks.map(|it| format!("{it}.lock")));
        let _ = self.output(context, &delete)?;
        for derivation in derivations {
            if let Some(name) = derivation.strip_prefix("/nix/store/") {
                remove_log(context.host, name)?;
            }
        }
        Ok(())
    }

    /// Looks in every shell at once, each in an empty home.
    fn find_everywhere(&self, context: &Context<'_>) -> Result<(), ResourceError> {
        let (fs, homes) = (&context.host.fs, Path::new(SHELL_HOMES));
        fs.remove_tree(homes)?;
        if !fs.is_dir(Path::new(STATE_DIR)) {
            fs.create_dir(Path::new(STATE_DIR), 0o700)?;
        }
        fs.create_dir(homes, 0o700)?;
        let looks = self.shells.iter().enumerate().map(|(number, shell)| {
            let home = homes.join(number.to_string());
            fs.create_dir(&home, 0o700).map(|()| (shell, home))
        });
        let looks = looks.collect::<Result<Vec<_>, _>>()?;
        let found: Vec<Result<(), ResourceError>> = std::thread::scope(|scope| {
            let looking: Vec<_> = looks
                .iter()
                .map(|(shell, home)| scope.spawn(|| self.find_in(context, shell, home)))
                .collect();
            looking.into_iter().map(joined).collect()
        });
        fs.remove_tree(homes)?;
        found.into_iter().collect()
    }

    fn find_in(
        &self,
        context: &Context<'_>,
        shell: &str,
        home: &Path,
    ) -> Result<(), ResourceError> {
        let what = format!("find Nix on PATH in a login {shell}");
        if context.host.exec.find(shell).is_none() {
            context
                .progress
                .note(&format!("no login {shell} was tried: it is not installed"));
            return Ok(());
        }
        let question = if shell == "fish" {
            "type -p nix-build"
        } else {
            "command -v nix-build"
        };
        let command = Command::new(shell)
            .args(["-l", "-c", question])
            .env("HOME", context.host.fs.real(home).display().to_string())
            .env("USER", "root")
            .env("LOGNAME", "root")
            .env("TERM", "dumb")
            .deadline(self.deadline());
        let output = self
            .output(context, &command)?
            .map_err(|why| failed(&what, &why))?;
        let found = output.text();
        let path = found.lines().last().unwrap_or_default();
        if output.code == 0 && is_ours(path) {
            return Ok(());
        }
        let why = if path.is_empty() {
            format!("nix-build is not there{}", colon(&tail(&output)))
        } else {
            format!("nix-build is {path}{}", colon(&tail(&output)))
        };
        Err(failed(&what, &why))
    }

    fn nix(&self, host: &Host, manifest: &Manifest, builder: &Builder, program: &str) -> Command {
        let mut command = nix_command::command(host, manifest, program, &[]);
        command.env = vec![("HOME".to_owned(), NO_HOME.to_owned())];
        if self.daemon {
            command = command.env("NIX_REMOTE", "daemon");
        }
        if let Some((uid, gid)) = builder.ids {
            command = command.run_as(uid, gid);
        }
        command.deadline(self.deadline())
    }

    /// Runs it; the inner error says that it hung or could not be started.
    fn output(
        &self,
        context: &Context<'_>,
        command: &Command,
    ) -> Result<Result<Output, String>, ResourceError> {
        match context.host.exec.output(command, context.cancel) {
            Ok(output) => Ok(Ok(output)),
            Err(ExecError::Stopped { .. }) => Err(stopped()),
            Err(ExecError::Deadline { deadline, .. }) => Ok(Err(format!(
                "it did not end within {} s",
                deadline.as_secs()
            ))),
            Err(error) => Ok(Err(error.to_string())),
        }
    }

    fn deadline(&self) -> Duration {
        Duration::from_secs(self.seconds.max(1))
    }
}

/// What a thread of the test came to; its panic is the test's.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Derivations of the test that Nix says it builds. Asking for them afterwards costs a program and
/// a connection more.
fn named_derivations(stderr: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stderr);
    let words = text.split(|it: char| it.is_whitespace() || it == '\'');
    let of_the_test = |word: &&str| is_derivation(word) && word.contains(NAME);
    let mut named: Vec<String> = words.filter(of_the_test).map(str::to_owned).collect();
    named.sort();
    named.dedup();
    named
}

fn is_derivation(path: &str) -> bool {
    path.starts_with("/nix/store/") && path.ends_with(".drv")
}

fn own_derivation(name: &str, manifest: &Manifest) -> String {
    let nix = &manifest.nix;
    format!(
        r#"derivation {{
  name = "{name}";
  system = builtins.currentSystem;
  builder = "${{builtins.storePath "{nix}"}}/bin/nix-store";
  args = [ "--generate-binary-cache-key" "self-test-1" (placeholder "out") "public" ];
  NIX_REMOTE = "dummy://";
}}"#
    )
}

fn shell_derivation(name: &str) -> String {
    format!(
        r#"derivation {{
  name = "{name}-sh";
  system = builtins.currentSystem;
  builder = "/bin/sh";
  args = [ "-c" "echo ok > $out" ];
}}"#
    )
}

/// Nix writes the log of the derivation `HASH-NAME.drv` to `LOGS/HA/SH-NAME.drv.bz2`.
fn remove_log(host: &Host, name: &str) -> Result<(), ResourceError> {
    let Some((start, rest)) = name.split_at_checked(2) else {
        return Ok(());
    };
    let folder = Path::new(LOGS).join(start);
    for end in [".bz2", ""] {
        let path = folder.join(format!("{rest}{end}"));
        if host.fs.meta(&path)?.is_some() {
            host.fs.remove_file(&path)?;
        }
    }
    if host.fs.is_dir(&folder) {
        host.fs.remove_dir(&folder)?;
    }
    Ok(())
}

/// A profile of the system comes before everything else on PATH.
fn is_ours(path: &str) -> bool {
    path.starts_with("/nix/var/nix/profiles/") || path.starts_with("/nix/store/")
}

fn tail(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let text = text.trim();
    let start = text.char_indices().rev().nth(TAIL).map_or(0, |(at, _)| at);
    match &text[start..] {
        "" => format!("it ended with {}", output.code),
        end => end.to_owned(),
    }
}

fn colon(text: &str) -> String {
    format!(": {text}")
}

fn failed(what: &str, why: &str) -> ResourceError {
    ResourceError::SelfTest {
        what: what.to_owned(),
        why: why.to_owned(),
    }
}

fn stopped() -> ResourceError {
    ResourceError::Stopped {
        id: "self-test".to_owned(),
    }
}

#[cfg(test)]
#[path = "self_test_tests.rs"]
mod tests;

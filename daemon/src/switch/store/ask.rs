//! Questions to Nix about what is in a store, all of them under one deadline.
//!
//! They are read-only, and go to one store alone: else Nix would look for what is missing in every
//! binary cache that the machine has. Nix keeps what caches say in its home; that is a folder in memory
//! (`/run`) that goes with the questions, so that asking leaves nothing on the machine.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use nixctl_planner::closure::StorePath;

use crate::host::{Cancel, Command, Fs, FsError, Host};
use crate::resource::nix_command;
use crate::switch::store::closure::ReadError;
use crate::switch::store::source::Source;

/// Folder of the homes with what it is in, and how each begins; the number of the process follows.
const FOLDERS: [&str; 2] = ["/run", FOLDER];
const FOLDER: &str = "/run/nixctl";
const PREFIX: &str = "ask-";

/// What Nix is told about caches: a question is soon answered, or soon given up. Downloads have more
/// patience.
const PATIENCE: [&str; 9] = [
    "--option",
    "connect-timeout",
    "10",
    "--option",
    "stalled-download-timeout",
    "20",
    "--option",
    "download-attempts",
    "2",
];

/// The same for ssh, which must not ask anybody anything either.
const SSH_PATIENCE: &str = "-oBatchMode=yes -oConnectTimeout=10 -oServerAliveInterval=10";

/// Who asks.
#[derive(Debug)]
pub(in crate::switch) struct Ask<'a> {
    pub host: &'a Host,
    /// Store path of Nix.
    nix: &'a StorePath,
    cancel: &'a Cancel,
    until: Instant,
    home: OnceCell<Home>,
}

impl<'a> Ask<'a> {
    /// Asks by the programs of `nix`, for so long.
    pub fn new(host: &'a Host, nix: &'a StorePath, cancel: &'a Cancel, time: Duration) -> Self {
        Ask {
            host,
            nix,
            cancel,
            until: Instant::now() + time,
            home: OnceCell::new(),
        }
    }

    /// Sets the time for all questions together.
    pub fn within(&mut self, time: Duration) {
        self.until = Instant::now() + time;
    }

    /// A question to `nix`.
    pub fn nix(&self, from: &Source, verb: &str) -> Command {
        let args = ["--extra-experimental-features", "nix-command", verb];
        let command = self.of("nix", &args);
        match from {
            Source::Local => command.arg("--offline"),
            Source::Cache(url) => at(command, url.as_str()),
        }
    }

    /// A question about a setting of Nix.
    pub fn setting(&self, name: &str) -> Command {
        let args = ["--extra-experimental-features", "nix-command", "config"];
        self.of("nix", &args).args(["show", name])
    }

    /// A question to `nix-store`.
    pub fn nix_store(&self, from: &Source, verb: &str) -> Command {
        let command = self.of("nix-store", &[verb]);
        match from {
            Source::Local => command,
            Source::Cache(url) => at(command, url.as_str()),
        }
    }

    /// The answer.
    pub fn run(&self, from: &Source, command: Command) -> Result<Vec<u8>, ReadError> {
        let home = match self.home.get() {
            Some(home) => home,
            None => {
                let home = Home::new(self.host.fs.clone())?;
                self.home.get_or_init(|| home)
            }
        };
        let left = self.until.saturating_duration_since(Instant::now());
        let command = command
            .env("HOME", home.path.display().to_string())
            .deadline(left);
        let output = self.host.exec.run(&command, self.cancel);
        let fail = |source| ReadError::Exec {
            from: from.clone(),
            source,
        };
        Ok(output.map_err(fail)?.stdout)
    }

    fn of(&self, program: &str, args: &[&str]) -> Command {
        nix_command::command_of(self.host, self.nix.as_str(), program, args)
    }
}

fn at(command: Command, url: &str) -> Command {
    let command = command
        .args(["--store", url, "--option", "substituters", ""])
        .args(PATIENCE);
    match url.starts_with("ssh") {
        true => command.env("NIX_SSHOPTS", SSH_PATIENCE),
        false => command,
    }
}

/// A folder that goes when nobody asks any more.
#[derive(Debug)]
struct Home {
    fs: Fs,
    path: PathBuf,
    /// The folders around it that were made for it, the outer ones first.
    made: Vec<&'static Path>,
}

impl Home {
    fn new(fs: Fs) -> Result<Self, FsError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut made = Vec::new();
        for folder in FOLDERS.map(Path::new) {
            if fs.meta(folder)?.is_none() {
                fs.create_dir(folder, 0o755)?;
                made.push(folder);
            }
        }
        sweep(&fs)?;
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{count}", std::process::id());
        let path = Path::new(FOLDER).join(name);
        let home = Home { fs, path, made };
        home.fs.create_dir(&home.path, 0o700)?;
        Ok(home)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let removed = self.fs.remove_tree(&self.path).and_then(|()| {
            let mut folders = self.made.iter().rev();
            folders.try_for_each(|folder| self.fs.remove_dir(folder).map(drop))
        });
        if let Err(error) = removed {
            tracing::warn!("a folder in memory stays until the next question: {error}");
        }
    }
}

/// Takes away the homes of processes that were killed.
fn sweep(fs: &Fs) -> Result<(), FsError> {
    let folder = Path::new(FOLDER);
    for name in fs.list(folder)? {
        let name = name.to_string_lossy();
        let process = name.strip_prefix(PREFIX).and_then(|it| it.split_once('-'));
        let Some(process) = process.and_then(|(number, _)| number.parse::<u32>().ok()) else {
            continue;
        };
        let of_process = format!("/proc/{process}");
        if process != std::process::id() && !Path::new(&of_process).exists() {
            fs.remove_tree(&folder.join(&*name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_goes_with_what_it_was_for() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        let real = |path: &str| dir.path().join(path);
        std::fs::create_dir(real("run")).unwrap();
        let home = Home::new(fs.clone()).unwrap();
        let other = Home::new(fs.clone()).unwrap();
        assert_ne!(home.path, other.path);
        assert!(fs.is_dir(&home.path));
        std::fs::create_dir(fs.real(&home.path).join(".cache")).unwrap();
        drop(other);
        drop(home);
        assert!(!real("run/nixctl").exists());
        // What is there stays; what a killed process left goes.
        std::fs::create_dir(real("run/nixctl")).unwrap();
        std::fs::write(real("run/nixctl/socket"), "").unwrap();
        let own = format!("{PREFIX}{}-x", std::process::id());
        for left in ["ask-4194999-7", &own, "ask-me"] {
            std::fs::create_dir(real("run/nixctl").join(left)).unwrap();
        }
        drop(Home::new(fs).unwrap());
        let left = std::fs::read_dir(real("run/nixctl")).unwrap();
        let mut left: Vec<_> = left.map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, [own.as_str(), "ask-me", "socket"]);
    }
}

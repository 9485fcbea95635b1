//! What is wrong with a machine that runs generations: of what it boots, a path that is missing or
//! damaged; of what it runs, anything that a finished switch would not have left.

use std::time::Duration;

use super::store::Packages;
use super::{Generation, NIX_PROFILE, Site};
use crate::error::{Error, Result};
use crate::exec::{Output, Run};

/// Looks at what a machine boots.
const COMPLETE: &str = include_str!("../../files/generation/complete.sh");
/// Puts the disk of a machine that is off where a Nix can read it, then looks. Arguments: the script,
/// the disk, the root, /boot, nix-store.
const BESIDE: &str = "mount --bind \"$2\" \"$3/nix\" && mount -t proc proc \"$3/proc\" && \
                      exec sh -c \"$1\" sh \"$3\" \"$4\" \"$5\"";
/// How long a service may take until it answers.
const PATIENCE: Duration = Duration::from_secs(120);
/// Reading every file of two closures.
const DEADLINE: Duration = Duration::from_secs(120);

/// What a machine would boot now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boots {
    /// What the profile leads to.
    pub profile: String,
    /// What the boot entry names.
    pub entry: String,
    /// What of both closures is missing or damaged.
    pub problems: Vec<String>,
}

impl Site {
    /// What the machine would boot, every path of its closure read and compared with its hash. A
    /// machine that is off is looked at through a copy of its disk.
    pub fn boot_default(&self) -> Result<Boots> {
        let output = match self.host.machine.leader() {
            Some(_) => {
                let program = format!("{NIX_PROFILE}/bin/nix-store");
                let words = ["sh", "-c", COMPLETE, "sh", "", "/boot", &program];
                let run = self.host.machine.command(&words);
                run.label("look at what is booted").deadline(DEADLINE).run()
            }
            None => self.look_from_outside(),
        };
        Boots::read(&output?.ok()?.stdout)
    }

    fn look_from_outside(&self) -> Result<Output> {
        let packages = Packages::get()?;
        let program = format!("{}/bin/nix-store", packages.release().nix);
        let root = packages.root().to_string_lossy().into_owned();
        let boot = self.host.machine.root().join("boot");
        let boot = boot.to_string_lossy();
        self.host.disk.copy()?.mounted(|disk| {
            let disk = disk.to_string_lossy();
            let words = [
                "unshare", "--mount", "sh", "-c", BESIDE, "sh", COMPLETE, &disk, &root, &boot,
                &program,
            ];
            let run = Run::new(&words).label("look at what is booted");
            run.env("HOME", "/root").deadline(DEADLINE).run()
        })
    }

    /// What speaks against a generation being what runs, is booted, is whole, and answers.
    pub fn wrong_with(&self, generation: &Generation) -> Result<Vec<String>> {
        let mut problems = Vec::new();
        let mut is = |what: &str, seen: &str| {
            if seen != generation.toplevel {
                problems.push(format!("{what} {seen}, not {}", generation.toplevel));
            }
        };
        let boots = self.boot_default()?;
        is("it runs", &self.host.current()?);
        is("the profile leads to", &boots.profile);
        is("the boot entry names", &boots.entry);
        problems.extend(boots.problems);
        let machine = &self.host.machine;
        for service in &generation.spec.services {
            let program = service
                .wait(machine, PATIENCE)
                .and_then(|_| service.program(machine));
            match program {
                Ok(program) if generation.has(&program) => {}
                Ok(program) => problems.push(format!("{} runs {program}", service.unit())),
                Err(error) => problems.push(error.to_string()),
            }
        }
        let list = "systemctl list-units --state=failed --plain --no-legend";
        let failed = machine.sh(list)?.ok()?;
        problems.extend(failed.stdout.lines().map(|line| format!("failed: {line}")));
        Ok(problems)
    }

    /// That nothing speaks against it.
    pub fn check_is(&self, generation: &Generation) -> Result<()> {
        let problems = self.wrong_with(generation)?;
        match problems.is_empty() {
            true => Ok(()),
            false => {
                let what = format!("find {} as it should be", generation.spec.name);
                Err(Error::new(what, problems.join("; ")))
            }
        }
    }

    /// Store paths of a generation, and of no other one, that are in the store; a kernel that was
    /// booted stays until the next boot.
    pub fn left_of(&self, generation: &Generation, other: &Generation) -> Result<Vec<String>> {
        let there = self.host.machine.sh("ls -d /nix/store/*")?.ok()?.stdout;
        let paths = generation.closure.iter().map(|one| &*one.path);
        Ok(paths
            .filter(|path| !path.contains("linux-") && !other.has(path))
            .filter(|path| there.lines().any(|line| line == *path))
            .map(str::to_owned)
            .collect())
    }
}

impl Generation {
    /// Whether a file, or a store path itself, is of the closure.
    #[must_use]
    pub fn has(&self, file: &str) -> bool {
        let mut paths = self.closure.iter().map(|one| &*one.path);
        paths.any(|path| {
            let rest = file.strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    }
}

impl Boots {
    fn read(text: &str) -> Result<Self> {
        let mut lines = text.lines();
        let (profile, entry) = lines
            .next()
            .and_then(|line| line.split_once(' '))
            .ok_or_else(|| Error::new("read what is booted", text))?;
        Ok(Self {
            profile: profile.to_owned(),
            entry: entry.to_owned(),
            problems: lines.map(str::to_owned).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Boots;

    #[test]
    fn what_is_booted_is_read() {
        let read = Boots::read("/nix/store/a /nix/store/b\n/x of /b is not there\n").unwrap();
        assert_eq!(
            (&*read.profile, &*read.entry),
            ("/nix/store/a", "/nix/store/b")
        );
        assert_eq!(read.problems, ["/x of /b is not there"]);
        assert!(Boots::read("").is_err());
    }
}

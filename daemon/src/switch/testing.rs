//! A machine with a scripted Nix for the tests of the switch.

use std::path::PathBuf;

use crate::host::Fs;
use crate::host::fake::Answer;
use crate::resource::testing::Machine;
use crate::switch::store::NixStore;

/// Where nixctl's own Nix is.
pub(crate) const NIX: &str = "/nix/var/nix/profiles/nixctl";

/// Folder of the roots of the switch in the tests.
pub(crate) const ROOTS: &str = "/nix/var/nix/gcroots/nixctl/0123456789abcdfghijklmnpqrsvwxyz";

/// Profile of the system.
pub(crate) const PROFILE: &str = "/nix/var/nix/profiles/system";

/// A store path of this name, a different hash for each name.
pub(crate) fn store_path(name: &str) -> String {
    const BASE32: &[u8] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let mut state = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        state = (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    }
    let hash: String = (0..32)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(99);
            char::from(BASE32[usize::try_from(state >> 59).unwrap()])
        })
        .collect();
    format!("/nix/store/{hash}-{name}")
}

/// A folder as a machine with these files; what begins with `-> ` is a link.
pub(crate) fn files(all: &[(&str, &str)]) -> (tempfile::TempDir, Fs) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in all {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text.strip_prefix("-> ") {
            Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            None => std::fs::write(path, text).unwrap(),
        }
    }
    let fs = Fs::at(dir.path());
    (dir, fs)
}

pub(crate) struct Fixture {
    pub machine: Machine,
}

impl Fixture {
    /// Without any Nix.
    pub fn bare() -> Self {
        let machine = Machine::new();
        for path in [
            "proc/self",
            "dev/ptmx",
            "nix/store",
            "nix/var/nix/profiles",
            "nix/var/nix/gcroots",
        ] {
            std::fs::create_dir_all(machine.dir.path().join(path)).unwrap();
        }
        machine.exec.install("chroot");
        Fixture { machine }
    }

    /// With nixctl's own.
    pub fn new() -> Self {
        let fixture = Self::bare();
        fixture.machine.put(&format!("{NIX}/bin/nix-store"), "");
        fixture
    }

    pub fn store(&self) -> NixStore<'_> {
        NixStore::find(&self.machine.context(), "test").unwrap()
    }

    /// What `nix-store` answers to arguments that begin with these.
    pub fn answer(&self, args: &[&str], answer: Answer) {
        self.answer_program("nix-store", args, answer);
    }

    pub fn answer_program(&self, program: &str, args: &[&str], answer: Answer) {
        let root = self.machine.dir.path().display().to_string();
        let program = format!("{NIX}/bin/{program}");
        let mut all = vec![root.as_str(), program.as_str()];
        all.extend(args);
        self.machine.exec.answer("chroot", &all, answer);
    }

    /// The commands so far without what is the same in all.
    pub fn lines(&self) -> Vec<String> {
        let start = format!("chroot {} {NIX}/bin/", self.machine.dir.path().display());
        let lines = self.machine.exec.lines().into_iter();
        lines.map(|line| line.replace(&start, "")).collect()
    }

    pub fn link(&self, path: &str, target: &str) {
        let path: PathBuf = self.machine.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = std::fs::remove_file(&path);
        std::os::unix::fs::symlink(target, path).unwrap();
    }

    pub fn target_of(&self, path: &str) -> Option<String> {
        let target = std::fs::read_link(self.machine.path(path)).ok()?;
        Some(target.to_str().unwrap().to_owned())
    }
}

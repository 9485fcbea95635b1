//! The lab's own Nix store, in a folder of the host: the packages of both bases, registered by a
//! real Nix in a chroot, with a signed binary cache of all of them beside it.
//!
//! Generations add their few small paths over it without changing it, so that any number can be
//! made at the same time.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::pool::Pool;
use super::scan::Candidates;
use super::spec::Base;
use super::{parts, relocate};
use crate::dist::relocate::{chroot_run, make_dir};
use crate::dist::{Release, StorePath, Version, nix_release};
use crate::error::{Context, Error, Result};
use crate::exec::Run;
use crate::image::{self, Suite};
use crate::paths;

/// Runs in the chroot.
const REGISTER: &str = include_str!("../../files/generation/register.sh");
/// Brings new paths into the chroot.
const OVERLAY: &str = include_str!("../../files/generation/overlay.sh");
/// Deadline of registering and compressing everything.
const DEADLINE: Duration = Duration::from_secs(600);
/// Settings of the Nix in the chroot: it only registers and copies.
const SETTINGS: &str = "experimental-features = nix-command\nbuild-users-group =\nsandbox = false\n\
                        substituters =\nrequire-sigs = false\nfsync-metadata = false\n";

/// The store of all packages, built once.
#[derive(Debug)]
pub struct Packages {
    dir: PathBuf,
    content: Content,
    release: Release,
}

/// What is written down of it.
#[derive(Debug, Serialize, Deserialize)]
struct Content {
    old: BTreeMap<String, String>,
    new: BTreeMap<String, String>,
    all: Vec<StorePath>,
}

impl Packages {
    /// The packages, made when they are not there yet (two to three minutes).
    pub fn get() -> Result<Self> {
        let release = nix_release(Version::Nix226)?;
        let key = paths::key(&[
            &parts::packages().join(","),
            &release.nix,
            include_str!("pool.rs"),
            include_str!("relocate.rs"),
            include_str!("store.rs"),
            REGISTER,
        ]);
        let parent = paths::lab("generation")?;
        let dir = paths::cached(&parent, &format!("packages-{key}"), |scratch| {
            println!("lab: making store paths of the services of two Debian suites (once)");
            build(scratch, &release)
        })?;
        let manifest = dir.join("packages.json");
        let text = fs::read(&manifest).context(|| format!("read {}", manifest.display()))?;
        let content = serde_json::from_slice(&text);
        let content = content.context(|| format!("read {}", manifest.display()))?;
        Ok(Self {
            dir,
            content,
            release,
        })
    }

    /// Package -> store path.
    pub fn of(&self, base: Base) -> &BTreeMap<String, String> {
        match base {
            Base::Old => &self.content.old,
            Base::New => &self.content.new,
        }
    }

    /// The folder whose `nix/store` has the packages, and Nix itself.
    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// The Nix that is in there.
    pub fn release(&self) -> &Release {
        &self.release
    }

    /// The public half of the key that caches are signed with.
    pub fn public_key(&self) -> Result<String> {
        let file = self.root().join("key/public");
        fs::read_to_string(&file).context(|| format!("read {}", file.display()))
    }

    /// The name of this cache entry, for the keys of what is built on it.
    pub fn name(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Registers the paths below `entry/new` (they may refer to packages and to each other); leaves
    /// them in `entry/nix/store`, and the registration and binary cache of the toplevel's closure in
    /// `entry/out`.
    pub fn add(&self, entry: &Path, made: &[String], toplevel: &str) -> Result<()> {
        let out = entry.join("out");
        make_dir(&out)?;
        link_tree(&self.dir.join("out/cache"), &out.join("cache"))?;
        let known = self.content.all.iter().map(|path| &path.path);
        let candidates = Candidates::new(known.chain(made));
        registration(&entry.join("new"), made, &candidates, &out.join("new"))?;
        let (root, entry) = (self.root(), entry.to_string_lossy().into_owned());
        let mut words = [
            "unshare", "--mount", "--pid", "--fork", "sh", "-c", OVERLAY, "sh",
        ]
        .to_vec();
        let root = root.to_string_lossy();
        words.extend([&*root, &entry, &self.release.busybox, REGISTER, toplevel]);
        let run = Run::new(&words).label("register a generation").clean_env();
        environment(run, &self.release).run()?.ok()?;
        let work = Path::new(&entry).join("work");
        paths::remove_tree(&work)?;
        paths::remove_tree(&Path::new(&entry).join("new"))
    }
}

/// Variables of a command that runs in the chroot, and of the script around it.
fn environment(run: Run, release: &Release) -> Run {
    let path = format!(
        "{}/bin:{}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        release.nix, release.busybox
    );
    run.env("PATH", &path)
        .env("HOME", "/root")
        .deadline(DEADLINE)
}

fn build(scratch: &Path, release: &Release) -> Result<()> {
    let root = scratch.join("root");
    install_nix(&root, release)?;
    let packages = parts::packages();
    let wanted = |suite: Suite| -> Vec<&str> {
        let foreign = |name: &str| suite == Suite::Sid && name.contains("postgresql");
        packages
            .iter()
            .copied()
            .filter(|name| !foreign(name))
            .collect()
    };
    let unpack = |suite: Suite| {
        let dir = scratch.join(suite.name());
        image::unpack(&dir, suite, &wanted(suite).join(","))
    };
    let trixie = unpack(Suite::Trixie)?;
    let sid = unpack(Suite::Sid)?;
    let recipe = paths::key(&[include_str!("relocate.rs"), include_str!("pool.rs")]);
    let old = relocate::relocate(&root, &Pool::read(&trixie)?, &packages, &recipe)?;
    let newer: Vec<image::Deb> = sid.iter().chain(&trixie).cloned().collect();
    let new = relocate::relocate(&root, &Pool::read(&newer)?, &packages, &recipe)?;

    let made: Vec<String> = old.values().chain(new.values()).cloned().collect();
    let out = root.join("out");
    make_dir(&out)?;
    registration(&root, &made, &Candidates::new(&made), &out.join("new"))?;
    let shell = format!("{}/bin/sh", release.busybox);
    let run = chroot_run(&root, &[&shell, "-c", REGISTER, "sh", "--all"]);
    environment(run.label("register the packages"), release)
        .run()?
        .ok()?;
    fs::rename(&out, scratch.join("out")).context(|| "move the cache")?;
    for suite in [Suite::Trixie, Suite::Sid] {
        paths::remove_tree(&scratch.join(suite.name()))?;
    }
    let all = read_registration(&scratch.join("out/registration"))?;
    let text = serde_json::to_vec_pretty(&Content { old, new, all });
    let manifest = scratch.join("packages.json");
    fs::write(&manifest, text.context(|| "write the packages' list")?)
        .context(|| format!("write {}", manifest.display()))
}

/// Puts a release's store into the new root, with what Nix needs around it.
fn install_nix(root: &Path, release: &Release) -> Result<()> {
    for folder in [
        "nix/var/nix/db",
        "proc",
        "tmp",
        "root",
        "dev",
        "etc/nix",
        "key",
    ] {
        make_dir(&root.join(folder))?;
    }
    let (tarball, target) = (release.tar_zst.to_string_lossy(), root.join("nix"));
    let target = target.to_string_lossy();
    Run::new(&[
        "tar",
        "-C",
        &target,
        "--strip-components=1",
        "-xf",
        &tarball,
    ])
    .deadline(DEADLINE)
    .run()?
    .ok()?;
    let null = root.join("dev/null").to_string_lossy().into_owned();
    Run::new(&["mknod", "-m", "666", &null, "c", "1", "3"])
        .run()?
        .ok()?;
    let settings = root.join("etc/nix/nix.conf");
    fs::write(&settings, SETTINGS).context(|| "write nix.conf")?;
    let store = format!("{}/bin/nix-store", release.nix);
    let reginfo = root.join("nix/.reginfo");
    let text = fs::read(&reginfo).context(|| "read the release's registration")?;
    chroot_run(root, &[&store, "--load-db"])
        .input(text)
        .run()?
        .ok()?;
    let key = [
        "--generate-binary-cache-key",
        "lab-1",
        "/key/secret",
        "/key/public",
    ];
    let words: Vec<&str> = std::iter::once(&*store).chain(key).collect();
    chroot_run(root, &words).run()?.ok().map(drop)
}

/// Writes what `nix-store --register-validity` reads: path, deriver, references.
fn registration(root: &Path, made: &[String], known: &Candidates, file: &Path) -> Result<()> {
    let mut text = String::new();
    for path in made {
        let references = known.in_tree(&root.join(path.trim_start_matches('/')))?;
        let _ = write!(text, "{path}\n\n{}\n", references.len());
        for reference in references {
            let _ = writeln!(text, "{reference}");
        }
    }
    fs::write(file, text).context(|| format!("write {}", file.display()))
}

/// Reads what `nix-store --dump-db` wrote.
pub fn read_registration(file: &Path) -> Result<Vec<StorePath>> {
    let text = fs::read_to_string(file).context(|| format!("read {}", file.display()))?;
    parse_registration(&text)
        .ok_or_else(|| Error::new(format!("read {}", file.display()), "it ends early"))
}

fn parse_registration(text: &str) -> Option<Vec<StorePath>> {
    let mut lines = text.lines();
    let mut paths = Vec::new();
    while let Some(path) = lines.next() {
        let (nar_sha256, nar_size) = (lines.next()?.to_owned(), lines.next()?.parse().ok()?);
        let _deriver = lines.next()?;
        let count: usize = lines.next()?.parse().ok()?;
        let references: Vec<String> = lines.by_ref().take(count).map(str::to_owned).collect();
        if references.len() < count {
            return None;
        }
        paths.push(StorePath {
            path: path.to_owned(),
            nar_sha256,
            nar_size,
            references,
        });
    }
    Some(paths)
}

/// Copies a tree by hard links.
pub fn link_tree(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    Run::new(&["cp", "-al", &from, &to]).run()?.ok().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registration_is_read_back() {
        let text =
            "/nix/store/a\n00ff\n12\n\n2\n/nix/store/a\n/nix/store/b\n/nix/store/b\n11\n7\n\n0\n";
        let paths = parse_registration(text).unwrap();
        assert_eq!(paths.len(), 2);
        assert_eq!(paths[0].references, ["/nix/store/a", "/nix/store/b"]);
        assert_eq!((paths[1].nar_size, paths[1].nar_sha256.as_str()), (7, "11"));
        assert!(parse_registration("/nix/store/a\n00\n1\n\n2\n/nix/store/b\n").is_none());
    }
}

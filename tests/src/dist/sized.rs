//! A release as large as an official one: the lab's own Nix, and beside it what an official release
//! carries in its closure besides Nix (the C library with its locales, the compiler's run-time
//! libraries, a shell, terminfo, OpenSSL, Kerberos...), each a store path made of the real files of
//! a Debian package, so that sizes, file counts and compression are like the real ones.
//!
//! It is packed as official ones are: `xz` with its own defaults on one thread, thus one block.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::relocate::{chroot_run, make_dir, store_path};
use super::{Release, Version, nix_release};
use crate::error::{Context, Result};
use crate::exec::Run;
use crate::{image, paths};

/// What stands for the rest of the closure; their dependencies come along. Chosen so that the whole
/// is about as large as an official release (that of Nix 2.6.1 has 27.3 MiB).
const PACKAGES: &str = "bash,libc6,libc-bin,locales,libgcc-s1,libstdc++6,libgomp1,libatomic1,\
    ncurses-base,ncurses-bin,ncurses-term,libreadline8t64,libssl3t64,libcurl4t64,libsqlite3-0,\
    libarchive13t64,libsodium23,libkrb5-3,libseccomp2,libgc1";
/// What a release has in no path: documentation is in outputs of its own.
const LEFT_OUT: [&str; 4] = ["share/doc", "share/man", "share/lintian", "share/bug"];
/// Deadline of packing, on one thread.
const DEADLINE: Duration = Duration::from_secs(600);

/// A release on the host's disk, and what it holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sized {
    /// The `.tar.xz`.
    pub tar_xz: PathBuf,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// Its bytes.
    pub packed: u64,
    /// Bytes of its files.
    pub unpacked: u64,
    /// Files, folders and links.
    pub entries: u64,
    /// Store paths.
    pub paths: u64,
}

impl std::fmt::Display for Sized {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        write!(
            f,
            "{:.1} MiB packed, {:.1} MiB unpacked, {} entries in {} store paths",
            mib(self.packed),
            mib(self.unpacked),
            self.entries,
            self.paths
        )
    }
}

/// The release of an official one's size, made when it is not there yet (about a minute).
pub fn official_size() -> Result<Sized> {
    let release = nix_release(Version::Nix226)?;
    let key = paths::key(&[PACKAGES, &release.sha256_xz, include_str!("sized.rs")]);
    let entry = paths::cached(&paths::lab("dist")?, &format!("sized-{key}"), |scratch| {
        println!("lab: making a release of an official one's size (once)");
        build(&release, scratch)
    })?;
    let mut sized: Sized = read(&entry.join("sized.json"))?;
    sized.tar_xz = entry.join(&sized.tar_xz);
    Ok(sized)
}

/// What the lab's own release holds.
pub fn lab_size(release: &Release) -> Result<Sized> {
    measured(&release.tar_xz, &release.sha256_xz, release.paths.len())
}

fn read(manifest: &Path) -> Result<Sized> {
    let text = fs::read(manifest).context(|| format!("read {}", manifest.display()))?;
    serde_json::from_slice(&text).context(|| format!("read {}", manifest.display()))
}

fn build(release: &Release, scratch: &Path) -> Result<()> {
    let root = scratch.join("root");
    let (nix, store) = (root.join("nix"), root.join("nix/store"));
    make_dir(&nix)?;
    make_dir(&root.join("proc"))?;
    unpack(&release.tar_xz, scratch)?;
    let top = scratch.join(release.top());
    fs::rename(top.join("store"), &store).context(|| "move the store paths")?;
    let registration = top.join(".reginfo");
    let mut text = fs::read_to_string(&registration).context(|| "read .reginfo")?;
    let added = add(scratch, &store)?;
    for path in &added {
        text += &registered(&root, release, path)?;
    }
    fs::write(&registration, text).context(|| "write .reginfo")?;
    fs::rename(&store, top.join("store")).context(|| "move the store paths back")?;
    let name = format!("{}.tar.xz", release.top());
    let sha256 = pack(scratch, &release.top(), &name)?;
    paths::remove_tree(&top)?;
    paths::remove_tree(&root)?;
    let tar_xz = scratch.join(&name);
    let mut sized = measured(&tar_xz, &sha256, release.paths.len() + added.len())?;
    sized.tar_xz = PathBuf::from(name);
    let text = serde_json::to_vec_pretty(&sized).context(|| "write the manifest")?;
    fs::write(scratch.join("sized.json"), text).context(|| "write the manifest")
}

/// Makes a store path of each package; returns them.
fn add(scratch: &Path, store: &Path) -> Result<Vec<String>> {
    let debs = scratch.join("debs");
    let mut added = Vec::new();
    for deb in image::unpack(&debs, image::Suite::Trixie, PACKAGES)? {
        let content = deb.dir.join("usr");
        if !content.is_dir() {
            continue;
        }
        let name = format!("{}-{}", deb.name, deb.version.replace('~', "-"));
        for folder in LEFT_OUT {
            paths::remove_tree(&content.join(folder))?;
        }
        let path = store_path(&name, PACKAGES);
        let target = store.join(path.trim_start_matches("/nix/store/"));
        fs::rename(&content, &target).context(|| format!("make {path}"))?;
        added.push(path);
    }
    paths::remove_tree(&debs)?;
    Ok(added)
}

/// What `.reginfo` says of a path that refers to nothing.
fn registered(root: &Path, release: &Release, path: &str) -> Result<String> {
    let program = format!("{}/bin/nix-store", release.nix);
    let dump = chroot_run(root, &[&program, "--dump", path]).run()?.ok()?;
    let hash = paths::hex(&Sha256::digest(&dump.bytes));
    let mut text = String::new();
    let _ = write!(text, "{path}\n{hash}\n{}\n\n0\n", dump.bytes.len());
    Ok(text)
}

fn unpack(archive: &Path, to: &Path) -> Result<()> {
    let (archive, to) = (archive.to_string_lossy(), to.to_string_lossy());
    let run = Run::new(&["tar", "-xJf", &archive, "-C", &to]);
    run.deadline(DEADLINE).run()?.ok().map(drop)
}

/// Packs as official releases are packed; the SHA-256 of the archive.
fn pack(scratch: &Path, top: &str, name: &str) -> Result<String> {
    let argv = [
        "tar",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
        "--mode=u+rw,a+r,a-s,-t",
        "--hard-dereference",
        "-I",
        "xz -T1 -6",
        "-cf",
        name,
        top,
    ];
    let run = Run::new(&argv).in_dir(scratch).deadline(DEADLINE);
    run.run()?.ok()?;
    let bytes = fs::read(scratch.join(name)).context(|| format!("read {name}"))?;
    Ok(paths::hex(&Sha256::digest(bytes)))
}

fn measured(tar_xz: &Path, sha256: &str, paths: usize) -> Result<Sized> {
    let archive = tar_xz.to_string_lossy();
    let packed = fs::metadata(tar_xz).context(|| format!("look at {archive}"))?;
    let listed = Run::new(&["tar", "-tvJf", &archive]).deadline(DEADLINE);
    let listed = listed.run()?.ok()?.stdout;
    // Mode, owner, size, date, time, name.
    let sizes = listed
        .lines()
        .filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    Ok(Sized {
        tar_xz: tar_xz.to_path_buf(),
        sha256: sha256.to_owned(),
        packed: packed.len(),
        unpacked: sizes.sum(),
        entries: listed.lines().count() as u64,
        paths: paths as u64,
    })
}

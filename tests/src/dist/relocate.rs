//! Moves programs out of unpacked Debian packages into store paths that run on any machine.
//!
//! A store path's hash part is made of its name, of the packages' file names (which carry their
//! versions) and of the recipe, so the same packages and recipe always give the same paths.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::{Context, Error, Result};
use crate::exec::Run;

/// What is unpacked; their dependencies come along.
pub const PACKAGES: &str = "nix-bin,busybox-static,ca-certificates,libc-bin";

/// The commands that are links to `nix`.
const LINKS: [&str; 11] = [
    "nix-build",
    "nix-channel",
    "nix-collect-garbage",
    "nix-copy-closure",
    "nix-daemon",
    "nix-env",
    "nix-hash",
    "nix-instantiate",
    "nix-prefetch-url",
    "nix-shell",
    "nix-store",
];

/// The three store paths of a release, as they lie under the packages' root.
#[derive(Debug)]
pub struct Parts {
    /// Nix's own version.
    pub version: String,
    /// Store path of Nix.
    pub nix: String,
    /// Store path of the certificates.
    pub cacert: String,
    /// Store path of busybox.
    pub busybox: String,
}

/// Makes the store paths below `root/nix/store`.
pub fn relocate(root: &Path, recipe: &str) -> Result<Parts> {
    let version = chroot(root, &["/usr/bin/nix", "--version"])?;
    let version = version.rsplit(' ').next().unwrap_or_default().to_owned();
    let list = PathBuf::from(format!("{}.packages", root.display()));
    let packages = fs::read_to_string(&list).context(|| format!("read {}", list.display()))?;
    let package_version = |package: &str| {
        packages
            .lines()
            .find_map(|line| {
                line.strip_prefix(package)?
                    .strip_prefix('_')?
                    .split('_')
                    .next()
            })
            // An epoch is written as `1%3a` in a file name.
            .map(|version| version.rsplit("%3a").next().unwrap_or(version))
            .map(|version| version.replace(['+', '~'], "-"))
            .ok_or_else(|| Error::new(format!("find the version of {package}"), &packages))
    };
    let cacert = format!("nss-cacert-{}", package_version("ca-certificates")?);
    let busybox = format!("busybox-static-{}", package_version("busybox-static")?);
    let seed = format!("{recipe}\n{packages}");
    let parts = Parts {
        nix: store_path(&format!("nix-{version}"), &seed),
        cacert: store_path(&cacert, &seed),
        busybox: store_path(&busybox, &seed),
        version,
    };
    nix(root, &parts.nix)?;
    certificates(root, &parts.cacert)?;
    applets(root, &parts.busybox)?;
    Ok(parts)
}

/// Runs a program of the packages in a chroot that has `/proc`; returns its trimmed output.
pub fn chroot(root: &Path, argv: &[&str]) -> Result<String> {
    Ok(chroot_run(root, argv).run()?.ok()?.text().to_owned())
}

/// The command line that runs a program of the packages in a chroot that has `/proc`.
pub fn chroot_run(root: &Path, argv: &[&str]) -> Run {
    let script = "mount -t proc proc \"$1/proc\" && exec chroot \"$@\"";
    let root = root.to_string_lossy();
    let mut words = vec![
        "unshare", "--mount", "--pid", "--fork", "sh", "-ec", script, "sh", &root,
    ];
    words.extend(argv);
    Run::new(&words)
        .clean_env()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/root")
}

fn nix(root: &Path, path: &str) -> Result<()> {
    let out = root.join(path.trim_start_matches('/'));
    let (bin, lib) = (out.join("bin"), out.join("lib"));
    make_dir(&bin)?;
    make_dir(&lib)?;
    copy(&root.join("usr/bin/nix"), &bin.join("nix"), 0o755)?;
    for link in LINKS {
        symlink("nix", bin.join(link)).context(|| format!("link {link}"))?;
    }
    let interpreter = patchelf(&["--print-interpreter"], &bin.join("nix"))?;
    let mut loader = None;
    for library in libraries(root, &interpreter)? {
        let name = library.rsplit('/').next().unwrap_or_default().to_owned();
        let target = lib.join(&name);
        copy(&inside(root, &library)?, &target, 0o755)?;
        if library == interpreter {
            loader = Some(format!("{path}/lib/{name}"));
        } else if name != "libc.so.6" {
            patchelf(&["--set-rpath", &format!("{path}/lib")], &target)?;
        }
    }
    let loader = loader.ok_or_else(|| Error::new("relocate nix", "it names no loader"))?;
    let rpath = format!("{path}/lib");
    patchelf(
        &["--set-interpreter", &loader, "--set-rpath", &rpath],
        &bin.join("nix"),
    )?;

    let files = [
        (
            "etc/profile.d/nix-daemon.sh",
            include_str!("../../files/nix-daemon.sh"),
        ),
        (
            "etc/profile.d/nix-daemon.fish",
            include_str!("../../files/nix-daemon.fish"),
        ),
        (
            "lib/systemd/system/nix-daemon.service",
            include_str!("../../files/nix-daemon.service"),
        ),
        (
            "lib/systemd/system/nix-daemon.socket",
            include_str!("../../files/nix-daemon.socket"),
        ),
        (
            "lib/tmpfiles.d/nix-daemon.conf",
            include_str!("../../files/nix-daemon.conf"),
        ),
    ];
    for (name, text) in files {
        write(&out.join(name), &text.replace("@NIX@", path))?;
    }
    let completions = [
        (
            "usr/share/bash-completion/completions/nix",
            "share/bash-completion/completions/nix",
        ),
        (
            "usr/share/zsh/vendor-completions/_nix",
            "share/zsh/site-functions/_nix",
        ),
        (
            "usr/share/fish/vendor_completions.d/nix.fish",
            "share/fish/vendor_completions.d/nix.fish",
        ),
    ];
    for (from, to) in completions {
        if root.join(from).is_file() {
            write(&out.join(to), "")?;
            copy(&root.join(from), &out.join(to), 0o644)?;
        }
    }
    Ok(())
}

fn certificates(root: &Path, path: &str) -> Result<()> {
    let source = root.join("usr/share/ca-certificates/mozilla");
    let mut names: Vec<PathBuf> = fs::read_dir(&source)
        .context(|| format!("read {}", source.display()))?
        .flatten()
        .map(|entry| entry.path())
        .collect();
    names.sort();
    let mut bundle = String::new();
    for name in names {
        bundle += &fs::read_to_string(&name).context(|| format!("read {}", name.display()))?;
    }
    let out = root.join(path.trim_start_matches('/'));
    write(&out.join("etc/ssl/certs/ca-bundle.crt"), &bundle)
}

fn applets(root: &Path, path: &str) -> Result<()> {
    let bin = root.join(path.trim_start_matches('/')).join("bin");
    make_dir(&bin)?;
    copy(&root.join("usr/bin/busybox"), &bin.join("busybox"), 0o755)?;
    for applet in chroot(root, &["/usr/bin/busybox", "--list"])?.lines() {
        if applet != "busybox" {
            symlink("busybox", bin.join(applet)).context(|| format!("link {applet}"))?;
        }
    }
    Ok(())
}

/// The libraries of nix, loader included, as absolute paths in `root`.
fn libraries(root: &Path, interpreter: &str) -> Result<Vec<String>> {
    let output = chroot(root, &[interpreter, "--list", "/usr/bin/nix"])?;
    let mut found = vec![interpreter.to_owned()];
    for line in output.lines() {
        let Some((name, target)) = line.split_once(" => ") else {
            continue;
        };
        match target.split(' ').next() {
            Some(path) if path.starts_with('/') => {
                if !name.trim().starts_with('/') {
                    found.push(path.to_owned());
                }
            }
            _ => {
                return Err(Error::new(
                    "relocate nix",
                    format!("missing library: {line}"),
                ));
            }
        }
    }
    Ok(found)
}

/// A path of `root` with its links followed; one that leads out of `root` is refused.
fn inside(root: &Path, path: &str) -> Result<PathBuf> {
    let joined = root.join(path.trim_start_matches('/'));
    let real = fs::canonicalize(&joined).context(|| format!("find {}", joined.display()))?;
    let root = fs::canonicalize(root).context(|| format!("find {}", root.display()))?;
    if real.starts_with(&root) {
        Ok(real)
    } else {
        Err(Error::new(
            format!("find {path}"),
            "its link leads out of the packages",
        ))
    }
}

/// `/nix/store/HASH-NAME`, with a hash part made of the name and the seed.
pub(crate) fn store_path(name: &str, seed: &str) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdfghijklmnpqrsvwxyz";
    let digest = Sha256::digest(format!("{name}\n{seed}"));
    let hash: String = digest
        .iter()
        .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
        .collect();
    format!("/nix/store/{hash}-{name}")
}

/// What patchelf prints for a file.
pub(crate) fn patchelf(arguments: &[&str], file: &Path) -> Result<String> {
    let file = file.to_string_lossy();
    let argv: Vec<&str> = ["patchelf"]
        .iter()
        .chain(arguments)
        .copied()
        .chain([&*file])
        .collect();
    Ok(Run::new(&argv).run()?.ok()?.text().to_owned())
}

/// Makes a folder and those above it.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).context(|| format!("create {}", dir.display()))
}

/// Writes a file, making the folders above it.
pub(crate) fn write(file: &Path, text: &str) -> Result<()> {
    if let Some(parent) = file.parent() {
        make_dir(parent)?;
    }
    fs::write(file, text).context(|| format!("write {}", file.display()))
}

/// Copies a file and sets its mode.
pub(crate) fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to).context(|| format!("copy {}", from.display()))?;
    fs::set_permissions(to, fs::Permissions::from_mode(mode))
        .context(|| format!("set the mode of {}", to.display()))
}

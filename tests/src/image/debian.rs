//! mmdebstrap: a Debian root of a suite, from the mirror that the host itself uses, verified.
//!
//! Debian 12's keyring knows the keys of trixie and sid. A mirror that was frozen some time ago
//! serves metadata whose date has passed; only then is it read again with the *date* check off, said
//! aloud. Signatures are always checked.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::exec::Run;

/// This file's own text, part of the key of what it builds.
pub const RECIPE: &str = include_str!("debian.rs");

/// Deadline of one bootstrap.
const DEADLINE: Duration = Duration::from_secs(900);

/// A Debian release that the lab takes packages from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suite {
    /// Debian 13, what the machines run.
    Trixie,
    /// Debian unstable, for a newer Nix.
    Sid,
}

impl Suite {
    /// The name on the mirror.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Trixie => "trixie",
            Self::Sid => "sid",
        }
    }
}

/// How complete a root is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Installed, with apt.
    Apt,
    /// Installed, essential packages only.
    Essential,
    /// Only unpacked: for taking files out of packages.
    Extract,
}

impl Variant {
    fn name(self) -> &'static str {
        match self {
            Self::Apt => "apt",
            Self::Essential => "essential",
            Self::Extract => "extract",
        }
    }
}

/// Builds `root` with these packages (comma-separated) and runs `setup` (a shell script) in it.
/// The names of all package files that went in are left in `ROOT.packages`.
pub fn bootstrap(
    root: &Path,
    suite: Suite,
    variant: Variant,
    packages: &str,
    setup: Option<&str>,
) -> Result<()> {
    bootstrap_with(root, suite, variant, packages, setup, &[])
}

/// The same with more options for mmdebstrap.
pub(super) fn bootstrap_with(
    root: &Path,
    suite: Suite,
    variant: Variant,
    packages: &str,
    setup: Option<&str>,
    options: &[&str],
) -> Result<()> {
    let plain = run(root, suite, variant, packages, setup, options);
    match plain {
        Err(error) if error.to_string().contains("is expired") => {
            eprintln!(
                "lab: the mirror's index of {} is past its date (a frozen mirror?); \
                 using it all the same, signatures are still checked",
                suite.name()
            );
            crate::paths::remove_tree(root)?;
            let mut options = options.to_vec();
            options.push("--aptopt=Acquire::Check-Valid-Until \"false\"");
            run(root, suite, variant, packages, setup, &options)
        }
        other => other,
    }
}

fn run(
    root: &Path,
    suite: Suite,
    variant: Variant,
    packages: &str,
    setup: Option<&str>,
    extra: &[&str],
) -> Result<()> {
    let root = root
        .to_str()
        .ok_or_else(|| Error::new("build an image", "odd path"))?;
    let mut argv: Vec<String> = [
        "mmdebstrap",
        "--mode=root",
        "--format=directory",
        &format!("--variant={}", variant.name()),
        &format!("--include={packages}"),
        "--aptopt=Acquire::Retries \"5\"",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
    ]
    .map(str::to_owned)
    .to_vec();
    argv.extend(extra.iter().map(|&option| option.to_owned()));
    if variant == Variant::Extract {
        let links = "for d in bin sbin lib lib64; do mkdir -p \"$1/usr/$d\"; \
                     ln -s \"usr/$d\" \"$1/$d\"; done; mkdir -p \"$1/proc\"";
        argv.push(format!("--setup-hook={links}"));
    }
    argv.push("--extract-hook=ls \"$1/var/cache/apt/archives\" >\"$1.packages\"".to_owned());
    if let Some(setup) = setup {
        let script = format!("{root}.setup");
        fs::write(&script, setup).map_err(|why| Error::new(format!("write {script}"), why))?;
        argv.push(format!("--customize-hook=chroot \"$1\" sh <\"{script}\""));
    }
    argv.extend([suite.name().to_owned(), root.to_owned()]);
    argv.extend(
        mirrors()
            .iter()
            .map(|uri| format!("deb {uri} {} main", suite.name())),
    );
    Run::new(&argv).deadline(DEADLINE).run()?.ok().map(drop)
}

/// The mirrors of Debian itself that the host's apt is set up with; empty on another distribution,
/// where mmdebstrap falls back to its default.
fn mirrors() -> Vec<String> {
    let is_debian = fs::read_to_string("/etc/os-release")
        .is_ok_and(|release| release.lines().any(|line| line == "ID=debian"));
    if !is_debian {
        return Vec::new();
    }
    let Ok(output) = Run::new(&[
        "apt-get",
        "indextargets",
        "--format",
        "$(SITE)|$(REPO_URI)|$(ORIGIN)|$(CODENAME)",
    ])
    .run() else {
        return Vec::new();
    };
    let mut found: Vec<String> = output
        .stdout
        .lines()
        .filter_map(|line| {
            let mut fields = line.split('|').skip(1);
            let (uri, origin, codename) = (fields.next()?, fields.next()?, fields.next()?);
            let main = origin == "Debian" && !codename.contains('-');
            main.then(|| uri.to_owned())
        })
        .collect();
    found.dedup();
    found.truncate(1);
    found
}

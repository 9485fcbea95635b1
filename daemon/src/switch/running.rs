//! What runs now, and whether a generation can take over without a restart of the machine.
//!
//! Reading is apart from judging: [`reboot_reasons`] is pure. A kernel, its modules and the initrd
//! change with a restart only; systemd can be started anew, but is named, because units that it
//! runs keep what they were started with. Inhibitors (facts: `switch-inhibitors`) are keys that both
//! generations have, with different values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use nixctl_planner::closure::StorePath;

use crate::host::{Fs, FsError};
use crate::switch::files::{Files, canonical, content, existing};
use crate::switch::step::{BOOTED, ROOTS};

/// Link to the generation that runs.
pub const CURRENT_SYSTEM: &str = "/run/current-system";

/// Link to the generation that was booted.
pub const BOOTED_SYSTEM: &str = "/run/booted-system";

/// What runs now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// Path of the generation that runs, if the machine has one.
    pub current: Option<String>,
    /// Path of the generation that was booted.
    pub booted: Option<String>,
}

impl Running {
    /// Reads it.
    ///
    /// # Errors
    /// When links or files cannot be read.
    pub fn read(fs: &Fs) -> Result<Running, FsError> {
        Ok(Running {
            current: toplevel_at(fs, CURRENT_SYSTEM)?,
            booted: toplevel_at(fs, BOOTED_SYSTEM)?,
        })
    }
}

/// Where the link to a generation leads; `None` when it is not there.
fn toplevel_at(fs: &Fs, link: &str) -> Result<Option<String>, FsError> {
    let path = existing(fs, Path::new(link))?;
    Ok(path.map(|path| path.to_string_lossy().into_owned()))
}

/// The parts of a generation that only a restart of the machine changes, and systemd.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BootParts {
    /// Canonical path of each part that is there: `kernel`, `initrd`, `kernel-modules`, `systemd`.
    pub paths: BTreeMap<&'static str, PathBuf>,
    /// Parameters of the kernel.
    pub parameters: String,
    /// What must not change while the machine runs, with a value for each key.
    pub inhibitors: BTreeMap<String, String>,
}

/// Names of the parts in a toplevel.
const PARTS: [&str; 4] = ["kernel", "initrd", "kernel-modules", "systemd"];

/// Parts that the running kernel may still ask for.
const KERNEL_PARTS: [&str; 3] = ["kernel", "initrd", "kernel-modules"];

/// Store paths of what the running kernel may still ask for of the generation that was booted.
///
/// # Errors
/// When a link cannot be read.
pub fn kernel_parts(fs: &Fs, booted: &Path) -> Result<Vec<String>, FsError> {
    let parts = BootParts::read(fs, booted)?;
    let paths = KERNEL_PARTS.iter().filter_map(|part| parts.paths.get(part));
    let paths = paths.filter_map(|path| {
        let (path, _) = StorePath::containing(path.to_str()?).ok()?;
        Some(path.to_string())
    });
    Ok(paths.collect())
}

/// Why a restart is needed before a generation is in force as a whole, compared with what was booted.
///
/// # Errors
/// When links or files cannot be read.
pub fn reasons_between(fs: &Fs, booted: &Path, new: &Path) -> Result<Vec<RebootReason>, FsError> {
    let booted = BootParts::read(fs, booted)?;
    let new = BootParts::read(fs, new)?;
    Ok(reboot_reasons(&booted, &booted, &new))
}

/// What was booted, also when its toplevel is gone: then the folder of roots tells which of the parts
/// of `current` the running kernel has. `None` when that cannot be told.
///
/// # Errors
/// When links or files cannot be read.
pub fn booted_parts(fs: &Fs, current: &BootParts) -> Result<Option<BootParts>, FsError> {
    if let Some(booted) = toplevel_at(fs, BOOTED_SYSTEM)? {
        return BootParts::read(fs, Path::new(&booted)).map(Some);
    }
    let roots = Path::new(ROOTS).join(BOOTED);
    if fs.read_link(Path::new(BOOTED_SYSTEM))?.is_none() || !fs.is_dir(&roots) {
        return Ok(None);
    }
    let mut kept = Vec::new();
    for name in fs.list(&roots)? {
        kept.extend(fs.read_link(&roots.join(name))?);
    }
    let mut parts = BootParts {
        parameters: current.parameters.clone(),
        ..BootParts::default()
    };
    for part in KERNEL_PARTS {
        if let Some(path) = current.paths.get(part) {
            let same = kept.iter().any(|root| path.starts_with(root));
            let booted = if same { path.clone() } else { roots.join(part) };
            parts.paths.insert(part, booted);
        }
    }
    Ok(Some(parts))
}

impl BootParts {
    /// Reads them from a toplevel. Inhibitors that are no JSON object of texts are none.
    ///
    /// # Errors
    /// When links or files cannot be read.
    pub fn read(files: &dyn Files, toplevel: &Path) -> Result<BootParts, FsError> {
        let mut parts = BootParts::default();
        for part in PARTS {
            let link = toplevel.join(part);
            if files.look(&link)?.is_some()
                && let Some(path) = canonical(files, &link)?
            {
                parts.paths.insert(part, path);
            }
        }
        let parameters = content(files, &toplevel.join("kernel-params"))?.unwrap_or_default();
        parts.parameters = String::from_utf8_lossy(&parameters).trim().to_owned();
        let inhibitors = content(files, &toplevel.join("switch-inhibitors"))?.unwrap_or_default();
        parts.inhibitors = serde_json::from_slice(&inhibitors).unwrap_or_default();
        Ok(parts)
    }
}

/// Why the machine should be restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RebootReason {
    /// A part differs that is in force only after a restart.
    Part(&'static str),
    /// The kernel gets other parameters.
    Parameters,
    /// The generation refuses to take over while the machine runs.
    Inhibitor {
        /// Its name.
        key: String,
        /// Value in the running generation.
        old: String,
        /// Value in the one to come.
        new: String,
    },
}

impl RebootReason {
    /// Whether the generation must not be activated before the restart; otherwise the restart can
    /// come later.
    pub fn inhibits(&self) -> bool {
        matches!(self, RebootReason::Inhibitor { .. })
    }
}

impl fmt::Display for RebootReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RebootReason::Part(part) => write!(f, "{part} differs from what was booted"),
            RebootReason::Parameters => f.write_str("the kernel's parameters differ"),
            RebootReason::Inhibitor { key, old, new } => {
                write!(
                    f,
                    "{key} must not change while the machine runs: {old} -> {new}"
                )
            }
        }
    }
}

/// Why a restart is needed before `new` is in force as a whole: parts compared with what was
/// `booted`, inhibitors with what is `current`.
pub fn reboot_reasons(
    booted: &BootParts,
    current: &BootParts,
    new: &BootParts,
) -> Vec<RebootReason> {
    let mut reasons = Vec::new();
    for part in PARTS {
        // What a generation does not bring comes from elsewhere and stays.
        if let (Some(old), Some(new)) = (booted.paths.get(part), new.paths.get(part))
            && old != new
        {
            reasons.push(RebootReason::Part(part));
        }
    }
    if new.paths.contains_key("kernel") && booted.parameters != new.parameters {
        reasons.push(RebootReason::Parameters);
    }
    for (key, value) in &new.inhibitors {
        if let Some(old) = current.inhibitors.get(key)
            && old != value
        {
            reasons.push(RebootReason::Inhibitor {
                key: key.clone(),
                old: old.clone(),
                new: value.clone(),
            });
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn parts(paths: &[(&'static str, &str)], inhibitors: &[(&str, &str)]) -> BootParts {
        let text = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        BootParts {
            paths: paths
                .iter()
                .map(|(part, path)| (*part, path.into()))
                .collect(),
            parameters: String::new(),
            inhibitors: inhibitors.iter().map(text).collect(),
        }
    }

    fn texts(booted: &BootParts, current: &BootParts, new: &BootParts) -> Vec<String> {
        let reasons = reboot_reasons(booted, current, new);
        reasons.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_what_both_have_and_differs_is_a_reason() {
        let old = parts(
            &[("kernel", "/a"), ("initrd", "/i")],
            &[("dbus", "1"), ("x", "1")],
        );
        assert_eq!(texts(&old, &old, &old), [""; 0]);
        let new = parts(
            &[("kernel", "/b"), ("systemd", "/s")],
            &[("dbus", "2"), ("y", "1")],
        );
        assert_eq!(
            texts(&old, &old, &new),
            [
                "kernel differs from what was booted",
                "dbus must not change while the machine runs: 1 -> 2"
            ]
        );
        // The one who changed the kernel before is already running: the booted one counts.
        assert_eq!(
            texts(&old, &new, &new),
            ["kernel differs from what was booted"]
        );
        let none = BootParts::default();
        assert_eq!(texts(&none, &none, &new), [""; 0]);
        let mut other = old.clone();
        other.parameters = "quiet".to_owned();
        assert_eq!(
            texts(&old, &old, &other),
            ["the kernel's parameters differ"]
        );
        assert!(!RebootReason::Parameters.inhibits());
    }

    #[test]
    fn what_runs_is_read_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let path = |path: &str| dir.path().join(path);
        for folder in ["run", "nix/store/a", "nix/store/b"] {
            std::fs::create_dir_all(path(folder)).unwrap();
        }
        symlink("/nix/store/a", path("run/current-system")).unwrap();
        symlink("/nix/store/gone", path("run/booted-system")).unwrap();
        symlink("/nix/store/k", path("nix/store/a/kernel")).unwrap();
        std::fs::write(
            path("nix/store/a/switch-inhibitors"),
            r#"{"dbus":"broker"}"#,
        )
        .unwrap();
        std::fs::write(path("nix/store/b/switch-inhibitors"), "[]").unwrap();
        let fs = Fs::at(dir.path());
        let running = Running::read(&fs).unwrap();
        assert_eq!(running.current.as_deref(), Some("/nix/store/a"));
        assert_eq!(running.booted, None);
        let parts = BootParts::read(&fs, Path::new("/nix/store/a")).unwrap();
        assert_eq!(parts.paths["kernel"], Path::new("/nix/store/k"));
        assert_eq!(parts.inhibitors["dbus"], "broker");
        let none = BootParts::read(&fs, Path::new("/nix/store/b")).unwrap();
        assert_eq!(none, BootParts::default());
    }
}

//! The profile of the system: its numbered generations, the current one, and making one the default.
//!
//! `LINK` points to `LINK-N-link` beside it, and that to a store path, as Nix does it. The number of a
//! generation that once was is never used again: the highest one is written down before its link is
//! made, because the hybrids of a switch come and go at the upper end.

pub mod generations;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::host::{Command, Fs, FsError, Host};
use crate::payload::STATE_DIR;
use crate::payload::entry::is_store_path;
use crate::payload::files::private_dir;
use crate::resource::{Context, Description, Undone};
use crate::switch::error::{Result, SwitchError};
use crate::switch::step::{SetDefault, SwitchUndo, Toplevel};
use crate::switch::store::NixStore;

/// Folder, below the state folder, where the highest number of each profile is written down.
const NUMBERS: &str = "generations";
/// Writing the boot entries of all generations, to a slow disk.
const BOOT_DEADLINE: Duration = Duration::from_secs(600);

/// The generations of a profile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Generations {
    /// Number and store path of each.
    pub all: BTreeMap<u64, String>,
    /// The current one, which is what the machine boots; nothing when there is no such link.
    pub current: Option<u64>,
}

impl Generations {
    /// Reads the generations of the profile `link`.
    ///
    /// # Errors
    /// When the folder cannot be read, or the profile's link points elsewhere.
    pub fn read(fs: &Fs, link: &Path) -> Result<Self> {
        let all = numbered(fs, link)?
            .into_iter()
            .filter_map(|(number, target)| {
                let path = target.to_str().filter(|path| is_store_path(path))?;
                Some((number, path.to_owned()))
            });
        let all = all.collect();
        let current = match fs.read_link(link)? {
            None => None,
            Some(target) => Some(current_of(link, &target)?),
        };
        Ok(Generations { all, current })
    }

    /// Store path that the machine boots.
    pub fn default_path(&self) -> Option<&str> {
        self.all.get(&self.current?).map(String::as_str)
    }

    /// The newest generation.
    pub fn newest(&self) -> Option<(u64, &str)> {
        let (number, path) = self.all.last_key_value()?;
        Some((*number, path))
    }

    /// As the journal has them.
    pub fn recorded(&self) -> Vec<(u64, String)> {
        let all = self.all.iter();
        all.map(|(number, path)| (*number, path.clone())).collect()
    }
}

/// Link of a generation: `LINK-N-link`.
pub fn generation_link(link: &Path, number: u64) -> PathBuf {
    let mut name = link.file_name().unwrap_or_default().to_owned();
    name.push(format!("-{number}-link"));
    link.with_file_name(name)
}

impl Toplevel {
    /// The store path; for a hybrid, what its link in `roots` points to.
    ///
    /// # Errors
    /// When a hybrid was not composed, or the text is no store path.
    pub fn resolve(&self, fs: &Fs, roots: &Path) -> Result<String> {
        match self {
            Toplevel::Path(path) if is_store_path(path) => Ok(path.clone()),
            Toplevel::Path(path) => Err(SwitchError::BadTarget {
                target: path.clone(),
                why: "it is no store path".to_owned(),
            }),
            Toplevel::Hybrid(number) => {
                let link = hybrid_link(roots, *number);
                let target = fs.read_link(&link)?;
                let target = target.and_then(|target| Some(target.to_str()?.to_owned()));
                target
                    .filter(|path| is_store_path(path))
                    .ok_or_else(|| SwitchError::Link {
                        what: format!("find the hybrid generation {number}"),
                        path: link.display().to_string(),
                        why: "is not there, or leads to no store path".to_owned(),
                    })
            }
        }
    }

    /// For people.
    pub fn name(&self) -> String {
        match self {
            Toplevel::Path(path) => path.clone(),
            Toplevel::Hybrid(number) => format!("the hybrid generation {number}"),
        }
    }
}

/// Root of a hybrid.
pub fn hybrid_link(roots: &Path, number: u32) -> PathBuf {
    roots.join(format!("hybrid-{number}"))
}

impl SetDefault {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        Description {
            id: format!("default:{}", self.profile.display()),
            summary: format!("make {} what the machine boots", self.toplevel.name()),
            details: vec![
                format!("the newest generation of {}", self.profile.display()),
                "its own program writes the boot entry".to_owned(),
            ],
        }
    }

    /// Reads what undoing will need: all generations, and what is booted.
    ///
    /// # Errors
    /// When the profile cannot be read.
    pub fn prepare(&self, context: &Context<'_>) -> Result<SwitchUndo> {
        let generations = Generations::read(&context.host.fs, &self.profile)?;
        Ok(SwitchUndo::Default {
            current: generations.current.unwrap_or(0),
            booted: generations.default_path().unwrap_or_default().to_owned(),
            generations: generations.recorded(),
        })
    }

    /// Makes it so. Everything that the toplevel needs must be there.
    ///
    /// # Errors
    /// When it is not, or the boot entry could not be written.
    pub fn apply(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone> {
        let _ = undo;
        let fs = &context.host.fs;
        let path = self.toplevel.resolve(fs, &self.roots)?;
        let what = format!("make {path} what the machine boots");
        NixStore::find(context, &what)?.complete(&what, &path, false)?;
        let generations = Generations::read(fs, &self.profile)?;
        let number = match generations.newest() {
            Some((number, newest)) if newest == path => number,
            newest => {
                let number = next_number(fs, &self.profile, newest.map(|(number, _)| number))?;
                fs.symlink(Path::new(&path), &generation_link(&self.profile, number))?;
                number
            }
        };
        set_current(fs, &self.profile, number)?;
        write_boot_entry(context, &path)?;
        Ok(Undone::Clean)
    }

    /// Makes the recorded generation what the machine boots again; the newer links go.
    ///
    /// # Errors
    /// When the boot entry could not be written.
    pub fn undo(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone> {
        let SwitchUndo::Default {
            generations,
            current,
            booted,
        } = undo
        else {
            return Ok(Undone::Clean);
        };
        let fs = &context.host.fs;
        let now = Generations::read(fs, &self.profile)?;
        if *current == 0 {
            fs.remove_file(&self.profile)?;
        } else {
            let link = generation_link(&self.profile, *current);
            if fs.read_link(&link)?.as_deref() != Some(Path::new(booted)) {
                let what = "make the generation before what the machine boots";
                NixStore::find(context, what)?.complete(what, booted, false)?;
                fs.symlink(Path::new(booted), &link)?;
            }
            set_current(fs, &self.profile, *current)?;
            if now.current != Some(*current) || self.is_new(fs, &now, generations) {
                write_boot_entry(context, booted)?;
            }
        }
        for number in now.all.keys() {
            if self.is_ours(fs, *number, &now, generations) {
                fs.remove_file(&generation_link(&self.profile, *number))?;
            }
        }
        Ok(Undone::Clean)
    }

    /// Whether there is a generation that the step made: it may have been killed after writing a
    /// boot entry, which has to be written again then.
    fn is_new(&self, fs: &Fs, now: &Generations, before: &[(u64, String)]) -> bool {
        let mut numbers = now.all.keys();
        numbers.any(|number| self.is_ours(fs, *number, now, before))
    }

    /// Whether the step made this generation: it was not there before, and is of this toplevel.
    fn is_ours(&self, fs: &Fs, number: u64, now: &Generations, before: &[(u64, String)]) -> bool {
        let newest = before.iter().map(|(number, _)| *number).max();
        let path = self.toplevel.resolve(fs, &self.roots).ok();
        newest.is_none_or(|newest| number > newest) && now.all.get(&number) == path.as_ref()
    }
}

/// Lets the generation's own program write the boot entry; a profile without one has none.
fn write_boot_entry(context: &Context<'_>, toplevel: &str) -> Result<()> {
    let program = format!("{toplevel}/bin/switch-to-configuration");
    if context.host.fs.meta(Path::new(&program))?.is_none() {
        return Ok(());
    }
    let command = own_program(context.host, &program)
        .arg("boot")
        .deadline(BOOT_DEADLINE);
    let output = context.host.exec.output(&command, context.cancel)?;
    if output.code == 0 {
        return Ok(());
    }
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let lines: Vec<&str> = said.lines().collect();
    Err(SwitchError::Program {
        line: command.line(),
        code: output.code,
        why: lines[lines.len().saturating_sub(10)..].join("\n"),
    })
}

fn own_program(host: &Host, program: &str) -> Command {
    if host.is_image() {
        Command::new("chroot")
            .arg(host.fs.root().display().to_string())
            .arg(program)
    } else {
        Command::new(program)
    }
}

/// Lets the profile's link point to this generation: a new link takes the place of the old one.
fn set_current(fs: &Fs, link: &Path, number: u64) -> Result<()> {
    let generation = generation_link(link, number);
    let target = Path::new(generation.file_name().unwrap_or_default());
    if fs.read_link(link)?.as_deref() != Some(target) {
        fs.symlink(target, link)?;
    }
    Ok(())
}

/// A number that no generation ever had, written down so that none gets it again.
fn next_number(fs: &Fs, link: &Path, newest: Option<u64>) -> Result<u64> {
    let folder = Path::new(STATE_DIR).join(NUMBERS);
    private_dir(fs, &folder)?;
    let name = link.display().to_string().replace('/', "-");
    let file = folder.join(name.trim_start_matches('-'));
    let written = fs.read(&file, 32)?.unwrap_or_default();
    let written = std::str::from_utf8(&written).ok();
    let written: u64 = written.and_then(|it| it.trim().parse().ok()).unwrap_or(0);
    let next = written.max(newest.unwrap_or(0)).saturating_add(1);
    fs.write(&file, format!("{next}\n").as_bytes(), 0o600, None)?;
    Ok(next)
}

/// The links of all generations of a profile, and where each leads.
fn numbered(fs: &Fs, link: &Path) -> std::result::Result<BTreeMap<u64, PathBuf>, FsError> {
    let mut all = BTreeMap::new();
    for name in fs.list(link.parent().unwrap_or(link))? {
        let number = name.to_str().and_then(|name| number_of(link, name));
        if let Some(number) = number
            && let Some(target) = fs.read_link(&link.with_file_name(&name))?
        {
            all.insert(number, target);
        }
    }
    Ok(all)
}

/// Number in the name `LINK-N-link`.
fn number_of(link: &Path, name: &str) -> Option<u64> {
    let own = link.file_name()?.to_str()?;
    let number = name.strip_prefix(own)?.strip_prefix('-')?;
    let number = number.strip_suffix("-link")?;
    let is_plain = number.bytes().all(|byte| byte.is_ascii_digit()) && !number.starts_with('0');
    number.parse().ok().filter(|_| is_plain)
}

fn current_of(link: &Path, target: &Path) -> Result<u64> {
    let beside = target.parent() == Some(Path::new("")) || target.parent() == link.parent();
    let name = target.file_name().and_then(|name| name.to_str());
    name.filter(|_| beside)
        .and_then(|name| number_of(link, name))
        .ok_or_else(|| SwitchError::Link {
            what: "read the profile".to_owned(),
            path: link.display().to_string(),
            why: format!(
                "leads to {}, which is no generation of it",
                target.display()
            ),
        })
}

#[cfg(test)]
mod tests;

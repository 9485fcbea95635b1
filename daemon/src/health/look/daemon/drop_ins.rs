//! Drop-ins of nix-daemon's service that start a program which is not there: what an installer that
//! was removed has left.

use std::path::{Path, PathBuf};

use nixctl_planner::units::UnitFile;

use super::super::Result;
use crate::catalogue::facts::leftovers::UNIT_DIR;
use crate::catalogue::facts::links::follow;
use crate::catalogue::linux::SERVICE_UNIT;
use crate::host::Fs;

/// Largest drop-in.
const LIMIT: u64 = 64 << 10;

/// Programs that are named and not there, each with the drop-in that names it.
pub(super) fn lost_programs(fs: &Fs) -> Result<Vec<(PathBuf, PathBuf)>> {
    let folder = Path::new(UNIT_DIR).join(format!("{SERVICE_UNIT}.d"));
    let mut lost = Vec::new();
    let mut names = fs.list(&folder)?;
    names.sort();
    for name in names {
        let path = folder.join(name);
        if path.extension().is_none_or(|it| it != "conf") {
            continue;
        }
        let Some(bytes) = fs.read(&path, LIMIT)? else {
            continue;
        };
        let Some(program) = program(&path, &bytes) else {
            continue;
        };
        // Where the store is away, everything in it is.
        if !program.starts_with("/nix") && follow(fs, &program)?.is_none() {
            lost.push((program, path));
        }
    }
    Ok(lost)
}

/// The program that a drop-in has the service start.
fn program(path: &Path, bytes: &[u8]) -> Option<PathBuf> {
    let unit = UnitFile::parse(&path.to_string_lossy(), bytes).ok()?;
    let line = unit.last("Service", "ExecStart")?;
    let word = line.split_whitespace().next()?;
    let program = Path::new(word.trim_start_matches(['@', '-', ':', '+', '!', '|']));
    program.is_absolute().then(|| program.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    #[test]
    fn only_programs_that_are_gone_are_named() {
        let folder = format!("{UNIT_DIR}/{SERVICE_UNIT}.d");
        let machine = Machine::new()
            .file("/usr/bin/there", "")
            .file(
                &format!("{folder}/a.conf"),
                "[Service]\nExecStart=\nExecStart=-/usr/bin/gone x\n",
            )
            .file(
                &format!("{folder}/b.conf"),
                "[Service]\nExecStart=@/usr/bin/there x\n",
            )
            .file(&format!("{folder}/c.conf"), "[Service]\nNice=3\n")
            .file(
                &format!("{folder}/d.conf.old"),
                "[Service]\nExecStart=/gone\n",
            )
            .file(
                &format!("{folder}/e.conf"),
                "[Service]\nExecStart=/nix/var/x\n",
            );
        let lost = lost_programs(&machine.host().fs).unwrap();
        let drop_in = PathBuf::from(format!("{folder}/a.conf"));
        assert_eq!(lost, [(PathBuf::from("/usr/bin/gone"), drop_in)]);
    }
}

//! Walks an overlay's upper layer and compares each path there with the image below.
//!
//! In the upper layer a character device 0:0 is a removed path, and a folder marked opaque hides
//! everything the image has under it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Entry, Record};
use crate::Machine;
use crate::error::{Context, Result};
use crate::exec::Run;
use crate::paths::hex;

/// The records of all paths that differ from the image.
pub fn changed_files(
    machine: &Machine,
    is_ignored: &dyn Fn(&str) -> bool,
) -> Result<BTreeMap<String, Record>> {
    let (lower, upper) = (machine.lower(), machine.upper());
    let walk = Walk {
        lower,
        upper,
        opaque: opaque_folders(upper)?,
        is_ignored,
    };
    let mut records = BTreeMap::new();
    walk.upper_folder("", &mut records)?;
    records.retain(|_, record| record.base != record.now);
    Ok(records)
}

struct Walk<'a> {
    lower: &'a Path,
    upper: &'a Path,
    opaque: Vec<String>,
    is_ignored: &'a dyn Fn(&str) -> bool,
}

impl Walk<'_> {
    fn upper_folder(&self, path: &str, records: &mut BTreeMap<String, Record>) -> Result<()> {
        for name in names(&under(self.upper, path))? {
            let key = format!("{path}/{name}");
            if (self.is_ignored)(&key) {
                continue;
            }
            let base = entry(&under(self.lower, &key))?;
            let file = under(self.upper, &key);
            let now = if is_whiteout(&file) {
                None
            } else {
                entry(&file)?
            };
            let hides = match (&base, &now) {
                (Some(Entry::Folder { .. }), Some(Entry::Folder { .. })) => {
                    self.opaque.contains(&key)
                }
                (Some(Entry::Folder { .. }), _) => true,
                _ => false,
            };
            let descend = matches!(now, Some(Entry::Folder { .. }));
            records.insert(key.clone(), Record { base, now });
            if hides {
                self.hidden_folder(&key, records)?;
            }
            if descend {
                self.upper_folder(&key, records)?;
            }
        }
        Ok(())
    }

    /// Everything the image has below a folder that was removed or replaced.
    fn hidden_folder(&self, path: &str, records: &mut BTreeMap<String, Record>) -> Result<()> {
        for name in names(&under(self.lower, path))? {
            let key = format!("{path}/{name}");
            if (self.is_ignored)(&key) {
                continue;
            }
            let base = entry(&under(self.lower, &key))?;
            let descend = matches!(base, Some(Entry::Folder { .. }));
            records.insert(key.clone(), Record { base, now: None });
            if descend {
                self.hidden_folder(&key, records)?;
            }
        }
        Ok(())
    }
}

fn under(root: &Path, key: &str) -> std::path::PathBuf {
    root.join(key.trim_start_matches('/'))
}

/// The names in a folder; a folder that vanished meanwhile has none.
fn names(dir: &Path) -> Result<Vec<String>> {
    match fs::read_dir(dir) {
        Ok(entries) => Ok(entries
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).context(|| format!("read {}", dir.display())),
    }
}

fn is_whiteout(file: &Path) -> bool {
    fs::symlink_metadata(file)
        .is_ok_and(|data| data.file_type().is_char_device() && data.rdev() == 0)
}

/// What is at a path; none when there is nothing (any more).
fn entry(file: &Path) -> Result<Option<Entry>> {
    match read_entry(file) {
        Ok(entry) => Ok(Some(entry)),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error).context(|| format!("read {}", file.display())),
    }
}

fn read_entry(file: &Path) -> io::Result<Entry> {
    let data = fs::symlink_metadata(file)?;
    let (mode, uid, gid) = (data.mode() & 0o7777, data.uid(), data.gid());
    let kind = data.file_type();
    Ok(if kind.is_dir() {
        Entry::Folder { mode, uid, gid }
    } else if kind.is_symlink() {
        let target = fs::read_link(file)?.to_string_lossy().into_owned();
        Entry::Link { target, uid, gid }
    } else if kind.is_file() {
        Entry::File {
            mode,
            uid,
            gid,
            size: data.len(),
            sha256: sha256(file)?,
        }
    } else {
        Entry::Special {
            mode: data.mode(),
            uid,
            gid,
        }
    })
}

fn sha256(file: &Path) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut file = File::open(file)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hash.finalize())),
            count => hash.update(&buffer[..count]),
        }
    }
}

/// The folders of an upper layer that hide what is below them.
fn opaque_folders(upper: &Path) -> Result<Vec<String>> {
    let root = upper.to_string_lossy();
    let argv = [
        "getfattr",
        "-R",
        "-P",
        "-h",
        "--absolute-names",
        "-m",
        "^trusted.overlay.opaque$",
        &root,
    ];
    let output = Run::new(&argv).run()?;
    Ok(output
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("# file: ")?.strip_prefix(&*root))
        .map(str::to_owned)
        .collect())
}

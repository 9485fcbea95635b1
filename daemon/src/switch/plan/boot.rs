//! What a generation needs beside its boot entry: its kernel and initrd, where the boot loader cannot
//! read them from the store and has copies of its own.
//!
//! The copies that NixOS's boot loaders make carry the name of the store path that they are from
//! (`EFI/nixos/HASH-linux-6.12-bzImage.efi`, `kernels/HASH-linux-6.12-bzImage`): one that is there needs
//! no room. Entries of generations on the way are made beside, a few small files.

use std::path::{Path, PathBuf};

use nixctl_planner::closure::{Graph, StorePath};
use nixctl_proto::{Code, Failure};

use crate::host::{Fs, FsError};
use crate::switch::files::{Files, canonical};

/// Where boot loaders have their files, the first that is a file system of its own.
const PLACES: [&str; 3] = ["/boot", "/efi", "/boot/efi"];
/// Folders there with copies of kernels.
const COPIES: [&str; 3] = ["EFI/nixos", "kernels", "nixos"];
/// Bytes for the entries of the target and of a hybrid beside the old ones, and for the loader's own file.
const ENTRY_BYTES: u64 = 64 << 10;
/// Files of these.
const ENTRY_FILES: u64 = 6;

/// What comes to the place where the boot loader has its files, and what is free there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootRoom {
    /// The place.
    pub place: PathBuf,
    /// What is copied, with its bytes.
    pub copies: Vec<(String, u64)>,
    /// Bytes free there.
    pub free_bytes: u64,
    /// Inodes free there; `u64::MAX` where they are not counted, as on FAT.
    pub free_inodes: u64,
}

impl BootRoom {
    /// Reads what the target's boot files need. `theirs` has its links, the graph the sizes of what is
    /// not here yet: those of whole store paths, which are never too small.
    ///
    /// # Errors
    /// When something cannot be read.
    pub fn read(
        fs: &Fs,
        theirs: &dyn Files,
        target: &Path,
        graph: &Graph,
    ) -> Result<Option<BootRoom>, FsError> {
        let Some(place) = place(fs)? else {
            return Ok(None);
        };
        let space = fs.space(&place)?;
        let mut copies = Vec::new();
        // On the store's file system it reads them from the store.
        if device(fs, &place)? != device(fs, Path::new("/nix/store"))? {
            for part in ["kernel", "initrd"] {
                let link = theirs.read_link(&target.join(part))?.unwrap_or_default();
                let text = link.to_string_lossy().into_owned();
                let Ok((path, file)) = StorePath::containing(&text) else {
                    continue;
                };
                let name = format!(
                    "{}-{}",
                    path.base_name(),
                    file.trim_start_matches('/').replace('/', "-")
                );
                if !is_there(fs, &place, &name)? {
                    copies.push((name, size(fs, &link, &path, graph)?));
                }
            }
        }
        Ok(Some(BootRoom {
            place,
            copies,
            free_bytes: space.free_bytes,
            free_inodes: space.free_inodes,
        }))
    }

    /// Bytes that come.
    pub fn needed(&self) -> u64 {
        ENTRY_BYTES + self.copies.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// Files that come.
    pub fn files(&self) -> u64 {
        ENTRY_FILES + self.copies.len() as u64
    }

    /// In one sentence.
    pub fn seen(&self) -> String {
        let place = self.place.display();
        let copies = match self.copies.len() {
            0 => "the boot entry takes",
            _ => "kernel, initrd and boot entry take",
        };
        let (needed, free) = (self.needed(), self.free_bytes);
        format!("{copies} {needed} bytes on {place}, {free} are free")
    }

    /// That there is no room for it.
    pub fn refusal(&self) -> Option<Failure> {
        let place = self.place.display();
        let short = |needed: u64, free: u64, what: &str| {
            (needed > free).then(|| {
                let missing = needed - free;
                let text = format!(
                    "cannot switch: kernel, initrd and boot entry take {needed} {what} on {place} and \
                     {free} are free, {missing} {what} more are needed there"
                );
                let help = format!(
                    "free {missing} {what} on {place}: the boot files of old generations go with these \
                     generations"
                );
                Failure::new(Code::NoSpace, text).with_help(help)
            })
        };
        short(self.needed(), self.free_bytes, "bytes")
            .or_else(|| short(self.files(), self.free_inodes, "inodes"))
    }
}

/// Where the boot loader has its files; nothing where there is no such folder.
fn place(fs: &Fs) -> Result<Option<PathBuf>, FsError> {
    let root = device(fs, Path::new("/"))?;
    let mut first = None;
    for place in PLACES.map(Path::new) {
        if fs.is_dir(place) {
            if device(fs, place)? != root {
                return Ok(Some(place.to_owned()));
            }
            first.get_or_insert(place);
        }
    }
    Ok(first.map(Path::to_owned))
}

fn device(fs: &Fs, path: &Path) -> Result<Option<u64>, FsError> {
    Ok(fs.meta(path)?.map(|meta| meta.device))
}

/// Whether a copy of that name is there; some loaders add an ending.
fn is_there(fs: &Fs, place: &Path, name: &str) -> Result<bool, FsError> {
    for folder in COPIES {
        let folder = place.join(folder);
        if fs.is_dir(&folder)
            && fs
                .list(&folder)?
                .iter()
                .any(|it| it.to_string_lossy().starts_with(name))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn size(fs: &Fs, file: &Path, path: &StorePath, graph: &Graph) -> Result<u64, FsError> {
    let here = match fs.is_dir(Path::new("/nix/store")) {
        true => canonical(fs, file)?,
        false => None,
    };
    let meta = here.map(|file| fs.meta(&file)).transpose()?.flatten();
    let whole = graph.id(path).map_or(0, |id| graph.nar_size(id));
    Ok(meta.map_or(whole, |meta| meta.size))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nixctl_planner::closure::PathInfo;

    use super::*;
    use crate::switch::testing::store_path;

    fn room(copies: &[u64], free_bytes: u64, free_inodes: u64) -> BootRoom {
        let copies = copies.iter().map(|bytes| ("x".to_owned(), *bytes));
        BootRoom {
            place: "/boot".into(),
            copies: copies.collect(),
            free_bytes,
            free_inodes,
        }
    }

    #[test]
    fn a_refusal_says_what_is_missing_of_what() {
        assert_eq!(room(&[1000], 1000 + ENTRY_BYTES, u64::MAX).refusal(), None);
        let bytes = room(&[1000, 500], 1400 + ENTRY_BYTES, u64::MAX)
            .refusal()
            .unwrap();
        assert_eq!(bytes.code, Code::NoSpace);
        assert!(
            bytes.message.contains("on /boot") && bytes.message.contains("100 bytes more"),
            "{bytes}"
        );
        let inodes = room(&[1000, 500], u64::MAX, ENTRY_FILES).refusal().unwrap();
        assert!(inodes.message.contains("2 inodes more"), "{inodes}");
    }

    #[test]
    fn what_is_there_under_its_name_needs_no_room() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path.trim_start_matches('/'));
        let fs = Fs::at(dir.path());
        let (top, kernel, initrd) = (
            store_path("top"),
            store_path("linux-6"),
            store_path("initrd"),
        );
        std::fs::create_dir_all(at(&top)).unwrap();
        std::fs::create_dir_all(at(&kernel)).unwrap();
        std::fs::write(at(&format!("{kernel}/bzImage")), [0; 300]).unwrap();
        symlink(format!("{kernel}/bzImage"), at(&format!("{top}/kernel"))).unwrap();
        symlink(format!("{initrd}/initrd"), at(&format!("{top}/initrd"))).unwrap();
        let mut graph = Graph::new();
        for (path, nar_size) in [(&kernel, 9000), (&initrd, 700)] {
            let path = StorePath::new(path).unwrap();
            graph
                .add(&PathInfo {
                    path,
                    nar_size,
                    references: Vec::new(),
                    download_size: None,
                })
                .unwrap();
        }
        let read = || BootRoom::read(&fs, &fs, Path::new(&top), &graph).unwrap();
        assert_eq!(read(), None, "there is no place for it");
        std::fs::create_dir_all(at("boot/EFI/nixos")).unwrap();
        // One file system for all: nothing is copied.
        assert_eq!(read().unwrap().copies, []);
        let sizes = |path: &str| {
            let path = StorePath::containing(path).unwrap().0;
            size(&fs, Path::new(&format!("{path}/bzImage")), &path, &graph).unwrap()
        };
        assert_eq!(
            (sizes(&kernel), sizes(&initrd)),
            (300, 700),
            "of the file, else of the path"
        );
        let name = format!("{}-bzImage", StorePath::new(&kernel).unwrap().base_name());
        assert!(!is_there(&fs, Path::new("/boot"), &name).unwrap());
        std::fs::write(at(&format!("boot/EFI/nixos/{name}.efi")), "").unwrap();
        assert!(is_there(&fs, Path::new("/boot"), &name).unwrap());
    }
}

//! Mounts of this machine, from /proc/self/mountinfo.

use std::path::{Path, PathBuf};

use super::Fs;

/// Where the kernel tells the mounts.
pub const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Type of the file system, such as `ext4`.
    pub kind: String,
    /// Device or other source.
    pub source: String,
    /// Whether the mount, or the file system itself, is read-only.
    pub read_only: bool,
}

/// All mounts, in the order of the kernel; lines that cannot be understood are left out.
pub fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// The mount that is seen at a path: the last one that was put there.
pub fn at<'a>(mounts: &'a [Mount], point: &Path) -> Option<&'a Mount> {
    mounts.iter().rev().find(|mount| mount.point == point)
}

/// Whether something is mounted exactly at `path`, as the running machine sees it.
pub fn is_mount_point(fs: &Fs, path: &Path) -> bool {
    if cfg!(target_os = "linux") {
        let table = std::fs::read_to_string(MOUNTINFO).unwrap_or_default();
        return at(&parse(&table), &fs.real(path)).is_some();
    }
    let device = |path: &Path| fs.meta(path).ok().flatten().map(|meta| meta.device);
    path.parent()
        .is_some_and(|parent| device(parent) != device(path))
}

fn line(text: &str) -> Option<Mount> {
    // 36 35 98:0 /root /point rw,noatime shared:1 - ext3 /dev/root rw,errors=continue
    let (mount, file_system) = text.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(4);
    let (point, options) = (mount.next()?, mount.next()?);
    let mut file_system = file_system.split(' ');
    let (kind, source) = (file_system.next()?, file_system.next()?);
    let own_options = file_system.next().unwrap_or_default();
    let read_only = |options: &str| options.split(',').any(|option| option == "ro");
    Some(Mount {
        point: PathBuf::from(unescape(point)),
        kind: kind.to_owned(),
        source: unescape(source),
        read_only: read_only(options) || read_only(own_options),
    })
}

/// The kernel writes blanks, tabs, newlines and backslashes as three octal digits.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        match after
            .get(..3)
            .and_then(|digits| u8::from_str_radix(digits, 8).ok())
        {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_kernel_are_understood() {
        let mounts = parse(
            "25 1 0:23 / / ro,relatime shared:1 master:2 - overlay composefs ro,lowerdir=/run\n\
             26 25 8:2 /@nix /nix rw,noatime - btrfs /dev/sda2 rw,subvol=/@nix\n\
             garbage\n\
             27 25 8:3 / /with\\040blank rw - ext4 /dev/sda3 ro\n",
        );
        assert_eq!(mounts.len(), 3);
        let root = at(&mounts, Path::new("/")).unwrap();
        assert_eq!(
            (root.kind.as_str(), root.source.as_str(), root.read_only),
            ("overlay", "composefs", true)
        );
        assert_eq!(at(&mounts, Path::new("/nix")).unwrap().kind, "btrfs");
        assert!(!at(&mounts, Path::new("/nix")).unwrap().read_only);
        assert!(at(&mounts, Path::new("/with blank")).unwrap().read_only);
        assert_eq!(at(&mounts, Path::new("/nix/store")), None);
    }

    #[test]
    fn the_last_mount_on_a_point_counts() {
        let mounts =
            parse("1 0 8:1 / /nix rw - ext4 /dev/a rw\n2 0 8:2 / /nix rw - xfs /dev/b rw\n");
        assert_eq!(at(&mounts, Path::new("/nix")).unwrap().kind, "xfs");
    }
}

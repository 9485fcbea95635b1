//! Where an entry of a release archive may lie: `nix-VERSION-SYSTEM/store/HASH-NAME/...`,
//! `.reginfo`, and plain files beside them that are ignored. Everything else is refused by name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use nixctl_planner::closure::{StorePath, is_store_name};

const MAX_PATH: usize = 4095;
const MAX_PART: usize = 255;
const MAX_DEPTH: usize = 100;

/// Where an entry lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place<'a> {
    /// The top folder, or `store` in it.
    Frame,
    /// `.reginfo`.
    Reginfo,
    /// Something beside the store that is not needed, such as an install script.
    Ignored,
    /// Inside the store: the parts of the path, the first of which is `HASH-NAME`.
    Store(Vec<&'a OsStr>),
}

/// Finds the place of an entry with this path in an archive with the top folder `top`.
///
/// # Errors
/// Why the path is not acceptable.
pub fn place<'a>(path: &'a [u8], top: &str) -> Result<Place<'a>, String> {
    let parts = split(path)?;
    let Some((first, rest)) = parts.split_first() else {
        return Ok(Place::Frame);
    };
    if first.as_bytes() != top.as_bytes() {
        return Err(format!("it is not below {top}"));
    }
    match rest {
        [] => Ok(Place::Frame),
        [only] if *only == "store" => Ok(Place::Frame),
        [only] if *only == ".reginfo" => Ok(Place::Reginfo),
        [_] => Ok(Place::Ignored),
        [store, inside @ ..] if *store == "store" => {
            if !is_store_name(inside[0].as_bytes()) {
                return Err("it is not the name of a store path".to_owned());
            }
            Ok(Place::Store(inside.to_vec()))
        }
        _ => Err("only store/ may be a folder there".to_owned()),
    }
}

/// Parts of a relative path without dot segments.
fn split(path: &[u8]) -> Result<Vec<&OsStr>, String> {
    if path.len() > MAX_PATH {
        return Err(format!("its path is longer than {MAX_PATH} bytes"));
    }
    if path.starts_with(b"/") {
        return Err("its path is absolute".to_owned());
    }
    let path = path.strip_prefix(b"./").unwrap_or(path);
    let path = path.strip_suffix(b"/").unwrap_or(path);
    if path.is_empty() || path == b"." {
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." | b".." => return Err("its path has `.` or `..` in it".to_owned()),
            part if part.len() > MAX_PART => {
                return Err(format!(
                    "a part of its path is longer than {MAX_PART} bytes"
                ));
            }
            part if part.contains(&0) => return Err("its path has a zero byte".to_owned()),
            part => parts.push(OsStr::from_bytes(part)),
        }
    }
    if parts.len() > MAX_DEPTH {
        return Err(format!("it lies deeper than {MAX_DEPTH} folders"));
    }
    Ok(parts)
}

/// Whether it is `/nix/store/HASH-NAME`.
pub fn is_store_path(path: &str) -> bool {
    StorePath::new(path).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOP: &str = "nix-2.26.3-x86_64-linux";
    const NAME: &str = "0123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3";

    #[test]
    fn places() {
        let cases: [(&str, Option<Place<'_>>); 18] = [
            ("TOP", Some(Place::Frame)),
            ("TOP/", Some(Place::Frame)),
            ("./TOP/", Some(Place::Frame)),
            ("./", Some(Place::Frame)),
            ("TOP/store/", Some(Place::Frame)),
            ("TOP/.reginfo", Some(Place::Reginfo)),
            ("TOP/install", Some(Place::Ignored)),
            (
                "TOP/store/NAME/bin/nix",
                Some(Place::Store(vec![
                    OsStr::new(NAME),
                    OsStr::new("bin"),
                    OsStr::new("nix"),
                ])),
            ),
            ("TOP/store/nix-2.26.3/bin", None),
            ("TOP/store/../../etc/passwd", None),
            ("TOP/store/NAME/../../x", None),
            ("TOP/store/NAME/./x", None),
            ("TOP/store/NAME//x", None),
            ("/TOP/store/NAME", None),
            ("../TOP", None),
            ("other/store/NAME", None),
            ("TOP/scripts/x", None),
            ("TOP/store/NAME/a\0b", None),
        ];
        for (path, expected) in cases {
            let path = path.replace("TOP", TOP).replace("NAME", NAME);
            assert_eq!(place(path.as_bytes(), TOP).ok(), expected, "{path}");
        }
        let long = format!("{TOP}/store/{NAME}/{}", "x".repeat(256));
        assert!(place(long.as_bytes(), TOP).is_err());
        let deep = format!("{TOP}/store/{NAME}/{}", "x/".repeat(200));
        assert!(place(deep.as_bytes(), TOP).is_err());
    }

    #[test]
    fn store_names() {
        for (name, right) in [
            (NAME, true),
            ("0123456789abcdfghijklmnpqrsvwxyz-", false),
            ("0123456789abcdfghijklmnpqrsvwxyz", false),
            ("0123456789abcdfghijklmnpqrsvwxye-a", false),
            ("0123456789abcdfghijklmnpqrsvwxyz-..", false),
            ("0123456789abcdfghijklmnpqrsvwxyz-a b", false),
            ("0123456789abcdfghijklmnpqrsvwxyz_a", false),
        ] {
            assert_eq!(is_store_name(name.as_bytes()), right, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_accepted_path_leaves_the_store(
            parts in proptest::collection::vec("(\\.\\.|\\.|/|store|[a-z.]{1,3}|TOP|NAME)", 0..8)
        ) {
            let path = parts.join("/").replace("TOP", TOP).replace("NAME", NAME);
            if let Ok(Place::Store(inside)) = place(path.as_bytes(), TOP) {
                prop_assert!(is_store_name(inside[0].as_bytes()));
                for part in inside {
                    prop_assert!(part != ".." && part != "." && !part.is_empty());
                    prop_assert!(!part.as_bytes().contains(&b'/'));
                }
            }
        }
    }
}

//! What a word on the command line means as a toplevel: a store path, a link to one, a generation.
//!
//! The daemon takes store paths only, because it sees other links than who calls it.

use std::path::{Path, PathBuf};

use nixctl_planner::closure::{STORE_DIR, StorePath};
use nixctl_proto::{Code, Failure, Generation};

/// Most links that are followed, as the kernel has it.
const LINKS: usize = 40;

/// The store path that a word names: itself, or where a link leads.
pub fn resolve(word: &str) -> Result<String, Failure> {
    let cannot = |why: &dyn std::fmt::Display| {
        let message = format!("cannot use the toplevel `{word}`: {why}");
        Failure::new(Code::InvalidArgument, message)
            .with_help("name a store path, or a link to one such as ./result")
    };
    if word.is_empty() {
        return Err(cannot(&"it is empty"));
    }
    let mut path = std::path::absolute(word).map_err(|error| cannot(&error))?;
    for _ in 0..LINKS {
        let text = path
            .to_str()
            .ok_or_else(|| cannot(&"its path is not UTF-8"))?;
        match StorePath::new(text.trim_end_matches('/')) {
            Ok(store) if store.name().ends_with(".drv") => {
                return Err(cannot(&"it is a derivation: build it first"));
            }
            Ok(store) => return Ok(store.as_str().to_owned()),
            Err(error) if path.starts_with(STORE_DIR) => return Err(cannot(&error.why)),
            Err(_) => path = next(&path).map_err(|error| cannot(&error))?,
        }
    }
    Err(cannot(&"there are too many links"))
}

/// Where a link leads; the folders before it are those that they are links to.
fn next(path: &Path) -> std::io::Result<PathBuf> {
    let target = match std::fs::read_link(path) {
        Ok(target) => target,
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => {
            let real = path.canonicalize()?;
            // A folder, but one that is reached through a link to the store.
            if real != path && real.starts_with(STORE_DIR) {
                return Ok(real);
            }
            let why = "it is neither in the store nor a link into it";
            return Err(std::io::Error::other(why));
        }
        Err(error) => return Err(error),
    };
    match path.parent() {
        Some(folder) if target.is_relative() => Ok(folder.canonicalize()?.join(target)),
        _ => Ok(target),
    }
}

/// The same, where a number means a generation.
pub fn resolve_or_number(word: &str, generations: &[Generation]) -> Result<String, Failure> {
    let Some(number) = number(word) else {
        return resolve(word);
    };
    let found = generations
        .iter()
        .find(|generation| generation.number == number);
    match found {
        Some(generation) => Ok(generation.path.clone()),
        None => {
            let message = format!("cannot find generation {number}: the system has none of it");
            Err(Failure::new(Code::NotFound, message)
                .with_help("see which there are with `nixctl generations`"))
        }
    }
}

/// The number that a word is, if it is one.
pub fn number(word: &str) -> Option<u64> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| word.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const PATH: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web-25.05";

    #[test]
    fn links_lead_to_store_paths() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink(PATH, at("result")).unwrap();
        symlink("result", at("again")).unwrap();
        std::fs::create_dir(at("deep")).unwrap();
        symlink("../again", at("deep/link")).unwrap();
        symlink("deep", at("folder")).unwrap();
        for name in ["result", "again", "deep/link", "folder/link"] {
            assert_eq!(resolve(at(name).to_str().unwrap()).unwrap(), PATH, "{name}");
        }
        assert_eq!(resolve(PATH).unwrap(), PATH);
        assert_eq!(resolve(&format!("{PATH}/")).unwrap(), PATH);
    }

    #[test]
    fn everything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        symlink("loop", at("loop")).unwrap();
        symlink("/etc", at("etc")).unwrap();
        symlink(format!("{PATH}/bin"), at("inside")).unwrap();
        symlink(format!("{PATH}.drv"), at("drv")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        for name in ["loop", "etc", "inside", "drv", "file", "none"] {
            let failure = resolve(at(name).to_str().unwrap()).unwrap_err();
            assert_eq!(failure.code, Code::InvalidArgument, "{name}");
        }
        assert!(resolve("").is_err());
    }

    #[test]
    fn a_number_is_a_generation() {
        let all = [Generation {
            number: 42,
            path: PATH.to_owned(),
            ..Generation::default()
        }];
        assert_eq!(resolve_or_number("42", &all).unwrap(), PATH);
        assert_eq!(resolve_or_number(PATH, &all).unwrap(), PATH);
        let failure = resolve_or_number("7", &all).unwrap_err();
        assert_eq!(failure.code, Code::NotFound);
        assert_eq!(number("99999999999999999999"), None);
    }
}

//! Which machine this is: its id, and whether it is one of many that live for a short time.
//!
//! The id is never given away as it is: each use derives an id of its own from it, so that nobody
//! can tell from one where the other is, nor find the machine's own.

use std::fmt::Write;
use std::path::Path;

use nixctl_proto::settings::Ephemeral;
use ring::hmac;

use crate::host::Fs;

/// Kinds of container that hold a whole system, and live as long as one.
const WHOLE_SYSTEMS: [&str; 3] = ["lxc", "lxc-libvirt", "systemd-nspawn"];
/// Bytes of an id.
const BYTES: usize = 16;

/// What is in `/etc/machine-id`: made once for a machine, kept secret.
#[derive(Clone, PartialEq, Eq)]
pub struct MachineId([u8; BYTES]);

/// A use of the machine's id. Never changed, or every machine becomes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppId([u8; BYTES]);

impl AppId {
    /// A use; the number is drawn once, as by `systemd-id128 new`.
    pub const fn new(number: u128) -> AppId {
        AppId(number.to_be_bytes())
    }
}

impl MachineId {
    /// Reads the content of `/etc/machine-id`; `None` where it has no id (yet): an image before its
    /// first boot has an empty file or the word `uninitialized`.
    pub fn parse(text: &str) -> Option<MachineId> {
        let text = text.trim_end_matches(['\n', '\r']);
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 2 * BYTES || !text.bytes().all(is_digit) {
            return None;
        }
        let number = u128::from_str_radix(text, 16).ok()?;
        (number != 0).then_some(MachineId(number.to_be_bytes()))
    }

    /// The id for one use, 32 hexadecimal digits. The same as that of systemd's
    /// `sd_id128_get_machine_app_specific()` and `systemd-id128 machine-id --app-specific=`:
    /// the first half of HMAC-SHA256 over the use with the machine's id as key, marked as a UUID
    /// of version 4.
    pub fn for_use(&self, app: AppId) -> String {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.0), &app.0);
        let mut id = [0; BYTES];
        id.copy_from_slice(&tag.as_ref()[..BYTES]);
        id[6] = id[6] & 0x0f | 0x40;
        id[8] = id[8] & 0x3f | 0x80;
        id.iter().fold(String::new(), |mut text, byte| {
            // Writing to a String does not fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
    }
}

impl std::fmt::Debug for MachineId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MachineId").finish_non_exhaustive()
    }
}

/// What kind of container the machine with these files is, by systemd's word, else by the mark that the
/// container's engine leaves.
pub fn container(fs: &Fs) -> Option<String> {
    let said = fs.read(Path::new("/run/systemd/container"), 256).ok()?;
    if let Some(kind) = said.and_then(|bytes| String::from_utf8(bytes).ok()) {
        return Some(kind.trim().to_owned()).filter(|kind| !kind.is_empty());
    }
    let marks = [("/.dockerenv", "docker"), ("/run/.containerenv", "podman")];
    let is_there = |path: &str| matches!(fs.meta(Path::new(path)), Ok(Some(_)));
    let mark = marks.into_iter().find(|(path, _)| is_there(path));
    mark.map(|(_, kind)| kind.to_owned())
}

/// The id of the machine with these files; `None` where it has none yet.
pub fn id(fs: &Fs) -> Option<MachineId> {
    let bytes = fs.read(Path::new("/etc/machine-id"), 4096).ok()??;
    MachineId::parse(std::str::from_utf8(&bytes).ok()?)
}

/// Why this machine counts as one of many that live for a short time; `None` when it does not.
/// `container` is the kind of container that it is, `ci` the environment's variable `CI`.
pub fn ephemeral(setting: Ephemeral, container: Option<&str>, ci: Option<&str>) -> Option<String> {
    let is_set = ci.is_some_and(|value| !matches!(value, "" | "0" | "false"));
    let application = container.filter(|kind| !WHOLE_SYSTEMS.contains(kind));
    match (setting, application) {
        (Ephemeral::No, _) => None,
        (Ephemeral::Yes, _) => Some("the settings say so".to_owned()),
        (Ephemeral::Auto, _) if is_set => Some("it runs a CI job".to_owned()),
        (Ephemeral::Auto, Some(kind)) => Some(format!("it is a container of {kind}")),
        (Ephemeral::Auto, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_an_id() {
        let good = "0123456789abcdef0123456789abcdef";
        for text in [good.to_owned(), format!("{good}\n")] {
            assert!(MachineId::parse(&text).is_some(), "{text:?}");
        }
        for text in [
            "",
            "\n",
            "uninitialized\n",
            "00000000000000000000000000000000\n",
            "0123456789abcdef0123456789abcde",
            "0123456789abcdef0123456789abcdef0",
            "0123456789ABCDEF0123456789ABCDEF",
            "+123456789abcdef0123456789abcdef",
        ] {
            assert_eq!(MachineId::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn who_lives_for_a_short_time() {
        use Ephemeral::{Auto, No, Yes};
        for (setting, container, ci, expected) in [
            (Auto, None, None, None),
            (Auto, None, Some("true"), Some("it runs a CI job")),
            (Auto, None, Some("false"), None),
            (Auto, None, Some(""), None),
            (
                Auto,
                Some("docker"),
                None,
                Some("it is a container of docker"),
            ),
            (Auto, Some("lxc"), None, None),
            (
                Auto,
                Some("systemd-nspawn"),
                Some("1"),
                Some("it runs a CI job"),
            ),
            (No, Some("docker"), Some("true"), None),
            (Yes, None, None, Some("the settings say so")),
        ] {
            let found = ephemeral(setting, container, ci);
            assert_eq!(
                found.as_deref(),
                expected,
                "{setting:?} {container:?} {ci:?}"
            );
        }
    }

    #[test]
    fn what_kind_of_container_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        assert_eq!(container(&fs), None);
        std::fs::write(dir.path().join(".dockerenv"), "").unwrap();
        assert_eq!(container(&fs).as_deref(), Some("docker"));
        std::fs::create_dir_all(dir.path().join("run/systemd")).unwrap();
        std::fs::write(dir.path().join("run/systemd/container"), "lxc\n").unwrap();
        assert_eq!(container(&fs).as_deref(), Some("lxc"));
        assert!(id(&fs).is_none());
    }

    #[test]
    fn it_is_never_shown() {
        let id = MachineId::parse("0123456789abcdef0123456789abcdef").unwrap();
        assert!(!format!("{id:?}").contains("0123"));
        let (one, two) = (AppId::new(1), AppId::new(2));
        assert_ne!(id.for_use(one), id.for_use(two));
        assert!(!id.for_use(one).contains("01234567"));
    }
}

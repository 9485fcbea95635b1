//! Files that the user put under care, `[[managed]]` in the settings.
//!
//! The settings have checked what can be said of an entry alone. Here it meets the machine: where
//! the file's folder really is, who owns it, what the source holds. An entry that does not become a
//! file is named with its reason and disturbs no other. A source is read anew each time, so that
//! a new secret in it is a drift of the file.

use std::path::{Component, Path, PathBuf};

use nixctl_proto::settings::{MAX_MANAGED_BYTES, ManagedSettings, not_to_be_managed};

use crate::host::fs::Meta;
use crate::host::{Fs, Host, accounts};
use crate::resource::Resource;
use crate::resource::file::File;

/// Links on the way to a file, as the kernel counts them.
const MAX_LINKS: usize = 40;

/// A file under care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Managed {
    /// The file, written whole; what else is in its place is replaced.
    pub file: File,
    /// Unit that is restarted when it was written.
    pub restart: Option<String>,
}

/// Why an entry does not become a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot manage {}: {why}", path.display())]
pub struct ManagedError {
    /// The file.
    pub path: PathBuf,
    /// Reason.
    pub why: String,
}

/// The files under care, and what is wrong with the other entries. `owned` is what nixctl has made
/// itself, which nobody else may write.
pub fn files(
    settings: &[ManagedSettings],
    owned: &[Resource],
    host: &Host,
) -> (Vec<Managed>, Vec<ManagedError>) {
    let mut errors = Vec::new();
    let mut found = Vec::new();
    for entry in settings {
        match file(entry, owned, host) {
            Ok(file) => found.push(Managed {
                file,
                restart: Some(entry.restart.clone()).filter(|unit| !unit.is_empty()),
            }),
            Err(why) => errors.push(ManagedError {
                path: entry.path.clone().into(),
                why,
            }),
        }
    }
    (found, errors)
}

/// One entry as a file.
///
/// # Errors
/// Why it cannot be.
pub fn file(entry: &ManagedSettings, owned: &[Resource], host: &Host) -> Result<File, String> {
    let path = Path::new(&entry.path);
    let real = resolved(&host.fs, path)?;
    if let Some(place) = not_to_be_managed(&real) {
        return Err(format!("it lies in {place}"));
    }
    if let Some(ours) = owned.iter().find(|it| holds(it, path) || holds(it, &real)) {
        return Err(format!("nixctl owns it as {}", ours.describe().id));
    }
    let (uid, gid) = owner(entry, host)?;
    Ok(File {
        path: path.to_owned(),
        content: content(entry, host)?,
        mode: entry.mode_bits()?,
        uid,
        gid,
        replace: true,
    })
}

fn content(entry: &ManagedSettings, host: &Host) -> Result<String, String> {
    match (&entry.content, &entry.source) {
        (Some(content), _) => Ok(content.clone()),
        (None, Some(source)) => {
            let bytes = host.fs.read(Path::new(source), MAX_MANAGED_BYTES);
            let bytes = bytes.map_err(|error| error.to_string())?;
            let bytes = bytes.ok_or_else(|| format!("its source {source} is not there"))?;
            String::from_utf8(bytes).map_err(|_| format!("its source {source} is no text in UTF-8"))
        }
        (None, None) => Err("it has neither source nor content".to_owned()),
    }
}

fn owner(entry: &ManagedSettings, host: &Host) -> Result<(u32, u32), String> {
    let (user, group) = entry.owner_names();
    let (uid, own) = match user.parse::<u32>() {
        Ok(uid) => (uid, None),
        // An image may lack the file that says so.
        Err(_) if user == "root" => (0, Some(0)),
        Err(_) => {
            let found = accounts::user(host, user).map_err(|error| error.to_string())?;
            let found = found.ok_or_else(|| format!("there is no user {user}"))?;
            (found.uid, Some(found.gid))
        }
    };
    let gid = match group.map(|group| (group, group.parse::<u32>())) {
        Some((_, Ok(gid))) => gid,
        Some((group, Err(_))) => {
            let found = accounts::group(host, group).map_err(|error| error.to_string())?;
            found
                .ok_or_else(|| format!("there is no group {group}"))?
                .gid
        }
        None => own.ok_or_else(|| format!("the group of user {uid} must be named"))?,
    };
    Ok((uid, gid))
}

/// Whether a resource is, or has a part in, the file at the path. What is in a folder of ours is not
/// ours by that.
fn holds(resource: &Resource, path: &Path) -> bool {
    let id = resource.describe().id;
    match id.split_once(':') {
        Some(("directory", _)) | None => false,
        Some((_, rest)) => Path::new(rest.split('#').next().unwrap_or(rest)) == path,
    }
}

/// Where a path leads whose folder is reached through links; the file itself is not followed.
fn resolved(fs: &Fs, path: &Path) -> Result<PathBuf, String> {
    let one = |part: Component<'_>| PathBuf::from(part.as_os_str());
    let mut pending: Vec<PathBuf> = path.components().rev().map(one).collect();
    let mut real = PathBuf::from("/");
    let mut links = 0;
    while let Some(part) = pending.pop() {
        match part.components().next() {
            Some(Component::ParentDir) => {
                real.pop();
                continue;
            }
            Some(Component::Normal(name)) => real.push(name),
            _ => {
                real = PathBuf::from("/");
                continue;
            }
        }
        if pending.is_empty() {
            break;
        }
        let target = fs.read_link(&real).map_err(|error| error.to_string())?;
        if let Some(target) = target {
            of_root(fs, &real)?;
            links += 1;
            if links > MAX_LINKS {
                return Err("the links on its way go in a circle".to_owned());
            }
            real.pop();
            pending.extend(target.components().rev().map(one));
        }
    }
    Ok(real)
}

/// A link on the way counts only where root alone could make it: what is written through it is
/// written with root's rights.
fn of_root(fs: &Fs, link: &Path) -> Result<(), String> {
    let folder = link.parent().unwrap_or(link);
    let meta = fs.meta(folder).map_err(|error| error.to_string())?;
    let own = nix::unistd::geteuid().as_raw();
    let is_safe = |meta: Meta| (meta.uid == 0 || meta.uid == own) && meta.mode & 0o022 == 0;
    if meta.is_some_and(is_safe) {
        return Ok(());
    }
    let link = link.display();
    Err(format!(
        "others than root can change the link {link} on its way"
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::resource::Presence;
    use crate::resource::testing::{Machine, own_ids};

    fn entry(path: &str) -> ManagedSettings {
        let (uid, gid) = own_ids();
        ManagedSettings {
            path: path.into(),
            content: Some("ours\n".into()),
            owner: format!("{uid}:{gid}"),
            ..ManagedSettings::default()
        }
    }

    fn one(machine: &Machine, entry: ManagedSettings) -> Result<Managed, String> {
        let (mut files, mut errors) = files(&[entry], &[], &machine.host);
        match (files.pop(), errors.pop()) {
            (Some(file), None) => Ok(file),
            (None, Some(error)) => Err(error.to_string()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_written_and_its_drift_is_seen() {
        let machine = Machine::new();
        machine.put("/etc/keys", b"secret\n");
        let managed = one(
            &machine,
            ManagedSettings {
                content: None,
                source: Some("/etc/keys".into()),
                restart: "a.service".into(),
                ..entry("/etc/copy")
            },
        )
        .unwrap();
        assert_eq!(managed.restart.as_deref(), Some("a.service"));
        let resource = &Resource::File(managed.file);
        assert_eq!(resource.probe(&machine.host).unwrap(), Presence::Absent);
        let undo = resource.prepare(&machine.host).unwrap();
        resource.apply(&machine.context(), &undo).unwrap();
        assert_eq!(machine.text("/etc/copy").as_deref(), Some("secret\n"));
        assert_eq!(resource.probe(&machine.host).unwrap(), Presence::Present);
        // The user changes the source.
        machine.put("/etc/keys", b"newer\n");
        let managed = one(
            &machine,
            ManagedSettings {
                content: None,
                source: Some("/etc/keys".into()),
                ..entry("/etc/copy")
            },
        )
        .unwrap();
        assert_eq!(managed.restart, None);
        let seen = managed.file.probe(&machine.host).unwrap();
        assert!(matches!(seen, Presence::Drifted(_)), "{seen:?}");
    }

    #[test]
    fn what_cannot_be_managed_says_why() {
        let machine = Machine::new();
        for folder in ["nix/store/abc-x/etc", "var/lib/nixctl", "etc/real"] {
            std::fs::create_dir_all(machine.path(&format!("/{folder}"))).unwrap();
        }
        symlink("/nix/store/abc-x/etc", machine.path("/etc/static")).unwrap();
        symlink("../var/lib/nixctl", machine.path("/etc/state")).unwrap();
        symlink("circle", machine.path("/etc/circle")).unwrap();
        symlink("real", machine.path("/etc/good")).unwrap();
        std::fs::create_dir_all(machine.path("/home/jo")).unwrap();
        machine.chmod("/home/jo", 0o777);
        symlink("../../etc", machine.path("/home/jo/mine")).unwrap();
        machine.put("/etc/binary", b"\xff");
        machine.put("/etc/large", vec![b'x'; (1 << 20) + 1]);
        machine.put("/etc/passwd", b"me:x:7:8::/:/bin/sh\n");
        machine.put("/etc/group", b"us:x:9:\n");
        let source = |source: &str| ManagedSettings {
            content: None,
            source: Some(source.into()),
            ..entry("/etc/x")
        };
        let owner = |owner: &str| ManagedSettings {
            owner: owner.into(),
            ..entry("/etc/x")
        };
        for (entry, part) in [
            (entry("/etc/static/x"), "it lies in /nix/store"),
            (entry("/etc/state/db"), "it lies in /var/lib/nixctl"),
            (entry("/etc/circle/x"), "circle"),
            (entry("/home/jo/mine/x"), "others than root can change"),
            (source("/etc/none"), "is not there"),
            (source("/etc/binary"), "no text"),
            (source("/etc/large"), "larger than 1048576 bytes"),
            (source("/etc"), "not a regular file"),
            (source("/etc/good"), "not a regular file"),
            (owner("12"), "group of user 12 must be named"),
        ] {
            let why = one(&machine, entry).unwrap_err();
            assert!(why.starts_with("cannot manage /"), "{why}");
            assert!(why.contains(part), "{why}");
        }
        for (name, ids) in [
            ("root", (0, 0)),
            ("me", (7, 8)),
            ("me:us", (7, 9)),
            ("5:us", (5, 9)),
        ] {
            let file = one(&machine, owner(name)).unwrap().file;
            assert_eq!((file.uid, file.gid), ids, "{name}");
        }
        assert!(one(&machine, entry("/etc/good/x")).is_ok());
    }

    #[test]
    fn what_nixctl_made_itself_is_not_managed_by_somebody_else() {
        let machine = Machine::new();
        std::fs::create_dir_all(machine.path("/etc/real")).unwrap();
        symlink("real", machine.path("/etc/link")).unwrap();
        let ours = Resource::File(one(&machine, entry("/etc/real/unit")).unwrap().file);
        let settings = ["/etc/real/unit", "/etc/link/unit", "/etc/real/other"].map(entry);
        let (files, errors) = files(&settings, &[ours], &machine.host);
        assert_eq!(files.len(), 1, "a bad entry disturbs no other");
        let why: Vec<String> = errors.iter().map(ToString::to_string).collect();
        assert!(
            why.iter().all(|it| it.contains("file:/etc/real/unit")),
            "{why:?}"
        );
        assert_eq!(why.len(), 2);
    }
}

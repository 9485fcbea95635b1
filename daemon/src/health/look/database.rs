//! Nix's database, the file with its version, and the lists of what binary caches have.

mod sqlite;

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::mounts::is_mount_missing;
use super::{At, Expected, Result, Scene, text};
use crate::health::database::{self, copies};
use crate::host::{Command, ExecError, Fs};
use crate::resource::registration::Registration;
use crate::resource::{Presence, Resource};
use crate::upgrade::schema;

pub use sqlite::Head;

/// What the first bytes of the database say.
///
/// # Errors
/// When they cannot be read.
pub fn head(fs: &Fs) -> Result<Head> {
    sqlite::head(fs, &At::look(fs, DATABASE)?)
}

/// The database.
pub const DATABASE: &str = "/nix/var/nix/db/db.sqlite";
/// The file with its version.
pub const SCHEMA: &str = "/nix/var/nix/db/schema";
/// Versions of the database that every Nix of today reads: it brings the older ones up to date by
/// itself, and before the first of them it used no SQLite. A newer Nix may read more.
pub const VERSIONS: std::ops::RangeInclusive<u64> = 6..=10;
/// Where the daemon keeps what it knows of binary caches.
const CACHES: &str = "/root/.cache/nix";
/// A database of a gigabyte on a slow disk; the other checks wait for it.
const CHECK_DEADLINE: Duration = Duration::from_secs(60);
/// The daemon's own program.
const OWN_PROGRAM: &str = "/proc/self/exe";
/// How it is asked to look at a database.
pub const EXAMINE: &str = "examine-database";
/// Said before the path of Nix's own database.
const OF_NIX: &str = "--of-nix";
/// Largest file with a version that is read.
const SCHEMA_LIMIT: u64 = 4096;
/// Files beside a database that belong to it.
const BESIDE: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Nix's databases.
#[derive(Debug, Clone, PartialEq)]
pub struct DatabaseFacts {
    /// Whether nixctl owns a store that uses it.
    pub is_owned: bool,
    /// Whether something should be mounted at /nix and is not.
    pub is_mount_missing: bool,
    /// The database's folder.
    pub folder: At,
    /// The database.
    pub database: At,
    /// What its first bytes say.
    pub head: Head,
    /// What a program that reads it says; only asked when looked deeply.
    pub check: DatabaseCheck,
    /// The file with its version; nothing when there is none.
    pub schema: Option<String>,
    /// The newest version that our Nix reads.
    pub newest: u64,
    /// Nix's own paths in it, and what their probe saw.
    pub registration: Option<(Registration, Presence)>,
    /// What nixctl has to put it back together with.
    pub remains: Remains,
    /// Damaged lists of what binary caches have, each with the files beside it.
    pub damaged_caches: Vec<Vec<PathBuf>>,
}

/// What a database can be put back together with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remains {
    /// Names of its copies, the newest first.
    pub copies: Vec<String>,
    /// Store path of our Nix, when it is there.
    pub nix: Option<String>,
    /// Names the release that Nix's own paths come from.
    pub release: Option<Registration>,
}

/// What reading a database gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DatabaseCheck {
    /// It was not read, or there is nothing to read it with.
    NotMade,
    /// It is whole.
    Sound,
    /// It is not: what was said.
    Damaged(String),
}

pub(super) fn look(scene: &Scene<'_>, expected: &Expected) -> Result<DatabaseFacts> {
    let fs = &scene.host.fs;
    let is_mount_missing = is_mount_missing(scene)?;
    let database = At::look(fs, DATABASE)?;
    let mut facts = DatabaseFacts {
        is_owned: expected.tree.is_some(),
        is_mount_missing,
        folder: At::look(fs, "/nix/var/nix/db")?,
        head: sqlite::head(fs, &database)?,
        check: DatabaseCheck::NotMade,
        schema: None,
        newest: newest(fs, expected)?,
        registration: None,
        remains: remains(fs, expected)?,
        damaged_caches: damaged_caches(scene)?,
        database,
    };
    if is_mount_missing || !facts.is_owned {
        return Ok(facts);
    }
    let schema = At::look(fs, SCHEMA)?;
    if schema.meta.is_some_and(|meta| meta.size <= SCHEMA_LIMIT) && schema.is_file() {
        facts.schema = text(fs, Path::new(SCHEMA), SCHEMA_LIMIT)?;
    }
    if scene.is_deep && facts.head == Head::Sound {
        facts.check = check(scene, &facts.database.path, &[OF_NIX])?;
    }
    // Nix is only asked about a database that it can read: a version that it does not take, it calls
    // a damaged database as well, and without one it begins a new database.
    let read = *VERSIONS.start()..=facts.newest;
    let is_read = number(facts.schema.as_deref()).is_some_and(|it| read.contains(&it));
    let is_sound =
        facts.head == Head::Sound && is_read && !matches!(facts.check, DatabaseCheck::Damaged(_));
    if let (Some(registration), true) = (&expected.registration, is_sound && scene.is_deep) {
        match Resource::Registration(registration.clone()).probe(scene.host) {
            Ok(presence) => facts.registration = Some((registration.clone(), presence)),
            Err(error) if error.is_stopped() => return Err(error.into()),
            Err(error) => {
                let said = error.to_string();
                // Any other trouble of Nix is another check's.
                if tells_of_damage(&said) {
                    facts.check = DatabaseCheck::Damaged(first_line(&said));
                }
            }
        }
    }
    Ok(facts)
}

/// The version that the file with it says.
pub fn number(schema: Option<&str>) -> Option<u64> {
    schema.and_then(|text| text.trim().parse().ok())
}

/// The newest version that the installed Nix reads: what it told when it was installed by an upgrade.
fn newest(fs: &Fs, expected: &Expected) -> Result<u64> {
    let told = match &expected.profile {
        Some(profile) => schema::newest_of(fs, &profile.sha256)?,
        None => None,
    };
    Ok(told.unwrap_or(0).max(*VERSIONS.end()))
}

fn remains(fs: &Fs, expected: &Expected) -> Result<Remains> {
    let nix = expected.manifest.as_ref().map(|manifest| &manifest.nix);
    let program = nix.map(|nix| Path::new(nix).join("bin/nix-store"));
    let is_there = match &program {
        Some(program) => fs.meta(program)?.is_some(),
        None => false,
    };
    // A folder that cannot be read has no copies.
    let copies = copies::all(fs).unwrap_or_default();
    Ok(Remains {
        copies: copies.iter().rev().map(copies::Copy::name).collect(),
        nix: nix.filter(|_| is_there).cloned(),
        release: expected.registration.clone(),
    })
}

/// Has a child read it: SQLite's memory comes back, and a database that makes it fail ends the child
/// and not the daemon. Nothing of it is changed.
fn check(scene: &Scene<'_>, path: &Path, options: &[&str]) -> Result<DatabaseCheck> {
    let host = scene.host;
    let command = Command::new(OWN_PROGRAM)
        .arg(EXAMINE)
        .args(options.iter().copied())
        .arg(host.fs.real(path).to_string_lossy())
        .deadline(CHECK_DEADLINE);
    let output = match host.exec.output(&command, scene.cancel) {
        Ok(output) => output,
        Err(error @ ExecError::Stopped { .. }) => return Err(error.into()),
        Err(_) => return Ok(DatabaseCheck::NotMade),
    };
    let said = output.text();
    Ok(match u8::try_from(output.code) {
        Ok(database::SOUND) => DatabaseCheck::Sound,
        Ok(database::DAMAGED) => DatabaseCheck::Damaged(first_line(&said)),
        _ => DatabaseCheck::NotMade,
    })
}

fn tells_of_damage(said: &str) -> bool {
    ["malformed", "not a database", "corrupt", "disk I/O error"]
        .iter()
        .any(|word| said.contains(word))
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn damaged_caches(scene: &Scene<'_>) -> Result<Vec<Vec<PathBuf>>> {
    let fs = &scene.host.fs;
    let mut found = Vec::new();
    if !At::look(fs, CACHES)?.is_directory() {
        return Ok(found);
    }
    for name in fs.list(Path::new(CACHES))? {
        let Some(name) = name.to_str() else { continue };
        if !name.starts_with("binary-cache-v") || !name.ends_with(".sqlite") {
            continue;
        }
        let path = Path::new(CACHES).join(name);
        let at = At::look(fs, &path)?;
        let is_damaged = match sqlite::head(fs, &at)? {
            Head::Damaged(_) => true,
            Head::Sound if scene.is_deep => {
                matches!(check(scene, &path, &[])?, DatabaseCheck::Damaged(_))
            }
            // An empty one is one that was not written to yet.
            Head::Sound | Head::Empty | Head::Absent => false,
        };
        if is_damaged {
            found.push(with_those_beside(scene, path)?);
        }
    }
    Ok(found)
}

fn with_those_beside(scene: &Scene<'_>, path: PathBuf) -> Result<Vec<PathBuf>> {
    let mut all = Vec::new();
    for ending in BESIDE {
        let mut beside = path.clone().into_os_string();
        beside.push(ending);
        let beside = PathBuf::from(beside);
        if scene.host.fs.meta(&beside)?.is_some() {
            all.push(beside);
        }
    }
    // The database goes last: cut off before, the rest is damage that is found again.
    all.push(path);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::payload::{Manifest, manifest_path};
    use crate::resource::nix_tree::NixTree;

    fn of(machine: &Machine) -> DatabaseFacts {
        let tree = Resource::NixTree(NixTree {
            store_gid: 0,
            keep: false,
        });
        match look_at(machine, &[tree], Area::Database) {
            Facts::Database(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_parts_are_read() {
        let facts = of(&Machine::new().file(DATABASE, "").file(SCHEMA, "10"));
        assert!(facts.is_owned && facts.folder.is_directory());
        assert_eq!(
            (facts.head, facts.schema.as_deref()),
            (Head::Empty, Some("10"))
        );
        let facts = of(&Machine::new());
        assert_eq!((facts.head, facts.schema), (Head::Absent, None));
    }

    #[test]
    fn a_nix_that_reads_more_has_told() {
        let link = PathBuf::from("/nix/var/nix/profiles/nixctl");
        let owned = [
            Resource::NixTree(NixTree {
                store_gid: 0,
                keep: false,
            }),
            Resource::Profile(crate::resource::profile::Profile {
                link,
                sha256: "bb".to_owned(),
            }),
        ];
        for (told, expected) in [("bb", 11), ("aa", 10)] {
            let path = format!("/var/lib/nixctl/database/reads-{told}");
            let machine = Machine::new().file(SCHEMA, "11").file(&path, "11");
            let Facts::Database(facts) = look_at(&machine, &owned, Area::Database) else {
                panic!()
            };
            assert_eq!(facts.newest, expected);
        }
    }

    /// The one before is kept as well, and what is newer than the one in use is kept after going back:
    /// only to look, it would take the database over.
    #[test]
    fn the_release_that_the_profile_leads_to_is_asked() {
        let registration = |sha256: &str| {
            let sha256 = sha256.to_owned();
            Resource::Registration(Registration { sha256 })
        };
        for (leads_to, asked) in [("old", "old"), ("new", "new"), ("gone", "new")] {
            let owned = [
                registration("old"),
                registration("new"),
                Resource::Profile(crate::resource::profile::Profile {
                    link: "/nix/var/nix/profiles/nixctl".into(),
                    sha256: leads_to.to_owned(),
                }),
            ];
            let machine = Machine::new();
            let Facts::Database(facts) = look_at(&machine, &owned, Area::Database) else {
                panic!()
            };
            let release = facts.remains.release.map(|it| it.sha256);
            assert_eq!(release.as_deref(), Some(asked), "{leads_to}");
        }
    }

    #[test]
    fn a_child_is_asked() {
        let machine = || {
            let page = sqlite::testing::page();
            Machine::new().file(DATABASE, &String::from_utf8(page).unwrap())
        };
        assert_eq!(of(&machine()).check, DatabaseCheck::NotMade);
        for (code, said, complaint, expected) in [
            (0, "", "", DatabaseCheck::Sound),
            (
                3,
                "*** in database main ***\nx",
                "",
                DatabaseCheck::Damaged("*** in database main ***".to_owned()),
            ),
            (1, "", "cannot open: it is locked\n", DatabaseCheck::NotMade),
            (139, "", "", DatabaseCheck::NotMade),
        ] {
            let line = "/proc/self/exe examine-database --of-nix";
            let machine = machine().answer(line, code, said, complaint);
            assert_eq!(of(&machine).check, expected);
        }
    }

    #[test]
    fn where_no_child_tells_nix_is_asked() {
        let nix = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3";
        let manifest = Manifest {
            version: "2.26.3".to_owned(),
            nix: nix.to_owned(),
            cacert: None,
            paths: vec![nix.to_owned()],
            reginfo: String::new(),
            unpacked_bytes: 0,
            unpacked_inodes: 0,
        };
        let manifest = serde_json::to_string(&manifest).unwrap();
        let sha256 = || "aa".to_owned();
        let owned = [
            Resource::NixTree(NixTree {
                store_gid: 0,
                keep: false,
            }),
            Resource::Registration(Registration { sha256: sha256() }),
        ];
        for (schema, said, expected) in [
            ("10", "error: database disk image is malformed", true),
            ("10", "error: cannot open connection", false),
            // The file with the version is another check's, and the database is sound.
            ("", "error: '/nix/var/nix/db/schema' is corrupt", false),
            ("99", "error: '/nix/var/nix/db/schema' is corrupt", false),
        ] {
            let page = String::from_utf8(sqlite::testing::page()).unwrap();
            let machine = Machine::new()
                .file(DATABASE, &page)
                .file(SCHEMA, schema)
                .file(manifest_path("aa").to_str().unwrap(), &manifest)
                .file(&format!("{nix}/bin/nix-store"), "")
                .directory("/proc/self")
                .file("/dev/ptmx", "")
                .answer("chroot", 1, "", said);
            let Facts::Database(facts) = look_at(&machine, &owned, Area::Database) else {
                panic!()
            };
            let is_damaged = matches!(facts.check, DatabaseCheck::Damaged(_));
            assert_eq!(is_damaged, expected, "{said}");
        }
    }

    #[test]
    fn damaged_caches_are_named_with_what_is_beside_them() {
        let cache = format!("{CACHES}/binary-cache-v6.sqlite");
        let sound = String::from_utf8(sqlite::testing::page()).unwrap();
        let machine = Machine::new()
            .file(&cache, "garbage in the place of a database, longer than its head is, much longer than that")
            .file(&format!("{cache}-wal"), "")
            .file(&format!("{CACHES}/binary-cache-v7.sqlite"), &sound)
            .file(&format!("{CACHES}/eval-cache-v5"), "");
        let expected = [format!("{cache}-wal"), cache].map(PathBuf::from);
        assert_eq!(of(&machine).damaged_caches, [expected]);
    }
}

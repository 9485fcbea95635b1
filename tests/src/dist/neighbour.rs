//! Neighbouring versions of nixctl itself, made without a second build.
//!
//! The programs that are built for the lab have a marker that says which version they are, which
//! form of the state they write, and what is wrong with them. A neighbour is the same programs with
//! another marker, packed as a release is.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::error::{Context, Error, Result};
use crate::exec::Run;
use crate::{paths, product};

/// Deadline of packing.
const DEADLINE: Duration = Duration::from_secs(120);
/// How the marker begins in a program.
const BEGIN: &[u8] = b"nixctl-lab-marker:";
/// Bytes of the marker.
const LENGTH: usize = 160;

/// A version of nixctl.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbour {
    /// What it says that it is.
    pub version: String,
    /// The form in which it writes its state.
    pub schema: u32,
    /// What is wrong with its daemon: a word that the daemon knows, `none`, or [`GARBAGE`].
    pub fault: String,
    /// What its archive says that it is.
    pub named: String,
}

/// The daemon is no program at all.
pub const GARBAGE: &str = "garbage";

impl Neighbour {
    /// The version after the one that is built, with the next form of the state, and nothing wrong.
    #[must_use]
    pub fn next() -> Self {
        Self::broken("none")
    }

    /// The same with something wrong.
    #[must_use]
    pub fn broken(fault: &str) -> Self {
        Self {
            version: "0.2.0".to_owned(),
            schema: 5,
            fault: fault.to_owned(),
            named: "0.2.0".to_owned(),
        }
    }

    /// The name of its archive.
    #[must_use]
    pub fn archive(&self) -> String {
        format!("{}.tar.zst", self.top())
    }

    /// Its archive.
    pub fn pack(&self) -> Result<Vec<u8>> {
        let scratch = paths::lab("scratch")?.join(paths::unique("neighbour"));
        let packed = self.pack_in(&scratch);
        paths::remove_tree(&scratch)?;
        packed
    }

    fn top(&self) -> String {
        format!("nixctl-{}-{}-linux", self.named, std::env::consts::ARCH)
    }

    fn pack_in(&self, scratch: &Path) -> Result<Vec<u8>> {
        let built = product::built().ok_or_else(|| Error::new("use nixctl", "it is not built"))?;
        let top = scratch.join(self.top());
        fs::create_dir_all(&top).context(|| "make a folder for a release")?;
        for (program, name) in [(&built.nixctl, "nixctl"), (&built.nixctld, "nixctld")] {
            let target = top.join(name);
            let (from, to) = (program.to_string_lossy(), target.to_string_lossy());
            let strip = Run::new(&["strip", "-o", &to, &from]).deadline(DEADLINE);
            strip.run()?.ok()?;
            self.mark(&target)?;
        }
        if self.fault == GARBAGE {
            let garbage = "no program\n".repeat(1000);
            fs::write(top.join("nixctld"), garbage).context(|| "write a program")?;
        }
        let (top, name) = (self.top(), self.archive());
        let argv = [
            "tar",
            "-I",
            "zstd -q -3",
            "--owner=0",
            "--group=0",
            "-cf",
            &name,
            &top,
        ];
        let pack = Run::new(&argv).in_dir(scratch).deadline(DEADLINE);
        pack.run()?.ok()?;
        fs::read(scratch.join(&name)).context(|| format!("read {name}"))
    }

    /// Writes over the marker of a program, wherever it is.
    fn mark(&self, program: &Path) -> Result<()> {
        let mut bytes = fs::read(program).context(|| "read a program")?;
        let Self {
            version,
            schema,
            fault,
            ..
        } = self;
        let mut marker = BEGIN.to_vec();
        marker.extend(format!("version={version};schema={schema};fault={fault};").into_bytes());
        marker.resize(LENGTH, 0);
        let mut places = 0;
        let mut at = 0;
        while let Some(found) = find(&bytes[at..], BEGIN) {
            at += found;
            let end = at + LENGTH;
            if let Some(place) = bytes.get_mut(at..end) {
                place.copy_from_slice(&marker);
            }
            (at, places) = (at + BEGIN.len(), places + 1);
        }
        if places == 0 {
            let why = "it has no marker: is it built with the feature fault-injection?";
            return Err(Error::new(format!("mark {}", program.display()), why));
        }
        fs::write(program, bytes).context(|| "write a program")
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|it| it == wanted)
}

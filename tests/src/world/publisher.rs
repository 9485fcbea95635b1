//! A publisher of a release feed: it works with the client's own verbs, outside of the machines, and
//! what it makes is put on a world's server.

use std::cell::Cell;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

use super::World;
use crate::error::{Context, Error, Result};
use crate::exec::{Output, Run};
use crate::{paths, product};

/// Where the feed lies on the server.
pub const FEED: &str = "/feed.json";
/// Where a machine has its settings about it.
pub const FOLLOWS: &str = "/etc/nixctl/config.d/feed.toml";

/// Somebody with a key, and the feed that was made last. The folder goes with it.
#[derive(Debug)]
pub struct Publisher {
    folder: PathBuf,
    nixctl: PathBuf,
    key: String,
    /// How often the settings name it.
    named: Cell<usize>,
}

/// How a machine follows the feed, beside that it does.
#[derive(Debug, Clone)]
pub struct Follow<'a> {
    /// `off`, `notify` or `auto`.
    pub policy: &'a str,
    /// Maintenance windows.
    pub windows: &'a [&'a str],
    /// More lines of `[upgrade]` and what follows it.
    pub more: &'a str,
}

impl Follow<'_> {
    /// Upgrades by itself, whenever.
    pub const AUTO: Follow<'static> = Follow {
        policy: "auto",
        windows: &[],
        more: "",
    };
}

impl Publisher {
    /// A new one, with a key of its own.
    pub fn new() -> Result<Self> {
        Self::named("example-1")
    }

    /// The same, who names the key so.
    pub fn named(name: &str) -> Result<Self> {
        let product = product::built().ok_or_else(|| Error::new("publish", "nixctl is not built"));
        let mut publisher = Self {
            folder: paths::lab("scratch")?.join(paths::unique("publisher")),
            nixctl: product?.nixctl,
            key: String::new(),
            named: Cell::new(1),
        };
        std::fs::create_dir_all(&publisher.folder).context(|| "make a folder to publish from")?;
        let words = format!("key {name} --secret secret --public public");
        let made = publisher.release(&words.split(' ').collect::<Vec<_>>())?;
        made.text().clone_into(&mut publisher.key);
        Ok(publisher)
    }

    /// The public key, as settings name it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Makes and signs the next feed with these words of `nixctl release new`, and looks at it as a
    /// machine does; returns what is to be published.
    pub fn next(&self, words: &[&str]) -> Result<Vec<u8>> {
        let has_one = self.folder.join("feed.json").exists();
        let from = match has_one {
            true => ["--from", "feed.json"],
            false => ["--channel", "stable"],
        };
        let make = ["new", "-o", "feed", "--replace"];
        self.release(&[&make[..], &from, words].concat())?;
        for words in [
            "sign feed --key-file secret -o feed.json --replace",
            "verify feed.json --key public --channel stable",
        ] {
            self.release(&words.split(' ').collect::<Vec<_>>())?;
        }
        std::fs::read(self.folder.join("feed.json")).context(|| "read a signed feed")
    }

    /// The next feed, with the newer release of a world as that world serves it.
    pub fn with_newer(&self, world: &World) -> Result<Vec<u8>> {
        let newer = world.newer();
        let (url, file) = (world.server.release_url(newer), newer.tar_xz.display());
        let archive = format!("{}={url},{file}", newer.system);
        let adds = ["--version", &newer.version, "--system", &archive];
        self.next(&[&adds[..], &["--notes", "Faster evaluation."]].concat())
    }

    /// The next feed, with a release of which these bytes are the archive; puts them on the server.
    pub fn with(&self, world: &World, version: &str, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let sum = paths::hex(&Sha256::digest(&bytes));
        self.with_sum(world, version, bytes, &sum)
    }

    /// The same, and the feed says that their SHA-256 is this.
    pub fn with_sum(
        &self,
        world: &World,
        version: &str,
        bytes: Vec<u8>,
        sum: &str,
    ) -> Result<Vec<u8>> {
        let (system, size) = (&world.newer().system, bytes.len());
        let path = format!("/of-feed/nix-{version}-{system}.tar.zst");
        let archive = format!("{system}={}{path},{size},{sum}", world.server.url());
        world.server.put(&path, bytes);
        self.next(&["--version", version, "--system", &archive])
    }

    /// What was made last, with its text changed by an editor, and signed. Nothing goes on from it.
    pub fn edited(&self, edit: impl FnOnce(String) -> String) -> Result<Vec<u8>> {
        self.signed(&edit(self.text()?))
    }

    /// What this publisher would make of the text that another one made last.
    pub fn in_place_of(&self, other: &Publisher) -> Result<Vec<u8>> {
        self.signed(&other.text()?)
    }

    fn text(&self) -> Result<String> {
        std::fs::read_to_string(self.folder.join("feed")).context(|| "read a feed")
    }

    fn signed(&self, text: &str) -> Result<Vec<u8>> {
        let (file, signed) = (self.folder.join("odd"), self.folder.join("odd.json"));
        std::fs::write(file, text).context(|| "write a feed")?;
        let sign = "sign odd --key-file secret -o odd.json --replace";
        self.release(&sign.split(' ').collect::<Vec<_>>())?;
        std::fs::read(signed).context(|| "read a signed feed")
    }

    fn release(&self, words: &[&str]) -> Result<Output> {
        let nixctl = self.nixctl.to_string_lossy();
        let argv = [&[&*nixctl, "release"], words].concat();
        Run::new(&argv).in_dir(&self.folder).run()?.ok()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = paths::remove_tree(&self.folder);
    }
}

impl World {
    /// Has the machine follow the feed of a publisher, read as often as the settings allow, and
    /// nothing left to chance.
    pub fn follow(&self, publisher: &Publisher, how: &Follow<'_>) -> Result<()> {
        let keys = vec![publisher.key(); publisher.named.get()];
        let Follow {
            policy,
            windows,
            more,
        } = how;
        let text = format!(
            "[upgrade]\nfeed = \"{}{FEED}\"\nfeed_keys = {keys:?}\nfeed_seconds = 10\n\
             jitter_minutes = 0\npolicy = \"{policy}\"\nwindows = {windows:?}\n{more}\n",
            self.server.url(),
        );
        self.machine.write_file(FOLLOWS, text, 0o644)?;
        let reload = ["systemctl", "reload", "nixctld.service"];
        self.machine.exec(&reload)?.ok().map(drop)
    }
    /// The same, and it is read at once, since the settings name other keys than before: twice the
    /// same one, or once again.
    pub fn follow_anew(&self, publisher: &Publisher, how: &Follow<'_>) -> Result<()> {
        publisher.named.set(3 - publisher.named.get());
        self.follow(publisher, how)
    }
}

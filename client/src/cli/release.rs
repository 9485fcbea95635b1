//! The verbs for whoever publishes a release feed.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum, ValueHint};
use nixctl_proto::date::Timestamp;
use nixctl_proto::feed::{MAX_ROLLOUT_MINUTES, Version, is_name, is_system};

/// `nixctl release`
#[derive(Debug, Args)]
pub struct Release {
    /// What about the feed.
    #[command(subcommand)]
    pub verb: ReleaseVerb,
}

/// What about the feed.
#[derive(Debug, Subcommand)]
pub enum ReleaseVerb {
    /// Make a pair of keys to sign feeds with
    Key(ReleaseKey),
    /// Write the next feed: with a release more, or one withdrawn, or only dated anew
    New(Box<ReleaseNew>),
    /// Sign a feed, which makes it the file that is published
    Sign(ReleaseSign),
    /// Look at a published feed as a machine does
    Verify(ReleaseVerify),
}

/// `nixctl release key`
#[derive(Debug, Args)]
pub struct ReleaseKey {
    /// Name of the key, such as example.org-1
    pub name: String,
    /// File for the secret key; it must not be there yet
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub secret: PathBuf,
    /// File for the public key; it must not be there yet
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub public: PathBuf,
}

/// `nixctl release new`
#[derive(Debug, Args)]
pub struct ReleaseNew {
    /// Name of the channel, such as stable
    #[arg(long, value_name = "NAME", value_parser = channel, required_unless_present = "from")]
    pub channel: Option<String>,
    /// The feed to go on from, signed or not; its serial is raised
    #[arg(long, value_name = "FEED", value_hint = ValueHint::FilePath)]
    pub from: Option<PathBuf>,
    /// Days for which the feed may be believed
    #[arg(long, value_name = "N", default_value_t = 30)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=3660))]
    pub days: u64,
    /// What the release is one of
    #[arg(long, value_name = "PRODUCT", default_value = "nix")]
    pub product: Product,
    /// Version of the release to add
    #[arg(long, value_name = "V", requires = "systems")]
    pub version: Option<Version>,
    /// An archive of it: its system, its URL, and its size and SHA-256 or a copy of it here to
    /// compute them from
    #[arg(
        long = "system",
        value_name = "S=URL,SIZE,SHA256|S=URL,FILE",
        requires = "version"
    )]
    pub systems: Vec<Archive>,
    /// What is new in it
    #[arg(long, value_name = "TEXT", requires = "version", default_value = "")]
    pub notes: String,
    /// The oldest nixctld that can take it
    #[arg(long, value_name = "V", requires = "version")]
    pub minimum_nixctld: Option<Version>,
    /// When its rollout starts, such as 2026-11-22T04:10:12Z; without it at once
    #[arg(long, value_name = "TIME", requires = "version")]
    pub start: Option<Timestamp>,
    /// The share of the machines that may take it at once, from 0 to 1
    #[arg(
        long,
        value_name = "SHARE",
        requires = "version",
        default_value_t = 1.0
    )]
    #[arg(value_parser = share)]
    pub start_share: f64,
    /// Minutes until all of them may; 0: the share stays as it is
    #[arg(long, value_name = "N", requires = "version", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=MAX_ROLLOUT_MINUTES))]
    pub minutes: u64,
    /// How the share grows
    #[arg(
        long,
        value_name = "CURVE",
        requires = "version",
        default_value = "linear"
    )]
    pub curve: Curve,
    /// Withdraw this version: no machine takes it any more
    #[arg(long, value_name = "V", requires = "from")]
    pub halt: Vec<Version>,
    /// Hold this version for the time being
    #[arg(long, value_name = "V", requires = "from")]
    pub pause: Vec<Version>,
    /// Let this version go on that was withdrawn or held
    #[arg(long, value_name = "V", requires = "from")]
    pub resume: Vec<Version>,
    /// The generation that a group of machines should run, and the binary cache that has it
    #[arg(long = "target", value_name = "GROUP=TOPLEVEL[,CACHE]")]
    pub targets: Vec<NamedTarget>,
    /// Name none for this group any more
    #[arg(long, value_name = "GROUP", requires = "from")]
    pub no_target: Vec<String>,
    /// File to write; - for standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, default_value = "-")]
    pub output: PathBuf,
    /// Replace that file when it is there
    #[arg(long)]
    pub replace: bool,
}

/// `nixctl release sign`
#[derive(Debug, Args)]
pub struct ReleaseSign {
    /// The feed; one that is signed already gets one more signature
    #[arg(value_name = "FEED", value_hint = ValueHint::FilePath)]
    pub feed: PathBuf,
    /// File with the secret key
    #[arg(long, value_name = "SECRET", value_hint = ValueHint::FilePath)]
    pub key_file: PathBuf,
    /// File to write, the one that is published; - for standard output
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: PathBuf,
    /// Replace that file when it is there
    #[arg(long)]
    pub replace: bool,
}

/// `nixctl release verify`
#[derive(Debug, Args)]
pub struct ReleaseVerify {
    /// The published file; - for standard input
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// A public key, or the file that has it; one of them must have signed it
    #[arg(long = "key", value_name = "PUBLIC", required = true, value_hint = ValueHint::FilePath)]
    pub keys: Vec<String>,
    /// The channel that it must be of
    #[arg(long, value_name = "NAME", value_parser = channel)]
    pub channel: Option<String>,
    /// The highest serial that a machine has seen
    #[arg(long, value_name = "SERIAL", default_value_t = 0)]
    pub last_serial: u64,
}

/// What there are releases of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Product {
    /// Nix itself.
    Nix,
    /// nixctl and nixctld.
    Nixctl,
}

impl From<Product> for nixctl_proto::feed::Product {
    fn from(product: Product) -> Self {
        match product {
            Product::Nix => Self::Nix,
            Product::Nixctl => Self::Nixctl,
        }
    }
}

/// How a share grows with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Curve {
    /// By the same amount each minute.
    Linear,
    /// Slowly first.
    Quadratic,
}

impl From<Curve> for nixctl_proto::feed::Curve {
    fn from(curve: Curve) -> Self {
        match curve {
            Curve::Linear => Self::Linear,
            Curve::Quadratic => Self::Quadratic,
        }
    }
}

/// The generation that a group of machines should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedTarget {
    /// The group.
    pub group: String,
    /// Store path of the toplevel.
    pub toplevel: String,
    /// The cache that has it.
    pub cache: Option<String>,
}

impl std::str::FromStr for NamedTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (group, rest) = text
            .split_once('=')
            .filter(|(group, _)| is_name(group))
            .ok_or("it must begin with a group, such as web=")?;
        // A store path has no comma.
        let (toplevel, cache) = match rest.split_once(',') {
            Some((toplevel, cache)) => (toplevel, Some(cache.to_owned())),
            None => (rest, None),
        };
        Ok(NamedTarget {
            group: group.to_owned(),
            toplevel: toplevel.to_owned(),
            cache,
        })
    }
}

/// An archive for one system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Such as `x86_64-linux`.
    pub system: String,
    /// Where it will be published.
    pub url: String,
    /// How it is recognised.
    pub content: Content,
}

/// How an archive is recognised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// By these.
    Known {
        /// Bytes.
        size: u64,
        /// SHA-256, lower case.
        sha256: String,
    },
    /// By those of this file.
    File(PathBuf),
}

impl std::str::FromStr for Archive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (system, rest) = text
            .split_once('=')
            .filter(|(system, _)| is_system(system))
            .ok_or("it must begin with a system, such as x86_64-linux=")?;
        let (before, last) = rest
            .rsplit_once(',')
            .ok_or("the size and the SHA-256, or a file, must follow the URL after a comma")?;
        // A URL may have commas as well, a checksum looks like nothing else.
        let known = || {
            let sha256 = super::sha256(last).ok()?;
            let (url, size) = before.rsplit_once(',')?;
            let size = size.parse().ok()?;
            Some((url, Content::Known { size, sha256 }))
        };
        let (url, content) = known().unwrap_or((before, Content::File(last.into())));
        Ok(Archive {
            system: system.to_owned(),
            url: url.to_owned(),
            content,
        })
    }
}

fn share(text: &str) -> Result<f64, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (0.0..=1.0).contains(number))
        .ok_or_else(|| "a share is a number from 0 to 1".to_owned())
}

fn channel(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a channel has letters, digits, dots, - and _ only, at most 64".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let read = |text: &str| text.parse::<NamedTarget>();
        let with = read("web=/nix/store/x-web,https://a.example/c,d=1").unwrap();
        assert_eq!((&*with.group, &*with.toplevel), ("web", "/nix/store/x-web"));
        assert_eq!(with.cache.as_deref(), Some("https://a.example/c,d=1"));
        assert_eq!(read("web=/nix/store/x-web").unwrap().cache, None);
        for text in ["", "web", "=x", "a b=x"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn archives_are_read() {
        let sum = "A".repeat(64);
        let read = |text: &str| text.parse::<Archive>().unwrap();
        let known = read(&format!("x86_64-linux=https://a.example/x,y=1,12,{sum}"));
        assert_eq!(known.url, "https://a.example/x,y=1");
        let sha256 = "a".repeat(64);
        assert_eq!(known.content, Content::Known { size: 12, sha256 });
        let file = read("x86_64-linux=https://a.example/x,./x.tar.xz");
        assert_eq!(file.url, "https://a.example/x");
        assert_eq!(file.content, Content::File("./x.tar.xz".into()));
        for text in [
            "",
            "https://a.example/x",
            "linux=https://a/x,f",
            "x86_64-linux=https://a/x",
        ] {
            assert!(text.parse::<Archive>().is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_numbers_from_0_to_1() {
        for text in ["0", "1", "0.05", "1e-3"] {
            assert!(share(text).is_ok(), "{text}");
        }
        for text in ["", "-0.1", "1.01", "nan", "inf", "5%"] {
            assert!(share(text).is_err(), "{text}");
        }
    }
}

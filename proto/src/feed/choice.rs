//! Which release a machine may take at all, by what the feed says of each. When its turn comes is
//! decided elsewhere, from the rollout.

use super::{Artifact, Feed, Product, Release, Version};

/// The releases of one product, sorted by whether a machine may take them.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice<'a> {
    /// Those that it may take, the newest first.
    pub usable: Vec<&'a Release>,
    /// The others, in the order of the feed, with the reason.
    pub left_out: Vec<(&'a Release, LeftOut)>,
}

/// Why a machine may not take a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// It was withdrawn.
    Halted,
    /// There is no archive for the machine's system.
    NotForSystem {
        /// The machine's system.
        system: String,
    },
    /// The machine's nixctld is too old for it.
    NeedsNixctld {
        /// The oldest that can take it.
        minimum: Version,
    },
}

impl std::fmt::Display for LeftOut {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LeftOut::Halted => f.write_str("it was withdrawn"),
            LeftOut::NotForSystem { system } => write!(f, "it is not there for {system}"),
            LeftOut::NeedsNixctld { minimum } => write!(f, "it needs nixctld {minimum}"),
        }
    }
}

impl<'a> Choice<'a> {
    /// The newest that the machine may take.
    pub fn newest(&self) -> Option<&'a Release> {
        self.usable.first().copied()
    }

    /// Why a version is not the newest that the machine may take; `None` when it is.
    pub fn why_not(&self, version: &Version) -> Option<String> {
        let is_it = |release: &Release| release.version.compare(version).is_eq();
        if let Some((_, why)) = self.left_out.iter().find(|(release, _)| is_it(release)) {
            return Some(why.to_string());
        }
        match self.newest() {
            Some(newest) if is_it(newest) => None,
            Some(newest) if self.usable.iter().any(|release| is_it(release)) => {
                Some(format!("{} is newer", newest.version))
            }
            _ => Some("the feed does not have it".to_owned()),
        }
    }
}

/// Which releases of `product` a machine with this system and this nixctld may take.
pub fn newest_for<'a>(
    feed: &'a Feed,
    product: Product,
    system: &str,
    own_nixctld: &Version,
) -> Choice<'a> {
    let (mut usable, mut left_out) = (Vec::new(), Vec::new());
    for release in feed.releases.iter().filter(|it| it.product == product) {
        match reason(release, system, own_nixctld) {
            None => usable.push(release),
            Some(why) => left_out.push((release, why)),
        }
    }
    usable.sort_by(|a, b| b.version.compare(&a.version));
    Choice { usable, left_out }
}

impl Release {
    /// Its archive for a system.
    pub fn artifact(&self, system: &str) -> Option<&Artifact> {
        self.systems.get(system)
    }
}

fn reason(release: &Release, system: &str, own_nixctld: &Version) -> Option<LeftOut> {
    if release.halted {
        return Some(LeftOut::Halted);
    }
    if release.artifact(system).is_none() {
        let system = system.to_owned();
        return Some(LeftOut::NotForSystem { system });
    }
    match &release.minimum_nixctld {
        Some(minimum) if own_nixctld.is_older_than(minimum) => Some(LeftOut::NeedsNixctld {
            minimum: minimum.clone(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{feed, release};
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn the_newest_that_is_for_this_machine() {
        let mut feed = feed();
        let mut halted = release("2.36.0");
        halted.halted = true;
        let mut elsewhere = release("2.35.1");
        elsewhere.systems.remove("x86_64-linux");
        let mut later = release("2.35.0");
        later.minimum_nixctld = Some(version("0.10.0"));
        let mut other = release("9.0");
        other.product = Product::Nixctl;
        feed.releases = vec![
            release("2.9.2"),
            halted,
            elsewhere,
            later,
            other,
            release("2.34.8"),
        ];
        let choice = newest_for(&feed, Product::Nix, "x86_64-linux", &version("0.9.0"));
        let usable: Vec<&str> = choice.usable.iter().map(|it| it.version.as_str()).collect();
        assert_eq!(usable, ["2.34.8", "2.9.2"]);
        assert_eq!(choice.newest().unwrap().version.as_str(), "2.34.8");
        for (text, why) in [
            ("2.34.8", None),
            ("2.9.2", Some("2.34.8 is newer")),
            ("2.36.0", Some("it was withdrawn")),
            ("2.35.1", Some("it is not there for x86_64-linux")),
            ("2.35.0", Some("it needs nixctld 0.10.0")),
            ("9.0", Some("the feed does not have it")),
        ] {
            assert_eq!(choice.why_not(&version(text)).as_deref(), why, "{text}");
        }
        let newer = newest_for(&feed, Product::Nix, "x86_64-linux", &version("0.10.0"));
        assert_eq!(newer.newest().unwrap().version.as_str(), "2.35.0");
        let own = newest_for(&feed, Product::Nixctl, "x86_64-linux", &version("0.9.0"));
        assert_eq!(own.newest().unwrap().version.as_str(), "9.0");
        let none = newest_for(&feed, Product::Nix, "riscv64-linux", &version("1.0"));
        assert_eq!((none.newest(), none.left_out.len()), (None, 5));
    }
}

//! The machine's CA certificates.

use std::path::PathBuf;

use ureq::tls::{PemItem, parse_pem};

use super::{Result, Scene};
use crate::catalogue::facts::links::follow;
use crate::catalogue::facts::shells::{ca_bundle, dangling_ca_bundles};
use crate::payload::certificate;

/// Largest bundle that is read.
const LIMIT: u64 = 16 << 20;

/// CA certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFacts {
    /// The bundle that programs take: the first that is there.
    pub bundle: Option<PathBuf>,
    /// Bundles that are links to nothing, with what they name.
    pub dangling: Vec<(PathBuf, PathBuf)>,
    /// Certificates in the bundle, and how many of them have expired.
    pub certificates: Option<(usize, usize)>,
}

pub(super) fn look(scene: &Scene<'_>) -> Result<TlsFacts> {
    let fs = &scene.host.fs;
    let bundle = ca_bundle(fs)?;
    let mut certificates = None;
    if let Some(path) = &bundle
        && let Some(followed) = follow(fs, path)?
        && let Some(bytes) = fs.read(&followed.path, LIMIT)?
    {
        certificates = Some(count(&bytes, scene.host.clock.now() / 1000));
    }
    Ok(TlsFacts {
        bundle,
        dangling: dangling_ca_bundles(fs)?,
        certificates,
    })
}

/// Certificates, and how many of them have expired at this second. One that cannot be understood
/// counts as one that has not.
fn count(pem: &[u8], now: u64) -> (usize, usize) {
    let (mut all, mut expired) = (0, 0);
    for item in parse_pem(pem) {
        let Ok(PemItem::Certificate(found)) = item else {
            continue;
        };
        all += 1;
        let known = certificate::parse(found.der());
        expired += usize::from(known.is_some_and(|it| it.not_after < now));
    }
    (all, expired)
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    /// A server's certificate, valid from 2020 on.
    const PEM: &str = include_str!("testdata/bundle.pem");
    const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

    fn of(machine: &Machine) -> TlsFacts {
        match look_at(machine, &[], Area::Tls) {
            Facts::Tls(facts) => facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn certificates_are_counted() {
        let machine = Machine::new().file(BUNDLE, &format!("# comment\n{PEM}{PEM}"));
        let facts = of(&machine);
        assert_eq!(facts.certificates, Some((2, 0)));
        assert_eq!(count(PEM.as_bytes(), u64::MAX), (1, 1));
        let facts = of(&Machine::new().file(BUNDLE, "garbage"));
        assert_eq!(facts.certificates, Some((0, 0)));
    }

    #[test]
    fn a_machine_without_any_says_so() {
        let machine = Machine::new().link(BUNDLE, "/etc/static/ssl/certs/ca-certificates.crt");
        let facts = of(&machine);
        assert_eq!((facts.bundle, facts.certificates), (None, None));
        assert_eq!(facts.dangling.len(), 1);
    }
}

//! Whether servers can be trusted.

use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::tls::TlsFacts;

pub(super) fn judge(facts: &TlsFacts) -> Vec<Found> {
    let mut found: Vec<Found> = Vec::new();
    for (path, target) in &facts.dangling {
        found.push(
            Found::new(Check::BundleDangling, path.display().to_string())
                .seen(format!(
                    "it leads to {}, which is not there",
                    target.display()
                ))
                .expected("a file, or nothing")
                .set_aside(path),
        );
    }
    let Some(bundle) = &facts.bundle else {
        found.push(
            Found::new(Check::BundleMissing, "ca-certificates")
                .seen("no bundle of CA certificates is in any of the usual places")
                .expected("one")
                .help("install the package ca-certificates, or run update-ca-certificates"),
        );
        return found;
    };
    let bundle = bundle.display().to_string();
    match facts.certificates {
        Some((0, _)) => found.push(
            Found::new(Check::BundleDamaged, bundle)
                .seen("it holds no certificate")
                .expected("certificates")
                .help("make it again: update-ca-certificates --fresh, or update-ca-trust"),
        ),
        Some((all, expired)) if all == expired => found.push(
            Found::new(Check::BundleExpired, bundle)
                .seen(format!("all {all} certificates have expired"))
                .expected("valid certificates")
                .help("look at the clock; then update the package ca-certificates"),
        ),
        _ => {}
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::testing::ids;
    use super::*;

    const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";

    fn facts(certificates: Option<(usize, usize)>) -> TlsFacts {
        TlsFacts {
            bundle: certificates.map(|_| BUNDLE.into()),
            dangling: Vec::new(),
            certificates,
        }
    }

    #[test]
    fn a_healthy_machine_has_no_finding() {
        assert_eq!(judge(&facts(Some((140, 2)))), []);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (certificates, expected) in [
            (None, "tls.bundle-missing ca-certificates".to_owned()),
            (Some((0, 0)), format!("tls.bundle-damaged {BUNDLE}")),
            (Some((3, 3)), format!("tls.bundle-expired {BUNDLE}")),
        ] {
            assert_eq!(ids(&judge(&facts(certificates))), [expected]);
        }
        let mut dangling = facts(Some((140, 0)));
        dangling.dangling = vec![("/etc/ssl/ca-bundle.pem".into(), "/etc/static/x".into())];
        let found = judge(&dangling);
        assert_eq!(ids(&found), ["tls.bundle-dangling /etc/ssl/ca-bundle.pem"]);
        assert_eq!(found[0].cures.len(), 1);
    }
}

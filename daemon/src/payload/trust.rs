//! Which authorities a download trusts: the machine's own CA bundle, so that what an
//! administrator added (or removed) counts here too. The search order is that of Nix's own
//! profile scripts; the authorities built into the program are used only where there is none.

use std::path::{Path, PathBuf};

use nixctl_proto::Code;
use ureq::tls::{Certificate, PemItem, RootCerts, parse_pem};

use super::PayloadError;

/// Where distributions and macOS keep the bundle.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];
/// Variables that name a bundle, the strongest first.
const VARIABLES: [&str; 2] = ["NIX_SSL_CERT_FILE", "SSL_CERT_FILE"];
/// Largest bundle that is read.
const MAX_BUNDLE: u64 = 16 << 20;

/// The machine's CA bundle, as the environment or the distribution names it.
pub fn machine_bundle() -> Option<PathBuf> {
    choose(|name| std::env::var(name).ok(), Path::is_file)
}

/// The authorities to trust: those of `setting` when it is not empty, else the machine's.
///
/// # Errors
/// When the bundle that was named cannot be read or holds no certificate.
pub fn authorities(setting: &str) -> Result<RootCerts, PayloadError> {
    let named = !setting.is_empty();
    let found = if named {
        Some(PathBuf::from(setting))
    } else {
        machine_bundle()
    };
    let Some(path) = found else {
        return Ok(RootCerts::WebPki);
    };
    match read(&path) {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates.into()),
        Ok(_) if named => Err(unusable(&path, "it holds no certificate")),
        Err(error) if named => Err(unusable(&path, error)),
        _ => Ok(RootCerts::WebPki),
    }
}

fn choose(
    variable: impl Fn(&str) -> Option<String>,
    exists: impl Fn(&Path) -> bool,
) -> Option<PathBuf> {
    VARIABLES
        .iter()
        .filter_map(|name| variable(name))
        .chain(BUNDLES.iter().map(|&path| path.to_owned()))
        .map(PathBuf::from)
        .find(|path| path.is_absolute() && exists(path))
}

fn read(path: &Path) -> std::io::Result<Vec<Certificate<'static>>> {
    if std::fs::metadata(path)?.len() > MAX_BUNDLE {
        return Err(std::io::Error::other(format!(
            "it is larger than {MAX_BUNDLE} bytes"
        )));
    }
    let bytes = std::fs::read(path)?;
    Ok(parse_pem(&bytes)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect())
}

fn unusable(path: &Path, why: impl ToString) -> PayloadError {
    let message = format!(
        "cannot use the CA bundle {}: {}",
        path.display(),
        why.to_string()
    );
    PayloadError::new(Code::BadSettings, message)
        .with_help("correct [install] ssl_cert_file in /etc/nixctl/config.toml")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_distribution() {
        let variable = |name: &str| match name {
            "NIX_SSL_CERT_FILE" => Some("/missing".to_owned()),
            "SSL_CERT_FILE" => Some("/own".to_owned()),
            _ => None,
        };
        let chosen = choose(variable, |path| path != Path::new("/missing"));
        assert_eq!(chosen, Some("/own".into()));
        let chosen = choose(|_| None, |path| path.starts_with("/etc/pki"));
        assert_eq!(chosen, Some("/etc/pki/tls/certs/ca-bundle.crt".into()));
        assert_eq!(choose(|_| None, |_| false), None);
        assert_eq!(
            choose(|_| Some("relative".to_owned()), |_| true),
            Some(BUNDLES[0].into())
        );
    }

    #[test]
    fn a_named_bundle_must_hold_certificates() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "no certificate\n").unwrap();
        let error = authorities(file.path().to_str().unwrap()).unwrap_err();
        assert_eq!(error.code(), Code::BadSettings);
        assert!(authorities("/does/not/exist").is_err());
    }
}

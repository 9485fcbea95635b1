//! A certificate authority for tests, made by `openssl` in a folder of its own that goes with it.

use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::exec::Run;
use crate::paths;

/// Names for which certificates are issued.
const NAMES: &str = "DNS:localhost,DNS:releases.example.org,IP:127.0.0.1";

/// The authority's own settings: nothing of the host's is used.
const CONFIG: &str = "[req]
distinguished_name = subject
prompt = no
[subject]
CN = unused
[root]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
[ca]
default_ca = authority
[authority]
dir = .
database = index.txt
serial = serial
new_certs_dir = .
default_md = sha256
policy = any
x509_extensions = leaf
unique_subject = no
[any]
commonName = supplied
[leaf]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = NAMES
";

/// From when to when a certificate is valid, as `YYYYMMDDhhmmssZ`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Validity {
    /// Long before now until long after.
    Now,
    /// It has run out.
    Past,
    /// It is not valid yet: for this certificate the machine's clock is far behind.
    Future,
}

/// An authority.
#[derive(Debug)]
pub struct Authority {
    dir: PathBuf,
}

/// A certificate with its key, as PEM files of the authority's folder.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one with this common name.
    pub fn make(name: &str) -> Result<Self> {
        let dir = paths::lab("scratch")?.join(paths::unique("authority"));
        std::fs::create_dir_all(&dir).context(|| format!("create {}", dir.display()))?;
        let authority = Self { dir };
        authority.write("openssl.cnf", &CONFIG.replace("NAMES", NAMES))?;
        authority.write("index.txt", "")?;
        authority.write("serial", "01\n")?;
        authority.make_key("ca.key")?;
        let subject = format!("/CN={name}/O=Lab");
        authority.openssl(&[
            "req",
            "-x509",
            "-new",
            "-config",
            "openssl.cnf",
            "-extensions",
            "root",
            "-key",
            "ca.key",
            "-subj",
            &subject,
            "-days",
            "3650",
            "-out",
            "ca.pem",
        ])?;
        Ok(authority)
    }

    /// Its own certificate, a PEM file.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// Issues a certificate for the lab's names.
    pub fn issue(&self, validity: Validity) -> Result<Identity> {
        let name = format!("{validity:?}").to_lowercase();
        let (key, request) = (format!("{name}.key"), format!("{name}.csr"));
        let certificate = format!("{name}.pem");
        let (from, to) = match validity {
            Validity::Now => ("20200101000000Z", "20490101000000Z"),
            Validity::Past => ("20000101000000Z", "20010101000000Z"),
            Validity::Future => ("20450101000000Z", "20490101000000Z"),
        };
        self.make_key(&key)?;
        let config = ["-config", "openssl.cnf"];
        let ask = ["req", "-new", "-subj", "/CN=localhost"];
        self.openssl(&[&ask[..], &config, &["-key", &key, "-out", &request]].concat())?;
        let sign = [
            "ca",
            "-batch",
            "-notext",
            "-startdate",
            from,
            "-enddate",
            to,
        ];
        let files = ["-in", &request, "-out", &certificate];
        let by = ["-cert", "ca.pem", "-keyfile", "ca.key"];
        self.openssl(&[&sign[..], &config, &by, &files].concat())?;
        Ok(Identity {
            certificate: self.dir.join(certificate),
            key: self.dir.join(key),
        })
    }

    fn make_key(&self, file: &str) -> Result<()> {
        let curve = "ec_paramgen_curve:P-256";
        self.openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            curve,
            "-out",
            file,
        ])
    }

    fn openssl(&self, words: &[&str]) -> Result<()> {
        Run::new(&[&["openssl"], words].concat())
            .in_dir(&self.dir)
            .run()?
            .ok()
            .map(drop)
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        let file: &Path = &self.dir.join(name);
        std::fs::write(file, text).context(|| format!("write {}", file.display()))
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = paths::remove_tree(&self.dir);
    }
}

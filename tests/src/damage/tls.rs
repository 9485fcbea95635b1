//! CA certificates of the machine.

use super::{Damage, Outcome};

/// Somebody else's file: it is only told what is wrong with it.
const TOLD: Damage = Damage {
    outcome: Outcome::Explained,
    ..Damage::PLAIN
};

/// All of this area.
pub const ALL: &[Damage] = &[
    Damage {
        name: "bundle-is-a-link-to-nothing",
        story: "`Problem with the SSL CA cert`: a link into /etc/static of a removed nix-darwin",
        rows: &[35, 36, 37],
        // nix-darwin and NixOS took the first name only: the system's own bundle, which they hid, has
        // another one. Without any bundle it would be as with one that is gone.
        make: "mkdir -p /etc/pki/tls/certs
               mv /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt
               ln -s /etc/static/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt",
        there: "file=/etc/ssl/certs/ca-certificates.crt; test -L $file && ! test -e $file",
        checks: &["tls.bundle-dangling"],
        differs: &["/etc/ssl/certs", "/etc/pki", "/etc/nix/nix.conf"],
        ..Damage::PLAIN
    },
    Damage {
        name: "bundle-gone",
        story: "the package with the CA certificates was purged",
        rows: &[35],
        make: "rm /etc/ssl/certs/ca-certificates.crt",
        there: "! test -e /etc/ssl/certs/ca-certificates.crt",
        checks: &["tls.bundle-missing", "conf.missing-ca"],
        ..TOLD
    },
    Damage {
        name: "bundle-empty",
        story: "the disk was full while the bundle was written",
        make: ": >/etc/ssl/certs/ca-certificates.crt",
        there: "! test -s /etc/ssl/certs/ca-certificates.crt",
        // Like programs, which pass an empty file over and take the next bundle: here is none.
        checks: &["tls.bundle-damaged", "tls.bundle-missing"],
        ..TOLD
    },
    Damage {
        name: "bundle-of-something-else",
        story: "an export of a proxy's certificate went wrong, and the bundle has none in it",
        rows: &[43],
        make: "echo '<html>Login required</html>' >/etc/ssl/certs/ca-certificates.crt",
        there: "! openssl x509 -noout -in /etc/ssl/certs/ca-certificates.crt",
        checks: &["tls.bundle-damaged"],
        kept: &["/etc/ssl/certs/ca-certificates.crt"],
        ..TOLD
    },
    Damage {
        name: "bundle-expired",
        story: "a machine that was never updated has only certificates that have expired",
        make: "openssl req -x509 -newkey rsa:2048 -nodes -keyout /var/tmp/key -subj /CN=old \
               -not_before 20100101000000Z -not_after 20200101000000Z \
               -out /etc/ssl/certs/ca-certificates.crt",
        there: "! openssl x509 -noout -checkend 0 -in /etc/ssl/certs/ca-certificates.crt",
        checks: &["tls.bundle-expired"],
        kept: &["/etc/ssl/certs/ca-certificates.crt"],
        ..TOLD
    },
];

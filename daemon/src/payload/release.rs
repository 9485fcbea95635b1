//! Turns what was asked for into a pinned release: a source, and the one SHA-256 that its bytes
//! must have from here on.
//!
//! A version names `nix/nix-V/nix-V-SYSTEM.tar.xz` on the release server, with `.sha256` beside
//! it (the layout of releases.nixos.org). A URL needs `.sha256` beside it or a checksum in the
//! request. A path is hashed as it is now.

use std::io::{BufRead, BufReader, Read};
use std::path::{Component, Path};

use nixctl_proto::Code;
use nixctl_proto::request::InstallRequest;
use nixctl_proto::settings::InstallSettings;

use super::fetch::MAX_SIZE;
use super::files::{hash_all, is_sha256, open_regular};
use super::http::Client;
use super::url::{Url, path_is_below, redact};
use super::{PayloadError, Release, Source, decode};
use crate::host::Cancel;

/// Largest `.sha256` file that is read.
const MAX_CHECKSUM_FILE: u64 = 4096;
const PASS_SHA256: &str = "pass the checksum of the archive with --sha256, or put a file of that name with .sha256 beside it";
const COMPRESSIONS: [&str; 2] = [".tar.xz", ".tar.zst"];

/// System of this machine as Nix names it, such as `x86_64-linux`.
pub fn this_system() -> String {
    let system = if cfg!(target_os = "macos") {
        "darwin"
    } else {
        std::env::consts::OS
    };
    format!("{}-{system}", std::env::consts::ARCH)
}

/// Whose releases: how their archives are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    Nix,
    Nixctl,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Of::Nix => "Nix",
            Of::Nixctl => "nixctl",
        }
    }

    fn prefix(self) -> &'static str {
        match self {
            Of::Nix => "nix-",
            Of::Nixctl => "nixctl-",
        }
    }
}

/// Finds and pins the release that was asked for.
///
/// # Errors
/// When there is none, or it is not for this machine.
pub fn resolve(
    request: &InstallRequest,
    settings: &InstallSettings,
    cancel: &Cancel,
) -> Result<Release, PayloadError> {
    resolve_of(Of::Nix, request, settings, cancel)
}

/// The same of nixctl itself, for which a source has to be named.
///
/// # Errors
/// As [`resolve`].
pub fn resolve_nixctl(
    request: &InstallRequest,
    settings: &InstallSettings,
    cancel: &Cancel,
) -> Result<Release, PayloadError> {
    resolve_of(Of::Nixctl, request, settings, cancel)
}

fn resolve_of(
    of: Of,
    request: &InstallRequest,
    settings: &InstallSettings,
    cancel: &Cancel,
) -> Result<Release, PayloadError> {
    let wanted = request
        .sha256
        .as_deref()
        .map(checksum_argument)
        .transpose()?;
    match &request.source {
        None => {
            let version = request.version.as_deref().unwrap_or(&settings.version);
            let url = release_url(&settings.release_server, version, &this_system())?;
            from_url(of, &url, wanted, settings, cancel)
        }
        Some(source) if source.starts_with('/') => from_path(of, Path::new(source), wanted, cancel),
        Some(source) => from_url(of, source, wanted, settings, cancel),
    }
    .and_then(|release| check_version(of, release, request))
}

/// The version that is asked for, as far as it can be told without looking at the source.
pub fn asked_version<'a>(
    request: &'a InstallRequest,
    settings: &'a InstallSettings,
) -> Option<String> {
    let named = match &request.source {
        None => Some(settings.version.clone()),
        Some(source) => parse_name(Of::Nix, source.rsplit('/').next()?).map(|(version, _)| version),
    };
    match (&request.version, named) {
        (Some(version), _) if request.source.is_none() => Some(version.clone()),
        // Which of the two it is shows when the source is looked at.
        (Some(version), named) if named.as_ref() != Some(version) => None,
        (_, named) => named,
    }
    .filter(|version| is_version(version))
}

/// The version of nixctl that is asked for, as far as it can be told without looking at the source.
pub fn asked_nixctl(request: &InstallRequest) -> Option<String> {
    let named = request.source.as_ref().and_then(|source| {
        parse_name(Of::Nixctl, source.rsplit('/').next()?).map(|(version, _)| version)
    });
    request.version.clone().or(named)
}

/// Whether members of the group may install from it without an administrator.
pub fn is_trusted(source: &Source, settings: &InstallSettings) -> bool {
    settings.trusted_sources.iter().any(|prefix| match source {
        Source::Url(url) => is_prefix_of(prefix, url),
        Source::Path(path) => is_below_path(path, Path::new(prefix)),
    })
}

fn is_prefix_of(prefix: &str, url: &str) -> bool {
    match (Url::parse(prefix), Url::parse(url)) {
        (Ok(prefix), Ok(url)) => url.is_below(&prefix),
        _ => false,
    }
}

fn is_below_path(path: &Path, prefix: &Path) -> bool {
    let plain = |path: &Path| {
        path.is_absolute()
            && path
                .components()
                .all(|part| !matches!(part, Component::ParentDir))
    };
    let (Some(text), Some(prefix_text)) = (path.to_str(), prefix.to_str()) else {
        return false;
    };
    plain(path) && plain(prefix) && prefix_text != "/" && path_is_below(text, prefix_text)
}

/// Where a release server has the archive of a version.
///
/// # Errors
/// When it is no version.
pub fn release_url(server: &str, version: &str, system: &str) -> Result<String, PayloadError> {
    if !is_version(version) {
        let message = format!(
            "cannot install Nix `{}`: it is not a version",
            redact(version)
        );
        return Err(PayloadError::new(Code::InvalidArgument, message)
            .with_help("name a version such as 2.34.8"));
    }
    let server = server.trim_end_matches('/');
    Ok(format!(
        "{server}/nix/nix-{version}/nix-{version}-{system}.tar.xz"
    ))
}

fn from_url(
    of: Of,
    text: &str,
    wanted: Option<String>,
    settings: &InstallSettings,
    cancel: &Cancel,
) -> Result<Release, PayloadError> {
    let url = Url::parse(text)?;
    let name = parse_name(of, url.file_name()).ok_or_else(|| bad_name(of, &url.shown()))?;
    check_system(&name.1, &url.shown())?;
    let client = Client::new(&settings.proxy, &settings.ssl_cert_file, cancel.clone())?;
    let sha256 = match wanted {
        Some(sha256) => sha256,
        None => {
            let beside = Url {
                path: format!("{}.sha256", url.path),
                ..url.clone()
            };
            let file = client.small(&beside, MAX_CHECKSUM_FILE)?;
            match file {
                Some(bytes) => {
                    parse_checksum(&bytes).ok_or_else(|| bad_checksum(&beside.shown()))?
                }
                None => return Err(no_checksum(&client, &url)),
            }
        }
    };
    let size = client.size(&url)?;
    let (version, system) = name;
    Ok(Release {
        source: Source::Url(text.to_owned()),
        sha256,
        size,
        version,
        system,
    })
}

/// No checksum beside it: either the release is not there at all, or it is there without one.
fn no_checksum(client: &Client, url: &Url) -> PayloadError {
    match client.size(url) {
        Err(error) => error,
        Ok(_) => {
            let message = format!("cannot use {}: no .sha256 file lies beside it", url.shown());
            PayloadError::new(Code::BadSource, message).with_help(PASS_SHA256)
        }
    }
}

fn from_path(
    of: Of,
    path: &Path,
    wanted: Option<String>,
    cancel: &Cancel,
) -> Result<Release, PayloadError> {
    let shown = path.display().to_string().escape_debug().to_string();
    if path
        .components()
        .any(|part| matches!(part, Component::ParentDir))
    {
        let message = format!("cannot use the source {shown}: it has `..` in it");
        return Err(PayloadError::new(Code::BadSource, message));
    }
    let unreadable = |why: &dyn std::fmt::Display| {
        PayloadError::new(
            Code::BadSource,
            format!("cannot use the source {shown}: {why}"),
        )
    };
    let mut file = open_regular(path).map_err(|error| unreadable(&error.source))?;
    let size = file.metadata().map_err(|error| unreadable(&error))?.len();
    // Before hashing, which could take hours: a file that has no end is not read to it.
    if size > MAX_SIZE {
        return Err(unreadable(&format!("it is larger than {MAX_SIZE} bytes")));
    }
    check_magic(path).map_err(|error| unreadable(&error))?;
    // Before hashing: nobody learns the hash of a file that is no release.
    let name = path
        .file_name()
        .and_then(|name| parse_name(of, name.to_str()?));
    let (version, system) = name
        .or_else(|| peek(of, path))
        .ok_or_else(|| bad_name(of, &shown))?;
    check_system(&system, &shown)?;
    let sha256 = hash_all(&mut file, path, |_| match cancel.requested() {
        Some(_) => Err(PayloadError::Stopped),
        None => Ok(()),
    })?;
    let beside = path.with_added_extension("sha256");
    let published = match open_regular(&beside) {
        Ok(file) => {
            let mut bytes = Vec::new();
            let read = file.take(MAX_CHECKSUM_FILE).read_to_end(&mut bytes);
            read.map_err(|error| unreadable(&error))?;
            let parsed = parse_checksum(&bytes);
            Some(parsed.ok_or_else(|| bad_checksum(&beside.display().to_string()))?)
        }
        Err(_) => None,
    };
    for expected in [wanted, published].into_iter().flatten() {
        if expected != sha256 {
            let message =
                format!("cannot use {shown}: its sha256 is {sha256}, and should be {expected}");
            return Err(PayloadError::new(Code::ChecksumMismatch, message));
        }
    }
    Ok(Release {
        source: Source::Path(path.to_owned()),
        sha256,
        size: Some(size),
        version,
        system,
    })
}

/// Whether its first bytes are those of an archive, whatever its name says.
fn check_magic(path: &Path) -> std::io::Result<()> {
    let mut file = BufReader::new(open_regular(path).map_err(|error| error.source)?);
    if file.fill_buf()?.is_empty() {
        return Err(std::io::Error::other("it is empty"));
    }
    decode::decoder(file).map(drop)
}

/// Version and system from the top folder of an archive, for files with names of their own.
fn peek(of: Of, path: &Path) -> Option<(String, String)> {
    let file = BufReader::new(open_regular(path).ok()?);
    let mut archive = tar::Archive::new(decode::decoder(file).ok()?);
    let first = archive.entries().ok()?.next()?.ok()?;
    let path = String::from_utf8(first.path_bytes().into_owned()).ok()?;
    parse_top(of, path.trim_start_matches("./").split('/').next()?)
}

fn parse_name(of: Of, name: &str) -> Option<(String, String)> {
    COMPRESSIONS
        .iter()
        .find_map(|end| parse_top(of, name.strip_suffix(end)?))
}

/// `nix-VERSION-ARCH-OS`.
fn parse_top(of: Of, name: &str) -> Option<(String, String)> {
    let (rest, os) = name.strip_prefix(of.prefix())?.rsplit_once('-')?;
    let (version, arch) = rest.rsplit_once('-')?;
    let right = is_version(version) && is_word(arch) && is_word(os);
    right.then(|| (version.to_owned(), format!("{arch}-{os}")))
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_version(text: &str) -> bool {
    text.len() <= 64
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
        && !text.contains("..")
}

fn check_system(system: &str, shown: &str) -> Result<(), PayloadError> {
    let this = this_system();
    if system == this {
        return Ok(());
    }
    let message = format!("cannot use {shown}: it is for {system}, and this machine is {this}");
    Err(PayloadError::new(Code::BadSource, message))
}

fn check_version(
    of: Of,
    release: Release,
    request: &InstallRequest,
) -> Result<Release, PayloadError> {
    match &request.version {
        Some(version) if *version != release.version => {
            let message = format!(
                "cannot install {} {}: the source holds {}",
                of.name(),
                redact(version),
                release.version
            );
            Err(PayloadError::new(Code::BadSource, message))
        }
        _ => Ok(release),
    }
}

fn checksum_argument(text: &str) -> Result<String, PayloadError> {
    let lower = text.to_ascii_lowercase();
    if is_sha256(&lower) {
        return Ok(lower);
    }
    let message = format!(
        "cannot use the checksum `{}`: it is no sha256",
        redact(text)
    );
    Err(PayloadError::new(Code::InvalidArgument, message)
        .with_help("give 64 hexadecimal digits, as sha256sum prints them"))
}

/// The checksum in a `.sha256` file: the digits alone, or as `sha256sum` writes them.
fn parse_checksum(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let first = text.split_ascii_whitespace().next()?.to_ascii_lowercase();
    is_sha256(&first).then_some(first)
}

fn bad_checksum(shown: &str) -> PayloadError {
    let message = format!("cannot use {shown}: it holds no sha256");
    PayloadError::new(Code::BadSource, message).with_help(PASS_SHA256)
}

fn bad_name(of: Of, shown: &str) -> PayloadError {
    let name = format!("{}VERSION-SYSTEM", of.prefix());
    let message = format!("cannot use {shown}: neither its name nor its first entry is {name}");
    let error = PayloadError::new(Code::BadSource, message);
    match of {
        Of::Nix => error,
        Of::Nixctl => error.with_help(format!("name an archive {name}.tar.xz or .tar.zst")),
    }
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;

//! `nixctl install`

use nixctl_proto::request::{InstallRequest, OperationRequest};
use nixctl_proto::{Code, Failure};

use super::{Context, Outcome, bootstrap, change};
use crate::cli;
use crate::connect::{Connection, has_service_manager};

/// Installs Nix; as root on a machine without nixctld, that first.
pub async fn run(context: &mut Context, install: cli::Install) -> Outcome {
    let request = request(install.what)?;
    change::check_consent(context, &install.going)?;
    match Connection::open(&context.options).await {
        Ok(connection) => change::run(context, connection, request, &install.going, None).await,
        Err(failure) if failure.code != Code::Unreachable => Err(failure),
        Err(failure) if context.options.socket.is_some() => Err(failure),
        Err(_) if nix::unistd::geteuid().is_root() && has_service_manager() => {
            bootstrap::install(context, request, &install.going).await
        }
        Err(failure) if !nix::unistd::geteuid().is_root() => {
            Err(failure.with_help("install it as root: `sudo nixctl install`"))
        }
        Err(failure) => Err(failure),
    }
}

/// The request, with a path as the daemon must see it: it does not share our folder.
pub fn request(what: cli::InstallWhat) -> Result<OperationRequest, Failure> {
    let source = what.source.map(|source| absolute(&source)).transpose()?;
    Ok(OperationRequest::Install(InstallRequest {
        version: what.version,
        source,
        sha256: what.sha256,
        adopt: what.adopt,
        single_user: what.single_user,
    }))
}

/// An URL as it is, a path from the root on.
pub(super) fn absolute(source: &str) -> Result<String, Failure> {
    if source.contains("://") {
        return Ok(source.to_owned());
    }
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::new(
            Code::InvalidArgument,
            format!("cannot use the source `{source}`: {why}"),
        )
        .with_help("name a URL or the path of a tarball")
    };
    let path = std::path::absolute(source).map_err(|error| cannot(&error))?;
    path.into_os_string()
        .into_string()
        .map_err(|_| cannot(&"its path is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_urls_or_absolute_paths() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            absolute("https://x/nix.tar.xz").unwrap(),
            "https://x/nix.tar.xz"
        );
        assert_eq!(absolute("/tmp/nix.tar.xz").unwrap(), "/tmp/nix.tar.xz");
        assert_eq!(
            absolute("./nix.tar.xz").unwrap(),
            here.join("nix.tar.xz").to_str().unwrap()
        );
        assert_eq!(absolute("").unwrap_err().code, Code::InvalidArgument);
    }
}

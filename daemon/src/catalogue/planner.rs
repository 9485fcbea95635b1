//! The planner that the engine asks: facts are read, the release is found, the catalogue decides.

use nixctl_proto::request::{InstallRequest, OperationRequest};
use nixctl_proto::settings::InstallSettings;
use nixctl_proto::{Code, Failure};

use super::facts::{Facts, FactsError};
use super::preflight::Needs;
use super::{Planned, adopt, plan};
use crate::engine::{Planner, Question};
use crate::payload::http::Client;
use crate::payload::url::Url;
use crate::payload::{PayloadError, Release, Source, estimate, release};
use crate::resource::ResourceError;

/// Decides from the catalogue of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Catalogue;

impl Planner for Catalogue {
    fn plan(&self, question: &Question<'_>) -> Result<Planned, Failure> {
        if !cfg!(target_os = "linux") {
            let message = "cannot change this machine: nixctl works on Linux only, so far";
            return Err(Failure::new(Code::UnsupportedSystem, message));
        }
        let facts = || {
            Facts::read(
                question.host,
                &question.settings.install,
                question.owned,
                question.cancel,
            )
            .map_err(|error: FactsError| error.failure())
        };
        match question.request {
            OperationRequest::Install(request) => install(question, request, facts()?),
            OperationRequest::Uninstall(request) => {
                plan::uninstall_plan(question.host, question.owned, request).map_err(failed)
            }
            OperationRequest::SelfInstall(request) => {
                plan::self_install_plan(question.host, &facts()?, request).map_err(failed)
            }
            OperationRequest::SelfUninstall => {
                plan::self_uninstall_plan(question.host, question.owned).map_err(failed)
            }
        }
    }
}

fn failed(error: ResourceError) -> Failure {
    error.failure()
}

fn install(
    question: &Question<'_>,
    request: &InstallRequest,
    mut facts: Facts,
) -> Result<Planned, Failure> {
    let settings = &question.settings.install;
    let adopts = request.adopt && adopt::parts(&facts).is_some();
    let found = if adopts {
        None
    } else {
        find_release(question, request, &mut facts)?
    };
    let needs = found.as_ref().map_or_else(Needs::default, |release| {
        let needs = estimate::needs(&question.host.fs, release);
        Needs::exactly(
            needs.download_bytes,
            needs.store_bytes,
            needs.store_inodes,
            settings.reserve_bytes,
        )
    });
    plan::install_plan(
        question.host,
        &facts,
        request,
        settings,
        found.as_ref(),
        &needs,
    )
    .map_err(failed)
}

/// The release, with what looking for it told about network and clock. That it cannot be reached
/// is a fact, for the checks to judge; that the request makes no sense is an error.
fn find_release(
    question: &Question<'_>,
    request: &InstallRequest,
    facts: &mut Facts,
) -> Result<Option<Release>, Failure> {
    let settings = &question.settings.install;
    let found = release::resolve(request, settings, question.cancel);
    match found {
        Ok(release) => {
            if let Source::Url(url) = &release.source {
                facts.clock_skew = clock_skew(question, settings, url, facts.now);
            }
            Ok(Some(release))
        }
        Err(error) if speaks_of_network(&error) => {
            facts.network = Some(error.failure());
            Ok(None)
        }
        Err(error) => Err(error.failure()),
    }
}

fn speaks_of_network(error: &PayloadError) -> bool {
    matches!(
        error.code(),
        Code::Network | Code::TlsIntercepted | Code::ClockOff
    )
}

/// Seconds that the server's clock is ahead of ours; unknown is no fault.
fn clock_skew(
    question: &Question<'_>,
    settings: &InstallSettings,
    url: &str,
    now: u64,
) -> Option<i64> {
    let url = Url::parse(url).ok()?;
    let client = Client::new(
        &settings.proxy,
        &settings.ssl_cert_file,
        question.cancel.clone(),
    )
    .ok()?;
    let server = i64::try_from(client.server_time(&url)?).ok()?;
    Some(server - i64::try_from(now / 1000).ok()?)
}

//! The planner that the engine asks: facts are read, the release is found, the catalogue decides.

use nixctl_proto::request::{InstallRequest, OperationRequest};
use nixctl_proto::settings::InstallSettings;
use nixctl_proto::{Code, Failure, OperationKind};

use super::facts::{Facts, FactsError};
use super::preflight::{self, Needs};
use super::{Planned, adopt, plan};
use crate::engine::step::PlannedStep;
use crate::engine::{Planner, Question};
use crate::health;
use crate::payload::http::Client;
use crate::payload::url::Url;
use crate::payload::{PayloadError, Release, Source, estimate, release};
use crate::resource::ResourceError;
use crate::takeover::hand_over::HandOver;
use crate::takeover::renew::Renewal;
use crate::{switch, takeover, upgrade};

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
            OperationRequest::Switch(request) => {
                let facts = switch::plan::facts::gather(question, request, OperationKind::Switch)?;
                switch::plan::plan(&facts)
            }
            OperationRequest::Rollback(request) => {
                switch::plan::plan(&switch::rollback::gather(question, request)?)
            }
            OperationRequest::Repair(request) => health::plan::plan(question, request),
            OperationRequest::Upgrade(request) => {
                let find = |wanted: &InstallRequest, facts: &mut Facts| {
                    find_release(question, wanted, facts)
                };
                upgrade::plan::plan(question, request, facts()?, find)
            }
            OperationRequest::SelfUpgrade(request) => {
                takeover::plan::plan(question, request, |wanted| {
                    let settings = &question.settings.install;
                    release::resolve_nixctl(wanted, settings, question.cancel)
                        .map_err(|error| error.failure())
                })
            }
        }
    }

    fn renew(
        &self,
        question: &Question<'_>,
        over: &HandOver,
        rest: &[PlannedStep],
    ) -> Result<Renewal, Failure> {
        let (settings, cancel) = (&question.settings.install, question.cancel);
        let facts = Facts::read(question.host, settings, question.owned, cancel);
        let facts = facts.map_err(|error: FactsError| error.failure())?;
        takeover::renew::plan_rest(question, &facts, over, rest)
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
    let needless = adopts || preflight::owns_other_version(&facts, request, settings);
    let found = if needless {
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use nixctl_proto::OperationId;
    use nixctl_proto::settings::Settings;

    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::engine::{Owned, Recorded};
    use crate::host::Cancel;
    use crate::payload::Archive;
    use crate::resource::payload::Payload;
    use crate::resource::{Resource, Undo};

    #[test]
    fn another_version_of_our_own_is_told_without_asking_the_network() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let mut settings = Settings::default();
        settings.install.release_server = format!("http://{}", server.local_addr().unwrap());
        let archive = Archive {
            sha256: String::new(),
            version: "2.20.1".to_owned(),
            system: String::new(),
            store_gid: 0,
        };
        let owned = Owned {
            order: 0,
            by: OperationId::from_parts(0, 0),
            resource: Resource::Payload(Payload { archive }),
            undo: Undo::Created,
        };
        let system = release::this_system();
        let from = |version: &str| {
            let source = format!("nix-{version}/nix-{version}-{system}.tar.xz");
            Some(format!("{}/{source}", settings.install.release_server))
        };
        let request = |version: Option<&str>, source| InstallRequest {
            version: version.map(str::to_owned),
            source,
            ..InstallRequest::default()
        };
        let machine = Machine::new();
        let host = machine.host();
        for request in [
            request(Some("2.26.3"), None),
            request(None, from("2.26.3")),
            request(Some("2.26.3"), from("2.26.3")),
        ] {
            let planned = Catalogue.plan(&Question {
                request: &OperationRequest::Install(request),
                host: &host,
                settings: &settings,
                owned: std::slice::from_ref(&owned),
                recorded: &Recorded::default(),
                unwatched: None,
                cancel: &Cancel::default(),
            });
            let view = planned.unwrap().view;
            let failure = view.refusal().unwrap();
            assert_eq!(failure.code, Code::AlreadyInstalled, "{view:?}");
            assert_eq!(failure.help, "run `nixctl upgrade --to 2.26.3`");
            assert!(server.accept().is_err(), "the server was asked");
        }
    }

    #[test]
    fn the_version_asked_for_is_known_only_where_it_is_plain() {
        let settings = InstallSettings {
            version: "2.30.1".to_owned(),
            ..InstallSettings::default()
        };
        let named = "https://x/nix-2.26.3-x86_64-linux.tar.xz";
        for (version, source, expected) in [
            (None, None, Some("2.30.1")),
            (Some("2.26.3"), None, Some("2.26.3")),
            (Some("../x"), None, None),
            (None, Some(named), Some("2.26.3")),
            (Some("2.26.3"), Some(named), Some("2.26.3")),
            (Some("2.20.1"), Some(named), None),
            (None, Some("/tmp/own.tar.xz"), None),
        ] {
            let request = InstallRequest {
                version: version.map(str::to_owned),
                source: source.map(str::to_owned),
                ..InstallRequest::default()
            };
            let asked = release::asked_version(&request, &settings);
            assert_eq!(asked.as_deref(), expected, "{version:?} {source:?}");
        }
    }
}

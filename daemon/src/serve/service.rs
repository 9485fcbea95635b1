//! What both transports do for a caller: canonical form, authority, then the backend.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nixctl_proto::health::{Findings, HealthEvent};
use nixctl_proto::operation::JournalLine;
use nixctl_proto::plan::{DiffEntry, Plan};
use nixctl_proto::request::{OperationRequest, RequestOptions, SelfUpgradeRequest, UpgradeRequest};
use nixctl_proto::settings::SettingView;
use nixctl_proto::status::Status;
use nixctl_proto::{Code, Failure, Generation, OperationId, OperationView};
use tokio::sync::{Semaphore, SemaphorePermit, watch};

use super::action::{Action, action_for};
use super::asked::Asked;
use super::authority::Transport;
use super::request::{canonical, canonical_options, repair, toplevel};
use super::{Authority, Backend, Caller, Gate, Refusal};

/// Plans that may be made at a time; each may read the network and the disk.
const PLANS_AT_A_TIME: usize = 4;
/// How long a plan waits for its turn; less than the patience of D-Bus clients.
const PLAN_QUEUE_SECONDS: u64 = 20;
/// The setting that has every switch confirmed.
const CONFIRM_SECONDS: &str = "switch.confirm_seconds";

/// The daemon as its transports see it.
#[derive(Debug)]
pub struct Service {
    gate: Gate,
    authority: Authority,
    plans: Semaphore,
    asked: Asked,
}

impl Service {
    /// Serves the backend behind the gate.
    pub fn new(gate: Gate, authority: Authority) -> Arc<Self> {
        Arc::new(Service {
            gate,
            authority,
            plans: Semaphore::new(PLANS_AT_A_TIME),
            asked: Asked::default(),
        })
    }

    /// The gate.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Authorises an operation and stores it.
    ///
    /// # Errors
    /// The request is not valid, the caller may not do it, or the backend refused it.
    pub async fn submit(
        &self,
        caller: &Caller,
        request: OperationRequest,
        options: RequestOptions,
    ) -> Result<OperationId, Refusal> {
        let request = canonical(request)?;
        let options = canonical_options(options)?;
        let backend = self.gate.backend().await?;
        confirmable(&*backend, caller, &request)?;
        let action = action_of(&*backend, &request);
        let request = bound(request, action);
        let authorized = self
            .authority
            .authorize(caller, action, request, options)
            .await?;
        let digest = authorized.digest();
        let (request, options, uid) = authorized.into_parts();
        // Minutes may have passed at a password prompt, and settings may have changed.
        if action_of(&*backend, &request) != action {
            let why = "the settings of trusted sources, or the version of Nix, changed meanwhile";
            let text = format!("cannot {}: {why}", request.kind());
            return Err(Failure::new(Code::Moved, text).into());
        }
        let kind = request.kind();
        let waits = waits_for_confirmation(&*backend, &request);
        let engine = Arc::clone(&backend);
        let id = blocking(move || engine.submit(request, options, uid)).await?;
        if waits {
            self.note(&*backend, &id, caller);
        }
        tracing::info!(OPERATION_ID = %id, uid, request = %digest, "accepted: {kind}");
        Ok(id)
    }

    /// Plans an operation. A source that is not trusted, and any store that is not a configured
    /// one, is read only for those who could install or switch from it: otherwise anybody could
    /// have root read any file and fetch any address.
    ///
    /// # Errors
    /// The request is not valid, the caller may not have it read, or it could not be planned.
    pub async fn plan(&self, caller: &Caller, request: OperationRequest) -> Result<Plan, Refusal> {
        let request = canonical(request)?;
        let backend = self.gate.backend().await?;
        let action = action_of(&*backend, &request);
        let request = bound(request, action);
        let request = if reads_elsewhere(action, &request) {
            let options = RequestOptions::default();
            self.authority
                .authorize(caller, action, request, options)
                .await?
                .into_parts()
                .0
        } else {
            request
        };
        let _turn = self.turn().await?;
        Ok(blocking(move || backend.plan(request)).await?)
    }

    /// A turn among those who have the machine read for seconds.
    async fn turn(&self) -> Result<SemaphorePermit<'_>, Failure> {
        let patience = Duration::from_secs(PLAN_QUEUE_SECONDS);
        match tokio::time::timeout(patience, self.plans.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let text = format!("cannot plan: {PLANS_AT_A_TIME} plans are being made already");
                Err(Failure::new(Code::TooMany, text))
            }
        }
    }

    /// The generations of the system.
    ///
    /// # Errors
    /// They could not be read.
    pub async fn generations(&self) -> Result<Vec<Generation>, Failure> {
        let backend = self.gate.backend().await?;
        blocking(move || backend.generations()).await
    }

    /// How the closures of two store paths differ.
    ///
    /// # Errors
    /// One is no store path, or its closure is not known here.
    pub async fn diff(&self, from: &str, to: &str) -> Result<Vec<DiffEntry>, Failure> {
        let (from, to) = (toplevel("from", from)?, toplevel("to", to)?);
        let backend = self.gate.backend().await?;
        let _turn = self.turn().await?;
        blocking(move || backend.diff(&from, &to)).await
    }

    /// Looks at the machine now.
    ///
    /// # Errors
    /// There is no such check, or looking took too long.
    pub async fn check(&self, checks: Vec<String>) -> Result<Findings, Failure> {
        let checks = repair::checks(checks)?;
        let backend = self.gate.backend().await?;
        let _turn = self.turn().await?;
        blocking(move || backend.check(&checks)).await
    }

    /// What was found when the machine was looked at last.
    ///
    /// # Errors
    /// The backend is not there.
    pub async fn findings(&self) -> Result<Findings, Failure> {
        Ok(self.gate.backend().await?.findings())
    }

    /// What became of findings.
    ///
    /// # Errors
    /// The backend is not there.
    pub async fn history(&self, limit: u32) -> Result<Vec<HealthEvent>, Failure> {
        Ok(self.gate.backend().await?.history(limit))
    }

    /// Takes the word of somebody who came over a new connection that a switch is right.
    ///
    /// # Errors
    /// There is none of that id, it takes no confirmation, or the caller may not switch.
    pub async fn confirm(&self, caller: &Caller, id: &OperationId) -> Result<(), Refusal> {
        let backend = self.gate.backend().await?;
        let request = backend.request(id)?;
        let ended = backend.show(id)?.state.is_final();
        let refused = |why: &str| {
            let text = format!("cannot confirm operation {id}: {why}");
            Err(Failure::new(Code::NotConfirmable, text).into())
        };
        if !waits_for_confirmation(&*backend, &request) {
            return refused("nobody asked for a confirmation of it");
        }
        if ended {
            return refused("it has ended");
        }
        if !self.asked.is_new(id, caller) {
            return refused("this connection is not newer than the switch; come over another one");
        }
        let details = [
            ("operation", request.kind().to_string()),
            ("id", id.to_string()),
        ];
        self.authority
            .check(caller, action_for(&request, true, false), &details)
            .await?;
        let asked = id.clone();
        blocking(move || backend.confirm(&asked)).await?;
        tracing::info!(OPERATION_ID = %id, uid = caller.uid, "confirmed");
        Ok(())
    }

    /// Remembers who asked for a switch that waits for a confirmation.
    fn note(&self, backend: &dyn Backend, id: &OperationId, caller: &Caller) {
        let is_open = |id: &OperationId| backend.show(id).is_ok_and(|view| !view.state.is_final());
        self.asked.note(id, caller, is_open);
    }

    /// How the machine is.
    ///
    /// # Errors
    /// The backend is not there.
    pub async fn status(&self) -> Result<Status, Failure> {
        Ok(self.gate.backend().await?.status())
    }

    /// The newest operations.
    ///
    /// # Errors
    /// The backend is not there.
    pub async fn list(&self, limit: u32) -> Result<Vec<OperationView>, Failure> {
        Ok(self.gate.backend().await?.list(limit))
    }

    /// One operation.
    ///
    /// # Errors
    /// There is none of that id.
    pub async fn show(&self, id: &OperationId) -> Result<OperationView, Failure> {
        self.gate.backend().await?.show(id)
    }

    /// The journal of an operation.
    ///
    /// # Errors
    /// There is none of that id, or it could not be read.
    pub async fn journal(&self, id: &OperationId) -> Result<Vec<JournalLine>, Failure> {
        let backend = self.gate.backend().await?;
        let id = id.clone();
        blocking(move || backend.journal(&id)).await
    }

    /// Snapshots of an operation.
    ///
    /// # Errors
    /// There is none of that id.
    pub async fn watch(&self, id: &OperationId) -> Result<watch::Receiver<OperationView>, Failure> {
        self.gate.backend().await?.watch(id)
    }

    /// Stops an operation; that of another user needs authority.
    ///
    /// # Errors
    /// There is none of that id, the caller may not, or it cannot be cancelled any more.
    pub async fn cancel(&self, caller: &Caller, id: &OperationId) -> Result<(), Refusal> {
        let backend = self.gate.backend().await?;
        let view = backend.show(id)?;
        if view.requested_by != caller.uid {
            let details = [("operation", view.kind.to_string()), ("id", id.to_string())];
            self.authority
                .check(caller, Action::CancelOthers, &details)
                .await?;
        }
        let asked = id.clone();
        blocking(move || backend.cancel(&asked)).await?;
        tracing::info!(OPERATION_ID = %id, uid = caller.uid, "asked to stop");
        Ok(())
    }

    /// Tries an operation again, with the authority that asking for it anew would need.
    ///
    /// # Errors
    /// There is none of that id, the caller may not, or it cannot be retried.
    pub async fn retry(&self, caller: &Caller, id: &OperationId) -> Result<OperationId, Refusal> {
        let backend = self.gate.backend().await?;
        let request = backend.request(id)?;
        confirmable(&*backend, caller, &request)?;
        let action = action_of(&*backend, &request);
        let options = RequestOptions::default();
        let (request, _, uid) = self
            .authority
            .authorize(caller, action, request, options)
            .await?
            .into_parts();
        if action_of(&*backend, &request) != action {
            let why = "the settings of trusted sources, or the version of Nix, changed meanwhile";
            return Err(Failure::new(Code::Moved, format!("cannot retry {id}: {why}")).into());
        }
        let (engine, asked) = (Arc::clone(&backend), id.clone());
        let new = blocking(move || engine.retry(&asked, uid)).await?;
        if waits_for_confirmation(&*backend, &request) {
            self.note(&*backend, &new, caller);
        }
        tracing::info!(OPERATION_ID = %new, uid, "accepted: another try of {id}");
        Ok(new)
    }

    /// The numbers for a monitoring system.
    ///
    /// # Errors
    /// The backend is not there.
    pub async fn metrics(&self) -> Result<String, Failure> {
        let backend = self.gate.backend().await?;
        blocking(move || Ok(backend.metrics())).await
    }

    /// Has nothing begin as long as the file descriptor is open.
    ///
    /// # Errors
    /// The caller may not, a word or a text is wrong, or there are too many.
    pub async fn inhibit(
        &self,
        caller: &Caller,
        what: &str,
        who: &str,
        why: &str,
    ) -> Result<OwnedFd, Refusal> {
        let backend = self.gate.backend().await?;
        self.authority.check(caller, Action::Inhibit, &[]).await?;
        Ok(backend.inhibit(what, who, why, caller.uid)?)
    }

    /// Effective settings.
    ///
    /// # Errors
    /// The backend is not there.
    pub async fn settings(&self) -> Result<Vec<SettingView>, Failure> {
        Ok(self.gate.backend().await?.settings())
    }

    /// Writes one setting.
    ///
    /// # Errors
    /// The caller may not, or the setting is not valid.
    pub async fn configure(
        &self,
        caller: &Caller,
        key: String,
        value: String,
    ) -> Result<(), Refusal> {
        let backend = self.gate.backend().await?;
        let details = [("key", key.clone()), ("value", value.clone())];
        self.authority
            .check(caller, Action::Configure, &details)
            .await?;
        tracing::info!(uid = caller.uid, "setting {key}");
        Ok(blocking(move || backend.configure(&key, &value)).await?)
    }
}

fn action_of(backend: &dyn Backend, request: &OperationRequest) -> Action {
    let goes_back = match request {
        OperationRequest::Upgrade(upgrade) => backend.goes_back(upgrade),
        OperationRequest::SelfUpgrade(upgrade) => backend.self_goes_back(upgrade),
        _ => false,
    };
    action_for(request, trusted(backend, request), goes_back)
}

/// The request with what the authority for an action means for it.
fn bound(request: OperationRequest, action: Action) -> OperationRequest {
    match request {
        OperationRequest::Upgrade(upgrade) => OperationRequest::Upgrade(UpgradeRequest {
            may_be_older: action != Action::Upgrade,
            ..upgrade
        }),
        OperationRequest::SelfUpgrade(upgrade) => {
            OperationRequest::SelfUpgrade(SelfUpgradeRequest {
                may_be_older: action != Action::Upgrade,
                ..upgrade
            })
        }
        other => other,
    }
}

fn trusted(backend: &dyn Backend, request: &OperationRequest) -> bool {
    match request {
        OperationRequest::Install(install) => backend.is_trusted(install),
        OperationRequest::Upgrade(upgrade) => backend.is_trusted(&upgrade.wanted()),
        OperationRequest::SelfUpgrade(upgrade) => backend.is_trusted(&upgrade.wanted()),
        OperationRequest::Uninstall(_)
        | OperationRequest::SelfInstall(_)
        | OperationRequest::SelfUninstall
        | OperationRequest::Switch(_)
        | OperationRequest::Rollback(_)
        | OperationRequest::Repair(_) => true,
    }
}

/// Whether planning has root read what the caller names and no setting does.
fn reads_elsewhere(action: Action, request: &OperationRequest) -> bool {
    match request {
        OperationRequest::Switch(switch) => switch.from.is_some(),
        OperationRequest::Rollback(rollback) => rollback.from.is_some(),
        _ => matches!(action, Action::InstallUntrusted | Action::Daemon),
    }
}

/// Whether somebody has to confirm: the request says so, or the settings do.
fn waits_for_confirmation(backend: &dyn Backend, request: &OperationRequest) -> bool {
    match request {
        OperationRequest::Switch(switch) if switch.confirm_within.is_some() => true,
        OperationRequest::Switch(_) | OperationRequest::Rollback(_) => {
            let settings = backend.settings();
            let mut settings = settings.iter();
            settings.any(|it| it.key == CONFIRM_SECONDS && it.value != "0")
        }
        _ => false,
    }
}

/// Whether somebody could confirm what the caller asks for: to a private daemon there is one
/// connection only.
fn confirmable(
    backend: &dyn Backend,
    caller: &Caller,
    request: &OperationRequest,
) -> Result<(), Failure> {
    let is_private = matches!(caller.transport, Transport::Private);
    if is_private && waits_for_confirmation(backend, request) {
        let why = "nobody else can reach a private nixctld to confirm";
        let text = format!("cannot use confirm-within: {why}");
        return Err(Failure::new(Code::InvalidArgument, text));
    }
    Ok(())
}

/// Does what blocks on a thread of its own; a panic there is an error here.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(result) => result,
        Err(error) => {
            tracing::error!("internal error: a request ended in a panic: {error}");
            Err(Failure::new(
                Code::Internal,
                format!("internal error: the request broke: {error}"),
            ))
        }
    }
}

#[cfg(test)]
mod tests;

//! What both transports do for a caller: canonical form, authority, then the backend.

use std::sync::Arc;
use std::time::Duration;

use nixctl_proto::operation::JournalLine;
use nixctl_proto::plan::Plan;
use nixctl_proto::request::{OperationRequest, RequestOptions};
use nixctl_proto::settings::SettingView;
use nixctl_proto::status::Status;
use nixctl_proto::{Code, Failure, OperationId, OperationView};
use tokio::sync::{Semaphore, watch};

use super::action::{Action, action_for};
use super::request::{canonical, canonical_options};
use super::{Authority, Backend, Caller, Gate, Refusal};

/// Plans that may be made at a time; each may read the network and the disk.
const PLANS_AT_A_TIME: usize = 4;
/// How long a plan waits for its turn; less than the patience of D-Bus clients.
const PLAN_QUEUE_SECONDS: u64 = 20;

/// The daemon as its transports see it.
#[derive(Debug)]
pub struct Service {
    gate: Gate,
    authority: Authority,
    plans: Semaphore,
}

impl Service {
    /// Serves the backend behind the gate.
    pub fn new(gate: Gate, authority: Authority) -> Arc<Self> {
        Arc::new(Service {
            gate,
            authority,
            plans: Semaphore::new(PLANS_AT_A_TIME),
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
        let action = action_for(&request, trusted(&*backend, &request));
        let authorized = self
            .authority
            .authorize(caller, action, request, options)
            .await?;
        let digest = authorized.digest();
        let (request, options, uid) = authorized.into_parts();
        // Minutes may have passed at a password prompt, and settings may have changed.
        if action_for(&request, trusted(&*backend, &request)) != action {
            let why = "the settings of trusted sources changed meanwhile";
            let text = format!("cannot {}: {why}", request.kind());
            return Err(Failure::new(Code::Moved, text).into());
        }
        let kind = request.kind();
        let id = blocking(move || backend.submit(request, options, uid)).await?;
        tracing::info!(OPERATION_ID = %id, uid, request = %digest, "accepted: {kind}");
        Ok(id)
    }

    /// Plans an operation. A source that is not trusted is read only for those who could install
    /// from it: otherwise anybody could have root read any file and fetch any address.
    ///
    /// # Errors
    /// The request is not valid, the caller may not have it read, or it could not be planned.
    pub async fn plan(&self, caller: &Caller, request: OperationRequest) -> Result<Plan, Refusal> {
        let request = canonical(request)?;
        let backend = self.gate.backend().await?;
        let action = action_for(&request, trusted(&*backend, &request));
        let request = match action {
            Action::InstallUntrusted | Action::Daemon => {
                let options = RequestOptions::default();
                self.authority
                    .authorize(caller, action, request, options)
                    .await?
                    .into_parts()
                    .0
            }
            _ => request,
        };
        let patience = Duration::from_secs(PLAN_QUEUE_SECONDS);
        let Ok(Ok(_permit)) = tokio::time::timeout(patience, self.plans.acquire()).await else {
            let text = format!("cannot plan: {PLANS_AT_A_TIME} plans are being made already");
            return Err(Failure::new(Code::TooMany, text).into());
        };
        Ok(blocking(move || backend.plan(request)).await?)
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
        let action = action_for(&request, trusted(&*backend, &request));
        let options = RequestOptions::default();
        let (request, _, uid) = self
            .authority
            .authorize(caller, action, request, options)
            .await?
            .into_parts();
        if action_for(&request, trusted(&*backend, &request)) != action {
            let why = "the settings of trusted sources changed meanwhile";
            return Err(Failure::new(Code::Moved, format!("cannot retry {id}: {why}")).into());
        }
        let asked = id.clone();
        let new = blocking(move || backend.retry(&asked, uid)).await?;
        tracing::info!(OPERATION_ID = %new, uid, "accepted: another try of {id}");
        Ok(new)
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

fn trusted(backend: &dyn Backend, request: &OperationRequest) -> bool {
    match request {
        OperationRequest::Install(install) => backend.is_trusted(install),
        OperationRequest::Uninstall(_)
        | OperationRequest::SelfInstall(_)
        | OperationRequest::SelfUninstall => true,
    }
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
mod tests {
    use nixctl_proto::request::{InstallRequest, UninstallRequest};

    use super::super::authority::Transport;
    use super::super::testing::FakeBackend;
    use super::*;

    const NIXCTL: u32 = 4711;

    fn service() -> (Arc<FakeBackend>, Arc<Service>) {
        let backend = FakeBackend::new();
        let (opener, gate) = Gate::new();
        opener.open(Arc::clone(&backend) as Arc<dyn Backend>);
        (
            backend,
            Service::new(gate, Authority::with_group(|| Some(NIXCTL))),
        )
    }

    fn caller(uid: u32, groups: &[u32]) -> Caller {
        Caller {
            uid,
            groups: Some(groups.to_vec()),
            transport: Transport::Socket,
        }
    }

    fn from(source: &str) -> OperationRequest {
        let source = Some(source.to_owned());
        OperationRequest::Install(InstallRequest {
            source,
            ..InstallRequest::default()
        })
    }

    #[tokio::test]
    async fn what_is_stored_is_the_canonical_request_of_the_caller() {
        let (backend, service) = service();
        let member = caller(1000, &[NIXCTL]);
        let options = RequestOptions::default();
        let id = service
            .submit(&member, from("/srv//nix/./x"), options)
            .await
            .unwrap();
        assert_eq!(backend.request(&id).unwrap(), from("/srv/nix/x"));
        assert_eq!(backend.show(&id).unwrap().requested_by, 1000);
    }

    #[tokio::test]
    async fn an_untrusted_source_needs_more_than_the_group() {
        let (backend, service) = service();
        let member = caller(1000, &[NIXCTL]);
        let options = RequestOptions::default;
        let refusal = service
            .submit(&member, from("/tmp/x"), options())
            .await
            .unwrap_err();
        assert_eq!(refusal.failure.code, Code::Untrusted);
        let refusal = service.plan(&member, from("/tmp/x")).await.unwrap_err();
        assert_eq!(refusal.failure.code, Code::Untrusted);
        assert!(backend.list(0).is_empty());
        service
            .submit(&caller(0, &[]), from("/tmp/x"), options())
            .await
            .unwrap();
        let id = backend.list(0)[0].id.clone();
        let refusal = service.retry(&member, &id).await.unwrap_err();
        assert_eq!(
            refusal.failure.code,
            Code::Untrusted,
            "nor by trying root's again"
        );
    }

    #[tokio::test]
    async fn a_source_that_is_trusted_no_more_is_not_tried_again() {
        let (backend, service) = service();
        let options = RequestOptions::default();
        let member = caller(1000, &[NIXCTL]);
        let id = backend.submit(from("/srv/nix/x"), options, 1000).unwrap();
        backend.advance(&id, |view| {
            view.state = nixctl_proto::OperationState::Failed
        });
        backend.distrust_after(1);
        let refusal = service.retry(&member, &id).await.unwrap_err();
        assert_eq!(refusal.failure.code, Code::Moved);
        assert_eq!(backend.list(0).len(), 1);
    }

    #[tokio::test]
    async fn strangers_may_read_and_stop_their_own_only() {
        let (backend, service) = service();
        let stranger = caller(1001, &[]);
        let options = RequestOptions::default();
        let uninstall = OperationRequest::Uninstall(UninstallRequest::default());
        let refusal = service
            .submit(&stranger, uninstall, options.clone())
            .await
            .unwrap_err();
        assert_eq!(refusal.failure.code, Code::NotAuthorized);
        assert!(service.plan(&stranger, from("/srv/nix/x")).await.is_ok());
        assert!(service.status().await.is_ok());

        let id = service
            .submit(&caller(0, &[]), from("/srv/nix/x"), options.clone())
            .await
            .unwrap();
        assert!(service.show(&id).await.is_ok());
        let refusal = service.cancel(&stranger, &id).await.unwrap_err();
        assert_eq!(refusal.failure.code, Code::NotAuthorized);
        let own = backend.submit(from("/srv/nix/x"), options, 1001).unwrap();
        service.cancel(&stranger, &own).await.unwrap();
        let key = || "daemon.history".to_owned();
        assert!(
            service
                .configure(&stranger, key(), "1".to_owned())
                .await
                .is_err()
        );
        let member = caller(1000, &[NIXCTL]);
        assert!(
            service
                .configure(&member, key(), "1".to_owned())
                .await
                .is_err()
        );
        assert!(
            service
                .configure(&caller(0, &[]), key(), "1".to_owned())
                .await
                .is_ok()
        );
    }

    #[tokio::test]
    async fn trust_is_judged_again_after_a_long_prompt() {
        let (backend, service) = service();
        backend.distrust_after(1);
        let member = caller(1000, &[NIXCTL]);
        let refusal = service
            .submit(&member, from("/srv/nix/x"), RequestOptions::default())
            .await
            .unwrap_err();
        assert_eq!(refusal.failure.code, Code::Moved);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_no_more() {
        let failure = blocking::<()>(|| panic!("on purpose")).await.unwrap_err();
        assert_eq!(failure.code, Code::Internal);
    }
}

//! What callers may do, and what they are refused.

use nixctl_proto::request::{InstallRequest, SwitchRequest, UninstallRequest};

use super::*;
use crate::serve::testing::{FakeBackend, TOPLEVEL};

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
        transport: Transport::Socket(u64::from(uid)),
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

fn switch(change: impl FnOnce(&mut SwitchRequest)) -> OperationRequest {
    let mut request = SwitchRequest {
        toplevel: TOPLEVEL.to_owned(),
        ..SwitchRequest::default()
    };
    change(&mut request);
    OperationRequest::Switch(request)
}

/// A caller over a connection of this number.
fn over(connection: u64, uid: u32, groups: &[u32]) -> Caller {
    Caller {
        transport: Transport::Socket(connection),
        ..caller(uid, groups)
    }
}

#[tokio::test]
async fn a_plan_from_a_store_of_the_callers_choice_needs_authority() {
    let (_backend, service) = service();
    let (stranger, member) = (caller(1001, &[]), caller(1000, &[NIXCTL]));
    let elsewhere = || switch(|request| request.from = Some("https://a.example".to_owned()));
    assert!(service.plan(&stranger, switch(|_| {})).await.is_ok());
    let refusal = service.plan(&stranger, elsewhere()).await.unwrap_err();
    assert_eq!(refusal.failure.code, Code::NotAuthorized);
    assert!(service.plan(&member, elsewhere()).await.is_ok());
}

#[tokio::test]
async fn a_confirmation_comes_over_another_connection_by_who_may_switch() {
    let (backend, service) = service();
    let waiting = switch(|request| request.confirm_within = Some(20));
    let options = RequestOptions::default();
    let id = service
        .submit(&over(1, 1000, &[NIXCTL]), waiting.clone(), options.clone())
        .await
        .unwrap();
    for (caller, code) in [
        (over(1, 1000, &[NIXCTL]), Code::NotConfirmable),
        (over(1, 0, &[]), Code::NotConfirmable),
        (over(2, 1001, &[]), Code::NotAuthorized),
    ] {
        let refusal = service.confirm(&caller, &id).await.unwrap_err();
        assert_eq!(refusal.failure.code, code);
    }
    assert!(backend.confirmed.lock().unwrap().is_empty());
    service
        .confirm(&over(2, 1000, &[NIXCTL]), &id)
        .await
        .unwrap();
    let confirmed = backend.confirmed.lock().unwrap().clone();
    assert_eq!(confirmed, std::slice::from_ref(&id));

    backend.advance(&id, |view| {
        view.state = nixctl_proto::OperationState::Reverted
    });
    let refusal = service.confirm(&over(2, 0, &[]), &id).await.unwrap_err();
    assert_eq!(refusal.failure.code, Code::NotConfirmable);
    let again = service.retry(&over(3, 0, &[]), &id).await.unwrap();
    assert!(service.confirm(&over(3, 0, &[]), &again).await.is_err());
    assert!(service.confirm(&over(1, 0, &[]), &again).await.is_ok());
}

#[tokio::test]
async fn only_what_waits_for_a_confirmation_is_confirmed() {
    let (_backend, service) = service();
    let options = RequestOptions::default();
    let id = service
        .submit(&over(1, 0, &[]), switch(|_| {}), options.clone())
        .await
        .unwrap();
    let refusal = service.confirm(&over(2, 0, &[]), &id).await.unwrap_err();
    assert_eq!(refusal.failure.code, Code::NotConfirmable);
    let none = OperationId::from_parts(99, 9);
    let refusal = service.confirm(&over(2, 0, &[]), &none).await.unwrap_err();
    assert_eq!(refusal.failure.code, Code::NotFound);
    // To a private daemon nobody else could come.
    let waiting = switch(|request| request.confirm_within = Some(20));
    let refusal = service
        .submit(&Caller::private(0), waiting, options)
        .await
        .unwrap_err();
    assert_eq!(refusal.failure.code, Code::InvalidArgument);
}

#[tokio::test]
async fn only_store_paths_are_compared() {
    let (_backend, service) = service();
    let entries = service.diff(TOPLEVEL, &format!("{TOPLEVEL}/")).await;
    assert_eq!(entries.unwrap()[0].name, format!("{TOPLEVEL} {TOPLEVEL}"));
    for wrong in ["/etc/shadow", "7", ""] {
        let failure = service.diff(TOPLEVEL, wrong).await.unwrap_err();
        assert_eq!(failure.code, Code::InvalidArgument, "{wrong}");
    }
}

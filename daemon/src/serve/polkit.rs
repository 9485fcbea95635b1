//! Asks polkit about a caller on the bus.
//!
//! The subject is the caller's unique bus name, never a process id, which can be recycled. While
//! somebody may be typing a password there is no deadline, but the question is withdrawn when the
//! caller leaves the bus; without interaction polkit must answer soon. The interface is that of
//! polkit(8), `org.freedesktop.PolicyKit1.Authority`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use zbus::fdo::DBusProxy;
use zbus::names::{BusName, OwnedUniqueName};
use zbus::zvariant::Value;

/// Well-known name of polkit.
const NAME: &str = "org.freedesktop.PolicyKit1";
const PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";

/// Flag of CheckAuthorization: somebody may be asked.
const ALLOW_USER_INTERACTION: u32 = 1;

/// How long polkit may take when nobody is asked.
const SILENT_SECONDS: u64 = 25;

/// Number of the next question, so that each can be withdrawn by name.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// A question about a caller.
#[derive(Debug)]
pub struct Question<'a> {
    /// Connection on which the call came.
    pub connection: &'a zbus::Connection,
    /// Unique name of the caller.
    pub sender: &'a OwnedUniqueName,
    /// Id of the action.
    pub action: &'static str,
    /// For rules and the dialogue.
    pub details: &'a [(&'static str, String)],
    /// Whether somebody may be asked for a password.
    pub interactive: bool,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Yes.
    Authorized,
    /// No.
    Denied,
    /// Yes, if somebody authenticates, but nobody may be asked.
    Challenge,
    /// Somebody was asked and did not authenticate.
    Dismissed,
    /// The caller left the bus.
    Gone,
    /// There is no polkit on this machine.
    Missing,
    /// It could not be asked.
    Failed(String),
}

/// Asks.
pub async fn ask(question: &Question<'_>) -> Answer {
    match ask_while_there(question).await {
        Ok(answer) => answer,
        Err(error) => Answer::Failed(error.to_string()),
    }
}

async fn ask_while_there(question: &Question<'_>) -> zbus::Result<Answer> {
    let bus = DBusProxy::builder(question.connection)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await?;
    let sender = BusName::from(question.sender.as_ref());
    // First listen, then look: a caller that leaves in between is seen in one of the two.
    let mut owners = bus
        .receive_name_owner_changed_with_args(&[(0, sender.as_str())])
        .await?;
    if !bus.name_has_owner(sender).await? {
        return Ok(Answer::Gone);
    }
    let id = format!(
        "nixctld-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    );
    let limit = match question.interactive {
        true => None,
        false => Some(Duration::from_secs(SILENT_SECONDS)),
    };
    tokio::select! {
        answer = check(question, &id) => answer,
        _ = owners.next() => {
            withdraw(question.connection, &id).await;
            Ok(Answer::Gone)
        }
        () = after(limit) => {
            withdraw(question.connection, &id).await;
            Ok(Answer::Failed(format!("no answer within {SILENT_SECONDS} s")))
        }
    }
}

async fn check(question: &Question<'_>, id: &str) -> zbus::Result<Answer> {
    let name = HashMap::from([("name", Value::from(question.sender.as_str()))]);
    let subject = ("system-bus-name", name);
    let details: HashMap<&str, &str> = question
        .details
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let flags = if question.interactive {
        ALLOW_USER_INTERACTION
    } else {
        0
    };
    let arguments = (subject, question.action, details, flags, id);
    let reply = question
        .connection
        .call_method(
            Some(NAME),
            PATH,
            Some(INTERFACE),
            "CheckAuthorization",
            &arguments,
        )
        .await;
    let reply = match reply {
        Ok(reply) => reply,
        Err(zbus::Error::MethodError(name, _, _)) if is_absence(&name) => {
            return Ok(Answer::Missing);
        }
        Err(error) => return Err(error),
    };
    let body = reply.body();
    let (authorized, challenge, _): (bool, bool, HashMap<String, String>) = body.deserialize()?;
    Ok(judge(authorized, challenge, question.interactive))
}

/// What polkit's two answers mean.
fn judge(authorized: bool, challenge: bool, interactive: bool) -> Answer {
    match (authorized, challenge, interactive) {
        (true, _, _) => Answer::Authorized,
        (false, true, false) => Answer::Challenge,
        (false, true, true) => Answer::Dismissed,
        (false, false, true) => Answer::Dismissed,
        (false, false, false) => Answer::Denied,
    }
}

/// Whether an error says that nobody owns the name and nothing can start it. Any other error means
/// that there is a polkit whose rules are unknown.
fn is_absence(error: &str) -> bool {
    matches!(
        error,
        "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner"
    )
}

/// Takes a question back, so that no dialogue stays open. It does not matter whether that works.
async fn withdraw(connection: &zbus::Connection, id: &str) {
    let arguments = (id,);
    let call = connection.call_method(
        Some(NAME),
        PATH,
        Some(INTERFACE),
        "CancelCheckAuthorization",
        &arguments,
    );
    if tokio::time::timeout(Duration::from_secs(5), call)
        .await
        .is_err()
    {
        tracing::debug!("polkit did not answer the withdrawal of a question");
    }
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_they_say() {
        assert_eq!(judge(true, false, false), Answer::Authorized);
        assert_eq!(judge(true, false, true), Answer::Authorized);
        assert_eq!(judge(false, true, false), Answer::Challenge);
        assert_eq!(judge(false, true, true), Answer::Dismissed);
        assert_eq!(judge(false, false, true), Answer::Dismissed);
        assert_eq!(judge(false, false, false), Answer::Denied);
    }

    #[test]
    fn a_failing_polkit_is_not_a_missing_one() {
        assert!(is_absence("org.freedesktop.DBus.Error.ServiceUnknown"));
        for other in [
            "org.freedesktop.DBus.Error.NoReply",
            "org.freedesktop.DBus.Error.TimedOut",
            "org.freedesktop.DBus.Error.AccessDenied",
            "org.freedesktop.PolicyKit1.Error.Failed",
        ] {
            assert!(!is_absence(other));
        }
    }
}

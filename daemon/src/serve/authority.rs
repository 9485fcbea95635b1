//! Authorisation: the one place where it is decided who may do what.
//!
//! Reads are free. A change needs root, or is judged by [`Action`]: on the bus by polkit, whose
//! rules let members of the group `nixctl` do most of it; on the socket, and on a bus without
//! polkit, by that membership alone with the same table ([`Action::group_may`]). Credentials come
//! from the kernel or the bus, never from the caller. Whatever is unclear (a caller that went
//! away, a polkit that fails) is a refusal.

use std::fmt;

use nix::unistd::{Group, User};
use nixctl_proto::request::{OperationRequest, RequestOptions};
use nixctl_proto::{ADMIN_GROUP, Code, Failure};
use zbus::names::OwnedUniqueName;

use super::action::Action;
use super::polkit::{self, Answer, Question};
use super::quota::Quota;
use super::request::{Digest, digest};

/// Questions to polkit that one user may have open, so that nobody buries the screen in dialogues.
const QUESTIONS_PER_USER: u32 = 4;
/// Questions to polkit that may be open in all.
const QUESTIONS_IN_ALL: u32 = 32;

/// The group whose members may change things.
const GROUP: &str = if cfg!(target_os = "macos") {
    "admin"
} else {
    ADMIN_GROUP
};

/// Who calls, as the kernel or the bus says.
#[derive(Debug, Clone)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Ids of the groups, the primary one included; `None` when they must be looked up by name.
    pub groups: Option<Vec<u32>>,
    /// How the call came.
    pub transport: Transport,
}

/// How a call came, with what is needed to ask polkit about it.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Over the bus.
    Bus {
        /// Connection on which it came.
        connection: zbus::Connection,
        /// Unique name of the sender.
        sender: OwnedUniqueName,
        /// Whether the sender allows that somebody is asked for a password.
        interactive: bool,
    },
    /// Over the Unix socket: the connection's number, different for each.
    Socket(u64),
    /// From the process that started this one for itself, and could as well do everything itself.
    Private,
}

/// A request that was authorised: from here on nothing can change it.
#[derive(Debug)]
pub struct Authorized {
    request: OperationRequest,
    options: RequestOptions,
    uid: u32,
    digest: Digest,
}

impl Authorized {
    /// Hash of request and options.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What was authorised, and for whom.
    pub fn into_parts(self) -> (OperationRequest, RequestOptions, u32) {
        (self.request, self.options, self.uid)
    }
}

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub failure: Failure,
    /// Whether the same call would ask an administrator if it allowed interaction.
    pub interaction_would_help: bool,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Refusal {
            failure,
            interaction_would_help: false,
        }
    }
}

/// Decides who may do what.
#[derive(Clone)]
pub struct Authority {
    admin_group: fn() -> Option<u32>,
    questions: Quota,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Authority::with_group(|| {
            Group::from_name(GROUP)
                .ok()
                .flatten()
                .map(|g| g.gid.as_raw())
        })
    }
}

impl Authority {
    /// Decides with a group whose id is looked up in this way.
    pub fn with_group(admin_group: fn() -> Option<u32>) -> Self {
        Authority {
            admin_group,
            questions: Quota::new(QUESTIONS_PER_USER, QUESTIONS_IN_ALL),
        }
    }

    /// Authorises a canonical request as it is now.
    ///
    /// # Errors
    /// The caller may not do it.
    pub async fn authorize(
        &self,
        caller: &Caller,
        action: Action,
        request: OperationRequest,
        options: RequestOptions,
    ) -> Result<Authorized, Refusal> {
        let digest = digest(&request, &options)?;
        let mut details = vec![("operation", request.kind().as_str().to_owned())];
        if let OperationRequest::Install(install) = &request {
            details.extend(install.source.clone().map(|source| ("source", source)));
            details.extend(install.version.clone().map(|version| ("version", version)));
        }
        if let OperationRequest::Switch(switch) = &request {
            details.push(("toplevel", switch.toplevel.clone()));
            details.extend(switch.from.clone().map(|from| ("from", from)));
        }
        if let OperationRequest::Rollback(rollback) = &request {
            details.extend(rollback.to.map(|to| ("generation", to.to_string())));
        }
        details.push(("request", digest.to_string()));
        self.check(caller, action, &details).await?;
        Ok(Authorized {
            request,
            options,
            uid: caller.uid,
            digest,
        })
    }

    /// Whether the caller may do something; details are for polkit's rules and its dialogue.
    ///
    /// # Errors
    /// The caller may not do it.
    pub async fn check(
        &self,
        caller: &Caller,
        action: Action,
        details: &[(&'static str, String)],
    ) -> Result<(), Refusal> {
        if caller.uid == 0 || matches!(caller.transport, Transport::Private) {
            return Ok(());
        }
        let allowed = match (&caller.transport, action.polkit_id()) {
            (Transport::Private, _) => Ok(()),
            (_, None) if action.group_may() => self.by_group(caller, action),
            (_, None) => Err(refusal(action, "only root may do it")),
            (Transport::Socket(_), Some(_)) => self.by_group(caller, action),
            (
                Transport::Bus {
                    connection,
                    sender,
                    interactive,
                },
                Some(id),
            ) => {
                let Some(_ticket) = self.questions.enter(caller.uid) else {
                    let why = "too many questions to administrators are open for this user";
                    let text = format!("cannot {}: {why}", action.verb());
                    return Err(Failure::new(Code::TooMany, text).into());
                };
                let question = Question {
                    connection,
                    sender,
                    action: id,
                    details,
                    interactive: *interactive,
                };
                match polkit::ask(&question).await {
                    Answer::Missing => self.by_group(caller, action),
                    answer => Authority::by_polkit(action, answer),
                }
            }
        };
        if let Err(refusal) = &allowed {
            tracing::warn!(uid = caller.uid, ?action, "refused: {}", refusal.failure);
        }
        allowed
    }

    /// The decision where there is no polkit.
    fn by_group(&self, caller: &Caller, action: Action) -> Result<(), Refusal> {
        let member = (self.admin_group)().is_some_and(|group| caller.is_in(group));
        match (member, action.group_may()) {
            (true, true) => Ok(()),
            (true, false) => Err(refusal(action, "it needs root here")),
            (false, _) => {
                let why = format!(
                    "user {} is neither root nor in the group {GROUP}",
                    caller.uid
                );
                Err(refusal(action, &why))
            }
        }
    }

    /// The decision after polkit's answer.
    fn by_polkit(action: Action, answer: Answer) -> Result<(), Refusal> {
        let why = match answer {
            Answer::Authorized => return Ok(()),
            Answer::Challenge => {
                let why = "an administrator must authenticate, and the call does not allow asking";
                let refusal = refusal(action, why);
                return Err(Refusal {
                    interaction_would_help: true,
                    ..refusal
                });
            }
            Answer::Denied => "polkit does not allow it".to_owned(),
            Answer::Dismissed => "nobody authenticated".to_owned(),
            Answer::Gone => "the caller went away".to_owned(),
            Answer::Missing => "polkit is not there".to_owned(),
            Answer::Failed(why) => format!("polkit could not be asked: {why}"),
        };
        Err(refusal(action, &why))
    }
}

impl Caller {
    /// Who started this process for itself.
    pub fn private(uid: u32) -> Self {
        Caller {
            uid,
            groups: Some(Vec::new()),
            transport: Transport::Private,
        }
    }

    /// Whether the caller is in a group.
    fn is_in(&self, group: u32) -> bool {
        match &self.groups {
            Some(groups) => groups.contains(&group),
            None => is_member_by_name(self.uid, group),
        }
    }
}

fn refusal(action: Action, why: &str) -> Refusal {
    let code = match action {
        Action::InstallUntrusted => Code::Untrusted,
        _ => Code::NotAuthorized,
    };
    let failure = Failure::new(code, format!("cannot {}: {why}", action.verb()));
    let failure = match action {
        Action::Daemon => failure.with_help("run the command as root"),
        _ => failure,
    };
    failure.into()
}

/// Membership by the group database, for where the kernel does not tell the caller's own groups.
fn is_member_by_name(uid: u32, group: u32) -> bool {
    let Ok(Some(user)) = User::from_uid(uid.into()) else {
        return false;
    };
    let Ok(Some(group)) = Group::from_gid(group.into()) else {
        return false;
    };
    user.gid == group.gid || group.mem.contains(&user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIXCTL: u32 = 4711;

    fn authority() -> Authority {
        Authority::with_group(|| Some(NIXCTL))
    }

    fn socket(uid: u32, groups: &[u32]) -> Caller {
        Caller {
            uid,
            groups: Some(groups.to_vec()),
            transport: Transport::Socket(1),
        }
    }

    #[tokio::test]
    async fn the_table_for_callers_without_polkit() {
        for action in Action::ALL {
            let may = async |caller: Caller| authority().check(&caller, action, &[]).await;
            assert_eq!(may(socket(0, &[])).await, Ok(()), "root, {action:?}");
            assert_eq!(
                may(Caller::private(1000)).await,
                Ok(()),
                "own child, {action:?}"
            );
            let member = may(socket(1000, &[100, NIXCTL])).await;
            assert_eq!(member.is_ok(), action.group_may(), "member, {action:?}");
            let other = may(socket(1000, &[100])).await.unwrap_err();
            assert_eq!(other.failure.code.exit(), nixctl_proto::Exit::NotAuthorized);
            assert!(!other.interaction_would_help);
        }
    }

    #[tokio::test]
    async fn without_the_group_only_root_may() {
        let authority = Authority::with_group(|| None);
        let caller = socket(1000, &[0, 100]);
        assert!(
            authority
                .check(&caller, Action::Install, &[])
                .await
                .is_err()
        );
    }

    #[test]
    fn every_answer_but_one_of_polkit_is_a_refusal() {
        let decide = |answer| Authority::by_polkit(Action::Install, answer);
        assert_eq!(decide(Answer::Authorized), Ok(()));
        for answer in [
            Answer::Denied,
            Answer::Dismissed,
            Answer::Gone,
            Answer::Missing,
            Answer::Failed("x".to_owned()),
        ] {
            assert!(!decide(answer).unwrap_err().interaction_would_help);
        }
        assert!(
            decide(Answer::Challenge)
                .unwrap_err()
                .interaction_would_help
        );
    }

    #[test]
    fn untrusted_sources_have_their_own_code() {
        let caller = socket(1000, &[NIXCTL]);
        let refusal = authority()
            .by_group(&caller, Action::InstallUntrusted)
            .unwrap_err();
        assert_eq!(refusal.failure.code, Code::Untrusted);
    }
}

//! A watch over the bus: signals first, then the properties, then what the signals change.

use std::time::Duration;

use futures_util::StreamExt;
use nixctl_proto::bus::{MANAGER_INTERFACE, OPERATION_INTERFACE};
use nixctl_proto::dbus::{Dictionary, values};
use nixctl_proto::{BUS_NAME, Code, MANAGER_PATH, OperationId, OperationState, OperationView};
use zbus::{MatchRule, Message, MessageStream};

use super::error::{about, refused, trouble};
use super::{properties, within};
use crate::connect::watch::{Report, Source};
use crate::connect::{ANSWER, Trouble};

/// Silence in a watch after which the properties are read again.
const SILENCE: Duration = Duration::from_secs(15);
/// How often an operation that is not there is looked for once more, and after which pause.
const PUBLISHING_LOOKS: u32 = 8;
const PUBLISHING_PAUSE: Duration = Duration::from_millis(50);
/// Signals that may wait for a watch that is busy.
const QUEUE: usize = 256;

/// Follows an operation over the bus.
pub struct Follower {
    connection: zbus::Connection,
    id: OperationId,
}

impl Source for Follower {
    async fn follow(&mut self, report: &Report) -> Result<(), Trouble> {
        let mut signals = self.signals().await?;
        let mut owners = self.owners().await?;
        let mut known = self.first().await?;
        loop {
            if report.view(values::operation(self.id.clone(), &known).map_err(refused)?) {
                return Ok(());
            }
            let signal = tokio::select! {
                signal = signals.next() => Some(signal),
                owner = owners.next() => { owner_change(owner)?; None }
                () = tokio::time::sleep(SILENCE) => None,
            };
            match signal {
                None => known = self.read(true).await?,
                Some(None | Some(Err(_))) => {
                    return Err(Trouble::Lost("the bus closed the connection".to_owned()));
                }
                Some(Some(Ok(message))) => {
                    // What ends an operation is read whole, so that no part of it is missing.
                    if !apply(&message, &mut known) || is_final(&known) {
                        known = self.read(true).await?;
                    }
                }
            }
        }
    }

    async fn reach(&mut self) -> Result<OperationView, Trouble> {
        // Whoever stopped the daemon on purpose does not want it started by somebody who watches.
        let all = self.read(false).await?;
        values::operation(self.id.clone(), &all).map_err(refused)
    }

    fn comes_back(&self) -> bool {
        true
    }
}

impl Follower {
    /// Follows this operation.
    pub fn new(connection: zbus::Connection, id: OperationId) -> Follower {
        Follower { connection, id }
    }

    /// Reads for the first time. A daemon that has just been started again, because it died after
    /// it took the request, has its operations on the bus a moment after its name.
    async fn first(&self) -> Result<Dictionary, Trouble> {
        for _ in 0..PUBLISHING_LOOKS {
            match self.read(true).await {
                Err(Trouble::Refused(failure)) if failure.code == Code::NotFound => {
                    // Answered once the state is loaded.
                    properties(&self.connection, MANAGER_PATH, MANAGER_INTERFACE, true).await?;
                    tokio::time::sleep(PUBLISHING_PAUSE).await;
                }
                read => return read,
            }
        }
        self.read(true).await
    }

    async fn read(&self, start: bool) -> Result<Dictionary, Trouble> {
        properties(
            &self.connection,
            &self.id.object_path(),
            OPERATION_INTERFACE,
            start,
        )
        .await
        .map_err(|trouble| about(trouble, &self.id))
    }

    async fn signals(&self) -> Result<MessageStream, Trouble> {
        let path = self.id.object_path();
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal);
        let rule = rule
            .sender(BUS_NAME)
            .and_then(|rule| rule.path(path))
            .map_err(trouble)?;
        subscribe(&self.connection, rule.build()).await
    }

    async fn owners(&self) -> Result<MessageStream, Trouble> {
        let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal);
        let rule = rule
            .sender("org.freedesktop.DBus")
            .and_then(|rule| rule.member("NameOwnerChanged"))
            .and_then(|rule| rule.add_arg(BUS_NAME))
            .map_err(trouble)?;
        subscribe(&self.connection, rule.build()).await
    }
}

async fn subscribe(
    connection: &zbus::Connection,
    rule: MatchRule<'_>,
) -> Result<MessageStream, Trouble> {
    within(
        ANSWER,
        MessageStream::for_match_rule(rule, connection, Some(QUEUE)),
    )
    .await
}

/// Whether the daemon left; one that another took the place of is asked anew.
fn owner_change(signal: Option<zbus::Result<Message>>) -> Result<(), Trouble> {
    let lost = || Trouble::Lost("the bus closed the connection".to_owned());
    let signal = signal.ok_or_else(lost)?.map_err(trouble)?;
    let body = signal.body();
    match body.deserialize::<(&str, &str, &str)>() {
        Ok((_, _, "")) => Err(Trouble::Lost("it left the bus".to_owned())),
        Ok(_) => Ok(()),
        Err(error) => Err(trouble(error)),
    }
}

/// Takes changed properties over; `false` when they have to be read instead.
fn apply(message: &Message, known: &mut Dictionary) -> bool {
    let header = message.header();
    if header.member().map(|name| name.as_str()) != Some("PropertiesChanged") {
        return false;
    }
    match message
        .body()
        .deserialize::<(String, Dictionary, Vec<String>)>()
    {
        Ok((interface, changed, invalidated)) if interface == OPERATION_INTERFACE => {
            known.extend(changed);
            invalidated.is_empty()
        }
        Ok(_) => true,
        Err(_) => false,
    }
}

fn is_final(known: &Dictionary) -> bool {
    let state = known
        .get("State")
        .and_then(|value| value.downcast_ref::<&str>().ok());
    state
        .and_then(|state| state.parse::<OperationState>().ok())
        .is_some_and(|state| state.is_final())
}

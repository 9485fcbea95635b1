//! What systemd says of units, over a connection of its own.
//!
//! The bus is asked for the signals of these units only, so that all others of the machine wake
//! nobody. The connection is not the one of the calls: a signal that nobody has taken yet holds up
//! what comes after it. At first, and whenever signals may have been missed, the states are asked
//! for; by patterns, because asking for a unit by its name loads it, which would be a signal
//! again. systemd that is started anew has another name on the bus, which is heard of; that the
//! connection itself still works is seen at each [`pulse`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use zbus::zvariant::{ObjectPath, Value};
use zbus::{MatchRule, Message, MessageStream};

use super::control::Listed;
use super::link::{
    CALL_DEADLINE, CallError, Link, MANAGER, NAME, PATH, PROPERTIES, UNIT, connect, read, subscribe,
};
use super::properties::path_of;
use crate::host::service::{Hear, Heard, Listening};
use crate::pulse;

/// Signals that may wait while one is answered.
const QUEUED_SIGNALS: usize = 512;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = pulse::PERIOD;
/// Results of jobs that are news; of the others somebody changed their mind.
const BAD: [&str; 3] = ["failed", "timeout", "dependency"];
const BUS: &str = "org.freedesktop.DBus";
const BUS_PATH: &str = "/org/freedesktop/DBus";

/// Listens until it is dropped.
#[derive(Debug)]
pub(super) struct Listener {
    units: watch::Sender<BTreeSet<String>>,
}

impl Listener {
    pub(super) fn start(handle: &tokio::runtime::Handle, hear: Hear) -> Listener {
        let (units, wanted) = watch::channel(BTreeSet::new());
        handle.spawn(listen(wanted, hear));
        Listener { units }
    }
}

impl Listening for Listener {
    fn set(&self, units: BTreeSet<String>) {
        self.units.send_if_modified(|known| {
            let is_new = *known != units;
            *known = units;
            is_new
        });
    }
}

/// Listens until nobody sets units any more.
async fn listen(mut wanted: watch::Receiver<BTreeSet<String>>, hear: Hear) {
    let mut pause = FIRST_PAUSE;
    loop {
        let units = wanted.borrow_and_update().clone();
        let mut follower = Follower::new(&units, &hear);
        let ended = async {
            match units.is_empty() {
                true => std::future::pending().await,
                false => follower.follow().await,
            }
        };
        let ended = tokio::select! {
            ended = ended => ended,
            changed = wanted.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        if follower.is_there {
            pause = FIRST_PAUSE;
        }
        if let Err(error) = ended {
            // Once is enough: a machine without a bus has none a minute later either.
            match pause {
                FIRST_PAUSE => tracing::warn!("cannot hear of units: {}", error.why()),
                _ => tracing::debug!("cannot hear of units: {}", error.why()),
            }
        }
        tokio::select! {
            () = pulse::rest(pause) => {}
            changed = wanted.changed() => if changed.is_err() {
                return;
            },
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// One connection, from its beginning to its end.
struct Follower<'a> {
    units: BTreeMap<String, &'a str>,
    hear: &'a Hear,
    /// Whether it was listening at least once.
    is_there: bool,
}

impl<'a> Follower<'a> {
    fn new(units: &'a BTreeSet<String>, hear: &'a Hear) -> Self {
        Follower {
            units: units.iter().map(|unit| (path_of(unit), &**unit)).collect(),
            hear,
            is_there: false,
        }
    }

    async fn follow(&mut self) -> Result<(), CallError> {
        let mut link = connect().await?;
        link.0.set_max_queued(QUEUED_SIGNALS);
        let mut messages = MessageStream::from(&link.0);
        for rule in self.rules()? {
            let body = (rule.to_string(),);
            bus(&link, "AddMatch", &body).await?;
        }
        self.tell_states(&link).await?;
        self.is_there = true;
        loop {
            tokio::select! {
                message = messages.next() => {
                    let lost = || CallError::Lost("the connection ended".to_owned());
                    self.take(&link, &message.ok_or_else(lost)??).await?;
                }
                () = pulse::next() => drop(bus(&link, "GetId", &()).await?),
            }
        }
    }

    fn rules(&self) -> zbus::Result<Vec<MatchRule<'_>>> {
        let of = |member: &'static str, interface: &'static str| {
            let rule = MatchRule::builder().msg_type(zbus::message::Type::Signal);
            rule.interface(interface)?.member(member)
        };
        let lives = of("NameOwnerChanged", BUS)?.sender(BUS)?.add_arg(NAME)?;
        let mut rules = vec![lives.build()];
        for (path, unit) in &self.units {
            let changed = of("PropertiesChanged", PROPERTIES)?.path(path.as_str())?;
            rules.push(changed.sender(NAME)?.add_arg(UNIT)?.build());
            let ended = of("JobRemoved", MANAGER)?.path(PATH)?.sender(NAME)?;
            rules.push(ended.arg(2, *unit)?.build());
            // Others stay loaded as long as something wants them.
            if unit.ends_with(".mount") || unit.ends_with(".device") {
                for member in ["UnitNew", "UnitRemoved"] {
                    let rule = of(member, MANAGER)?.path(PATH)?.sender(NAME)?;
                    rules.push(rule.add_arg(*unit)?.build());
                }
            }
        }
        Ok(rules)
    }

    async fn take(&self, link: &Link, message: &Message) -> Result<(), CallError> {
        let header = message.header();
        if message.message_type() != zbus::message::Type::Signal {
            return Ok(());
        }
        let body = message.body();
        match header.member().map(|member| member.as_str()) {
            Some("PropertiesChanged") => {
                let unit = header.path().and_then(|path| self.units.get(path.as_str()));
                let read = body.deserialize::<(&str, BTreeMap<&str, Value<'_>>, Vec<&str>)>();
                if let (Some(unit), Ok((_, mut changed, _))) = (unit, read)
                    && let Some(Value::Str(active)) = changed.remove("ActiveState")
                {
                    self.tell(unit, active.as_str());
                }
            }
            Some("JobRemoved") => {
                let read = body.deserialize::<(u32, ObjectPath<'_>, &str, &str)>();
                if let Ok((_, _, unit, result)) = read
                    && BAD.contains(&result)
                {
                    let (unit, result) = (unit.to_owned(), result.to_owned());
                    (self.hear)(Heard::JobFailed { unit, result });
                }
            }
            Some("UnitRemoved") => {
                if let Ok((unit, _)) = body.deserialize::<(&str, ObjectPath<'_>)>() {
                    self.tell(unit, "inactive");
                }
            }
            Some("UnitNew") => self.tell_states(link).await?,
            Some("NameOwnerChanged") => {
                let read = body.deserialize::<(&str, &str, &str)>();
                if read.is_ok_and(|(_, _, owner)| !owner.is_empty()) {
                    subscribe(link).await?;
                    self.tell_states(link).await?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn tell(&self, unit: &str, active: &str) {
        let (unit, active) = (unit.to_owned(), active.to_owned());
        (self.hear)(Heard::State { unit, active });
    }

    async fn tell_states(&self, link: &Link) -> Result<(), CallError> {
        let states: &[&str] = &[];
        // Backslashes, which names may have, stand for themselves there.
        let patterns: Vec<&str> = self.units.values().copied().collect();
        let body = (states, patterns);
        let method = "ListUnitsByPatterns";
        let reply = link.call(PATH, MANAGER, method, &body, CALL_DEADLINE);
        let listed: Vec<Listed> = read(&reply.await?)?;
        let listed: BTreeMap<String, String> = listed
            .into_iter()
            .map(|(name, _, _, active, ..)| (name, active))
            .collect();
        for unit in self.units.values() {
            self.tell(unit, listed.get(*unit).map_or("inactive", |it| it));
        }
        Ok(())
    }
}

async fn bus<B>(link: &Link, method: &str, body: &B) -> Result<Message, CallError>
where
    B: serde::Serialize + zbus::zvariant::DynamicType + Sync,
{
    let call = link
        .0
        .call_method(Some(BUS), BUS_PATH, Some(BUS), method, body);
    match tokio::time::timeout(CALL_DEADLINE, call).await {
        Ok(reply) => Ok(reply?),
        Err(_) => Err(CallError::Silent(CALL_DEADLINE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_these_units_are_asked_for() {
        let units = [
            "nix.mount",
            "dev-disk-by\\x2duuid-a.device",
            "nix-daemon.socket",
        ];
        let units = units.map(str::to_owned).into();
        let hear: Hear = Box::new(|_| {});
        let follower = Follower::new(&units, &hear);
        let rules: Vec<String> = follower
            .rules()
            .unwrap()
            .iter()
            .map(MatchRule::to_string)
            .collect();
        assert_eq!(rules.len(), 1 + 2 + 4 + 4);
        let narrow = |rule: &String| {
            rule.contains("path='/org/freedesktop/systemd1/unit/")
                || rule.contains("arg0='org.freedesktop.systemd1'")
                || units.iter().any(|unit| rule.contains(unit.as_str()))
        };
        assert!(rules.iter().all(narrow), "{rules:#?}");
    }
}

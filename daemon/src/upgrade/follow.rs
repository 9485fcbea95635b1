//! `[system] follow`: what a believed feed names for this machine's group, and what that means here.
//! Pure.
//!
//! Level-triggered: it is decided anew each time from what the feed names and what runs, never from
//! what has happened; so a crash, a restart or a feed that was away for a while changes nothing. What
//! is remembered are only reasons not to go: a generation that failed here rests and is abandoned as a
//! release does (see [`super::ladder`]), and one that somebody went back from is left alone, both
//! until the feed names another.

use std::fmt;

use nixctl_proto::OperationId;
use nixctl_proto::feed::Feed;
use nixctl_proto::request::SwitchRequest;
use serde::{Deserialize, Serialize};

use super::autopilot::Tried;
use super::hold::Hold;
use super::ladder::{Failed, Ladders, Verdict};
use crate::health::look::upgrade::Trouble;
use crate::health::timeline::At;

/// What the ladder knows generations by.
const PRODUCT: &str = "system";

/// The generation that a feed names for this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goal {
    /// Store path of the toplevel.
    pub toplevel: String,
    /// URL of the binary cache that has it; `None`: one of the machine's own.
    pub from: Option<String>,
}

impl Goal {
    /// The request to go there.
    pub fn request(&self) -> SwitchRequest {
        SwitchRequest {
            toplevel: self.toplevel.clone(),
            from: self.from.clone(),
            ..SwitchRequest::default()
        }
    }
}

/// Why a feed names nothing for this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unnamed {
    /// The settings do not say which group it is of.
    NoGroup,
    /// There is none for the group.
    UnknownGroup(String),
    /// The feed is not valid any more.
    Expired,
}

impl fmt::Display for Unnamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unnamed::NoGroup => f.write_str("the settings name no `system.group`"),
            Unnamed::UnknownGroup(group) => {
                write!(f, "the feed names no generation for the group {group}")
            }
            Unnamed::Expired => f.write_str("the feed has expired"),
        }
    }
}

/// What is known now.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The feed that was believed since the daemon began.
    pub feed: Option<&'a Feed>,
    /// The group of this machine; empty: none.
    pub group: &'a str,
    /// Now, in seconds since 1970.
    pub now: u64,
    /// The generation that runs.
    pub runs: &'a str,
    /// The generation that an operation at work goes to.
    pub on_the_way_to: Option<&'a str>,
}

/// What a feed means for this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Standing {
    /// It was not read since the daemon began.
    #[default]
    Unread,
    /// It names nothing.
    Unnamed(Unnamed),
    /// The machine runs what it names.
    There(Goal),
    /// An operation goes there.
    UnderWay(Goal),
    /// The machine runs something else.
    Away(Goal),
}

/// What the feed means here.
pub fn standing(facts: &Facts<'_>) -> Standing {
    let Some(feed) = facts.feed else {
        return Standing::Unread;
    };
    if facts.group.is_empty() {
        return Standing::Unnamed(Unnamed::NoGroup);
    }
    if facts.now >= feed.expires.seconds() {
        return Standing::Unnamed(Unnamed::Expired);
    }
    let Some(target) = feed.targets.get(facts.group) else {
        return Standing::Unnamed(Unnamed::UnknownGroup(facts.group.to_owned()));
    };
    let goal = Goal {
        toplevel: target.toplevel.clone(),
        from: target.from.clone(),
    };
    match facts.on_the_way_to {
        Some(path) if path == goal.toplevel => Standing::UnderWay(goal),
        None if facts.runs == goal.toplevel => Standing::There(goal),
        _ => Standing::Away(goal),
    }
}

impl Standing {
    /// What the feed names.
    pub fn goal(&self) -> Option<&Goal> {
        match self {
            Standing::There(goal) | Standing::UnderWay(goal) | Standing::Away(goal) => Some(goal),
            Standing::Unread | Standing::Unnamed(_) => None,
        }
    }

    /// Short and stable, for programs. `hold`: what holds going there.
    pub fn kind(&self, hold: Option<&Hold>) -> &'static str {
        match self {
            Standing::Unread => "unread",
            Standing::Unnamed(_) => "unnamed",
            Standing::There(_) => "there",
            Standing::UnderWay(_) => "under-way",
            Standing::Away(_) if hold.is_some() => "held",
            Standing::Away(_) => "due",
        }
    }

    /// The same for people.
    pub fn words(&self, hold: Option<&Hold>) -> String {
        match (self, hold) {
            (Standing::Unread, _) => "the feed was not read yet".to_owned(),
            (Standing::Unnamed(why), _) => why.to_string(),
            (Standing::There(goal), _) => format!("{} runs", goal.toplevel),
            (Standing::UnderWay(goal), _) => format!("{} is on its way", goal.toplevel),
            (Standing::Away(goal), None) => format!("{} is due", goal.toplevel),
            (Standing::Away(goal), Some(hold)) => format!("{} waits: {hold}", goal.toplevel),
        }
    }

    /// Why the machine does not get there by waiting; `None`: it does, or is there.
    pub fn blocked(&self, hold: Option<&Hold>) -> Option<String> {
        match (self, hold) {
            // Of a feed out of its time there is another finding.
            (Standing::Unnamed(why @ (Unnamed::NoGroup | Unnamed::UnknownGroup(_))), _) => {
                Some(why.to_string())
            }
            (Standing::Away(_), Some(hold @ (Hold::Ladder { .. } | Hold::Abandoned { .. }))) => {
                Some(hold.to_string())
            }
            _ => None,
        }
    }
}

/// What is remembered over restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Failures here.
    pub ladders: Ladders,
    /// The switch that was begun last without a hand, until its end is noted.
    pub tried: Option<Tried>,
    /// The generation that was named and that somebody went away from; empty: nobody did.
    pub left: String,
    /// What was named last.
    pub goal: Option<Goal>,
    /// Why the feed was not gone by last.
    pub trouble: Option<Trouble>,
}

/// How a switch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End<'a> {
    /// The machine runs this now.
    At(&'a str),
    /// The same, because the one that it was booted into was not healthy.
    BackAfterBoot,
    /// A newer one has taken its place.
    Superseded,
    /// It failed, and why.
    Failed(Failed<'a>),
}

impl Memory {
    /// Notes what the feed names now. True: that is to be stored.
    #[must_use]
    pub fn sees(&mut self, goal: Option<&Goal>) -> bool {
        let Some(goal) = goal else {
            return false;
        };
        if self.goal.as_ref() == Some(goal) {
            return false;
        }
        // The same path from another cache is what was left and what failed still.
        if self.left != goal.toplevel {
            self.left.clear();
        }
        self.goal = Some(goal.clone());
        true
    }

    /// Whether a generation may be gone to without a hand, by what became of earlier tries.
    pub fn judge(&self, toplevel: &str, at: At) -> Verdict {
        if self.left == toplevel {
            let why = "somebody went away from it".to_owned();
            return Verdict::Abandoned { why };
        }
        self.ladders.judge(PRODUCT, toplevel, false, at)
    }

    /// Notes how a switch ended that was begun by the daemon or by somebody. True: that is to be stored.
    #[must_use]
    pub fn ended(&mut self, id: &OperationId, end: End<'_>, at: At) -> bool {
        let is_ours = |tried: &mut Tried| tried.operation == *id;
        let tried = self.tried.take_if(is_ours);
        let goal = self.goal.as_ref().map(|goal| goal.toplevel.clone());
        match (end, &tried, goal) {
            (End::Failed(why), Some(tried), _) => {
                let failed = &tried.version;
                self.ladders.failed(PRODUCT, failed, false, why, at);
            }
            (End::BackAfterBoot, _, Some(goal)) => {
                let why = "the machine was not healthy after a boot into it";
                self.ladders.failed(PRODUCT, &goal, true, why, at);
            }
            // Or it would be begun again and again.
            (End::At(path), Some(tried), _) if path != tried.version => {
                let why = format!("afterwards the machine runs {path}");
                let failed = &tried.version;
                self.ladders.failed(PRODUCT, failed, false, &*why, at);
            }
            (End::At(path), _, Some(goal)) if path == goal => {
                self.left.clear();
                let _ = self.ladders.worked(PRODUCT);
            }
            (End::At(_), None, Some(goal)) => self.left = goal,
            (End::At(_) | End::Superseded | End::Failed(_) | End::BackAfterBoot, tried, _) => {
                return tried.is_some();
            }
        }
        true
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;

//! What the system follows, for those who ask.

use nixctl_proto::settings::Settings;

use super::super::handle::{Shared, lock};
use super::{Following, follows};
use crate::health::look::upgrade::FollowFacts;
use crate::payload::url::redact;
use crate::upgrade::reading::Source;

impl Following {
    /// Whether what is known is of the feed and the group of the settings.
    fn is_of(&self, settings: &Settings) -> bool {
        let source = (Source::of_system(settings), settings.system.group.clone());
        self.source.as_ref().is_none_or(|it| *it == source)
    }

    fn group_and(&self, settings: &Settings, words: &str) -> String {
        match settings.system.group.as_str() {
            "" => words.to_owned(),
            group => format!("{group}: {words}"),
        }
    }
}

impl Shared {
    /// In words, and as a word; both empty where nothing is followed.
    pub(in super::super) fn follow_status(&self, settings: &Settings) -> (String, String) {
        if !follows(settings) {
            return Default::default();
        }
        let following = lock(&self.following);
        let hold = following.held();
        let mut words = following.standing.words(hold);
        if let Some(trouble) = &following.memory.trouble {
            words = format!("{words}; {}", trouble.message);
        }
        let kind = following.standing.kind(hold).to_owned();
        (following.group_and(settings, &words), kind)
    }

    /// Group, state and generation for a monitoring system.
    pub(in super::super) fn follow_labels(&self, settings: &Settings) -> Option<[String; 3]> {
        if !follows(settings) {
            return None;
        }
        let following = lock(&self.following);
        let state = following.standing.kind(following.held()).to_owned();
        let goal = following.standing.goal();
        let toplevel = goal.map_or_else(String::new, |it| it.toplevel.clone());
        Some([settings.system.group.clone(), state, toplevel])
    }

    /// For findings. That the feed of releases is in trouble is found already.
    pub(in super::super) fn follow_facts(&self, settings: &Settings) -> FollowFacts {
        let following = lock(&self.following);
        if !follows(settings) || !following.is_of(settings) {
            return FollowFacts::default();
        }
        let source = Source::of_system(settings);
        let is_shared = settings.upgrade.follows() && source == Source::of_releases(settings);
        FollowFacts {
            feed: match is_shared {
                true => String::new(),
                false => redact(&source.url),
            },
            trouble: following.memory.trouble.clone(),
            group: settings.system.group.clone(),
            blocked: following.standing.blocked(following.held()),
        }
    }
}

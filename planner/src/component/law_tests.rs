//! What must hold of every cut, of generations put together at random.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::testing::{Pair, summary};
use super::{ComponentId, Cut};
use crate::closure::{Graph, PathSet, StorePath};
use crate::order;

const PLACES: [&str; 22] = [
    "systemd/system/a.service",
    "systemd/system/a.socket",
    "systemd/system/b.service",
    "systemd/system/b@.service",
    "systemd/system/b@x.y.timer",
    "systemd/system/c.service",
    "systemd/system/c.service.d/x.conf",
    "systemd/system/d.mount",
    "systemd/system/service.d/x.conf",
    "link:systemd/system/e.service",
    "link:systemd/system/sysinit.target.wants/c.service",
    "own:systemd/system/f.service",
    "systemd/odd",
    "a/conf",
    "c/conf",
    "own:fonts/x",
    "passwd",
    "sysusers.d/x.conf",
    "tmpfiles.d/x.conf",
    "rest:activate",
    "sw:hello-1",
    "sw:hello-2",
];

const TEXTS: [&str; 16] = [
    "",
    "[Service]\nExecStart=@nginx-1@/x -c /etc/a/conf",
    "[Service]\nExecStart=~redis-1~/x\nUser=u",
    "[Unit]\nRequires=b.service\n[Service]\nExecStart=@redis-1@/x",
    "[Unit]\nRequires=a.service c.service\n[Service]\nRuntimeDirectory=c",
    "[Unit]\nBindsTo=c.service",
    "[Unit]\nPartOf=a.service\nRequires=d.mount",
    "[Unit]\nDefaultDependencies=no",
    "[Unit\n broken",
    "[Socket]\nService=b.service",
    "/dev/null",
    "a.service",
    "u:x:1:1::/:/x\nu u - -\nd /run/c 0755 u u -",
    "u:x:2:2::/:/x\nu v - -\nd /run/c 0700 u u -",
    "see /etc/c/conf @glibc-9@ ~glibc-9~",
    "/nix/store/00000000000000000000000000000000-not-there",
];

type Drawn = Vec<(usize, usize)>;

fn parts(drawn: &Drawn) -> Vec<(&'static str, &'static str)> {
    drawn
        .iter()
        .map(|(place, text)| (PLACES[*place], TEXTS[*text]))
        .collect()
}

fn drawn() -> impl Strategy<Value = Drawn> {
    prop::collection::vec((0..PLACES.len(), 0..TEXTS.len()), 0..14)
}

/// A pair in which one is the other with some parts exchanged, and pairs that share nothing.
fn pairs() -> impl Strategy<Value = (Drawn, Drawn)> {
    prop_oneof![
        (drawn(), drawn()),
        (drawn(), drawn()).prop_map(|(old, other)| {
            let mut new = old.clone();
            new.truncate(old.len() / 2 + 1);
            new.extend(other.into_iter().take(4));
            (old, new)
        })
    ]
}

fn is_closed(graph: &Graph, set: &PathSet) -> bool {
    graph.closure_of_ids(set.iter()).unwrap() == *set
}

fn covered(cut: &Cut, of: impl Fn(&Cut) -> PathSet, last: &PathSet) -> PathSet {
    let mut all = of(cut);
    all.add_all(&cut.keep);
    all.add_all(last);
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn no_path_is_lost((old, new) in pairs()) {
        let pair = Pair::of(&parts(&old), &parts(&new));
        let cut = pair.cut();
        let union = |pick: fn(&super::Component) -> &PathSet| {
            let mut all = PathSet::new();
            for component in &cut.components {
                all.add_all(pick(component));
            }
            all
        };
        let old = covered(&cut, |_| union(|it| &it.old.paths), &cut.last.old);
        let new = covered(&cut, |_| union(|it| &it.new.paths), &cut.last.new);
        prop_assert!(cut.old_closure.is_subset(&old));
        prop_assert!(cut.new_closure.is_subset(&new));
        // And nothing is invented.
        let both = cut.old_closure.union(&cut.new_closure);
        prop_assert!(old.is_subset(&both) && new.is_subset(&both));
        prop_assert!(union(|it| &it.old.paths).is_subset(&cut.old_closure));
        prop_assert!(cut.last.new.is_subset(&cut.new_closure));
    }

    #[test]
    fn what_a_component_needs_is_in_it((old, new) in pairs()) {
        let pair = Pair::of(&parts(&old), &parts(&new));
        let cut = pair.cut();
        for component in &cut.components {
            prop_assert!(is_closed(&pair.graph, &component.old.paths), "{}", component.id);
            prop_assert!(is_closed(&pair.graph, &component.new.paths), "{}", component.id);
        }
        prop_assert!(is_closed(&pair.graph, &cut.keep));
        for (toplevel, last) in [(&pair.old, &cut.last.old), (&pair.new, &cut.last.new)] {
            let scaffold: PathSet =
                toplevel.scaffold.iter().map(|path| pair.graph.id(path).unwrap()).collect();
            prop_assert!(is_closed(&pair.graph, &last.difference(&scaffold)));
        }
    }

    #[test]
    fn every_piece_is_in_one_place((old, new) in pairs()) {
        let cut = Pair::of(&parts(&old), &parts(&new)).cut();
        let mut seen: BTreeSet<&ComponentId> = BTreeSet::new();
        let components = cut.components.iter().map(|it| &it.id);
        let deferred = cut.last.deferred.iter().map(|it| &it.id);
        for id in components.chain(deferred).chain(&cut.unchanged) {
            prop_assert!(seen.insert(id), "{id} twice");
        }
        let free: BTreeSet<&ComponentId> = cut.components.iter().map(|it| &it.id).collect();
        let mut group_of: BTreeMap<&ComponentId, usize> = BTreeMap::new();
        for (number, group) in cut.groups.iter().enumerate() {
            prop_assert!(!group.reasons.is_empty() && group.members.len() > 1);
            for id in &group.members {
                prop_assert!(free.contains(id) && group_of.insert(id, number).is_none(), "{id}");
            }
        }
        // The order of groups goes round nowhere: they can be taken off one after the other.
        let leader = |id: &ComponentId| match group_of.get(id) {
            Some(number) => cut.groups[*number].members[0].clone(),
            None => id.clone(),
        };
        let mut edges: BTreeSet<(ComponentId, ComponentId)> = BTreeSet::new();
        for after in &cut.after {
            prop_assert!(free.contains(&after.id) && free.contains(&after.after));
            edges.insert((leader(&after.after), leader(&after.id)));
        }
        while !edges.is_empty() {
            let later: BTreeSet<_> = edges.iter().map(|(_, then)| then.clone()).collect();
            let before = edges.len();
            edges.retain(|(first, _)| later.contains(first));
            prop_assert!(edges.len() < before, "{edges:?}");
        }
    }

    #[test]
    fn nothing_changes_between_equals(old in drawn()) {
        let pair = Pair::of(&parts(&old), &[]);
        let cut = super::cut(&pair.graph, &pair.old, &pair.old).unwrap();
        prop_assert!(cut.components.is_empty() && cut.last.deferred.is_empty());
        prop_assert_eq!(&cut.last.old, &cut.last.new);
    }

    #[test]
    fn every_cut_can_be_ordered((old, new) in pairs()) {
        let pair = Pair::of(&parts(&old), &parts(&new));
        let cut = pair.cut();
        let of_cut = cut.instance(&pair.graph, None, &PathSet::new());
        let instance = order::Instance::from(of_cut.clone());
        prop_assert_eq!(instance.components.len(), of_cut.components.len());
        for (as_cut, as_order) in of_cut.components.iter().zip(&instance.components) {
            let names = |ids: &[order::PathId]| -> Vec<String> {
                ids.iter().map(|id| instance.name(*id).to_owned()).collect()
            };
            let texts = |paths: &[StorePath]| -> Vec<String> {
                paths.iter().map(ToString::to_string).collect()
            };
            prop_assert_eq!(as_cut.id.as_str(), as_order.id.as_str());
            prop_assert_eq!(as_cut.is_final, as_order.is_final);
            prop_assert_eq!(names(&as_order.old), texts(&as_cut.old));
            prop_assert_eq!(names(&as_order.new), texts(&as_cut.new));
        }
        prop_assert_eq!(instance.keep.len(), of_cut.keep.len());
        let plan = order::plan(&instance, &order::Options::default()).unwrap();
        prop_assert_eq!(order::check(&instance, &plan), Vec::<String>::new());
        // Nothing before the first step is fetched twice, nothing after the last one is missing.
        let all = pair.graph.size(&cut.old_closure.union(&cut.new_closure));
        prop_assert!(plan.peak <= all, "{} > {all}", plan.peak);
        prop_assert!(plan.peak >= pair.graph.size(&cut.old_closure));
    }

    #[test]
    fn the_same_facts_give_the_same_cut((old, new) in pairs()) {
        let pair = Pair::of(&parts(&old), &parts(&new));
        let (one, two) = (pair.cut(), pair.cut());
        prop_assert_eq!(summary(&one), summary(&two));
        let instance = |cut: &Cut| cut.instance(&pair.graph, None, &PathSet::new());
        prop_assert_eq!(instance(&one), instance(&two));
    }
}

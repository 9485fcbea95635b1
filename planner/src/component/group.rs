//! Groups and what waits, from the rules: what changes together and has nobody who waits in it is a
//! group; what is tied to something that waits, waits too.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::link::{Link, Order, Rules};
use super::piece::ComponentId;
use super::reason::{DeferReason, LinkReason};

/// Components that change together, at least two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The components, sorted.
    pub members: Vec<ComponentId>,
    /// Why, each reason once.
    pub reasons: Vec<LinkReason>,
}

/// A component that changes only after another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct After {
    /// The later one.
    pub id: ComponentId,
    /// The earlier one.
    pub after: ComponentId,
    /// The unit that needs the other one.
    pub unit: String,
    /// What it needs.
    pub needed: String,
}

/// What follows from the rules for the pieces that change.
#[derive(Debug, Default)]
pub(super) struct Grouping {
    pub groups: Vec<Group>,
    pub after: Vec<After>,
    pub deferred: BTreeMap<ComponentId, DeferReason>,
}

/// Groups the pieces that change.
pub(super) fn group(changed: &BTreeSet<ComponentId>, rules: &Rules) -> Grouping {
    let deferred = deferred(changed, rules);
    let free: BTreeSet<&ComponentId> = changed
        .iter()
        .filter(|id| !deferred.contains_key(*id))
        .collect();
    let mut leaders = Leaders::of(&free);
    let mut links: Vec<Link> = rules
        .links
        .iter()
        .filter(|link| free.contains(&link.a) && free.contains(&link.b))
        .cloned()
        .collect();
    for link in &links {
        leaders.join(&link.a, &link.b);
    }
    let orders: Vec<&Order> = rules
        .orders
        .iter()
        .filter(|order| free.contains(&order.first) && free.contains(&order.then))
        .collect();
    links.extend(join_circles(&mut leaders, &orders));
    Grouping {
        groups: groups(&leaders, &links),
        after: after(&leaders, &orders),
        deferred,
    }
}

/// What waits: because of what it is, tied to what waits, or after it.
fn deferred(changed: &BTreeSet<ComponentId>, rules: &Rules) -> BTreeMap<ComponentId, DeferReason> {
    let mut waiting = rules.deferred.clone();
    // Something that stays as it is passes on only that it waits itself.
    let mut open: Vec<ComponentId> = waiting.keys().cloned().collect();
    let mut neighbours: BTreeMap<&ComponentId, Vec<(&ComponentId, DeferReason)>> = BTreeMap::new();
    for link in &rules.links {
        for (from, to) in [(&link.a, &link.b), (&link.b, &link.a)] {
            let reason = DeferReason::With {
                id: from.clone(),
                link: link.reason.clone(),
            };
            neighbours.entry(from).or_default().push((to, reason));
        }
    }
    for order in &rules.orders {
        let reason = if changed.contains(&order.first) {
            DeferReason::AfterFinal {
                id: order.first.clone(),
            }
        } else {
            continue;
        };
        let later = (&order.then, reason);
        neighbours.entry(&order.first).or_default().push(later);
    }
    while let Some(id) = open.pop() {
        for (to, reason) in neighbours.get(&id).into_iter().flatten() {
            if changed.contains(*to) && !waiting.contains_key(*to) {
                waiting.insert((*to).clone(), reason.clone());
                open.push((*to).clone());
            }
        }
    }
    waiting.retain(|id, _| changed.contains(id));
    waiting
}

/// Joins groups of which each must come before the other; says what was joined.
fn join_circles(leaders: &mut Leaders, orders: &[&Order]) -> Vec<Link> {
    let mut later: Edges = BTreeMap::new();
    let mut earlier: Edges = BTreeMap::new();
    for order in orders {
        let (first, then) = (leaders.find(&order.first), leaders.find(&order.then));
        later.entry(first.clone()).or_default().insert(then.clone());
        earlier.entry(then).or_default().insert(first);
    }
    // Two groups are in one circle when each is reached from the other: Kosaraju's two walks.
    let mut circle: BTreeMap<ComponentId, usize> = BTreeMap::new();
    for (number, start) in finished(&later).into_iter().rev().enumerate() {
        let mut open = vec![start];
        while let Some(id) = open.pop() {
            if let Entry::Vacant(place) = circle.entry(id) {
                open.extend(earlier.get(place.key()).into_iter().flatten().cloned());
                place.insert(number);
            }
        }
    }
    let mut joined = Vec::new();
    for order in orders {
        let (first, then) = (leaders.find(&order.first), leaders.find(&order.then));
        if first != then && circle.get(&first) == circle.get(&then) {
            joined.push((*order).clone());
        }
    }
    for order in &joined {
        leaders.join(&order.first, &order.then);
    }
    joined.into_iter().map(circle_link).collect()
}

type Edges = BTreeMap<ComponentId, BTreeSet<ComponentId>>;

/// All ids, each after those that it leads to, as far as there is no circle.
fn finished(edges: &Edges) -> Vec<ComponentId> {
    let mut seen: BTreeSet<&ComponentId> = BTreeSet::new();
    let mut done = Vec::new();
    for start in edges.keys() {
        // `true` once what it leads to was pushed.
        let mut open = vec![(start, false)];
        while let Some((id, led)) = open.pop() {
            if led {
                done.push(id.clone());
            } else if seen.insert(id) {
                open.push((id, true));
                let next = edges.get(id).into_iter().flatten();
                open.extend(next.map(|next| (next, false)));
            }
        }
    }
    done
}

fn circle_link(order: Order) -> Link {
    let (id, other) = if order.first <= order.then {
        (order.first, order.then)
    } else {
        (order.then, order.first)
    };
    Link {
        a: id.clone(),
        b: other.clone(),
        reason: LinkReason::Circle { id, other },
    }
}

fn groups(leaders: &Leaders, links: &[Link]) -> Vec<Group> {
    let mut groups: BTreeMap<ComponentId, Group> = BTreeMap::new();
    for id in leaders.0.keys() {
        let group = groups.entry(leaders.find(id)).or_insert_with(|| Group {
            members: Vec::new(),
            reasons: Vec::new(),
        });
        group.members.push(id.clone());
    }
    for link in links {
        if let Some(group) = groups.get_mut(&leaders.find(&link.a))
            && !group.reasons.contains(&link.reason)
        {
            group.reasons.push(link.reason.clone());
        }
    }
    groups
        .into_values()
        .filter(|group| group.members.len() > 1)
        .collect()
}

fn after(leaders: &Leaders, orders: &[&Order]) -> Vec<After> {
    orders
        .iter()
        .filter(|order| leaders.find(&order.first) != leaders.find(&order.then))
        .map(|order| After {
            id: order.then.clone(),
            after: order.first.clone(),
            unit: order.unit.clone(),
            needed: order.needed.clone(),
        })
        .collect()
}

/// Disjoint sets, each led by its first member.
struct Leaders(BTreeMap<ComponentId, ComponentId>);

impl Leaders {
    fn of(ids: &BTreeSet<&ComponentId>) -> Self {
        Leaders(
            ids.iter()
                .map(|id| ((*id).clone(), (*id).clone()))
                .collect(),
        )
    }

    fn find(&self, id: &ComponentId) -> ComponentId {
        let mut id = id;
        while let Some(leader) = self.0.get(id).filter(|leader| *leader != id) {
            id = leader;
        }
        id.clone()
    }

    fn join(&mut self, a: &ComponentId, b: &ComponentId) {
        let (a, b) = (self.find(a), self.find(b));
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        // Already led by itself when they are equal.
        self.0.insert(second, first);
    }
}

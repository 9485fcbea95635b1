//! Groups: components that can only flip together, and which group must not flip before which.
//!
//! `with` joins, transitively. `after` says "not before": two groups that are each after the other
//! therefore flip together, and so does whatever must not flip before the final ones.

use std::collections::HashMap;

use super::instance::Instance;

/// What flips as one, with the order between them.
#[derive(Debug, Default)]
pub struct Groups {
    /// Components of each group, ascending; groups by their first component.
    pub members: Vec<Vec<usize>>,
    /// For each group, the groups that must not flip later.
    pub before: Vec<Vec<u32>>,
    /// The group of the final components.
    pub last: Option<usize>,
}

impl Groups {
    /// The groups of an instance that is valid.
    pub fn new(instance: &Instance) -> Groups {
        let components = &instance.components;
        let numbers: HashMap<&str, usize> = components
            .iter()
            .enumerate()
            .map(|(index, component)| (component.id.as_str(), index))
            .collect();
        let named = |ids: &[String]| -> Vec<usize> {
            ids.iter()
                .filter_map(|id| numbers.get(id.as_str()).copied())
                .collect()
        };
        let mut union = Union::new(components.len());
        let mut first_final = None;
        for (index, component) in components.iter().enumerate() {
            for other in named(&component.with) {
                union.join(index, other);
            }
            if component.is_final {
                union.join(index, *first_final.get_or_insert(index));
            }
        }
        let after: Vec<Vec<usize>> = components.iter().map(|c| named(&c.after)).collect();
        join_cycles(&mut union, &after, first_final);
        collect(&mut union, &after, first_final)
    }
}

/// Joins the groups that are after each other. The final group is after every other.
fn join_cycles(union: &mut Union, after: &[Vec<usize>], first_final: Option<usize>) {
    let groups = collect(union, after, first_final);
    let mut edges = groups.before.clone();
    if let Some(last) = groups.last {
        edges[last] = (0u32..).take(edges.len()).collect();
    }
    for cycle in strongly_connected(&edges) {
        for &group in &cycle[1..] {
            union.join(groups.members[cycle[0]][0], groups.members[group][0]);
        }
    }
}

fn collect(union: &mut Union, after: &[Vec<usize>], first_final: Option<usize>) -> Groups {
    let mut number_of: HashMap<usize, usize> = HashMap::new();
    let mut groups = Groups::default();
    let mut group_of = Vec::with_capacity(after.len());
    for index in 0..after.len() {
        let number = *number_of
            .entry(union.root(index))
            .or_insert(groups.members.len());
        if number == groups.members.len() {
            groups.members.push(Vec::new());
        }
        groups.members[number].push(index);
        group_of.push(number);
    }
    groups.before = vec![Vec::new(); groups.members.len()];
    for (index, earlier) in after.iter().enumerate() {
        let group = group_of[index];
        let others = earlier.iter().map(|&other| group_of[other]);
        groups.before[group].extend(others.filter(|&other| other != group).map(|g| g as u32));
    }
    for before in &mut groups.before {
        before.sort_unstable();
        before.dedup();
    }
    groups.last = first_final.map(|index| group_of[index]);
    groups
}

/// Sets of numbers that are joined.
struct Union(Vec<usize>);

impl Union {
    fn new(count: usize) -> Union {
        Union((0..count).collect())
    }

    fn root(&mut self, mut index: usize) -> usize {
        while self.0[index] != index {
            self.0[index] = self.0[self.0[index]];
            index = self.0[index];
        }
        index
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// Tarjan's strongly connected components, without recursion: an instance may be deep.
fn strongly_connected(edges: &[Vec<u32>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let mut found = Vec::new();
    let mut index = vec![NEW; edges.len()];
    let mut low = vec![0; edges.len()];
    let mut open = vec![false; edges.len()];
    let (mut stack, mut next) = (Vec::new(), 0);
    for start in 0..edges.len() {
        let mut calls = Vec::new();
        if index[start] == NEW {
            calls.push((start, 0));
        }
        while let Some((node, edge)) = calls.pop() {
            if edge == 0 {
                (index[node], low[node]) = (next, next);
                next += 1;
                stack.push(node);
                open[node] = true;
            } else {
                let child = edges[node][edge - 1] as usize;
                low[node] = low[node].min(low[child]);
            }
            let mut child = None;
            for (place, &to) in edges[node].iter().enumerate().skip(edge) {
                let to = to as usize;
                if index[to] == NEW {
                    child = Some((place, to));
                    break;
                }
                if open[to] {
                    low[node] = low[node].min(index[to]);
                }
            }
            if let Some((place, to)) = child {
                calls.push((node, place + 1));
                calls.push((to, 0));
            } else if low[node] == index[node] {
                let at = stack.iter().rposition(|&other| other == node).unwrap_or(0);
                let cycle = stack.split_off(at);
                cycle.iter().for_each(|&member| open[member] = false);
                found.push(cycle);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::Component;

    /// Components `a`, `b`, ... written as `a with b after c final`.
    fn groups(components: &[&str]) -> Groups {
        let mut instance = Instance::default();
        for text in components {
            let mut component = Component::default();
            let mut words = text.split(' ');
            component.id = words.next().unwrap().to_owned();
            while let Some(word) = words.next() {
                match word {
                    "with" => component.with.push(words.next().unwrap().to_owned()),
                    "after" => component.after.push(words.next().unwrap().to_owned()),
                    _ => component.is_final = true,
                }
            }
            instance.components.push(component);
        }
        Groups::new(&instance)
    }

    type Case<'a> = (&'a [&'a str], &'a [&'a [usize]], Option<usize>);

    #[test]
    fn what_flips_together() {
        let table: [Case<'_>; 8] = [
            (&[], &[], None),
            (&["a", "b"], &[&[0], &[1]], None),
            (
                &["a", "b with c", "c", "d with b"],
                &[&[0], &[1, 2, 3]],
                None,
            ),
            (&["a after b", "b after a", "c"], &[&[0, 1], &[2]], None),
            (
                &["a after b", "b after c", "c after a", "d after c"],
                &[&[0, 1, 2], &[3]],
                None,
            ),
            (&["a final", "b", "c final"], &[&[0, 2], &[1]], Some(0)),
            (
                &["a", "b final", "c after b", "d after c"],
                &[&[0], &[1, 2, 3]],
                Some(1),
            ),
            (&["a after a", "b final after a"], &[&[0], &[1]], Some(1)),
        ];
        for (components, members, last) in table {
            let groups = groups(components);
            assert_eq!(groups.members, members, "{components:?}");
            assert_eq!(groups.last, last, "{components:?}");
        }
    }

    #[test]
    fn order_between_groups() {
        let groups = groups(&["a after c after b", "b with c", "c", "d after a"]);
        assert_eq!(groups.before, [vec![1], vec![], vec![0]]);
    }

    #[test]
    fn deep_chains_do_not_overflow() {
        let count = 200_000;
        let edges: Vec<Vec<u32>> = (1..=count).map(|next| vec![next % count]).collect();
        assert_eq!(strongly_connected(&edges).len(), 1);
    }
}

//! Closures of chains, diamonds, wide and circular graphs, and what is missing in them.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::testing::{graph, info, names, path};
use super::*;

fn closure(graph: &Graph, roots: &[&str]) -> Vec<String> {
    let roots: Vec<StorePath> = roots.iter().map(|name| path(name)).collect();
    names(graph, &graph.closure_of(&roots).unwrap())
}

#[test]
fn a_chain() {
    let graph = graph(&[("a", 1, &["b"]), ("b", 2, &["c"]), ("c", 4, &[])]);
    assert_eq!(closure(&graph, &["a"]), ["a", "b", "c"]);
    assert_eq!(closure(&graph, &["b"]), ["b", "c"]);
    assert_eq!(closure(&graph, &[]), [""; 0]);
    let whole = graph.closure_of([&path("a")]).unwrap();
    let end = graph.closure_of([&path("c")]).unwrap();
    assert_eq!(graph.size(&whole), 7);
    assert_eq!(graph.difference_size(&whole, &end), 3);
    assert_eq!(graph.union_size(&whole, &end), 7);
}

#[test]
fn a_diamond_counts_its_bottom_once() {
    let graph = graph(&[
        ("top", 1, &["left", "right"]),
        ("left", 2, &["bottom"]),
        ("right", 4, &["bottom"]),
        ("bottom", 8, &[]),
    ]);
    let top = graph.closure_of([&path("top")]).unwrap();
    assert_eq!((top.len(), graph.size(&top)), (4, 15));
    let left = graph.closure_of([&path("left")]).unwrap();
    let right = graph.closure_of([&path("right")]).unwrap();
    assert_eq!(graph.union_size(&left, &right), 14);
    assert_eq!(graph.difference_size(&left, &right), 2);
}

#[test]
fn a_wide_one() {
    let leaves: Vec<String> = (0..1000).map(|n| format!("leaf{n}")).collect();
    let mut graph = Graph::new();
    for leaf in &leaves {
        graph.add(&info(leaf, 3, &[])).unwrap();
    }
    let references: Vec<&str> = leaves.iter().map(String::as_str).collect();
    graph.add(&info("root", 1, &references)).unwrap();
    let set = graph.closure_of([&path("root")]).unwrap();
    assert_eq!((set.len(), graph.size(&set)), (1001, 3001));
}

#[test]
fn circles_do_not_hang() {
    let graph = graph(&[
        ("self", 1, &["self"]),
        ("a", 2, &["b"]),
        ("b", 4, &["c"]),
        ("c", 8, &["a", "self"]),
    ]);
    assert_eq!(closure(&graph, &["self"]), ["self"]);
    for root in ["a", "b", "c"] {
        assert_eq!(closure(&graph, &[root]), ["a", "b", "c", "self"]);
    }
}

#[test]
fn what_is_missing_is_named_with_who_refers_to_it() {
    let graph = graph(&[("a", 1, &["b"]), ("b", 1, &["c"])]);
    assert_eq!(
        graph.closure_of([&path("a")]).unwrap_err(),
        ClosureError::Missing {
            path: path("c"),
            referrer: path("b"),
        }
    );
    for unknown in ["c", "never-heard-of"] {
        assert_eq!(
            graph.closure_of([&path(unknown)]).unwrap_err(),
            ClosureError::UnknownRoot {
                path: path(unknown)
            }
        );
    }
    assert!(graph.is_known(&path("a")) && !graph.is_known(&path("c")));
}

#[test]
fn what_is_known_first_stays() {
    let mut graph = graph(&[("a", 1, &["b"]), ("b", 1, &[])]);
    let id = graph.add(&info("a", 99, &[])).unwrap();
    assert_eq!(graph.nar_size(id), 1);
    assert_eq!(graph.references(id).len(), 1);
}

#[test]
fn sizes_that_do_not_fit_are_refused() {
    let mut graph = graph(&[("a", u64::MAX, &[])]);
    let error = graph.add(&info("b", 1, &[])).unwrap_err();
    assert!(matches!(error, ClosureError::TooBig { .. }), "{error}");
}

#[test]
fn a_long_chain_does_not_fill_the_stack() {
    let mut graph = Graph::new();
    for n in 0..100_000 {
        let next = format!("n{}", n + 1);
        let references: &[&str] = if n == 99_999 { &[] } else { &[&next] };
        graph.add(&info(&format!("n{n}"), 1, references)).unwrap();
    }
    let set = graph.closure_of([&path("n0")]).unwrap();
    assert_eq!(graph.size(&set), 100_000);
}

proptest! {
    #[test]
    fn closures_are_what_a_naive_walk_finds(
        edges in prop::collection::vec((0_usize..12, 0_usize..12), 0..40),
        roots in prop::collection::vec(0_usize..12, 0..4),
    ) {
        let name = |n: usize| format!("n{n}");
        let mut graph = Graph::new();
        for n in 0..12 {
            let references: Vec<String> =
                edges.iter().filter(|(from, _)| *from == n).map(|(_, to)| name(*to)).collect();
            let references: Vec<&str> = references.iter().map(String::as_str).collect();
            graph.add(&info(&name(n), 1 << n, &references)).unwrap();
        }
        let mut expected: BTreeSet<usize> = roots.iter().copied().collect();
        loop {
            let more: BTreeSet<usize> = edges
                .iter()
                .filter(|(from, _)| expected.contains(from))
                .map(|(_, to)| *to)
                .collect();
            let before = expected.len();
            expected.extend(more);
            if expected.len() == before {
                break;
            }
        }
        // All at once, and more than one block of them.
        let id = |n: usize| graph.id(&path(&name(n))).unwrap();
        let each: Vec<Vec<PathId>> = (0..150)
            .map(|n| if n == 70 { roots.iter().map(|n| id(*n)).collect() } else { vec![id(n % 12)] })
            .collect();
        let closures = graph.closures_of_ids(&each).unwrap();
        for (ids, closure) in each.iter().zip(&closures) {
            prop_assert_eq!(closure, &graph.closure_of_ids(ids.iter().copied()).unwrap());
        }
        let roots: Vec<StorePath> = roots.iter().map(|n| path(&name(*n))).collect();
        let set = graph.closure_of(&roots).unwrap();
        prop_assert_eq!(graph.size(&set), expected.iter().map(|n| 1 << n).sum::<u64>());
        prop_assert_eq!(set.len(), expected.len());
    }
}

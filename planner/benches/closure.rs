//! How long closures and the cut take: 100,000 paths in layers, 1,000 services of two generations that
//! share nothing, as when the C library changes.

// A measurement that cannot be set up should end.
#![allow(clippy::expect_used, missing_docs)]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use nixctl_planner::closure::{Graph, PathInfo, PathSet, StorePath, diff};
use nixctl_planner::component::{Content, Entry, Toplevel, cut};

/// Paths of one generation, and services in it.
const PATHS: usize = 50_000;
const SERVICES: usize = 1_000;
/// References of a path: a few to what everything uses, the rest near by.
const CORE: usize = 20;
const NEAR: usize = 8;

fn path(tag: char, number: usize) -> StorePath {
    let name = format!("{tag}{number:031}-package{number}-1.{}", number % 10);
    StorePath::from_base_name(&name).expect("a valid name")
}

/// Later paths refer to earlier ones.
fn infos(tag: char) -> Vec<PathInfo> {
    let mut state = 1_u64;
    let mut random = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % below
    };
    let package = |number: usize, references: Vec<usize>| PathInfo {
        path: path(tag, number),
        nar_size: 1000 + number as u64,
        references: references.into_iter().map(|to| path(tag, to)).collect(),
        download_size: None,
    };
    let mut infos: Vec<PathInfo> = (0..PATHS)
        .map(|number| {
            let core = (0..2).map(|_| random(CORE)).collect::<Vec<_>>();
            let near = (0..NEAR).map(|_| number.saturating_sub(1 + random(200)));
            let references = core.into_iter().chain(near).filter(|to| *to < number);
            package(number, references.collect())
        })
        .collect();
    let all = (0..SERVICES).map(|service| service * (PATHS / SERVICES));
    infos.push(package(PATHS, all.chain(PATHS - 500..PATHS).collect()));
    infos
}

fn graph() -> Graph {
    let mut graph = Graph::new();
    for info in infos('0').iter().chain(&infos('1')) {
        graph.add(info).expect("it fits");
    }
    graph
}

fn toplevel(tag: char) -> Toplevel {
    let mut toplevel = Toplevel::new(path(tag, PATHS));
    for service in 0..SERVICES {
        let package = path(tag, service * (PATHS / SERVICES));
        let text = format!(
            "[Unit]\nDescription=x\n[Service]\nExecStart={package}/bin/x -c /etc/s{service}/conf\n"
        );
        let mut add = |path: String, text: String| {
            let entry = Entry {
                origin: None,
                content: Content::Text(text),
            };
            toplevel.etc.insert(path, entry);
        };
        add(format!("systemd/system/s{service}.service"), text);
        add(format!("s{service}/conf"), format!("{package}/share"));
    }
    toplevel
}

fn closures(criterion: &mut Criterion) {
    let infos = infos('0');
    criterion.bench_function("graph of 50,000 paths", |bench| {
        bench.iter(|| {
            let mut graph = Graph::new();
            for info in &infos {
                graph.add(info).expect("it fits");
            }
            graph
        });
    });
    let graph = graph();
    let root = path('0', PATHS);
    criterion.bench_function("closure of everything, 50,000 of 100,000", |bench| {
        bench.iter(|| graph.closure_of([black_box(&root)]).expect("complete"));
    });
    let old: PathSet = graph.closure_of([&root]).expect("complete");
    let new = graph.closure_of([&path('1', PATHS)]).expect("complete");
    criterion.bench_function("difference by package, 100,000 paths", |bench| {
        bench.iter(|| diff(&graph, black_box(&old), &new));
    });
    let (old, new) = (toplevel('0'), toplevel('1'));
    let mut group = criterion.benchmark_group("slow");
    group.sample_size(10);
    group.bench_function("cut of 1,000 services over 100,000 paths", |bench| {
        bench.iter(|| cut(&graph, black_box(&old), &new).expect("complete"));
    });
    group.finish();
}

criterion_group!(benches, closures);
criterion_main!(benches);

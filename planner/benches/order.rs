//! How long planning takes: layered package sets of growing size, everything changed.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use nixctl_planner::order::testing::{Change, layered};
use nixctl_planner::order::{Options, plan};

/// Components and packages; there are twice as many paths.
const SIZES: [(usize, usize); 5] = [(8, 200), (20, 600), (60, 1500), (300, 6000), (1000, 50_000)];

fn order(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("order");
    group.sample_size(10);
    for (services, packages) in SIZES {
        let instance = layered(1, services, packages, Change::Everything);
        let id = BenchmarkId::from_parameter(services);
        group.bench_with_input(id, &instance, |bencher, instance| {
            bencher.iter(|| plan(black_box(instance), &Options::default()));
        });
    }
    group.finish();
}

criterion_group!(benches, order);
criterion_main!(benches);

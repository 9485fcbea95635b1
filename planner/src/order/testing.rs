//! Instances for tests and measurements, made from a seed: the same seed, the same instance.
//!
//! [`small`] is as nasty as eight components can be. [`layered`] has the shape of real package
//! sets: a few libraries that everything uses, a middle layer whose parts are shared by services
//! of one kind, and what each service has for itself.

use super::{Component, Instance, PathId};

/// Numbers that look random (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Numbers from a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next number below a limit; 0 when the limit is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)).checked_rem(limit).unwrap_or(0)
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    /// A number below a limit, small ones far more often.
    fn popular(&mut self, limit: u64) -> u64 {
        let scale = 1 << 20;
        let part = self.below(scale) as f64 / scale as f64;
        ((limit as f64 * part * part * part) as u64).min(limit.saturating_sub(1))
    }
}

/// A small instance in which everything occurs: what flips together, order, final components,
/// kept paths, paths that only one side has, and paths that go from one component to another.
pub fn small(seed: u64) -> Instance {
    let random = &mut Random::new(seed);
    let mut instance = Instance::default();
    let paths: Vec<PathId> = (0..4 + random.below(24))
        .map(|number| {
            let bytes = random.below(if number % 5 == 0 { 60 } else { 12 });
            instance.path(&format!("path-{number}"), bytes)
        })
        .collect();
    let count = random.below(9);
    let share = 5 + random.below(45);
    let constrained = random.percent(60);
    let some = |random: &mut Random| -> Vec<PathId> {
        let chosen = paths.iter().filter(|_| random.percent(share));
        chosen.copied().collect()
    };
    for number in 0..count {
        let mut component = Component {
            id: format!("component-{number}"),
            old: some(random),
            new: some(random),
            ..Component::default()
        };
        if random.percent(30) {
            component
                .new
                .extend(component.old.iter().filter(|_| random.percent(50)));
        }
        if constrained {
            let mut other = |share| {
                let other = random.below(count);
                random.percent(share).then(|| format!("component-{other}"))
            };
            component.with.extend(other(8));
            component.after.extend(other(20));
            component.after.extend(other(8));
            component.is_final = random.percent(8);
        }
        instance.components.push(component);
    }
    if random.percent(30) {
        instance.keep = some(random);
    }
    instance
}

/// What changes between the two generations of [`layered`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// What everything depends on, and so every path.
    Everything,
    /// So many of a hundred packages, and what depends on them.
    Some(u64),
}

/// Services over a layered package graph. `packages` are spread over the layers.
pub fn layered(seed: u64, services: usize, packages: usize, change: Change) -> Instance {
    let random = &mut Random::new(seed);
    let graph = Graph::new(random, services, packages);
    let changed = graph.changed(random, change);
    let mut instance = Instance::default();
    let ids: Vec<(PathId, PathId)> = (0..packages)
        .map(|number| {
            let bytes = graph.bytes[number];
            let old = instance.path(&format!("package-{number}-old"), bytes);
            if !changed[number] {
                return (old, old);
            }
            let bytes = bytes * (92 + random.below(20)) / 100;
            (old, instance.path(&format!("package-{number}-new"), bytes))
        })
        .collect();
    for (number, needs) in graph.services.iter().enumerate() {
        let closure = graph.closure(needs);
        instance.components.push(Component {
            id: format!("service-{number}"),
            old: closure.iter().map(|&package| ids[package].0).collect(),
            new: closure.iter().map(|&package| ids[package].1).collect(),
            ..Component::default()
        });
    }
    instance
}

/// Packages, numbered so that each needs only earlier ones.
struct Graph {
    needs: Vec<Vec<usize>>,
    bytes: Vec<u64>,
    services: Vec<Vec<usize>>,
}

impl Graph {
    fn new(random: &mut Random, services: usize, packages: usize) -> Graph {
        let core = (packages / 40).clamp(1, 12);
        let own = packages / 3;
        let middle = packages - own;
        let kinds = (services / 8).max(1);
        let mut graph = Graph {
            needs: Vec::new(),
            bytes: Vec::new(),
            services: vec![Vec::new(); services],
        };
        for number in 0..middle {
            let mut needs: Vec<usize> = (0..number.min(core)).collect();
            if number >= core {
                let span = (number - core) as u64;
                // Libraries of one kind stand `kinds` apart.
                for _ in 0..random.below(4) {
                    let back = (1 + random.popular(span / kinds as u64)) as usize * kinds;
                    needs.extend(number.checked_sub(back).filter(|&other| other >= core));
                }
            }
            graph.add(random, needs, if number < core { 8 } else { 1 });
        }
        for number in 0..own {
            let service = number % services.max(1);
            let kind = service % kinds;
            let mut needs: Vec<usize> = (0..core).collect();
            let shelf = (middle - core) / kinds;
            for _ in 0..1 + random.below(4) {
                let kind = if random.percent(80) {
                    kind
                } else {
                    random.below(kinds as u64) as usize
                };
                let book = random.popular(shelf as u64) as usize;
                let package = core + kind + kinds * book;
                needs.extend((package < middle).then_some(package));
            }
            graph.services[service].push(graph.needs.len());
            graph.add(random, needs, 2);
        }
        graph
    }

    fn add(&mut self, random: &mut Random, needs: Vec<usize>, weight: u64) {
        // From 16 KiB to 16 MiB, every power of two as likely as the next.
        let bytes = (16 << 10) << random.below(11);
        self.bytes.push(weight * (bytes + random.below(bytes)));
        self.needs.push(needs);
    }

    fn changed(&self, random: &mut Random, change: Change) -> Vec<bool> {
        let mut changed: Vec<bool> = Vec::with_capacity(self.needs.len());
        for needs in &self.needs {
            let by_itself = match change {
                Change::Everything => true,
                Change::Some(share) => random.percent(share),
            };
            changed.push(by_itself || needs.iter().any(|&other| changed[other]));
        }
        changed
    }

    fn closure(&self, roots: &[usize]) -> Vec<usize> {
        let mut seen = vec![false; self.needs.len()];
        let mut stack = roots.to_vec();
        while let Some(package) = stack.pop() {
            if !std::mem::replace(&mut seen[package], true) {
                stack.extend(&self.needs[package]);
            }
        }
        (0..seen.len()).filter(|&package| seen[package]).collect()
    }
}

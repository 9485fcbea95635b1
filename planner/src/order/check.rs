//! An independent checker: every claim of a plan is computed again from the instance.
//!
//! Written in the most naive way, with sets of names, and without a line of what makes the plans.
//! Only the lower bound is taken as it is: it may not be above the peak, that is all.

use std::collections::{BTreeMap, BTreeSet};

use super::{Component, Instance, PathId, Plan, Step, Strategy};

/// Everything that is wrong with a plan; nothing when all its claims are true.
pub fn check(instance: &Instance, plan: &Plan) -> Vec<String> {
    let mut checker = Checker {
        instance,
        flipped: BTreeSet::new(),
        stopped: BTreeSet::new(),
        disk: BTreeSet::new(),
        peak: 0,
        wrong: Vec::new(),
    };
    checker.disk = checker.needed(&BTreeSet::new(), &BTreeSet::new());
    checker.peak = checker.bytes(&checker.disk);
    for (index, step) in plan.steps.iter().enumerate() {
        let is_last = index + 1 == plan.steps.len();
        checker.step(&format!("step {}", index + 1), step, is_last);
    }
    checker.end(plan);
    checker.wrong
}

struct Checker<'a> {
    instance: &'a Instance,
    flipped: BTreeSet<&'a str>,
    /// Those that were stopped, flipped since or not.
    stopped: BTreeSet<&'a str>,
    disk: BTreeSet<&'a str>,
    peak: u64,
    wrong: Vec<String>,
}

impl<'a> Checker<'a> {
    fn step(&mut self, name: &str, step: &'a Step, is_last: bool) {
        let mut after = self.flipped.clone();
        for id in &step.flip {
            let known = self.instance.components.iter().any(|c| c.id == *id);
            self.expect(known, || format!("{name} flips `{id}`, which is not there"));
            let fresh = after.insert(id);
            self.expect(fresh, || format!("{name} flips `{id}` a second time"));
        }
        let idle = step.flip.is_empty() && step.stop.is_empty();
        self.expect(!idle, || format!("{name} flips nothing"));
        let mut stopped = self.stopped.clone();
        for id in &step.stop {
            let may = self
                .instance
                .components
                .iter()
                .any(|c| c.id == *id && c.stoppable);
            self.expect(may, || {
                format!("{name} stops `{id}`, which must not be stopped")
            });
            let fresh = stopped.insert(id) && !after.contains(id.as_str());
            self.expect(fresh, || {
                format!("{name} stops `{id}`, which does not run as it was")
            });
        }
        self.constraints(name, &after, &stopped, is_last);

        let mut added = BTreeSet::new();
        for component in &self.instance.components {
            if step.flip.contains(&component.id) {
                added.extend(self.names(&component.new));
            }
        }
        added = added.difference(&self.disk).copied().collect();
        let claimed: Vec<&str> = step.add.iter().map(String::as_str).collect();
        let expected: Vec<&str> = added.iter().copied().collect();
        self.expect(claimed == expected, || {
            format!("{name} adds {claimed:?}, not {expected:?}")
        });

        let before: BTreeSet<&str> = self.disk.union(&added).copied().collect();
        let needed = self.needed(&after, &stopped);
        let claimed: Vec<&str> = step.release.iter().map(String::as_str).collect();
        let expected: Vec<&str> = before.difference(&needed).copied().collect();
        self.expect(claimed == expected, || {
            format!("{name} releases {claimed:?}, not {expected:?}")
        });

        let high = self.bytes(&before);
        let low = self.bytes(&needed);
        self.same(
            &format!("bytes_before_release of {name}"),
            step.bytes_before_release,
            high,
        );
        self.same(&format!("bytes_after of {name}"), step.bytes_after, low);
        self.peak = self.peak.max(high);
        self.disk = needed;
        self.flipped = after;
        self.stopped = stopped;
    }

    fn constraints(
        &mut self,
        name: &str,
        after: &BTreeSet<&str>,
        stopped: &BTreeSet<&str>,
        is_last: bool,
    ) {
        for component in &self.instance.components {
            let id = &component.id;
            let done = after.contains(id.as_str());
            for other in &component.with {
                let same = after.contains(other.as_str()) == done
                    && stopped.contains(other.as_str()) == stopped.contains(id.as_str());
                self.expect(same, || format!("{name} parts `{id}` from `{other}`"));
            }
            for other in &component.after {
                let kept = !done || after.contains(other.as_str());
                self.expect(kept, || format!("{name} flips `{id}` before `{other}`"));
            }
            let early = component.is_final && done && !is_last;
            self.expect(!early, || {
                format!("{name} flips `{id}`, which is final, too early")
            });
            let off = component.is_final && stopped.contains(id.as_str());
            self.expect(!off, || format!("{name} stops `{id}`, which is final"));
        }
    }

    fn end(&mut self, plan: &Plan) {
        for Component { id, .. } in &self.instance.components {
            let done = self.flipped.contains(id.as_str());
            self.expect(done, || format!("`{id}` is never flipped"));
        }
        self.same("the peak", plan.peak, self.peak);
        self.expect(plan.lower_bound <= plan.peak, || {
            "the lower bound is above the peak".to_owned()
        });
        let proven = plan.lower_bound == plan.peak;
        self.expect(plan.optimal == proven, || {
            format!("optimal is {}, but the bound says {proven}", plan.optimal)
        });
        let single = plan.steps.len() <= 1;
        let named = match plan.strategy {
            Strategy::Atomic => single,
            Strategy::Stepwise => !single,
            Strategy::Auto => false,
        };
        self.expect(named, || {
            "the strategy is not what the steps are".to_owned()
        });
        let fits = self
            .instance
            .budget
            .is_none_or(|budget| self.peak <= budget);
        self.expect(fits, || "the budget is exceeded".to_owned());
    }

    /// What must be on the disk when these components are flipped, and of the others these stopped.
    fn needed(&self, flipped: &BTreeSet<&str>, stopped: &BTreeSet<&str>) -> BTreeSet<&'a str> {
        let mut needed: BTreeSet<&str> = self.names(&self.instance.keep).collect();
        for component in &self.instance.components {
            if flipped.contains(component.id.as_str()) {
                needed.extend(self.names(&component.new));
            } else if !stopped.contains(component.id.as_str()) {
                needed.extend(self.names(&component.old));
            }
        }
        needed
    }

    fn names(&self, paths: &'a [PathId]) -> impl Iterator<Item = &'a str> {
        let instance = self.instance;
        paths.iter().map(|&path| instance.name(path))
    }

    fn bytes(&self, paths: &BTreeSet<&str>) -> u64 {
        let all: BTreeMap<&str, u64> = self
            .instance
            .paths()
            .map(|(_, name, size)| (name, size.unwrap_or(0)))
            .collect();
        paths.iter().map(|path| all[path]).sum()
    }

    fn same(&mut self, what: &str, claimed: u64, computed: u64) {
        self.expect(claimed == computed, || {
            format!("{what} is {computed}, not {claimed}")
        });
    }

    fn expect(&mut self, right: bool, wrong: impl FnOnce() -> String) {
        if !right {
            self.wrong.push(wrong());
        }
    }
}

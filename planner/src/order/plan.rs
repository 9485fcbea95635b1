//! The answer: steps, what each fetches and releases, and the bytes at each moment.

use serde::{Deserialize, Serialize};

/// How to go from the old state to the new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// One step when it fits in the budget, else steps. Without a budget: the lowest peak.
    #[default]
    Auto,
    /// One step.
    Atomic,
    /// The steps with the lowest peak.
    Stepwise,
}

/// A plan with its claims.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Bytes at the highest moment.
    pub peak: u64,
    /// Bytes that every plan has at its highest moment.
    pub lower_bound: u64,
    /// Whether no plan has a lower peak: it is proven.
    pub optimal: bool,
    /// What the plan is: one step, or several; never `auto`.
    pub strategy: Strategy,
    /// What to do, in this order.
    pub steps: Vec<Step>,
}

/// One step: fetch, flip or stop, release.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// Components that go from old to new.
    pub flip: Vec<String>,
    /// Components that go from old to nothing, until a later step flips them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
    /// Paths to fetch before that, sorted.
    pub add: Vec<String>,
    /// Bytes when all of it is there and nothing is released yet.
    pub bytes_before_release: u64,
    /// Paths that nobody needs any more, sorted.
    pub release: Vec<String>,
    /// Bytes when they are gone.
    pub bytes_after: u64,
}

impl Plan {
    /// How far the peak is above the lower bound, as a part of the bound.
    pub fn gap(&self) -> f64 {
        if self.lower_bound == 0 {
            return 0.0;
        }
        self.peak.saturating_sub(self.lower_bound) as f64 / self.lower_bound as f64
    }
}

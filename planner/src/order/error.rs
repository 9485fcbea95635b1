//! Why there is no plan: the instance is not one, or no order of steps fits.

use thiserror::Error;

/// What is wrong with an instance.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InstanceError {
    /// A closure names a path whose size is nowhere.
    #[error("cannot plan component `{component}`: `paths` has no size for `{path}`")]
    UnknownPath {
        /// The component.
        component: String,
        /// The path.
        path: String,
    },
    /// `keep` names a path whose size is nowhere.
    #[error("cannot keep `{path}`: `paths` has no size for it")]
    UnknownKept {
        /// The path.
        path: String,
    },
    /// A component has no name to speak of it by.
    #[error("cannot plan component number {number}: its id is empty")]
    EmptyId {
        /// Place in the list, from 1.
        number: usize,
    },
    /// Two components have one id.
    #[error("cannot plan component `{id}`: there are two of that id")]
    DuplicateComponent {
        /// The id.
        id: String,
    },
    /// `with` or `after` names a component that is not there.
    #[error("cannot plan component `{component}`: its `{field}` names `{id}`, which is not there")]
    UnknownComponent {
        /// The component.
        component: String,
        /// `with` or `after`.
        field: &'static str,
        /// What it names.
        id: String,
    },
    /// The sizes do not add up within 64 bits.
    #[error("cannot add up the sizes of the paths: the sum is above 18,446,744,073,709,551,615")]
    TooLarge,
    /// More of something than can be numbered.
    #[error("cannot plan so much: there are more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
}

/// Why there is no plan.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OrderError {
    /// The instance is not one.
    #[error(transparent)]
    Instance(#[from] InstanceError),
    /// No order that was found stays within the budget.
    #[error(transparent)]
    DoesNotFit(#[from] Shortfall),
}

/// How far the best plan is from fitting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "cannot stay within {budget} bytes: {} needs {peak}, {} more; {}",
    match (*.atomic, *.stopping) {
        (true, _) => "the single step",
        (false, true) => "the best order found, with all stopped that may be stopped,",
        (false, false) => "the best order found",
    },
    self.missing(),
    self.verdict()
)]
pub struct Shortfall {
    /// What may be used.
    pub budget: u64,
    /// What the best plan that was found uses at its highest.
    pub peak: u64,
    /// What every plan uses at least.
    pub lower_bound: u64,
    /// Whether only a single step was allowed.
    pub atomic: bool,
    /// Whether components were stopped to need less.
    pub stopping: bool,
}

impl Shortfall {
    /// Bytes that have to be freed for the plan that was found.
    pub fn missing(&self) -> u64 {
        self.peak.saturating_sub(self.budget)
    }

    /// Whether it is proven that no order of steps whatever fits.
    pub fn is_proven(&self) -> bool {
        self.lower_bound > self.budget
    }

    fn verdict(&self) -> String {
        let bound = self.lower_bound;
        if self.is_proven() {
            format!("no order needs less than {bound}, so none fits")
        } else {
            format!("it is not proven that none fits: no order needs less than {bound}")
        }
    }
}

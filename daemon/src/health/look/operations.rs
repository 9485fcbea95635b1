//! Operations of nixctl that are not over; the engine knows them.

/// An operation that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// Its id.
    pub id: String,
    /// What it does, for people.
    pub what: String,
    /// How it is.
    pub state: OpenState,
}

/// How an operation is that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpenState {
    /// It failed and was not undone: why.
    Attention(String),
    /// It waits: for what.
    Waiting(String),
    /// It runs, or is about to.
    Running,
}

//! Whether Nix works on this machine, and what is done when it does not.
//!
//! | room | what it is |
//! |---|---|
//! | [`check`] | the table of checks: ids, how bad, what is done by default, explanations |
//! | [`rows`] | the 134 real failures that were collected, and what is done about each |
//! | [`round`] | looks at some areas and judges them |
//! | [`look`] | reads the facts of one area of the machine; changes nothing |
//! | [`judge`] | facts to findings: pure |
//! | [`mend`] | the small repairs that are no resource, as steps of a plan |
//! | [`remedy`] | findings to one plan of steps |
//! | [`self_test`] | the proof after an install |
//!
//! A healthy machine has no finding. No remedy deletes a store, a volume or a file of a user.

pub mod check;
pub mod judge;
pub mod look;
pub mod mend;
pub mod remedy;
pub mod round;
pub mod rows;
pub mod self_test;
#[cfg(test)]
mod whole_tests;

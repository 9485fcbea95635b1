//! Whether Nix works on this machine, and what is done when it does not.
//!
//! | room | what it is |
//! |---|---|
//! | [`breaker`] | whether a remedy may be tried: back-off and a limit |
//! | [`database`] | copies of Nix's database, restored and salvaged from |
//! | [`history`] | what broke, what was done and whether it helped |
//! | [`judge`] | facts to findings: pure |
//! | [`known`] | the findings of the last rounds, put together |
//! | [`look`] | reads the facts of one area of the machine; changes nothing |
//! | [`managed`] | resources of the files that the user put under care |
//! | [`mend`] | the small repairs that are no resource, as steps of a plan |
//! | [`plan`] | the plan of a repair |
//! | [`proof`] | whether a repair helped, or made something worse |
//! | [`remedy`] | findings to one plan of steps |
//! | [`round`] | looks at some areas and judges them |
//! | [`rows`] | the 134 real failures that were collected, and what is done about each |
//! | [`schedule`] | when a round of checks is due |
//! | [`self_test`] | the proof after an install |
//! | [`sentinel`] | what wakes the rounds: watched files and units |
//! | [`sighting`] | what a round saw of one check |
//! | [`signals`] | units that fail, stop or mount, as systemd tells |
//! | [`timeline`] | time that no set clock disturbs |
//! | [`watch`] | tells areas of files that changed |
//!
//! A healthy machine has no finding. No remedy deletes a store, a volume or a file of a user. Only
//! `watch`, `signals`, `database`, `mend` and `self_test` have effects. What is looked for stands in
//! [`nixctl_proto::health::check`].

pub mod breaker;
pub mod database;
pub mod history;
pub mod judge;
pub mod known;
pub mod look;
pub mod managed;
pub mod mend;
pub mod plan;
pub mod proof;
pub mod remedy;
pub mod round;
pub mod rows;
pub mod schedule;
pub mod self_test;
pub mod sentinel;
pub mod sighting;
pub mod signals;
pub mod timeline;
pub mod watch;
#[cfg(test)]
mod whole_tests;

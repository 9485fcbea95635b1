//! `nixctld`: the privileged daemon that owns Nix on a machine.
//!
//! The rooms, from the outside in: [`serve`] adapts D-Bus and the Unix socket to one service;
//! [`engine`] stores operations and carries out their plans step by step, with a journal record
//! before and after every effect; [`catalogue`] decides from facts what a machine should have;
//! [`resource`] knows each kind of thing nixctl owns; [`payload`] fetches and unpacks releases;
//! [`health`] looks whether all of that is as it should be, and says what helps;
//! [`switch`] moves a system from one generation to another;
//! [`takeover`] replaces nixctl itself;
//! [`upgrade`] replaces Nix by another version of it, and decides when;
//! [`host`] is the only room that touches the machine.

pub mod backend;
pub mod catalogue;
pub mod cli;
pub mod engine;
pub mod health;
pub mod host;
mod keeper;
pub mod logging;
pub mod notify;
pub mod payload;
pub mod pulse;
pub mod resource;
pub mod serve;
pub mod switch;
pub mod takeover;
pub mod upgrade;

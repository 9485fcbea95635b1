//! Serving: D-Bus and the Unix socket, thin adapters over one [`Service`].
//!
//! A request takes the same way on every transport: it is brought into its canonical form
//! ([`request`]), authorised once by who is calling ([`authority`]), and then handed unchanged to
//! the [`Backend`]. Reads need no authority and never wait for work. The transports are up before
//! the backend has loaded its state; calls wait for it at a [`Gate`].

pub mod action;
mod asked;
pub mod authority;
pub mod backend;
pub mod bus;
pub mod gate;
pub mod polkit;
pub mod quota;
pub mod request;
pub mod run;
pub mod service;
pub mod socket;
#[cfg(test)]
pub mod testing;

pub use action::Action;
pub use authority::{Authority, Caller, Refusal};
pub use backend::{Backend, Change};
pub use gate::Gate;
pub use run::{Options, run};
pub use service::Service;

//! Whether Nix works: the self-test after an install.

pub mod self_test;

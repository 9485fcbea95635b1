//! What people and programs see: everything that becomes text is made here.
//!
//! Each file turns one kind of thing into lines and does nothing else; only [`terminal`] writes.
//! Text that comes from the daemon passes [`text::clean`] before it reaches a terminal.

pub mod chart;
pub mod diff;
pub mod error;
pub mod feed;
pub mod findings;
pub mod generations;
pub mod history;
pub mod operation;
pub mod order;
pub mod plan;
pub mod progress;
pub mod rate;
pub mod status;
pub mod style;
pub mod svg;
pub mod switch;
pub mod table;
pub mod terminal;
pub mod text;

pub use style::Style;
pub use terminal::Terminal;

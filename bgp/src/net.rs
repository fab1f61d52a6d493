//! The shell: sockets and tasks around the pure machines.

pub mod report;

pub use report::{Report, ReportEvent};

//! Speaking with the kernel by rtnetlink: an async client for single questions, and a blocking socket for the kernel thread,
//! which writes routes many at a time and reads events.

pub mod client;
pub mod error;

mod ext_ack;

pub use error::Error;

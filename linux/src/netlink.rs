//! Speaking with the kernel by rtnetlink: an async client for single questions, a hand for who makes a pod's devices, and a
//! blocking socket for the kernel thread, which writes routes many at a time and reads events. Devices that go are removed by a
//! thread of its own, many at a time.

pub mod client;
pub mod error;
pub mod hand;
pub mod peers;
pub mod removal;
pub mod shape;

pub(crate) mod batch;
pub(crate) mod channel;
pub(crate) mod events;
mod ext_ack;
mod filter;
mod socket;

pub use error::Error;

//! The real `caracalctl` against an agent with fixed answers.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

mod cluster;
mod errors;
mod support;
mod tables;

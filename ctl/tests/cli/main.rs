//! The real `caracalctl` against an agent with fixed answers.

mod errors;
mod support;
mod tables;

//! Bytes to messages and back, without any state of a session.
//!
//! What a decoder must know of the session (the width of AS numbers, internal or external, the families) is an
//! argument. Every fault carries its place and its [`error::Disposition`] of RFC 7606, so that the caller needs
//! no knowledge of the rules to obey them. No decoder indexes a slice.

#![deny(clippy::indexing_slicing)]

pub mod attribute;
pub mod error;
pub mod nlri;
pub mod update;

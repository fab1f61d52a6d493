//! Bytes to messages and back, without any state of a session.
//!
//! What a decoder must know of the session is its [`Context`]. Every fault carries its place and its
//! [`error::Disposition`] of RFC 7606, so that the caller needs no knowledge of the rules to obey them. No decoder
//! indexes a slice.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

pub mod attribute;
pub mod capability;
pub mod code_points;
pub mod error;
pub mod header;
pub mod message;
pub mod nlri;
pub mod notification;
pub mod open;
mod reader;
pub mod route_refresh;
pub mod update;

use crate::config::{Asn, Families};

/// What the bytes of an UPDATE depend on: the terms of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// The peer's AS if it is not our own: some attributes are not taken from outside, and its paths begin with it.
    pub external_peer: Option<Asn>,
    /// AS numbers have four octets (RFC 6793).
    pub four_octet: bool,
    /// The families negotiated; others are passed over.
    pub families: Families,
    /// The octets of the longest message that may be written.
    pub max_message: usize,
}

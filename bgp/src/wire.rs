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

use crate::config::{Asn, AttributeCodes, Families};

/// What the bytes of an UPDATE depend on: the terms of its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// The peer's AS if it is not our own: some attributes are not taken from outside.
    pub external_peer: Option<Asn>,
    /// The paths of an external peer must begin with its AS (RFC 4271 §6.3).
    pub enforce_first_as: bool,
    /// AS numbers have four octets (RFC 6793).
    pub four_octet: bool,
    /// The families negotiated; others are passed over.
    pub families: Families,
    /// Families in which what is read carries path identifiers (RFC 7911).
    pub add_path_receive: Families,
    /// Families in which what is written carries path identifiers (RFC 7911).
    pub add_path_send: Families,
    /// Families whose prefixes may have a next hop of the other family (RFC 8950).
    pub extended_next_hop: Families,
    /// Attribute types that are passed over.
    pub refused_attributes: AttributeCodes,
    /// The octets of the longest message that may be written (RFC 8654).
    pub max_message: usize,
}

impl Context {
    /// The terms of two modern speakers that agreed on nothing but families: four octets an AS, messages of 4096.
    pub fn new(external_peer: Option<Asn>, families: Families) -> Context {
        Context {
            external_peer,
            enforce_first_as: true,
            four_octet: true,
            families,
            add_path_receive: Families::NONE,
            add_path_send: Families::NONE,
            extended_next_hop: Families::NONE,
            refused_attributes: AttributeCodes::NONE,
            max_message: header::MAX_MESSAGE,
        }
    }

    /// The same terms without what matters only for reading, so that peers that are written to alike have equal ones.
    pub fn for_writing(self) -> Context {
        Context {
            external_peer: None,
            enforce_first_as: true,
            add_path_receive: Families::NONE,
            refused_attributes: AttributeCodes::NONE,
            ..self
        }
    }
}

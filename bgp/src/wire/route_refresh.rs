//! The ROUTE-REFRESH message (RFC 2918): please announce everything again.

use bytes::{BufMut, BytesMut};

use super::error::{Error, Section};
use super::header;
use super::reader::Reader;
use crate::config::Family;

/// The message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// AFI.
    pub afi: u16,
    /// Zero, but for the markers of RFC 7313.
    pub subtype: u8,
    /// SAFI.
    pub safi: u8,
}

impl RouteRefresh {
    /// The plain request for a family.
    pub fn of(family: Family) -> RouteRefresh {
        let (afi, safi) = family.code();
        RouteRefresh { afi, subtype: 0, safi }
    }

    /// The family that is asked for, if it is known and this is a plain request.
    pub fn family(&self) -> Option<Family> {
        Family::from_code(self.afi, self.safi).filter(|_| self.subtype == 0)
    }

    /// Reads the body of the message.
    pub fn decode(body: &[u8]) -> Result<RouteRefresh, Error> {
        let mut reader = Reader::new(Section::RouteRefresh, 0, body);
        Ok(RouteRefresh { afi: reader.u16()?, subtype: reader.u8()?, safi: reader.u8()? })
    }

    /// Writes the whole message.
    pub fn encode(&self, out: &mut BytesMut) {
        let message = header::begin(out, super::code_points::message::ROUTE_REFRESH);
        out.put_u16(self.afi);
        out.put_u8(self.subtype);
        out.put_u8(self.safi);
        header::finish(out, message);
    }
}

//! The ROUTE-REFRESH message (RFC 2918): please announce everything again; and the marks around the answer (RFC 7313).

use bytes::{BufMut, BytesMut};

use super::code_points::refresh;
use super::error::{Error, Fault, Section};
use super::header;
use super::reader::Reader;
use crate::config::Family;

/// The message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRefresh {
    /// AFI.
    pub afi: u16,
    /// What the message is.
    pub kind: Kind,
    /// SAFI.
    pub safi: u8,
}

/// What a ROUTE-REFRESH message is: its subtype.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Please announce everything again.
    Request,
    /// Everything will be announced again from here on: BoRR.
    Begin,
    /// Everything has been announced again: EoRR. What was not is gone.
    End,
    /// Not defined, to be ignored (RFC 7313 §5).
    Other(u8),
}

impl RouteRefresh {
    /// The plain request for a family.
    pub fn of(family: Family) -> RouteRefresh {
        RouteRefresh::new(Kind::Request, family)
    }

    /// A message about a family.
    pub fn new(kind: Kind, family: Family) -> RouteRefresh {
        let (afi, safi) = family.code();
        RouteRefresh { afi, kind, safi }
    }

    /// The family it is about, if it is known.
    pub fn family(&self) -> Option<Family> {
        Family::from_code(self.afi, self.safi)
    }

    /// Reads the body of the message.
    pub fn decode(body: &[u8]) -> Result<RouteRefresh, Error> {
        let mut reader = Reader::new(Section::RouteRefresh, 0, body);
        if body.len() != 4 {
            return Err(reader.error(Fault::RefreshLength(body.len())));
        }
        let (afi, subtype, safi) = (reader.u16()?, reader.u8()?, reader.u8()?);
        let kind = match subtype {
            refresh::REQUEST => Kind::Request,
            refresh::BEGIN => Kind::Begin,
            refresh::END => Kind::End,
            other => Kind::Other(other),
        };
        Ok(RouteRefresh { afi, kind, safi })
    }

    /// Writes the whole message.
    pub fn encode(&self, out: &mut BytesMut) {
        let message = header::begin(out, super::code_points::message::ROUTE_REFRESH);
        out.put_u16(self.afi);
        out.put_u8(match self.kind {
            Kind::Request => refresh::REQUEST,
            Kind::Begin => refresh::BEGIN,
            Kind::End => refresh::END,
            Kind::Other(other) => other,
        });
        out.put_u8(self.safi);
        header::finish(out, message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_a_refresh_are_told_from_the_request() {
        for (subtype, kind) in [(0, Kind::Request), (1, Kind::Begin), (2, Kind::End), (3, Kind::Other(3))] {
            let read = RouteRefresh::decode(&[0, 2, subtype, 1]).unwrap();
            assert_eq!((read.kind, read.family()), (kind, Some(Family::Ipv6Unicast)));
            let mut out = BytesMut::new();
            read.encode(&mut out);
            assert_eq!(out[header::LENGTH..], [0, 2, subtype, 1]);
        }
    }

    #[test]
    fn another_length_than_four_is_an_error_of_its_own() {
        for length in [0, 3, 5] {
            let error = RouteRefresh::decode(&vec![0; length]).unwrap_err();
            assert_eq!(error.notification().cause.codes(), (7, 1));
        }
    }
}

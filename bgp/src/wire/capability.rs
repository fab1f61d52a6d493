//! Capabilities (RFC 5492): what a speaker can do, told in OPEN.

use bytes::{BufMut, Bytes, BytesMut};

use super::code_points::capability as code;
use super::error::Error;
use super::reader::Reader;
use crate::config::Asn;

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// An address family, by AFI and SAFI (RFC 4760 §8).
    Multiprotocol(u16, u8),
    /// ROUTE-REFRESH is answered (RFC 2918 §2).
    RouteRefresh,
    /// AS numbers of four octets, and the sender's own (RFC 6793 §3).
    FourOctetAs(Asn),
    /// Any other, and a known one whose value has an impossible length: both are ignored (RFC 5492 §3).
    Other(u8, Bytes),
}

impl Capability {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Capability, Error> {
        let (kind, length) = (reader.u8()?, reader.u8()?);
        let value = reader.parse(nom::bytes::complete::take(usize::from(length)))?;
        Ok(match (kind, value) {
            (code::MULTIPROTOCOL, &[high, low, _, safi]) => {
                Capability::Multiprotocol(u16::from_be_bytes([high, low]), safi)
            }
            (code::ROUTE_REFRESH, &[]) => Capability::RouteRefresh,
            (code::FOUR_OCTET_AS, &[a, b, c, d]) => {
                Capability::FourOctetAs(Asn(u32::from_be_bytes([a, b, c, d])))
            }
            (other, value) => Capability::Other(other, Bytes::copy_from_slice(value)),
        })
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        match self {
            Capability::Multiprotocol(afi, safi) => {
                out.put_u8(code::MULTIPROTOCOL);
                out.put_u8(4);
                out.put_u16(*afi);
                out.put_u8(0);
                out.put_u8(*safi);
            }
            Capability::RouteRefresh => out.put_slice(&[code::ROUTE_REFRESH, 0]),
            Capability::FourOctetAs(asn) => {
                out.put_slice(&[code::FOUR_OCTET_AS, 4]);
                out.put_u32(asn.0);
            }
            Capability::Other(kind, value) => {
                let value = value.get(..value.len().min(255)).unwrap_or_default();
                out.put_u8(*kind);
                // The value was cut to what an octet can count.
                out.put_u8(u8::try_from(value.len()).unwrap_or(u8::MAX));
                out.put_slice(value);
            }
        }
    }
}

//! Capabilities (RFC 5492): what a speaker can do, told in OPEN.
//!
//! A capability whose value cannot be read is kept as [`Capability::Other`] and so ignored, as an unknown one is
//! (RFC 5492 §3): a session must not fail over an offer nobody needs.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

use super::code_points::capability as code;
use super::error::Error;
use super::reader::Reader;
use crate::config::Asn;

/// AFI and SAFI.
pub type FamilyCode = (u16, u8);

/// One capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Capability {
    /// An address family, by AFI and SAFI (RFC 4760 §8).
    Multiprotocol(u16, u8),
    /// ROUTE-REFRESH is answered (RFC 2918 §2).
    RouteRefresh,
    /// Families whose next hops may be of another family (RFC 8950 §4).
    ExtendedNextHop(SmallVec<[NextHopFamily; 2]>),
    /// Messages may have up to 65535 octets (RFC 8654 §3).
    ExtendedMessage,
    /// The sender can restart without losing its forwarding (RFC 4724 §3).
    GracefulRestart(GracefulRestart),
    /// AS numbers of four octets, and the sender's own (RFC 6793 §3).
    FourOctetAs(Asn),
    /// Families in which several paths of a prefix can be told apart (RFC 7911 §4).
    AddPath(SmallVec<[AddPath; 2]>),
    /// Refreshes are marked by a beginning and an end (RFC 7313 §3).
    EnhancedRefresh,
    /// Stale routes may be kept very long (RFC 9494 §3).
    LongLivedRestart(SmallVec<[LongLived; 2]>),
    /// Any other, and a known one whose value has an impossible length: both are ignored (RFC 5492 §3).
    Other(u8, Bytes),
}

/// One family of an Extended Next Hop Encoding capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextHopFamily {
    /// Of the prefixes.
    pub family: FamilyCode,
    /// AFI of the next hop.
    pub next_hop_afi: u16,
}

/// One family of an ADD-PATH capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddPath {
    /// The family.
    pub family: FamilyCode,
    /// The sender of the capability can receive several paths.
    pub receive: bool,
    /// The sender of the capability would send several paths.
    pub send: bool,
}

/// The Graceful Restart capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// The sender has restarted.
    pub restarted: bool,
    /// A NOTIFICATION is no reason to forget routes (RFC 8538 §2).
    pub notification: bool,
    /// How long it may take to come back, in whole seconds up to 4095.
    pub time: Duration,
    /// The families it is about.
    pub families: SmallVec<[RestartFamily; 2]>,
}

/// One family of a Graceful Restart capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartFamily {
    /// The family.
    pub family: FamilyCode,
    /// Its forwarding state was preserved over the restart.
    pub forwarding: bool,
}

/// One family of a Long-Lived Graceful Restart capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongLived {
    /// The family.
    pub family: FamilyCode,
    /// Its forwarding state was preserved over the restart.
    pub forwarding: bool,
    /// How long its routes may be kept, in whole seconds of 24 bits.
    pub time: Duration,
}

/// Graceful Restart: Restart State.
const RESTARTED: u16 = 0x8000;
/// Graceful Restart: Graceful Notification (RFC 8538).
const NOTIFICATION: u16 = 0x4000;
/// Graceful Restart: the twelve bits of the time.
const RESTART_TIME: u16 = 0x0fff;
/// A family of either restart capability: Forwarding State.
const FORWARDING: u8 = 0x80;
/// ADD-PATH: the sender receives.
const RECEIVE: u8 = 1;
/// ADD-PATH: the sender sends.
const SEND: u8 = 2;

impl Capability {
    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Capability, Error> {
        let (kind, length) = (reader.u8()?, reader.u8()?);
        let value = reader.parse(nom::bytes::complete::take(usize::from(length)))?;
        let known = match kind {
            code::MULTIPROTOCOL => match value {
                &[high, low, _, safi] => {
                    Some(Capability::Multiprotocol(u16::from_be_bytes([high, low]), safi))
                }
                _ => None,
            },
            code::ROUTE_REFRESH => value.is_empty().then_some(Capability::RouteRefresh),
            code::EXTENDED_NEXT_HOP => each(value, next_hop_family).map(Capability::ExtendedNextHop),
            code::EXTENDED_MESSAGE => value.is_empty().then_some(Capability::ExtendedMessage),
            code::GRACEFUL_RESTART => graceful_restart(value).map(Capability::GracefulRestart),
            code::FOUR_OCTET_AS => {
                value.try_into().ok().map(|octets| Capability::FourOctetAs(Asn(u32::from_be_bytes(octets))))
            }
            code::ADD_PATH => each(value, add_path).map(Capability::AddPath),
            code::ENHANCED_REFRESH => value.is_empty().then_some(Capability::EnhancedRefresh),
            code::LONG_LIVED_RESTART => each(value, long_lived).map(Capability::LongLivedRestart),
            _ => None,
        };
        Ok(known.unwrap_or_else(|| Capability::Other(kind, Bytes::copy_from_slice(value))))
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let start = out.len();
        out.put_slice(&[self.code(), 0]);
        match self {
            Capability::Multiprotocol(afi, safi) => {
                out.put_u16(*afi);
                out.put_slice(&[0, *safi]);
            }
            Capability::RouteRefresh | Capability::ExtendedMessage | Capability::EnhancedRefresh => (),
            Capability::ExtendedNextHop(families) => families.iter().for_each(|one| {
                out.put_u16(one.family.0);
                out.put_u16(u16::from(one.family.1));
                out.put_u16(one.next_hop_afi);
            }),
            Capability::GracefulRestart(restart) => {
                let seconds = u16::try_from(restart.time.as_secs()).unwrap_or(RESTART_TIME).min(RESTART_TIME);
                let flags = (u16::from(restart.restarted) * RESTARTED)
                    | (u16::from(restart.notification) * NOTIFICATION);
                out.put_u16(flags | seconds);
                restart.families.iter().for_each(|one| put_family(one.family, one.forwarding, out));
            }
            Capability::FourOctetAs(asn) => out.put_u32(asn.0),
            Capability::AddPath(families) => families.iter().for_each(|one| {
                out.put_u16(one.family.0);
                let directions = (u8::from(one.receive) * RECEIVE) | (u8::from(one.send) * SEND);
                out.put_slice(&[one.family.1, directions]);
            }),
            Capability::LongLivedRestart(families) => families.iter().for_each(|one| {
                put_family(one.family, one.forwarding, out);
                out.put_uint(one.time.as_secs().min(0xff_ffff), 3);
            }),
            Capability::Other(_, value) => {
                out.put_slice(value.get(..value.len().min(255)).unwrap_or_default());
            }
        }
        let length = out.len() - start - 2;
        if let Some(field) = out.get_mut(start + 1) {
            // Only lists of more families than there are could outgrow an octet.
            *field = u8::try_from(length).unwrap_or(u8::MAX);
        }
    }

    fn code(&self) -> u8 {
        match self {
            Capability::Multiprotocol(..) => code::MULTIPROTOCOL,
            Capability::RouteRefresh => code::ROUTE_REFRESH,
            Capability::ExtendedNextHop(_) => code::EXTENDED_NEXT_HOP,
            Capability::ExtendedMessage => code::EXTENDED_MESSAGE,
            Capability::GracefulRestart(_) => code::GRACEFUL_RESTART,
            Capability::FourOctetAs(_) => code::FOUR_OCTET_AS,
            Capability::AddPath(_) => code::ADD_PATH,
            Capability::EnhancedRefresh => code::ENHANCED_REFRESH,
            Capability::LongLivedRestart(_) => code::LONG_LIVED_RESTART,
            Capability::Other(kind, _) => *kind,
        }
    }
}

fn put_family(family: FamilyCode, forwarding: bool, out: &mut BytesMut) {
    out.put_u16(family.0);
    out.put_slice(&[family.1, u8::from(forwarding) * FORWARDING]);
}

/// Elements of `N` octets to the end of the value; `None` if something is left over.
fn each<T, const N: usize>(value: &[u8], read: impl Fn([u8; N]) -> Option<T>) -> Option<SmallVec<[T; 2]>> {
    let (whole, rest) = value.as_chunks::<N>();
    rest.is_empty().then(|| whole.iter().filter_map(|octets| read(*octets)).collect())
}

fn next_hop_family([high, low, zero, safi, next_high, next_low]: [u8; 6]) -> Option<NextHopFamily> {
    let family = (u16::from_be_bytes([high, low]), safi);
    (zero == 0).then_some(NextHopFamily { family, next_hop_afi: u16::from_be_bytes([next_high, next_low]) })
}

/// A value other than 1, 2 and 3 makes the family's entry void (RFC 7911 §4).
fn add_path([high, low, safi, directions]: [u8; 4]) -> Option<AddPath> {
    let family = (u16::from_be_bytes([high, low]), safi);
    let known = (RECEIVE..=RECEIVE | SEND).contains(&directions);
    known.then_some(AddPath { family, receive: directions & RECEIVE != 0, send: directions & SEND != 0 })
}

fn graceful_restart(value: &[u8]) -> Option<GracefulRestart> {
    let (head, families) = value.split_first_chunk()?;
    let head = u16::from_be_bytes(*head);
    Some(GracefulRestart {
        restarted: head & RESTARTED != 0,
        notification: head & NOTIFICATION != 0,
        time: Duration::from_secs(u64::from(head & RESTART_TIME)),
        families: each(families, |[high, low, safi, flags]: [u8; 4]| {
            let family = (u16::from_be_bytes([high, low]), safi);
            Some(RestartFamily { family, forwarding: flags & FORWARDING != 0 })
        })?,
    })
}

fn long_lived([high, low, safi, flags, t1, t2, t3]: [u8; 7]) -> Option<LongLived> {
    Some(LongLived {
        family: (u16::from_be_bytes([high, low]), safi),
        forwarding: flags & FORWARDING != 0,
        time: Duration::from_secs(u64::from(u32::from_be_bytes([0, t1, t2, t3]))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::error::Section;

    fn read(bytes: &[u8]) -> Capability {
        let mut reader = Reader::new(Section::Parameters, 0, bytes);
        let capability = Capability::decode(&mut reader).unwrap();
        assert!(reader.is_empty());
        capability
    }

    /// What is read, and what is written for it.
    fn both_ways(bytes: &[u8], capability: Capability) {
        assert_eq!(read(bytes), capability);
        let mut out = BytesMut::new();
        capability.encode(&mut out);
        assert_eq!(&out[..], bytes);
    }

    #[test]
    fn every_known_capability_has_the_octets_of_its_rfc() {
        both_ways(&[1, 4, 0, 2, 0, 1], Capability::Multiprotocol(2, 1));
        both_ways(&[2, 0], Capability::RouteRefresh);
        let family = NextHopFamily { family: (1, 1), next_hop_afi: 2 };
        both_ways(&[5, 6, 0, 1, 0, 1, 0, 2], Capability::ExtendedNextHop([family].into_iter().collect()));
        both_ways(&[6, 0], Capability::ExtendedMessage);
        let restart = GracefulRestart {
            restarted: true,
            notification: true,
            time: Duration::from_secs(120),
            families: [RestartFamily { family: (1, 1), forwarding: true }].into_iter().collect(),
        };
        both_ways(&[64, 6, 0xc0, 120, 0, 1, 1, 0x80], Capability::GracefulRestart(restart));
        both_ways(&[65, 4, 0, 1, 0, 0], Capability::FourOctetAs(Asn(65536)));
        let paths = [
            AddPath { family: (1, 1), receive: true, send: true },
            AddPath { family: (2, 1), receive: false, send: true },
        ];
        both_ways(&[69, 8, 0, 1, 1, 3, 0, 2, 1, 2], Capability::AddPath(paths.into_iter().collect()));
        both_ways(&[70, 0], Capability::EnhancedRefresh);
        let long = LongLived { family: (2, 1), forwarding: false, time: Duration::from_secs(86_400) };
        both_ways(
            &[71, 7, 0, 2, 1, 0, 1, 0x51, 0x80],
            Capability::LongLivedRestart([long].into_iter().collect()),
        );
    }

    #[test]
    fn a_capability_with_an_impossible_value_is_kept_as_unknown() {
        for bytes in [
            &[1_u8, 3, 0, 1, 0][..],
            &[2, 1, 0],
            &[5, 5, 0, 1, 0, 1, 0],
            &[6, 1, 0],
            &[64, 1, 0],
            &[64, 3, 0, 0, 0],
            &[65, 2, 0, 1],
            &[69, 3, 0, 1, 1],
            &[70, 2, 0, 0],
            &[71, 6, 0, 2, 1, 0, 1, 1],
        ] {
            both_ways(bytes, Capability::Other(bytes[0], Bytes::copy_from_slice(&bytes[2..])));
        }
    }

    #[test]
    fn an_add_path_direction_that_is_not_defined_voids_its_family_only() {
        let Capability::AddPath(found) = read(&[69, 12, 0, 1, 1, 0, 0, 2, 1, 1, 0, 1, 2, 4]) else {
            panic!()
        };
        assert_eq!(found[..], [AddPath { family: (2, 1), receive: true, send: false }]);
    }
}

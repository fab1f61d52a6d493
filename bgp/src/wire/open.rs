//! The OPEN message (RFC 4271 §4.2, RFC 5492, RFC 9072).
//!
//! Several capabilities in one parameter and one capability a parameter are both read. Whether lengths have two
//! octets is decided by the type of the first parameter alone (RFC 9072 §2), never by the length of 255.

use std::net::Ipv4Addr;

use bytes::{BufMut, BytesMut};

use super::capability::{Capability, GracefulRestart, LongLived, NextHopFamily};
use super::code_points::{message, parameter};
use super::error::{Error, Fault, Section};
use super::header;
use super::reader::Reader;
use crate::config::{Asn, Families, Family, HoldTime, RouterId};

/// The message, its fixed fields already checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// My Autonomous System: two octets, AS_TRANS for greater numbers. [`Open::asn`] is the true one.
    pub my_as: u16,
    /// The hold time offered.
    pub hold_time: HoldTime,
    /// The BGP identifier.
    pub identifier: RouterId,
    /// The capabilities, in their order.
    pub capabilities: Vec<Capability>,
}

impl Open {
    /// The sender's AS: that of the four-octet capability if there is one (RFC 6793 §4.1).
    pub fn asn(&self) -> Asn {
        self.four_octet_as().unwrap_or(Asn(u32::from(self.my_as)))
    }

    /// The AS of the four-octet capability.
    pub fn four_octet_as(&self) -> Option<Asn> {
        self.first(|capability| match capability {
            Capability::FourOctetAs(asn) => Some(*asn),
            _ => None,
        })
    }

    /// The families offered that are known here; without any multiprotocol capability that is IPv4 unicast
    /// (RFC 4760 §8).
    pub fn families(&self) -> Families {
        let mut offered = self.all(|capability| match capability {
            Capability::Multiprotocol(afi, safi) => Some((*afi, *safi)),
            _ => None,
        });
        let Some(first) = offered.next() else {
            return [Family::Ipv4Unicast].into_iter().collect();
        };
        std::iter::once(first).chain(offered).filter_map(|(afi, safi)| Family::from_code(afi, safi)).collect()
    }

    /// Whether ROUTE-REFRESH is answered.
    pub fn route_refresh(&self) -> bool {
        self.capabilities.contains(&Capability::RouteRefresh)
    }

    /// Whether refreshes are marked (RFC 7313).
    pub fn enhanced_refresh(&self) -> bool {
        self.capabilities.contains(&Capability::EnhancedRefresh)
    }

    /// Whether long messages are understood (RFC 8654).
    pub fn extended_messages(&self) -> bool {
        self.capabilities.contains(&Capability::ExtendedMessage)
    }

    /// The families in which the sender can receive several paths, and those in which it would send them (RFC 7911).
    /// Of several entries for one family the first counts.
    pub fn add_path(&self) -> (Families, Families) {
        let (mut receive, mut send, mut seen) = (Families::NONE, Families::NONE, Families::NONE);
        let lists = self.all(|capability| match capability {
            Capability::AddPath(list) => Some(list),
            _ => None,
        });
        for one in lists.flatten() {
            let Some(family) = Family::from_code(one.family.0, one.family.1) else { continue };
            if seen.contains(family) {
                continue;
            }
            seen.insert(family);
            if one.receive {
                receive.insert(family);
            }
            if one.send {
                send.insert(family);
            }
        }
        (receive, send)
    }

    /// The families whose next hops may be of the other family (RFC 8950).
    pub fn extended_next_hop(&self) -> Families {
        let lists = self.all(|capability| match capability {
            Capability::ExtendedNextHop(list) => Some(list),
            _ => None,
        });
        let useful = |one: &NextHopFamily| {
            let family = Family::from_code(one.family.0, one.family.1)?;
            (one.next_hop_afi != family.code().0).then_some(family)
        };
        lists.flatten().filter_map(useful).collect()
    }

    /// Graceful restart; of several the last counts (RFC 4724 §3).
    pub fn graceful_restart(&self) -> Option<&GracefulRestart> {
        let all = self.all(|capability| match capability {
            Capability::GracefulRestart(restart) => Some(restart),
            _ => None,
        });
        all.last()
    }

    /// Long-lived graceful restart (RFC 9494 §3.1); of several the last counts. Without graceful restart it means nothing.
    pub fn long_lived_restart(&self) -> Option<&[LongLived]> {
        let all = self.all(|capability| match capability {
            Capability::LongLivedRestart(families) => Some(families.as_slice()),
            _ => None,
        });
        all.last().filter(|_| self.graceful_restart().is_some())
    }

    fn all<'a, T>(&'a self, what: impl Fn(&'a Capability) -> Option<T>) -> impl Iterator<Item = T> {
        self.capabilities.iter().filter_map(what)
    }

    fn first<'a, T>(&'a self, what: impl Fn(&'a Capability) -> Option<T>) -> Option<T> {
        self.all(what).next()
    }

    /// Reads the body of the message.
    pub fn decode(body: &[u8]) -> Result<Open, Error> {
        let mut reader = Reader::new(Section::Open, 0, body);
        let version = reader.u8()?;
        if version != 4 {
            return Err(Error { section: Section::Open, offset: 0, fault: Fault::Version(version) });
        }
        let (my_as, hold_time, identifier) = (reader.u16()?, reader.u16()?, reader.ipv4()?);
        let hold_time = HoldTime::try_from(hold_time).map_err(|illegal| Error {
            section: Section::Open,
            offset: 3,
            fault: Fault::HoldTime(illegal.0),
        })?;
        let identifier = identifier_of(identifier)?;
        let capabilities = parameters(&mut reader)?;
        Ok(Open { my_as, hold_time, identifier, capabilities })
    }

    /// Writes the whole message, all capabilities in one parameter, by RFC 9072 if they need more than 255 octets.
    pub fn encode(&self, out: &mut BytesMut) {
        let start = header::begin(out, message::OPEN);
        out.put_u8(4);
        out.put_u16(self.my_as);
        out.put_u16(self.hold_time.seconds());
        out.put_slice(&self.identifier.address().octets());
        let mut list = BytesMut::new();
        for capability in &self.capabilities {
            capability.encode(&mut list);
        }
        match (u8::try_from(list.len() + 2), u8::try_from(list.len())) {
            (Ok(2), _) => out.put_u8(0),
            (Ok(total), Ok(length)) => {
                out.put_slice(&[total, parameter::CAPABILITIES, length]);
                out.put_slice(&list);
            }
            (Err(_), _) | (_, Err(_)) => {
                out.put_slice(&[255, parameter::EXTENDED_LENGTH, 0, 0, parameter::CAPABILITIES, 0, 0]);
                let place = out.len();
                header::put_length(out, place - 5, list.len() + 3);
                header::put_length(out, place - 2, list.len());
                out.put_slice(&list);
            }
        }
        header::finish(out, start);
    }
}

fn identifier_of(address: Ipv4Addr) -> Result<RouterId, Error> {
    let fault = Fault::Identifier(address);
    RouterId::try_from(address).map_err(|_| Error { section: Section::Open, offset: 5, fault })
}

fn parameters(reader: &mut Reader<'_>) -> Result<Vec<Capability>, Error> {
    let mut length = usize::from(reader.u8()?);
    let extended = length != 0 && reader.rest().first() == Some(&parameter::EXTENDED_LENGTH);
    if extended {
        reader.u8()?;
        length = usize::from(reader.u16()?);
    }
    if length != reader.len() {
        return Err(reader.error(Fault::Truncated));
    }
    let mut list = reader.section(Section::Parameters, length)?;
    let mut capabilities = Vec::new();
    while !list.is_empty() {
        let at = list;
        let kind = list.u8()?;
        let length = if extended { usize::from(list.u16()?) } else { usize::from(list.u8()?) };
        let mut value = list.section(Section::Parameters, length)?;
        if kind != parameter::CAPABILITIES {
            return Err(at.error(Fault::Parameter(kind)));
        }
        while !value.is_empty() {
            let capability = Capability::decode(&mut value)?;
            // The same capability may come twice; what it says the first time counts.
            if !capabilities.contains(&capability) {
                capabilities.push(capability);
            }
        }
    }
    Ok(capabilities)
}

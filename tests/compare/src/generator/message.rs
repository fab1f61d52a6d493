//! BGP messages as bytes (RFC 4271 §4): what peers send, and as much of reading as the load needs.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use super::family::Family;

/// Message types.
pub(crate) const OPEN: u8 = 1;
/// Announcements and withdrawals.
pub(crate) const UPDATE: u8 = 2;
/// The end, in words.
pub(crate) const NOTIFICATION: u8 = 3;
/// Nothing but a sign of life.
pub(crate) const KEEPALIVE: u8 = 4;
/// A header's octets: marker, length, type.
pub(crate) const HEADER: usize = 19;
/// The hold time of every peer, in seconds.
const HOLD: u16 = 180;
/// Octets of NLRI in one message at most, so that any attributes fit beside them.
const NLRI_AT_MOST: usize = 3000;

/// One message.
pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend(length(HEADER + body.len()));
    out.push(kind);
    out.extend(body);
    out
}

/// An OPEN for one family's unicast and AS numbers of four octets (RFC 4760, 6793).
pub(crate) fn open(family: Family, asn: u32, router_id: Ipv4Addr) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, family.afi(), 0, 1, 65, 4];
    capabilities.extend(asn.to_be_bytes());
    let mut body = vec![4];
    // AS_TRANS stands for what needs four octets.
    body.extend(u16::try_from(asn).unwrap_or(23456).to_be_bytes());
    body.extend(HOLD.to_be_bytes());
    body.extend(router_id.octets());
    let size = u8::try_from(capabilities.len()).unwrap_or(u8::MAX);
    body.extend([size + 2, 2, size]);
    body.extend(capabilities);
    message(OPEN, &body)
}

/// The path attributes of announcements.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    /// AS_PATH, one sequence; empty within an AS.
    pub(crate) path: Vec<u32>,
    /// The next hop, of the family that is announced.
    pub(crate) next_hop: IpAddr,
    /// Whether LOCAL_PREF is sent: within an AS.
    pub(crate) internal: bool,
    /// COMMUNITIES.
    pub(crate) communities: Vec<u32>,
}

impl Attributes {
    fn encode(&self) -> Vec<u8> {
        let mut out = vec![0x40, 1, 1, 0];
        let mut path = Vec::new();
        if !self.path.is_empty() {
            path.extend([2, u8::try_from(self.path.len()).unwrap_or(u8::MAX)]);
            path.extend(self.path.iter().flat_map(|asn| asn.to_be_bytes()));
        }
        attribute(&mut out, 0x40, 2, &path);
        if let IpAddr::V4(next_hop) = self.next_hop {
            attribute(&mut out, 0x40, 3, &next_hop.octets());
        }
        if self.internal {
            attribute(&mut out, 0x40, 5, &100_u32.to_be_bytes());
        }
        if !self.communities.is_empty() {
            let value: Vec<u8> = self.communities.iter().flat_map(|one| one.to_be_bytes()).collect();
            attribute(&mut out, 0xc0, 8, &value);
        }
        out
    }
}

fn attribute(out: &mut Vec<u8>, flags: u8, code: u8, value: &[u8]) {
    out.extend([flags, code, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
    out.extend(value);
}

fn length(octets: usize) -> [u8; 2] {
    u16::try_from(octets).unwrap_or(u16::MAX).to_be_bytes()
}

/// Appends MP_REACH_NLRI or MP_UNREACH_NLRI (RFC 4760), whose length takes two octets.
fn multiprotocol(out: &mut Vec<u8>, code: u8, next_hop: Option<IpAddr>, nlri: &[u8]) {
    let mut value = vec![0, Family::V6.afi(), 1];
    if let Some(IpAddr::V6(next_hop)) = next_hop {
        value.push(16);
        value.extend(next_hop.octets());
        value.push(0);
    }
    out.extend([0x90, code]);
    out.extend(length(value.len() + nlri.len()));
    out.extend(value);
    out.extend(nlri);
}

/// Codes of the two.
const REACH: u8 = 14;
const UNREACH: u8 = 15;

/// UPDATEs that announce these prefixes with these attributes.
pub(crate) fn announce(out: &mut Vec<u8>, attributes: &Attributes, numbers: Range<u32>) {
    let encoded = attributes.encode();
    let family = if attributes.next_hop.is_ipv4() { Family::V4 } else { Family::V6 };
    in_messages(family, numbers, |nlri| match family {
        Family::V4 => update(out, &[], &encoded, nlri),
        Family::V6 => {
            let mut all = Vec::new();
            multiprotocol(&mut all, REACH, Some(attributes.next_hop), nlri);
            all.extend(&encoded);
            update(out, &[], &all, &[]);
        }
    });
}

/// UPDATEs that withdraw these prefixes.
pub(crate) fn withdraw(out: &mut Vec<u8>, family: Family, numbers: Range<u32>) {
    in_messages(family, numbers, |nlri| match family {
        Family::V4 => update(out, nlri, &[], &[]),
        Family::V6 => {
            let mut attributes = Vec::new();
            multiprotocol(&mut attributes, UNREACH, None, nlri);
            update(out, &[], &attributes, &[]);
        }
    });
}

/// The mark that all has been said: an UPDATE that withdraws nothing (RFC 4724 §2).
pub(crate) fn end_of_rib(family: Family) -> Vec<u8> {
    let (mut out, mut attributes) = (Vec::new(), Vec::new());
    if family == Family::V6 {
        multiprotocol(&mut attributes, UNREACH, None, &[]);
    }
    update(&mut out, &[], &attributes, &[]);
    out
}

fn update(out: &mut Vec<u8>, withdrawn: &[u8], attributes: &[u8], announced: &[u8]) {
    let mut body = length(withdrawn.len()).to_vec();
    body.extend(withdrawn);
    body.extend(length(attributes.len()));
    body.extend(attributes);
    body.extend(announced);
    out.extend(message(UPDATE, &body));
}

fn in_messages(family: Family, numbers: Range<u32>, mut each: impl FnMut(&[u8])) {
    let mut nlri = Vec::new();
    for number in numbers {
        family.put(&mut nlri, number);
        if nlri.len() >= NLRI_AT_MOST {
            each(&nlri);
            nlri.clear();
        }
    }
    if !nlri.is_empty() {
        each(&nlri);
    }
}

/// The withdrawn and the announced prefixes of an UPDATE's body, as NLRI; `None` if its lengths are wrong.
pub(crate) fn parts(family: Family, body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = body.split_first_chunk::<2>()?;
    let (withdrawn, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
    let (size, rest) = rest.split_first_chunk::<2>()?;
    let (attributes, announced) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
    match family {
        Family::V4 => Some((withdrawn, announced)),
        Family::V6 => parts_of(attributes),
    }
}

/// The same of path attributes.
fn parts_of(mut attributes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut withdrawn, mut announced) = ([].as_slice(), [].as_slice());
    while let Some(([flags, code], rest)) = attributes.split_first_chunk::<2>() {
        let (size, rest) = if flags & 0x10 == 0 {
            let (size, rest) = rest.split_first()?;
            (usize::from(*size), rest)
        } else {
            let (size, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*size)), rest)
        };
        let (value, rest) = rest.split_at_checked(size)?;
        match *code {
            // Family, next hop with its length, a reserved octet.
            REACH => announced = value.get(5 + usize::from(*value.get(3)?)..)?,
            UNREACH => withdrawn = value.get(3..)?,
            _ => {}
        }
        attributes = rest;
    }
    Some((withdrawn, announced))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_and_withdrawn_is_read_back() {
        let here: [IpAddr; 2] = [[10, 65, 0, 1].into(), [0xfd64, 0, 0, 65, 0, 0, 0, 1].into()];
        for (family, next_hop) in [Family::V4, Family::V6].into_iter().zip(here) {
            let attributes = Attributes {
                path: vec![65001, 400_000],
                next_hop,
                internal: false,
                communities: vec![0xfde8_0001],
            };
            let (mut announced, mut withdrawn) = (Vec::new(), Vec::new());
            announce(&mut announced, &attributes, 0..2000);
            withdraw(&mut withdrawn, family, 0..2000);
            withdrawn.extend(end_of_rib(family));
            for (bytes, is_announcement) in [(announced, true), (withdrawn, false)] {
                let (mut found, mut rest) = (Vec::new(), bytes.as_slice());
                while let Some(size) = rest.get(16..18) {
                    let size = usize::from(u16::from_be_bytes([size[0], size[1]]));
                    assert!(size <= 4096 && rest[18] == UPDATE);
                    let (gone, come) = parts(family, &rest[HEADER..size]).unwrap();
                    let (told, other) = if is_announcement { (come, gone) } else { (gone, come) };
                    assert!(other.is_empty());
                    family.each(told, |number| found.push(number));
                    rest = &rest[size..];
                }
                assert_eq!(found, (0..2000).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn lengths_beyond_the_message_are_seen() {
        assert_eq!(parts(Family::V4, &[0, 9, 0, 0]), None);
        assert_eq!(parts(Family::V4, &[0, 0, 0, 1]), None);
        assert_eq!(parts(Family::V4, &[0, 0, 0, 0]), Some((&[][..], &[][..])));
        assert_eq!(parts(Family::V6, &[0, 0, 0, 4, 0x90, 15, 0, 3]), None);
        assert_eq!(parts(Family::V6, &[0, 0, 0, 7, 0x90, 14, 0, 3, 0, 2, 1]), None);
    }
}

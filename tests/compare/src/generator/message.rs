//! BGP messages as bytes (RFC 4271 §4): what peers send, and as much of reading as the load needs.

use std::net::Ipv4Addr;

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

/// An OPEN for IPv4 unicast and AS numbers of four octets (RFC 4760, 6793).
pub(crate) fn open(asn: u32, router_id: Ipv4Addr) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 65, 4];
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
    /// NEXT_HOP.
    pub(crate) next_hop: Ipv4Addr,
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
        attribute(&mut out, 0x40, 3, &self.next_hop.octets());
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

/// UPDATEs that announce these /24 with these attributes.
pub(crate) fn announce(out: &mut Vec<u8>, attributes: &Attributes, prefixes: impl Iterator<Item = [u8; 3]>) {
    let attributes = attributes.encode();
    in_messages(prefixes, |nlri| {
        let mut body = vec![0, 0];
        body.extend(length(attributes.len()));
        body.extend(&attributes);
        body.extend(nlri);
        out.extend(message(UPDATE, &body));
    });
}

/// UPDATEs that withdraw these /24.
pub(crate) fn withdraw(out: &mut Vec<u8>, prefixes: impl Iterator<Item = [u8; 3]>) {
    in_messages(prefixes, |nlri| {
        let mut body = length(nlri.len()).to_vec();
        body.extend(nlri);
        body.extend([0, 0]);
        out.extend(message(UPDATE, &body));
    });
}

/// The mark that all has been said: an UPDATE with nothing in it (RFC 4724 §2).
pub(crate) fn end_of_rib() -> Vec<u8> {
    message(UPDATE, &[0; 4])
}

fn in_messages(prefixes: impl Iterator<Item = [u8; 3]>, mut each: impl FnMut(&[u8])) {
    let mut nlri = Vec::new();
    for [first, second, third] in prefixes {
        nlri.extend([24, first, second, third]);
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
pub(crate) fn parts(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (size, rest) = body.split_first_chunk::<2>()?;
    let (withdrawn, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
    let (size, rest) = rest.split_first_chunk::<2>()?;
    let (_, announced) = rest.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
    Some((withdrawn, announced))
}

/// Tells each /24 in NLRI; other lengths are passed over.
pub(crate) fn each_prefix(mut nlri: &[u8], mut each: impl FnMut([u8; 3])) {
    while let Some((bits, rest)) = nlri.split_first() {
        let octets = usize::from(bits.div_ceil(8));
        let Some((prefix, rest)) = rest.split_at_checked(octets) else { return };
        if let ([first, second, third], 24) = (prefix, bits) {
            each([*first, *second, *third]);
        }
        nlri = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_announced_and_withdrawn_is_read_back() {
        let attributes = Attributes {
            path: vec![65001, 400_000],
            next_hop: Ipv4Addr::new(10, 65, 0, 1),
            internal: false,
            communities: vec![0xfde8_0001],
        };
        let prefixes = || (0..2000_u16).map(|n| n.to_be_bytes()).map(|[a, b]| [20, a, b]);
        let (mut announced, mut withdrawn) = (Vec::new(), Vec::new());
        announce(&mut announced, &attributes, prefixes());
        withdraw(&mut withdrawn, prefixes());
        for (bytes, is_announcement) in [(announced, true), (withdrawn, false)] {
            let (mut found, mut rest) = (Vec::new(), bytes.as_slice());
            while let Some(size) = rest.get(16..18) {
                let size = usize::from(u16::from_be_bytes([size[0], size[1]]));
                assert!(size <= 4096 && rest[18] == UPDATE);
                let (gone, come) = parts(&rest[HEADER..size]).unwrap();
                let (told, other) = if is_announcement { (come, gone) } else { (gone, come) };
                assert!(other.is_empty());
                each_prefix(told, |prefix| found.push(prefix));
                rest = &rest[size..];
            }
            assert_eq!(found, prefixes().collect::<Vec<_>>());
        }
    }

    #[test]
    fn lengths_beyond_the_message_are_seen() {
        assert_eq!(parts(&[0, 9, 0, 0]), None);
        assert_eq!(parts(&[0, 0, 0, 1]), None);
        assert_eq!(parts(&[0, 0, 0, 0]), Some((&[][..], &[][..])));
    }
}

//! The messages of BMP on the wire (RFC 7854 §4). Only written, never read: a collector has nothing to say.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};

use crate::config::{Asn, Family, RouterId};
use crate::net::{Ending, Opens};
use crate::wire::notification::Notification;

/// The version of RFC 7854.
const VERSION: u8 = 3;
/// Version, length, type.
const COMMON: usize = 6;
/// The longest text of a TLV that is sent, in octets.
const MAX_TEXT: usize = 255;

/// Message types (RFC 7854 §4.1).
mod kind {
    pub(super) const ROUTE_MONITORING: u8 = 0;
    pub(super) const STATISTICS_REPORT: u8 = 1;
    pub(super) const PEER_DOWN: u8 = 2;
    pub(super) const PEER_UP: u8 = 3;
    pub(super) const INITIATION: u8 = 4;
    pub(super) const TERMINATION: u8 = 5;
}

/// Types of information in Initiation and Peer Up (RFC 7854 §4.4).
mod information {
    pub(super) const STRING: u16 = 0;
    pub(super) const SYS_DESCR: u16 = 1;
    pub(super) const SYS_NAME: u16 = 2;
}

/// On which side of the import policy a route was seen (RFC 7854 §4.2, the L flag).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum View {
    /// As the peer sent it.
    PrePolicy,
    /// As the import policy left it.
    PostPolicy,
}

/// The header of everything that is about one peer (RFC 7854 §4.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHeader {
    /// Before or after the import policy.
    pub view: View,
    /// The peer's address.
    pub address: IpAddr,
    /// Its AS.
    pub asn: Asn,
    /// Its BGP identifier.
    pub id: RouterId,
    /// When what is told was so.
    pub at: SystemTime,
}

impl PeerHeader {
    fn encode(&self, out: &mut BytesMut) {
        // A peer of the global instance; its paths are told with AS numbers of four octets.
        let v6 = if self.address.is_ipv6() { 0x80 } else { 0 };
        let post = match self.view {
            View::PrePolicy => 0,
            View::PostPolicy => 0x40,
        };
        out.put_slice(&[0, v6 | post]);
        out.put_u64(0);
        put_address(self.address, out);
        out.put_u32(self.asn.0);
        out.put_slice(&self.id.address().octets());
        let at = self.at.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        out.put_u32(u32::try_from(at.as_secs()).unwrap_or(u32::MAX));
        out.put_u32(at.subsec_micros());
    }
}

/// Sixteen octets; an IPv4 address is the last four of them.
fn put_address(address: IpAddr, out: &mut BytesMut) {
    match address {
        IpAddr::V4(address) => {
            out.put_slice(&[0; 12]);
            out.put_slice(&address.octets());
        }
        IpAddr::V6(address) => out.put_slice(&address.octets()),
    }
}

/// A whole message; its length is known when its body is.
fn message(kind: u8, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_u8(VERSION);
    out.put_u32(0);
    out.put_u8(kind);
    body(out);
    debug_assert!(out.len() >= start + COMMON);
    let length = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    if let Some(place) = out.get_mut(start + 1..start + 5) {
        place.copy_from_slice(&length.to_be_bytes());
    }
}

/// Text of a TLV, cut between characters if it is too long.
fn put_text(kind: u16, text: &str, out: &mut BytesMut) {
    let text = &text[..text.floor_char_boundary(MAX_TEXT)];
    out.put_u16(kind);
    out.put_u16(u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.put_slice(text.as_bytes());
}

/// Initiation (RFC 7854 §4.3): who speaks.
pub fn initiation(name: &str, description: &str, out: &mut BytesMut) {
    message(kind::INITIATION, out, |out| {
        put_text(information::SYS_DESCR, description, out);
        put_text(information::SYS_NAME, name, out);
    });
}

/// Why the connection to the collector ends (RFC 7854 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goodbye {
    /// The operator, or the configuration, says so.
    AdministrativelyClosed = 0,
    /// Too much had to wait for it: it is told everything anew.
    OutOfResources = 2,
}

/// Termination (RFC 7854 §4.5).
pub fn termination(why: Goodbye, words: &str, out: &mut BytesMut) {
    message(kind::TERMINATION, out, |out| {
        // The reason first: some collectors read no further.
        out.put_u16(1);
        out.put_u16(2);
        out.put_u16(why as u16);
        put_text(0, words, out);
    });
}

/// Peer Up (RFC 7854 §4.10): the connection and both OPENs. `name` is what people call the peer.
pub fn peer_up(
    header: &PeerHeader,
    local: SocketAddr,
    remote: SocketAddr,
    opens: &Opens,
    name: &str,
    out: &mut BytesMut,
) {
    message(kind::PEER_UP, out, |out| {
        header.encode(out);
        put_address(local.ip(), out);
        out.put_u16(local.port());
        out.put_u16(remote.port());
        out.put_slice(&opens.sent);
        out.put_slice(&opens.received);
        put_text(information::STRING, name, out);
    });
}

/// Peer Down (RFC 7854 §4.9), with the NOTIFICATION where there was one.
pub fn peer_down(header: &PeerHeader, ending: &Ending, out: &mut BytesMut) {
    message(kind::PEER_DOWN, out, |out| {
        header.encode(out);
        let told = |code: u8, words: &Notification, out: &mut BytesMut| {
            out.put_u8(code);
            words.encode(out);
        };
        match ending {
            Ending::Said(words) => told(1, words, out),
            Ending::Silent => {
                out.put_u8(2);
                // No event of the state machine of RFC 4271 is meant.
                out.put_u16(0);
            }
            Ending::Heard(words) => told(3, words, out),
            Ending::Lost => out.put_u8(4),
            Ending::Deconfigured => out.put_u8(5),
        }
    });
}

/// Route Monitoring (RFC 7854 §4.6): one whole UPDATE.
pub fn route_monitoring(header: &PeerHeader, update: &[u8], out: &mut BytesMut) {
    message(kind::ROUTE_MONITORING, out, |out| {
        header.encode(out);
        out.put_slice(update);
    });
}

/// How many routes a peer has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// It has sent and not withdrawn, of this family.
    pub received: u64,
    /// It was told, of this family.
    pub announced: u64,
}

/// One of them.
type Gauge = fn(&Gauges) -> u64;

/// Statistics Report (RFC 7854 §4.8): routes in Adj-RIB-In (types 7 and 9) and in Adj-RIB-Out after the export policy
/// (types 15 and 17, RFC 8671 §6.2).
pub fn statistics(header: &PeerHeader, families: &[(Family, Gauges)], out: &mut BytesMut) {
    message(kind::STATISTICS_REPORT, out, |out| {
        header.encode(out);
        out.put_u32(u32::try_from(2 + 2 * families.len()).unwrap_or(u32::MAX));
        let kinds: [(u16, u16, Gauge); 2] =
            [(7, 9, |gauges| gauges.received), (15, 17, |gauges| gauges.announced)];
        for (all, by_family, value) in kinds {
            out.put_u16(all);
            out.put_u16(8);
            out.put_u64(families.iter().map(|(_, gauges)| value(gauges)).sum());
            for (family, gauges) in families {
                let (afi, safi) = family.code();
                out.put_u16(by_family);
                out.put_u16(11);
                out.put_u16(afi);
                out.put_u8(safi);
                out.put_u64(value(gauges));
            }
        }
    });
}

#[cfg(test)]
mod tests;

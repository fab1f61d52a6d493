//! Prefixes: small keys for the tables, and their form on the wire.

use std::fmt;
use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use bytes::{BufMut, BytesMut};

use super::error::{Error, Fault};
use super::reader::Reader;
use crate::config::Family;

/// A prefix of one family: small, `Copy`, always masked.
pub trait Prefix: Copy + Ord + Hash + Debug + fmt::Display + Send + Sync + 'static {
    /// Its family.
    const FAMILY: Family;
    /// The length of a host's prefix.
    const MAX_LENGTH: u8;

    /// The prefix that begins with `octets`; octets that are missing count as zero, bits past `length` are cleared.
    /// `None` if the length is too great.
    fn from_octets(octets: &[u8], length: u8) -> Option<Self>;
    /// In how many bits it begins alike.
    fn length(self) -> u8;
    /// Its octets as the wire has them: only as many as the length needs. The buffer is the caller's.
    fn octets(self, buffer: &mut [u8; 16]) -> &[u8];
    /// The value at the boundary, if it is of this family; host bits are cleared.
    fn from_network(network: &IpNetwork) -> Option<Self>;
    /// The value at the boundary.
    fn to_network(self) -> IpNetwork;
    /// Whether `address` lies inside.
    fn contains(self, address: IpAddr) -> bool;
}

macro_rules! prefix {
    ($name:ident, $bits:ty, $max:literal, $family:ident, $address:ident, $network:ident, $variant:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            bits: $bits,
            length: u8,
        }

        impl $name {
            /// The prefix of `length` bits that begins like `address`; `None` if the length is too great.
            pub fn new(address: $address, length: u8) -> Option<Self> {
                (length <= $max).then(|| $name { bits: address.to_bits() & Self::mask(length), length })
            }

            /// The first address.
            pub fn address(self) -> $address {
                $address::from_bits(self.bits)
            }

            /// The address as a number.
            pub fn bits(self) -> $bits {
                self.bits
            }

            fn mask(length: u8) -> $bits {
                <$bits>::MAX.checked_shl(u32::from($max - length)).unwrap_or(0)
            }
        }

        impl Prefix for $name {
            const FAMILY: Family = Family::$family;
            const MAX_LENGTH: u8 = $max;

            fn from_octets(octets: &[u8], length: u8) -> Option<Self> {
                let mut whole = [0; $max / 8];
                for (to, from) in whole.iter_mut().zip(octets) {
                    *to = *from;
                }
                Self::new($address::from(whole), length)
            }

            fn length(self) -> u8 {
                self.length
            }

            fn octets(self, buffer: &mut [u8; 16]) -> &[u8] {
                for (to, from) in buffer.iter_mut().zip(self.bits.to_be_bytes()) {
                    *to = from;
                }
                buffer.get(..usize::from(self.length).div_ceil(8)).unwrap_or_default()
            }

            fn from_network(network: &IpNetwork) -> Option<Self> {
                match network {
                    IpNetwork::$variant(network) => Self::new(network.ip(), network.prefix()),
                    _ => None,
                }
            }

            fn to_network(self) -> IpNetwork {
                // The length was checked when the prefix was made, so that the other arm is not taken.
                $network::new(self.address(), self.length)
                    .map_or_else(|_| IpNetwork::from(IpAddr::from(self.address())), IpNetwork::from)
            }

            fn contains(self, address: IpAddr) -> bool {
                match address {
                    IpAddr::$variant(address) => address.to_bits() & Self::mask(self.length) == self.bits,
                    _ => false,
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", self.address(), self.length)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

prefix!(Ipv4Prefix, u32, 32, Ipv4Unicast, Ipv4Addr, Ipv4Network, V4, "An IPv4 prefix in five octets.");
prefix!(Ipv6Prefix, u128, 128, Ipv6Unicast, Ipv6Addr, Ipv6Network, V6, "An IPv6 prefix in seventeen octets.");

/// Reads prefixes to the end of the section. The loop is by hand: it is where a full table's time goes.
pub(super) fn decode_all<P: Prefix>(reader: &mut Reader<'_>) -> Result<Vec<P>, Error> {
    let mut rest = reader.rest();
    // The mean prefix of a full table has three octets and its length.
    let mut prefixes = Vec::with_capacity(rest.len() / 4 + 1);
    while let Some((length, octets)) = rest.split_first() {
        let taken = octets.split_at_checked(usize::from(*length).div_ceil(8));
        let prefix = taken.and_then(|(octets, _)| P::from_octets(octets, *length));
        let (Some(prefix), Some((_, behind))) = (prefix, taken) else {
            let fault = if *length > P::MAX_LENGTH { Fault::PrefixLength(*length) } else { Fault::Truncated };
            let mut at = reader.error(fault);
            at.offset += reader.len() - rest.len();
            return Err(at);
        };
        prefixes.push(prefix);
        rest = behind;
    }
    Ok(prefixes)
}

/// Writes one prefix.
pub(super) fn encode<P: Prefix>(prefix: P, out: &mut BytesMut) {
    out.put_u8(prefix.length());
    out.put_slice(prefix.octets(&mut [0; 16]));
}

/// The octets [`encode`] writes.
pub(super) fn encoded_length<P: Prefix>(prefix: P) -> usize {
    1 + usize::from(prefix.length()).div_ceil(8)
}

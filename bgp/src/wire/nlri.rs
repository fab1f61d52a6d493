//! Prefixes: small keys for the tables, and their form on the wire (RFC 4271 §4.3, RFC 7911 §3).
//!
//! What comes in an UPDATE is checked once and then kept as the octets it came in ([`NlriList`]): it costs no
//! allocation, takes no more memory in a queue than it took on the wire, and is read by whoever applies it.

use std::fmt;
use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::{IpNetwork, Ipv4Network, Ipv6Network};

use bytes::{BufMut, Bytes, BytesMut};
use smallvec::SmallVec;

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
        // An address of 128 bits would be aligned to sixteen octets, and the prefix take 32.
        #[repr(Rust, packed(4))]
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

/// A prefix as a peer names one path to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nlri<P> {
    /// The prefix.
    pub prefix: P,
    /// The identifier its sender gave the path (RFC 7911 §3). Always 0 where add-path is not negotiated; where it is,
    /// 0 is an identifier like any other.
    pub path_id: u32,
}

impl<P> From<P> for Nlri<P> {
    /// The only path to a prefix.
    fn from(prefix: P) -> Self {
        Nlri { prefix, path_id: 0 }
    }
}

impl<P: fmt::Display> fmt::Display for Nlri<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path_id {
            0 => self.prefix.fmt(f),
            id => write!(f, "{} (path {id})", self.prefix),
        }
    }
}

/// Prefixes as they came, known to be good.
///
/// More than one run only where a message names prefixes of one family in several places.
#[derive(Clone)]
pub struct NlriList<P> {
    runs: SmallVec<[Bytes; 1]>,
    count: usize,
    path_ids: bool,
    family: PhantomData<fn() -> P>,
}

impl<P: Prefix> NlriList<P> {
    /// `field` has been checked by [`Field::read`].
    pub(super) fn of(body: &Bytes, field: Field<'_>) -> Self {
        let mut list = NlriList { path_ids: field.path_ids, ..NlriList::default() };
        list.add(body, field);
        list
    }

    /// Adds what another field of the same message, `body`, names.
    pub(super) fn add(&mut self, body: &Bytes, field: Field<'_>) {
        if field.count > 0 {
            self.runs.push(body.slice_ref(field.octets));
            self.count += field.count;
            self.path_ids = field.path_ids;
        }
    }

    /// How many there are; a prefix that is named twice counts twice.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Reads them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = Nlri<P>> + '_ {
        self.runs.iter().flat_map(|run| Octets { rest: run, path_ids: self.path_ids, family: PhantomData })
    }

    /// Reads the prefixes alone.
    pub fn prefixes(&self) -> impl Iterator<Item = P> + '_ {
        self.iter().map(|nlri| nlri.prefix)
    }
}

impl<P> Default for NlriList<P> {
    fn default() -> Self {
        NlriList { runs: SmallVec::new(), count: 0, path_ids: false, family: PhantomData }
    }
}

impl<P: Prefix> PartialEq for NlriList<P> {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.iter().eq(other.iter())
    }
}

impl<P: Prefix> Eq for NlriList<P> {}

impl<P: Prefix> fmt::Debug for NlriList<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<P: Prefix> FromIterator<Nlri<P>> for NlriList<P> {
    fn from_iter<I: IntoIterator<Item = Nlri<P>>>(all: I) -> Self {
        let mut octets = BytesMut::new();
        let mut count = 0;
        for nlri in all {
            encode(nlri, true, &mut octets);
            count += 1;
        }
        NlriList { runs: SmallVec::from_iter([octets.freeze()]), count, path_ids: true, family: PhantomData }
    }
}

/// A part of a message that holds prefixes and was read to its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Field<'a> {
    octets: &'a [u8],
    pub(super) count: usize,
    path_ids: bool,
}

impl<'a> Field<'a> {
    /// Checks prefixes to the end of the section.
    pub(super) fn read<P: Prefix>(reader: &mut Reader<'a>, path_ids: bool) -> Result<Self, Error> {
        let octets = reader.rest();
        let (mut rest, mut count) = (octets, 0);
        while !rest.is_empty() {
            match split::<P>(rest, path_ids) {
                Ok((_, behind)) => rest = behind,
                Err(fault) => {
                    let mut at = reader.error(fault);
                    at.offset += octets.len() - rest.len();
                    return Err(at);
                }
            }
            count += 1;
        }
        Ok(Field { octets, count, path_ids })
    }
}

struct Octets<'a, P> {
    rest: &'a [u8],
    path_ids: bool,
    family: PhantomData<fn() -> P>,
}

impl<P: Prefix> Iterator for Octets<'_, P> {
    type Item = Nlri<P>;

    fn next(&mut self) -> Option<Nlri<P>> {
        let (nlri, rest) = split(self.rest, self.path_ids).ok()?;
        self.rest = rest;
        Some(nlri)
    }
}

/// The first of some prefixes, and what is behind it. By hand: it is where a full table's time goes.
fn split<P: Prefix>(octets: &[u8], path_ids: bool) -> Result<(Nlri<P>, &[u8]), Fault> {
    let (path_id, octets) = match path_ids {
        false => (0, octets),
        true => {
            let (id, rest) = octets.split_first_chunk().ok_or(Fault::Truncated)?;
            (u32::from_be_bytes(*id), rest)
        }
    };
    let (length, octets) = octets.split_first().ok_or(Fault::Truncated)?;
    if *length > P::MAX_LENGTH {
        return Err(Fault::PrefixLength(*length));
    }
    let (octets, rest) = octets.split_at_checked(usize::from(length.div_ceil(8))).ok_or(Fault::Truncated)?;
    let prefix = P::from_octets(octets, *length).ok_or(Fault::PrefixLength(*length))?;
    Ok((Nlri { prefix, path_id }, rest))
}

/// Writes one prefix.
pub(super) fn encode<P: Prefix>(nlri: Nlri<P>, path_id: bool, out: &mut BytesMut) {
    if path_id {
        out.put_u32(nlri.path_id);
    }
    out.put_u8(nlri.prefix.length());
    out.put_slice(nlri.prefix.octets(&mut [0; 16]));
}

/// The octets [`encode`] writes.
pub(super) fn encoded_length<P: Prefix>(prefix: P, path_id: bool) -> usize {
    (if path_id { 5 } else { 1 }) + usize::from(prefix.length()).div_ceil(8)
}

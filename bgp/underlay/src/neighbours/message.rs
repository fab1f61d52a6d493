//! Router advertisements and solicitations (RFC 4861 §4.1, §4.2), as far as routers find each other by them.
//!
//! What is said here is that there is a router, and nothing else: it is nobody's default router (a lifetime of 0), and there
//! are no prefixes. What others say beside that is not looked at.

use std::net::Ipv6Addr;

use caracal_linux::object::link::Mac;

/// The hop limit of everything that neighbours say, which nobody farther away can imitate (RFC 4861 §3.1).
pub const HOP_LIMIT: u8 = 255;
/// The ICMPv6 type of a router solicitation.
pub const SOLICITATION: u8 = 133;
/// The ICMPv6 type of a router advertisement.
pub const ADVERTISEMENT: u8 = 134;

/// Type, code, checksum and four octets that mean nothing.
const LEAST_SOLICITATION: usize = 8;
/// The octets before the options.
const LEAST_ADVERTISEMENT: usize = 16;
/// Source Link-Layer Address, with a length of eight octets (RFC 4861 §4.6.1).
const SOURCE_LINK_LAYER: [u8; 2] = [1, 1];

/// What a neighbour says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// There is a router at the address it came from.
    Advertisement,
    /// Somebody asks which routers there are.
    Solicitation,
}

/// Why something that came is not listened to (RFC 4861 §6.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Illegal {
    /// It may come from anywhere.
    #[error("its hop limit is not 255: it may come from another link")]
    HopLimit,
    /// It is something else.
    #[error("it is of ICMPv6 type {0}")]
    Type(u8),
    /// There is none but zero.
    #[error("its code is {0} and not 0")]
    Code(u8),
    /// Its beginning is not all there.
    #[error("it is too short")]
    TooShort,
    /// What follows cannot be told apart.
    #[error("an option has a length of 0, or one beyond the end")]
    Option,
    /// A router says who it is by its link-local address.
    #[error("it comes from an address that is not link-local")]
    Source,
}

/// Reads a message whose checksum was found right.
///
/// # Errors
/// [`Illegal`], when RFC 4861 §6.1 says that it must be dropped.
pub fn read(octets: &[u8], from: Ipv6Addr, hop_limit: Option<u8>) -> Result<Message, Illegal> {
    if hop_limit != Some(HOP_LIMIT) {
        return Err(Illegal::HopLimit);
    }
    let [kind, code, ..] = *octets else { return Err(Illegal::TooShort) };
    let (message, least) = match kind {
        SOLICITATION => (Message::Solicitation, LEAST_SOLICITATION),
        ADVERTISEMENT => (Message::Advertisement, LEAST_ADVERTISEMENT),
        other => return Err(Illegal::Type(other)),
    };
    if code != 0 {
        return Err(Illegal::Code(code));
    }
    let mut options = octets.get(least..).ok_or(Illegal::TooShort)?;
    while let Some(units) = options.get(1) {
        let length = usize::from(*units) * 8;
        options = options.get(length..).filter(|_| length > 0).ok_or(Illegal::Option)?;
    }
    if !options.is_empty() {
        return Err(Illegal::Option);
    }
    if message == Message::Advertisement && !from.is_unicast_link_local() {
        return Err(Illegal::Source);
    }
    Ok(message)
}

/// An advertisement; the kernel writes its checksum.
pub fn advertisement(own: Option<Mac>) -> Vec<u8> {
    // A hop limit of 0 says nothing of hop limits; no flags, a router lifetime of 0, and no times: all others' to say.
    let mut octets = vec![ADVERTISEMENT];
    octets.resize(LEAST_ADVERTISEMENT, 0);
    with_source(octets, own)
}

/// A solicitation; the kernel writes its checksum.
pub fn solicitation(own: Option<Mac>) -> Vec<u8> {
    let mut octets = vec![SOLICITATION];
    octets.resize(LEAST_SOLICITATION, 0);
    with_source(octets, own)
}

fn with_source(mut octets: Vec<u8>, own: Option<Mac>) -> Vec<u8> {
    if let Some(Mac(address)) = own {
        octets.extend(SOURCE_LINK_LAYER);
        octets.extend(address);
    }
    octets
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    const MAC: Mac = Mac([2, 0, 0x5e, 0x10, 0, 1]);

    fn of_router() -> Ipv6Addr {
        "fe80::1".parse().unwrap()
    }

    fn heard(octets: &[u8]) -> Result<Message, Illegal> {
        read(octets, of_router(), Some(HOP_LIMIT))
    }

    #[test]
    fn an_advertisement_makes_nobody_a_default_router() {
        let with = advertisement(Some(MAC));
        let head = [134, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(with, [&head[..], &[1, 1, 2, 0, 0x5e, 0x10, 0, 1]].concat());
        assert_eq!(advertisement(None), head, "a tunnel has no address to give");
        assert_eq!(solicitation(None), [133, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn what_is_said_here_is_understood_here() {
        for own in [None, Some(MAC)] {
            assert_eq!(heard(&advertisement(own)), Ok(Message::Advertisement));
            assert_eq!(heard(&solicitation(own)), Ok(Message::Solicitation));
        }
        let anybody = read(&solicitation(None), Ipv6Addr::UNSPECIFIED, Some(HOP_LIMIT));
        assert_eq!(anybody, Ok(Message::Solicitation), "who asks may have no address yet");
    }

    #[test]
    fn each_rule_of_rfc_4861_6_1_drops_what_breaks_it() {
        let good = advertisement(Some(MAC));
        let changed = |at: usize, value: u8| {
            let mut octets = good.clone();
            octets[at] = value;
            heard(&octets)
        };
        assert_eq!(read(&good, of_router(), Some(254)), Err(Illegal::HopLimit));
        assert_eq!(read(&good, of_router(), None), Err(Illegal::HopLimit));
        assert_eq!(read(&good, "2001:db8::1".parse().unwrap(), Some(255)), Err(Illegal::Source));
        assert_eq!(changed(0, 136), Err(Illegal::Type(136)));
        assert_eq!(changed(1, 1), Err(Illegal::Code(1)));
        assert_eq!(changed(17, 0), Err(Illegal::Option), "an option without a length");
        assert_eq!(changed(17, 2), Err(Illegal::Option), "an option beyond the end");
        assert_eq!(heard(&good[..15]), Err(Illegal::TooShort));
        assert_eq!(heard(&good[..17]), Err(Illegal::Option), "half an option");
        assert_eq!(heard(&[]), Err(Illegal::TooShort));
    }

    #[test]
    fn no_octets_make_it_panic() {
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..20_000 {
            let mut octets = vec![0; random.random_range(0..64)];
            random.fill(&mut octets[..]);
            if let Some(kind) = octets.first_mut() {
                *kind = random.random_range(132..136);
            }
            if let Ok(message) = heard(&octets) {
                assert!(octets.len() >= if message == Message::Advertisement { 16 } else { 8 });
            }
        }
    }
}

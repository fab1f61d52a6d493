//! Communities of every kind under one name, as people write them.

use std::fmt;
use std::str::FromStr;

use crate::wire::attribute::{AttributeSet, Community, ExtendedCommunity, LargeCommunity};

/// The well-known communities this speaker knows by name, with their values (RFC 1997, 7999, 8326, 9494).
const NAMES: [(&str, Community); 7] = [
    ("graceful-shutdown", Community::GRACEFUL_SHUTDOWN),
    ("llgr-stale", Community::LLGR_STALE),
    ("no-llgr", Community::NO_LLGR),
    ("blackhole", Community::BLACKHOLE),
    ("no-export", Community::NO_EXPORT),
    ("no-advertise", Community::NO_ADVERTISE),
    ("no-export-subconfed", Community::NO_EXPORT_SUBCONFED),
];

/// A community of any kind.
///
/// As text: `64512:7` (RFC 1997), `64512:1:2` (RFC 8092), `rt:64512:9` and `ro:64512:9` (RFC 4360, RFC 5668),
/// `ext:0x0002fbf000000009` for any other extended one, or a well-known name: `no-export`, `no-advertise`,
/// `no-export-subconfed`, `graceful-shutdown`, `blackhole`, `no-llgr`, `llgr-stale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnyCommunity {
    /// Four octets (RFC 1997).
    Standard(Community),
    /// Twelve octets (RFC 8092).
    Large(LargeCommunity),
    /// Eight octets with a type (RFC 4360).
    Extended(ExtendedCommunity),
}

/// Text that is no community.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no community: write 64512:7, 64512:1:2, rt:64512:9, ro:64512:9, ext:0x… or a well-known name such as \
     no-export or graceful-shutdown"
)]
pub struct NoCommunity(pub String);

impl AnyCommunity {
    /// Whether a set of attributes carries it.
    pub fn is_in(&self, set: &AttributeSet) -> bool {
        match self {
            AnyCommunity::Standard(one) => set.communities.binary_search(one).is_ok(),
            AnyCommunity::Large(one) => set.large_communities.binary_search(one).is_ok(),
            AnyCommunity::Extended(one) => set.extended_communities.binary_search(one).is_ok(),
        }
    }

    /// Adds it to a set of attributes, whose lists stay sorted.
    pub(super) fn add_to(&self, set: &mut AttributeSet) {
        match self {
            AnyCommunity::Standard(one) => insert(&mut set.communities, *one),
            AnyCommunity::Large(one) => insert(&mut set.large_communities, *one),
            AnyCommunity::Extended(one) => insert(&mut set.extended_communities, *one),
        }
    }

    /// Takes it out of a set of attributes.
    pub(super) fn remove_from(&self, set: &mut AttributeSet) {
        match self {
            AnyCommunity::Standard(one) => set.communities.retain(|other| other != one),
            AnyCommunity::Large(one) => set.large_communities.retain(|other| other != one),
            AnyCommunity::Extended(one) => set.extended_communities.retain(|other| other != one),
        }
    }
}

fn insert<T: Ord>(list: &mut Vec<T>, one: T) {
    if let Err(place) = list.binary_search(&one) {
        list.insert(place, one);
    }
}

/// An extended community of AS and number: the two-octet form where the AS fits into it (RFC 4360 §3.1), else that of
/// four octets (RFC 5668).
fn extended(subtype: u8, rest: &str) -> Option<ExtendedCommunity> {
    let (asn, number) = rest.split_once(':')?;
    let (asn, number): (u32, u32) = (asn.parse().ok()?, number.parse().ok()?);
    let mut octets = [0; 8];
    octets[1] = subtype;
    match u16::try_from(asn) {
        Ok(short) => {
            octets[2..4].copy_from_slice(&short.to_be_bytes());
            octets[4..].copy_from_slice(&number.to_be_bytes());
        }
        Err(_) => {
            octets[0] = 2;
            octets[2..6].copy_from_slice(&asn.to_be_bytes());
            octets[6..].copy_from_slice(&u16::try_from(number).ok()?.to_be_bytes());
        }
    }
    Some(ExtendedCommunity(octets))
}

impl FromStr for AnyCommunity {
    type Err = NoCommunity;

    fn from_str(text: &str) -> Result<Self, NoCommunity> {
        let wrong = || NoCommunity(text.to_owned());
        let lower = text.to_ascii_lowercase().replace('_', "-");
        if let Some((_, known)) = NAMES.iter().find(|(name, _)| *name == lower) {
            return Ok(AnyCommunity::Standard(*known));
        }
        if let Some((kind, rest)) = lower.split_once(':').filter(|(kind, _)| kind.parse::<u32>().is_err()) {
            let found = match kind {
                "rt" => extended(2, rest),
                "ro" => extended(3, rest),
                "ext" => rest
                    .strip_prefix("0x")
                    .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                    .map(|number| ExtendedCommunity(number.to_be_bytes())),
                _ => None,
            };
            return found.map(AnyCommunity::Extended).ok_or_else(wrong);
        }
        let numbers: Vec<u32> =
            text.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        match numbers.as_slice() {
            [high, low] => {
                let (high, low) = (u16::try_from(*high), u16::try_from(*low));
                let (Ok(high), Ok(low)) = (high, low) else { return Err(wrong()) };
                Ok(AnyCommunity::Standard(Community::new(high, low)))
            }
            [global, first, second] => {
                let (global, first, second) = (*global, *first, *second);
                Ok(AnyCommunity::Large(LargeCommunity { global, first, second }))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for AnyCommunity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnyCommunity::Standard(one) => match NAMES.iter().find(|(_, known)| known == one) {
                Some((name, _)) => f.write_str(name),
                None => one.fmt(f),
            },
            AnyCommunity::Large(one) => one.fmt(f),
            AnyCommunity::Extended(ExtendedCommunity([0, subtype @ (2 | 3), a, b, rest @ ..])) => {
                let kind = if *subtype == 2 { "rt" } else { "ro" };
                write!(f, "{kind}:{}:{}", u16::from_be_bytes([*a, *b]), u32::from_be_bytes(*rest))
            }
            AnyCommunity::Extended(ExtendedCommunity([2, subtype @ (2 | 3), a, b, c, d, e, g])) => {
                let kind = if *subtype == 2 { "rt" } else { "ro" };
                write!(f, "{kind}:{}:{}", u32::from_be_bytes([*a, *b, *c, *d]), u16::from_be_bytes([*e, *g]))
            }
            AnyCommunity::Extended(other) => write!(f, "ext:{other}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_are_one_for_every_kind() {
        for text in [
            "64512:7",
            "64512:1:4294967295",
            "rt:64512:70000",
            "ro:4200000000:9",
            "ext:0x4004fbf000000009",
            "no-export",
            "graceful-shutdown",
        ] {
            let community: AnyCommunity = text.parse().unwrap();
            assert_eq!(community.to_string(), text);
        }
        assert_eq!("NO_EXPORT".parse::<AnyCommunity>(), "65535:65281".parse());
    }

    #[test]
    fn what_is_no_community_is_refused_with_how_to_write_one() {
        for text in
            ["", "7", "65536:1", "1:2:3:4", "rt:4200000000:70000", "ext:12", "soo:1:2", "no-way", "-1:2"]
        {
            let error = text.parse::<AnyCommunity>().unwrap_err();
            assert!(error.to_string().contains("write 64512:7"), "{error}");
        }
    }

    #[test]
    fn lists_stay_sorted_and_without_repetition() {
        let mut set = AttributeSet::default();
        for text in ["3:3", "1:1", "2:2", "1:1"] {
            text.parse::<AnyCommunity>().unwrap().add_to(&mut set);
        }
        assert_eq!(set.communities, [Community::new(1, 1), Community::new(2, 2), Community::new(3, 3)]);
        "2:2".parse::<AnyCommunity>().unwrap().remove_from(&mut set);
        assert!(!"2:2".parse::<AnyCommunity>().unwrap().is_in(&set));
        assert!("3:3".parse::<AnyCommunity>().unwrap().is_in(&set));
    }
}

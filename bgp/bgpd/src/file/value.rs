//! Single values: each is read where it stands, so that an error has its place.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use caracal_bgp::config::IllegalPeerKey;
use caracal_bgp::policy::{AnyCommunity, NextHopChange, NoCommunity, PeerType, PrefixMatch, Then, Verdict};
use caracal_bgp::rib::Source;
use caracal_bgp::wire::attribute::Community;
use caracal_bgp::{Asn, Family, HoldTime, Interface, NextHopMode, Password, PeerKey, RemoteAs, RouterId};
use ipnetwork::IpNetwork;
use serde::de::{Deserialize, Deserializer, Error, IntoDeserializer, SeqAccess, Visitor};

/// Something written as a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text<T>(pub(crate) T);

/// What can be written as a string.
pub(crate) trait FromText: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with the text and what would be right.
    fn from_text(text: &str) -> Result<Self, String>;
}

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read<T>(PhantomData<T>);
        impl<T: FromText> Visitor<'_> for Read<T> {
            type Value = Text<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                T::from_text(text).map(Text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Read(PhantomData))
    }
}

impl FromText for IpAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| format!("`{text}` is no IP address: write for example 192.0.2.1 or 2001:db8::1"))
    }
}

impl FromText for Interface {
    fn from_text(text: &str) -> Result<Self, String> {
        Interface::new(text).map_err(|error| error.to_string())
    }
}

impl FromText for PeerKey {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: IllegalPeerKey| match (error, IpAddr::from_text(text)) {
            // In the words that every other address has here.
            (IllegalPeerKey::Address { .. }, Err(words)) => words,
            (error, _) => error.to_string(),
        })
    }
}

impl FromText for Ipv4Addr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is no IPv4 address: write for example 192.0.2.1"))
    }
}

impl FromText for Ipv6Addr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("`{text}` is no IPv6 address: write for example 2001:db8::1"))
    }
}

impl FromText for SocketAddr {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| {
            format!(
                "`{text}` is no address with a port: write for example 192.0.2.1:179 or [2001:db8::1]:179"
            )
        })
    }
}

impl FromText for RouterId {
    fn from_text(text: &str) -> Result<Self, String> {
        let address: Ipv4Addr = text.parse().map_err(|_| {
            format!("`{text}` is no BGP identifier: write it like an IPv4 address, 192.0.2.1")
        })?;
        RouterId::try_from(address).map_err(|error| error.to_string())
    }
}

impl FromText for Password {
    fn from_text(text: &str) -> Result<Self, String> {
        Password::try_from(text).map_err(|error| error.to_string())
    }
}

impl FromText for IpNetwork {
    fn from_text(text: &str) -> Result<Self, String> {
        let network: IpNetwork =
            Some(text).filter(|text| text.contains('/')).and_then(|text| text.parse().ok()).ok_or_else(
                || format!("`{text}` is no network: write for example 192.0.2.0/24 or 2001:db8::/32"),
            )?;
        if network.ip() == network.network() {
            return Ok(network);
        }
        let masked = format!("{}/{}", network.network(), network.prefix());
        Err(format!("`{text}` has bits set beyond its length: did you mean {masked}?"))
    }
}

impl FromText for PrefixMatch {
    /// `NETWORK`, `NETWORK ge N`, `NETWORK le N`, `NETWORK ge N le M`.
    fn from_text(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace();
        let network = IpNetwork::from_text(words.next().unwrap_or_default())?;
        let (mut ge, mut le) = (None, None);
        while let Some(word) = words.next() {
            let bound = match word {
                "ge" if ge.is_none() => &mut ge,
                "le" if le.is_none() => &mut le,
                _ => {
                    return Err(format!(
                        "`{text}`: after the network come `ge LENGTH` and `le LENGTH`, not `{word}`"
                    ));
                }
            };
            let length = words.next().unwrap_or_default();
            let read =
                length.parse().map_err(|_| format!("`{text}`: `{word} {length}` needs a prefix length"))?;
            *bound = Some(read);
        }
        let longest = if network.is_ipv4() { 32 } else { 128 };
        let shortest = ge.unwrap_or_else(|| network.prefix());
        let longest = le.unwrap_or(if ge.is_some() { longest } else { network.prefix() });
        PrefixMatch::new(network, shortest, longest).map_err(|error| error.to_string())
    }
}

impl FromText for AnyCommunity {
    fn from_text(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: NoCommunity| error.to_string())
    }
}

impl FromText for Community {
    fn from_text(text: &str) -> Result<Self, String> {
        match AnyCommunity::from_text(text)? {
            AnyCommunity::Standard(community) => Ok(community),
            AnyCommunity::Large(_) | AnyCommunity::Extended(_) => Err(format!(
                "`{text}` is a large or extended community: own routes carry standard ones, 64512:7"
            )),
        }
    }
}

impl FromText for NextHopChange {
    fn from_text(text: &str) -> Result<Self, String> {
        match text {
            "self" => Ok(NextHopChange::OwnSide),
            "keep" => Ok(NextHopChange::Unchanged),
            address => IpAddr::from_text(address)
                .map(NextHopChange::Address)
                .map_err(|_| format!("`{text}` is no next hop: write \"self\", \"keep\" or an address")),
        }
    }
}

/// Reads one of a few words.
pub(super) fn word<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<String> = known.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        format!("`{text}` is not known here: write {}", names.join(" or "))
    })
}

impl FromText for Family {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("ipv4-unicast", Family::Ipv4Unicast), ("ipv6-unicast", Family::Ipv6Unicast)])
    }
}

impl FromText for NextHopMode {
    fn from_text(text: &str) -> Result<Self, String> {
        word(
            text,
            &[("auto", NextHopMode::Auto), ("self", NextHopMode::SelfAlways), ("keep", NextHopMode::Keep)],
        )
    }
}

impl FromText for Verdict {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("accept", Verdict::Accept), ("reject", Verdict::Reject)])
    }
}

impl FromText for Then {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("accept", Then::Accept), ("reject", Then::Reject), ("continue", Then::Continue)])
    }
}

impl FromText for Source {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("local", Source::Local), ("ebgp", Source::Ebgp), ("ibgp", Source::Ibgp)])
    }
}

impl FromText for PeerType {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("external", PeerType::External), ("internal", PeerType::Internal)])
    }
}

/// What is done when a peer announces too much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LimitKind {
    Warn,
    Stop,
    Restart,
}

impl FromText for LimitKind {
    fn from_text(text: &str) -> Result<Self, String> {
        word(text, &[("warn", LimitKind::Warn), ("stop", LimitKind::Stop), ("restart", LimitKind::Restart)])
    }
}

/// An AS number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AsNumber(pub(crate) Asn);

/// The AS of a peer: a number, a list of numbers of which it may have any, or the side it is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AsOfPeer(pub(crate) RemoteAs);

/// A hold time in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HoldSeconds(pub(crate) HoldTime);

/// A time in seconds, which need not be whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seconds(pub(crate) Duration);

impl<'de> Deserialize<'de> for AsNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(Number("an AS number from 1 to 4294967295", |number| {
            let number = u32::try_from(number).ok().filter(|number| *number != 0);
            number
                .map(|number| AsNumber(Asn(number)))
                .ok_or_else(|| "an AS number is 1 to 4294967295".to_owned())
        }))
    }
}

impl<'de> Deserialize<'de> for AsOfPeer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = AsOfPeer;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an AS number, a list of them, \"external\" or \"internal\"")
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<AsOfPeer, E> {
                let AsNumber(asn) = AsNumber::deserialize(number.into_deserializer())?;
                Ok(AsOfPeer(asn.into()))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<AsOfPeer, E> {
                let internal = word(text, &[("external", false), ("internal", true)]).map_err(E::custom)?;
                Ok(AsOfPeer(if internal { RemoteAs::Internal } else { RemoteAs::External }))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut numbers: A) -> Result<AsOfPeer, A::Error> {
                let mut list = Vec::new();
                while let Some(AsNumber(asn)) = numbers.next_element()? {
                    list.push(asn);
                }
                if list.is_empty() {
                    return Err(A::Error::custom(
                        "a list of no AS numbers lets nobody in: name one, or \"external\"",
                    ));
                }
                Ok(AsOfPeer(RemoteAs::AnyOf(list.into())))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

impl<'de> Deserialize<'de> for HoldSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_i64(Number("a hold time in seconds", |number| {
            let seconds = u16::try_from(number).map_err(|_| "a hold time is 0 or 3 to 65535 s".to_owned())?;
            HoldTime::try_from(seconds).map(HoldSeconds).map_err(|error| error.to_string())
        }))
    }
}

/// Reads a whole number.
struct Number<T>(&'static str, fn(i64) -> Result<T, String>);

impl<T> Visitor<'_> for Number<T> {
    type Value = T;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        (self.1)(number).map_err(|what| E::custom(format!("{number} is not allowed: {what}")))
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl Visitor<'_> for Read {
            type Value = Seconds;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time in seconds")
            }
            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Seconds, E> {
                let seconds = u32::try_from(seconds)
                    .map_err(|_| E::custom(format!("{seconds} s is no time to wait")))?;
                Ok(Seconds(Duration::from_secs(seconds.into())))
            }
            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Seconds, E> {
                let time = Duration::try_from_secs_f64(seconds);
                time.map(Seconds).map_err(|_| E::custom(format!("{seconds} s is no time to wait")))
            }
        }
        deserializer.deserialize_any(Read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(text: &str) -> Result<PrefixMatch, String> {
        PrefixMatch::from_text(text)
    }

    #[test]
    fn a_network_alone_means_itself_and_lengths_widen_it() {
        let network: IpNetwork = "10.0.0.0/8".parse().unwrap();
        assert_eq!(prefixes("10.0.0.0/8"), Ok(PrefixMatch::exact(network)));
        assert_eq!(prefixes("10.0.0.0/8 le 24"), Ok(PrefixMatch::new(network, 8, 24).unwrap()));
        assert_eq!(prefixes("10.0.0.0/8 ge 16"), Ok(PrefixMatch::new(network, 16, 32).unwrap()));
        assert_eq!(prefixes("10.0.0.0/8 le 24 ge 16"), Ok(PrefixMatch::new(network, 16, 24).unwrap()));
        for wrong in
            ["10.0.0.0/8 le", "10.0.0.0/8 le 40", "10.0.0.0/8 or longer", "10.0.0.0", "10.0.0.0/8 le 9 le 10"]
        {
            assert!(prefixes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_network_with_host_bits_is_refused_with_what_was_meant() {
        assert!(IpNetwork::from_text("10.1.2.3/8").unwrap_err().contains("did you mean 10.0.0.0/8?"));
        assert!(IpNetwork::from_text("10.1.2.3").unwrap_err().contains("is no network"));
    }

    #[test]
    fn communities_have_numbers_or_names() {
        assert_eq!(Community::from_text("64512:7"), Ok(Community::new(64512, 7)));
        assert_eq!(Community::from_text("no-export"), Ok(Community::new(65535, 65281)));
        assert!(Community::from_text("64512").is_err() && Community::from_text("70000:1").is_err());
    }
}

//! The string formats that Kubernetes checks. Formats it does not know are ignored, as it does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A known format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    Ipv4,
    Ipv6,
    Cidr,
    Mac,
    Uuid,
    DateTime,
    Date,
    Byte,
    Hostname,
}

impl Format {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "ipv4" => Format::Ipv4,
            "ipv6" => Format::Ipv6,
            "cidr" => Format::Cidr,
            "mac" => Format::Mac,
            "uuid" => Format::Uuid,
            "date-time" => Format::DateTime,
            "date" => Format::Date,
            "byte" => Format::Byte,
            "hostname" => Format::Hostname,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Format::Ipv4 => "ipv4",
            Format::Ipv6 => "ipv6",
            Format::Cidr => "cidr",
            Format::Mac => "mac",
            Format::Uuid => "uuid",
            Format::DateTime => "date-time",
            Format::Date => "date",
            Format::Byte => "byte",
            Format::Hostname => "hostname",
        }
    }

    pub(crate) fn matches(self, text: &str) -> bool {
        match self {
            Format::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Format::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Format::Cidr => cidr(text),
            Format::Mac => mac(text),
            Format::Uuid => uuid(text),
            Format::DateTime => text.parse::<jiff::Timestamp>().is_ok(),
            Format::Date => text.parse::<jiff::civil::Date>().is_ok(),
            Format::Byte => base64(text),
            Format::Hostname => crate::names::dns_subdomain(text).is_ok(),
        }
    }
}

/// `address/length`; host bits may be set, as in Go's `net.ParseCIDR`.
fn cidr(text: &str) -> bool {
    let Some((address, length)) = text.split_once('/') else { return false };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return false,
    };
    length.parse::<u8>().is_ok_and(|number| number <= most && number.to_string() == length)
}

fn mac(text: &str) -> bool {
    let octets: Vec<&str> = text.split([':', '-']).collect();
    matches!(octets.len(), 6 | 8 | 20)
        && octets.iter().all(|octet| octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn uuid(text: &str) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    digits.len() == 32 && digits.iter().all(u8::is_ascii_hexdigit)
}

fn base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cidr_needs_a_length_that_fits_its_family() {
        for good in ["10.0.0.0/8", "10.0.0.1/32", "fd00::/48", "::/0"] {
            assert!(Format::Cidr.matches(good), "{good}");
        }
        for bad in ["10.0.0.0", "10.0.0.0/33", "fd00::/129", "10.0.0/8", "10.0.0.0/08", "10.0.0.0/-1"] {
            assert!(!Format::Cidr.matches(bad), "{bad}");
        }
    }
}

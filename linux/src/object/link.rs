//! Links: names, hardware addresses and what the kernel says of a device.

use std::fmt;
use std::str::FromStr;

use netlink_packet_route::link::{InfoData, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use serde::{Deserialize, Serialize};

use crate::object::tunnel::{self, Vxlan};

/// The name of a network device, as the kernel allows it: 1 to 15 bytes, no `/`, `:` or white space, not `.` or `..`.
///
/// Kept inline and `Copy`, since every hop of every route carries one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName {
    bytes: [u8; IfName::MAX],
    len: u8,
}

/// Why a text is no device name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no device name: {why}")]
pub struct BadIfName {
    text: String,
    why: &'static str,
}

impl IfName {
    /// The longest name, in bytes: the kernel's IFNAMSIZ less its closing zero.
    pub const MAX: usize = 15;

    /// The loopback device, which every namespace has.
    pub const LOOPBACK: IfName = IfName { bytes: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0", len: 2 };

    /// What stands for all devices where a setting is named, as in `net/ipv4/conf/all/forwarding`. The kernel refuses it as the
    /// name of a device.
    pub const ALL: IfName = IfName { bytes: *b"all\0\0\0\0\0\0\0\0\0\0\0\0", len: 3 };

    /// Takes a name, if the kernel would.
    pub fn new(text: &str) -> Result<Self, BadIfName> {
        let refuse = |why| Err(BadIfName { text: text.to_owned(), why });
        if text.is_empty() {
            return refuse("it is empty");
        }
        if text.len() > Self::MAX {
            return refuse("it is longer than 15 bytes");
        }
        if text == "." || text == ".." {
            return refuse("it would name a directory");
        }
        if text.bytes().any(|b| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace() || b == 0x0b) {
            return refuse("it has a slash, a colon or white space");
        }
        let mut bytes = [0; Self::MAX];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Ok(Self { bytes, len: text.len() as u8 })
    }

    /// Stands for a device that a route names by an index nobody has: it left while the route was being read.
    pub(crate) fn unknown(index: u32) -> Self {
        Self::new(&format!("#{index}")).unwrap_or(Self::LOOPBACK)
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        // The bytes came from a `str`, so they are always valid.
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl AsRef<str> for IfName {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl FromStr for IfName {
    type Err = BadIfName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl TryFrom<String> for IfName {
    type Error = BadIfName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::new(&text)
    }
}

impl From<IfName> for String {
    fn from(name: IfName) -> Self {
        name.as_str().to_owned()
    }
}

/// An Ethernet address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// A text that is no Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no Ethernet address: six pairs of hex digits with colons between are wanted, as in 02:00:5e:10:00:01"
)]
pub struct BadMac(String);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || BadMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(bad)?;
            if part.len() != 2 {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        if parts.next().is_some() { Err(bad()) } else { Ok(Self(bytes)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

/// A network device as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's number for it, unique within its namespace.
    pub index: u32,
    /// Its name.
    pub name: IfName,
    /// Its Ethernet address; tunnels have none.
    pub mac: Option<Mac>,
    /// The largest packet it takes, in bytes.
    pub mtu: u32,
    /// Whether it is set up (administratively).
    pub up: bool,
    /// Whether its lower layer carries: for a veth, whether the other end is up.
    pub carrier: bool,
    /// Whether it is the loopback device.
    pub loopback: bool,
    /// The free text kept with it.
    pub alias: Option<String>,
    /// The driver's kind, such as `veth`, `bridge` or `vxlan`; hardware has none.
    pub kind: Option<String>,
    /// What a VXLAN device was made with, its Ethernet address apart.
    pub vxlan: Option<Vxlan>,
    /// The index of the device it belongs with: a veth's other end (in that end's namespace), a VLAN's parent.
    pub peer_index: Option<u32>,
    /// Whether [`Link::peer_index`] counts in another namespace.
    pub peer_elsewhere: bool,
    /// The index of the bridge, bond or VRF it is a port of.
    pub master: Option<u32>,
}

impl Link {
    /// A device, up and carrying or not, of which nothing else is known; its MTU is that of Ethernet.
    pub fn bare(index: u32, name: IfName, up: bool) -> Self {
        Self {
            index,
            name,
            mac: None,
            mtu: 1500,
            up,
            carrier: up,
            loopback: false,
            alias: None,
            kind: None,
            vxlan: None,
            peer_index: None,
            peer_elsewhere: false,
            master: None,
        }
    }

    /// Reads a link from the kernel's message; none if it has no name or one that is no UTF-8 text.
    pub(crate) fn from_message(message: &LinkMessage) -> Option<Self> {
        let flags = message.header.flags;
        let mut name = None;
        let mut link = Self {
            mtu: 0,
            carrier: flags.contains(LinkFlags::LowerUp),
            loopback: flags.contains(LinkFlags::Loopback),
            ..Self::bare(message.header.index, IfName::LOOPBACK, flags.contains(LinkFlags::Up))
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(text) => name = IfName::new(text).ok(),
                LinkAttribute::Address(bytes) => {
                    link.mac = <[u8; 6]>::try_from(bytes.as_slice()).ok().map(Mac);
                }
                LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
                LinkAttribute::IfAlias(text) => link.alias = Some(text.clone()),
                LinkAttribute::Link(index) => link.peer_index = Some(*index).filter(|index| *index != 0),
                LinkAttribute::LinkNetNsId(_) => link.peer_elsewhere = true,
                LinkAttribute::Controller(index) => link.master = Some(*index).filter(|index| *index != 0),
                LinkAttribute::LinkInfo(infos) => {
                    link.kind = infos.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.to_string()),
                        _ => None,
                    });
                    link.vxlan = infos.iter().find_map(|info| match info {
                        LinkInfo::Data(InfoData::Vxlan(data)) => tunnel::read_vxlan(data),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        link.name = name?;
        Some(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_name_is_what_the_kernel_takes() {
        for good in ["lo", "eth0", "cali0123456789a", "vxlan.caracal", "tünl"] {
            assert_eq!(IfName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", ".", "..", "a/b", "a:b", "a b", "a\tb", "abcdefghijklmnop"] {
            assert!(IfName::new(bad).is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn device_names_order_as_their_texts() {
        let mut names = ["eth10", "eth1", "b", "eth", "eth2"].map(|n| IfName::new(n).unwrap());
        names.sort();
        assert_eq!(names.map(|n| n.to_string()), ["b", "eth", "eth1", "eth10", "eth2"]);
    }

    #[test]
    fn an_ethernet_address_reads_what_it_writes() {
        let mac = Mac([0xee, 0xee, 0, 1, 0x2a, 0xff]);
        assert_eq!(mac.to_string(), "ee:ee:00:01:2a:ff");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for bad in ["", "ee:ee:00:01:2a", "ee:ee:00:01:2a:ff:00", "ee:ee:00:01:2a:fg", "e:ee:00:01:2a:ff"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?} was taken");
        }
    }
}

//! Whom a `BGPPeer` is about, and in which AS that is: the part of it that only code can read.

use std::net::{IpAddr, Ipv6Addr};

use ipnetwork::IpNetwork;

use super::{AsType, BgpPeerSpec};
use crate::bgp_configuration::DEFAULT_PORT;
use crate::selector::{Selector, SelectorError};

/// Whom a definition is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Whom {
    /// The router at this address.
    At(PeerAddress),
    /// The nodes with such labels.
    Nodes(Selector),
    /// Whoever connects from this network.
    Within(IpNetwork),
    /// The only other router on the link of this device.
    OnLinkOf(String),
}

/// Where a peer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The device on whose link a link-local address is (RFC 4007 §11.2); other addresses have none.
    pub device: Option<String>,
}

/// In which AS a peer may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AsNumbers {
    /// In any of these.
    Of(Vec<u32>),
    /// On this side of the node's.
    On(AsType),
}

/// Why a definition does not say whom it is about.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WhomError {
    /// There is none, or more than one, of the fields that say it.
    #[error("name the peer by exactly one of peerIP, peerSelector, peerRange and interface")]
    Which,
    /// There is none, or more than one, of the fields that say its AS.
    #[error(
        "asNumber is missing, or there is more than one of asNumber, asNumbers and asType: give exactly one of them"
    )]
    As,
    /// `peerIP` is no address with what may be around it.
    #[error(
        "peerIP '{0}' is not an address with an optional port: write 192.0.2.1, 192.0.2.1:1179, 2001:db8::1, [2001:db8::1]:1179 or \
         fe80::1%eth0"
    )]
    Address(String),
    /// A link-local address says nothing without its link.
    #[error("peerIP '{0}' is link-local and says nothing without its device: write for example {0}%eth0")]
    NoDevice(Ipv6Addr),
    /// Other addresses are not of one link.
    #[error(
        "peerIP '{address}%{device}': only a link-local address (fe80::/10) has a device behind it: take %{device} away, or \
         give it as device"
    )]
    NotLinkLocal {
        /// The address.
        address: IpAddr,
        /// The device.
        device: String,
    },
    /// `device` says what the address says already.
    #[error("peerIP is on the link of {there}, and device says {device}: take device away")]
    TwoDevices {
        /// The device of the address.
        there: String,
        /// The other.
        device: String,
    },
    /// `peerRange` is no network.
    #[error(
        "peerRange '{0}' is not a network in CIDR form without host bits: write for example 10.1.0.0/24 or 2001:db8:1::/64"
    )]
    Range(String),
    /// Link-local addresses are on many links.
    #[error(
        "peerRange '{0}' is of link-local addresses, which are on every link: use interface, or peerIP with a device"
    )]
    LinkLocalRange(IpNetwork),
    /// `peerSelector` cannot be read.
    #[error("peerSelector: {0}")]
    Selector(SelectorError),
    /// TCP-AO is not offered.
    #[error(
        "tcpAO: TCP-AO (RFC 5925) is not offered, as the kernels this runs on do not have it: take it away; password signs \
         segments with TCP-MD5 (RFC 2385)"
    )]
    TcpAo,
}

impl BgpPeerSpec {
    /// Whom this is about.
    ///
    /// # Errors
    /// [`WhomError`], where it does not say, or cannot be had.
    pub fn whom(&self) -> Result<Whom, WhomError> {
        if self.tcp_ao.is_some() {
            return Err(WhomError::TcpAo);
        }
        match (&self.peer_ip, &self.peer_selector, &self.peer_range, &self.interface) {
            (Some(text), None, None, None) => {
                let at = parse_peer_ip(text)?;
                match (&at.device, &self.device) {
                    (Some(there), Some(device)) => {
                        Err(WhomError::TwoDevices { there: there.clone(), device: device.clone() })
                    }
                    (Some(_), None) | (None, Some(_) | None) => Ok(Whom::At(at)),
                }
            }
            (None, Some(text), None, None) => text.parse().map(Whom::Nodes).map_err(WhomError::Selector),
            (None, None, Some(text), None) => range(text).map(Whom::Within),
            (None, None, None, Some(device)) => Ok(Whom::OnLinkOf(device.clone())),
            _ => Err(WhomError::Which),
        }
    }

    /// In which AS the peer may be, where it is no node.
    ///
    /// # Errors
    /// [`WhomError::As`], where that is not said once.
    pub fn peer_as(&self) -> Result<AsNumbers, WhomError> {
        let number = self.as_number.filter(|number| *number > 0);
        match (number, self.as_numbers.as_slice(), self.as_type) {
            (Some(number), [], None) => Ok(AsNumbers::Of(vec![number])),
            (None, several @ [_, ..], None) => Ok(AsNumbers::Of(several.to_vec())),
            (None, [], Some(side)) => Ok(AsNumbers::On(side)),
            _ => Err(WhomError::As),
        }
    }
}

fn range(text: &str) -> Result<IpNetwork, WhomError> {
    let network = text.parse::<IpNetwork>().ok().filter(|network| network.network() == network.ip());
    let network = network.filter(|_| text.contains('/')).ok_or_else(|| WhomError::Range(text.to_owned()))?;
    match network {
        IpNetwork::V6(v6) if v6.ip().is_unicast_link_local() => Err(WhomError::LinkLocalRange(network)),
        IpNetwork::V4(_) | IpNetwork::V6(_) => Ok(network),
    }
}

/// Reads `peerIP`: an address, with port 179 unless it names another, and with its device if it is link-local.
///
/// # Errors
/// [`WhomError`] when the text is none.
pub fn parse_peer_ip(text: &str) -> Result<PeerAddress, WhomError> {
    let wrong = || WhomError::Address(text.to_owned());
    let is_v6 =
        |text: &str| text.split('%').next().is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, after) = rest.split_once(']').ok_or_else(wrong)?;
            match after {
                "" => (host, None),
                port => (host, Some(port.strip_prefix(':').ok_or_else(wrong)?)),
            }
        }
        None if is_v6(text) => (text, None),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.map_or(Ok(DEFAULT_PORT), |port| port.parse().map_err(|_| wrong()))?;
    let (address, device) = match host.split_once('%') {
        Some((address, device)) => (address, Some(device)),
        None => (host, None),
    };
    let address: IpAddr = address.parse().map_err(|_| wrong())?;
    // An IPv4 address in brackets is no address of a socket.
    if text.starts_with('[') && address.is_ipv4() || port == 0 {
        return Err(wrong());
    }
    let link_local = match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(v6),
        IpAddr::V4(_) | IpAddr::V6(_) => None,
    };
    match (link_local, device) {
        (Some(v6), None) => Err(WhomError::NoDevice(v6)),
        (None, Some(device)) => Err(WhomError::NotLinkLocal { address, device: device.to_owned() }),
        (Some(_), Some("")) => Err(wrong()),
        (Some(_), Some(_)) | (None, None) => {
            Ok(PeerAddress { address, port, device: device.map(str::to_owned) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_addresses_carry_an_optional_port_and_link_local_ones_their_device() {
        for (text, address, port, device) in [
            ("192.0.2.1", "192.0.2.1", 179, None),
            ("192.0.2.1:1179", "192.0.2.1", 1179, None),
            ("2001:db8::1", "2001:db8::1", 179, None),
            ("[2001:db8::1]", "2001:db8::1", 179, None),
            ("[2001:db8::1]:1179", "2001:db8::1", 1179, None),
            ("fe80::1%eth0", "fe80::1", 179, Some("eth0")),
            ("[fe80::1%eth0.7]:1179", "fe80::1", 1179, Some("eth0.7")),
        ] {
            let address = address.parse().unwrap();
            let wanted = PeerAddress { address, port, device: device.map(str::to_owned) };
            assert_eq!(parse_peer_ip(text), Ok(wanted), "{text}");
        }
        for (text, why) in [
            ("router-a", "is not an address"),
            ("192.0.2.1:", "is not an address"),
            ("192.0.2.1:0", "is not an address"),
            ("[192.0.2.1]:179", "is not an address"),
            ("[2001:db8::1]179", "is not an address"),
            ("fe80::1%", "is not an address"),
            ("fe80::1", "says nothing without its device: write for example fe80::1%eth0"),
            ("2001:db8::1%eth0", "only a link-local address"),
            ("192.0.2.1%eth0", "only a link-local address"),
        ] {
            let said = parse_peer_ip(text).unwrap_err().to_string();
            assert!(said.contains(why), "{text}: {said}");
        }
    }

    #[test]
    fn a_definition_is_about_one_kind_of_peer_in_ases_told_once() {
        let spec = |value: serde_json::Value| serde_json::from_value::<BgpPeerSpec>(value).unwrap();
        let whom = |value: serde_json::Value| spec(value).whom().map_err(|error| error.to_string());
        use serde_json::json;
        let network = "10.1.0.0/24".parse().unwrap();
        assert_eq!(whom(json!({"peerRange": "10.1.0.0/24"})), Ok(Whom::Within(network)));
        assert_eq!(whom(json!({"interface": "eth0"})), Ok(Whom::OnLinkOf("eth0".to_owned())));
        for (value, why) in [
            (json!({}), "exactly one of peerIP"),
            (json!({"peerIP": "192.0.2.1", "interface": "eth0"}), "exactly one of peerIP"),
            (json!({"peerRange": "10.1.0.1/24"}), "not a network in CIDR form without host bits"),
            (json!({"peerRange": "10.1.0.0"}), "not a network in CIDR form"),
            (json!({"peerRange": "fe80::/64"}), "use interface"),
            (
                json!({"peerIP": "fe80::1%eth0", "device": "eth1"}),
                "is on the link of eth0, and device says eth1",
            ),
            (json!({"peerSelector": "rack =="}), "peerSelector: "),
            (json!({"peerIP": "192.0.2.1", "tcpAO": {"keys": [1]}}), "TCP-AO (RFC 5925) is not offered"),
        ] {
            let said = whom(value.clone()).unwrap_err();
            assert!(said.contains(why), "{value}: {said}");
        }
        let ases = |value: serde_json::Value| spec(value).peer_as();
        assert_eq!(ases(json!({"asNumber": 1})), Ok(AsNumbers::Of(vec![1])));
        assert_eq!(ases(json!({"asNumbers": [1, 2]})), Ok(AsNumbers::Of(vec![1, 2])));
        assert_eq!(ases(json!({"asType": "External"})), Ok(AsNumbers::On(AsType::External)));
        for value in [json!({}), json!({"asNumber": 0}), json!({"asNumber": 1, "asType": "Internal"})] {
            assert_eq!(ases(value), Err(WhomError::As));
        }
    }
}

//! Peers on one link: those with a link-local address.
//!
//! Such an address says nothing without the device behind it, and connections know devices by indexes, which change as
//! devices come and go. While the device is not there the peer waits, and its session is over.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use caracal_bgp::{Config, Interface, PeerConfig};
use caracal_linux::kernel::Underlay;
use caracal_linux::object::link::{IfName, Link};

/// The configuration with the present index of the device of every peer that is on one link.
#[must_use]
pub fn placed(config: &Config, underlay: &Underlay) -> Config {
    let mut config = config.clone();
    for (key, peer) in &mut config.peers {
        if let Some(interface) = key.interface() {
            place(peer, interface, link(interface, underlay));
        }
    }
    config
}

fn place(peer: &mut PeerConfig, interface: Interface, link: Option<&Link>) {
    let IpAddr::V6(address) = peer.remote.ip() else { return };
    let index = link.map_or(0, |link| link.index);
    peer.remote = SocketAddr::V6(SocketAddrV6::new(address, peer.remote.port(), 0, index));
    peer.waits = match link {
        Some(_) => None,
        None => Some(Arc::from(format!("waiting for device {interface}, which is not there"))),
    };
}

fn link(interface: Interface, underlay: &Underlay) -> Option<&Link> {
    underlay.link(&IfName::new(interface.as_str()).ok()?)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::settings::Settings;

    fn underlay(links: &[(u32, &str)]) -> Underlay {
        let link = |(index, name): &(u32, &str)| {
            let link = Link {
                index: *index,
                name: IfName::new(name).unwrap(),
                mac: None,
                mtu: 1500,
                up: true,
                carrier: true,
                loopback: false,
                alias: None,
                kind: None,
                vxlan: None,
                peer_index: None,
                peer_elsewhere: false,
                master: None,
            };
            (*index, link)
        };
        Underlay { links: links.iter().map(link).collect(), ..Underlay::default() }
    }

    #[test]
    fn a_link_local_peer_has_the_index_of_its_device_or_waits_for_it() {
        let text = "[speaker]\nas = 1\nrouter-id = \"1.1.1.1\"\n\
            [[peer]]\naddress = \"fe80::1%eth0\"\nas = 2\n[[peer]]\naddress = \"fe80::1%eth1\"\nas = 2\n\
            [[peer]]\naddress = \"192.0.2.1\"\nas = 2\n";
        let config = Settings::parse(Path::new("f"), text).unwrap().config;
        assert_eq!(config.peers.len(), 3, "the same address on another link is another peer");
        let shown = |links| {
            let config = placed(&config, &underlay(links));
            let peers = config.peers.values().map(|peer| (peer.remote.to_string(), peer.waits.is_some()));
            peers.collect::<Vec<_>>()
        };
        let told = |text: &str, waits| (text.to_owned(), waits);
        let v4 = || told("192.0.2.1:179", false);
        let both = shown(&[(7, "eth0"), (9, "eth1")]);
        assert_eq!(both, [v4(), told("[fe80::1%7]:179", false), told("[fe80::1%9]:179", false)]);
        let one = shown(&[(8, "eth1")]);
        assert_eq!(one, [v4(), told("[fe80::1]:179", true), told("[fe80::1%8]:179", false)]);
    }
}

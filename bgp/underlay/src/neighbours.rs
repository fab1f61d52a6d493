//! Peers on one link: those with a link-local address, and those known by nothing but the device.
//!
//! A link-local address says nothing without its device, and connections know devices by indexes, which change as devices
//! come and go. Of a peer by interface not even the address is known: it is that of the one router that advertises itself
//! on the link (RFC 4861), to which this one does the same. [`placed`] puts what is known of both into a configuration; who
//! is not known, or cannot be reached, waits in words, and a session that stood with it is over.

pub mod link;
pub mod message;
mod socket;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

use caracal_bgp::{Config, Interface, Password, PeerConfig, PeerKey};
use caracal_linux::kernel::Underlay;
use caracal_linux::object::link::IfName;

use link::Sight;
pub use socket::SocketError;
pub use watch::{Neighbours, Sighting, Sightings};

/// The devices on which a configuration has peers that are known by nothing else.
pub fn interfaces(config: &Config) -> BTreeSet<Interface> {
    let of = |key: &PeerKey| match key {
        PeerKey::Interface(interface) => Some(*interface),
        PeerKey::Address(_) | PeerKey::LinkLocal(..) => None,
    };
    config.peers.keys().filter_map(of).collect()
}

/// The configuration with the place of every peer that is on one link: its address and the index of its device.
#[must_use]
pub fn placed(config: &Config, underlay: &Underlay, sightings: &Sightings) -> Config {
    let mut config = config.clone();
    let mut taken = Taken::default();
    // Those that are named go before those that are found.
    for (key, peer) in &mut config.peers {
        if let PeerKey::LinkLocal(address, interface) = key {
            let place = index(*interface, underlay).map(|index| (*address, index));
            put(peer, *address, place);
            taken.note(*key, peer);
        }
    }
    for (key, peer) in &mut config.peers {
        if let PeerKey::Interface(interface) = key {
            let place = found(*interface, underlay, sightings);
            put(peer, Ipv6Addr::UNSPECIFIED, place);
            if let Some(why) = taken.by_another(peer) {
                put(peer, Ipv6Addr::UNSPECIFIED, Err(why));
            }
            taken.note(*key, peer);
        }
    }
    config
}

/// Puts a peer to its place, or, with what is known of its address, has it wait.
fn put(peer: &mut PeerConfig, known: Ipv6Addr, place: Result<(Ipv6Addr, u32), String>) {
    let (address, index) = *place.as_ref().unwrap_or(&(known, 0));
    peer.remote = SocketAddr::V6(SocketAddrV6::new(address, peer.remote.port(), 0, index));
    peer.waits = place.err().map(Arc::from);
}

fn index(interface: Interface, underlay: &Underlay) -> Result<u32, String> {
    let link = IfName::new(interface.as_str()).ok().and_then(|name| underlay.link(&name));
    link.map(|link| link.index).ok_or_else(|| format!("waiting for device {interface}, which is not there"))
}

/// The neighbour on a device.
fn found(
    interface: Interface,
    underlay: &Underlay,
    sightings: &Sightings,
) -> Result<(Ipv6Addr, u32), String> {
    let index = index(interface, underlay)?;
    match sightings.get(&interface) {
        Some(Sighting::Blind(why)) => Err(why.to_string()),
        Some(Sighting::Seen(Sight::One(address))) => Ok((*address, index)),
        Some(Sighting::Seen(Sight::Several(one, other))) => Err(format!(
            "there are two routers on device {interface}, {one} and {other}: a peer by interface is the only one there: \
             take one away, or name the peer by its address, {one}%{interface}"
        )),
        Some(Sighting::Seen(Sight::Nobody)) | None => Err(format!(
            "waiting for a router on device {interface} to advertise itself (RFC 4861): check that it has a peer by \
             interface, too"
        )),
    }
}

/// Where peers are.
#[derive(Default)]
struct Taken {
    places: BTreeMap<SocketAddr, PeerKey>,
    /// The kernel keeps one password an address, whatever the link.
    passwords: BTreeMap<IpAddr, (PeerKey, Option<Password>)>,
}

impl Taken {
    fn note(&mut self, key: PeerKey, peer: &PeerConfig) {
        if peer.waits.is_none() {
            self.places.insert(without_port(peer), key);
            self.passwords.entry(peer.remote.ip()).or_insert_with(|| (key, peer.password.clone()));
        }
    }

    fn by_another(&self, peer: &PeerConfig) -> Option<String> {
        let address = peer.remote.ip();
        if let Some(key) = self.places.get(&without_port(peer)) {
            return Some(format!("the router there is the peer {key} already: keep one of them"));
        }
        let (key, password) = self.passwords.get(&address)?;
        (*password != peer.password).then(|| {
            format!(
                "the router there has the address of the peer {key}, {address}, and another password, or none: the \
                 kernel keeps one an address, whatever the device: give both the same"
            )
        })
    }
}

fn without_port(peer: &PeerConfig) -> SocketAddr {
    let mut place = peer.remote;
    place.set_port(0);
    place
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use caracal_bgp::{Asn, RouterId};
    use caracal_linux::object::link::Link;

    use super::*;

    fn underlay(links: &[(u32, &str)]) -> Underlay {
        let link = |(index, name): &(u32, &str)| {
            let link = Link::bare(*index, IfName::new(name).unwrap(), true);
            (*index, link)
        };
        Underlay { links: links.iter().map(link).collect(), ..Underlay::default() }
    }

    fn interface(name: &str) -> Interface {
        Interface::new(name).unwrap()
    }

    fn config(keys: &[PeerKey]) -> Config {
        let peer =
            |key: &PeerKey| (*key, PeerConfig::new(SocketAddr::new(key.address(), 179), Asn(1), Asn(2)));
        let router_id = RouterId::try_from(Ipv4Addr::new(1, 1, 1, 1)).unwrap();
        Config { peers: keys.iter().map(peer).collect(), ..Config::new(Asn(1), router_id) }
    }

    fn seen(name: &str, last: &[u16]) -> (Interface, Sighting) {
        let address = |last: u16| Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, last);
        let sight = match *last {
            [] => Sight::Nobody,
            [one] => Sight::One(address(one)),
            [one, other, ..] => Sight::Several(address(one), address(other)),
        };
        (interface(name), Sighting::Seen(sight))
    }

    /// Where each peer is, or why it waits.
    fn shown(config: &Config, links: &[(u32, &str)], sightings: &[(Interface, Sighting)]) -> Vec<String> {
        let config = placed(config, &underlay(links), &sightings.iter().cloned().collect());
        let shown = |peer: &PeerConfig| match &peer.waits {
            Some(why) => why.to_string(),
            None => peer.remote.to_string(),
        };
        config.peers.values().map(shown).collect()
    }

    const LINKS: [(u32, &str); 2] = [(7, "eth0"), (9, "eth1")];

    #[test]
    fn a_link_local_peer_has_the_index_of_its_device_or_waits_for_it() {
        let peers = ["192.0.2.1", "fe80::1%eth0", "fe80::1%eth1"].map(|key| key.parse().unwrap());
        let config = config(&peers);
        assert_eq!(shown(&config, &LINKS, &[]), ["192.0.2.1:179", "[fe80::1%7]:179", "[fe80::1%9]:179"]);
        let one = shown(&config, &[(8, "eth1")], &[]);
        let waits = "waiting for device eth0, which is not there";
        assert_eq!(one, ["192.0.2.1:179", waits, "[fe80::1%8]:179"]);
    }

    #[test]
    fn a_peer_by_interface_is_the_one_router_there_or_waits_in_words() {
        let peer = config(&[PeerKey::Interface(interface("eth0"))]);
        let said = |links: &[(u32, &str)], sightings: &[(Interface, Sighting)]| {
            shown(&peer, links, sightings).remove(0)
        };
        assert_eq!(said(&LINKS, &[seen("eth0", &[1])]), "[fe80::1%7]:179");
        assert_eq!(said(&[], &[seen("eth0", &[1])]), "waiting for device eth0, which is not there");
        let nobody = "waiting for a router on device eth0 to advertise itself";
        for sightings in [&[][..], &[seen("eth0", &[])], &[seen("eth1", &[1])]] {
            assert!(said(&LINKS, sightings).starts_with(nobody));
        }
        let two = said(&LINKS, &[seen("eth0", &[1, 2])]);
        assert!(two.starts_with("there are two routers on device eth0, fe80::1 and fe80::2"), "{two}");
        let blind = (interface("eth0"), Sighting::Blind("no socket".into()));
        assert_eq!(said(&LINKS, &[blind]), "no socket");
    }

    #[test]
    fn a_router_is_one_peer_and_an_address_has_one_password() {
        let named: PeerKey = "fe80::1%eth0".parse().unwrap();
        let [eth0, eth1] = ["eth0", "eth1"].map(|name| PeerKey::Interface(interface(name)));
        let both = [seen("eth0", &[1]), seen("eth1", &[1])];
        let twice = shown(&config(&[named, eth0]), &LINKS, &both);
        assert_eq!(
            twice,
            ["[fe80::1%7]:179", "the router there is the peer fe80::1%eth0 already: keep one of them"]
        );

        let mut config = config(&[eth0, eth1]);
        assert_eq!(shown(&config, &LINKS, &both), ["[fe80::1%7]:179", "[fe80::1%9]:179"], "on two links");
        if let Some(peer) = config.peers.get_mut(&eth1) {
            peer.password = Password::try_from("secret").ok();
        }
        let other = shown(&config, &LINKS, &both).remove(1);
        assert!(other.starts_with("the router there has the address of the peer eth0, fe80::1"), "{other}");
        let apart = shown(&config, &LINKS, &[seen("eth0", &[1]), seen("eth1", &[2])]);
        assert_eq!(apart, ["[fe80::1%7]:179", "[fe80::2%9]:179"]);
    }
}

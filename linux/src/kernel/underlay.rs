//! The host's own links and addresses, as events show them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use crate::object::address::Address;
use crate::object::link::{IfName, Link};

/// The host's links and addresses at one moment, without the host's ends of pods.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Underlay {
    /// The links, by index.
    pub links: BTreeMap<u32, Link>,
    /// Their addresses, sorted by device.
    pub addresses: Vec<Address>,
}

impl Underlay {
    /// The link with this name.
    pub fn link(&self, name: &IfName) -> Option<&Link> {
        self.links.values().find(|link| link.name == *name)
    }

    /// The addresses of this device.
    pub fn addresses_of(&self, device: &IfName) -> impl Iterator<Item = &Address> {
        self.addresses.iter().filter(move |address| address.device == *device)
    }

    /// Whether this is an address of the host.
    pub fn is_own(&self, ip: IpAddr) -> bool {
        self.addresses.iter().any(|address| address.network.ip() == ip)
    }

    /// The own address in whose subnet this address lies, the smallest subnet first: packets to it need no gateway. Of several
    /// in one subnet it is the one that others may be told, not a second or temporary one beside it.
    pub fn subnet_of(&self, ip: IpAddr) -> Option<&Address> {
        let around = self.addresses.iter().filter(|address| address.network.contains(ip));
        let rank = |address: &Address| (address.network.prefix(), address.is_sound());
        around.reduce(|best, one| if rank(one) > rank(best) { one } else { best })
    }
}

/// All links and addresses, by the indexes the kernel uses.
#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<u32, Link>,
    indexes: HashMap<IfName, u32>,
    addresses: BTreeSet<(u32, Address)>,
}

/// What an event about a link means for what is wanted on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// It appeared; it may be up already.
    New,
    /// It came up again.
    Up,
    /// It went down.
    Down,
    /// It had this name before.
    Renamed(IfName),
}

impl Links {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn get(&self, name: &IfName) -> Option<&Link> {
        self.links.get(self.indexes.get(name)?)
    }

    pub(super) fn index(&self, name: &IfName) -> Option<u32> {
        self.indexes.get(name).copied()
    }

    /// The name of the device with this index; a made-up one if there is none.
    pub(super) fn name(&self, index: u32) -> IfName {
        self.known(index).unwrap_or_else(|| IfName::unknown(index))
    }

    pub(super) fn known(&self, index: u32) -> Option<IfName> {
        self.links.get(&index).map(|link| link.name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Link> {
        self.links.values()
    }

    pub(super) fn addresses(&self) -> impl Iterator<Item = &Address> {
        self.addresses.iter().map(|(_, address)| address)
    }

    pub(super) fn put(&mut self, link: Link) -> Change {
        let (index, name, up) = (link.index, link.name, link.up);
        self.indexes.insert(name, index);
        let Some(old) = self.links.insert(index, link) else { return Change::New };
        if old.name != name {
            if self.indexes.get(&old.name) == Some(&index) {
                self.indexes.remove(&old.name);
            }
            let moved = self.addresses.extract_if(.., |(of, _)| *of == index).collect::<Vec<_>>();
            self.addresses.extend(moved.into_iter().map(|(of, old)| (of, Address { device: name, ..old })));
            return Change::Renamed(old.name);
        }
        match (old.up, up) {
            (false, true) => Change::Up,
            (true, false) => Change::Down,
            (true, true) | (false, false) => Change::None,
        }
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<IfName> {
        let link = self.links.remove(&index)?;
        // Another may have the name by now.
        if self.indexes.get(&link.name) == Some(&index) {
            self.indexes.remove(&link.name);
        }
        self.addresses.retain(|(of, _)| *of != index);
        Some(link.name)
    }

    pub(super) fn put_address(&mut self, index: u32, address: Address) {
        self.remove_address(index, &address);
        self.addresses.insert((index, address));
    }

    pub(super) fn remove_address(&mut self, index: u32, address: &Address) {
        self.addresses.retain(|(of, known)| *of != index || known.network != address.network);
    }

    /// The host's own part of it.
    pub(super) fn underlay(&self, workload_prefix: &str) -> Underlay {
        let own = |name: &IfName| !name.as_str().starts_with(workload_prefix);
        Underlay {
            links: self
                .links
                .iter()
                .filter(|(_, link)| own(&link.name))
                .map(|(i, link)| (*i, link.clone()))
                .collect(),
            addresses: self.addresses.iter().map(|(_, a)| a).filter(|a| own(&a.device)).cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, up: bool) -> Link {
        Link::bare(index, IfName::new(name).unwrap(), up)
    }

    fn address(device: &str, network: &str) -> Address {
        Address::lasting(IfName::new(device).unwrap(), network.parse().unwrap())
    }

    #[test]
    fn a_new_link_may_take_the_name_of_one_whose_end_is_told_late() {
        let mut links = Links::default();
        let name = IfName::new("cali1").unwrap();
        assert_eq!(links.put(link(7, "cali1", true)), Change::New);
        assert_eq!(links.put(link(8, "cali1", false)), Change::New);
        assert_eq!(links.remove(7), Some(name));
        assert_eq!(links.index(&name), Some(8));
    }

    #[test]
    fn a_rename_takes_the_addresses_along() {
        let mut links = Links::default();
        links.put(link(2, "eth0", true));
        links.put_address(2, address("eth0", "192.0.2.7/24"));
        assert_eq!(links.put(link(2, "uplink", true)), Change::Renamed(IfName::new("eth0").unwrap()));
        let underlay = links.underlay("cali");
        assert_eq!(underlay.addresses, [address("uplink", "192.0.2.7/24")]);
        assert_eq!(links.index(&IfName::new("eth0").unwrap()), None);
    }

    #[test]
    fn pods_are_not_of_the_underlay_and_the_smallest_subnet_is_found() {
        let mut links = Links::default();
        links.put(link(2, "eth0", true));
        links.put(link(3, "cali1", true));
        links.put_address(3, address("cali1", "10.0.0.1/32"));
        links.put_address(2, address("eth0", "192.0.2.7/16"));
        links.put_address(2, address("eth0", "192.0.2.9/24"));
        let underlay = links.underlay("cali");
        assert_eq!(underlay.links.len(), 1);
        assert!(
            !underlay.is_own("10.0.0.1".parse().unwrap()) && underlay.is_own("192.0.2.9".parse().unwrap())
        );
        let found = underlay.subnet_of("192.0.2.200".parse().unwrap()).unwrap();
        assert_eq!(found.network.prefix(), 24);
        assert_eq!(underlay.subnet_of("198.51.100.1".parse().unwrap()), None);
    }

    #[test]
    fn of_a_subnet_the_address_is_found_that_others_may_be_told() {
        let second = Address { secondary: true, ..address("eth0", "192.0.2.9/24") };
        let temporary = Address { secondary: true, ..address("eth0", "2001:db8::9/64") };
        let going = Address { deprecated: true, ..address("eth0", "2001:db8::7/64") };
        let unproven = Address { tentative: true, ..address("eth0", "2001:db8::a/64") };
        let found = |addresses: &[&Address], of: &str| {
            let addresses = addresses.iter().map(|one| (*one).clone()).collect();
            let underlay = Underlay { addresses, ..Underlay::default() };
            underlay.subnet_of(of.parse().unwrap()).unwrap().network.to_string()
        };
        let first = address("eth0", "192.0.2.7/24");
        assert_eq!(found(&[&first, &second], "192.0.2.1"), "192.0.2.7/24");
        assert_eq!(found(&[&second, &first], "192.0.2.1"), "192.0.2.7/24");
        let lasting = address("eth0", "2001:db8::8/64");
        assert_eq!(found(&[&going, &lasting, &temporary, &unproven], "2001:db8::1"), "2001:db8::8/64");
        assert_eq!(
            found(&[&second], "192.0.2.1"),
            "192.0.2.9/24",
            "there is no other, and the subnet is here"
        );
        let wider = address("eth1", "192.0.0.0/16");
        assert_eq!(found(&[&wider, &second], "192.0.2.1"), "192.0.2.9/24", "the way goes by the smallest");
    }
}

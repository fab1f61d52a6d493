//! Next hops, interned apart from the attributes.
//!
//! They differ from peer to peer where the attributes are the same, so keeping them out of the set keeps the sets
//! few; and whether a next hop can be reached, and how far it is, belongs to the next hop and not to a path
//! (RFC 4271 §9.1.2.2 e).

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use ahash::RandomState;
use slab::Slab;

use super::underlay::Underlay;
use crate::config::Interface;

/// A next hop by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NextHopId(u32);

impl NextHopId {
    /// This speaker itself: the next hop of what it originates.
    pub const LOCAL: NextHopId = NextHopId(u32::MAX);
}

/// Whether packets for a next hop can leave this machine, as the kernel's side reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// It can be reached at this distance.
    At(u32),
    /// There is no route to it.
    Unreachable,
}

/// Until somebody says otherwise a next hop counts as reachable and near.
const UNTOLD: Reach = Reach::At(0);

/// The link of a session over link-local addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its device.
    pub interface: Interface,
    /// The own address there.
    pub own: Ipv6Addr,
    /// The peer's.
    pub peer: Ipv6Addr,
}

/// Whether an address says nothing without the link it is on.
pub(super) fn is_link_local(address: &IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

#[derive(Debug)]
struct Entry {
    address: IpAddr,
    /// Of a link-local address: the link. While there is a session on it, it can be reached; routes have no say.
    zone: Option<Interface>,
    reach: Reach,
    /// The interface through which it is reached, if somebody told.
    interface: Option<Arc<str>>,
    count: u32,
}

/// The next hops in use.
#[derive(Debug, Default)]
pub struct NextHops {
    index: HashMap<(IpAddr, Option<Interface>), NextHopId, RandomState>,
    entries: Slab<Entry>,
    underlay: Option<Arc<Underlay>>,
}

impl NextHops {
    /// The id of an address, counted once more. `None` is this speaker. On another link a link-local one is another one.
    pub fn intern(&mut self, address: Option<IpAddr>, link: Option<Interface>) -> NextHopId {
        let Some(address) = address else { return NextHopId::LOCAL };
        let zone = link.filter(|_| is_link_local(&address));
        if let Some(&id) = self.index.get(&(address, zone)) {
            self.retain(id);
            return id;
        }
        let (reach, interface) = match (zone, &self.underlay) {
            (Some(interface), _) => (UNTOLD, Some(Arc::from(interface.as_str()))),
            (None, Some(underlay)) => underlay.resolve(address),
            (None, None) => (UNTOLD, None),
        };
        let entry = Entry { address, zone, reach, interface, count: 1 };
        let id = NextHopId(self.entries.insert(entry) as u32);
        self.index.insert((address, zone), id);
        id
    }

    /// The id of an address that is in use, without counting.
    pub fn find(&self, address: IpAddr) -> Option<NextHopId> {
        self.index.get(&(address, None)).copied()
    }

    /// Counts one more holder.
    pub fn retain(&mut self, id: NextHopId) {
        if let Some(entry) = self.entries.get_mut(id.0 as usize) {
            entry.count += 1;
        }
    }

    /// Counts one holder less; the last one removes the entry.
    pub fn release(&mut self, id: NextHopId) {
        let Some(entry) = self.entries.get_mut(id.0 as usize) else { return };
        entry.count -= 1;
        if entry.count == 0 {
            let gone = self.entries.remove(id.0 as usize);
            self.index.remove(&(gone.address, gone.zone));
        }
    }

    /// The address, or `None` for this speaker itself.
    pub fn address(&self, id: NextHopId) -> Option<IpAddr> {
        self.entries.get(id.0 as usize).map(|entry| entry.address)
    }

    /// The link of a link-local address, where that is known.
    pub fn zone(&self, id: NextHopId) -> Option<Interface> {
        self.entries.get(id.0 as usize)?.zone
    }

    /// Whether and how far.
    pub fn reach(&self, id: NextHopId) -> Reach {
        self.entries.get(id.0 as usize).map_or(UNTOLD, |entry| entry.reach)
    }

    /// The interface through which it is reached, if somebody told.
    pub fn interface(&self, id: NextHopId) -> Option<&str> {
        self.entries.get(id.0 as usize)?.interface.as_deref()
    }

    /// Takes other routes of the machine; returns the next hops that are reached in another way now.
    pub fn set_underlay(&mut self, underlay: Arc<Underlay>) -> Vec<NextHopId> {
        let mut changed = Vec::new();
        for (place, entry) in self.entries.iter_mut().filter(|(_, entry)| entry.zone.is_none()) {
            let (reach, interface) = underlay.resolve(entry.address);
            if (reach, &interface) != (entry.reach, &entry.interface) {
                (entry.reach, entry.interface) = (reach, interface);
                changed.push(NextHopId(place as u32));
            }
        }
        self.underlay = Some(underlay);
        changed
    }

    /// Takes a new judgement; true when it differs from the old one.
    pub fn set_reach(&mut self, id: NextHopId, reach: Reach, interface: Option<Arc<str>>) -> bool {
        match self.entries.get_mut(id.0 as usize) {
            Some(entry) if entry.reach != reach || entry.interface != interface => {
                entry.reach = reach;
                entry.interface = interface;
                true
            }
            Some(_) | None => false,
        }
    }

    /// How many are in use.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is in use.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lives_as_long_as_it_is_held() {
        let mut hops = NextHops::default();
        let address: IpAddr = "192.0.2.1".parse().unwrap();
        let id = hops.intern(Some(address), None);
        assert_eq!(hops.intern(Some(address), None), id);
        hops.release(id);
        assert_eq!(hops.address(id), Some(address));
        hops.release(id);
        assert_eq!(hops.address(id), None);
        assert!(hops.is_empty());
    }

    #[test]
    fn a_link_local_address_on_another_link_is_another_one_and_no_route_says_how_to_reach_it() {
        let mut hops = NextHops::default();
        let [eth0, eth1] = ["eth0", "eth1"].map(|name| Interface::new(name).ok());
        let address: Option<IpAddr> = "fe80::1".parse().ok();
        let (one, two) = (hops.intern(address, eth0), hops.intern(address, eth1));
        assert!(one != two && hops.intern(address, eth0) == one);
        assert_eq!(hops.set_underlay(Arc::default()), [], "no route leads anywhere");
        assert_eq!((hops.reach(two), hops.interface(two)), (Reach::At(0), Some("eth1")));
        let global: Option<IpAddr> = "2001:db8::1".parse().ok();
        assert_eq!(
            hops.intern(global, eth0),
            hops.intern(global, eth1),
            "a global one is the same everywhere"
        );
        assert_eq!(hops.find(address.unwrap()), None);
    }

    #[test]
    fn reach_is_told_once() {
        let mut hops = NextHops::default();
        let id = hops.intern("2001:db8::1".parse().ok(), None);
        assert!(hops.set_reach(id, Reach::Unreachable, None));
        assert!(!hops.set_reach(id, Reach::Unreachable, None));
        assert_eq!(hops.reach(NextHopId::LOCAL), Reach::At(0));
    }
}

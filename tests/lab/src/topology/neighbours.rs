//! Which neighbours machines are told of, instead of discovering them.
//!
//! The kernel has one table of neighbours for each IP version, shared by all network namespaces of the machine; it
//! holds 1024 entries unless somebody has raised `gc_thresh3`, and when it is full, packets are refused with EINVAL. A
//! pair of IPv6 hosts takes up to four entries: each the other's address, and the multicast group by which it asks for
//! it. A lab that would fill the table writes its racks' neighbours down as permanent entries, which do not count.

use std::net::IpAddr;

use super::{CONTROL, GATEWAY, LAB, RackPlan, Topology};

/// Entries that a lab may take of the table: others live on the machine too.
const ROOM: usize = 512;

/// The MAC address of a host in a rack.
pub(super) fn mac(rack: &RackPlan, host: u8) -> String {
    format!("02:00:1e:00:{:02x}:{host:02x}", rack.number)
}

impl Topology {
    /// Whether the neighbours in racks are written down.
    pub fn writes_neighbours_down(&self) -> bool {
        let pairs = self.racks.iter().map(|rack| {
            let hosts = self.hosts(rack).count();
            hosts * hosts.saturating_sub(1)
        });
        2 * pairs.sum::<usize>() > ROOM
    }

    /// The neighbours that a host in a rack is told of.
    pub(super) fn neighbours(&self, rack: &RackPlan, own: u8) -> Vec<(IpAddr, String)> {
        if !self.writes_neighbours_down() {
            return Vec::new();
        }
        let others = self.hosts(rack).filter(|host| *host != own);
        let entries = others.flat_map(|host| {
            let addresses = self.addresses(rack, host).into_iter();
            addresses.map(move |address| (address.ip(), mac(rack, host)))
        });
        entries.collect()
    }

    /// The last parts of the addresses of everything in a rack.
    fn hosts(&self, rack: &RackPlan) -> impl Iterator<Item = u8> {
        let number = rack.number;
        let fixed = [Some(GATEWAY), (number == 0).then_some(CONTROL), (number == 0).then_some(LAB)];
        let nodes = self.nodes.iter().filter(move |node| node.rack == usize::from(number));
        fixed.into_iter().flatten().chain(nodes.map(|node| node.host))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_labs_discover_their_neighbours() {
        for topology in [Topology::default(), Topology::racks_of_nodes(2, 16, 2)] {
            assert!(!topology.writes_neighbours_down());
            assert!(topology.neighbours(&topology.racks[0], 11).is_empty());
        }
    }

    #[test]
    fn in_large_labs_every_host_of_a_rack_knows_every_other() {
        let topology = Topology::racks_of_nodes(2, 40, 2);
        let [first, second] = topology.racks.as_slice() else { panic!("two racks expected") };
        // 20 nodes, the router, and in rack 0 the control plane and the lab; without oneself, in two families.
        assert_eq!(topology.neighbours(first, 11).len(), 2 * 22);
        let known = topology.neighbours(second, GATEWAY);
        assert_eq!(known.len(), 2 * 20);
        assert_eq!(known[0], ("172.30.1.31".parse().unwrap(), "02:00:1e:00:01:1f".into()));
    }
}

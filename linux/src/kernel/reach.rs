//! Recursive next hops: by which of the host's own routes a next hop lies that is on none of its subnets.
//!
//! The kernel resolves no gateway by another gateway. So the host's routes are asked, and asked again when one of them, a
//! link or an address changes. Routes of ours do not count: a next hop behind one of them would be resolved by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ipnetwork::IpNetwork;
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage};
use tokio::sync::watch;

use crate::kernel::keeper::Keeper;
use crate::netlink::Error;
use crate::object::route::{Family, Hop, Route, RouteKey, message};
use crate::table::Owner;

/// The hops towards each next hop that has any.
pub type Gateways = BTreeMap<IpAddr, Vec<Hop>>;

/// Changes closer together than this are answered at once.
const SETTLE: Duration = Duration::from_millis(20);

/// What was asked about, and when to look.
pub(super) struct Reach {
    wanted: BTreeSet<IpAddr>,
    due: Option<Instant>,
    told: watch::Sender<Arc<Gateways>>,
}

impl Default for Reach {
    fn default() -> Self {
        Self { wanted: BTreeSet::new(), due: None, told: watch::Sender::new(Arc::default()) }
    }
}

impl Reach {
    pub(super) fn told(&self) -> watch::Receiver<Arc<Gateways>> {
        self.told.subscribe()
    }

    pub(super) fn want(&mut self, next_hops: BTreeSet<IpAddr>) {
        self.wanted = next_hops;
        self.due = Some(Instant::now());
    }

    /// Links or addresses have changed.
    pub(super) fn look_again(&mut self) {
        if !self.wanted.is_empty() {
            self.due.get_or_insert_with(|| Instant::now() + SETTLE);
        }
    }

    /// A route has changed.
    pub(super) fn foreign_change(&mut self, owner: Owner) {
        if owner == Owner::Foreign {
            self.look_again();
        }
    }

    /// When to look.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

impl Keeper {
    /// Asks the host's routes, if that is due.
    pub(super) fn look_for_gateways(&mut self) -> Result<(), Error> {
        if self.reach.due.is_none_or(|due| due > Instant::now()) {
            return Ok(());
        }
        self.reach.due = None;
        let mut found = Gateways::new();
        for next_hop in self.reach.wanted.clone() {
            if let Some((_, route)) = self.route_towards(next_hop)?
                && self.owner(&route) == Owner::Foreign
            {
                let hops: Vec<Hop> = route.hops().iter().map(|hop| towards(next_hop, hop)).collect();
                if !hops.is_empty() {
                    found.insert(next_hop, hops);
                }
            }
        }
        self.reach.told.send_if_modified(|told| {
            let news = **told != found;
            if news {
                *told = Arc::new(found);
            }
            news
        });
        Ok(())
    }

    /// The route that packets to this address take.
    fn route_towards(&mut self, address: IpAddr) -> Result<Option<(RouteKey, Route)>, Error> {
        let mut query = RouteMessage::default();
        query.header.address_family = if address.is_ipv4() { Family::V4 } else { Family::V6 }.code();
        query.header.destination_prefix_length = IpNetwork::from(address).prefix();
        // The route itself, not what became of it for this address.
        query.header.flags = RouteFlags::FibMatch;
        query.attributes.push(RouteAttribute::Destination(address.into()));
        let links = &self.links;
        let found =
            self.writer.get(
                "looking for a route",
                RouteNetlinkMessage::GetRoute(query),
                |found| match found {
                    RouteNetlinkMessage::NewRoute(found) => message::read(&found, |index| links.name(index)),
                    _ => None,
                },
            );
        match found {
            // There is none, or it refuses.
            Err(Error::Refused { .. }) => Ok(None),
            found => found,
        }
    }
}

/// The hop of a route as the hop towards something behind it. What the route has on the link itself is its own gateway.
fn towards(next_hop: IpAddr, hop: &Hop) -> Hop {
    match hop.via {
        Some(_) => hop.clone(),
        None => Hop { weight: hop.weight, ..Hop::via(next_hop, hop.device).onlink() },
    }
}

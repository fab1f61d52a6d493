//! What a speaker has to know of the machine: by which of its routes next hops are reached, and how far they are, and where
//! the peers are that are known by a device ([`neighbours`]), and which own addresses are told as next hops ([`next_hops`]).
//!
//! A package of its own since the speaker knows no kernel and `linux` knows no BGP, while node agent and router both follow
//! the kernel so. Whoever calls [`Host::tell`] chooses the routes: those that BGP brought are no ground for a next hop to stand on.

pub mod neighbours;
pub mod next_hops;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use caracal_bgp::rib::{Underlay, UnderlayRoute, Way};
use caracal_bgp::speaker::{Handle, Stopped};
use caracal_linux::kernel::{Kernel, Underlay as Links};
use caracal_linux::object::link::IfName;
use caracal_linux::object::route::{Route, RouteKey, RouteKind};
use tokio::sync::watch;

/// The devices that lead nowhere now, of all there are.
pub type DeadLinks = fn(&Links) -> BTreeSet<IfName>;

/// The machine's own routes and links, as the kernel's owner sees them.
///
/// The kernel keeps the routes of a device whose cable is out, and tells only of the device. A next hop there is reached by
/// nobody: its paths are decided again within milliseconds, while the session with it may stand for the rest of its hold time.
#[derive(Debug)]
pub struct Host {
    routes: watch::Receiver<Arc<BTreeMap<RouteKey, Route>>>,
    links: watch::Receiver<Arc<Links>>,
    dead: DeadLinks,
    /// Those that were dead when it was last told.
    told: BTreeSet<IfName>,
}

impl Host {
    /// What this owner sees; `dead` says by which links nothing is reached.
    pub fn new(kernel: &Kernel, dead: DeadLinks) -> Self {
        let (routes, links) = (kernel.routes_of_others(), kernel.underlay());
        Self { routes, links, dead, told: BTreeSet::new() }
    }

    /// Tells the speaker what there is now.
    ///
    /// # Errors
    /// When the speaker has stopped.
    pub async fn tell(&mut self, speaker: &Handle) -> Result<(), Stopped> {
        let known = Arc::clone(&self.routes.borrow_and_update());
        self.told = (self.dead)(&self.links.borrow_and_update());
        speaker.underlay(Arc::new(underlay(&known, &self.told))).await
    }

    /// Goes on telling it until it stops.
    pub async fn follow(mut self, speaker: Handle) {
        loop {
            let (changed, news) = tokio::select! {
                changed = self.routes.changed() => (changed, true),
                changed = self.links.changed() => {
                    (changed, (self.dead)(&self.links.borrow_and_update()) != self.told)
                }
            };
            if changed.is_err() || (news && self.tell(&speaker).await.is_err()) {
                return;
            }
        }
    }
}

/// The devices without a carrier.
pub fn without_carrier(links: &Links) -> BTreeSet<IfName> {
    links.links.values().filter(|link| !link.loopback && !link.carrier).map(|link| link.name).collect()
}

fn underlay(routes: &BTreeMap<RouteKey, Route>, dead: &BTreeSet<IfName>) -> Underlay {
    let all = routes.iter().flat_map(|(key, route)| {
        ways(&route.kind, dead).into_iter().map(|way| UnderlayRoute {
            prefix: key.destination,
            metric: key.priority,
            way,
        })
    });
    all.collect()
}

/// The ways of one route. Of several hops any will do that is not dead.
fn ways(kind: &RouteKind, dead: &BTreeSet<IfName>) -> Vec<Way> {
    match kind {
        RouteKind::Unicast(hops) if hops.iter().all(|hop| dead.contains(&hop.device)) => vec![Way::Nowhere],
        RouteKind::Unicast(hops) => hops
            .iter()
            .filter(|hop| !dead.contains(&hop.device))
            .map(|hop| {
                let device: Arc<str> = hop.device.as_str().into();
                match hop.via {
                    Some(gateway) => Way::Gateway(gateway, Some(device)),
                    None => Way::Link(device),
                }
            })
            .collect(),
        RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit => vec![Way::Nowhere],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caracal_bgp::rib::Reach;
    use caracal_linux::object::link::Link;
    use caracal_linux::object::route::Hop;

    #[test]
    fn links_gateways_and_dropping_routes_are_told_as_what_they_are() {
        let device = |name| IfName::new(name).unwrap();
        let key = |text: &str, priority| RouteKey { priority, ..RouteKey::main(text.parse().unwrap()) };
        let routes = BTreeMap::from([
            (key("0.0.0.0/0", 100), Route::via("192.0.2.1".parse().unwrap(), device("eth0"))),
            (key("192.0.2.0/24", 0), Route::direct(device("eth0"))),
            (key("10.0.0.0/8", 0), Route::new(RouteKind::Unreachable)),
        ]);
        let underlay = underlay(&routes, &BTreeSet::new());
        let resolve = |text: &str| underlay.resolve(text.parse().unwrap());
        assert_eq!(resolve("192.0.2.9"), (Reach::At(0), Some("eth0".into())));
        assert_eq!(resolve("198.51.100.9"), (Reach::At(100), Some("eth0".into())));
        assert_eq!(resolve("10.1.2.3"), (Reach::Unreachable, None));
        assert_eq!(resolve("fd00::1"), (Reach::Unreachable, None));
    }

    #[test]
    fn nothing_is_reached_by_a_link_without_a_carrier_and_no_other_route_is_taken_instead() {
        let device = |name| IfName::new(name).unwrap();
        let key = |text: &str| RouteKey::main(text.parse().unwrap());
        let by = |gateway: &str, name| Hop::via(gateway.parse().unwrap(), device(name));
        let both = RouteKind::Unicast(vec![by("192.0.2.0", "eth0"), by("192.0.2.2", "eth1")]);
        let routes = BTreeMap::from([
            (key("0.0.0.0/0"), Route::new(both)),
            (key("192.0.2.0/31"), Route::direct(device("eth0"))),
            (key("192.0.2.2/31"), Route::direct(device("eth1"))),
        ]);
        let mut links = Links::default();
        for (index, name) in [(1, "lo"), (2, "eth0"), (3, "eth1")] {
            let link = Link { loopback: name == "lo", ..Link::bare(index, device(name), index == 3) };
            links.links.insert(index, link);
        }
        let dead = without_carrier(&links);
        assert_eq!(dead, [device("eth0")].into());
        let underlay = underlay(&routes, &dead);
        let resolve = |text: &str| underlay.resolve(text.parse().unwrap());
        assert_eq!(resolve("192.0.2.0"), (Reach::Unreachable, None), "not by the default route");
        assert_eq!(resolve("192.0.2.2"), (Reach::At(0), Some("eth1".into())));
        assert_eq!(resolve("198.51.100.9"), (Reach::At(0), Some("eth1".into())));
    }
}

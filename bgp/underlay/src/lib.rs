//! What a speaker has to know of the machine: by which of its routes next hops are reached, and how far they are, and where
//! the peers are that are known by a device ([`neighbours`]), and which own addresses are told as next hops ([`next_hops`]).
//!
//! A package of its own since the speaker knows no kernel and `linux` knows no BGP, while node agent and router both follow
//! the kernel so. Whoever calls [`tell`] chooses the routes: those that BGP brought are no ground for a next hop to stand on.

pub mod neighbours;
pub mod next_hops;

use std::collections::BTreeMap;
use std::sync::Arc;

use caracal_bgp::rib::{Underlay, UnderlayRoute, Way};
use caracal_bgp::speaker::{Handle, Stopped};
use caracal_linux::object::route::{Route, RouteKey, RouteKind};
use tokio::sync::watch;

/// The machine's routes, as the kernel's owner sees them.
pub type HostRoutes = watch::Receiver<Arc<BTreeMap<RouteKey, Route>>>;

/// Tells the speaker what there is now.
///
/// # Errors
/// When the speaker has stopped.
pub async fn tell(speaker: &Handle, routes: &mut HostRoutes) -> Result<(), Stopped> {
    let known = Arc::clone(&routes.borrow_and_update());
    speaker.underlay(Arc::new(underlay(&known))).await
}

/// Goes on telling it until it stops.
pub async fn follow(speaker: Handle, mut routes: HostRoutes) {
    while routes.changed().await.is_ok() {
        if tell(&speaker, &mut routes).await.is_err() {
            return;
        }
    }
}

fn underlay(routes: &BTreeMap<RouteKey, Route>) -> Underlay {
    let all = routes.iter().flat_map(|(key, route)| {
        ways(&route.kind).into_iter().map(|way| UnderlayRoute {
            prefix: key.destination,
            metric: key.priority,
            way,
        })
    });
    all.collect()
}

/// The ways of one route. Of several hops any will do.
fn ways(kind: &RouteKind) -> Vec<Way> {
    match kind {
        RouteKind::Unicast(hops) => hops
            .iter()
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
    use caracal_linux::object::link::IfName;

    #[test]
    fn links_gateways_and_dropping_routes_are_told_as_what_they_are() {
        let device = |name| IfName::new(name).unwrap();
        let key = |text: &str, priority| RouteKey { priority, ..RouteKey::main(text.parse().unwrap()) };
        let routes = BTreeMap::from([
            (key("0.0.0.0/0", 100), Route::via("192.0.2.1".parse().unwrap(), device("eth0"))),
            (key("192.0.2.0/24", 0), Route::direct(device("eth0"))),
            (key("10.0.0.0/8", 0), Route::new(RouteKind::Unreachable)),
        ]);
        let underlay = underlay(&routes);
        let resolve = |text: &str| underlay.resolve(text.parse().unwrap());
        assert_eq!(resolve("192.0.2.9"), (Reach::At(0), Some("eth0".into())));
        assert_eq!(resolve("198.51.100.9"), (Reach::At(100), Some("eth0".into())));
        assert_eq!(resolve("10.1.2.3"), (Reach::Unreachable, None));
        assert_eq!(resolve("fd00::1"), (Reach::Unreachable, None));
    }
}

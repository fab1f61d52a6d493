//! What these tests want of the kernel thread, in short.

use std::time::Duration;

use caracal_linux::kernel::{Kernel, Settings, Wanted};
use caracal_linux::namespace::Namespace;
use caracal_linux::object::link::Mac;
use caracal_linux::object::neighbour::{Neighbour, NeighbourKey};
use caracal_linux::object::route::{Route, RouteKey, RouteKind};

use super::{device, ip};

/// The promise for repairs.
pub(crate) const SECOND: Duration = Duration::from_secs(1);
/// For what has no promise: long enough for a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const MAC: Mac = Mac([0x02, 0, 0, 0, 0, 0x17]);

pub(crate) fn settings(namespace: &Namespace) -> Settings {
    Settings {
        namespace: Some(namespace.clone()),
        backstop: Duration::from_secs(3600),
        ..Settings::default()
    }
}

pub(crate) fn start(namespace: &Namespace) -> Kernel {
    Kernel::start(settings(namespace)).expect("starting the kernel thread")
}

pub(crate) fn key(destination: &str) -> RouteKey {
    RouteKey::main(destination.parse().expect("a prefix"))
}

pub(crate) fn route(destination: &str, route: Route) -> Wanted {
    Wanted::Route(key(destination), Some(route))
}

pub(crate) fn direct(destination: &str, name: &str) -> Wanted {
    route(destination, Route::direct(device(name)))
}

pub(crate) fn blackhole(destination: &str) -> Wanted {
    route(destination, Route::new(RouteKind::Blackhole))
}

pub(crate) fn neighbour(name: &str, address: &str) -> Wanted {
    let key = NeighbourKey { device: device(name), address: address.parse().expect("an address") };
    Wanted::Neighbour(key, Some(Neighbour { mac: MAC }))
}

pub(crate) fn without(wanted: &Wanted) -> Wanted {
    wanted.key().unwanted()
}

pub(crate) fn ours(namespace: &Namespace) -> String {
    ip(namespace, "-4 route show proto 67") + &ip(namespace, "-6 route show proto 67")
}

/// What a pod's host side wants.
pub(crate) fn pod(name: &str) -> Vec<Wanted> {
    vec![
        direct("10.0.0.1/32", name),
        direct("fd00::1/128", name),
        neighbour(name, "10.0.0.1"),
        neighbour(name, "fd00::1"),
    ]
}

pub(crate) fn pod_is_there(host: &Namespace) -> bool {
    let routes = ours(host);
    let neighbours = ip(host, "neigh show nud permanent");
    routes.contains("10.0.0.1 dev cali1 scope link")
        && routes.contains("fd00::1 dev cali1 metric 1024")
        && neighbours.contains(&format!("10.0.0.1 dev cali1 lladdr {MAC}"))
        && neighbours.contains(&format!("fd00::1 dev cali1 lladdr {MAC}"))
}

//! The routes of others in the main table: what daemons, administrators and the kernel itself have put there. They are never
//! touched; whoever must know by which of them an address is reached may watch them.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::object::link::IfName;
use crate::object::route::{Route, RouteKey};

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct Others {
    routes: BTreeMap<RouteKey, Route>,
    changed: bool,
    told: watch::Sender<Arc<BTreeMap<RouteKey, Route>>>,
}

impl Others {
    pub(super) fn watch(&self) -> watch::Receiver<Arc<BTreeMap<RouteKey, Route>>> {
        self.told.subscribe()
    }

    pub(super) fn put(&mut self, key: RouteKey, route: Route) {
        if self.routes.get(&key) != Some(&route) {
            self.routes.insert(key, route);
            self.changed = true;
        }
    }

    pub(super) fn remove(&mut self, key: &RouteKey) {
        self.changed |= self.routes.remove(key).is_some();
    }

    /// Whether any leaves by this device.
    pub(super) fn use_device(&self, device: &IfName) -> bool {
        self.routes.values().any(|route| route.uses(device))
    }

    /// A device is gone, and the routes that had no other.
    pub(super) fn device_gone(&mut self, device: &IfName) {
        let before = self.routes.len();
        self.routes.retain(|_, route| !(route.uses(device) && route.hops().len() == 1));
        self.changed |= self.routes.len() != before;
    }

    /// These are all there are, or all that leave by a device.
    pub(super) fn resync(
        &mut self,
        device: Option<&IfName>,
        found: impl IntoIterator<Item = (RouteKey, Route)>,
    ) {
        let within = |route: &Route| device.is_none_or(|device| route.uses(device));
        let mut now: BTreeMap<RouteKey, Route> = self
            .routes
            .iter()
            .filter(|(_, route)| !within(route))
            .map(|(key, route)| (*key, route.clone()))
            .collect();
        now.extend(found);
        if now != self.routes {
            self.routes = now;
            self.changed = true;
        }
    }

    /// Tells those who watch.
    pub(super) fn publish(&mut self) {
        if std::mem::take(&mut self.changed) {
            self.told.send_replace(Arc::new(self.routes.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> RouteKey {
        RouteKey::main(text.parse().unwrap())
    }

    fn by(device: &str) -> Route {
        Route::direct(IfName::new(device).unwrap())
    }

    #[test]
    fn who_watches_is_told_of_changes_and_of_nothing_else() {
        let mut others = Others::default();
        let mut watch = others.watch();
        others.put(key("192.0.2.0/24"), by("eth0"));
        others.put(key("198.51.100.0/24"), by("eth1"));
        others.publish();
        assert_eq!(watch.borrow_and_update().len(), 2);
        others.put(key("192.0.2.0/24"), by("eth0"));
        others.remove(&key("203.0.113.0/24"));
        others.resync(Some(&IfName::new("eth0").unwrap()), [(key("192.0.2.0/24"), by("eth0"))]);
        others.publish();
        assert!(!watch.has_changed().unwrap());
        others.device_gone(&IfName::new("eth1").unwrap());
        others.publish();
        assert_eq!(watch.borrow_and_update().keys().collect::<Vec<_>>(), [&key("192.0.2.0/24")]);
        others.resync(None, []);
        others.publish();
        assert!(watch.borrow_and_update().is_empty());
    }
}

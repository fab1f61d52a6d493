//! Routes, one at a time: for namespaces that [`crate::kernel::Kernel`] does not keep, such as a pod's.

use std::collections::HashMap;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;

use crate::netlink::client::Client;
use crate::netlink::error::Error;
use crate::object::link::IfName;
use crate::object::route::{Family, Route, RouteFilter, RouteKey, message};

impl Client {
    /// The routes that pass the filter.
    pub async fn routes(&self, filter: &RouteFilter) -> Result<Vec<(RouteKey, Route)>, Error> {
        let doing = || "listing routes".to_owned();
        let names: HashMap<u32, IfName> =
            self.links().await?.into_iter().map(|link| (link.index, link.name)).collect();
        let device = match filter.device {
            Some(device) => Some(self.index(&doing, &device).await?),
            None => None,
        };
        let name = |index| names.get(&index).copied().unwrap_or_else(|| IfName::unknown(index));
        let mut routes = Vec::new();
        for family in
            Family::BOTH.into_iter().filter(|family| filter.family.is_none_or(|only| only == *family))
        {
            let query = message::query(family, filter.table, filter.protocol, device);
            let found = self
                .list(doing, RouteNetlinkMessage::GetRoute(query), |found| match found {
                    RouteNetlinkMessage::NewRoute(found) => message::read(&found, name),
                    _ => None,
                })
                .await;
            match found {
                Ok(found) => routes.extend(found),
                // The table does not exist: nothing is in it.
                Err(error) if error.errno() == Some(libc::ENOENT) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(routes)
    }

    /// Adds a route; an error (see [`Error::already_exists`]) if there is one with this key, whoever made it.
    pub async fn add_route(&self, key: &RouteKey, route: &Route) -> Result<(), Error> {
        self.set_route("adding", key, route, NLM_F_CREATE | NLM_F_EXCL).await
    }

    /// Adds a route, or replaces the one with this key, whoever made it.
    pub async fn replace_route(&self, key: &RouteKey, route: &Route) -> Result<(), Error> {
        self.set_route("setting", key, route, NLM_F_CREATE | NLM_F_REPLACE).await
    }

    async fn set_route(&self, verb: &str, key: &RouteKey, route: &Route, flags: u16) -> Result<(), Error> {
        let doing = || format!("{verb} route {key} {route}");
        let key = key.normalised();
        let route = route.clone().normalised(&key);
        let indexes = self.indexes(&doing, route.hops().iter().map(|hop| hop.device).collect()).await?;
        let message = message::write(&key, &route, |device| indexes.get(device).copied())
            .map_err(|device| Error::NoDevice { doing: doing(), device })?;
        self.change(doing, RouteNetlinkMessage::NewRoute(message), flags).await
    }

    /// Removes the route with this key that `protocol` made, or (0) whoever made it; false if there was none.
    pub async fn delete_route(&self, key: &RouteKey, protocol: u8) -> Result<bool, Error> {
        let message = message::removal(&key.normalised(), protocol);
        match self.change(|| format!("removing route {key}"), RouteNetlinkMessage::DelRoute(message), 0).await
        {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::ESRCH) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

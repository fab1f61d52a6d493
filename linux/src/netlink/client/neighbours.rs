//! Neighbours.

use std::collections::HashMap;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::neighbour::NeighbourMessage;

use crate::netlink::client::Client;
use crate::netlink::error::Error;
use crate::object::link::IfName;
use crate::object::neighbour::{self, Neighbour, NeighbourKey, SeenNeighbour};

impl Client {
    /// All entries of the IPv4 and IPv6 neighbour tables, learned ones included.
    pub async fn neighbours(&self) -> Result<Vec<SeenNeighbour>, Error> {
        let names: HashMap<u32, IfName> =
            self.links().await?.into_iter().map(|link| (link.index, link.name)).collect();
        let query = RouteNetlinkMessage::GetNeighbour(NeighbourMessage::default());
        self.list(
            || "listing neighbours".to_owned(),
            query,
            |message| match message {
                RouteNetlinkMessage::NewNeighbour(message) => {
                    SeenNeighbour::from_message(&message, *names.get(&message.header.ifindex)?)
                }
                _ => None,
            },
        )
        .await
    }

    /// Sets a permanent entry, in place of any there is.
    pub async fn replace_neighbour(&self, key: &NeighbourKey, value: &Neighbour) -> Result<(), Error> {
        let doing = || format!("setting neighbour {key} to {}", value.mac);
        let index = self.index(&doing, &key.device).await?;
        let message = neighbour::message(key.address, index, Some(value), 0);
        self.change(doing, RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE).await
    }

    /// Removes an entry; false if there was none.
    pub async fn delete_neighbour(&self, key: &NeighbourKey) -> Result<bool, Error> {
        let doing = || format!("removing neighbour {key}");
        let index = self.index(&doing, &key.device).await?;
        let message = neighbour::message(key.address, index, None, 0);
        match self.change(doing, RouteNetlinkMessage::DelNeighbour(message), 0).await {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::ENOENT) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

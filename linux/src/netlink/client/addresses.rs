//! Addresses on links.

use std::collections::HashMap;

use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_REPLACE};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;

use crate::netlink::client::Client;
use crate::netlink::error::Error;
use crate::object::address::{self, Address};
use crate::object::link::IfName;

impl Client {
    /// All addresses of all devices.
    pub async fn addresses(&self) -> Result<Vec<Address>, Error> {
        let names: HashMap<u32, IfName> =
            self.links().await?.into_iter().map(|link| (link.index, link.name)).collect();
        let query = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        self.list(
            || "listing addresses".to_owned(),
            query,
            |message| match message {
                RouteNetlinkMessage::NewAddress(message) => {
                    Address::from_message(&message, *names.get(&message.header.index)?)
                }
                _ => None,
            },
        )
        .await
    }

    /// Gives the device this address, with the prefix length of its subnet; no error if it has it already. `nodad` makes an
    /// IPv6 address usable at once, without asking the link whether another has it.
    pub async fn add_address(&self, device: &IfName, network: IpNetwork, nodad: bool) -> Result<(), Error> {
        let doing = || format!("adding address {network} to device {device}");
        let message = address::message(self.index(&doing, device).await?, network, nodad, 0);
        self.change(doing, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_REPLACE).await
    }

    /// Takes the address from the device; false if it did not have it.
    pub async fn delete_address(&self, device: &IfName, network: IpNetwork) -> Result<bool, Error> {
        let doing = || format!("removing address {network} from device {device}");
        let message = address::message(self.index(&doing, device).await?, network, false, 0);
        match self.change(doing, RouteNetlinkMessage::DelAddress(message), 0).await {
            Ok(()) => Ok(true),
            Err(error) if error.errno() == Some(libc::EADDRNOTAVAIL) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

//! Addresses for interfaces that another plugin makes: caracal as `ipam.type` of `ptp`, `bridge` and the like.
//!
//! Such plugins want what our own pods do not have: a prefix, and a gateway inside it. The prefix is that of the block; the gateway
//! is an address of the block that this node keeps for itself from the first such attachment on ([`Subnet`]), with the block's
//! first address and IPv4's last, which mean something else than a host on a link. They are kept until the machine is booted anew:
//! `bridge` never takes the gateway from its device again.
//!
//! No device of the host is ours here, so nothing but DEL, GC and a reboot can say that such an attachment is over.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use caracal_api::BlockCidr;
use caracal_cni::config::NetworkConfig;
use caracal_cni::environment::Target;
use caracal_cni::result::{Ip, Route, Success};
use caracal_cni::{Code, Error};
use caracal_ipam::{Allocation, Attributes, Refusal, Want, WantFamilies};
use ipnetwork::IpNetwork;
use serde_json::Map;
use tracing::{debug, info};

use super::{CniContext, add, request};
use crate::attachments::{Address, Attachment, AttachmentKey, Extras, Phase, PodRef};
use crate::desired::pod::everywhere;

/// The network in whose name subnets' own addresses are held; no CNI network can have it.
const SUBNETS: &str = "-subnet";
/// How many addresses are tried as a gateway before the block counts as full.
const GATEWAYS_TRIED: u32 = 16;
/// How often an address that turns out to be the subnet's own is exchanged.
const EXCHANGES: usize = 3;

/// Gives addresses.
pub(super) async fn add(
    context: &CniContext,
    config: &NetworkConfig,
    target: &Target,
) -> Result<Success, Error> {
    let key = request::key(config, target);
    let _gate = Arc::clone(&context.gate).read_owned().await;
    let _attachment = context.locks.lock(key.to_string()).await;
    if context.records.get(&key).is_some() {
        let msg = format!(
            "container {} has addresses of the network {} for {} already: give them back first (DEL)",
            key.container, key.network, key.interface
        );
        return Err(Error::new(Code::Exists, msg));
    }
    let (granted, attributes, gateways) = suitable(context, config, target, &key).await?;
    let record = Attachment {
        key: key.clone(),
        pod: target.args.pod.as_ref().map(|pod| PodRef {
            namespace: pod.namespace.clone(),
            name: pod.name.clone(),
            uid: pod.uid.clone().unwrap_or_default(),
        }),
        netns: target.netns.clone().unwrap_or_default(),
        host: String::new(),
        addresses: granted.iter().cloned().map(Address::Own).collect(),
        attributes,
        phase: Phase::Delegated,
        mtu: 0,
        mac: None,
        extras: Extras::default(),
    };
    if let Err(error) = context.records.put(record).await {
        context.ipam.release(key.handle(), granted).await;
        return Err(Error::new(Code::Io, format!("keeping the record of attachment {key}: {error}")));
    }
    Ok(result(config, &granted, &gateways))
}

/// Whether what was given is still held.
pub(super) async fn check(
    context: &CniContext,
    config: &NetworkConfig,
    target: &Target,
) -> Result<(), Error> {
    let key = request::key(config, target);
    let _attachment = context.locks.lock(key.to_string()).await;
    let record = context.records.get(&key).filter(|record| record.phase == Phase::Delegated);
    let Some(record) = record else {
        let msg = format!(
            "container {} has no address of the network {} for {}",
            key.container, key.network, key.interface
        );
        return Err(Error::new(Code::UnknownContainer, msg));
    };
    let told: BTreeSet<IpAddr> =
        config.previous.iter().flat_map(|previous| &previous.ips).map(|ip| ip.address.ip()).collect();
    let missing: Vec<String> =
        record.ips().filter(|ip| !told.contains(ip)).map(|ip| ip.to_string()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let msg = format!(
        "checking container {} in {}: prevResult lacks the address {}, which it holds",
        key.container,
        key.network,
        missing.join(", ")
    );
    Err(Error::new(Code::CheckFailed, msg))
}

/// Addresses of blocks that can be subnets, with the gateway of each.
async fn suitable(
    context: &CniContext,
    config: &NetworkConfig,
    target: &Target,
    key: &AttachmentKey,
) -> Result<(Vec<Allocation>, Attributes, Vec<IpAddr>), Error> {
    for _ in 0..EXCHANGES {
        let (granted, attributes) = add::allocate(context, config, target, key).await?;
        match gateways(context, &granted).await {
            Ok(Some(gateways)) => return Ok((granted, attributes, gateways)),
            // One of them is a subnet's own: held as that now, or at the next attempt.
            Ok(None) => {}
            Err(error) => {
                context.ipam.release(key.handle(), granted).await;
                add::tell(context, target, "NoSubnet", error.msg.clone());
                return Err(error.with_details("NoSubnet"));
            }
        }
        let subnets: Vec<Subnet> = granted.iter().map(Subnet::of).collect();
        context.ipam.release(key.handle(), granted).await;
        for subnet in subnets {
            let _block = context.locks.lock(subnet.name.clone()).await;
            subnet.keep_ends(context).await?;
        }
    }
    let msg = format!("no address for container {}: those given were all a subnet's own", key.container);
    Err(Error::new(Code::TryAgainLater, msg))
}

/// The gateway of each allocation's block; none at all if an allocation is itself one of a block's ends.
async fn gateways(context: &CniContext, granted: &[Allocation]) -> Result<Option<Vec<IpAddr>>, Error> {
    let mut gateways = Vec::new();
    for allocation in granted {
        let subnet = Subnet::of(allocation);
        subnet.is_usable(context)?;
        if subnet.ends().contains(&allocation.address) {
            return Ok(None);
        }
        let _block = context.locks.lock(subnet.name.clone()).await;
        let gateway = match subnet.held_gateway(context) {
            Some(gateway) => gateway,
            None => {
                subnet.keep_ends(context).await?;
                subnet.take_gateway(context).await?
            }
        };
        gateways.push(gateway);
    }
    Ok(Some(gateways))
}

/// A block as those see it who put its addresses on a link.
struct Subnet {
    name: String,
    cidr: IpNetwork,
    pool: String,
}

impl Subnet {
    fn of(allocation: &Allocation) -> Self {
        Self { name: allocation.block.clone(), cidr: allocation.block_cidr, pool: allocation.pool.clone() }
    }

    /// A block of this node alone, with room for a gateway.
    fn is_usable(&self, context: &CniContext) -> Result<(), Error> {
        let refused = |why: &str| {
            let msg = format!(
                "block {} of pool {} on node {} cannot be the subnet of another plugin's network: {why}",
                self.cidr, self.pool, context.node
            );
            Err(Error::new(Code::NoAddress, msg))
        };
        let whole = context.ipam.own_blocks().borrow().iter().any(|own| own.name == self.name && own.whole);
        if !whole {
            return refused(
                "it belongs to another node, which lends single addresses only; add a pool, or free blocks",
            );
        }
        let room = if self.cidr.is_ipv4() { 30 } else { 126 };
        if self.cidr.prefix() > room {
            return refused(
                "it has no room for a gateway; give the network a pool of larger blocks (`ipam.ipv4_pools`, `ipv6_pools`)",
            );
        }
        Ok(())
    }

    /// The addresses that are no host's: the first one names the subnet (in IPv6 all its routers, RFC 4291 §2.6.1), IPv4's last one
    /// everybody in it.
    fn ends(&self) -> Vec<IpAddr> {
        let last = self.cidr.is_ipv4().then(|| self.cidr.broadcast());
        [self.cidr.network()].into_iter().chain(last).collect()
    }

    fn key(&self, part: &str) -> AttachmentKey {
        AttachmentKey {
            network: SUBNETS.to_owned(),
            container: self.name.clone(),
            interface: part.to_owned(),
        }
    }

    /// Holds the ends, as far as no pod has them. The caller holds the block's lock.
    async fn keep_ends(&self, context: &CniContext) -> Result<(), Error> {
        for (part, address) in ["first", "last"].into_iter().zip(self.ends()) {
            let key = self.key(part);
            if context.records.get(&key).is_some() {
                continue;
            }
            match self.hold(context, key, address).await? {
                Ok(_) => {}
                Err(refusal @ Refusal::AddressTaken { .. }) if part == "last" => {
                    let msg = format!(
                        "block {} of pool {} on node {} cannot be the subnet of another plugin's network, its last address is a \
                         pod's already ({refusal}): give the network a pool of its own (`ipam.ipv4_pools`)",
                        self.cidr, self.pool, context.node
                    );
                    return Err(Error::new(Code::NoAddress, msg).with_details(refusal.code()));
                }
                // Reserved by an administrator, or the first one and in use: kernels since 5.14 take that for a host's like any
                // other.
                Err(refusal) => debug!(%refusal, "an end of a subnet is not held"),
            }
        }
        Ok(())
    }

    /// The gateway that is held already.
    fn held_gateway(&self, context: &CniContext) -> Option<IpAddr> {
        context.records.get(&self.key("gateway"))?.ips().next()
    }

    /// Makes the first address that is free the gateway. The caller holds the block's lock.
    async fn take_gateway(&self, context: &CniContext) -> Result<IpAddr, Error> {
        let key = self.key("gateway");
        let invalid = |why: String| Error::new(Code::Internal, format!("block {}: {why}", self.cidr));
        let block = BlockCidr::new(self.cidr).map_err(|error| invalid(error.to_string()))?;
        let mut last = None;
        for address in (1..=GATEWAYS_TRIED).filter_map(|ordinal| block.address(ordinal)) {
            match self.hold(context, key.clone(), address).await? {
                Ok(gateway) => {
                    info!(block = %self.cidr, %gateway, "keeping a gateway for networks of other plugins");
                    context.subnets.send_modify(|subnets| {
                        subnets.insert(self.cidr);
                    });
                    return Ok(gateway);
                }
                Err(refusal) => last = Some(refusal),
            }
        }
        let why = last.map_or_else(String::new, |refusal| format!(" ({refusal})"));
        let msg = format!(
            "block {} of pool {} on node {} has no address left for a gateway{why}: give the network a pool of its own",
            self.cidr, self.pool, context.node
        );
        Err(Error::new(Code::NoAddress, msg))
    }

    /// Takes one address for this node itself, on disk; or says why it cannot be had.
    async fn hold(
        &self,
        context: &CniContext,
        key: AttachmentKey,
        address: IpAddr,
    ) -> Result<Result<IpAddr, Refusal>, Error> {
        let attributes = Attributes { interface: key.interface.clone(), ..Attributes::default() };
        let want = Want {
            handle: key.handle(),
            families: WantFamilies::default(),
            requested: vec![address],
            pools: Some(vec![self.pool.clone()]),
            attributes: attributes.clone(),
        };
        let granted = match context.ipam.allocate(want).await {
            Ok(granted) => granted,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let record = Attachment {
            key: key.clone(),
            pod: None,
            netns: PathBuf::new(),
            host: String::new(),
            addresses: granted.iter().cloned().map(Address::Own).collect(),
            attributes,
            phase: Phase::Subnet,
            mtu: 0,
            mac: None,
            extras: Extras::default(),
        };
        if let Err(error) = context.records.put(record).await {
            context.ipam.release(key.handle(), granted).await;
            return Err(Error::new(
                Code::Io,
                format!("keeping the address {address} of block {}: {error}", self.cidr),
            ));
        }
        Ok(Ok(address))
    }
}

/// The blocks that are subnets, as the records tell.
pub(super) fn subnets(records: &[Attachment]) -> BTreeSet<IpNetwork> {
    let gateways = records.iter().filter(|one| one.phase == Phase::Subnet && one.key.interface == "gateway");
    gateways.flat_map(Attachment::own_addresses).map(|held| held.block_cidr).collect()
}

/// The abbreviated result: no interfaces, since those are the other plugin's.
fn result(config: &NetworkConfig, granted: &[Allocation], gateways: &[IpAddr]) -> Success {
    let ip = |(allocation, gateway): (&Allocation, &IpAddr)| {
        let prefix = allocation.block_cidr.prefix();
        let address = IpNetwork::new(allocation.address, prefix);
        Ip {
            address: address.unwrap_or_else(|_| IpNetwork::from(allocation.address)),
            gateway: Some(*gateway),
            interface: None,
            other: Map::new(),
        }
    };
    let default =
        |gateway: &IpAddr| Route { dst: everywhere(*gateway), gw: Some(*gateway), other: Map::new() };
    Success {
        interfaces: Vec::new(),
        ips: granted.iter().zip(gateways).map(ip).collect(),
        routes: gateways.iter().map(default).collect(),
        dns: config.dns.clone(),
    }
}

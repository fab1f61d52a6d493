//! Segments: the racks and the spine between them, each one Ethernet, a bridge in the fabric's namespace (that of
//! process 1). The fabric forwards nothing; it has one address, in the control plane's rack, by which the lab itself
//! reaches the API server as administrator and as every node's kubelet.

use std::fmt::Write as _;
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use crate::command;
use crate::topology::{Cable, MachinePlan, Topology, Via};

/// Makes the bridges of a topology.
pub(crate) async fn make(topology: &Topology) -> anyhow::Result<()> {
    let mut lines = String::from("link set lo up\n");
    for name in topology.segments() {
        // Snooping needs a querier, and there is none: without it groups would be pruned now and then.
        writeln!(lines, "link add {name} type bridge mcast_snooping 0")?;
        writeln!(lines, "link set {name} addrgenmode none")?;
        writeln!(lines, "link set {name} up")?;
    }
    if let Some(own) = topology.lab() {
        // A bridge is its own device on the segment that it makes.
        write_down(&Cable { device: own.segment.clone(), ..own }, &mut lines)?;
    }
    command::ip_batch(None, &lines).await
}

/// Cables a machine's namespace as planned, with addresses and routes; brings its loopback up.
pub(crate) async fn plug(machine: &MachinePlan) -> anyhow::Result<()> {
    let netns = &machine.name;
    let mut outside = String::new();
    let mut inside = String::from("link set lo up\n");
    for address in &machine.loopback {
        writeln!(inside, "address add {address} dev lo")?;
    }
    for cable in &machine.cables {
        let (port, device) = (&cable.port, &cable.device);
        writeln!(outside, "link add {port} type veth peer name {device} netns {netns}")?;
        writeln!(outside, "link set {port} addrgenmode none")?;
        writeln!(outside, "link set {port} master {} up", cable.segment)?;
        // A link-local address that the kernel derives is tentative for a second or two, and until then the machine
        // cannot ask for its neighbours: a pod's first packets would be lost on a lab that is up sooner.
        writeln!(inside, "link set {device} addrgenmode none\nlink set {device} up")?;
        writeln!(inside, "address add fe80::{}/64 dev {device} nodad", cable.host)?;
        write_down(cable, &mut inside)?;
    }
    for Via { to, gateways } in &machine.routes {
        // `default` alone would mean IPv4 to `ip -batch`.
        let everywhere = if gateways.iter().any(IpAddr::is_ipv6) { "::/0" } else { "0.0.0.0/0" };
        let to = to.map_or_else(|| everywhere.to_owned(), |to| to.to_string());
        let hop = if gateways.len() > 1 { "nexthop via" } else { "via" };
        let hops: Vec<String> = gateways.iter().map(|gateway| format!("{hop} {gateway}")).collect();
        writeln!(inside, "route add {to} {}", hops.join(" "))?;
    }
    command::ip_batch(None, &outside).await?;
    command::ip_batch(Some(netns), &inside).await
}

/// MAC address, addresses and known neighbours of a device.
fn write_down(cable: &Cable, lines: &mut String) -> std::fmt::Result {
    let device = &cable.device;
    if let Some(mac) = &cable.mac {
        writeln!(lines, "link set {device} address {mac}")?;
    }
    for address in &cable.addresses {
        writeln!(lines, "address add {address} dev {device}{}", nodad(address))?;
    }
    for (address, mac) in &cable.neighbours {
        writeln!(lines, "neighbour add {address} lladdr {mac} dev {device} nud permanent")?;
    }
    Ok(())
}

/// Static addresses of a lab are used at once: nobody else can have them.
fn nodad(address: &IpNetwork) -> &'static str {
    if address.is_ipv6() { " nodad" } else { "" }
}

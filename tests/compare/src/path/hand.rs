//! Two nodes and a pod on each, made by hand: what one would type who knows the kernel and has no agent.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::Context;
use caracal_lab::command::{self, ip_batch};
use caracal_lab::netns::Netns;

use super::Way;

/// The nodes' addresses, in the lab's rack.
const NODE_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(172, 30, 0, 201), Ipv4Addr::new(172, 30, 0, 202)];
/// The pods' addresses.
pub(crate) const POD_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 250, 1, 2), Ipv4Addr::new(10, 250, 2, 2)];
/// The Ethernet addresses of the VXLAN ends.
const VTEPS: [&str; 2] = ["02:00:00:00:02:01", "02:00:00:00:02:02"];
/// The host's end of a pod.
pub(crate) const HOST_END: &str = "hand0";
/// The VXLAN device.
pub(crate) const VXLAN: &str = "vxlan.hand";
/// The IPIP device: the kernel's own.
const IPIP: &str = "tunl0";
/// What both ends of a pod's cable have as their Ethernet addresses.
const MACS: [&str; 2] = ["ee:ee:ee:ee:ee:ee", "02:00:00:00:00:01"];
/// What packets to the outside would take: the same rule as for a pool with `natOutgoing`.
const MASQUERADE: &str = "table inet hand {
    set pools { type ipv4_addr; flags interval; elements = { 10.250.0.0/16 } }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr @pools ip daddr != @pools masquerade fully-random
    }
}
";

/// The nodes and their pods.
pub(crate) struct Hand {
    nodes: Vec<Netns>,
    pods: Vec<Netns>,
}

impl Hand {
    /// Makes them on a segment of the lab, with pods of this MTU.
    pub(crate) async fn make(segment: &str, mtu: u32) -> anyhow::Result<Self> {
        let (mut nodes, mut pods) = (Vec::new(), Vec::new());
        for (number, address) in NODE_ADDRESSES.iter().enumerate() {
            let (node, pod) =
                (Netns::make(&format!("h{number}")).await?, Netns::make(&format!("h{number}-pod")).await?);
            let port = format!("h{number}-port");
            let cable = format!(
                "link add {port} type veth peer name eth0 netns {}\nlink set {port} master {segment} up\n",
                node.name()
            );
            ip_batch(None, &cable).await?;
            ip_batch(Some(node.name()), &node_lines(*address, POD_ADDRESSES[number], &pod, mtu)).await?;
            ip_batch(Some(pod.name()), &pod_lines(POD_ADDRESSES[number])).await?;
            settings(&node).await?;
            let mut nft = node.command("nft");
            command::run_with(nft.args(["-f", "-"]), MASQUERADE.as_bytes()).await?.success()?;
            nodes.push(node);
            pods.push(pod);
        }
        Ok(Self { nodes, pods })
    }

    /// The namespace of a node.
    pub(crate) fn node(&self, number: usize) -> &Netns {
        &self.nodes[number]
    }

    /// The namespace of a pod.
    pub(crate) fn pod(&self, number: usize) -> &Netns {
        &self.pods[number]
    }

    /// Whether the kernel has `ipip`.
    pub(crate) async fn has_ipip(&self) -> anyhow::Result<bool> {
        let add = ["ip", "link", "add", "probe", "type", "ipip", "local", "127.0.0.1", "remote", "127.0.0.2"];
        let has = self.nodes[0].exec(&add).await?.status.success();
        if has {
            self.nodes[0].exec(&["ip", "link", "del", "probe"]).await?.success()?;
        }
        Ok(has)
    }

    /// Leads packets between the pods this way.
    pub(crate) async fn lead(&self, way: Way) -> anyhow::Result<()> {
        for (number, node) in self.nodes.iter().enumerate() {
            let other = 1 - number;
            let mut lines = String::new();
            let (to, via) = (POD_ADDRESSES[other], NODE_ADDRESSES[other]);
            match way {
                Way::Direct => writeln!(lines, "route replace {to} via {via} dev eth0")?,
                Way::Vxlan => {
                    lines += &vxlan_lines(number);
                    writeln!(lines, "route replace {to} via {via} dev {VXLAN} onlink")?;
                }
                Way::Ipip => {
                    writeln!(lines, "link set {IPIP} mtu 1480 up")?;
                    writeln!(lines, "route replace {to} via {via} dev {IPIP} onlink")?;
                }
            }
            ip_batch(Some(node.name()), &lines).await.with_context(|| format!("leading by {way:?}"))?;
            if way == Way::Vxlan {
                forwarding(node, number).await?;
            }
        }
        Ok(())
    }
}

fn node_lines(address: Ipv4Addr, pod: Ipv4Addr, inside: &Netns, mtu: u32) -> String {
    let [host, of_pod] = MACS;
    format!(
        "link set lo up\nlink set eth0 up\naddress add {address}/24 dev eth0\n\
         link add {HOST_END} mtu {mtu} address {host} type veth peer name eth0 mtu {mtu} address {of_pod} netns {}\n\
         link set {HOST_END} up\nroute add {pod} dev {HOST_END} scope link\n\
         neighbour add {pod} lladdr {of_pod} dev {HOST_END} nud permanent\n",
        inside.name()
    )
}

fn pod_lines(address: Ipv4Addr) -> String {
    let [host, _] = MACS;
    format!(
        "link set lo up\nlink set eth0 up\naddress add {address}/32 dev eth0\nroute add 169.254.1.1 dev eth0 scope link\n\
         route add 0.0.0.0/0 via 169.254.1.1 dev eth0\n\
         neighbour add 169.254.1.1 lladdr {host} dev eth0 nud permanent\n"
    )
}

fn vxlan_lines(number: usize) -> String {
    let (own, other) = (NODE_ADDRESSES[number], NODE_ADDRESSES[1 - number]);
    let (mac, far) = (VTEPS[number], VTEPS[1 - number]);
    // What is known of the other end stands in the neighbours and, as forwarding entries, below.
    format!(
        "link add {VXLAN} address {mac} mtu 1450 type vxlan id 77 dstport 4789 local {own} nolearning\n\
         link set {VXLAN} up\nneighbour add {other} lladdr {far} dev {VXLAN} nud permanent\n"
    )
}

/// Where the Ethernet address of the other end is, which `ip` cannot say.
async fn forwarding(node: &Netns, number: usize) -> anyhow::Result<()> {
    let (far, other) = (VTEPS[1 - number], NODE_ADDRESSES[1 - number].to_string());
    let words = ["bridge", "fdb", "append", far, "dev", VXLAN, "dst", &other, "self", "permanent"];
    node.exec(&words).await?.success().map(drop)
}

/// Forwarding, and no check of reverse paths that a tunnel would not pass.
async fn settings(node: &Netns) -> anyhow::Result<()> {
    let write = || {
        for (path, value) in [
            ("ip_forward", "1"),
            ("conf/all/rp_filter", "0"),
            ("conf/default/rp_filter", "2"),
            ("conf/eth0/rp_filter", "2"),
            ("conf/hand0/rp_filter", "1"),
        ] {
            let path = format!("/proc/sys/net/ipv4/{path}");
            std::fs::write(&path, value).with_context(|| format!("writing {path}"))?;
        }
        Ok(())
    };
    node.on_a_thread(write).await
}

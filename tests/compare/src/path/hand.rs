//! Two nodes and a pod on each, made by hand: what one would type who knows the kernel and has no agent; and the same with
//! caracal's rules for nftables.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use anyhow::Context;
use caracal_lab::command::{self, ip_batch};
use caracal_lab::netns::Netns;

use super::Way;

/// The Ethernet addresses of the VXLAN ends.
const VTEPS: [&str; 2] = ["02:00:00:00:02:01", "02:00:00:00:02:02"];
/// The host's end of a pod: named so that rules on caracal's pods are about this one, too.
pub(crate) const HOST_END: &str = "calihand";
/// The network identifier: caracal's, whose rules look for it.
const VNI: u32 = 4096;
/// The VXLAN device.
pub(crate) const VXLAN: &str = "vxlan.hand";
/// The IPIP device: the kernel's own.
const IPIP: &str = "tunl0";
/// What both ends of a pod's cable have as their Ethernet addresses.
const MACS: [&str; 2] = ["ee:ee:ee:ee:ee:ee", "02:00:00:00:00:01"];
/// What all pods' addresses are from.
const POOL: &str = "10.250.0.0/16";
/// What packets to the outside would take: the same rule as for a pool with `natOutgoing`.
const MASQUERADE: &str = "table inet hand {
    set pools { type ipv4_addr; flags interval; elements = { 10.250.0.0/16 } }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr @pools ip daddr != @pools masquerade fully-random
    }
}
";

/// What nftables has to say to packets of a path made by hand.
#[derive(Debug, Clone)]
pub(crate) enum Rules {
    /// Masquerading, and nothing else.
    Masquerade,
    /// All that a node of the lab has, in words of `nft list table`.
    Same(String),
}

impl Rules {
    /// What `nft -f` reads.
    fn text(&self, nodes: [Ipv4Addr; 2]) -> String {
        match self {
            Self::Masquerade => MASQUERADE.to_owned(),
            Self::Same(table) => {
                let [one, other] = nodes;
                format!(
                    "table inet caracal\ndelete table inet caracal\n{table}\nadd element inet caracal pools-v4 {{ {POOL} }}\n\
                     add element inet caracal masquerade-v4 {{ {POOL} }}\n\
                     add element inet caracal nodes-v4 {{ {one}, {other} }}\n"
                )
            }
        }
    }
}

/// The nodes and their pods.
pub(crate) struct Hand {
    nodes: Vec<Netns>,
    pods: Vec<Netns>,
    /// The nodes' addresses, in the lab's rack.
    at: [Ipv4Addr; 2],
    pods_at: [Ipv4Addr; 2],
}

impl Hand {
    /// Makes them on a segment of the lab, with pods of this MTU.
    ///
    /// `first` and the number after it are the last of their addresses.
    pub(crate) async fn make(segment: &str, mtu: u32, first: u8) -> anyhow::Result<Self> {
        let (mut nodes, mut pods) = (Vec::new(), Vec::new());
        let at = [first, first + 1].map(|last| Ipv4Addr::new(172, 30, 0, last));
        let pods_at = [first, first + 1].map(|third| Ipv4Addr::new(10, 250, third, 2));
        for (address, inside) in at.iter().zip(pods_at) {
            let name = format!("h{}", address.octets()[3]);
            let (node, pod) = (Netns::make(&name).await?, Netns::make(&format!("{name}-pod")).await?);
            let port = format!("{name}-port");
            let cable = format!(
                "link add {port} type veth peer name eth0 netns {}\nlink set {port} master {segment} up\n",
                node.name()
            );
            ip_batch(None, &cable).await?;
            ip_batch(Some(node.name()), &node_lines(*address, inside, &pod, mtu)).await?;
            ip_batch(Some(pod.name()), &pod_lines(inside)).await?;
            settings(&node).await?;
            nodes.push(node);
            pods.push(pod);
        }
        Ok(Self { nodes, pods, at, pods_at })
    }

    /// Has the nodes' nftables say this.
    pub(crate) async fn obey(&self, rules: &Rules) -> anyhow::Result<()> {
        for node in &self.nodes {
            let mut nft = node.command("nft");
            command::run_with(nft.args(["-f", "-"]), rules.text(self.at).as_bytes()).await?.success()?;
        }
        Ok(())
    }

    /// Where the pod at the far end is.
    pub(crate) fn far_end(&self) -> Ipv4Addr {
        self.pods_at[1]
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
            let (to, via) = (self.pods_at[other], self.at[other]);
            match way {
                Way::Direct => writeln!(lines, "route replace {to} via {via} dev eth0")?,
                Way::Vxlan => {
                    lines += &vxlan_lines(self.at, number);
                    writeln!(lines, "route replace {to} via {via} dev {VXLAN} onlink")?;
                }
                Way::Ipip => {
                    writeln!(lines, "link set {IPIP} mtu 1480 up")?;
                    writeln!(lines, "route replace {to} via {via} dev {IPIP} onlink")?;
                }
            }
            ip_batch(Some(node.name()), &lines).await.with_context(|| format!("leading by {way:?}"))?;
            if way == Way::Vxlan {
                forwarding(node, via, number).await?;
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

fn vxlan_lines(at: [Ipv4Addr; 2], number: usize) -> String {
    let (own, other) = (at[number], at[1 - number]);
    let (mac, far) = (VTEPS[number], VTEPS[1 - number]);
    // What is known of the other end stands in the neighbours and, as forwarding entries, below.
    format!(
        "link add {VXLAN} address {mac} mtu 1450 type vxlan id {VNI} dstport 4789 local {own} nolearning\n\
         link set {VXLAN} up\nneighbour add {other} lladdr {far} dev {VXLAN} nud permanent\n"
    )
}

/// Where the Ethernet address of the other end is, which `ip` cannot say.
async fn forwarding(node: &Netns, other: Ipv4Addr, number: usize) -> anyhow::Result<()> {
    let (far, other) = (VTEPS[1 - number], other.to_string());
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
            ("conf/calihand/rp_filter", "1"),
        ] {
            let path = format!("/proc/sys/net/ipv4/{path}");
            std::fs::write(&path, value).with_context(|| format!("writing {path}"))?;
        }
        Ok(())
    };
    node.on_a_thread(write).await
}

//! How the devices of both paths are made: what differs may be why one is slower.

use anyhow::Context;
use caracal_lab::netns::Netns;
use caracal_lab::{Lab, Pod};
use serde_json::Value;

use super::{Way, hand};
use crate::path::hand::Hand;

/// What of a device bears on how fast it is, in words of `ip -j -d link`.
const TOLD: &[&str] = &[
    "mtu",
    "qdisc",
    "txqlen",
    "num_tx_queues",
    "num_rx_queues",
    "gso_max_size",
    "gso_max_segs",
    "tso_max_size",
    "tso_max_segs",
    "gro_max_size",
];

/// The MTU of a device.
pub(crate) async fn mtu(of: &Netns, device: &str) -> anyhow::Result<u32> {
    let link = link(of, device).await?;
    let mtu = link["mtu"].as_u64().and_then(|mtu| u32::try_from(mtu).ok());
    mtu.with_context(|| format!("`ip` tells no MTU of {device}"))
}

/// In what the devices on caracal's path differ from those made by hand, a line each.
pub(crate) async fn differences(lab: &Lab, pod: &Pod, hand: &Hand, way: Way) -> anyhow::Result<Vec<String>> {
    let node = lab.node(pod.node())?.netns();
    let route = node.route_to(pod.address(false)?.into()).await?.context("the pod has no route")?;
    let cali = route.dev.context("the pod's route has no device")?;
    let mut pairs = vec![
        ("the pod's end", link(pod.netns(), "eth0").await?, link(hand.pod(0), "eth0").await?),
        ("the host's end", link(node, &cali).await?, link(hand.node(0), hand::HOST_END).await?),
        ("the uplink", link(node, "eth0").await?, link(hand.node(0), "eth0").await?),
    ];
    match way {
        Way::Direct => {}
        Way::Vxlan => {
            let (ours, theirs) = (link(node, way.device()).await?, link(hand.node(0), hand::VXLAN).await?);
            pairs.push(("the tunnel", ours, theirs));
        }
        Way::Ipip => {
            let (ours, theirs) = (link(node, way.device()).await?, link(hand.node(0), way.device()).await?);
            pairs.push(("the tunnel", ours, theirs));
        }
    }
    let mut found = Vec::new();
    for (what, ours, theirs) in &pairs {
        let differing = TOLD.iter().filter(|key| ours[**key] != theirs[**key]);
        found.extend(
            differing.map(|key| format!("{what} differs: {key} {}, by hand {}", ours[*key], theirs[*key])),
        );
    }
    if found.is_empty() {
        found.push(format!("the devices are alike in {}", TOLD.join(", ")));
    }
    Ok(found)
}

async fn link(of: &Netns, device: &str) -> anyhow::Result<Value> {
    let text = of.exec(&["ip", "-j", "-d", "link", "show", "dev", device]).await?.success()?;
    let links: Value = serde_json::from_str(&text).context("reading the output of `ip -j link`")?;
    links.get(0).cloned().with_context(|| format!("`ip` tells nothing of {device}"))
}

//! Nodes with two uplinks, each to a router of its own: pods of other nodes are reached by both, and by the one that is left.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_api::BgpConfiguration;
use caracal_lab::show::Silent;
use caracal_lab::topology::Design;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, Topology, fault, probe};
use caracal_suites::condition;
use caracal_suites::flow::Losses;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::flow::Flow;

const SOON: Duration = Duration::from_secs(60);
/// How long packets may be lost when an uplink is cut: a link's event and what follows from it, on a busy machine. Without
/// heed of it they would be lost for the hold time of BGP, 90 s.
const DETECTION: Duration = Duration::from_secs(1);

pub(crate) async fn a_node_with_two_uplinks_goes_on_over_one(sandbox: Sandbox) -> anyhow::Result<()> {
    let topology = Topology::racks_of_nodes(2, 3, 1).with_design(Design::DualTor);
    // Every node has a route by both routers to every block.
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let node = lab.node("n1")?;
    for node in lab.nodes() {
        condition::becomes(node, "Ready", "OK", SOON).await?;
        condition::becomes(node, "RoutesProgrammed", "OK", SOON).await?;
    }
    nodes_reach_each_other_by_their_addresses(&lab).await?;

    let before = carried(node, "eth0").await?;
    let flows = Flow::between_all(&lab)?;
    all_go_on(&flows).await?;
    ensure!(carried(node, "eth0").await? > before + 100, "hardly a packet passes by the uplink to be cut");
    fault::cut_uplink(node, 0).await?;
    leads_by(&lab, "n1", &["eth1"]).await?;
    all_go_on(&flows).await?;
    told(&lab, flows, "when the uplink was cut").await?;
    nodes_reach_each_other_by_their_addresses(&lab).await?;
    let flows = Flow::between_all(&lab)?;
    all_go_on(&flows).await?;
    fault::restore_uplink(node, 0).await?;
    lab.blocks_learned(SOON).await?;
    all_go_on(&flows).await?;
    told(&lab, flows, "when the uplink was restored").await?;
    lab.down(&Silent).await
}

pub(crate) async fn with_bfd_an_uplink_cut_in_silence_costs_less_than_a_second(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let topology = Topology::racks_of_nodes(2, 3, 1).with_design(Design::DualTor);
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    watch_by_bfd(&lab).await?;
    let node = lab.node("n1")?;
    leads_by(&lab, "n1", &["eth0", "eth1"]).await?;
    lab.blocks_learned(SOON).await?;
    let before = carried(node, "eth0").await?;
    let flows = Flow::between_all(&lab)?;
    all_go_on(&flows).await?;
    ensure!(carried(node, "eth0").await? > before + 100, "hardly a packet passes by the uplink to be cut");
    fault::interrupt_uplink(node, 0).await?;
    leads_by(&lab, "n1", &["eth1"]).await?;
    let links = node.netns().links().await?;
    let carrier = links.iter().find(|link| link.ifname == "eth0").map(|link| link.operstate.as_str());
    ensure!(carrier == Some("UP"), "the cut was not silent: eth0 is {carrier:?}");
    all_go_on(&flows).await?;
    told(&lab, flows, "when the uplink was cut in silence").await?;
    let flows = Flow::between_all(&lab)?;
    fault::join_uplink(node, 0).await?;
    leads_by(&lab, "n1", &["eth0", "eth1"]).await?;
    all_go_on(&flows).await?;
    told(&lab, flows, "when the uplink was joined").await?;
    lab.down(&Silent).await
}

/// Has nodes and routers watch each other, and waits until all do.
async fn watch_by_bfd(lab: &Lab) -> anyhow::Result<()> {
    let (interval, multiplier) = (100, 4);
    let settings: Api<BgpConfiguration> = Api::all(lab.cluster().client());
    let bfd = json!({"minTx": interval, "minRx": interval, "multiplier": multiplier});
    let patch = Patch::Merge(json!({"spec": {"bfd": bfd}}));
    settings.patch("default", &PatchParams::default(), &patch).await.context("turning BFD on")?;
    for router in lab.routers() {
        let path = router.machine().file("/run/caracal/bgpd.toml");
        let text = std::fs::read_to_string(&path).context("reading the router's file")?;
        let last = "import = \"from-nodes\"\n";
        let table = format!(
            "{last}[peer.bfd]\nmin-tx = {interval}\nmin-rx = {interval}\nmultiplier = {multiplier}\n"
        );
        ensure!(text.contains(last), "the router's file has no peer that is a node: {text}");
        std::fs::write(&path, text.replace(last, &table)).context("writing the router's file")?;
        router.restart(SOON).await?;
    }
    for node in lab.nodes() {
        wait::until(SOON, &format!("all sessions of {} are watched", node.name()), || async {
            let answer = node.ctl(&["bgp", "peers"]).await?;
            let sessions = answer["peers"].as_array().context("no `peers`")?;
            let up = |one: &Value| one["state"] == "Established" && one["bfd"]["state"] == "Up";
            if sessions.iter().all(up) { Ok(()) } else { Err(NotYet::because(answer.to_string())) }
        })
        .await?;
    }
    Ok(())
}

pub(crate) async fn all_go_on(flows: &[Flow]) -> anyhow::Result<()> {
    for flow in flows {
        flow.goes_on().await?;
    }
    Ok(())
}

/// Ends the flows, and says what they have lost.
pub(crate) async fn told(lab: &Lab, flows: Vec<Flow>, when: &str) -> anyhow::Result<()> {
    let mut worst: Option<Losses> = None;
    for flow in flows {
        let losses = flow.losses().await?;
        if worst.as_ref().is_none_or(|worst| losses.in_a_row > worst.in_a_row) {
            worst = Some(losses);
        }
    }
    let worst = worst.with_context(|| format!("no flow in {}", lab.name()))?;
    eprintln!("{when}: the most that a flow lost is {} packets, {:?} in a row", worst.lost, worst.longest());
    ensure!(worst.longest() < DETECTION, "{when}: {worst:?}");
    Ok(())
}

/// Waits until a node's routes to others' blocks leave by these devices.
async fn leads_by(lab: &Lab, name: &str, devices: &[&str]) -> anyhow::Result<()> {
    let node = lab.node(name)?;
    wait::until(SOON, &format!("{name} leads to all blocks by {devices:?}"), || async {
        for block in caracal_lab::report::blocks(lab.cluster()).await? {
            if block.owner == name {
                continue;
            }
            let route = node.netns().route_to(block.cidr).await?;
            let route = route.with_context(|| format!("no route to {}", block.cidr))?;
            let hops = route.nexthops.iter().filter_map(|hop| hop.get("dev")?.as_str());
            let by: Vec<&str> = route.dev.as_deref().into_iter().chain(hops).collect();
            if by != devices {
                return Err(NotYet::because(format!("{}: {by:?}", block.cidr)));
            }
        }
        Ok(())
    })
    .await
}

/// Every node reaches every other at its own address, from its own address: neither is of one uplink.
async fn nodes_reach_each_other_by_their_addresses(lab: &Lab) -> anyhow::Result<()> {
    for from in lab.nodes() {
        for to in lab.nodes().iter().filter(|to| to.name() != from.name()) {
            for address in to.machine().addresses() {
                let what = format!("{} reaches {address} from its own address", from.name());
                wait::until(SOON, &what, || async {
                    let source = source(from, address.ip()).await?;
                    if source != from.machine().address(address.is_ipv6()) {
                        return Err(NotYet::because(format!("from {source:?}")));
                    }
                    probe::ping(from.netns(), address.ip()).await.map_err(NotYet::from)
                })
                .await?;
            }
        }
    }
    Ok(())
}

/// The address that a node sends to another from.
async fn source(node: &Node, to: IpAddr) -> anyhow::Result<Option<IpAddr>> {
    let text = node.netns().exec(&["ip", "-j", "route", "get", &to.to_string()]).await?.success()?;
    let routes: serde_json::Value = serde_json::from_str(&text).context("reading `ip -j route get`")?;
    Ok(routes[0]["prefsrc"].as_str().and_then(|text| text.parse().ok()))
}

/// How many packets a device has carried, both ways.
pub(crate) async fn carried(node: &Node, device: &str) -> anyhow::Result<u64> {
    let text = node.netns().exec(&["ip", "-j", "-s", "link", "show", device]).await?.success()?;
    let links: serde_json::Value = serde_json::from_str(&text).context("reading `ip -j -s link`")?;
    let count = |way: &str| links[0]["stats64"][way]["packets"].as_u64();
    let (rx, tx) = count("rx").zip(count("tx")).with_context(|| format!("no numbers of {device}"))?;
    Ok(rx + tx)
}

//! Peers that no address names, by `BGPPeer`s: the only other router on the link of a device, and whoever connects from a
//! range of addresses.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_api::BgpPeer;
use caracal_lab::command::ip_batch;
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, Topology, probe};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::services::typed;

const SOON: Duration = Duration::from_secs(60);
/// The device at both ends of the cable.
const CABLE: &str = "c0";
/// What is reached by the router alone.
const BEYOND: &str = "203.0.113.1";

/// A cable between the node and the router, which gets a peer at each of its ends and an address of its own.
async fn prepare(lab: &Lab) -> anyhow::Result<()> {
    let (router, node) = (lab.router("tor0")?, lab.node("n1")?);
    let (here, there) = (node.netns().name(), router.machine().netns().name());
    ip_batch(
        Some(here),
        &format!("link add {CABLE} type veth peer name {CABLE} netns {there}\nlink set {CABLE} up\n"),
    )
    .await?;
    ip_batch(Some(there), &format!("link set {CABLE} up\naddress add {BEYOND}/32 dev lo\n")).await?;
    let address = node.machine().address(false).context("n1 has no IPv4 address")?;
    let file = router.machine().file("/run/caracal/bgpd.toml");
    let mut file =
        std::fs::OpenOptions::new().append(true).open(file).context("opening the router's file")?;
    let keys = "as = 64512\nconnect-retry = 1";
    write!(
        file,
        "\n[[originate]]\nprefix = \"{BEYOND}/32\"\n[[peer]]\naddress = \"{address}\"\n{keys}\n\
         [[peer]]\ninterface = \"{CABLE}\"\n{keys}\n[peer.bfd]\nmin-tx = 1000\nmin-rx = 1000\nmultiplier = 20\n"
    )?;
    router.restart(SOON).await
}

async fn define(lab: &Lab, name: &str, spec: Value) -> anyhow::Result<()> {
    let api: Api<BgpPeer> = Api::all(lab.cluster().client());
    let peer = typed(json!({"metadata": {"name": name}, "spec": spec}))?;
    api.create(&PostParams::default(), &peer).await.with_context(|| format!("making BGPPeer {name}"))?;
    wait::until(SOON, &format!("BGPPeer {name} is accepted"), || async {
        let peer = api.get(name).await.map_err(|error| NotYet::because(error.to_string()))?;
        let status = peer.status.unwrap_or_default();
        let accepted = status.conditions.iter().any(|one| one.type_ == "Accepted" && one.status == "True");
        if accepted { Ok(()) } else { Err(NotYet::because(format!("{:?}", status.conditions))) }
    })
    .await
}

/// Waits until a node has an established session that is as wanted.
async fn has_session(node: &Node, what: &str, fits: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
    wait::until(SOON, what, || async {
        let answer = node.ctl(&["bgp", "peers"]).await?;
        let sessions = answer["peers"].as_array().context("no `peers`")?;
        let found = sessions.iter().any(|one| one["state"] == "Established" && fits(one));
        if found { Ok(()) } else { Err(NotYet::because(answer.to_string())) }
    })
    .await
}

pub(crate) async fn a_node_peers_with_whom_no_address_names(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::racks_of_nodes(2, 2, 1), &Silent).await?;
    prepare(&lab).await?;
    let node = lab.node("n1")?;
    let bfd = json!({"minTx": 1000, "minRx": 1000, "multiplier": 20});
    define(&lab, "cable", json!({"node": "n1", "interface": CABLE, "asType": "External", "bfd": bfd}))
        .await?;
    has_session(node, "the session by the cable is up, and watched", |one| {
        one["key"] == CABLE && one["bfd"]["state"] == "Up"
    })
    .await?;
    let router = lab.router("tor0")?.machine().netns();
    let pod = lab.pods().first().context("there is no pod")?.address(false)?;
    for (netns, to) in [(node.netns(), BEYOND.parse()?), (router, pod)] {
        wait::until(SOON, &format!("{} reaches {to} by the cable", netns.name()), || async {
            let route = netns.exec(&["ip", "route", "get", &to.to_string()]).await?.success()?;
            ensure_by_cable(&route).map_err(NotYet::from)
        })
        .await?;
        probe::ping(netns, to).await?;
    }

    let spec =
        json!({"node": "n1", "peerRange": "172.30.0.0/28", "asNumbers": [64601, 64699], "maxPeers": 2});
    define(&lab, "rack", spec).await?;
    has_session(node, "the router has come from the range", |one| {
        one["origin"] == "Dynamic" && one["range"] == "172.30.0.0/28" && one["name"] == "rack"
    })
    .await?;
    lab.down(&Silent).await
}

/// The kernel sends by the cable, to a link-local address.
fn ensure_by_cable(route: &str) -> anyhow::Result<()> {
    ensure!(route.contains(&format!("dev {CABLE}")) && route.contains("via inet6 fe80::"), "{route}");
    Ok(())
}

//! By what address pods are seen outside where nodes have two uplinks, and that what they have under way outlives one.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::command::ip_batch;
use caracal_lab::show::Silent;
use caracal_lab::topology::Design;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Sandbox, Topology, fault, witness};
use caracal_suites::conversation::Conversation;

const SOON: Duration = Duration::from_secs(60);
/// Connections of one family: those of IPv6 go by different uplinks.
const CONNECTIONS: usize = 4;
/// The node's end and the outside host's of a network that knows nothing of nodes' own addresses.
const MANAGEMENT: [&str; 2] = ["192.0.2.1", "192.0.2.2"];

pub(crate) async fn what_pods_have_under_way_outside_outlives_an_uplink(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let topology = Topology::racks_of_nodes(2, 2, 1).with_design(Design::DualTor);
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    pods_are_seen_as_their_nodes(&lab).await?;
    by_other_networks_as_the_device(&lab).await?;

    let (node, outside) = (lab.node("n1")?, lab.outside());
    let pod = lab.pods().iter().find(|pod| pod.node() == "n1").context("n1 has no pod")?;
    let mut connections = Vec::new();
    for address in outside.addresses() {
        for _ in 0..CONNECTIONS {
            connections.push(Conversation::begin(pod, outside.netns(), address.ip()).await?);
        }
    }
    all_go_on(&connections).await?;
    // One after the other: whichever of them a connection goes by, it has to move.
    for rack in [0, 1] {
        fault::cut_uplink(node, rack).await?;
        all_go_on(&connections).await.with_context(|| format!("eth{rack} of n1 is cut"))?;
        fault::restore_uplink(node, rack).await?;
        lab.blocks_learned(SOON).await?;
        all_go_on(&connections).await?;
    }
    let longest = connections.iter().map(Conversation::longest).max().context("there is no connection")?;
    eprintln!("the longest that an answer has taken: {longest:?}");
    lab.down(&Silent).await
}

async fn all_go_on(connections: &[Conversation]) -> anyhow::Result<()> {
    for one in connections {
        one.goes_on().await?;
    }
    Ok(())
}

/// The routers are told nodes' addresses a moment after nodes have told each other.
async fn pods_are_seen_as_their_nodes(lab: &Lab) -> anyhow::Result<()> {
    wait::until(SOON, "the outside sees pods by their nodes' own addresses", || async {
        let sights = witness::ask_from_all(lab).await?;
        ensure_some(&sights)?;
        match sights.iter().find(|sight| !sight.is_right()) {
            None => Ok(()),
            Some(wrong) => Err(NotYet::because(wrong.in_words())),
        }
    })
    .await
}

fn ensure_some(sights: &[witness::Sight]) -> anyhow::Result<()> {
    ensure!(!sights.is_empty(), "no pod was asked");
    Ok(())
}

/// Nobody there would find the way back to the node's own address.
async fn by_other_networks_as_the_device(lab: &Lab) -> anyhow::Result<()> {
    let (node, outside) = (lab.node("n1")?.netns(), lab.outside().netns());
    let [near, far] = MANAGEMENT;
    let device = "mgmt0";
    let lines = format!(
        "link add {device} type veth peer name {device} netns {}\naddress add {near}/30 dev {device}\n\
         link set {device} up\n",
        outside.name()
    );
    ip_batch(Some(node.name()), &lines).await?;
    let lines = format!("address add {far}/30 dev {device}\nlink set {device} up\n");
    ip_batch(Some(outside.name()), &lines).await?;
    let pod = lab.pods().iter().find(|pod| pod.node() == "n1").context("n1 has no pod")?;
    let (near, far): (IpAddr, IpAddr) = (near.parse()?, far.parse()?);
    wait::until(SOON, "a network of management sees a pod by the node's address there", || async {
        let seen = witness::ask(pod.netns(), far).await.map_err(NotYet::from)?;
        if seen == near { Ok(()) } else { Err(NotYet::because(format!("it sees {seen}"))) }
    })
    .await
}

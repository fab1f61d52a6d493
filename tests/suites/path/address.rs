//! A node's own address changes: the kubelet tells another, and the old one goes.

use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Sandbox, Topology, probe, report};
use caracal_suites::condition;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);
const NEW: &str = "172.30.0.77";

/// Has the kubelet of a node tell this IPv4 address beside the node's IPv6 address.
async fn tell(lab: &Lab, node: &str, v4: &str) -> anyhow::Result<()> {
    let mut addresses = vec![json!({"type": "InternalIP", "address": v4})];
    let v6 = lab.node(node)?.machine().address(true);
    addresses.extend(v6.map(|v6| json!({"type": "InternalIP", "address": v6})));
    let api: Api<Node> = Api::all(lab.cluster().client());
    let patch = Patch::Merge(json!({"status": {"addresses": addresses}}));
    api.patch_status(node, &PatchParams::default(), &patch)
        .await
        .with_context(|| format!("patching {node}"))?;
    Ok(())
}

/// Waits until a node's condition `Ready` has this reason: its message.
async fn ready_because(lab: &Lab, node: &str, reason: &str) -> anyhow::Result<String> {
    condition::becomes(lab.node(node)?, "Ready", reason, SOON).await
}

pub(crate) async fn a_node_that_gets_another_address_is_reached_there(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 1), &Silent).await?;
    let (one, two) = (lab.node("n1")?, lab.node("n2")?);
    // An address that another node has is refused in words, and all else stays as it is.
    let taken = one.machine().address(false).context("n1 has no IPv4 address")?.to_string();
    two.netns().exec(&["ip", "addr", "add", &format!("{taken}/32"), "dev", "lo"]).await?.success()?;
    tell(&lab, "n2", &taken).await?;
    let said = ready_because(&lab, "n2", "AddressTaken").await?;
    ensure!(said.contains(&taken) && said.contains("node n1"), "it says: {said}");
    ready_because(&lab, "n1", "OK").await?;
    two.netns().exec(&["ip", "addr", "del", &format!("{taken}/32"), "dev", "lo"]).await?.success()?;

    let old = two.machine().address(false).context("n2 has no IPv4 address")?;
    // Else the new address would go with the old one, as a second one of its subnet.
    let promote = "echo 1 > /proc/sys/net/ipv4/conf/eth0/promote_secondaries";
    two.netns().exec(&["sh", "-c", promote]).await?.success()?;
    two.netns().exec(&["ip", "addr", "add", &format!("{NEW}/24"), "dev", "eth0"]).await?.success()?;
    tell(&lab, "n2", NEW).await?;
    ready_because(&lab, "n2", "OK").await?;
    two.netns().exec(&["ip", "addr", "del", &format!("{old}/24"), "dev", "eth0"]).await?.success()?;
    let blocks = report::blocks(lab.cluster()).await?;
    let block = blocks.iter().find(|block| block.owner == "n2" && block.cidr.is_ipv4());
    let block = block.context("n2 has no IPv4 block")?.cidr;
    wait::until(SOON, "n1 reaches n2's block by its new address", || async {
        let route = one.netns().route_to(block).await?;
        let words = route.as_ref().map_or_else(|| "no route".to_owned(), caracal_lab::route::Route::words);
        if route.is_some_and(|route| route.gateway == NEW.parse().ok()) {
            return Ok(());
        }
        Err(NotYet::because(words))
    })
    .await?;
    lab.sessions_established(SOON).await?;
    for from in lab.pods() {
        for to in lab.pods() {
            for v6 in [false, true] {
                probe::ping(from.netns(), to.address(v6)?)
                    .await
                    .with_context(|| format!("{} to {}", from.name(), to.name()))?;
            }
        }
    }

    lab.down(&Silent).await
}

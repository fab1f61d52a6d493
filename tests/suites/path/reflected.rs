//! Service addresses by way of a route reflector: the router that peers with the reflector alone reaches the node that serves.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_api::BgpPeer;
use caracal_lab::show::Silent;
use caracal_lab::topology::Design;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Sandbox, Topology, probe};
use caracal_suites::condition;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;

use crate::services::{ADDRESS, a_service, announces, ask_for_services, endpoint, typed};

const SOON: Duration = Duration::from_secs(60);

/// A session between the reflector and its rack's router, told to both.
async fn peer_with_the_router(lab: &Lab) -> anyhow::Result<()> {
    let (router, node) = (lab.router("tor0")?, lab.node("n1")?);
    let address = node.machine().address(false).context("n1 has no IPv4 address")?;
    let file = router.machine().file("/run/caracal/bgpd.toml");
    let mut file =
        std::fs::OpenOptions::new().append(true).open(file).context("opening the router's file")?;
    writeln!(file, "\n[[peer]]\nname = \"n1\"\naddress = \"{address}\"\nas = 64512\nconnect-retry = 1")?;
    router.restart(SOON).await?;
    let spec = json!({"node": "n1", "peerIP": "172.30.0.1", "asNumber": 64601, "nextHopMode": "Keep"});
    let peer = json!({"metadata": {"name": "tor0"}, "spec": spec});
    let api: Api<BgpPeer> = Api::all(lab.cluster().client());
    api.create(&PostParams::default(), &typed(peer)?).await.context("making the BGPPeer")?;
    Ok(())
}

/// Waits until the router's kernel leads to the Service by this gateway, or not at all.
async fn router_leads(lab: &Lab, gateway: Option<std::net::IpAddr>) -> anyhow::Result<()> {
    let (router, address) = (lab.router("tor0")?.machine().netns(), ADDRESS.parse()?);
    wait::until(SOON, &format!("tor0 leads to {ADDRESS} by {gateway:?}"), || async {
        let route = router.route_to(address).await?;
        if route.as_ref().and_then(|route| route.gateway) == gateway {
            return Ok(());
        }
        Err(NotYet::because(route.map_or_else(|| "no route".to_owned(), |route| route.words())))
    })
    .await
}

pub(crate) async fn a_router_hears_of_services_by_a_reflector_and_reaches_who_serves_them(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let topology = Topology::racks_of_nodes(2, 3, 1).with_design(Design::Reflectors(1));
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    peer_with_the_router(&lab).await?;
    a_service(&lab).await?;
    ask_for_services(&lab).await?;
    router_leads(&lab, None).await?;

    let server = lab.node("n2")?;
    endpoint(&lab, "n2", true).await?;
    announces(&lab, "n2", &[(ADDRESS, true)]).await?;
    router_leads(&lab, server.machine().address(false)).await?;
    // The reflector and the other clients serve Services themselves, as far as they do.
    for node in ["n1", "n3"] {
        let route = lab.node(node)?.netns().route_to(ADDRESS.parse()?).await?;
        ensure!(route.is_none(), "{node} follows what another announces: {route:?}");
    }
    condition::becomes(lab.node("n1")?, "RoutesProgrammed", "OK", SOON).await?;
    // What kube-proxy does with it.
    let pod = lab.pods().iter().find(|pod| pod.node() == "n2").context("there is no pod on n2")?;
    let own = pod.address(false)?;
    for command in [
        "add table ip proxy".to_owned(),
        "add chain ip proxy towards { type nat hook prerouting priority -100; }".to_owned(),
        format!("add rule ip proxy towards ip daddr 203.0.113.9 dnat to {own}"),
    ] {
        server.netns().exec(&["nft", &command]).await?.success()?;
    }
    probe::ping(lab.router("tor0")?.machine().netns(), "203.0.113.9".parse()?).await?;

    endpoint(&lab, "n2", false).await?;
    router_leads(&lab, None).await?;
    lab.down(&Silent).await
}

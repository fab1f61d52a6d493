//! Service addresses: announced by those who serve them, and only then.

use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_api::BgpConfiguration;
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Sandbox, Topology, probe};
use k8s_openapi::api::core::v1::{Node, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
pub(crate) const RANGE: &str = "10.96.0.0/16";
pub(crate) const ADDRESS: &str = "203.0.113.9/32";

pub(crate) fn typed<T: DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    serde_json::from_value(value).context("making an object")
}

/// The prefixes that a node originates.
async fn originated(lab: &Lab, node: &str) -> anyhow::Result<Vec<String>> {
    let routes = lab.node(node)?.ctl(&["bgp", "routes"]).await?;
    let all = routes["routes"].as_array().cloned().unwrap_or_default();
    let own =
        all.iter().filter(|route| route["source"] == "Local").filter_map(|route| route["prefix"].as_str());
    Ok(own.map(str::to_owned).collect())
}

/// Waits until of these prefixes a node originates exactly those marked.
pub(crate) async fn announces(lab: &Lab, node: &str, wanted: &[(&str, bool)]) -> anyhow::Result<()> {
    wait::until(SOON, &format!("{node} announces {wanted:?}"), || async {
        let now = originated(lab, node).await?;
        if wanted.iter().all(|(prefix, there)| now.iter().any(|own| own == prefix) == *there) {
            return Ok(());
        }
        Err(NotYet::because(format!("{now:?}")))
    })
    .await
}

pub(crate) async fn endpoint(lab: &Lab, node: &str, ready: bool) -> anyhow::Result<()> {
    let endpoints = json!([{"addresses": ["10.244.0.9"], "nodeName": node, "conditions": {"ready": ready}}]);
    let api: Api<EndpointSlice> = Api::namespaced(lab.cluster().client(), "default");
    let patch = Patch::Merge(json!({"endpoints": endpoints}));
    api.patch("web-1", &PatchParams::default(), &patch).await.context("changing the endpoints")?;
    Ok(())
}

/// A Service that is served where it has endpoints, of which it has none yet.
pub(crate) async fn a_service(lab: &Lab) -> anyhow::Result<()> {
    let client = lab.cluster().client();
    let service = json!({
        "metadata": {"name": "web", "namespace": "default"},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.96.7.7", "clusterIPs": ["10.96.7.7"],
            "externalTrafficPolicy": "Local", "ports": [{"port": 80}], "selector": {"app": "web"}
        }
    });
    let services: Api<Service> = Api::namespaced(client.clone(), "default");
    services.create(&PostParams::default(), &typed(service)?).await.context("making the Service")?;
    let status = json!({"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}});
    let patched = services.patch_status("web", &PatchParams::default(), &Patch::Merge(status)).await;
    patched.context("giving the Service an address")?;
    let slice = json!({
        "metadata": {"name": "web-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "addressType": "IPv4", "endpoints": [], "ports": [{"port": 80}]
    });
    let slices: Api<EndpointSlice> = Api::namespaced(client, "default");
    slices.create(&PostParams::default(), &typed(slice)?).await.context("making the EndpointSlice")?;
    Ok(())
}

/// Asks for the announcement of Services.
pub(crate) async fn ask_for_services(lab: &Lab) -> anyhow::Result<()> {
    let configurations: Api<BgpConfiguration> = Api::all(lab.cluster().client());
    let spec = json!({"serviceClusterIPs": [{"cidr": RANGE}], "serviceLoadBalancerIPs": [{"cidr": ADDRESS}]});
    let patch = Patch::Merge(json!({"spec": spec}));
    configurations.patch("default", &PatchParams::default(), &patch).await.context("asking for Services")?;
    Ok(())
}

pub(crate) async fn a_service_is_announced_from_where_it_is_served(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 1), &Silent).await?;
    let client = lab.cluster().client();
    a_service(&lab).await?;
    // Nothing is announced before it is asked for, then the range by all.
    for node in ["n1", "n2"] {
        announces(&lab, node, &[(RANGE, false), (ADDRESS, false)]).await?;
    }
    ask_for_services(&lab).await?;
    for node in ["n1", "n2"] {
        announces(&lab, node, &[(RANGE, true), (ADDRESS, false), ("10.96.7.7/32", false)]).await?;
    }
    // The address follows the ready endpoint.
    for (with, without) in [("n1", "n2"), ("n2", "n1")] {
        endpoint(&lab, with, true).await?;
        announces(&lab, with, &[(ADDRESS, true), ("10.96.7.7/32", true)]).await?;
        announces(&lab, without, &[(ADDRESS, false), ("10.96.7.7/32", false)]).await?;
    }
    endpoint(&lab, "n2", false).await?;
    announces(&lab, "n2", &[(ADDRESS, false), (RANGE, true)]).await?;
    endpoint(&lab, "n2", true).await?;
    announces(&lab, "n2", &[(ADDRESS, true)]).await?;
    // What nobody serves does not go in circles.
    let table =
        lab.node("n1")?.netns().exec(&["nft", "list", "table", "inet", "caracal"]).await?.success()?;
    ensure!(table.contains("services-v4") && table.contains(RANGE), "no guard: {table}");
    // A node that takes no traffic from outside.
    let nodes: Api<Node> = Api::all(client);
    let label =
        json!({"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": "true"}}});
    nodes.patch("n2", &PatchParams::default(), &Patch::Merge(label)).await.context("labelling n2")?;
    announces(&lab, "n2", &[(ADDRESS, false), (RANGE, false)]).await?;
    announces(&lab, "n1", &[(RANGE, true)]).await?;
    lab.down(&Silent).await
}

pub(crate) async fn a_pod_reaches_itself_through_a_service(sandbox: Sandbox) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::one_rack(2, 1), &Silent).await?;
    let pod = lab.pods().first().context("there is no pod")?;
    let node = lab.node(pod.node())?;
    // As kube-proxy does it: towards the endpoint, and with the node's address where that is the sender itself.
    for (family, service, v6) in [("ip", "10.96.7.7", false), ("ip6", "fd00:96::7", true)] {
        let own = pod.address(v6)?;
        for command in [
            format!("add table {family} proxy"),
            format!("add chain {family} proxy towards {{ type nat hook prerouting priority -100; }}"),
            format!("add chain {family} proxy from {{ type nat hook postrouting priority 90; }}"),
            format!("add rule {family} proxy towards {family} daddr {service} dnat to {own}"),
            format!("add rule {family} proxy from {family} saddr {own} {family} daddr {own} masquerade"),
        ] {
            node.netns().exec(&["nft", &command]).await?.success()?;
        }
        probe::ping(pod.netns(), service.parse()?)
            .await
            .with_context(|| format!("to itself by {service}"))?;
    }
    lab.down(&Silent).await
}

//! Two nodes, each with a containerd, and what is asked about them.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, Topology};
use ipnetwork::IpNetwork;
use serde_json::Value;

use crate::containerd::Containerd;
use crate::cri::{self, Metadata};
use crate::image;

/// For what other parts tell a moment later.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A sandbox of containerd.
#[derive(Debug, Clone)]
pub(crate) struct Pod {
    pub(crate) name: String,
    pub(crate) id: String,
    pub(crate) sandbox: cri::Sandbox,
}

/// One node.
pub(crate) struct Host<'a> {
    pub(crate) node: &'a Node,
    pub(crate) containerd: Containerd,
    /// The archive of the sandboxes' image.
    pub(crate) archive: PathBuf,
}

/// A lab of two nodes without pods.
pub(crate) async fn lab(sandbox: Sandbox) -> anyhow::Result<Lab> {
    Lab::up(sandbox, Topology::one_rack(2, 0), &Silent).await
}

/// The nodes with their runtimes.
pub(crate) async fn hosts(lab: &Lab) -> anyhow::Result<Vec<Host<'_>>> {
    let archive = image::sandbox(&lab.node("n1")?.machine().file("/")).await?;
    let mut hosts = Vec::new();
    for node in lab.nodes() {
        let containerd = Containerd::install(node, &lab.logs(), &archive).await?;
        hosts.push(Host { node, containerd, archive: archive.clone() });
    }
    Ok(hosts)
}

/// Over IPv4 and IPv6, there and back.
pub(crate) async fn reach_each_other(
    one: &Host<'_>,
    first: &Pod,
    two: &Host<'_>,
    second: &Pod,
) -> anyhow::Result<()> {
    for address in &second.sandbox.addresses {
        one.ping(first, *address).await?;
    }
    for address in &first.sandbox.addresses {
        two.ping(second, *address).await?;
    }
    Ok(())
}

impl Host<'_> {
    /// A pod as a kubelet makes it: it is in the API, then the runtime is asked.
    pub(crate) async fn run(&self, lab: &Lab, name: &str) -> anyhow::Result<Pod> {
        let uid = lab.cluster().make_pod("default", name, self.node.name()).await?;
        let metadata = Metadata { name: name.into(), uid, namespace: "default".into() };
        let id = self.containerd.cri().await?.run(metadata).await?;
        let sandbox = self.containerd.cri().await?.status(&id).await?;
        ensure!(sandbox.ready && sandbox.pid > 0, "{name} is not ready: {sandbox:?}");
        ensure!(sandbox.addresses.len() == 2, "{name} has the addresses {:?}", sandbox.addresses);
        Ok(Pod { name: name.into(), id, sandbox })
    }

    /// Stops and removes a pod.
    pub(crate) async fn remove(&self, lab: &Lab, pod: &Pod) -> anyhow::Result<()> {
        let cri = self.containerd.cri().await?;
        cri.stop(&pod.id).await?;
        cri.remove(&pod.id).await?;
        lab.cluster().delete_pod("default", &pod.name).await
    }

    /// Waits until the agent does.
    pub(crate) async fn agent_answers(&self) -> anyhow::Result<()> {
        let what = format!("the agent of {} answers", self.node.name());
        wait::until(SOON, &what, || async { Ok(self.node.ctl(&["node", "status"]).await.map(drop)?) }).await
    }

    /// Pings from inside a pod.
    pub(crate) async fn ping(&self, from: &Pod, to: IpAddr) -> anyhow::Result<()> {
        let network = format!("--net=/proc/{}/ns/net", from.sandbox.pid);
        let to = to.to_string();
        let words = ["nsenter", network.as_str(), "ping", "-c", "1", "-W", "5", to.as_str()];
        let heard = self.node.netns().exec(&words).await?.success();
        heard.map(drop).with_context(|| format!("{} pings {to}", from.name))
    }

    /// Waits until nothing of any pod is left: device, route, attachment, address, namespace, sandbox.
    pub(crate) async fn is_bare(&self) -> anyhow::Result<()> {
        let node = self.node;
        wait::until(SOON, &format!("nothing of any pod is left on {}", node.name()), || async {
            match self.leftover().await? {
                None => Ok(()),
                Some(what) => Err(NotYet::because(what)),
            }
        })
        .await
    }

    async fn leftover(&self) -> anyhow::Result<Option<String>> {
        let links = self.node.netns().links().await?;
        if let Some(link) = links.iter().find(|link| link.ifname.starts_with("cali")) {
            return Ok(Some(format!("the device {}", link.ifname)));
        }
        for route in self.node.netns().routes().await? {
            let single = |network: &IpNetwork| network.prefix() == if network.is_ipv4() { 32 } else { 128 };
            let ours = route.protocol.as_deref() == Some("67");
            if ours && route.destination().as_ref().is_some_and(single) {
                return Ok(Some(format!("the route {}", route.words())));
            }
        }
        let status = self.node.ctl(&["node", "status"]).await?;
        let attachments = status.get("attachments").and_then(number).context("node status: attachments")?;
        if attachments > 0 {
            return Ok(Some(format!("{attachments} attachments in the journal")));
        }
        let ipam = self.node.ctl(&["ipam", "show"]).await?;
        let blocks = ipam.get("blocks").and_then(Value::as_array).context("ipam show: blocks")?;
        if let Some(block) = blocks.iter().find(|block| block.get("used").and_then(number) != Some(0)) {
            return Ok(Some(format!("addresses in use: {block}")));
        }
        let names = self.node.netns().exec(&["sh", "-c", "ls /run/netns | grep ^cni- || true"]).await?;
        let names = names.success()?;
        if !names.trim().is_empty() {
            return Ok(Some(format!("the namespaces {names}")));
        }
        let sandboxes = self.containerd.cri().await?.list().await?;
        Ok((!sandboxes.is_empty()).then(|| format!("the sandboxes {sandboxes:?}")))
    }
}

/// A number in JSON, which protobuf writes as text when it has 64 bits.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

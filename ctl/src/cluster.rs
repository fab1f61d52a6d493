//! The way to the Kubernetes API, with the rights of whoever runs this: for what concerns the whole cluster.
//!
//! Every request is bounded, and every error says what was being done. Lists are read in pages, and from the API server's
//! store itself, not from a cache of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use caracal_api::{IpPool, IpamBlock, IpamConfig, NetworkNode};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, Preconditions};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::audit::{Evidence, PodSeen};
use crate::failure::Failure;

/// How long to wait for any one answer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Objects in one page of a list.
const PAGE: u32 = 500;

/// The API server.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
}

/// The label by which the pods of agents are known, and its value: as `deploy/agent.yaml` has them.
const APP: &str = "app.kubernetes.io/name";
const AGENT: &str = "caracal-agent";

/// The pod of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AgentPod {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// What became of a request that names a version or a state that must still be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done.
    Done,
    /// Somebody was faster: nothing was done.
    Changed,
}

impl Cluster {
    /// Ready to ask, by this kubeconfig; left out: `KUBECONFIG`, `~/.kube/config`, or a pod's service account.
    pub(crate) async fn open(kubeconfig: Option<&Path>) -> Result<Self, Failure> {
        let failed = |reason: String| Failure::Kubeconfig { path: kubeconfig.map(PathBuf::from), reason };
        // Another part of the process may have chosen it already.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut config = match kubeconfig {
            None => Config::infer().await.map_err(|error| failed(error.to_string()))?,
            Some(path) => {
                let read = Kubeconfig::read_from(path).map_err(|error| failed(error.to_string()))?;
                let options = KubeConfigOptions::default();
                Config::from_custom_kubeconfig(read, &options)
                    .await
                    .map_err(|error| failed(error.to_string()))?
            }
        };
        if config.cluster_url.scheme_str() == Some("http") {
            // Nothing is verified without TLS: a machine without CA certificates must not be refused for lacking them.
            config.root_cert.get_or_insert_default();
        }
        let client = Client::try_from(config).map_err(|error| failed(error.to_string()))?;
        Ok(Self { client })
    }

    fn all<K>(&self) -> Api<K>
    where
        K: Resource<Scope = kube::core::ClusterResourceScope>,
        K::DynamicType: Default,
    {
        Api::all(self.client.clone())
    }

    /// Blocks, pools, Nodes, tunnels and pods, one list after the other.
    pub(crate) async fn evidence(&self) -> Result<Evidence, Failure> {
        let nodes = list::<Node>(&self.all(), "listing Nodes").await?;
        let network = list::<NetworkNode>(&self.all(), "listing NetworkNodes").await?;
        let tunnels = network.iter().flat_map(|node| {
            let (name, tunnels) = (node.name_any(), &node.spec.tunnels);
            let told = [&tunnels.ipip, &tunnels.vxlan_v4, &tunnels.vxlan_v6].into_iter().flatten();
            told.filter_map(|text| text.parse::<IpNetwork>().ok())
                .map(move |address| (address.ip(), name.clone()))
        });
        Ok(Evidence {
            tunnels: tunnels.collect(),
            nodes: nodes.into_iter().map(|node| (node.name_any(), node.uid().unwrap_or_default())).collect(),
            pools: list(&self.all(), "listing IPPools").await?,
            blocks: list(&self.all(), "listing IPAMBlocks").await?,
            // Pods last: one that came up meanwhile is missed in the blocks and found at the second look.
            pods: self.pods().await?,
            locals: Vec::new(),
            silent: BTreeMap::new(),
        })
    }

    /// The names of the Nodes.
    pub(crate) async fn node_names(&self) -> Result<Vec<String>, Failure> {
        let nodes = list::<Node>(&self.all(), "listing Nodes").await?;
        Ok(nodes.iter().map(ResourceExt::name_any).collect())
    }

    /// The pods of agents, by node.
    pub(crate) async fn agent_pods(&self) -> Result<BTreeMap<String, AgentPod>, Failure> {
        let pods = list::<Pod>(&Api::all(self.client.clone()), "listing the agents' pods").await?;
        let agents = pods.into_iter().filter(|pod| pod.labels().get(APP).is_some_and(|app| app == AGENT));
        let placed = agents.filter_map(|pod| {
            let running = pod.status.as_ref()?.phase.as_deref() == Some("Running");
            let node = pod.spec.as_ref()?.node_name.clone()?;
            let agent = AgentPod { namespace: pod.namespace().unwrap_or_default(), name: pod.name_any() };
            running.then_some((node, agent))
        });
        Ok(placed.collect())
    }

    /// All pods that have addresses of their own.
    pub(crate) async fn pods(&self) -> Result<Vec<PodSeen>, Failure> {
        let pods = list::<Pod>(&Api::all(self.client.clone()), "listing pods").await?;
        Ok(pods.iter().filter_map(seen).collect())
    }

    /// One block.
    pub(crate) async fn block(&self, name: &str) -> Result<Option<IpamBlock>, Failure> {
        let api: Api<IpamBlock> = self.all();
        bounded(&format!("reading IPAMBlock {name}"), api.get_opt(name)).await
    }

    /// One pool.
    pub(crate) async fn pools(&self) -> Result<Vec<IpPool>, Failure> {
        list(&self.all(), "listing IPPools").await
    }

    /// All blocks.
    pub(crate) async fn blocks(&self) -> Result<Vec<IpamBlock>, Failure> {
        list(&self.all(), "listing IPAMBlocks").await
    }

    /// The UID of the Node of a name, from the API server itself; `None`: there is none.
    pub(crate) async fn node_uid(&self, name: &str) -> Result<Option<String>, Failure> {
        let api: Api<Node> = self.all();
        let node = bounded(&format!("reading Node {name}"), api.get_opt(name)).await?;
        Ok(node.map(|node| node.uid().unwrap_or_default()))
    }

    /// Deletes a block in the version that was read.
    pub(crate) async fn delete_block(&self, block: &IpamBlock) -> Result<Outcome, Failure> {
        let name = block.name_any();
        let preconditions = Preconditions { uid: block.uid(), resource_version: block.resource_version() };
        let params = DeleteParams::default().preconditions(preconditions);
        let api: Api<IpamBlock> = self.all();
        unless_changed(bounded(&format!("deleting IPAMBlock {name}"), api.delete(&name, &params)).await)
    }

    /// Writes a block over the version that was read.
    pub(crate) async fn replace_block(&self, block: &IpamBlock) -> Result<Outcome, Failure> {
        let name = block.name_any();
        let (api, params): (Api<IpamBlock>, _) = (self.all(), PostParams::default());
        unless_changed(
            bounded(&format!("writing IPAMBlock {name}"), api.replace(&name, &params, block)).await,
        )
    }

    /// How nodes use blocks; the defaults while there is no `IPAMConfig`.
    pub(crate) async fn ipam_config(&self) -> Result<Option<IpamConfig>, Failure> {
        let api: Api<IpamConfig> = self.all();
        bounded("reading IPAMConfig default", api.get_opt(caracal_api::DEFAULT_NAME)).await
    }

    /// Changes some of it, or makes it.
    pub(crate) async fn set_ipam_config(&self, wanted: &IpamConfig) -> Result<IpamConfig, Failure> {
        let api: Api<IpamConfig> = self.all();
        if self.ipam_config().await?.is_none() {
            return bounded("making IPAMConfig default", api.create(&PostParams::default(), wanted)).await;
        }
        let patch = Patch::Merge(serde_json::json!({ "spec": wanted.spec }));
        let params = PatchParams::default();
        bounded("changing IPAMConfig default", api.patch(caracal_api::DEFAULT_NAME, &params, &patch)).await
    }

    /// Makes a pool.
    pub(crate) async fn create_pool(&self, pool: &IpPool) -> Result<(), Failure> {
        let api: Api<IpPool> = self.all();
        let doing = format!("making IPPool {}", pool.name_any());
        bounded(&doing, api.create(&PostParams::default(), pool)).await.map(drop)
    }

    /// Deletes a pool in the version that was read.
    pub(crate) async fn delete_pool(&self, pool: &IpPool) -> Result<Outcome, Failure> {
        let name = pool.name_any();
        // Its status may change at any time, which does not matter here.
        let preconditions = Preconditions { uid: pool.uid(), resource_version: None };
        let params = DeleteParams::default().preconditions(preconditions);
        let api: Api<IpPool> = self.all();
        unless_changed(bounded(&format!("deleting IPPool {name}"), api.delete(&name, &params)).await)
    }
}

/// A pod as far as addresses go; none for one of the host's network.
fn seen(pod: &Pod) -> Option<PodSeen> {
    let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref());
    if spec.host_network == Some(true) {
        return None;
    }
    let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or_default();
    let told = status.map(|status| {
        let one = status.pod_ip.iter();
        status
            .pod_ips
            .iter()
            .flatten()
            .map(|entry| &entry.ip)
            .chain(one)
            .filter_map(|ip| ip.parse().ok())
            .collect()
    });
    let mut addresses: Vec<std::net::IpAddr> = told.unwrap_or_default();
    addresses.sort();
    addresses.dedup();
    Some(PodSeen {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        node: spec.node_name.clone().unwrap_or_default(),
        addresses,
        ended: ["Succeeded", "Failed"].contains(&phase).then(|| phase.to_owned()),
    })
}

async fn list<K>(api: &Api<K>, doing: &str) -> Result<Vec<K>, Failure>
where
    K: Clone + DeserializeOwned + Debug,
{
    let mut items = Vec::new();
    let mut page = ListParams::default().limit(PAGE);
    loop {
        let found = bounded(doing, api.list(&page)).await?;
        items.extend(found.items);
        match found.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => page = page.continue_token(&token),
            None => return Ok(items),
        }
    }
}

async fn bounded<T>(
    doing: &str,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failure> {
    let failed = |reason: String, code| Failure::Cluster { doing: doing.to_owned(), reason, code };
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => {
            Err(failed(format!("{} {}: {}", status.code, status.reason, status.message), Some(status.code)))
        }
        Ok(Err(error)) => Err(failed(chain(&error), None)),
        Err(_) => Err(failed(format!("no answer within {} s", PATIENCE.as_secs()), None)),
    }
}

/// A conflict, or an object that has gone, means that somebody was faster.
fn unless_changed<T>(result: Result<T, Failure>) -> Result<Outcome, Failure> {
    match result {
        Ok(_) => Ok(Outcome::Done),
        Err(Failure::Cluster { code: Some(404 | 409), .. }) => Ok(Outcome::Changed),
        Err(error) => Err(error),
    }
}

/// An error with everything that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let words = inner.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = inner.source();
    }
    text
}

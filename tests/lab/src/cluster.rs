//! The objects of the cluster, made through the API as an administrator and the kubelets would make them.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use caracal_api::bgp_peer::SourceAddress;
use caracal_api::{
    BgpConfiguration, BgpConfigurationSpec, BgpPeer, BgpPeerSpec, DEFAULT_NAME, IpPool, IpamBlock,
};
use ipnetwork::IpNetwork;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::control::NAMESPACE;
use crate::encapsulation::Tunnels;
use crate::machine::Machine;
use crate::topology::{Design, NodePlan, Topology, Tunnel};
use crate::wait::{self, NotYet};

/// The annotation by which a Node reflects routes, and the cluster id of the lab's reflectors (RFC 4456).
const REFLECTS: (&str, &str) = ("caracal.dev/route-reflector-cluster-id", "244.0.0.1");
/// The label by which sessions with reflectors are asked for.
const REFLECTOR: &str = "route-reflector";
/// The label that says in which rack a Node stands.
const ZONE: &str = "topology.kubernetes.io/zone";

/// A client of the lab's API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").finish_non_exhaustive()
    }
}

impl Cluster {
    /// A client of the server at this URL; nothing is asked yet.
    pub fn at(server: &str) -> anyhow::Result<Self> {
        let url = server.parse().with_context(|| format!("`{server}` is no URL"))?;
        let mut config = kube::Config::new(url);
        // Plain HTTP: no certificates are needed, nor the system's looked for.
        config.root_cert = Some(Vec::new());
        config.connect_timeout = Some(Duration::from_secs(2));
        config.read_timeout = Some(Duration::from_secs(60));
        let client = Client::try_from(config).context("making a client of the API server")?;
        Ok(Self { client })
    }

    /// The client itself.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Whether the server answers.
    pub async fn answers(&self) -> anyhow::Result<()> {
        let version = self.client.apiserver_version().await.context("asking for the API server's version")?;
        drop(version);
        Ok(())
    }

    /// Applies every manifest of a folder, in the order of their names.
    pub async fn apply_definitions(&self, folder: &Path) -> anyhow::Result<Vec<String>> {
        let reading = || format!("reading {}", folder.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(folder).with_context(reading)? {
            let path = entry.with_context(reading)?.path();
            if path.extension().is_some_and(|extension| extension == "yaml") {
                files.push(path);
            }
        }
        files.sort();
        let resource = kube::api::ApiResource::erase::<CustomResourceDefinition>(&());
        let api: Api<DynamicObject> = Api::all_with(self.client(), &resource);
        let mut names = Vec::new();
        for file in files {
            let text =
                std::fs::read_to_string(&file).with_context(|| format!("reading {}", file.display()))?;
            let object: DynamicObject =
                serde_saphyr::from_str(&text).with_context(|| format!("reading {}", file.display()))?;
            names.push(object.name_any());
            create(&api, &object).await?;
        }
        Ok(names)
    }

    /// Applies the objects of one manifest, in their order.
    pub async fn apply(&self, file: &Path) -> anyhow::Result<()> {
        let reading = || format!("reading {}", file.display());
        let text = std::fs::read_to_string(file).with_context(reading)?;
        let objects: Vec<DynamicObject> = serde_saphyr::from_multiple(&text).with_context(reading)?;
        for object in objects {
            let types = object.types.clone().with_context(|| format!("{}: no kind", file.display()))?;
            let gvk = GroupVersionKind::try_from(&types).with_context(reading)?;
            let resource = kube::api::ApiResource::from_gvk(&gvk);
            let api = match &object.metadata.namespace {
                Some(namespace) => Api::namespaced_with(self.client(), namespace, &resource),
                None => Api::all_with(self.client(), &resource),
            };
            create(&api, &object).await?;
        }
        Ok(())
    }

    /// Waits until a definition is served.
    pub async fn established(&self, name: &str, deadline: Duration) -> anyhow::Result<()> {
        let api: Api<CustomResourceDefinition> = Api::all(self.client());
        wait::until(deadline, &format!("the definition {name} is Established"), || async {
            let found = api.get(name).await.with_context(|| format!("reading {name}"))?;
            let conditions = found.status.and_then(|status| status.conditions).unwrap_or_default();
            if conditions.iter().any(|one| one.type_ == "Established" && one.status == "True") {
                return Ok(());
            }
            let seen: Vec<String> =
                conditions.iter().map(|one| format!("{}={}", one.type_, one.status)).collect();
            Err(NotYet::because(format!("conditions [{}]", seen.join(", "))))
        })
        .await
    }

    /// The namespaces that pods and the product live in.
    pub async fn make_namespaces(&self) -> anyhow::Result<()> {
        let api: Api<Namespace> = Api::all(self.client());
        for name in ["default", NAMESPACE] {
            create(&api, &typed(json!({"metadata": {"name": name}}))?).await?;
        }
        Ok(())
    }

    /// The Node object of a machine, as a kubelet registers it.
    pub async fn make_node(
        &self,
        machine: &Machine,
        plan: &NodePlan,
        topology: &Topology,
    ) -> anyhow::Result<()> {
        let rack = topology.racks.get(plan.rack).with_context(|| format!("no rack {}", plan.rack))?;
        let addresses: Vec<Value> = machine
            .addresses()
            .iter()
            .map(|address| json!({"type": "InternalIP", "address": address.ip()}))
            .chain([json!({"type": "Hostname", "address": machine.name()})])
            .collect();
        let status = json!({
            "addresses": addresses,
            "capacity": {"pods": "110"},
            "allocatable": {"pods": "110"},
            "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            "nodeInfo": {
                "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "caracal-lab", "kernelVersion": "",
                "kubeProxyVersion": "", "kubeletVersion": "v1.33.0", "machineID": "", "operatingSystem": "linux",
                "osImage": "caracal-lab", "systemUUID": ""
            }
        });
        let (mut labels, mut annotations) = (Map::new(), Map::new());
        labels.insert("kubernetes.io/hostname".into(), json!(machine.name()));
        labels.insert("kubernetes.io/os".into(), json!("linux"));
        labels.insert(ZONE.into(), json!(rack.name));
        if plan.reflects {
            labels.insert(REFLECTOR.into(), json!("true"));
            annotations.insert(REFLECTS.0.into(), json!(REFLECTS.1));
        }
        let node: Node = typed(json!({
            "metadata": {"name": machine.name(), "labels": labels, "annotations": annotations},
            "spec": {"providerID": format!("lab://{}/{}", rack.name, machine.name())},
            "status": status
        }))?;
        let api: Api<Node> = Api::all(self.client());
        create(&api, &node).await?;
        patch_status(&api, machine.name(), &status).await
    }

    /// The pools, the speakers' settings, and the sessions beside or instead of the mesh.
    pub async fn make_network(&self, topology: &Topology, tunnels: &Tunnels) -> anyhow::Result<()> {
        let api: Api<IpPool> = Api::all(self.client());
        for plan in &topology.pools {
            let tunnel = tunnels.of(plan.cidr.is_ipv6());
            let mode = |of| if tunnel == Some(of) { "CrossSubnet" } else { "Never" };
            let pool: IpPool = typed(json!({
                "metadata": {"name": plan.name},
                "spec": {
                    "cidr": plan.cidr, "blockSize": plan.block, "natOutgoing": plan.nat_outgoing,
                    "ipipMode": mode(Tunnel::Ipip), "vxlanMode": mode(Tunnel::Vxlan)
                }
            }))?;
            create(&api, &pool).await?;
        }
        let api: Api<BgpConfiguration> = Api::all(self.client());
        let mesh = (topology.design != Design::Mesh).then_some(false);
        let settings = BgpConfigurationSpec { node_to_node_mesh_enabled: mesh, ..Default::default() };
        create(&api, &BgpConfiguration::new(DEFAULT_NAME, settings)).await?;
        match topology.design {
            Design::Mesh => Ok(()),
            Design::Tor => self.peer_with_routers(topology).await,
            Design::DualTor => self.peer_by_uplinks(topology).await,
            Design::Reflectors(_) => {
                let reflectors = format!("{REFLECTOR} == 'true'");
                let spec = BgpPeerSpec { peer_selector: Some(reflectors), ..BgpPeerSpec::default() };
                let api: Api<BgpPeer> = Api::all(self.client());
                create(&api, &BgpPeer::new("reflectors", spec)).await
            }
        }
    }

    /// Every node with its rack's router, by eBGP. Each node has an AS number of its own: were it one for a rack or for
    /// all, the nodes would take each other's routes, which come back through the router, for loops (RFC 4271 §9.1.2),
    /// and the router would have to rewrite AS paths.
    async fn peer_with_routers(&self, topology: &Topology) -> anyhow::Result<()> {
        self.number_nodes(topology).await?;
        let peers: Api<BgpPeer> = Api::all(self.client());
        for rack in &topology.racks {
            let address = topology.router_in_rack(rack).context("the router has no address in its rack")?;
            let spec = BgpPeerSpec {
                node_selector: Some(format!("{ZONE} == '{}'", rack.name)),
                peer_ip: Some(address.to_string()),
                as_number: Some(rack.router_as()),
                ..BgpPeerSpec::default()
            };
            create(&peers, &BgpPeer::new(&rack.router_name(), spec)).await?;
        }
        Ok(())
    }

    /// Every node with both routers, by eBGP over each of its uplinks, from the address that it has there.
    async fn peer_by_uplinks(&self, topology: &Topology) -> anyhow::Result<()> {
        self.number_nodes(topology).await?;
        let peers: Api<BgpPeer> = Api::all(self.client());
        for node in &topology.nodes {
            for rack in &topology.racks {
                let address = topology.router_on_uplink(node, rack).first().map(IpNetwork::ip);
                let spec = BgpPeerSpec {
                    node: Some(node.name.clone()),
                    peer_ip: address.map(|address| address.to_string()),
                    as_number: Some(rack.router_as()),
                    source_address: Some(SourceAddress::None),
                    ..BgpPeerSpec::default()
                };
                create(&peers, &BgpPeer::new(&format!("{}-{}", node.name, rack.router_name()), spec)).await?;
            }
        }
        Ok(())
    }

    /// Gives each node its AS number.
    async fn number_nodes(&self, topology: &Topology) -> anyhow::Result<()> {
        let settings: Api<BgpConfiguration> = Api::all(self.client());
        for node in &topology.nodes {
            let spec = BgpConfigurationSpec { as_number: Some(node.asn), ..Default::default() };
            create(&settings, &BgpConfiguration::new(&format!("node.{}", node.name), spec)).await?;
        }
        Ok(())
    }

    /// Who holds a lease of the product's namespace, if anybody does.
    pub async fn lease_holder(&self) -> anyhow::Result<Option<String>> {
        let api: Api<Lease> = Api::namespaced(self.client(), NAMESPACE);
        let leases = api.list(&ListParams::default()).await.context("listing Leases")?;
        let mut held = leases.into_iter().filter_map(|lease| lease.spec?.holder_identity);
        Ok(held.find(|holder| !holder.is_empty()))
    }

    /// The pools.
    pub async fn pools(&self) -> anyhow::Result<Vec<IpPool>> {
        let api: Api<IpPool> = Api::all(self.client());
        Ok(api.list(&ListParams::default()).await.context("listing IPPools")?.items)
    }

    /// The blocks.
    pub async fn blocks(&self) -> anyhow::Result<Vec<IpamBlock>> {
        let api: Api<IpamBlock> = Api::all(self.client());
        Ok(api.list(&ListParams::default()).await.context("listing IPAMBlocks")?.items)
    }

    /// A Pod object bound to a node; gives its UID.
    pub async fn make_pod(&self, namespace: &str, name: &str, node: &str) -> anyhow::Result<String> {
        let pod: Pod = typed(json!({
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": "lab"}},
            "spec": {"nodeName": node, "containers": [{"name": "pause", "image": "pause"}]}
        }))?;
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        let made = api.create(&PostParams::default(), &pod).await;
        let made = made.with_context(|| format!("creating pod {namespace}/{name}"))?;
        made.metadata.uid.with_context(|| format!("the API server gave pod {namespace}/{name} no UID"))
    }

    /// What a kubelet writes once a pod has its addresses.
    pub async fn pod_is_running(&self, pod: &crate::Pod) -> anyhow::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client(), pod.namespace());
        let ips: Vec<Value> = pod.addresses().iter().map(|address| json!({"ip": address})).collect();
        let status = json!({
            "phase": "Running",
            "podIP": pod.addresses().first(),
            "podIPs": ips,
            "conditions": [
                {"type": "ContainersReady", "status": "True"},
                {"type": "Ready", "status": "True"},
            ],
            "containerStatuses": [{
                "name": "pause",
                "image": "pause",
                "imageID": "pause",
                "ready": true,
                "started": true,
                "restartCount": 0,
                "state": {"running": {}},
            }],
        });
        patch_status(&api, pod.name(), &status).await
    }

    /// Removes a Pod object at once.
    pub async fn delete_pod(&self, namespace: &str, name: &str) -> anyhow::Result<()> {
        let api: Api<Pod> = Api::namespaced(self.client(), namespace);
        let now = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        api.delete(name, &now).await.with_context(|| format!("deleting pod {namespace}/{name}"))?;
        Ok(())
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> anyhow::Result<T> {
    serde_json::from_value(value).context("writing an object of the lab")
}

/// Creates an object; one that is there already is as good.
async fn create<K>(api: &Api<K>, object: &K) -> anyhow::Result<()>
where
    K: Resource + Clone + DeserializeOwned + Serialize + std::fmt::Debug,
{
    match api.create(&PostParams::default(), object).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        Err(error) => Err(error).with_context(|| format!("creating {}", object.name_any())),
    }
}

async fn patch_status<K>(api: &Api<K>, name: &str, status: &Value) -> anyhow::Result<()>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let patch = Patch::Merge(json!({"status": status}));
    let done = api.patch_status(name, &PatchParams::default(), &patch).await;
    done.map(drop).with_context(|| format!("writing the status of {name}"))
}

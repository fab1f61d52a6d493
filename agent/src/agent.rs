//! The agent: builds the owners in an order that lets each start from what is on disk and in the kernel, and runs them.
//!
//! Journal, kernel, last good snapshots, CNI socket, speaker, watches: pods are served before the API server has
//! answered, and routes stand from the first moment because those of the run before are adopted.
//!
//! The agent is crash-only. SIGTERM, SIGKILL and a panic all mean a restart: sockets close without a Cease and the
//! kernel keeps its routes, so that nobody notices. A task that ends ends the process. SIGQUIT alone is an end for good: the
//! node leaves the network, and every peer is told to forget its routes.

use std::fs;
use std::future::Future;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use caracal_bgp::Config;
use caracal_bgp::speaker::{Beginning, Farewell, Handle};
use caracal_bgp::wire::notification::Cease;
use caracal_bgp_underlay::Host;
use caracal_linux::features::{self, Features};
use caracal_linux::kernel::{self, Kernel};
use caracal_linux::netlink::peers::PeerEvents;
use caracal_linux::nft::Nftables;
use kube::{Api, Client};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use crate::admin::{self, AdminContext};
use crate::attachments::{Journal, Recovered};
use crate::cluster::events::Events;
use crate::cluster::services::{self, ServiceAddressesReceiver};
use crate::cluster::{Cluster, publish, secrets};
use crate::cni::{self, CniContext, conflist};
use crate::desired::grants::{Grants, grants};
use crate::desired::handover::Ends;
use crate::desired::outgoing::Told;
use crate::desired::restart::Comeback;
use crate::desired::speaker::{SpeakerSettings, named_router_id};
use crate::desired::surroundings::Surroundings;
use crate::desired::tunnels::TunnelAddresses;
use crate::ipam::Ipam;
use crate::kernel::blackholes::OwnRanges;
use crate::kernel::filter::{self, FilterSources};
use crate::kernel::routes::{NotInstalledRoutes, RouteWriter};
use crate::kernel::tunnels::{self, TunnelSources};
use crate::kernel::{blackholes, sweep};
use crate::node::detection::dead_uplinks;
use crate::node::network_node::{self, NetworkNodeSources};
use crate::node::tunnel_addresses::{TunnelAddressKeeper, TunnelAddressOwners};
use crate::node::{FactsReceiver, forwarding, pod_cidrs};
use crate::peering::Peering;
use crate::settings::AgentSettings;
use crate::status::{self, Reading, StatusSources};
use crate::telemetry::{self, health, http};
use crate::{derived, ipam};

/// The longest that the choice among routes waits for the peers after a restart (RFC 4724 §4.1). Own routes never wait.
const SELECTION_DEFERRAL: Duration = Duration::from_secs(10);
/// Ends of RIBs that may wait to be counted.
const ENDS: usize = 256;

/// Runs an agent until it is told to stop or a part of it ends.
///
/// # Errors
/// When it cannot start, or a part ends by itself: the message says which and why.
pub async fn run(settings: AgentSettings) -> anyhow::Result<()> {
    make_folder(&settings.run_dir, 0o755)?;
    make_folder(&settings.state_dir, 0o700)?;
    let metrics = http::bind(settings.metrics_listen).await?;
    let (owners, recovered) = Owners::start(&settings).await?;
    let mut parts = Parts::default();
    let tunnels = owners.tunnel(&settings, &recovered, &mut parts);
    let cni = owners.serve_pods(&settings, recovered, &mut parts).await?;
    let sources = owners.route(&settings, &mut parts).await?;
    owners.tell(&settings, sources, cni, tunnels, metrics, &mut parts)?;
    info!(node = settings.node_name, "the agent is up");

    tokio::select! {
        told = telemetry::told_to_stop() => {
            told.context("listening to signals")?;
            info!("told to stop: leaving routes as they are, closing sessions without a word");
            owners.speaker.restarting().await;
        }
        told = telemetry::told_to_leave() => {
            told.context("listening to signals")?;
            info!("told to leave: ending every session with Cease, so that peers forget this node's routes");
            owners.speaker.stop(Farewell::Cease(Cease::Shutdown)).await;
        }
        name = parts.first_to_end() => bail!("part '{name}' has ended: ending the agent, to be started anew"),
        () = owners.kernel.stopped() => bail!("the kernel's writer has ended: ending the agent, to be started anew"),
    }
    owners.journal.close().await;
    Ok(())
}

/// Those who own what the agent knows, in the order in which they start.
struct Owners {
    journal: Journal,
    kernel: Kernel,
    client: Client,
    cluster: Cluster,
    facts: FactsReceiver,
    speaker_settings: watch::Receiver<Arc<SpeakerSettings>>,
    surroundings: watch::Receiver<Arc<Surroundings>>,
    uplink_mtu: watch::Receiver<u32>,
    pod_mtu: watch::Receiver<u32>,
    services: ServiceAddressesReceiver,
    /// The tunnels that routes lead through.
    used: watch::Sender<Ends>,
    /// What some pods have beyond their addresses.
    grants: watch::Sender<Arc<Grants>>,
    /// By which devices routers are told this node's address.
    told: watch::Sender<Told>,
    features: Arc<Features>,
    nftables: Option<Nftables>,
    ipam: Ipam,
    /// What the run before left in the kernel.
    comeback: Comeback,
    speaker: Handle,
}

impl Owners {
    async fn start(settings: &AgentSettings) -> anyhow::Result<(Self, Recovered)> {
        let node = &settings.node_name;
        let (journal, recovered) = Journal::open(&settings.journal())?;
        let for_kernel = kernel::Settings {
            protocol: settings.route_protocol,
            workload_protocol: settings.pod_route_protocol,
            ..kernel::Settings::default()
        };
        let kernel = Kernel::start(for_kernel).context("starting the kernel's writer")?;
        let client = settings.api.client().await?;
        let cluster = Cluster::start(&client, node, &settings.snapshots());
        let features =
            Arc::new(tokio::task::spawn_blocking(features::probe).await.context("asking the kernel")?);
        let nftables = start_nftables(&features);
        let facts = derived::facts(node, &cluster, &kernel, settings.detection());
        let uplink_mtu = derived::uplink_mtu(&facts, &kernel);
        let configurations = cluster.bgp_configurations.clone();
        let services = services::follow(client.clone(), configurations, facts.clone());
        let surroundings = derived::surroundings(&cluster, &facts, &features, &uplink_mtu, &services);
        let pod_mtu = derived::pod_mtu(&cluster, &surroundings, &uplink_mtu);
        let speaker_settings = derived::speaker_settings(node, &cluster);
        let comeback = comeback(&kernel, &recovered).await?;
        let beginning = Beginning {
            // Where nothing was left there is nothing that an early choice could disturb.
            deferral: (!comeback.forwarding.is_empty()).then_some(SELECTION_DEFERRAL),
            announces_later: true,
            bfd_memory: Some(settings.run_dir.join("bfd")),
            peer_memory: Some(settings.run_dir.join("peers")),
        };
        let speaker = Handle::begin(empty_config(node, &speaker_settings.borrow()), beginning)
            .context("starting the BGP speaker")?;
        let ipam = Ipam::start(ipam::Start {
            node: node.clone(),
            client: client.clone(),
            cluster: cluster.clone(),
            journal: journal.clone(),
            speaker: Some(speaker.clone()),
            recovered: &recovered,
            events: Some(Events::start(client.clone(), "caracal-agent", node)),
        });
        let owners = Self {
            journal,
            kernel,
            client,
            cluster,
            facts,
            speaker_settings,
            surroundings,
            uplink_mtu,
            pod_mtu,
            services,
            used: watch::Sender::new(Ends::new()),
            grants: watch::Sender::new(Arc::new(grants(&recovered.attachments))),
            told: watch::Sender::new(None),
            features,
            nftables,
            ipam,
            comeback,
            speaker,
        };
        Ok((owners, recovered))
    }

    /// Keeps the tunnels to the other nodes and their addresses, and what packets may do.
    fn tunnel(
        &self,
        settings: &AgentSettings,
        recovered: &Recovered,
        parts: &mut Parts,
    ) -> watch::Receiver<Arc<TunnelAddresses>> {
        let owners = TunnelAddressOwners {
            facts: self.facts.clone(),
            pools: self.cluster.ip_pools.clone(),
            ipam: self.ipam.clone(),
            journal: self.journal.clone(),
            kernel: self.kernel.clone(),
            features: Arc::clone(&self.features),
        };
        let (keeper, addresses) =
            TunnelAddressKeeper::new(&settings.node_name, owners, &recovered.attachments);
        parts.add("tunnel addresses", keeper.run());
        let sources = TunnelSources {
            surroundings: self.surroundings.clone(),
            used: self.used.subscribe(),
            addresses: addresses.clone(),
            uplink_mtu: self.uplink_mtu.clone(),
        };
        parts.add("tunnels", tunnels::keep(self.kernel.clone(), sources));
        if let Some(nftables) = &self.nftables {
            let sources = FilterSources {
                pools: self.cluster.ip_pools.clone(),
                around: self.surroundings.clone(),
                services: self.services.clone(),
                grants: self.grants.subscribe(),
                facts: self.facts.clone(),
                told: self.told.subscribe(),
                outgoing: settings.nat_outgoing_address.clone(),
            };
            parts.add("filter", filter::keep(nftables.clone(), sources));
        }
        addresses
    }

    /// Opens the CNI socket: pods can be wired from now on.
    async fn serve_pods(
        &self,
        settings: &AgentSettings,
        recovered: Recovered,
        parts: &mut Parts,
    ) -> anyhow::Result<Arc<CniContext>> {
        let links = self.kernel.underlay();
        let forwarding = forwarding::enable(&links.borrow())
            .context("turning on forwarding; the agent needs a writable /proc/sys/net")?;
        self.kernel.want(forwarding).await.context("keeping forwarding on")?;
        parts.add("router advertisements", forwarding::follow(links));
        let owners = cni::Owners {
            node: settings.node_name.as_str().into(),
            mtu: self.pod_mtu.clone(),
            pools: self.cluster.ip_pools.clone(),
            namespaces: self.cluster.namespaces.clone(),
            events: Events::start(self.client.clone(), "caracal-agent", &settings.node_name),
            ipam: self.ipam.clone(),
            journal: self.journal.clone(),
            kernel: self.kernel.clone(),
            grants: self.grants.clone(),
        };
        let context = Arc::new(CniContext::new(owners, recovered.attachments)?);
        let own = OwnRanges { blocks: self.ipam.own_blocks(), subnets: context.subnets() };
        parts.add("blackholes", blackholes::keep(self.kernel.clone(), own, settings.route_protocol));
        // Listening begins before what is there is looked at: what changes in between is heard.
        let events = PeerEvents::open();
        let found = cni::recover(&context).await?;
        info!(living = found.living, freed = found.freed, "attachments of the run before");
        match events {
            Ok(events) => parts.add("pods' addresses", ended(cni::follow(events, Arc::clone(&context)))),
            Err(error) => warn!(%error, "pods' Ethernet addresses are not followed when they change"),
        }
        parts.add("leftovers", cni::keep_leftovers(settings.run_dir.clone(), Arc::clone(&context)));
        parts.add("pod ranges", pod_cidrs::keep(settings.run_dir.clone(), self.cluster.node.clone()));
        let listener = cni::server::bind(&settings.cni_socket())?;
        parts.add("cni", ended(cni::server::serve(listener, Arc::clone(&context))));
        Ok(context)
    }

    /// Opens the sessions, and brings what they say into the kernel.
    async fn route(&self, settings: &AgentSettings, parts: &mut Parts) -> anyhow::Result<StatusSources> {
        let protocol = settings.route_protocol;
        let mut host = Host::new(&self.kernel, dead_uplinks);
        host.tell(&self.speaker).await?;
        parts.add("next hops", host.follow(self.speaker.clone()));
        let (problems, problems_told) = watch::channel(Arc::new(Vec::new()));
        let peering = Peering {
            speaker: self.speaker.clone(),
            cluster: self.cluster.clone(),
            facts: self.facts.clone(),
            settings: self.speaker_settings.clone(),
            blocks: self.ipam.own_blocks(),
            services: self.services.clone(),
            grants: self.grants.subscribe(),
            secrets: secrets::follow(secrets::Sources {
                client: self.client.clone(),
                namespace: settings.namespace.clone(),
                folder: settings.snapshots(),
                peers: self.cluster.bgp_peers.clone(),
                configurations: self.cluster.bgp_configurations.clone(),
            }),
            comeback: self.comeback,
            links: self.kernel.underlay(),
            problems,
            told: self.told.clone(),
        };
        parts.add("peering", peering.run());
        let (end_of_rib, ends) = mpsc::channel(ENDS);
        let not_installed = NotInstalledRoutes::default();
        let writer = RouteWriter {
            feed: self.speaker.feed().await?,
            kernel: self.kernel.clone(),
            surroundings: self.surroundings.clone(),
            protocol,
            not_installed: not_installed.clone(),
            end_of_rib,
            used: self.used.clone(),
        };
        parts.add("routes", writer.run());
        let (kernel, speaker, cluster) = (self.kernel.clone(), self.speaker.clone(), self.cluster.clone());
        parts.add("sweep", sweep::release_when_due(kernel, speaker, cluster, ends));
        Ok(StatusSources {
            speaker: self.speaker.clone(),
            ipam: self.ipam.clone(),
            journal: self.journal.clone(),
            kernel: self.kernel.clone(),
            cluster: self.cluster.clone(),
            facts: self.facts.clone(),
            problems: problems_told,
            not_installed,
            features: Arc::clone(&self.features),
            surroundings: self.surroundings.clone(),
            pod_mtu: self.pod_mtu.clone(),
            nftables: self.nftables.as_ref().map(Nftables::standing),
        })
    }

    /// Tells others how the node fares: the API server, the plugin, administrators, whoever collects metrics.
    fn tell(
        &self,
        settings: &AgentSettings,
        sources: StatusSources,
        cni: Arc<CniContext>,
        tunnels: watch::Receiver<Arc<TunnelAddresses>>,
        metrics: TcpListener,
        parts: &mut Parts,
    ) -> anyhow::Result<()> {
        let node = settings.node_name.clone();
        let told = NetworkNodeSources {
            facts: self.facts.clone(),
            settings: self.speaker_settings.clone(),
            tunnels,
            ends: derived::tunnel_ends(&self.surroundings, &self.used.subscribe(), &self.kernel),
            uplink_mtu: self.uplink_mtu.clone(),
            stored: self.cluster.network_nodes.clone(),
        };
        parts.add("network node", network_node::keep(Api::all(self.client.clone()), told));
        let (reading, readings) = watch::channel(Reading::default());
        parts.add("status", status::keep(sources.clone(), reading));
        let statuses = Api::all(self.client.clone());
        parts.add("publishing", publish::keep(statuses, node.clone(), readings.clone()));
        let (serves, serving) = watch::channel(false);
        parts.add("heartbeat", health::beat(settings.heartbeat(), sources.clone(), serves));
        parts.add("conflist", conflist::keep(settings.conflist(), serving, watch::Sender::default()));
        parts.add("metrics", ended(http::serve(metrics, sources)));
        let context = AdminContext {
            node,
            started: SystemTime::now(),
            speaker: self.speaker.clone(),
            ipam: self.ipam.clone(),
            journal: self.journal.clone(),
            cni,
            cluster: self.cluster.clone(),
            readings,
            features: Arc::clone(&self.features),
            surroundings: self.surroundings.clone(),
        };
        let listener = admin::bind(&settings.admin_socket())?;
        parts.add("admin", ended(admin::serve(listener, context)));
        Ok(())
    }
}

/// A kernel without nftables is told of in the node's conditions, and the rest goes on.
fn start_nftables(features: &Features) -> Option<Nftables> {
    if let Some(reason) = features.nftables.reason() {
        warn!(reason, "no nftables: natOutgoing is not carried out and tunnels are not guarded");
        return None;
    }
    Nftables::start(None)
        .inspect_err(|error| error!(%error, "natOutgoing is not carried out and tunnels are not guarded"))
        .ok()
}

/// The parts that run as long as the agent does.
#[derive(Default)]
struct Parts {
    running: JoinSet<&'static str>,
}

impl Parts {
    fn add(&mut self, name: &'static str, part: impl Future<Output = ()> + Send + 'static) {
        self.running.spawn(async move {
            part.await;
            name
        });
    }

    async fn first_to_end(&mut self) -> &'static str {
        match self.running.join_next().await {
            Some(Ok(name)) => name,
            Some(Err(_)) | None => "unknown",
        }
    }
}

/// A part that ends only by an error: the error is logged.
async fn ended<E: Into<anyhow::Error>>(part: impl Future<Output = Result<(), E>>) {
    if let Err(error) = part.await {
        error!("{:#}", error.into());
    }
}

/// What the run before left: read before anything is written.
async fn comeback(kernel: &Kernel, recovered: &Recovered) -> anyhow::Result<Comeback> {
    let adopted = kernel.routes().await.context("reading the routes of the run before")?;
    let adopted = adopted.into_iter().map(|(key, _)| key.destination);
    let comeback = Comeback::of(!recovered.blocks.is_empty(), recovered.rebooted, adopted);
    info!(restarted = comeback.restarted, forwarding = ?comeback.forwarding, "what the run before left");
    Ok(comeback)
}

/// The configuration before the node's addresses are known: no listener, no peer.
fn empty_config(node_name: &str, settings: &SpeakerSettings) -> Config {
    Config::new(settings.local_as, named_router_id(node_name))
}

fn make_folder(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("making folder {}; the agent runs as root", path.display()))
}

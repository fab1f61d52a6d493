//! The agent: builds the owners in an order that lets each start from what is on disk and in the kernel, and runs them.
//!
//! Journal, kernel, last good snapshots, CNI socket, speaker, watches: pods are served before the API server has
//! answered, and routes stand from the first moment because those of the run before are adopted.
//!
//! The agent is crash-only. SIGTERM, SIGKILL and a panic all mean a restart: sockets close without a Cease and the
//! kernel keeps its routes, so that nobody notices. A task that ends ends the process.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, bail};
use caracal_bgp::Config;
use caracal_bgp::speaker::Handle;
use caracal_linux::kernel::{self, Kernel};
use kube::Api;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info};

use crate::admin::{self, AdminContext};
use crate::attachments::Journal;
use crate::cluster::{Cluster, publish};
use crate::cni::{self, CniContext};
use crate::desired::speaker::{SpeakerSettings, named_router_id};
use crate::ipam::Ipam;
use crate::kernel::routes::{NotInstalledRoutes, RouteWriter};
use crate::kernel::{blackholes, sweep};
use crate::node::{forwarding, network_node};
use crate::peering::Peering;
use crate::settings::AgentSettings;
use crate::status::{self, Reading, StatusSources};
use crate::telemetry::{self, health, http};
use crate::{derived, ipam};

/// Ends of RIBs that may wait to be counted.
const ENDS: usize = 256;

/// Runs an agent until it is told to stop or a part of it ends.
///
/// # Errors
/// When it cannot start, or a part ends by itself: the message says which and why.
pub async fn run(settings: AgentSettings) -> anyhow::Result<()> {
    make_folder(&settings.run_dir, 0o755)?;
    make_folder(&settings.state_dir, 0o700)?;
    let (journal, recovered) = Journal::open(&settings.journal())?;
    let protocol = settings.route_protocol;
    let kernel = Kernel::start(kernel::Settings { protocol, ..kernel::Settings::default() })
        .context("starting the kernel's writer")?;
    let metrics = http::bind(settings.metrics_listen).await?;
    let client = settings.api.client().await?;
    let cluster = Cluster::start(&client, &settings.node_name, &settings.snapshots());
    let facts = derived::facts(&settings.node_name, &cluster, &kernel);
    let speaker_settings = derived::speaker_settings(&settings.node_name, &cluster);
    let surroundings = derived::surroundings(&cluster, &facts);
    let devices: Vec<_> = kernel.underlay().borrow().links.values().map(|link| link.name).collect();
    forwarding::enable(&devices)
        .context("turning on forwarding; the agent needs a writable /proc/sys/net")?;

    let mut parts = Parts::default();
    let ipam = Ipam::start(ipam::Start {
        node: settings.node_name.clone(),
        client: client.clone(),
        cluster: cluster.clone(),
        journal: journal.clone(),
        recovered: &recovered,
    });
    parts.add("blackholes", blackholes::keep(kernel.clone(), ipam.own_blocks(), protocol));
    let owners = cni::Owners {
        node: settings.node_name.as_str().into(),
        mtu: derived::pod_mtu(&cluster, &facts, &kernel),
        pools: cluster.ip_pools.clone(),
        ipam: ipam.clone(),
        journal: journal.clone(),
        kernel: kernel.clone(),
    };
    let cni_context = Arc::new(CniContext::new(owners, recovered.attachments)?);
    let found = cni::recover(&cni_context).await?;
    info!(living = found.living, freed = found.freed, "attachments of the run before");
    let cni_listener = cni::server::bind(&settings.cni_socket())?;
    parts.add("cni", ended(cni::server::serve(cni_listener, cni_context)));

    let speaker = Handle::start(empty_config(&settings.node_name, &speaker_settings.borrow()))
        .context("starting the BGP speaker")?;
    let (problems, problems_told) = watch::channel(Arc::new(Vec::new()));
    let not_installed = NotInstalledRoutes::default();
    let sources = StatusSources {
        speaker: speaker.clone(),
        ipam: ipam.clone(),
        journal: journal.clone(),
        kernel: kernel.clone(),
        cluster: cluster.clone(),
        facts: facts.clone(),
        problems: problems_told,
        not_installed: not_installed.clone(),
    };
    let peering = Peering {
        speaker: speaker.clone(),
        cluster: cluster.clone(),
        facts: facts.clone(),
        settings: speaker_settings.clone(),
        blocks: ipam.own_blocks(),
        problems,
    };
    parts.add("peering", peering.run());
    let (end_of_rib, ends) = mpsc::channel(ENDS);
    let writer = RouteWriter {
        feed: speaker.feed().await?,
        kernel: kernel.clone(),
        surroundings,
        protocol,
        not_installed,
        end_of_rib,
    };
    parts.add("routes", writer.run());
    parts.add("sweep", sweep::release_when_due(kernel.clone(), speaker.clone(), cluster.clone(), ends));
    let stored = cluster.network_nodes.clone();
    let network_nodes = Api::all(client.clone());
    parts.add("network node", network_node::keep(network_nodes, facts.clone(), speaker_settings, stored));
    let (reading, readings) = watch::channel(Reading::default());
    parts.add("status", status::keep(sources.clone(), reading));
    let statuses = Api::all(client);
    parts.add("publishing", publish::keep(statuses, settings.node_name.clone(), readings.clone()));
    parts.add("heartbeat", health::beat(settings.heartbeat(), sources.clone()));
    parts.add("metrics", ended(http::serve(metrics, sources)));
    let admin_context = AdminContext {
        node: settings.node_name.clone(),
        started: SystemTime::now(),
        speaker,
        ipam,
        journal: journal.clone(),
        cluster,
        readings,
    };
    let admin_listener = admin::bind(&settings.admin_socket())?;
    parts.add("admin", ended(admin::serve(admin_listener, admin_context)));
    info!(node = settings.node_name, "the agent is up");

    tokio::select! {
        told = telemetry::told_to_stop() => told.context("listening to signals")?,
        name = parts.first_to_end() => bail!("part '{name}' has ended: ending the agent, to be started anew"),
        () = kernel.stopped() => bail!("the kernel's writer has ended: ending the agent, to be started anew"),
    }
    info!("told to stop: leaving routes as they are, closing sessions without a word");
    journal.close().await;
    Ok(())
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

/// The configuration before the node's addresses are known: no listener, no peer.
fn empty_config(node_name: &str, settings: &SpeakerSettings) -> Config {
    let router_id = named_router_id(node_name);
    Config {
        local_as: settings.local_as,
        router_id,
        cluster_id: None,
        listen: Vec::new(),
        peers: BTreeMap::new(),
    }
}

fn make_folder(path: &Path, mode: u32) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .with_context(|| format!("making folder {}; the agent runs as root", path.display()))
}

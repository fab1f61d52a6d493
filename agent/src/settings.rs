//! What an agent or controller is told at start: flags, each of which is also an environment variable. No file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use caracal_cni::config::FeatureControl;
use clap::{Args, Parser};
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::cni::conflist;
use crate::desired::outgoing::OutgoingAddress;
use crate::node::detection::{Detection, Method};

/// How to reach the Kubernetes API.
#[derive(Args, Clone, Debug)]
pub struct ApiAccess {
    /// Kubeconfig of the API server; left out: the pod's service account.
    #[arg(long, env = "CARACAL_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,
}

/// Settings of the agent of one node.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "caracal-agent",
    version,
    about = "The caracal agent of one node: pods' addresses, routes and BGP sessions.",
    after_help = "Every flag can be given by its environment variable instead."
)]
pub struct AgentSettings {
    /// Name of this node in Kubernetes.
    #[arg(long, env = "CARACAL_NODE_NAME")]
    pub node_name: String,
    /// How to reach the Kubernetes API.
    #[command(flatten)]
    pub api: ApiAccess,
    /// Folder for sockets and the heartbeat; gone after a reboot.
    #[arg(long, env = "CARACAL_RUN_DIR", default_value = "/run/caracal")]
    pub run_dir: PathBuf,
    /// Folder for the journal and the last good state; kept over reboots.
    #[arg(long, env = "CARACAL_STATE_DIR", default_value = "/var/lib/caracal")]
    pub state_dir: PathBuf,
    /// Namespace of the agents, where the Secrets are that resources name.
    #[arg(long, env = "CARACAL_NAMESPACE", default_value = "caracal-system")]
    pub namespace: String,
    /// Address on which metrics and health are served by HTTP.
    #[arg(long, env = "CARACAL_METRICS_LISTEN", default_value = "127.0.0.1:9091")]
    pub metrics_listen: SocketAddr,
    /// Routing protocol number of our routes: 4 to 255, and no other program's (12 lists like BIRD's).
    #[arg(long, env = "CARACAL_ROUTE_PROTOCOL", default_value_t = 67, value_parser = clap::value_parser!(u8).range(4..))]
    pub route_protocol: u8,
    /// Routing protocol number of the routes to this node's own pods, if it is to be another: with 12 for all others, 3 lists
    /// as Calico's nodes do.
    #[arg(long, env = "CARACAL_POD_ROUTE_PROTOCOL", value_parser = clap::value_parser!(u8).range(3..))]
    pub pod_route_protocol: Option<u8>,
    /// How the node's IPv4 address is found: kubernetes-internal-ip, first-found, interface=REGEX,…, skip-interface=REGEX,…,
    /// cidr=CIDR,… or can-reach=ADDRESS.
    #[arg(
        long,
        env = "CARACAL_IP_AUTODETECTION_METHOD",
        value_name = "METHOD",
        default_value = "kubernetes-internal-ip"
    )]
    pub ip_autodetection_method: Method,
    /// The same for its IPv6 address.
    #[arg(
        long,
        env = "CARACAL_IP6_AUTODETECTION_METHOD",
        value_name = "METHOD",
        default_value = "kubernetes-internal-ip"
    )]
    pub ip6_autodetection_method: Method,
    /// The address that pods of pools with natOutgoing are seen by outside: auto (the node's own where it is on no uplink and
    /// routers by the uplink are told it, else the uplink's), uplink, node, or an address, or one of each family.
    #[arg(long, env = "CARACAL_NAT_OUTGOING_ADDRESS", value_name = "ADDRESS", default_value = "auto")]
    pub nat_outgoing_address: OutgoingAddress,
    /// Folder of the host's network configurations, where the one of caracal appears once the agent serves
    /// (/etc/cni/net.d); left out: none is written.
    #[arg(long, env = "CARACAL_CNI_CONF_DIR")]
    pub cni_conf_dir: Option<PathBuf>,
    /// Folder of the host's plugins: `portmap` is chained if it is there.
    #[arg(long, env = "CARACAL_CNI_BIN_DIR", default_value = "/opt/cni/bin")]
    pub cni_bin_dir: PathBuf,
    /// Whether the network configurations of other plugins are set aside (NAME.caracal_bak); false for meta plugins such as
    /// Multus.
    #[arg(long, env = "CARACAL_CNI_EXCLUSIVE", default_value_t = true, action = clap::ArgAction::Set)]
    pub cni_exclusive: bool,
    /// Let pods ask for floating addresses by the annotation floatingIPs.
    #[arg(long, env = "CARACAL_CNI_FLOATING_IPS")]
    pub cni_floating_ips: bool,
    /// Let pods ask by the annotation allowedSourcePrefixes for prefixes in whose name they may speak.
    #[arg(long, env = "CARACAL_CNI_ALLOWED_SOURCE_PREFIXES")]
    pub cni_allowed_source_prefixes: bool,
    /// Write logs as JSON lines.
    #[arg(long, env = "CARACAL_LOG_JSON")]
    pub log_json: bool,
}

impl AgentSettings {
    /// How the node's addresses are found.
    pub fn detection(&self) -> Detection {
        Detection { v4: self.ip_autodetection_method.clone(), v6: self.ip6_autodetection_method.clone() }
    }

    /// The socket the CNI plugin talks to.
    pub fn cni_socket(&self) -> PathBuf {
        self.run_dir.join("cni.sock")
    }

    /// Where the network configuration for runtimes goes, and from what it is made.
    pub fn conflist(&self) -> conflist::Place {
        conflist::Place {
            configurations: self.cni_conf_dir.clone(),
            plugins: self.cni_bin_dir.clone(),
            socket: self.cni_socket(),
            exclusive: self.cni_exclusive,
            features: FeatureControl {
                floating_ips: self.cni_floating_ips,
                allowed_source_prefixes: self.cni_allowed_source_prefixes,
            },
            backstop: conflist::BACKSTOP,
        }
    }

    /// The socket `caracalctl` talks to.
    pub fn admin_socket(&self) -> PathBuf {
        self.run_dir.join("admin.sock")
    }

    /// The file whose age tells the plugin that the agent can serve.
    pub fn heartbeat(&self) -> PathBuf {
        self.run_dir.join("heartbeat")
    }

    /// The journal of attachments.
    pub fn journal(&self) -> PathBuf {
        self.state_dir.join("journal.redb")
    }

    /// Where the last good state of each kind is kept.
    pub fn snapshots(&self) -> PathBuf {
        self.state_dir.join("snapshot")
    }
}

/// Settings of the controller.
#[derive(Parser, Clone, Debug)]
#[command(
    name = "caracal-controller",
    version,
    about = "The caracal controller: one leader per cluster judges pools and peers.",
    after_help = "Every flag can be given by its environment variable instead."
)]
pub struct ControllerSettings {
    /// How to reach the Kubernetes API.
    #[command(flatten)]
    pub api: ApiAccess,
    /// Name of this instance in the election; must differ between instances (a pod's name).
    #[arg(long, env = "CARACAL_IDENTITY")]
    pub identity: String,
    /// Namespace of the Lease by which the leader is elected.
    #[arg(long, env = "CARACAL_NAMESPACE", default_value = "caracal-system")]
    pub namespace: String,
    /// Seconds between finding that a Node is gone and freeing its blocks. Must be longer than agents go on without the
    /// API server (3600); shorter ones are for tests.
    #[arg(long, env = "CARACAL_QUARANTINE", value_name = "SECONDS", default_value_t = 5400)]
    pub quarantine: u64,
    /// Write logs as JSON lines.
    #[arg(long, env = "CARACAL_LOG_JSON")]
    pub log_json: bool,
}

impl ControllerSettings {
    /// How long after a Node was found gone its blocks are freed.
    pub fn quarantine(&self) -> Duration {
        Duration::from_secs(self.quarantine)
    }
}

impl ApiAccess {
    /// A client. Reads files only: whether the server answers shows with the first request.
    ///
    /// # Errors
    /// When the kubeconfig cannot be used, or there is neither one nor a service account.
    pub async fn client(&self) -> anyhow::Result<Client> {
        let config = match &self.kubeconfig {
            Some(path) => from_file(path).await?,
            None => Config::incluster().context(
                "no --kubeconfig is given and this is no pod with a service account: \
                 give --kubeconfig FILE (or CARACAL_KUBECONFIG)",
            )?,
        };
        Client::try_from(config).context("making a Kubernetes client")
    }
}

async fn from_file(path: &Path) -> anyhow::Result<Config> {
    let kubeconfig =
        Kubeconfig::read_from(path).with_context(|| format!("reading kubeconfig {}", path.display()))?;
    let mut config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
        .await
        .with_context(|| format!("using kubeconfig {}", path.display()))?;
    if config.cluster_url.scheme_str() == Some("http") {
        // Nothing is verified without TLS: a machine without CA certificates must not be refused for lacking them.
        config.root_cert.get_or_insert_default();
    }
    Ok(config)
}

//! The command line: verbs, options and their help.

use std::ffi::OsString;
use std::path::PathBuf;

use caracal_proto::DEFAULT_SOCKET;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::output::Format;

/// Look at a node and its network through the agent's administration socket.
#[derive(Debug, Parser)]
#[command(
    name = "caracalctl",
    version,
    propagate_version = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  caracalctl node status                 How this node and its peers fare
  caracalctl get ippools -o yaml         Pools as the agent knows them
  caracalctl bgp routes 10.244.1.0/26    Every path of one prefix, and why the others are not used
  caracalctl ipam show --blocks          Pools, and the blocks of this node
  caracalctl ipam check                  Addresses that are lost, doubled or unaccounted for in the cluster

Exit codes: 0 done; 1 the agent or the API server refused or failed; 2 wrong arguments; 3 the agent cannot be reached."
)]
pub(crate) struct Cli {
    /// Socket of the agent
    #[arg(long, global = true, env = "CARACAL_SOCKET", value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    /// How to print the answer
    #[arg(short, long, global = true, value_enum, value_name = "FORMAT", default_value_t)]
    pub(crate) output: Format,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show resources as the agent knows them
    Get(GetArgs),
    /// The node and its agent
    #[command(subcommand)]
    Node(NodeCommand),
    /// Peers and routes of the node's speaker
    #[command(subcommand)]
    Bgp(BgpCommand),
    /// Pools and blocks of addresses
    #[command(subcommand)]
    Ipam(IpamCommand),
    /// Join standard input and output to the agent's socket: how `ipam check --all-nodes` of another machine asks here
    Pipe,
    /// Show the versions of this program and of the agent
    Version(VersionArgs),
    /// Print a completion script
    #[command(after_help = "\
Examples:
  source <(caracalctl completion bash)
  caracalctl completion zsh > \"${fpath[1]}/_caracalctl\"
  caracalctl completion fish > ~/.config/fish/completions/caracalctl.fish")]
    Completion {
        /// The shell to complete for
        #[arg(value_enum)]
        shell: CompletionShell,
    },
    /// Write the manual pages into a folder
    #[command(hide = true)]
    GenerateMan {
        /// The folder, made if it does not exist
        folder: PathBuf,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Kinds: nodes (nn), ippools (ipp), blocks (ipb), bgppeers (bgpp), bgpfilters (bgpf), bgpconfigurations (bgpconfig), ipamconfigs (ipamconfig),
ipreservations (ipr);
plural, singular, short and Calico's spellings, in any case.

Examples:
  caracalctl get nodes
  caracalctl get ippools,bgppeers -o wide
  caracalctl get ippool default-ipv4 -o yaml

With -o json and -o yaml one named resource is printed as it is; otherwise a List with items.")]
pub(crate) struct GetArgs {
    /// Kinds to show, separated by commas
    #[arg(value_name = "KIND[,KIND…]")]
    pub(crate) kinds: String,
    /// Only these resources
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// How the node, its agent and its BGP sessions fare
    #[command(after_help = "\
Examples:
  caracalctl node status
  caracalctl node status -o json")]
    Status,
    /// What the node's kernel can do, and whether the pools ask for more
    #[command(after_help = "\
The agent has tried each feature when it started. The exit code is 1 where one is missing that is needed.

Examples:
  caracalctl node checksystem
  caracalctl node checksystem -o json")]
    Checksystem,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BgpCommand {
    /// List the peers and their sessions
    #[command(
        visible_alias = "peer",
        after_help = "\
RECEIVED, ACCEPTED and ADVERTISED count the routes of all families; -o wide adds the families, the router id, the hold
time and the last error.

Examples:
  caracalctl bgp peers
  caracalctl bgp peers -o wide"
    )]
    Peers,
    /// List every path of every prefix, with the reason why it is not used
    #[command(
        visible_alias = "route",
        after_help = "\
A '*' marks the paths in use. REASON tells why another path is not.

Examples:
  caracalctl bgp routes
  caracalctl bgp routes 10.244.1.0/26
  caracalctl bgp routes --family ipv6 --peer node-2"
    )]
    Routes(RoutesArgs),
    /// Show all that is known of one peer, and what was faulty in what it sent
    #[command(visible_alias = "neighbour", after_help = "Example:\n  caracalctl bgp neighbor node-2")]
    Neighbor(PeerArgs),
    /// List the paths that BFD watches
    #[command(after_help = "\
SENDS is how often packets are sent, DETECTS after how much silence the path is down; -o wide adds the discriminators of both
ends and the packets in and out.

Examples:
  caracalctl bgp bfd
  caracalctl bgp bfd -o json")]
    Bfd,
    /// End the session of a peer and start it anew
    #[command(after_help = "Example:\n  caracalctl bgp reset node-2 --message 'new cables'")]
    Reset(FarewellArgs),
    /// End the session of a peer and keep it down
    #[command(after_help = "Example:\n  caracalctl bgp stop node-2 --message 'back at noon'")]
    Stop(FarewellArgs),
    /// Let the session of a peer come up that was stopped, or that a limit of prefixes keeps down
    #[command(after_help = "Example:\n  caracalctl bgp start node-2")]
    Start(PeerArgs),
    /// Exchange all routes with a peer again; the session stays
    #[command(after_help = "Example:\n  caracalctl bgp refresh 172.30.0.12")]
    Refresh(PeerArgs),
}

#[derive(Debug, Args)]
pub(crate) struct RoutesArgs {
    /// Only this prefix, such as 10.244.1.0/26
    pub(crate) prefix: Option<String>,
    /// Only this address family
    #[arg(long, value_enum)]
    pub(crate) family: Option<FamilyArg>,
    /// Only paths of this peer (address or name)
    #[arg(long, value_name = "PEER")]
    pub(crate) peer: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct PeerArgs {
    /// The peer: its address, or its name
    pub(crate) peer: String,
}

#[derive(Debug, Args)]
pub(crate) struct FarewellArgs {
    /// The peer: its address, or its name
    pub(crate) peer: String,
    /// Words for the operator of the peer, at most 255 octets (RFC 9003)
    #[arg(long)]
    pub(crate) message: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum FamilyArg {
    /// IPv4 unicast
    #[value(alias = "4", alias = "v4")]
    Ipv4,
    /// IPv6 unicast
    #[value(alias = "6", alias = "v6")]
    Ipv6,
}

#[derive(Debug, Subcommand)]
pub(crate) enum IpamCommand {
    /// Show the pools and how much of them is in use
    #[command(after_help = "\
IPS IN USE counts the whole cluster, as the controller published it last ('-' before it did); the rows of blocks are
live and of this node only.

Examples:
  caracalctl ipam show
  caracalctl ipam show --blocks
  caracalctl ipam show --borrowed
  caracalctl ipam show --ip 10.244.1.7")]
    Show(ShowArgs),
    /// Look for what does not fit together among blocks, pools, nodes and pods
    #[command(after_help = "\
Asks the API server with your own rights, and the agent of this machine if one runs here; with --all-nodes those of
all nodes. What a node has given is published some seconds later, so what time may explain is looked at twice.

--fix asks again right before each change, and frees nothing that a pod, a device or a Node still has. What an agent
holds is released by that agent only. The exit code is 1 while problems are left, or an agent was not reached.

Examples:
  caracalctl ipam check
  caracalctl ipam check -o wide
  caracalctl ipam check -o report.json
  caracalctl ipam check --all-nodes
  caracalctl ipam check --all-nodes --through 'ssh {node} caracalctl pipe'
  caracalctl ipam check --fix")]
    Check(CheckArgs),
    /// Free addresses that nobody uses
    #[command(after_help = "\
Only what `ipam check` finds to be leaked now is released, whatever the report says. Of several reports the addresses
count that are in all of them.

Examples:
  caracalctl ipam release --ip 10.244.1.7
  caracalctl ipam check -o report.json
  caracalctl ipam release --from-report report.json")]
    Release(ReleaseArgs),
    /// Show or change how nodes claim and share blocks (IPAMConfig `default`)
    #[command(after_help = "\
Examples:
  caracalctl ipam configure show
  caracalctl ipam configure --strictaffinity=false
  caracalctl ipam configure --max-blocks-per-host 8 --ip-cooldown-seconds 60")]
    Configure(ConfigureArgs),
    /// Make several pools of one
    #[command(after_help = "\
The new pools are named split-POOL-0, split-POOL-1 … and have the settings of the old one, which is deleted once they
serve. Pods keep their addresses and nodes their blocks, and new pods come all the while. Run it again if it was
interrupted.

Examples:
  caracalctl ipam split 4 --name pods-v4
  caracalctl ipam split 2 --cidr 10.244.0.0/16")]
    Split(SplitArgs),
}

/// How to reach the Kubernetes API.
#[derive(Debug, Args)]
pub(crate) struct ClusterArgs {
    /// Kubeconfig; left out: KUBECONFIG, ~/.kube/config, or a pod's service account
    #[arg(long, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
}

/// How another node's agent is reached unless something else is said.
pub(crate) const THROUGH: &str =
    "kubectl --namespace {namespace} exec --stdin {pod} --container agent -- caracalctl pipe";

/// Which agents are asked.
#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    /// Ask the agents of all nodes
    #[arg(long)]
    pub(crate) all_nodes: bool,
    /// How to reach one, without a shell: a command that ends in `caracalctl pipe` there. {node}, {pod} and {namespace} are the
    /// node's and its agent's
    #[arg(long, value_name = "COMMAND", requires = "all_nodes", default_value = THROUGH)]
    pub(crate) through: String,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) nodes: NodesArgs,
    /// Do away with what can be done away with
    #[arg(long)]
    pub(crate) fix: bool,
    /// Write the whole report into this file too (JSON); `-o FILE.json` means the same
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Seconds until the second look; 0: look once
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub(crate) again: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    #[command(flatten)]
    pub(crate) nodes: NodesArgs,
    /// An address; may be given several times
    #[arg(long, value_name = "ADDRESS", required_unless_present = "from_report")]
    pub(crate) ip: Vec<std::net::IpAddr>,
    /// A report of `ipam check`; may be given several times
    #[arg(long, value_name = "FILE")]
    pub(crate) from_report: Vec<PathBuf>,
    /// Seconds until the second look; 0: look once
    #[arg(long, value_name = "SECONDS", default_value_t = 15)]
    pub(crate) again: u64,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigureArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// Change nothing
    #[arg(value_parser = ["show"], conflicts_with_all = ["strictaffinity", "max_blocks_per_host", "auto_allocate_blocks", "ip_cooldown_seconds"])]
    pub(crate) show: Option<String>,
    /// Whether only a block's owner gives out its addresses
    #[arg(long, alias = "strict-affinity", value_name = "BOOL", required_unless_present_any = ["show", "max_blocks_per_host", "auto_allocate_blocks", "ip_cooldown_seconds"])]
    pub(crate) strictaffinity: Option<bool>,
    /// Most blocks that a node may own in one family; 0: no limit
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(..=10_000))]
    pub(crate) max_blocks_per_host: Option<u32>,
    /// Whether nodes claim blocks by themselves
    #[arg(long, value_name = "BOOL")]
    pub(crate) auto_allocate_blocks: Option<bool>,
    /// How long a freed address rests, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(..=1200))]
    pub(crate) ip_cooldown_seconds: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct SplitArgs {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,
    /// How many pools: 2, 4, 8 …
    pub(crate) number: u32,
    /// The pool, by its name
    #[arg(long, value_name = "POOL", required_unless_present = "cidr", conflicts_with = "cidr")]
    pub(crate) name: Option<String>,
    /// The pool, by its range
    #[arg(long, value_name = "CIDR")]
    pub(crate) cidr: Option<ipnetwork::IpNetwork>,
    /// How long to wait for the controller, which judges the new pools, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) within: u64,
}

/// The words of the command line. `ipam check -o FILE.json` writes its report there, as people know it from `calicoctl`.
pub(crate) fn words(given: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = given.collect();
    let is = |word: Option<&OsString>, text: &str| word.is_some_and(|word| word == text);
    let checks = words.windows(2).any(|two| is(two.first(), "ipam") && is(two.get(1), "check"));
    let file = |word: &OsString| PathBuf::from(word).extension().is_some_and(|extension| extension == "json");
    for at in 1..words.len() {
        let follows = matches!(words.get(at - 1).and_then(|w| w.to_str()), Some("-o" | "--output"));
        if checks && follows && words.get(at).is_some_and(file) {
            words[at - 1] = "--report".into();
        }
    }
    words
}

#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Show the blocks of this node too
    #[arg(long, alias = "show-blocks")]
    pub(crate) blocks: bool,
    /// Show only addresses that this node borrows from blocks of others
    #[arg(long, alias = "show-borrowed", conflicts_with_all = ["blocks", "ip"])]
    pub(crate) borrowed: bool,
    /// Show who has this address on this node
    #[arg(long, value_name = "ADDRESS", conflicts_with = "blocks")]
    pub(crate) ip: Option<std::net::IpAddr>,
    /// Only this pool (name)
    #[arg(long, value_name = "POOL")]
    pub(crate) pool: Option<String>,
    /// Only blocks that this node owns (its own, or one that it borrows from)
    #[arg(long, value_name = "NODE")]
    pub(crate) node: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct VersionArgs {
    /// Do not ask the agent
    #[arg(long)]
    pub(crate) client: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum CompletionShell {
    /// GNU Bourne-again shell
    Bash,
    /// Z shell
    Zsh,
    /// Friendly interactive shell
    Fish,
}

impl From<CompletionShell> for Shell {
    fn from(shell: CompletionShell) -> Self {
        match shell {
            CompletionShell::Bash => Shell::Bash,
            CompletionShell::Zsh => Shell::Zsh,
            CompletionShell::Fish => Shell::Fish,
        }
    }
}

//! The command line: verbs, options and their help.

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

Exit codes: 0 done; 1 the agent refused or failed; 2 wrong arguments; 3 the agent cannot be reached."
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

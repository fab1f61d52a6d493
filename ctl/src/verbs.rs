//! One verb is one file.

mod bgp_bfd;
mod bgp_neighbor;
mod bgp_peers;
mod bgp_refresh;
mod bgp_reset;
mod bgp_routes;
mod bgp_stop;
mod completion;
mod generate_man;
mod get;
mod ipam_check;
mod ipam_configure;
mod ipam_fix;
mod ipam_release;
mod ipam_show;
mod ipam_split;
mod node_checksystem;
mod node_status;
mod pipe;
mod time;
mod version;

use crate::arguments::{BgpCommand, Cli, Command, IpamCommand, NodeCommand};
use crate::connection;
use crate::failure::Failure;
use crate::output::print;

/// Does what the command line says.
pub(crate) async fn run(cli: Cli) -> Result<(), Failure> {
    let (socket, format) = (&cli.socket, cli.output);
    match cli.command {
        Command::Get(args) => {
            let selection = get::selection(&args)?;
            print(&get::ask(connection::open(socket).await?, selection).await?, format)
        }
        Command::Node(NodeCommand::Status) => {
            print(&node_status::ask(connection::open(socket).await?).await?, format)
        }
        Command::Node(NodeCommand::Checksystem) => {
            let system = node_checksystem::ask(connection::open(socket).await?).await?;
            print(&system, format)?;
            system.verdict()
        }
        Command::Bgp(BgpCommand::Peers) => {
            print(&bgp_peers::ask(connection::open(socket).await?).await?, format)
        }
        Command::Bgp(BgpCommand::Bfd) => print(&bgp_bfd::ask(connection::open(socket).await?).await?, format),
        Command::Bgp(BgpCommand::Routes(args)) => {
            print(&bgp_routes::ask(connection::open(socket).await?, args).await?, format)
        }
        Command::Bgp(BgpCommand::Reset(args)) => {
            print(&bgp_reset::ask(connection::open(socket).await?, args.peer, args.message).await?, format)
        }
        Command::Bgp(BgpCommand::Neighbor(args)) => {
            print(&bgp_neighbor::ask(connection::open(socket).await?, args.peer).await?, format)
        }
        Command::Bgp(BgpCommand::Stop(args)) => {
            print(&bgp_stop::stop(connection::open(socket).await?, args.peer, args.message).await?, format)
        }
        Command::Bgp(BgpCommand::Start(args)) => {
            print(&bgp_stop::start(connection::open(socket).await?, args.peer).await?, format)
        }
        Command::Bgp(BgpCommand::Refresh(args)) => {
            print(&bgp_refresh::ask(connection::open(socket).await?, args.peer).await?, format)
        }
        Command::Ipam(IpamCommand::Show(args)) => {
            print(&ipam_show::ask(connection::open(socket).await?, args).await?, format)
        }
        Command::Ipam(IpamCommand::Check(args)) => {
            let report = ipam_check::ask(socket, &args).await?;
            print(&report, format)?;
            report.verdict()
        }
        Command::Ipam(IpamCommand::Release(args)) => {
            let released = ipam_release::ask(socket, &args).await?;
            print(&released, format)?;
            released.verdict()
        }
        Command::Ipam(IpamCommand::Configure(args)) => print(&ipam_configure::ask(&args).await?, format),
        Command::Ipam(IpamCommand::Split(args)) => print(&ipam_split::ask(&args).await?, format),
        Command::Pipe => pipe::run(socket),
        Command::Version(args) => version::run(socket, args.client, format).await,
        Command::Completion { shell } => completion::run(shell),
        Command::GenerateMan { folder } => generate_man::run(&folder),
    }
}

//! `cargo compare`: caracal beside what people would use instead, on one machine, in one run.
//!
//! What is compared gets the same load, in turns, over several rounds: the machine's other business then hits everyone
//! alike. Figures are medians with their spread, CPU time besides time on the clock, and the ratio to the best of the
//! others. The generator and what is measured run on disjoint CPUs, and the generator measures itself against a sink
//! first, so that no figure is the tester's.

mod bgp;
mod cni;
mod cpus;
mod folder;
mod generator;
mod load;
mod mesh;
mod micro;
mod path;
mod place;
mod process;
mod relay;
mod report;
mod routes;
mod subject;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Compare caracal with what people would use instead
#[derive(Debug, Parser)]
#[command(name = "cargo compare", version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// BGP speakers: caracal-bgpd, BIRD, FRR, GoBGP, OpenBGPD
    #[command(after_help = "\
Loads:
  a  10 peers of other ASes, 100000 prefixes each: until every peer has all
  b  50 peers, 20000 prefixes each
  c  2 peers, 1000000 prefixes each
  d  a reflector with 1000 clients, one prefix each: from the first dial until every client has all
  e  the same with 5000 clients
  f  one peer with 1000000 prefixes of which 1 % a second are withdrawn and announced again, for 30 s
  g  the peers of (a) drop all at once and return: until every peer has all again
  h  (f) for 60 s beside a third peer that does not read all the while
  i  (a) for IPv6, over sessions of IPv6

Examples:
  cargo compare bgp
  cargo compare bgp --loads d,f --rounds 5 --json bgp.json
  cargo compare bgp --scale 0.1 --subjects caracal,bird")]
    Bgp(Bgp),
    /// A full mesh of many speakers on one machine: caracal-bgpd, BIRD
    #[command(after_help = "\
Until each speaker has the two prefixes of each other one; time, and CPU time and memory of all together.

Examples:
  cargo compare mesh
  cargo compare mesh --speakers 20 --rounds 5 --json mesh.json")]
    Mesh(Mesh),
    /// What the smallest parts of the speaker cost in instructions, as callgrind counts them
    #[command(after_help = "\
The benchmarks of bgp/benches/micro, each run once under valgrind: the figures are the same on every run, and on a busy
machine. Their times:
  cargo bench -p caracal-bgp --bench micro")]
    Micro(Micro),
    /// CNI plugins: caracal, and the stock ptp and bridge with host-local
    #[command(after_help = "\
Loads:
  a  one pod after the other: ADD and DEL, CPU time for an ADD, and the steps of an ADD in the agent
  b  50 pods at once
  c  8 at a time come and go beside 40 that stand
  d  110 pods at once
  e  100 pods at once

Examples:
  cargo compare cni
  cargo compare cni --loads a --rounds 9 --json cni.json")]
    Cni(Cni),
    /// IPAM plugins: caracal and host-local as ptp asks them, one by one and 100 at once; and caracal's allocator in process
    Ipam(Ipam),
    /// Routes into the kernel: caracal, `ip -batch`, BIRD
    #[command(after_help = "\
Cases:
  routes written      by caracal's kernel thread, by `ip -batch` with a file, by BIRD's kernel protocol: installed,
                      changed to another gateway, removed
  prefixes announced  by a BGP peer to caracal-bgpd and BIRD: until the kernel has all, and how long one takes after

Examples:
  cargo compare routes
  cargo compare routes --routes 10000 --rounds 9 --json routes.json")]
    Routes(Routes),
    /// What an agent costs while nothing happens: CPU time with many routes that a router has announced, BFD off
    #[command(after_help = "\
Examples:
  cargo compare idle
  cargo compare idle --routes 500000 --seconds 600 --json idle.json")]
    Idle(Idle),
    /// Packets between pods of two nodes: throughput and round trips, caracal's path and the same made by hand
    #[command(after_help = "\
Ways:
  direct  packets as they are
  vxlan   all in VXLAN
  ipip    all in IPIP, where the kernel has it (--vm: in a virtual machine with Debian's kernel, which has)

Examples:
  cargo compare path
  cargo compare path --ways direct --seconds 5 --json path.json
  cargo compare path --vm")]
    Path(Path),
    /// The kernel's writer, told by its standard input
    #[command(hide = true)]
    Install {
        /// How many routes
        routes: u32,
    },
    /// The sink that the generator measures itself against
    #[command(hide = true)]
    Relay {
        /// Where it listens
        listen: SocketAddr,
    },
}

/// What is compared, how often, how big.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Bgp {
    /// The loads, by their letters
    #[arg(long, value_delimiter = ',', default_value = "a,b,d,f")]
    loads: Vec<String>,
    /// The subjects: relay (the generator's own ceiling), caracal, bird, frr, gobgp, openbgpd
    #[arg(long, value_delimiter = ',', default_value = "relay,caracal,bird,frr,gobgp,openbgpd")]
    subjects: Vec<String>,
    /// How often each is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// A factor for the number of prefixes, or of clients (d, e)
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Longest time for one measurement, in seconds
    #[arg(long, default_value_t = 300)]
    limit: u64,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The daemon to be measured
    #[arg(long, value_name = "FILE", env = "CARACAL_BGPD")]
    daemon: Option<PathBuf>,
}

/// How large a mesh, of whom, how often.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Mesh {
    /// How many speakers
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=1000))]
    speakers: u32,
    /// The subjects: caracal, bird
    #[arg(long, value_delimiter = ',', default_value = "caracal,bird")]
    subjects: Vec<String>,
    /// How often each is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Longest time for one measurement, in seconds
    #[arg(long, default_value_t = 120)]
    limit: u64,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The daemon to be measured
    #[arg(long, value_name = "FILE", env = "CARACAL_BGPD")]
    daemon: Option<PathBuf>,
}

/// Where counts go.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Micro {
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What is compared, how often.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Cni {
    /// The loads, by their letters
    #[arg(long, value_delimiter = ',', default_value = "a,b,c,d")]
    loads: Vec<String>,
    /// The subjects: caracal, caracal-no-api (while the API server is stopped), ptp, bridge
    #[arg(long, value_delimiter = ',', default_value = "caracal,caracal-no-api,ptp,bridge")]
    subjects: Vec<String>,
    /// How often each is measured, after one round to warm up
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Whether the allocator is measured without plugins, too
    #[arg(skip)]
    in_process: bool,
}

/// How often addresses are compared.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Ipam {
    /// How often each is measured, after one round to warm up
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl From<Ipam> for Cni {
    fn from(asked: Ipam) -> Self {
        let own = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        Self {
            loads: own(["a", "e"]),
            subjects: own(["caracal-ipam", "host-local"]),
            rounds: asked.rounds,
            json: asked.json,
            in_process: true,
        }
    }
}

/// What is written, by whom, how often.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Routes {
    /// How many routes
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    routes: u32,
    /// The subjects: caracal, ip, bird
    #[arg(long, value_delimiter = ',', default_value = "caracal,ip,bird")]
    subjects: Vec<String>,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Longest time for one step, in seconds
    #[arg(long, default_value_t = 120)]
    limit: u64,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The daemon to be measured
    #[arg(long, value_name = "FILE", env = "CARACAL_BGPD")]
    daemon: Option<PathBuf>,
}

/// How many routes, for how long.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Idle {
    /// How many routes
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    routes: u32,
    /// For how long nothing happens, in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// How often that is measured, one after the other
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// Longest time until the routes are in the kernel, in seconds
    #[arg(long, default_value_t = 120)]
    limit: u64,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// By which ways, how long, how often.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Path {
    /// The ways: direct, vxlan, ipip
    #[arg(long, value_delimiter = ',', default_value = "direct,vxlan,ipip")]
    ways: Vec<String>,
    /// How often each is measured, after one round to warm up
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..))]
    rounds: u16,
    /// For how long is sent each time, in seconds
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many questions are asked each time
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    round_trips: u32,
    /// Where the figures go as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().what {
        What::Bgp(asked) => bgp::run(&asked),
        What::Mesh(asked) => mesh::run(&asked),
        What::Micro(asked) => micro::run(&asked),
        What::Cni(asked) => cni::run(&asked),
        What::Ipam(asked) => cni::run(&asked.into()),
        What::Routes(asked) => routes::run(&asked),
        What::Idle(asked) => routes::idle(&asked),
        What::Path(asked) => path::run(&asked),
        What::Install { routes } => routes::install(routes),
        What::Relay { listen } => relay::run(listen),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

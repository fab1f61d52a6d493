//! The program: command line, logs, exit code.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use caracal_bgpd::daemon;
use caracal_bgpd::settings::Settings;
use clap::Parser;
use tracing_subscriber::EnvFilter;

/// A BGP router from one file
#[derive(Debug, Parser)]
#[command(
    name = "caracal-bgpd",
    version,
    after_help = "\
Signals:
  SIGHUP           read the file again; a file with a mistake is refused whole, and the present one goes on
  SIGTERM, SIGINT  end every session with Cease, remove the routes from the kernel, exit
  SIGUSR1          close every session without a word, leave the routes to the next run, exit

Examples:
  caracal-bgpd --config /etc/caracal/bgpd.toml --check
  caracal-bgpd --config /etc/caracal/bgpd.toml
  caracalctl bgp peers --socket /run/caracal/bgpd.sock

Logs go to stderr; RUST_LOG sets what is told (default: info).
Exit codes: 0 told to stop, or the file is good; 1 it could not run; 2 wrong arguments or a mistake in the file."
)]
struct Arguments {
    /// The configuration, in TOML
    #[arg(long, env = "CARACAL_BGPD_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// Say whether the configuration is good, and end
    #[arg(long)]
    check: bool,
    /// Write logs as JSON, one object a line
    #[arg(long)]
    log_json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let settings = match Settings::read(&arguments.config) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(2);
        }
    };
    if arguments.check {
        let (peers, prefixes) = (settings.config.peers.len(), settings.originate.len());
        println!("{}: good: {peers} peers, {prefixes} own prefixes", arguments.config.display());
        return ExitCode::SUCCESS;
    }
    log(arguments.log_json);
    match run(arguments.config, settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: PathBuf, settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(daemon::run(path, settings))
}

/// Logs to stderr; a panic anywhere ends the process, since a half-dead router is worse than one started anew.
fn log(json: bool) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,netlink_proto=warn,hyper=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let set = if json { logs.json().try_init() } else { logs.with_ansi(false).try_init() };
    if let Err(error) = set {
        eprintln!("logs go nowhere: {error}");
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::abort();
    }));
}

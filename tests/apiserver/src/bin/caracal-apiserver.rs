//! The lab's Kubernetes API server as a program.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use caracal_apiserver::{Options, Server};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// A Kubernetes API server for labs and tests: in memory, without authentication, with faults on demand.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Settings {
    /// Address of the API; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:6443", env = "CARACAL_APISERVER_LISTEN")]
    listen: SocketAddr,
    /// Address of the side door /lab/… that stays open while the API is down
    #[arg(long, env = "CARACAL_APISERVER_CONTROL")]
    control: Option<SocketAddr>,
    /// Directory (or file) of CustomResourceDefinitions to serve
    #[arg(long, value_name = "DIR")]
    crds: Vec<PathBuf>,
    /// File (or directory) of objects to begin with
    #[arg(long, value_name = "FILE")]
    load: Vec<PathBuf>,
    /// Where to write a kubeconfig for this server
    #[arg(long, value_name = "FILE")]
    write_kubeconfig: Option<PathBuf>,
    /// Changes kept for each resource; what is older is 410 Gone
    #[arg(long, default_value_t = Options::default().history)]
    history: usize,
    /// A watch ends after at most so many seconds
    #[arg(long, default_value_t = Options::default().watch_limit.as_secs())]
    watch_limit: u64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let settings = Settings::parse();
    let options = Options {
        listen: settings.listen,
        control: settings.control,
        crds: settings.crds,
        load: settings.load,
        history: settings.history,
        watch_limit: Duration::from_secs(settings.watch_limit.max(1)),
        ..Options::default()
    };
    // Before anything is served, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    let server = Server::start(options).await?;
    if let Some(path) = &settings.write_kubeconfig {
        let written = std::fs::write(path, server.kubeconfig());
        written.with_context(|| format!("cannot write the kubeconfig {}", path.display()))?;
    }
    println!("{}", server.url());
    tokio::select! {
        _ = terminate.recv() => {}
        result = tokio::signal::ctrl_c() => result.context("cannot listen for Ctrl-C")?,
    }
    server.stop().await;
    Ok(())
}

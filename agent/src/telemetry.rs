//! What the processes tell: logs, metrics, health.

pub mod health;
pub mod http;
pub mod metrics;

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Filter when `RUST_LOG` says nothing.
const DEFAULT_FILTER: &str =
    "info,kube_client=warn,kube_runtime=warn,netlink_proto=warn,hyper=warn,tower=warn";

/// Sets up the process: logs to stderr, TLS by ring, and a panic anywhere ends the process, since a half-dead agent is
/// worse than a restarted one.
pub fn start(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let set = if json { logs.json().try_init() } else { logs.with_ansi(false).try_init() };
    if let Err(error) = set {
        eprintln!("logs go nowhere: {error}");
    }
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        std::process::abort();
    }));
}

/// Returns when the process is told to stop (SIGTERM or SIGINT).
///
/// # Errors
/// When signals cannot be listened to.
pub async fn told_to_stop() -> io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Returns when the agent is told that its node leaves the network for good (SIGQUIT).
///
/// # Errors
/// When signals cannot be listened to.
pub async fn told_to_leave() -> io::Result<()> {
    signal(SignalKind::quit())?.recv().await;
    Ok(())
}

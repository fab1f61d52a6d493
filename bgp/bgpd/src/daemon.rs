//! The daemon: starts the owners in order, runs them, and ends them in words.
//!
//! SIGTERM and SIGINT are a stop: sessions end with Cease, Administrative Shutdown (RFC 4486), so that peers drop the
//! routes at once, and the routes in the kernel go. A killed daemon leaves both to the next run; SIGUSR1 is that without
//! violence, for a daemon that is about to be started anew.

use std::fs;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use caracal_bgp::speaker::{Farewell, Handle};
use caracal_bgp::wire::notification::Cease;
use caracal_bgp_underlay::neighbours::{Sightings, placed};
use caracal_bgp_underlay::{Host, next_hops, without_carrier};
use caracal_linux::kernel::{self, Kernel, Underlay};
use caracal_linux::root_socket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{debug, error, info, warn};

use crate::fib::Fib;
use crate::pulse::Pulse;
use crate::reload::{self, Reload};
use crate::restart::Comeback;
use crate::settings::Settings;
use crate::socket;

/// Runs until told to stop.
///
/// # Errors
/// When the daemon cannot start, or a part of it ends by itself: the message says which and why.
pub async fn run(path: PathBuf, settings: Settings) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut restart = signal(SignalKind::user_defined1()).context("listening for SIGUSR1")?;
    let hang_ups = signal(SignalKind::hangup()).context("listening for SIGHUP")?;

    let pulse = Pulse::start();
    let kernel = kernel(&settings)?;
    let (nothing, no_underlay) = watch::channel(Arc::new(Underlay::default()));
    let underlay = kernel.as_ref().map_or(no_underlay, Kernel::underlay);
    let comeback = match kernel.as_ref().filter(|_| settings.fib.is_some()) {
        Some(kernel) => Comeback::look(kernel).await.context("looking for routes of an earlier run")?,
        None => Comeback::NOTHING,
    };
    let around = underlay.borrow().clone();
    let config = next_hops::filled(&placed(&settings.config, &around, &Sightings::new()), &around);
    let config = comeback.told(config);
    if let Some(directory) = &settings.run_directory {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    let beginning = comeback.beginning(settings.run_directory.as_deref());
    let speaker = Handle::begin(config.clone(), beginning)?;
    reload::originate(&speaker, &settings.originate).await?;
    speaker.announced().await?;
    let answering = match &settings.socket {
        Some(socket) => Some(socket::serve(root_socket::bind(socket)?, speaker.clone())),
        None => None,
    };
    let fib = match kernel.clone().filter(|_| settings.fib.is_some()) {
        Some(kernel) => {
            // What cannot be reached must not be used; a daemon that only passes routes on need not reach their next hops.
            let mut host = Host::new(&kernel, without_carrier);
            host.tell(&speaker).await?;
            tokio::spawn(host.follow(speaker.clone()));
            Some(Writer::start(speaker.clone(), kernel).await?)
        }
        None => None,
    };
    let mut reload = Reload::new(path, speaker.clone(), underlay, settings, config, comeback);
    info!(r#as = %reload.local_as(), peers = reload.peers(), "caracal-bgpd is up");

    let (told, writing) = match fib {
        Some(Writer { stop, task }) => (Some(stop), Some(task)),
        None => (None, None),
    };
    let mut writing = writing;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        _ = restart.recv() => {
            info!("told to restart: closing every session without a word, and leaving the routes to the next run");
            speaker.restarting().await;
            // Before the sessions end, so that it does not take away the routes of sessions that end.
            leave(writing).await;
            reload.stop().await;
            speaker.stop(Farewell::Silent).await;
            tell(pulse).await;
            return Ok(());
        }
        () = reload.run(hang_ups) => bail!("the configuration's keeper has ended: ending, to be started anew"),
        () = ended(&mut writing) => bail!("the writer of kernel routes has ended: ending, to be started anew"),
        error = served(answering) => return Err(error),
    }
    drop(nothing);
    reload.stop().await;
    info!("told to stop: ending every session with Cease and removing the routes");
    speaker.stop(Farewell::Cease(Cease::Shutdown)).await;
    if let (Some(stop), Some(task)) = (told, writing) {
        if stop.send(()).is_err() {
            warn!("the writer of kernel routes had ended already: its routes may still be there");
        }
        task.await.context("removing the routes")?;
    }
    tell(pulse).await;
    Ok(())
}

/// Says how late timers were.
async fn tell(pulse: Pulse) {
    if let Some(lateness) = pulse.end().await {
        let [p99_ms, worst_ms] = [99, 100].map(|of_hundred| lateness.percentile(of_hundred));
        debug!(beats = lateness.beats(), p99_ms, worst_ms, "how late timers were");
    }
}

/// The task that writes kernel routes.
struct Writer {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Writer {
    async fn start(speaker: Handle, kernel: Kernel) -> anyhow::Result<Writer> {
        let (stop, told) = oneshot::channel();
        let fib = Fib { feed: speaker.feed().await?, speaker, kernel };
        Ok(Writer { stop, task: tokio::spawn(fib.run(told)) })
    }
}

/// Ends the writer at once, with all it has written as it is.
async fn leave(writing: Option<JoinHandle<()>>) {
    let Some(task) = writing else { return };
    task.abort();
    if let Err(failure) = task.await
        && !failure.is_cancelled()
    {
        error!("the writer of kernel routes: {failure}");
    }
}

/// Returns when the task ends; never where there is none.
async fn ended(task: &mut Option<JoinHandle<()>>) {
    match task {
        Some(task) => {
            if let Err(failure) = task.await {
                error!("the writer of kernel routes: {failure}");
            }
        }
        None => std::future::pending().await,
    }
}

/// Returns when answering administrators has failed; never where nobody is to be answered.
async fn served(answering: Option<impl Future<Output = Result<(), socket::ServeError>>>) -> anyhow::Error {
    match answering {
        Some(answering) => match answering.await {
            Ok(()) => anyhow::anyhow!("the administration socket has closed by itself"),
            Err(error) => error.into(),
        },
        None => std::future::pending().await,
    }
}

/// The way to the kernel. Without `[fib]` it is only looked at, for the own addresses of both families; then a kernel that
/// cannot be looked at is no reason not to run.
fn kernel(settings: &Settings) -> anyhow::Result<Option<Kernel>> {
    let protocol = settings.fib.map_or(kernel::DEFAULT_PROTOCOL, |fib| fib.protocol);
    if settings.fib.is_some() && !may_write_routes()? {
        bail!(
            "[fib] asks for routes in the kernel, which takes the capability CAP_NET_ADMIN, and this process lacks it: \
             start it as root or with that capability, or take [fib] out of the file"
        );
    }
    match Kernel::start(kernel::Settings { protocol, ..kernel::Settings::default() }) {
        Ok(kernel) => Ok(Some(kernel)),
        Err(error) if settings.fib.is_none() => {
            warn!(
                "this machine's addresses are not known, so next hops of a session's other family are only those of \
                 the file: {error}"
            );
            Ok(None)
        }
        Err(error) => Err(error).context("starting the kernel's writer for [fib]"),
    }
}

/// Whether the process has CAP_NET_ADMIN (capabilities(7): bit 12).
fn may_write_routes() -> io::Result<bool> {
    const CAP_NET_ADMIN: u32 = 12;
    let status = fs::read_to_string("/proc/self/status")?;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok());
    Ok(effective.is_some_and(|set| set >> CAP_NET_ADMIN & 1 == 1))
}

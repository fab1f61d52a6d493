//! The connection to one collector: dialled, told everything, followed, and dialled again when it is gone.
//!
//! The collector is told at the speed at which it reads: while bytes wait for it, nothing is pulled. What one pull makes
//! is all that is ever held here. A write that makes no progress for a minute ends the connection, and so does an
//! overrun of the monitor; the next connection begins with everything there is.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, timeout};

use super::host_port::HostPort;
use super::message::{self, Goodbye};
use super::report::Reporter;
use crate::speaker::{Handle, Stopped};

/// How many destinations of each family one pull looks at.
const BUDGET: usize = 1024;
/// The time for a connection to be made.
const DIALLING: Duration = Duration::from_secs(10);
/// The time for a collector to take anything at all of what waits for it.
const STALLED: Duration = Duration::from_secs(60);
/// The time for the last words.
const PARTING: Duration = Duration::from_secs(2);
/// What this speaker says it is.
const DESCRIPTION: &str = concat!("caracal ", env!("CARGO_PKG_VERSION"));
/// The wait before a collector is dialled again; it doubles from the first to the last.
const WAITS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(120)];

/// Which states of a route are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Views {
    /// As the peer sent it.
    pub pre_policy: bool,
    /// As the import policy left it.
    pub post_policy: bool,
}

/// One collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StationConfig {
    /// What people call it.
    pub name: String,
    /// Where it listens. A name is looked up at every dial.
    pub address: HostPort,
    /// What it is told.
    pub views: Views,
    /// How often it is told counts; `None`: never.
    pub statistics: Option<Duration>,
    /// What this speaker calls itself.
    pub sys_name: String,
}

/// How a station fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StationStatus {
    /// The collector that is connected.
    pub connected: Option<SocketAddr>,
    /// How many connections there have been.
    pub connections: u64,
    /// How many octets collectors have taken.
    pub octets: u64,
    /// Why there is no connection, or why the last one ended.
    pub last_error: Option<String>,
}

/// The way to a station's task. Without it the task ends, without a word to the collector.
#[derive(Debug)]
pub struct Station {
    stop: oneshot::Sender<()>,
    status: watch::Receiver<StationStatus>,
    task: JoinHandle<()>,
}

impl Station {
    /// Starts telling a collector what this speaker's peers say.
    pub fn start(speaker: Handle, config: StationConfig) -> Station {
        let (stop, told) = oneshot::channel();
        let (report, status) = watch::channel(StationStatus::default());
        let task = Task { speaker, config: Arc::new(config), status: report, wait: WAITS[0] };
        Station { stop, status, task: tokio::spawn(task.run(told)) }
    }

    /// Ends it, with a Termination to the collector. Returns when that is written, or soon after.
    pub async fn stop(self) {
        if self.stop.send(()).is_err() {
            tracing::debug!("a BMP station had ended already");
        }
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a BMP station did not end by itself");
        }
    }

    /// How it fares.
    pub fn status(&self) -> StationStatus {
        self.status.borrow().clone()
    }
}

struct Task {
    speaker: Handle,
    config: Arc<StationConfig>,
    status: watch::Sender<StationStatus>,
    /// How long to wait before the next dial.
    wait: Duration,
}

/// Why a connection is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("dialling the collector {address}: {error}: check that it listens there and the path to it")]
    Dial { address: HostPort, error: io::Error },
    #[error("telling the collector: {0}")]
    Write(io::Error),
    #[error("the collector has closed the connection")]
    Closed,
    #[error("the collector took nothing for {} s: it is told everything anew", STALLED.as_secs())]
    Stalled,
    #[error("too much had to wait for the collector: it is told everything anew")]
    Overrun,
    #[error(transparent)]
    Stopped(#[from] Stopped),
}

impl Task {
    async fn run(mut self, mut told: oneshot::Receiver<()>) {
        loop {
            let dialled = tokio::select! {
                dialled = dial(&self.config.address) => dialled,
                _ = &mut told => return,
            };
            let begin = Instant::now();
            let over = match dialled {
                Ok(stream) => match self.tell(stream, &mut told).await {
                    Ok(()) => return,
                    Err(Over::Stopped(_)) => return,
                    Err(over) => over,
                },
                Err(over) => over,
            };
            if begin.elapsed() > self.wait {
                self.wait = WAITS[0];
            }
            tracing::info!(station = self.config.name, again_in = ?self.wait, "{over}");
            self.status.send_modify(|status| {
                status.connected = None;
                status.last_error = Some(over.to_string());
            });
            tokio::select! {
                () = tokio::time::sleep(self.wait) => {}
                _ = &mut told => return,
            }
            self.wait = (self.wait * 2).min(WAITS[1]);
        }
    }

    /// One connection. `Ok`: the station is told to end, and the collector has been.
    async fn tell(&mut self, stream: TcpStream, told: &mut oneshot::Receiver<()>) -> Result<(), Over> {
        let remote = stream.peer_addr().map_err(Over::Write)?;
        tracing::info!(station = self.config.name, %remote, "a BMP collector is told everything");
        self.status.send_modify(|status| {
            status.connected = Some(remote);
            status.connections += 1;
            status.last_error = None;
        });
        let (mut reader, mut writer) = stream.into_split();
        let mut monitor = self.speaker.monitor().await?;
        let mut reporter = Reporter::new(self.config.views);
        let mut statistics = self.config.statistics.map(|every| {
            let mut ticks = interval_at(Instant::now() + every, every);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        });
        let mut out = BytesMut::new();
        message::initiation(&self.config.sys_name, DESCRIPTION, &mut out);
        let mut unwanted = [0; 64];
        loop {
            // While bytes wait nothing is pulled.
            let waiting = !out.is_empty();
            tokio::select! {
                written = timeout(STALLED, writer.write(&out)), if waiting => {
                    let octets = written.map_err(|_| Over::Stalled)?.map_err(Over::Write)?;
                    out.advance(octets);
                    self.status.send_modify(|status| status.octets += octets as u64);
                }
                batch = monitor.pull(BUDGET), if !waiting => {
                    let batch = batch?;
                    if batch.overrun {
                        self.part(&mut writer, Goodbye::OutOfResources, "too much had to wait").await;
                        return Err(Over::Overrun);
                    }
                    reporter.report(SystemTime::now(), batch, &mut out);
                }
                () = tick(&mut statistics), if !waiting && reporter.peers() > 0 => {
                    let peers = self.speaker.peers().await?;
                    reporter.statistics(SystemTime::now(), &peers, &mut out);
                }
                // A collector has nothing to say; what it says all the same is read and left.
                read = reader.read(&mut unwanted) => match read {
                    Ok(0) => return Err(Over::Closed),
                    Ok(_) => {}
                    Err(error) => return Err(Over::Write(error)),
                },
                asked = &mut *told => {
                    // In the middle of a message nothing can be said.
                    if asked.is_ok() && !waiting {
                        self.part(&mut writer, Goodbye::AdministrativelyClosed, "told to stop").await;
                    }
                    return Ok(());
                }
            }
        }
    }

    async fn part(&self, writer: &mut OwnedWriteHalf, why: Goodbye, words: &str) {
        let mut out = BytesMut::new();
        message::termination(why, words, &mut out);
        let said = async {
            writer.write_all(&out).await?;
            writer.shutdown().await
        };
        match timeout(PARTING, said).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(station = self.config.name, %error, "the last words were not taken")
            }
            Err(_) => {
                tracing::debug!(station = self.config.name, "the collector did not take the last words")
            }
        }
    }
}

async fn dial(address: &HostPort) -> Result<TcpStream, Over> {
    let failed = |error| Over::Dial { address: address.clone(), error };
    match timeout(DIALLING, TcpStream::connect(address.as_ref())).await {
        Ok(dialled) => dialled.map_err(failed),
        Err(_) => Err(failed(io::ErrorKind::TimedOut.into())),
    }
}

/// The next tick; never where there are none.
async fn tick(ticks: &mut Option<Interval>) {
    match ticks {
        Some(ticks) => drop(ticks.tick().await),
        None => std::future::pending().await,
    }
}

//! The node's network configuration for container runtimes: it appears when the agent can serve, and not before, because a
//! runtime takes the node for ready when it finds one. It stays when the agent ends: an upgrade must not make the node
//! NotReady. What removes it is `caracal-cni uninstall`.
//!
//! Level-triggered: the folder is the host's, and other hands write there. What stands is compared with what should whenever
//! something happens in the folders concerned (`folders`), so that a file that was removed or changed is back at once,
//! `portmap` is chained when its program comes, and configurations of other plugins that appear later are set aside too. What
//! makes no event, such as a file system mounted over the folder, is found by looking all the same ([`BACKSTOP`]); what could not
//! be written is tried again.

mod folders;
mod pace;
mod queue;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use caracal_cni::config::FeatureControl;
use caracal_cni::install::{self, Conflist, InstallError};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use folders::Folders;
use pace::Pace;

/// How often what stands is looked at though nothing was heard.
pub const BACKSTOP: Duration = Duration::from_secs(10);
/// The same where the kernel tells no events: less than the 5 s in which kubelet asks the runtime for its network.
const DEAF: Duration = Duration::from_secs(2);

/// Where to write it, and from what.
#[derive(Clone, Debug)]
pub struct Place {
    /// The host's folder of configurations; nothing is written without one.
    pub configurations: Option<PathBuf>,
    /// The host's folder of plugins.
    pub plugins: PathBuf,
    /// The agent's socket.
    pub socket: PathBuf,
    /// Whether the configurations of other plugins are set aside.
    pub exclusive: bool,
    /// What pods may ask for beyond the usual.
    pub features: FeatureControl,
    /// How often what stands is looked at though nothing was heard: [`BACKSTOP`].
    pub backstop: Duration,
}

/// What was done of late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// How many looks were begun.
    pub begun: u64,
    /// How many have failed since the configuration last stood.
    pub failures: u32,
    /// Why the last one failed.
    pub failed: Option<String>,
}

/// Waits until the agent serves, then sees to it that the configuration stands, for as long as the agent runs; tells what it did.
pub async fn keep(place: Place, mut serves: watch::Receiver<bool>, kept: watch::Sender<Kept>) {
    let Some(folder) = place.configurations.clone() else { return std::future::pending().await };
    if serves.wait_for(|serves| *serves).await.is_err() {
        // The heart has stopped before it beat: the agent is ending.
        return std::future::pending().await;
    }
    let mut folders = open(&folder, &place.plugins);
    let mut pace = Pace::default();
    loop {
        kept.send_modify(|kept| kept.begun += 1);
        // Armed before looking, so that what changes meanwhile is heard.
        let hears = folders.as_mut().is_some_and(Folders::arm);
        let (place, at) = (place.clone(), folder.clone());
        let backstop = if hears { place.backstop } else { DEAF.min(place.backstop) };
        let written = tokio::task::spawn_blocking(move || write(&place, &at)).await;
        let outcome = match written {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(interrupted) => Err(format!("writing it was interrupted: {interrupted}")),
        };
        tell(&kept, outcome.as_ref().err());
        let rest = pace.after(Instant::now(), outcome.is_ok_and(|changed| changed), kept.borrow().failures);
        if rest.deaf {
            sleep(rest.at_most).await;
        } else {
            let heard = async {
                match &folders {
                    Some(folders) => folders.changed().await,
                    None => std::future::pending().await,
                }
            };
            // Heard or not: what stands is looked at.
            timeout(rest.at_most.min(backstop), heard).await.ok();
        }
    }
}

fn open(configurations: &Path, plugins: &Path) -> Option<Folders> {
    match Folders::open(configurations, plugins) {
        Ok(folders) => Some(folders),
        Err(error) => {
            let seconds = DEAF.as_secs();
            warn!(%error, "no events of the network configuration's folder (inotify): looking there every {seconds} s");
            None
        }
    }
}

/// The same failure is told once in the log.
fn tell(kept: &watch::Sender<Kept>, failed: Option<&String>) {
    kept.send_modify(|kept| match failed {
        None => {
            if kept.failed.take().is_some() {
                info!(attempts = kept.failures, "the network configuration stands again");
            }
            kept.failures = 0;
        }
        Some(why) => {
            if kept.failed.as_ref() != Some(why) {
                error!(error = why, "the network configuration for container runtimes; trying again");
                kept.failed = Some(why.clone());
            }
            kept.failures = kept.failures.saturating_add(1);
        }
    });
}

/// Whether something had to be changed.
fn write(place: &Place, folder: &Path) -> Result<bool, InstallError> {
    let written = Conflist::for_node(&place.socket, &place.plugins, place.features).write(folder)?;
    if written {
        info!(file = %folder.join(install::CONFLIST).display(), "wrote the network configuration");
    }
    let aside = if place.exclusive { install::set_aside(folder)? } else { Vec::new() };
    for name in &aside {
        info!(name, "another plugin's configuration is set aside; `caracal-cni uninstall` puts it back");
    }
    Ok(written || !aside.is_empty())
}

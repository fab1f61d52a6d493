//! The node's network configuration for container runtimes: it appears when the agent can serve, and not before, because a
//! runtime takes the node for ready when it finds one. It stays when the agent ends: an upgrade must not make the node
//! NotReady. What removes it is `caracal-cni uninstall`.
//!
//! Level-triggered: the folder is the host's, and other hands write there. What stands is compared again and again with what
//! should, so that a file that was removed, changed or could not be written comes (back) by itself, `portmap` is chained once its
//! program is there, and configurations of other plugins that appear later are set aside too.

use std::path::{Path, PathBuf};
use std::time::Duration;

use caracal_cni::install::{self, Conflist, InstallError};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{error, info};

/// How often what stands is looked at: less than the 5 s in which kubelet asks the runtime for its network.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long after a first failure the next attempt is made; each further one waits twice as long.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// The longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(8);

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
}

/// Waits until the agent serves, then sees to it that the configuration stands, for as long as the agent runs.
pub async fn keep(place: Place, mut serves: watch::Receiver<bool>) {
    let Some(folder) = place.configurations.clone() else { return std::future::pending().await };
    if serves.wait_for(|serves| *serves).await.is_err() {
        // The heart has stopped before it beat: the agent is ending.
        return std::future::pending().await;
    }
    let mut failing = Failing::default();
    loop {
        let (place, folder) = (place.clone(), folder.clone());
        let written = tokio::task::spawn_blocking(move || write(&place, &folder)).await;
        let outcome = match written {
            Ok(written) => written.map_err(|error| error.to_string()),
            Err(interrupted) => Err(format!("writing it was interrupted: {interrupted}")),
        };
        sleep(failing.after(outcome)).await;
    }
}

fn write(place: &Place, folder: &Path) -> Result<(), InstallError> {
    if Conflist::for_node(&place.socket, &place.plugins).write(folder)? {
        info!(file = %folder.join(install::CONFLIST).display(), "wrote the network configuration");
    }
    if place.exclusive {
        for name in install::set_aside(folder)? {
            info!(name, "another plugin's configuration is set aside; `caracal-cni uninstall` puts it back");
        }
    }
    Ok(())
}

/// What the attempts of late came to: the same failure is told once.
#[derive(Debug, Default)]
struct Failing {
    told: Option<String>,
    attempts: u32,
}

impl Failing {
    /// Takes an attempt's outcome; how long to wait for the next one.
    fn after(&mut self, outcome: Result<(), String>) -> Duration {
        match outcome {
            Ok(()) => {
                if self.told.take().is_some() {
                    info!(attempts = self.attempts, "the network configuration stands again");
                }
                self.attempts = 0;
                LOOK_EVERY
            }
            Err(why) => {
                if self.told.as_ref() != Some(&why) {
                    error!(error = why, "the network configuration for container runtimes; trying again");
                    self.told = Some(why);
                }
                let wait = FIRST_RETRY.saturating_mul(1 << self.attempts.min(10)).min(LAST_RETRY);
                self.attempts = self.attempts.saturating_add(1);
                wait
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_wait_longer_each_time_and_a_success_begins_anew() {
        let mut failing = Failing::default();
        let failed = |failing: &mut Failing| failing.after(Err("read-only".to_owned())).as_millis();
        let waits: Vec<u128> = (0..7).map(|_| failed(&mut failing)).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 8000, 8000]);
        assert_eq!(failing.after(Ok(())), LOOK_EVERY);
        assert_eq!(failed(&mut failing), 500);
        failing.attempts = u32::MAX;
        assert_eq!(failed(&mut failing), 8000);
    }
}

//! Keeps the speaker as the file says, through changes of the file (SIGHUP) and of this machine's addresses.
//!
//! A file is taken or refused as a whole. What it changes is carried out by the difference to what is in force, so that a
//! session is made anew only if its own parameters changed; what cannot change in a running process is refused with
//! words.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use caracal_bgp::bmp::Stations;
use caracal_bgp::speaker::{ConfigureError, Handle, Origination, Stopped};
use caracal_bgp::wire::attribute::Community;
use caracal_bgp::{Asn, Config};
use caracal_bgp_underlay::neighbours::{Neighbours, Sightings, interfaces, placed};
use caracal_bgp_underlay::next_hops;
use caracal_linux::kernel::Underlay;
use ipnetwork::IpNetwork;
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tracing::{error, info};

use crate::file::FileError;
use crate::restart::Comeback;
use crate::settings::Settings;

/// Why a new file is not in force.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// It has a mistake.
    #[error(transparent)]
    File(#[from] FileError),
    /// It changes what a running process cannot.
    #[error("`{what}` differs from what this process was started with: start it anew for that")]
    NeedsRestart {
        /// The field.
        what: &'static str,
    },
    /// The speaker refuses it.
    #[error(transparent)]
    Speaker(#[from] ConfigureError),
}

/// The keeper of the configuration.
#[derive(Debug)]
pub struct Reload {
    path: PathBuf,
    speaker: Handle,
    underlay: watch::Receiver<Arc<Underlay>>,
    neighbours: Neighbours,
    sightings: watch::Receiver<Arc<Sightings>>,
    settings: Settings,
    /// What the speaker has: the settings with this machine's addresses.
    config: Config,
    comeback: Comeback,
    stations: Stations,
}

impl Reload {
    /// A keeper of what is in force: `config` is what the speaker was started with. Must be called on a tokio runtime.
    pub fn new(
        path: PathBuf,
        speaker: Handle,
        underlay: watch::Receiver<Arc<Underlay>>,
        settings: Settings,
        config: Config,
        comeback: Comeback,
    ) -> Self {
        let stations = Stations::new(speaker.clone());
        let mut neighbours = Neighbours::new(underlay.clone());
        neighbours.look(&interfaces(&settings.config));
        let sightings = neighbours.sightings();
        Reload { path, speaker, underlay, neighbours, sightings, settings, config, comeback, stations }
    }

    /// The own AS in force.
    pub fn local_as(&self) -> Asn {
        self.config.local_as
    }

    /// How many peers are configured.
    pub fn peers(&self) -> usize {
        self.config.peers.len()
    }

    /// Keeps the speaker until it stops, or this machine's addresses are no longer watched.
    pub async fn run(&mut self, mut hang_ups: Signal) {
        self.stations.follow(&self.settings.stations).await;
        loop {
            tokio::select! {
                _ = hang_ups.recv() => match self.reload().await {
                    Ok(()) => info!(file = %self.path.display(), "the new configuration is in force"),
                    Err(error) => error!("the new configuration is refused and the present one goes on: {error}"),
                },
                changed = self.underlay.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    if let Err(error) = self.configure(&self.settings.config.clone()).await {
                        error!("after a change of this machine's addresses: {error}");
                    }
                }
                // Its sender is in `neighbours`.
                Ok(()) = self.sightings.changed() => {
                    if let Err(error) = self.configure(&self.settings.config.clone()).await {
                        error!("after a change of the neighbours on a link: {error}");
                    }
                }
            }
        }
    }

    /// Ends what it has started.
    pub async fn stop(&mut self) {
        self.stations.stop().await;
    }

    /// Goes over to what the file says now.
    ///
    /// # Errors
    /// [`ReloadError`]; what was in force stays so.
    pub async fn reload(&mut self) -> Result<(), ReloadError> {
        let new = Settings::read(&self.path)?;
        if new.fib != self.settings.fib {
            return Err(ReloadError::NeedsRestart { what: "fib" });
        }
        if new.socket != self.settings.socket {
            return Err(ReloadError::NeedsRestart { what: "speaker.socket" });
        }
        if new.run_directory != self.settings.run_directory {
            return Err(ReloadError::NeedsRestart { what: "speaker.run-directory" });
        }
        self.configure(&new.config).await?;
        let changes = difference(&self.settings.originate, &new.originate);
        self.speaker.originate(changes).await.map_err(ConfigureError::from)?;
        self.stations.follow(&new.stations).await;
        self.neighbours.look(&interfaces(&new.config));
        self.settings = new;
        Ok(())
    }

    async fn configure(&mut self, wanted: &Config) -> Result<(), ConfigureError> {
        let underlay = self.underlay.borrow_and_update().clone();
        let sightings = self.sightings.borrow_and_update().clone();
        let config = next_hops::filled(&placed(wanted, &underlay, &sightings), &underlay);
        let config = self.comeback.told(config);
        if config == self.config {
            return Ok(());
        }
        for (peer, step) in self.speaker.configure(config.clone()).await? {
            let waits = config.peers.get(&peer).and_then(|peer| peer.waits.as_deref());
            info!(%peer, ?step, waits, "peer configuration changed");
        }
        self.config = config;
        Ok(())
    }
}

/// Announces what the file originates.
///
/// # Errors
/// When the speaker has stopped.
pub async fn originate(speaker: &Handle, all: &BTreeMap<IpNetwork, Vec<Community>>) -> Result<(), Stopped> {
    speaker.originate(difference(&BTreeMap::new(), all)).await
}

fn difference(
    old: &BTreeMap<IpNetwork, Vec<Community>>,
    new: &BTreeMap<IpNetwork, Vec<Community>>,
) -> Vec<Origination> {
    let gone = old.keys().filter(|prefix| !new.contains_key(prefix));
    let gone = gone.map(|prefix| Origination::Withdraw { prefix: *prefix });
    let come = new.iter().filter(|(prefix, communities)| old.get(prefix) != Some(communities));
    let come = come.map(|(prefix, communities)| Origination::Announce {
        prefix: *prefix,
        communities: communities.clone(),
    });
    gone.chain(come).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_announced_and_withdrawn() {
        let prefix = |text: &str| text.parse::<IpNetwork>().unwrap();
        let old = BTreeMap::from([
            (prefix("10.0.0.0/24"), vec![]),
            (prefix("10.0.1.0/24"), vec![]),
            (prefix("10.0.2.0/24"), vec![]),
        ]);
        let new = BTreeMap::from([
            (prefix("10.0.1.0/24"), vec![]),
            (prefix("10.0.2.0/24"), vec![Community::new(1, 1)]),
            (prefix("10.0.3.0/24"), vec![]),
        ]);
        let changes = difference(&old, &new);
        let announced = |text: &str, communities| Origination::Announce { prefix: prefix(text), communities };
        assert_eq!(
            changes,
            [
                Origination::Withdraw { prefix: prefix("10.0.0.0/24") },
                announced("10.0.2.0/24", vec![Community::new(1, 1)]),
                announced("10.0.3.0/24", vec![]),
            ]
        );
    }
}

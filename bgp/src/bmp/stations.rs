//! The stations of a speaker: one a collector that its configuration names.

use std::collections::BTreeMap;

use super::station::{Station, StationConfig};
use crate::speaker::Handle;

/// Those that run. They end with this value.
#[derive(Debug)]
pub struct Stations {
    speaker: Handle,
    running: BTreeMap<String, (StationConfig, Station)>,
}

impl Stations {
    /// None yet.
    pub fn new(speaker: Handle) -> Self {
        Stations { speaker, running: BTreeMap::new() }
    }

    /// Goes over to these by the difference: one that stays as it is keeps its connection.
    pub async fn follow(&mut self, wanted: &BTreeMap<String, StationConfig>) {
        let differs = |name: &String, config: &StationConfig| wanted.get(name) != Some(config);
        let gone: Vec<_> = self.running.extract_if(.., |name, (config, _)| differs(name, config)).collect();
        for (name, (_, station)) in gone {
            tracing::info!(station = name, "a BMP collector is told no more");
            station.stop().await;
        }
        for (name, config) in wanted {
            if !self.running.contains_key(name) {
                let station = Station::start(self.speaker.clone(), config.clone());
                self.running.insert(name.clone(), (config.clone(), station));
            }
        }
    }

    /// Ends all of them in words.
    pub async fn stop(&mut self) {
        self.follow(&BTreeMap::new()).await;
    }
}

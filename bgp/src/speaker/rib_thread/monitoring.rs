//! What monitors ([`crate::speaker::monitor`]) are told of sessions.

use std::sync::Arc;
use std::time::SystemTime;

use super::RibThread;
use crate::config::PeerKey;
use crate::net::{Ending, Opens};
use crate::peer::Negotiated;
use crate::speaker::monitor::MonitoredPeer;

impl RibThread {
    /// A session is up.
    pub(super) fn monitor_up(&mut self, key: PeerKey, negotiated: Arc<Negotiated>, opens: Arc<Opens>) {
        let (Some(session), Some(peer)) = (self.sessions.get(&key), self.config.peers.get(&key)) else {
            return;
        };
        let (name, since) = (peer.name.clone(), SystemTime::now());
        self.monitors.up(session.slot, MonitoredPeer { key, name, negotiated, opens, since });
    }

    /// It is over.
    pub(super) fn monitor_down(&mut self, key: PeerKey, ending: Ending) {
        if let Some(session) = self.sessions.get(&key) {
            let deconfigured = !self.config.peers.contains_key(&key);
            self.monitors.down(session.slot, if deconfigured { Ending::Deconfigured } else { ending });
        }
    }
}

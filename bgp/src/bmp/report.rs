//! From what a monitor pulled to messages. Pure: it keeps only who is up.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::BytesMut;

use super::message::{self, Gauges, PeerHeader, View};
use super::station::Views;
use crate::config::{Families, Family};
use crate::rib::monitor::WithHop;
use crate::rib::{self, PeerSlot};
use crate::speaker::{MonitorBatch, MonitoredPeer, PeerChange, PeerStatus};
use crate::wire::attribute::NextHop;
use crate::wire::nlri::{Nlri, Prefix};
use crate::wire::{Context, update};

/// The sessions that the collector knows to be up.
#[derive(Debug, Default)]
pub(super) struct Reporter {
    views: Vec<View>,
    up: BTreeMap<PeerSlot, Arc<MonitoredPeer>>,
}

/// Prefixes of one peer that share attributes and next hop, by where the attributes lie in memory: the batch holds them.
type Bundles<P> = HashMap<(PeerSlot, usize, Option<IpAddr>), (WithHop, Vec<Nlri<P>>)>;

impl Reporter {
    pub(super) fn new(views: Views) -> Self {
        let wanted = [(views.pre_policy, View::PrePolicy), (views.post_policy, View::PostPolicy)];
        let views = wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, view)| view).collect();
        Reporter { views, up: BTreeMap::new() }
    }

    /// Writes what a batch says.
    pub(super) fn report(&mut self, now: SystemTime, batch: MonitorBatch, out: &mut BytesMut) {
        for change in batch.peers {
            match change {
                PeerChange::Up(slot, peer) => {
                    let terms = &peer.negotiated;
                    let header = header(&peer, View::PrePolicy, peer.since);
                    message::peer_up(&header, terms.local, terms.remote, &peer.opens, &peer.name, out);
                    self.up.insert(slot, peer);
                }
                PeerChange::Down(slot, ending) => {
                    if let Some(peer) = self.up.remove(&slot) {
                        message::peer_down(&header(&peer, View::PrePolicy, now), &ending, out);
                    }
                }
            }
        }
        for view in self.views.clone() {
            self.routes(now, view, &batch.ipv4, out);
            self.routes(now, view, &batch.ipv6, out);
        }
    }

    fn routes<P: Prefix>(
        &self,
        now: SystemTime,
        view: View,
        batch: &rib::MonitorBatch<P>,
        out: &mut BytesMut,
    ) {
        let mut gone: BTreeMap<PeerSlot, Vec<Nlri<P>>> = BTreeMap::new();
        let mut bundles: Bundles<P> = HashMap::new();
        for path in &batch.paths {
            let state = match view {
                View::PrePolicy => &path.received,
                View::PostPolicy => &path.used,
            };
            match state {
                None => gone.entry(path.peer).or_default().push(path.nlri),
                Some((set, hop)) => {
                    let key = (path.peer, Arc::as_ptr(set).addr(), *hop);
                    let (_, prefixes) =
                        bundles.entry(key).or_insert_with(|| ((Arc::clone(set), *hop), Vec::new()));
                    prefixes.push(path.nlri);
                }
            }
        }
        for (slot, prefixes) in gone {
            let Some(peer) = self.up.get(&slot) else { continue };
            let mut updates = BytesMut::new();
            update::withdraw(&prefixes, &context(peer), &mut updates);
            wrap(&header(peer, view, now), &updates, out);
        }
        for ((slot, _, _), ((set, hop), prefixes)) in bundles {
            let (Some(peer), Some(hop)) = (self.up.get(&slot), hop) else { continue };
            let mut updates = BytesMut::new();
            if let Err(error) =
                update::announce(&set, &NextHop::from(hop), &prefixes, &context(peer), &mut updates)
            {
                tracing::warn!(peer = %peer.key, %error, prefixes = prefixes.len(), "a collector is told of routes as withdrawn");
                update::withdraw(&prefixes, &context(peer), &mut updates);
            }
            wrap(&header(peer, view, now), &updates, out);
        }
        for peer in batch.complete.iter().filter_map(|slot| self.up.get(slot)) {
            if peer.negotiated.families.contains(P::FAMILY) {
                let mut updates = BytesMut::new();
                update::end_of_rib(P::FAMILY, &mut updates);
                wrap(&header(peer, view, now), &updates, out);
            }
        }
    }

    /// Writes how many routes each session has.
    pub(super) fn statistics(&self, now: SystemTime, peers: &[PeerStatus], out: &mut BytesMut) {
        for peer in self.up.values() {
            let Some(status) = peers.iter().find(|status| status.key == peer.key) else { continue };
            let gauges = |family: Family| {
                let counts = status.counts(family);
                (family, Gauges { received: counts.received, announced: counts.announced })
            };
            let families: Vec<_> = peer.negotiated.families.iter().map(gauges).collect();
            message::statistics(&header(peer, View::PrePolicy, now), &families, out);
        }
    }

    /// How many sessions the collector knows to be up.
    pub(super) fn peers(&self) -> usize {
        self.up.len()
    }
}

fn header(peer: &MonitoredPeer, view: View, at: SystemTime) -> PeerHeader {
    let terms = &peer.negotiated;
    PeerHeader { view, address: terms.remote.ip(), asn: terms.peer_as, id: terms.peer_id, at }
}

/// How the peer's routes are written: with path identifiers where it sends them, since the collector reads of that in
/// both OPENs; with AS numbers of four octets always.
fn context(peer: &MonitoredPeer) -> Context {
    let terms = &peer.negotiated;
    Context {
        add_path_send: terms.add_path_receive,
        extended_next_hop: terms.extended_next_hop,
        max_message: terms.longest_received,
        ..Context::new(None, Families::dual())
    }
}

/// A Route Monitoring message for each of these whole UPDATEs.
fn wrap(header: &PeerHeader, mut updates: &[u8], out: &mut BytesMut) {
    while let Some(length) = updates.get(16..18) {
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let Some((one, rest)) = updates.split_at_checked(length) else { return };
        message::route_monitoring(header, one, out);
        updates = rest;
    }
}

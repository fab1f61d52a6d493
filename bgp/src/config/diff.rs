//! From one configuration to the next: what each peer needs, and no more.

use std::sync::Arc;

use super::{Config, PeerConfig, PeerKey};

/// What becomes of one peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The peer is new.
    Open,
    /// The peer is gone.
    Close,
    /// The session must be made anew; the word says what changed.
    Reset(&'static str),
    /// Routes of the peer are looked at again under the new import policy; the session stands.
    Refresh,
    /// Routes are announced anew under the new export policy or next hop; the session stands.
    Reexport,
}

/// The steps from `old` to `new`. A peer that needs both a look at what it sent and new announcements appears
/// twice; one that is reset needs nothing else.
pub fn diff(old: &Config, new: &Config) -> Vec<(PeerKey, Step)> {
    let mut steps = Vec::new();
    for key in old.peers.keys().filter(|key| !new.peers.contains_key(key)) {
        steps.push((*key, Step::Close));
    }
    // A change of identity reaches every session: it is in the OPEN message.
    let identity = if old.router_id != new.router_id { Some("router id") } else { None };
    let cluster = old.cluster_id() != new.cluster_id();
    for (key, after) in &new.peers {
        let Some(before) = old.peers.get(key) else {
            steps.push((*key, Step::Open));
            continue;
        };
        if let Some(why) = identity.or_else(|| before.needs_reset(after)) {
            steps.push((*key, Step::Reset(why)));
            continue;
        }
        if differs(&before.import, &after.import) {
            steps.push((*key, Step::Refresh));
        }
        if cluster || export_differs(before, after) {
            steps.push((*key, Step::Reexport));
        }
    }
    steps
}

/// What the peer is told depends on these.
fn export_differs(before: &PeerConfig, after: &PeerConfig) -> bool {
    differs(&before.export, &after.export)
        || before.next_hop != after.next_hop
        || before.local_next_hops != after.local_next_hops
        || before.reflector_client != after.reflector_client
}

/// Policies are compared by value, so that compiling the same text again changes nothing.
fn differs<T: PartialEq>(before: &Arc<T>, after: &Arc<T>) -> bool {
    !Arc::ptr_eq(before, after) && before != after
}

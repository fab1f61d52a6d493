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
    let required = old.require_policies != new.require_policies;
    for (key, after) in &new.peers {
        let Some(before) = old.peers.get(key) else {
            steps.push((*key, Step::Open));
            continue;
        };
        if let Some(why) = identity.or_else(|| before.needs_reset(after)) {
            steps.push((*key, Step::Reset(why)));
            continue;
        }
        if required || differs(&before.import, &after.import) || before.allow_own_as != after.allow_own_as {
            steps.push((*key, Step::Refresh));
        }
        if required || cluster || export_differs(before, after) {
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
        || before.paths_sent != after.paths_sent
        || before.as_override != after.as_override
        || before.remove_private_as != after.remove_private_as
}

/// Policies are compared by value, so that compiling the same text again changes nothing.
fn differs<T: PartialEq>(before: &Arc<T>, after: &Arc<T>) -> bool {
    !Arc::ptr_eq(before, after) && before != after
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::config::{Asn, HoldTime, RouterId};
    use crate::peer::negotiation::tests::config as peer;
    use crate::policy::Policy;

    fn key(last: u8) -> PeerKey {
        PeerKey::Address(IpAddr::from([192, 0, 2, last]))
    }

    fn config(peers: impl IntoIterator<Item = (u8, PeerConfig)>) -> Config {
        let router_id = RouterId::try_from(Ipv4Addr::new(10, 0, 0, 1)).unwrap();
        let peers = peers.into_iter().map(|(last, peer)| (key(last), peer)).collect::<BTreeMap<_, _>>();
        Config { peers, ..Config::new(Asn(1), router_id) }
    }

    fn changed(change: impl FnOnce(&mut PeerConfig)) -> Vec<(PeerKey, Step)> {
        let mut after = peer(1, 1);
        change(&mut after);
        diff(&config([(2, peer(1, 1))]), &config([(2, after)]))
    }

    #[test]
    fn an_equal_configuration_needs_nothing() {
        assert_eq!(changed(|_| ()), []);
        // Compiled anew, and equal.
        assert_eq!(changed(|peer| peer.import = Arc::new(Policy::accept_all())), []);
    }

    #[test]
    fn peers_come_and_go() {
        let steps =
            diff(&config([(2, peer(1, 1)), (3, peer(1, 1))]), &config([(3, peer(1, 1)), (4, peer(1, 1))]));
        assert_eq!(steps, [(key(2), Step::Close), (key(4), Step::Open)]);
    }

    #[test]
    fn policies_never_reset_a_session() {
        assert_eq!(changed(|peer| peer.import = Arc::new(Policy::reject_all())), [(key(2), Step::Refresh)]);
        assert_eq!(changed(|peer| peer.export = Arc::new(Policy::reject_all())), [(key(2), Step::Reexport)]);
        let both = changed(|peer| {
            peer.import = Arc::new(Policy::reject_all());
            peer.reflector_client = true;
        });
        assert_eq!(both, [(key(2), Step::Refresh), (key(2), Step::Reexport)]);
    }

    #[test]
    fn what_stands_in_open_resets_and_says_why() {
        let hold = changed(|peer| peer.hold_time = HoldTime::NEVER);
        assert_eq!(hold, [(key(2), Step::Reset("hold time"))]);
        // A reset announces everything anyway.
        let both = changed(|peer| {
            peer.families = crate::config::Families::NONE;
            peer.export = Arc::new(Policy::reject_all());
        });
        assert_eq!(both, [(key(2), Step::Reset("address families"))]);
        let mut renamed = config([(2, peer(1, 1))]);
        renamed.router_id = RouterId::try_from(Ipv4Addr::new(10, 0, 0, 9)).unwrap();
        assert_eq!(diff(&config([(2, peer(1, 1))]), &renamed), [(key(2), Step::Reset("router id"))]);
    }

    #[test]
    fn names_and_dialling_change_nothing_for_routes() {
        assert_eq!(changed(|peer| peer.name = "other".to_owned()), []);
        assert_eq!(changed(|peer| peer.passive = true), []);
    }
}

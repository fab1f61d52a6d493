//! Paths as people are shown them.

use std::time::Instant;

use super::status::{RouteQuery, RouteStatus};
use crate::config::PeerKey;
use crate::policy::AnyCommunity;
use crate::rib::{Af, ExplainedPath, Explanation, PathStanding, PeerSlot, Rib};
use crate::wire::attribute::{AttributeSet, Origin};
use crate::wire::nlri::Prefix;

/// The paths of one family that a query asks for; prefixes in their order, the paths in use first.
pub(super) fn routes<A: Af>(
    rib: &Rib<A>,
    now: Instant,
    query: &RouteQuery,
    key: impl Fn(PeerSlot) -> Option<PeerKey>,
) -> Vec<RouteStatus> {
    if query.family.is_some_and(|family| family != A::FAMILY) {
        return Vec::new();
    }
    let mut found: Vec<Explanation<A::Prefix>> = match &query.prefix {
        Some(network) => {
            A::Prefix::from_network(network).map(|prefix| rib.explain(now, prefix)).into_iter().collect()
        }
        None => rib.explain_all(now).collect(),
    };
    found.sort_by_key(|explanation| explanation.prefix);
    let mut routes = Vec::new();
    for Explanation { prefix, paths } in found {
        let shown = paths.into_iter().map(|path| (key(path.peer), path));
        let shown = shown.filter(|(peer, _)| query.peer.is_none() || query.peer == *peer);
        routes.extend(shown.map(|(peer, path)| status(prefix, peer, path)));
    }
    routes
}

fn status<P: Prefix>(prefix: P, peer: Option<PeerKey>, path: ExplainedPath) -> RouteStatus {
    let why_not = match path.standing {
        PathStanding::Best => None,
        PathStanding::Multipath(why) | PathStanding::NotBest(why) => Some(why.to_string()),
        PathStanding::Rejected(why) => Some(match &path.rule {
            Some(rule) => format!("{why} (rule {rule})"),
            None => why.to_string(),
        }),
    };
    let set = &path.used;
    RouteStatus {
        prefix: prefix.to_network(),
        next_hop: path.next_hop,
        peer,
        source: path.source,
        as_path: set.as_path.to_string(),
        origin: match set.origin {
            Origin::Igp => "IGP",
            Origin::Egp => "EGP",
            Origin::Incomplete => "INCOMPLETE",
        },
        local_pref: set.local_pref,
        med: set.med,
        communities: communities(set),
        best: matches!(path.standing, PathStanding::Best | PathStanding::Multipath(_)),
        standing: path.standing.code(),
        why_not,
        age: path.age,
    }
}

fn communities(set: &AttributeSet) -> Vec<String> {
    let standard = set.communities.iter().copied().map(AnyCommunity::Standard);
    let large = set.large_communities.iter().copied().map(AnyCommunity::Large);
    let extended = set.extended_communities.iter().copied().map(AnyCommunity::Extended);
    standard.chain(large).chain(extended).map(|community| community.to_string()).collect()
}

//! Paths as people are shown them.

use std::time::Instant;

use super::status::RouteStatus;
use crate::config::PeerKey;
use crate::policy::AnyCommunity;
use crate::rib::{Af, ExplainedPath, Explanation, PathStanding, PeerSlot, Rib};
use crate::wire::attribute::{AttributeSet, Origin};
use crate::wire::nlri::Prefix;

/// The paths to one prefix, the paths in use first; `only`: of one peer.
pub(super) fn routes<A: Af>(
    rib: &Rib<A>,
    now: Instant,
    prefix: A::Prefix,
    only: Option<PeerKey>,
    key: impl Fn(PeerSlot) -> Option<PeerKey>,
) -> impl Iterator<Item = RouteStatus> {
    let Explanation { prefix, paths } = rib.explain(now, prefix);
    let shown = paths.into_iter().map(move |path| (key(path.peer), path));
    let shown = shown.filter(move |(peer, _)| only.is_none() || only == *peer);
    shown.map(move |(peer, path)| status(prefix, peer, path))
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
        stale: path.stale,
    }
}

fn communities(set: &AttributeSet) -> Vec<String> {
    let standard = set.communities.iter().copied().map(AnyCommunity::Standard);
    let large = set.large_communities.iter().copied().map(AnyCommunity::Large);
    let extended = set.extended_communities.iter().copied().map(AnyCommunity::Extended);
    standard.chain(large).chain(extended).map(|community| community.to_string()).collect()
}

//! Why each path to a destination is used or not.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use super::decision::{Rank, eliminate};
use super::destination::{DestId, Destination, Path};
use super::import::peer_type;
use super::multipath::Context;
use super::next_hops::Reach;
use super::peers::{PeerSlot, Source};
use super::reason::{Standing, WhyNot, WhyRejected};
use super::{Af, Rib};
use crate::policy::{Rule, Subject};
use crate::wire::attribute::AttributeSet;

/// Where a path stands among the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathStanding {
    /// It is the best.
    Best,
    /// It is as good as the best and used beside it; it lost only a tie-break.
    Multipath(WhyNot),
    /// It could be used but is not.
    NotBest(WhyNot),
    /// It takes no part.
    Rejected(WhyRejected),
}

impl PathStanding {
    /// Whether packets go by the path.
    pub fn is_used(self) -> bool {
        match self {
            PathStanding::Best | PathStanding::Multipath(_) => true,
            PathStanding::NotBest(_) | PathStanding::Rejected(_) => false,
        }
    }

    /// The standing as a CamelCase code.
    pub fn code(self) -> &'static str {
        match self {
            PathStanding::Best => "Best",
            PathStanding::Multipath(_) => "Multipath",
            PathStanding::NotBest(why) => why.code(),
            PathStanding::Rejected(why) => why.code(),
        }
    }
}

/// One path, explained.
#[derive(Clone, Debug)]
pub struct ExplainedPath {
    /// Whose.
    pub peer: PeerSlot,
    /// Of what kind.
    pub source: Source,
    /// By which next hop; `None`: originated here.
    pub next_hop: Option<IpAddr>,
    /// With which attributes, as the peer sent them.
    pub attributes: Arc<AttributeSet>,
    /// With which attributes, as the import policy left them.
    pub used: Arc<AttributeSet>,
    /// The peer's path identifier.
    pub path_id: u32,
    /// How long it has been as it is.
    pub age: Duration,
    /// It is kept for the return of its peer, which is away.
    pub stale: bool,
    /// Where it stands.
    pub standing: PathStanding,
    /// The rule of the import policy that refused it, where one did.
    pub rule: Option<String>,
}

/// A prefix, explained: the paths in use first.
#[derive(Clone, Debug)]
pub struct Explanation<P> {
    /// The prefix.
    pub prefix: P,
    /// Its paths.
    pub paths: Vec<ExplainedPath>,
}

impl<A: Af> Rib<A> {
    /// Explains one prefix. Without any path the list is empty.
    pub fn explain(&self, now: Instant, prefix: A::Prefix) -> Explanation<A::Prefix> {
        let found = self.table.find(prefix).and_then(|id| self.table.get(id));
        found.map_or_else(
            || Explanation { prefix, paths: Vec::new() },
            |destination| self.explain_destination(now, destination),
        )
    }

    /// The prefixes with paths in a slice of the table, `budget` places from `cursor` on, and where the next slice
    /// begins; `None`: the table is at its end.
    pub fn prefixes_from(&self, cursor: DestId, budget: usize) -> (Vec<A::Prefix>, Option<DestId>) {
        let last = self.table.end();
        let end = last.min(cursor.0.saturating_add(budget as u32));
        let found = (cursor.0..end).filter_map(|id| self.table.get(DestId(id)));
        let found = found.filter(|destination| !destination.paths.is_empty());
        (found.map(|destination| destination.prefix).collect(), (end < last).then_some(DestId(end)))
    }

    fn explain_destination(
        &self,
        now: Instant,
        destination: &Destination<A::Prefix>,
    ) -> Explanation<A::Prefix> {
        let context = self.context();
        let candidates: SmallVec<[Option<Rank<'_>>; 4]> =
            destination.paths.iter().map(|path| context.rank(path)).collect();
        let ranks: SmallVec<[Rank<'_>; 4]> = candidates.iter().flatten().copied().collect();
        let mut verdicts = eliminate(&ranks).into_iter();
        let mut paths = Vec::with_capacity(destination.paths.len());
        for (place, (path, rank)) in destination.paths.iter().zip(&candidates).enumerate() {
            let verdict = rank.and_then(|_| verdicts.next());
            let standing = self.standing(&context, path, verdict, place < destination.selected().len());
            paths.extend(self.explain_path(now, destination.prefix, path, standing));
        }
        Explanation { prefix: destination.prefix, paths }
    }

    /// `verdict`: `None` when the path takes no part, else what the decision made of it.
    fn standing(
        &self,
        context: &Context<'_>,
        path: &Path,
        verdict: Option<Option<WhyNot>>,
        used: bool,
    ) -> PathStanding {
        match (verdict, path.standing) {
            (Some(None), _) => PathStanding::Best,
            (Some(Some(why)), _) if used => PathStanding::Multipath(why),
            (Some(Some(why)), _) => PathStanding::NotBest(why),
            (None, Standing::Rejected(why)) => PathStanding::Rejected(why),
            (None, Standing::Eligible) if context.waits(path) => {
                PathStanding::Rejected(WhyRejected::SelectionDeferred)
            }
            (None, Standing::Eligible) => match context.next_hops.reach(path.used_hop) {
                Reach::Unreachable => PathStanding::Rejected(WhyRejected::NextHopUnreachable),
                Reach::At(_) => PathStanding::Rejected(WhyRejected::SessionEnded),
            },
        }
    }

    fn explain_path(
        &self,
        now: Instant,
        prefix: A::Prefix,
        path: &Path,
        standing: PathStanding,
    ) -> Option<ExplainedPath> {
        let peer = self.peers.get(path.peer)?;
        let facts = &peer.facts;
        let received = self.attributes.get(path.received)?;
        let refused = standing == PathStanding::Rejected(WhyRejected::ImportPolicy);
        let rule: Option<&Rule> = refused.then_some(()).and_then(|()| {
            let subject = Subject {
                attributes: received,
                next_hop: self.next_hops.address(path.next_hop),
                interface: self.next_hops.interface(path.next_hop),
                source: facts.source,
                peer: peer_type(facts.source),
            };
            facts.import.rules().get(facts.import.decide(prefix, &subject).rule?)
        });
        let since = self.started + Duration::from_secs(path.stamp.seconds());
        Some(ExplainedPath {
            peer: path.peer,
            source: facts.source,
            next_hop: self.next_hops.address(path.used_hop),
            attributes: Arc::clone(received),
            used: Arc::clone(self.attributes.get(path.used)?),
            path_id: path.path_id,
            age: now.saturating_duration_since(since),
            stale: peer.live && peer.stale,
            standing,
            rule: rule.map(|rule| rule.name.clone()),
        })
    }
}

//! What a peer may be told, and in which form.
//!
//! [`EgressProfile`] holds *every* setting that can change a byte of what a peer is sent. Peers with equal profiles
//! form one update group: they are decided for and encoded for once. The transformation and the encoder see the
//! profile alone, so no setting can be forgotten in the key.
//!
//! Followed: RFC 4271 §5.1.2 (AS_PATH), §5.1.3 (NEXT_HOP), §5.1.4 (MED), §5.1.5 (LOCAL_PREF), §9.2; RFC 4456 §6–8
//! (reflection); RFC 1997 (well-known communities); RFC 8212 (no policy, no routes); RFC 9494 §4.3 (LLGR_STALE).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::decision::DEFAULT_LOCAL_PREF;
use super::next_hops::is_link_local;
use super::peers::{PeerFacts, Source};
use super::reason::WhyNotSent;
use crate::config::{Asn, Family, NextHopMode, PathsSent};
use crate::policy::{Decision, Edits, NextHopChange, PeerType, Policy, Subject, Verdict};
use crate::wire::Context;
use crate::wire::attribute::{AttributeSet, Community};
use crate::wire::nlri::Prefix;

/// Everything that decides what a peer is sent: the key of an update group within one family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EgressProfile {
    /// The terms of the session, as the encoder sees them ([`Context::for_writing`]).
    pub context: Context,
    /// The peer is of another AS than we are towards it. Which one does not matter: peers of many share a group.
    pub external: bool,
    /// Our AS towards it.
    pub local_as: Asn,
    /// It is a reflector client of ours.
    pub client: bool,
    /// What we prepend to CLUSTER_LIST.
    pub cluster_id: Ipv4Addr,
    /// Whose address is announced as next hop.
    pub next_hop: NextHopMode,
    /// Our own address for this family towards it.
    pub own_next_hop: Option<IpAddr>,
    /// Our link-local address, where the session runs over it: it is announced beside a global one (RFC 2545 §3).
    pub own_link_local: Option<Ipv6Addr>,
    /// Which paths of a prefix it is told; `None`: the best alone.
    pub paths: Option<PathsSent>,
    /// This AS, which is the peer's own, becomes ours where it is in an AS_PATH.
    pub as_override: Option<Asn>,
    /// Private AS numbers are taken out of AS_PATH.
    pub remove_private_as: bool,
    /// It knows what LLGR_STALE means, and may be told of paths that carry it (RFC 9494 §4.3).
    pub long_lived: bool,
    /// What may be announced.
    pub export: Arc<Policy>,
}

/// A path on its way out.
#[derive(Clone, Copy, Debug)]
pub struct Departure<'a> {
    /// Who sent it, or this speaker itself.
    pub source: &'a PeerFacts,
    /// Its attributes, as import left them.
    pub set: &'a AttributeSet,
    /// Its next hop; `None`: originated here.
    pub next_hop: Option<IpAddr>,
    /// The interface through which the next hop is reached, if somebody told.
    pub interface: Option<&'a str>,
}

impl EgressProfile {
    fn is_internal(&self) -> bool {
        !self.external
    }

    /// What the export policy does to a path to one prefix, or why it is not announced. Paths with equal edits and
    /// equal departures are announced alike.
    pub fn admit<P: Prefix>(&self, prefix: P, departure: &Departure<'_>) -> Result<Edits, WhyNotSent> {
        self.obey_communities(departure.set)?;
        if self.is_reflected(departure) && !(self.client || departure.source.client) {
            return Err(WhyNotSent::InternalToInternal);
        }
        let subject = Subject {
            attributes: departure.set,
            next_hop: departure.next_hop,
            interface: departure.interface,
            source: departure.source.source,
            peer: if self.is_internal() { PeerType::Internal } else { PeerType::External },
        };
        match self.export.decide(prefix, &subject) {
            Decision { verdict: Verdict::Accept, edits, .. } => Ok(edits),
            Decision { verdict: Verdict::Reject, .. } if self.export.is_given() => {
                Err(WhyNotSent::ExportPolicy)
            }
            Decision { verdict: Verdict::Reject, .. } => Err(WhyNotSent::NoPolicy),
        }
    }

    /// The attributes and the next hop under which a path that was admitted is announced, or why it is not.
    ///
    /// First what RFCs take away, then what the policy adds, then what RFCs demand, so that a policy may set a MED
    /// towards an external peer and may not leave our AS out of the path.
    pub fn transform(
        &self,
        departure: &Departure<'_>,
        family: Family,
        edits: &Edits,
    ) -> Result<(AttributeSet, IpAddr), WhyNotSent> {
        let mut out = departure.set.clone();
        if self.external {
            out.local_pref = None;
            out.originator_id = None;
            out.cluster_list.clear();
            if departure.source.source != Source::Local {
                out.med = None;
            }
            if self.remove_private_as {
                out.as_path.remove_private();
            }
            if let Some(peer) = self.as_override {
                out.as_path.replace(peer, self.local_as);
            }
        }
        let change = self.export.edit(edits, &mut out);
        let address =
            self.choose_next_hop(change, departure.next_hop, family).ok_or(WhyNotSent::NoLocalNextHop)?;
        if self.is_internal() {
            out.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
            if self.is_reflected(departure) {
                out.originator_id.get_or_insert(Ipv4Addr::from_bits(departure.source.router_id));
                out.cluster_list.insert(0, self.cluster_id);
            }
        } else {
            out.as_path.prepend(self.local_as);
            out.local_pref = None;
        }
        Ok((out, address))
    }

    fn is_reflected(&self, departure: &Departure<'_>) -> bool {
        self.is_internal() && departure.source.source == Source::Ibgp
    }

    fn obey_communities(&self, set: &AttributeSet) -> Result<(), WhyNotSent> {
        for community in &set.communities {
            match *community {
                Community::NO_ADVERTISE => return Err(WhyNotSent::NoAdvertise),
                Community::NO_EXPORT | Community::NO_EXPORT_SUBCONFED if !self.is_internal() => {
                    return Err(WhyNotSent::NoExport);
                }
                Community::LLGR_STALE if !self.long_lived => return Err(WhyNotSent::NotLongLived),
                _ => {}
            }
        }
        Ok(())
    }

    /// RFC 4271 §5.1.3. `Auto`: unchanged towards an internal peer, our own towards an external one; what is originated
    /// here has no other next hop than our own in any mode. `SelfAlways` is meant as said and covers reflected routes.
    /// The policy has the last word.
    fn choose_next_hop(
        &self,
        change: Option<NextHopChange>,
        learned: Option<IpAddr>,
        family: Family,
    ) -> Option<IpAddr> {
        let keep = match (change, self.next_hop) {
            (Some(NextHopChange::Address(address)), _) if Family::of_address(&address) == family => {
                return Some(address);
            }
            (Some(NextHopChange::OwnSide), _) => false,
            (Some(NextHopChange::Unchanged), _) => true,
            (Some(NextHopChange::Address(_)) | None, NextHopMode::Auto) => self.is_internal(),
            (Some(NextHopChange::Address(_)) | None, NextHopMode::SelfAlways) => false,
            (Some(NextHopChange::Address(_)) | None, NextHopMode::Keep) => true,
        };
        // Off its link a link-local address is that of nobody, or of another.
        learned.filter(|learned| keep && !is_link_local(learned)).or(self.own_next_hop)
    }
}

//! What a peer may be told, and in which form.
//!
//! [`EgressProfile`] holds *every* setting that can change a byte of what a peer is sent. Peers with equal profiles
//! form one update group: they are decided for and encoded for once. The transformation and the encoder see the
//! profile alone, so no setting can be forgotten in the key.
//!
//! Followed: RFC 4271 §5.1.2 (AS_PATH), §5.1.3 (NEXT_HOP), §5.1.4 (MED), §5.1.5 (LOCAL_PREF), §9.2; RFC 4456 §6–8
//! (reflection); RFC 1997 (well-known communities).

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::decision::DEFAULT_LOCAL_PREF;
use super::peers::{PeerFacts, Source};
use super::reason::WhyNotSent;
use crate::config::{Asn, NextHopMode};
use crate::policy::{Policy, Verdict};
use crate::wire::Context;
use crate::wire::attribute::AttributeSet;
use crate::wire::nlri::Prefix;

/// Everything that decides what a peer is sent: the key of an update group within one family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EgressProfile {
    /// The terms of the session, as the encoder sees them: whether the peer is of our own AS among them.
    pub context: Context,
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
    /// What may be announced.
    pub export: Arc<Policy>,
}

const NO_EXPORT: u32 = 0xffff_ff01;
const NO_ADVERTISE: u32 = 0xffff_ff02;
const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;

impl EgressProfile {
    fn is_internal(&self) -> bool {
        self.context.external_peer.is_none()
    }

    /// The attributes and the next hop under which a path is announced, or why it is not. What depends on the prefix,
    /// the export policy, is asked by [`EgressProfile::exports`].
    pub fn transform(
        &self,
        source: &PeerFacts,
        set: &AttributeSet,
        next_hop: Option<IpAddr>,
    ) -> Result<(AttributeSet, IpAddr), WhyNotSent> {
        self.obey_communities(set)?;
        let reflected = self.is_internal() && source.source == Source::Ibgp;
        if reflected && !(self.client || source.client) {
            return Err(WhyNotSent::InternalToInternal);
        }
        let address = self.choose_next_hop(next_hop).ok_or(WhyNotSent::NoLocalNextHop)?;
        let mut out = set.clone();
        if self.is_internal() {
            out.local_pref.get_or_insert(DEFAULT_LOCAL_PREF);
            if reflected {
                out.originator_id.get_or_insert(Ipv4Addr::from_bits(source.router_id));
                out.cluster_list.insert(0, self.cluster_id);
            }
        } else {
            out.as_path.prepend(self.local_as);
            out.local_pref = None;
            out.originator_id = None;
            out.cluster_list.clear();
            if source.source != Source::Local {
                out.med = None;
            }
        }
        Ok((out, address))
    }

    /// Whether the export policy lets a path pass.
    pub fn exports<P: Prefix>(&self, prefix: P) -> Result<(), WhyNotSent> {
        match self.export.evaluate(prefix) {
            Verdict::Accept => Ok(()),
            Verdict::Reject => Err(WhyNotSent::ExportPolicy),
        }
    }

    fn obey_communities(&self, set: &AttributeSet) -> Result<(), WhyNotSent> {
        for community in &set.communities {
            match community.0 {
                NO_ADVERTISE => return Err(WhyNotSent::NoAdvertise),
                NO_EXPORT | NO_EXPORT_SUBCONFED if !self.is_internal() => return Err(WhyNotSent::NoExport),
                _ => {}
            }
        }
        Ok(())
    }

    /// RFC 4271 §5.1.3. `Auto`: unchanged towards an internal peer, our own towards an external one; what is originated
    /// here has no other next hop than our own in any mode. `SelfAlways` is meant as said and covers reflected routes.
    fn choose_next_hop(&self, learned: Option<IpAddr>) -> Option<IpAddr> {
        let keep = match self.next_hop {
            NextHopMode::Auto => self.is_internal(),
            NextHopMode::SelfAlways => false,
            NextHopMode::Keep => true,
        };
        learned.filter(|_| keep).or(self.own_next_hop)
    }
}

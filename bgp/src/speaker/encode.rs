//! A bundle as bytes, once for all the peers of a group.

use bytes::{Bytes, BytesMut};

use crate::rib::{Audience, Bundle, EgressProfile};
use crate::wire::attribute::NextHop;
use crate::wire::nlri::{Nlri, Prefix};
use crate::wire::update;

/// Whole UPDATE messages with what they are about, so that who misses them can be told later.
#[derive(Debug)]
pub(super) struct Message<P> {
    /// For whom.
    pub(super) audience: Audience,
    /// The messages.
    pub(super) bytes: Bytes,
    /// Their prefixes, each with the identifier of its path.
    pub(super) prefixes: Vec<Nlri<P>>,
}

/// Encodes a bundle. Attributes that leave no room for a prefix make it a withdrawal: the peers must not go on using
/// what they were told before.
pub(super) fn encode<P: Prefix>(profile: &EgressProfile, bundle: Bundle<P>) -> Message<P> {
    let Bundle { audience, attributes, prefixes } = bundle;
    let mut out = BytesMut::new();
    let context = &profile.context;
    match attributes {
        None => update::withdraw(&prefixes, context, &mut out),
        Some((set, next_hop)) => {
            let next_hop = NextHop::from(next_hop);
            if let Err(error) = update::announce(&set, &next_hop, &prefixes, context, &mut out) {
                tracing::warn!(%error, prefixes = prefixes.len(), "routes are withdrawn instead of announced");
                update::withdraw(&prefixes, context, &mut out);
            }
        }
    }
    Message { audience, bytes: out.freeze(), prefixes }
}

/// The End-of-RIB marker of a family.
pub(super) fn end_of_rib<P: Prefix>(audience: Audience) -> Message<P> {
    let mut out = BytesMut::new();
    update::end_of_rib(P::FAMILY, &mut out);
    Message { audience, bytes: out.freeze(), prefixes: Vec::new() }
}

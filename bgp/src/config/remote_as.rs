//! In which autonomous system a peer may be.
//!
//! Most peers are in one that is known. Of others only their side is, inside or outside of the own AS, or a few numbers of
//! which each may have any: the one a peer is in is then learnt from its OPEN, for each session anew.

use std::fmt;
use std::sync::Arc;

use super::Asn;

/// The autonomous systems that a peer may show in its OPEN.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RemoteAs {
    /// This one.
    Exactly(Asn),
    /// One of these. They are all the one shown to the peer, or none of them is.
    AnyOf(Arc<[Asn]>),
    /// Any but the one shown to the peer.
    External,
    /// The one shown to the peer.
    Internal,
}

impl RemoteAs {
    /// The one it must be, where that is known before there is a session.
    pub fn known(&self, local: Asn) -> Option<Asn> {
        match self {
            RemoteAs::Exactly(asn) => Some(*asn),
            RemoteAs::AnyOf(list) => list.first().filter(|_| list.len() == 1).copied(),
            RemoteAs::External => None,
            RemoteAs::Internal => Some(local),
        }
    }

    /// Whether sessions with the peer are internal, where `local` is shown to it.
    pub fn is_internal(&self, local: Asn) -> bool {
        match self {
            RemoteAs::Exactly(asn) => *asn == local,
            RemoteAs::AnyOf(list) => list.contains(&local),
            RemoteAs::External => false,
            RemoteAs::Internal => true,
        }
    }

    /// Whether a peer that says it is in `found` is let in, where `local` is shown to it.
    pub fn admits(&self, local: Asn, found: Asn) -> bool {
        match self {
            RemoteAs::Exactly(asn) => *asn == found,
            RemoteAs::AnyOf(list) => list.contains(&found),
            RemoteAs::External => found != local,
            RemoteAs::Internal => found == local,
        }
    }

    /// The numbers that are named.
    pub(super) fn named(&self) -> &[Asn] {
        match self {
            RemoteAs::Exactly(asn) => std::slice::from_ref(asn),
            RemoteAs::AnyOf(list) => list,
            RemoteAs::External | RemoteAs::Internal => &[],
        }
    }
}

impl From<Asn> for RemoteAs {
    fn from(asn: Asn) -> Self {
        RemoteAs::Exactly(asn)
    }
}

impl fmt::Display for RemoteAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RemoteAs::Exactly(asn) => write!(f, "AS {asn}"),
            RemoteAs::AnyOf(list) => {
                let names: Vec<String> = list.iter().map(Asn::to_string).collect();
                write!(f, "AS {}", names.join(" or "))
            }
            RemoteAs::External => f.write_str("any other AS than ours"),
            RemoteAs::Internal => f.write_str("our own AS"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_let_in_and_what_is_known_before() {
        let us = Asn(1);
        let few = RemoteAs::AnyOf([Asn(2), Asn(3)].into());
        // What is configured, whether it is internal, what is known of it, whether AS 1, 2, 3 and 4 are let in.
        for (configured, internal, known, admitted) in [
            (RemoteAs::from(Asn(2)), false, Some(Asn(2)), [false, true, false, false]),
            (RemoteAs::from(us), true, Some(us), [true, false, false, false]),
            (few, false, None, [false, true, true, false]),
            (RemoteAs::AnyOf([Asn(4)].into()), false, Some(Asn(4)), [false, false, false, true]),
            (RemoteAs::External, false, None, [false, true, true, true]),
            (RemoteAs::Internal, true, Some(us), [true, false, false, false]),
        ] {
            let found = [1, 2, 3, 4].map(|asn| configured.admits(us, Asn(asn)));
            assert_eq!(found, admitted, "{configured}");
            assert_eq!((configured.is_internal(us), configured.known(us)), (internal, known), "{configured}");
        }
    }
}

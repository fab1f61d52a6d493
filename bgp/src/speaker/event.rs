//! What a speaker tells those who listen.

use crate::config::{Family, PeerKey};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpeakerEvent {
    /// A session is established.
    PeerUp {
        /// With whom.
        key: PeerKey,
    },
    /// A session is over.
    PeerDown {
        /// With whom.
        key: PeerKey,
        /// Why.
        reason: String,
    },
    /// A peer has sent its first table.
    EndOfRib {
        /// Who.
        key: PeerKey,
        /// Of which family.
        family: Family,
    },
}

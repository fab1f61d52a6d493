//! Several paths of one prefix on one session (RFC 7911).

use std::num::NonZeroU8;

/// Which paths of a prefix a peer is told where more than one may be sent to it; elsewhere it is told the best.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum PathsSent {
    /// Every path that takes part in the decision.
    #[default]
    All,
    /// The best so many, in the order of the decision.
    First(NonZeroU8),
}

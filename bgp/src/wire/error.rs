//! What can be wrong with received bytes.

/// What a fault costs. The order is the ladder of RFC 7606 §2: of several faults in one message the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Disposition {
    /// The attribute is dropped, the rest of the message used.
    AttributeDiscard,
    /// Every prefix the message announces is withdrawn.
    TreatAsWithdraw,
    /// The session ends with a NOTIFICATION.
    SessionReset,
}

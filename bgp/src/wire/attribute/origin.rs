//! ORIGIN (type 1, RFC 4271 §5.1.1): how the prefix came into BGP.

/// The value; the order is that of preference (RFC 4271 §9.1.2.2 b).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// From the interior of its AS.
    #[default]
    Igp,
    /// Learnt by EGP.
    Egp,
    /// By other means, as redistribution.
    Incomplete,
}

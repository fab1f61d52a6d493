//! Which routes are accepted from a peer and announced to it.

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The route is used (or announced).
    Accept,
    /// The route is kept apart, with its reason, and neither used nor announced.
    Reject,
}

/// An ordered list of rules, of which the first match decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What becomes of a route that no rule matches.
    pub default: Verdict,
}

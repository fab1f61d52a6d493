//! One rule of a policy.

use super::prefix_set::PrefixMatch;

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The route is used (or announced).
    Accept,
    /// The route is kept apart, with its reason, and neither used nor announced.
    Reject,
}

/// A route that matches one of the prefixes gets the verdict.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What people see as the reason: a CamelCase word, or the name of the filter it comes from.
    pub name: String,
    /// Which routes it is about; without any the rule matches every route.
    pub prefixes: Vec<PrefixMatch>,
    /// What becomes of them.
    pub verdict: Verdict,
}

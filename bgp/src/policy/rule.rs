//! One rule of a policy.

use super::condition::Condition;
use super::operation::Operation;
use super::prefix_set::PrefixMatch;

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The route is used (or announced).
    Accept,
    /// The route is kept apart, with its reason, and neither used nor announced.
    Reject,
}

/// What a rule does with a route that matches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    /// It is accepted, and no further rule is looked at.
    Accept,
    /// It is rejected, and no further rule is looked at.
    Reject,
    /// The operations are noted and the next rule is looked at.
    Continue,
}

/// A route matches if its prefix matches one of the prefixes and every condition holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// What people see as the reason: a CamelCase word, or the name of the filter it comes from.
    pub name: String,
    /// Which prefixes it is about; without any it is about every prefix.
    pub prefixes: Vec<PrefixMatch>,
    /// What must hold besides; all of it.
    pub conditions: Vec<Condition>,
    /// What is done to the attributes, in this order, unless the route is rejected in the end.
    pub operations: Vec<Operation>,
    /// What becomes of the route.
    pub then: Then,
}

impl Rule {
    /// A rule about some prefixes; without any about every prefix.
    pub fn new(name: impl Into<String>, prefixes: impl Into<Vec<PrefixMatch>>, then: Then) -> Self {
        let (name, prefixes) = (name.into(), prefixes.into());
        Rule { name, prefixes, conditions: Vec::new(), operations: Vec::new(), then }
    }

    /// Accepts what lies in some prefixes.
    pub fn accept(name: impl Into<String>, prefixes: impl Into<Vec<PrefixMatch>>) -> Self {
        Rule::new(name, prefixes, Then::Accept)
    }

    /// Rejects what lies in some prefixes.
    pub fn reject(name: impl Into<String>, prefixes: impl Into<Vec<PrefixMatch>>) -> Self {
        Rule::new(name, prefixes, Then::Reject)
    }

    /// The same rule with one more condition.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Self {
        self.conditions.push(condition);
        self
    }

    /// The same rule with one more operation.
    #[must_use]
    pub fn with(mut self, operation: Operation) -> Self {
        self.operations.push(operation);
        self
    }
}

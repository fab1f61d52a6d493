//! Which routes are accepted from a peer and announced to it, and with which attributes.
//!
//! A [`Policy`] is an ordered list of [`Rule`]s, of which the first that accepts or rejects decides; the operations of
//! every rule passed on the way and of the deciding one are carried out, in that order, on a route that is accepted.
//! Conditions look at the route as it came, so that the order of operations never changes which rules match.
//!
//! The prefixes of all rules are compiled into one trie, so that a rule with a thousand prefixes costs the same as a
//! rule with one: the prefixes covering a route are at most as many as its length. Two policies are equal when their
//! rules are; compiling the same rules again is no change.
//!
//! [`Policy::absent`] is what a peer has for which nobody gave a policy: it accepts everything, unless RFC 8212 is
//! asked for (`require_policies` of [`crate::config::Config`]), under which an external peer without policy gets and
//! gives nothing.

mod community;
mod compile;
mod condition;
mod operation;
mod prefix_set;
mod rule;

use std::fmt;
use std::hash::{Hash, Hasher};

use smallvec::SmallVec;

pub use community::{AnyCommunity, NoCommunity};
pub use condition::{Condition, PeerType, Subject};
pub use operation::{NextHopChange, Operation};
pub use prefix_set::{IllegalLengths, PrefixMatch};
pub use rule::{Rule, Then, Verdict};

use crate::wire::attribute::AttributeSet;
use crate::wire::nlri::Prefix;

/// An ordered list of rules, of which the first match decides.
#[derive(Clone)]
pub struct Policy {
    rules: Vec<Rule>,
    default: Verdict,
    given: bool,
    compiled: compile::Compiled,
}

/// What a policy says of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether it passes.
    pub verdict: Verdict,
    /// The place of the rule that decided; `None`: no rule did, the default does.
    pub rule: Option<usize>,
    /// What is done to it if it passes.
    pub edits: Edits,
}

/// Which rules' operations are to be carried out: what routes with equal edits and equal attributes become is equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Edits(SmallVec<[u32; 4]>);

impl Edits {
    /// Whether the route stays as it is.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Policy {
    /// The policy of these rules; `default` for a route that none of them decides.
    pub fn new(rules: Vec<Rule>, default: Verdict) -> Self {
        let compiled = compile::Compiled::new(&rules);
        Policy { rules, default, given: true, compiled }
    }

    /// Everything passes.
    pub fn accept_all() -> Self {
        Policy::new(Vec::new(), Verdict::Accept)
    }

    /// Nothing passes.
    pub fn reject_all() -> Self {
        Policy::new(Vec::new(), Verdict::Reject)
    }

    /// Nobody gave a policy: everything passes.
    pub fn absent() -> Self {
        Policy { given: false, ..Policy::accept_all() }
    }

    /// Nobody gave a policy although one is required: nothing passes (RFC 8212).
    pub fn required() -> Self {
        Policy { given: false, ..Policy::reject_all() }
    }

    /// Whether somebody gave this policy.
    pub fn is_given(&self) -> bool {
        self.given
    }

    /// The rules, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What becomes of a route that no rule decides.
    pub fn default_verdict(&self) -> Verdict {
        self.default
    }

    /// What becomes of a route.
    pub fn decide<P: Prefix>(&self, prefix: P, subject: &Subject<'_>) -> Decision {
        let mut edits = Edits::default();
        if self.rules.is_empty() {
            return Decision { verdict: self.default, rule: None, edits };
        }
        for place in self.compiled.candidates(&prefix.to_network()) {
            let Some(rule) = self.rules.get(place as usize) else { continue };
            if !rule.conditions.iter().all(|condition| condition.holds(prefix, subject)) {
                continue;
            }
            if !rule.operations.is_empty() {
                edits.0.push(place);
            }
            let verdict = match rule.then {
                Then::Accept => Verdict::Accept,
                Then::Reject => Verdict::Reject,
                Then::Continue => continue,
            };
            return Decision { verdict, rule: Some(place as usize), edits };
        }
        Decision { verdict: self.default, rule: None, edits }
    }

    /// Carries out what was decided; what it says of the next hop is returned.
    pub fn edit(&self, edits: &Edits, set: &mut AttributeSet) -> Option<NextHopChange> {
        let mut next_hop = None;
        let rules = edits.0.iter().filter_map(|place| self.rules.get(*place as usize));
        for operation in rules.flat_map(|rule| &rule.operations) {
            operation.apply(set, &mut next_hop);
        }
        next_hop
    }

    /// Whether a rule asks through which interface a next hop is reached.
    pub fn asks_for_interface(&self) -> bool {
        let asks = |condition: &Condition| matches!(condition, Condition::Interface(_));
        self.rules.iter().any(|rule| rule.conditions.iter().any(asks))
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.default == other.default && self.given == other.given && self.rules == other.rules
    }
}

impl Eq for Policy {}

impl Hash for Policy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rules.hash(state);
        self.default.hash(state);
        self.given.hash(state);
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy")
            .field("rules", &self.rules)
            .field("default", &self.default)
            .field("given", &self.given)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::config::Asn;
    use crate::rib::Source;
    use crate::wire::attribute::{AsPath, Community};
    use crate::wire::nlri::{Ipv4Prefix, Ipv6Prefix};

    fn decide(policy: &Policy, prefix: &str, set: &AttributeSet) -> Decision {
        let subject = Subject {
            attributes: set,
            next_hop: None,
            interface: None,
            source: Source::Ebgp,
            peer: PeerType::External,
        };
        let network = prefix.parse().unwrap();
        match Ipv4Prefix::from_network(&network) {
            Some(v4) => policy.decide(v4, &subject),
            None => policy.decide(Ipv6Prefix::from_network(&network).unwrap(), &subject),
        }
    }

    fn evaluate(policy: &Policy, prefix: &str) -> Verdict {
        decide(policy, prefix, &AttributeSet::default()).verdict
    }

    fn within(text: &str) -> PrefixMatch {
        PrefixMatch::within(text.parse().unwrap())
    }

    fn pools() -> Policy {
        Policy::new(
            vec![
                Rule::reject("OwnBlock", [within("10.244.3.0/26")]),
                Rule::accept("Pools", [within("10.244.0.0/16"), within("fd00:244::/48")]),
            ],
            Verdict::Reject,
        )
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = pools();
        assert_eq!(evaluate(&policy, "10.244.9.0/26"), Verdict::Accept);
        assert_eq!(evaluate(&policy, "10.244.3.7/32"), Verdict::Reject);
        assert_eq!(decide(&policy, "10.244.3.7/32", &AttributeSet::default()).rule, Some(0));
    }

    #[test]
    fn the_default_decides_where_no_rule_matches() {
        let policy = pools();
        assert_eq!(evaluate(&policy, "10.0.0.0/8"), Verdict::Reject, "covers a pool, is not inside one");
        assert_eq!(decide(&policy, "192.0.2.0/24", &AttributeSet::default()).rule, None);
        assert_eq!(evaluate(&policy, "fd00:244::40/122"), Verdict::Accept);
    }

    #[test]
    fn an_earlier_rule_wins_over_a_longer_prefix_of_a_later_one() {
        let rules = vec![
            Rule::accept("Wide", [within("10.0.0.0/8")]),
            Rule::reject("Narrow", [within("10.1.0.0/16")]),
        ];
        assert_eq!(evaluate(&Policy::new(rules, Verdict::Reject), "10.1.2.0/24"), Verdict::Accept);
    }

    #[test]
    fn lengths_outside_ge_and_le_do_not_match() {
        let only = PrefixMatch::new("10.0.0.0/8".parse().unwrap(), 16, 24).unwrap();
        let policy = Policy::new(vec![Rule::accept("Middle", [only])], Verdict::Reject);
        for (text, verdict) in [
            ("10.0.0.0/8", Verdict::Reject),
            ("10.1.0.0/16", Verdict::Accept),
            ("10.1.1.0/24", Verdict::Accept),
            ("10.1.1.0/25", Verdict::Reject),
        ] {
            assert_eq!(evaluate(&policy, text), verdict, "{text}");
        }
    }

    #[test]
    fn a_rule_holds_only_if_all_its_conditions_do() {
        let rule = Rule::reject("Transit", [within("10.0.0.0/8")])
            .when(Condition::AsPathContains(vec![Asn(7)]))
            .when(Condition::Peer(PeerType::External));
        let policy = Policy::new(vec![rule], Verdict::Accept);
        let through = |asn| AttributeSet { as_path: AsPath::sequence([Asn(asn)]), ..AttributeSet::default() };
        assert_eq!(decide(&policy, "10.1.0.0/16", &through(7)).verdict, Verdict::Reject);
        assert_eq!(decide(&policy, "10.1.0.0/16", &through(8)).verdict, Verdict::Accept);
        assert_eq!(decide(&policy, "192.0.2.0/24", &through(7)).verdict, Verdict::Accept);
    }

    #[test]
    fn what_lies_outside_matches_the_negation() {
        let rule = Rule::reject("Foreign", []).when(Condition::OutsideOf(vec![within("10.0.0.0/8")]));
        let policy = Policy::new(vec![rule], Verdict::Accept);
        assert_eq!(evaluate(&policy, "10.1.0.0/16"), Verdict::Accept);
        assert_eq!(evaluate(&policy, "192.0.2.0/24"), Verdict::Reject);
        assert_eq!(evaluate(&policy, "0.0.0.0/0"), Verdict::Reject, "covers it, is not inside");
    }

    #[test]
    fn the_operations_on_the_way_are_carried_out_in_order_and_those_of_other_rules_are_not() {
        let community = |text: &str| Operation::AddCommunity(text.parse().unwrap());
        let policy = Policy::new(
            vec![
                Rule::new("Mark", [], Then::Continue).with(community("1:1")).with(Operation::LocalPref(7)),
                Rule::accept("Other", [within("192.0.2.0/24")]).with(community("2:2")),
                Rule::accept("Ours", [within("10.0.0.0/8")]).with(Operation::LocalPref(9)),
            ],
            Verdict::Reject,
        );
        let decision = decide(&policy, "10.1.0.0/16", &AttributeSet::default());
        assert_eq!((decision.verdict, decision.rule), (Verdict::Accept, Some(2)));
        let mut set = AttributeSet::default();
        assert_eq!(policy.edit(&decision.edits, &mut set), None);
        assert_eq!((set.communities, set.local_pref), (vec![Community::new(1, 1)], Some(9)));
    }

    #[test]
    fn policies_of_the_same_rules_are_equal_though_compiled_twice() {
        assert_eq!(Arc::new(pools()), Arc::new(pools()));
        assert_ne!(pools(), Policy::accept_all());
        assert_ne!(Policy::absent(), Policy::accept_all(), "somebody gave the one and nobody the other");
    }
}

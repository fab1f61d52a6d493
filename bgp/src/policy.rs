//! Which routes are accepted from a peer and announced to it.
//!
//! A [`Policy`] is an ordered list of rules, of which the first that matches decides. The prefixes of all its rules
//! are compiled into one trie, so that a rule with a thousand prefixes costs the same as a rule with one: the
//! prefixes covering a route are at most as many as its length. Two policies are equal when their rules are;
//! compiling the same rules again is no change.

mod compile;
mod prefix_set;
mod rule;

use std::fmt;
use std::hash::{Hash, Hasher};

pub use prefix_set::{IllegalLengths, PrefixMatch};
pub use rule::{Rule, Verdict};

use crate::wire::nlri::Prefix;

/// An ordered list of rules, of which the first match decides.
#[derive(Clone)]
pub struct Policy {
    rules: Vec<Rule>,
    default: Verdict,
    compiled: compile::Compiled,
}

impl Policy {
    /// The policy of these rules; `default` for a route that none of them matches.
    pub fn new(rules: Vec<Rule>, default: Verdict) -> Self {
        let compiled = compile::Compiled::new(&rules);
        Policy { rules, default, compiled }
    }

    /// Everything passes.
    pub fn accept_all() -> Self {
        Policy::new(Vec::new(), Verdict::Accept)
    }

    /// Nothing passes.
    pub fn reject_all() -> Self {
        Policy::new(Vec::new(), Verdict::Reject)
    }

    /// The rules, in their order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What becomes of a route that no rule matches.
    pub fn default_verdict(&self) -> Verdict {
        self.default
    }

    /// What becomes of a prefix.
    pub fn evaluate<P: Prefix>(&self, prefix: P) -> Verdict {
        self.deciding(prefix).map_or(self.default, |rule| rule.verdict)
    }

    /// The rule that decides over a prefix; `None`: no rule matches, the default does.
    pub fn deciding<P: Prefix>(&self, prefix: P) -> Option<&Rule> {
        if self.rules.is_empty() {
            return None;
        }
        self.rules.get(self.compiled.first_match(&prefix.to_network())?)
    }
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        self.default == other.default && self.rules == other.rules
    }
}

impl Eq for Policy {}

impl Hash for Policy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rules.hash(state);
        self.default.hash(state);
    }
}

impl fmt::Debug for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Policy").field("rules", &self.rules).field("default", &self.default).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::wire::nlri::{Ipv4Prefix, Ipv6Prefix};

    fn v4(text: &str) -> Ipv4Prefix {
        Ipv4Prefix::from_network(&text.parse().unwrap()).unwrap()
    }

    fn pools() -> Policy {
        let own = PrefixMatch::within("10.244.3.0/26".parse().unwrap());
        let pools = ["10.244.0.0/16", "fd00:244::/48"].map(|text| PrefixMatch::within(text.parse().unwrap()));
        Policy::new(
            vec![
                Rule { name: "OwnBlock".into(), prefixes: vec![own], verdict: Verdict::Reject },
                Rule { name: "Pools".into(), prefixes: pools.to_vec(), verdict: Verdict::Accept },
            ],
            Verdict::Reject,
        )
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let policy = pools();
        assert_eq!(policy.evaluate(v4("10.244.9.0/26")), Verdict::Accept);
        assert_eq!(policy.evaluate(v4("10.244.3.7/32")), Verdict::Reject);
        assert_eq!(policy.deciding(v4("10.244.3.7/32")).map(|rule| rule.name.as_str()), Some("OwnBlock"));
    }

    #[test]
    fn the_default_decides_where_no_rule_matches() {
        let policy = pools();
        assert_eq!(policy.evaluate(v4("10.0.0.0/8")), Verdict::Reject, "covers a pool, is not inside one");
        assert_eq!(policy.deciding(v4("192.0.2.0/24")), None);
        let v6 = Ipv6Prefix::from_network(&"fd00:244::40/122".parse().unwrap()).unwrap();
        assert_eq!(policy.evaluate(v6), Verdict::Accept);
    }

    #[test]
    fn an_earlier_rule_wins_over_a_longer_prefix_of_a_later_one() {
        let wide = PrefixMatch::within("10.0.0.0/8".parse().unwrap());
        let narrow = PrefixMatch::within("10.1.0.0/16".parse().unwrap());
        let policy = Policy::new(
            vec![
                Rule { name: "Wide".into(), prefixes: vec![wide], verdict: Verdict::Accept },
                Rule { name: "Narrow".into(), prefixes: vec![narrow], verdict: Verdict::Reject },
            ],
            Verdict::Reject,
        );
        assert_eq!(policy.evaluate(v4("10.1.2.0/24")), Verdict::Accept);
    }

    #[test]
    fn lengths_outside_ge_and_le_do_not_match() {
        let network = "10.0.0.0/8".parse().unwrap();
        let only = PrefixMatch::new(network, 16, 24).unwrap();
        let rule = Rule { name: "Middle".into(), prefixes: vec![only], verdict: Verdict::Accept };
        let policy = Policy::new(vec![rule], Verdict::Reject);
        for (text, verdict) in [
            ("10.0.0.0/8", Verdict::Reject),
            ("10.1.0.0/16", Verdict::Accept),
            ("10.1.1.0/24", Verdict::Accept),
            ("10.1.1.0/25", Verdict::Reject),
        ] {
            assert_eq!(policy.evaluate(v4(text)), verdict, "{text}");
        }
    }

    #[test]
    fn policies_of_the_same_rules_are_equal_though_compiled_twice() {
        assert_eq!(Arc::new(pools()), Arc::new(pools()));
        assert_ne!(pools(), Policy::accept_all());
    }
}

//! A session that is about to end (RFC 8326 §4): what the peer is told is marked with GRACEFUL_SHUTDOWN and what it tells
//! gets LOCAL_PREF 0, so that traffic takes another way while this one still works.
//!
//! Both are changes of policy, so that the session stands while routes move.

use caracal_bgp::policy::{AnyCommunity, Operation, Policy, Rule, Then, Verdict};
use caracal_bgp::wire::attribute::Community;

/// What is told as the reason.
const NAME: &str = "GracefulShutdown";
/// What the RFC recommends.
const LAST_RESORT: u32 = 0;

/// The same policy, under which nothing that passes is preferred to any other path.
pub(super) fn import(policy: &Policy) -> Policy {
    with_each_accepted(policy, &Operation::LocalPref(LAST_RESORT))
}

/// The same policy, under which all that passes carries the community.
pub(super) fn export(policy: &Policy) -> Policy {
    let community = AnyCommunity::Standard(Community::GRACEFUL_SHUTDOWN);
    with_each_accepted(policy, &Operation::AddCommunity(community))
}

/// One more operation on whatever is accepted, after all others.
fn with_each_accepted(policy: &Policy, operation: &Operation) -> Policy {
    let mut rules: Vec<Rule> = policy.rules().to_vec();
    rules.iter_mut().filter(|rule| rule.then == Then::Accept).for_each(|rule| {
        rule.operations.push(operation.clone());
    });
    if policy.default_verdict() == Verdict::Accept {
        rules.push(Rule::accept(NAME, Vec::new()).with(operation.clone()));
    }
    Policy::new(rules, policy.default_verdict())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_pass_has_the_operation_last() {
        let low = Operation::LocalPref(LAST_RESORT);
        let preferred = Rule::accept("preferred", Vec::new()).with(Operation::LocalPref(200));
        let rejected = Rule::reject("rejected", Vec::new());
        let policy = import(&Policy::new(vec![preferred.clone(), rejected.clone()], Verdict::Accept));
        let everything = Rule::accept(NAME, Vec::new()).with(low.clone());
        assert_eq!(policy.rules(), [preferred.clone().with(low.clone()), rejected.clone(), everything]);
        let policy = import(&Policy::new(vec![preferred.clone(), rejected.clone()], Verdict::Reject));
        assert_eq!(policy.rules(), [preferred.with(low), rejected], "what was rejected by default still is");
    }
}

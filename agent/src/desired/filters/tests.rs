use super::*;
use caracal_bgp::policy::{Policy, Subject, Verdict};
use caracal_bgp::rib::Source;
use caracal_bgp::wire::attribute::{AsPath, AttributeSet};
use caracal_bgp::wire::nlri::{Ipv4Prefix, Ipv6Prefix, Prefix};
use serde_json::{Value, json};

fn filter(spec: Value) -> Snapshot<BgpFilter> {
    [BgpFilter::new("f", serde_json::from_value(spec).unwrap())].into_iter().collect()
}

/// The import policy of a filter with these rules for IPv4; what no rule decides is accepted.
fn import(rules: Value) -> Policy {
    let (rules, wrong) = self::rules(&["f".to_owned()], &filter(json!({"importV4": rules})));
    assert_eq!(wrong, Vec::<String>::new());
    Policy::new(rules.import, Verdict::Accept)
}

fn of_peer_65001() -> AttributeSet {
    let communities = vec![caracal_bgp::wire::attribute::Community::new(64512, 7)];
    AttributeSet {
        as_path: AsPath::sequence([Asn(65001), Asn(65002)]),
        communities,
        ..AttributeSet::default()
    }
}

/// What becomes of a route, and its attributes where it passes.
fn outcome(policy: &Policy, prefix: &str, source: Source) -> Option<AttributeSet> {
    let mut set = of_peer_65001();
    let subject = Subject {
        attributes: &set,
        next_hop: None,
        interface: Some("eth0"),
        source,
        peer: policy::PeerType::External,
    };
    let network: IpNetwork = prefix.parse().unwrap();
    let decision = match Ipv4Prefix::from_network(&network) {
        Some(v4) => policy.decide(v4, &subject),
        None => policy.decide(Ipv6Prefix::from_network(&network).unwrap(), &subject),
    };
    (decision.verdict == Verdict::Accept).then(|| {
        policy.edit(&decision.edits, &mut set);
        set
    })
}

fn passes(rules: Value, prefix: &str) -> bool {
    outcome(&import(rules), prefix, Source::Ebgp).is_some()
}

#[test]
fn operators_compare_the_prefix_with_the_network() {
    let rejects = |operator: &str, prefix: &str| {
        !passes(json!([{"cidr": "10.1.0.0/16", "matchOperator": operator, "action": "Reject"}]), prefix)
    };
    for (operator, same, inside, outside) in [
        ("Equal", true, false, false),
        ("NotEqual", false, true, true),
        ("In", true, true, false),
        ("NotIn", false, false, true),
    ] {
        let found = ["10.1.0.0/16", "10.1.2.0/24", "10.2.0.0/16"].map(|prefix| rejects(operator, prefix));
        assert_eq!(found, [same, inside, outside], "{operator}");
        assert!(!rejects(operator, "fd00::/64"), "rules of IPv4 say nothing of IPv6");
    }
}

#[test]
fn lengths_narrow_the_match() {
    let lengths = |operator: &str, lengths: Value, prefix: &str| {
        let rule = json!([{
            "cidr": "10.1.0.0/16", "matchOperator": operator, "prefixLength": lengths, "action": "Reject"
        }]);
        !passes(rule, prefix)
    };
    assert!(lengths("In", json!({"min": 24, "max": 26}), "10.1.2.0/24"));
    assert!(!lengths("In", json!({"min": 24, "max": 26}), "10.1.0.0/16"));
    assert!(!lengths("In", json!({"max": 26}), "10.1.2.0/27"));
    assert!(lengths("NotIn", json!({"min": 24}), "10.1.0.0/16"));
    assert!(!lengths("Equal", json!({"min": 24}), "10.1.0.0/16"), "no route is both");
    assert!(lengths("NotEqual", json!({"min": 24}), "10.1.0.0/16"));
}

#[test]
fn everything_that_a_rule_names_must_hold() {
    for (condition, holds) in [
        (json!({"source": "RemotePeers"}), true),
        (json!({"interface": "eth*"}), true),
        (json!({"interface": "cali*"}), false),
        (json!({"peerType": "eBGP"}), true),
        (json!({"peerType": "iBGP"}), false),
        (json!({"communities": {"values": ["64512:7"]}}), true),
        (json!({"communities": {"values": ["64512:7:7"]}}), false),
        (json!({"asPathPrefix": [65001, 65002]}), true),
        (json!({"asPathPrefix": [65002]}), false),
        (json!({"priority": 1024}), true),
        (json!({"priority": 512}), false),
        (json!({"peerType": "eBGP", "asPathPrefix": [7]}), false),
    ] {
        let mut rule = condition.clone();
        rule["action"] = json!("Reject");
        assert_eq!(!passes(json!([rule]), "10.1.0.0/16"), holds, "{condition}");
    }
    let own = import(json!([{"source": "RemotePeers", "action": "Reject"}]));
    assert!(outcome(&own, "10.1.0.0/16", Source::Local).is_some());
}

#[test]
fn the_first_rule_that_matches_decides_and_its_operations_alone_are_carried_out() {
    let policy = import(json!([
        {"cidr": "10.1.0.0/16", "matchOperator": "In", "action": "Accept", "operations": [
            {"addCommunity": {"value": "64512:1:2"}},
            {"prependASPath": {"prefix": [1, 2]}},
            {"setPriority": {"value": 512}}
        ]},
        {"action": "Accept", "operations": [{"setPriority": {"value": 5000}}]}
    ]));
    let set = outcome(&policy, "10.1.2.0/24", Source::Ebgp).unwrap();
    assert_eq!(set.as_path.to_string(), "1 2 65001 65002");
    assert_eq!((set.large_communities.len(), set.communities.len(), set.local_pref), (1, 1, Some(612)));
    let other = outcome(&policy, "10.2.0.0/16", Source::Ebgp).unwrap();
    assert_eq!((other.large_communities.len(), other.local_pref), (0, Some(0)), "worse than any other");
}

#[test]
fn a_filter_that_is_missing_or_unreadable_lets_nothing_pass_and_says_so() {
    let unreadable =
        filter(json!({"exportV4": [{"cidr": "10.0.0.0", "matchOperator": "In", "action": "Accept"}]}));
    for (filters, said) in
        [(Snapshot::default(), "no such BGPFilter"), (unreadable, "exportV4[0]: cidr '10.0.0.0'")]
    {
        let (rules, wrong) = rules(&["f".to_owned()], &filters);
        assert!(wrong[0].contains(said), "{wrong:?}");
        for rules in [rules.import, rules.export] {
            let policy = Policy::new(rules, Verdict::Accept);
            assert_eq!(outcome(&policy, "10.1.0.0/16", Source::Ebgp), None);
            assert_eq!(outcome(&policy, "fd00::/64", Source::Ebgp), None);
        }
    }
}

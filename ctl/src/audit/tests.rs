//! One situation a test, and what is said of it.

use caracal_api::{BlockOwner, IpPool, IpamBlockSpec};
use serde_json::json;

use super::*;

fn pool(name: &str, cidr: &str, uid: &str) -> IpPool {
    let mut pool = IpPool::new(name, serde_json::from_value(json!({"cidr": cidr})).unwrap());
    pool.metadata.uid = Some(uid.into());
    pool
}

/// A block of node `owner`, whose Node's UID is `u-owner`.
fn block(cidr: &str, owner: &str, records: &[(u32, &str)]) -> IpamBlock {
    let spec = IpamBlockSpec {
        cidr: cidr.into(),
        owner: BlockOwner {
            kind: OwnerKind::Node,
            name: owner.into(),
            node_uid: format!("u-{owner}"),
            machine_id: "m".into(),
            claim_token: "t".into(),
        },
        pool: "pods".into(),
        pool_uid: "pool-uid".into(),
        lends: false,
        shared: false,
        revision: 0,
        allocations: records.iter().map(|(ordinal, text)| (ordinal.to_string(), (*text).into())).collect(),
    };
    let name = cidr.parse::<BlockCidr>().map_or_else(|_| "broken".into(), BlockCidr::object_name);
    let mut block = IpamBlock::new(&name, spec);
    block.metadata.uid = Some(format!("uid-{name}"));
    block
}

fn pod(name: &str, node: &str, addresses: &[&str]) -> PodSeen {
    PodSeen {
        namespace: "default".into(),
        name: name.into(),
        node: node.into(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ended: None,
    }
}

/// A cluster in which all fits: two nodes, a pod on each, one of them with a borrowed address.
fn sound() -> Evidence {
    let mut lent = block("10.244.0.0/26", "n1", &[]);
    lent.spec.allocations.insert("1".into(), "w/1/caracal.c1.eth0/default/web".into());
    lent.spec.allocations.insert("2".into(), "w/2/caracal.c2.eth0/default/db/n2/u-n2/j".into());
    lent.spec.allocations.insert("3".into(), "t/3/caracal.tunnel-vxlan-v4-n1.vxlan.caracal//".into());
    lent.spec.allocations.insert("4".into(), "h/0///".into());
    Evidence {
        blocks: vec![lent, block("10.244.0.64/26", "n2", &[])],
        pools: vec![pool("pods", "10.244.0.0/16", "pool-uid")],
        nodes: [("n1".to_owned(), "u-n1".to_owned()), ("n2".to_owned(), "u-n2".to_owned())].into(),
        tunnels: [("10.244.0.3".parse().unwrap(), "n1".to_owned())].into(),
        pods: vec![pod("web", "n1", &["10.244.0.1"]), pod("db", "n2", &["10.244.0.2"])],
        locals: Vec::new(),
        silent: BTreeMap::new(),
    }
}

/// What is found, as `problem subject: words`.
fn words(evidence: &Evidence) -> Vec<String> {
    audit(evidence).iter().map(|f| format!("{:?} {}: {}", f.problem, f.subject(), f.found)).collect()
}

/// The only thing that is found.
fn only(evidence: &Evidence) -> Finding {
    let mut found = audit(evidence);
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

#[test]
fn a_sound_cluster_has_no_problems() {
    assert_eq!(words(&sound()), Vec::<String>::new());
    assert_eq!(words(&Evidence::default()), Vec::<String>::new());
}

#[test]
fn a_record_leaks_if_its_pod_is_gone_or_over_or_elsewhere_or_has_another_address() {
    let why = |change: fn(&mut Vec<PodSeen>)| {
        let mut evidence = sound();
        change(&mut evidence.pods);
        let finding = only(&evidence);
        assert_eq!(finding.problem, Problem::LeakedAddress);
        assert_eq!(finding.node.as_deref(), Some("n1"));
        assert!(matches!(&finding.fix, Some(Fix::Release { node, .. }) if node == "n1"), "{finding:?}");
        finding.found
    };
    assert!(why(|pods| drop(pods.remove(0))).ends_with("default/web on n1, which does not exist"));
    assert!(why(|pods| pods[0].ended = Some("Failed".into())).ends_with("which has ended (Failed)"));
    assert!(
        why(|pods| {
            pods[0].node = "n2".into();
            pods[0].addresses.clear();
        })
        .ends_with("which runs on n2 now")
    );
    // Its address then lies outside the pools, so that this is all there is to tell.
    assert!(
        why(|pods| pods[0].addresses = vec!["192.0.2.1".parse().unwrap()]).ends_with("which has 192.0.2.1")
    );
}

#[test]
fn a_pod_that_has_not_told_its_address_yet_and_further_interfaces_are_no_leaks() {
    let mut evidence = sound();
    evidence.pods[0].addresses.clear();
    let more = "w/9/other.c1.net1/default/web".to_owned();
    evidence.blocks[0].spec.allocations.insert("9".into(), more);
    assert_eq!(words(&evidence), Vec::<String>::new());
}

#[test]
fn a_pod_without_a_record_is_told_with_its_block() {
    let mut evidence = sound();
    evidence.blocks[0].spec.allocations.remove("1");
    let finding = only(&evidence);
    assert_eq!(finding.problem, Problem::MissingRecord);
    assert_eq!(finding.found, "the pod runs on n1 and has it; block 10.244.0.0/26 of n1 does not record it");
    assert_eq!(finding.fix, Some(Fix::Publish { node: "n1".into() }));
    // Addresses of other networks are nobody's business here.
    evidence.pods[0].addresses = vec!["192.0.2.1".parse().unwrap()];
    assert_eq!(words(&evidence), Vec::<String>::new());
}

#[test]
fn a_block_of_an_absent_node_may_go_unless_somebody_has_an_address_of_it() {
    let mut evidence = sound();
    evidence.nodes.remove("n2");
    evidence.pods.pop();
    evidence.blocks[0].spec.allocations.remove("2");
    let finding = only(&evidence);
    assert_eq!((finding.problem, finding.found.as_str()), (Problem::AbsentNode, "there is no Node n2"));
    let Some(Fix::DeleteBlock { name, node: Some(node), .. }) = &finding.fix else { panic!("{finding:?}") };
    assert_eq!((name.as_str(), node), ("10-244-0-64-26", &("n2".to_owned(), "u-n2".to_owned())));

    evidence.nodes.insert("n2".into(), "u-new".into());
    assert_eq!(only(&evidence).found, "Node n2 is another one now (UID u-new, not u-n2)");

    evidence.pods.push(pod("left", "n1", &["10.244.0.70"]));
    let found = audit(&evidence);
    let absent = found.iter().find(|f| f.problem == Problem::AbsentNode).unwrap();
    assert_eq!(absent.fix, None, "{absent:?}");
    assert!(absent.found.ends_with("have addresses in it: 10.244.0.70 (default/left)"), "{}", absent.found);
}

#[test]
fn what_an_absent_node_borrowed_may_be_taken_out() {
    let mut evidence = sound();
    evidence.nodes.remove("n2");
    evidence.blocks.pop();
    evidence.pods.pop();
    let finding = only(&evidence);
    assert_eq!((finding.problem, finding.subject().as_str()), (Problem::AbsentBorrower, "10.244.0.2"));
    assert!(matches!(&finding.fix, Some(Fix::TakeOut { ordinal, .. }) if ordinal == "2"), "{finding:?}");
}

#[test]
fn a_block_needs_a_pool_of_its_own_block_size() {
    let mut evidence = sound();
    evidence.pools[0].spec.cidr = "10.244.0.0/26".into();
    let finding = only(&evidence);
    assert_eq!((finding.problem, finding.subject().as_str()), (Problem::OutsidePools, "10.244.0.64/26"));
    assert!(matches!(finding.fix, Some(Fix::DeleteBlock { node: None, .. })), "it is empty: {finding:?}");

    let mut evidence = sound();
    evidence.pools[0].spec.block_size = Some(28);
    let found = audit(&evidence);
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(found[0].found, "pool pods has blocks of /28 and not /26");
    assert_eq!(found[0].fix, None, "it is in use");

    let mut evidence = sound();
    evidence.pools[0].metadata.uid = Some("another".into());
    assert!(audit(&evidence).iter().all(|f| f.problem == Problem::PoolReplaced && f.fix.is_none()));
}

#[test]
fn doubled_addresses_and_overlapping_blocks_name_both_sides() {
    let mut evidence = sound();
    evidence.pods.push(pod("twin", "n2", &["10.244.0.1"]));
    let finding = only(&evidence);
    assert_eq!(finding.problem, Problem::DoubledAddress);
    assert_eq!(finding.found, "2 pods have it: default/twin, default/web");

    let mut evidence = sound();
    evidence.pools.push(pool("small", "10.244.0.64/27", "s"));
    let mut inside = block("10.244.0.64/27", "n1", &[]);
    inside.spec.pool = "small".into();
    evidence.blocks.push(inside);
    let found = words(&evidence);
    assert!(
        found.contains(
            &"OverlappingBlocks 10.244.0.64/27: it lies inside 10.244.0.64/26 of node n2".to_owned()
        ),
        "{found:?}"
    );
}

#[test]
fn a_tunnels_record_without_the_tunnel_is_stale() {
    let mut evidence = sound();
    evidence.tunnels.clear();
    let finding = only(&evidence);
    assert_eq!((finding.problem, finding.subject().as_str()), (Problem::StaleHandle, "10.244.0.3"));
}

#[test]
fn what_no_agent_wrote_is_told_and_left_alone() {
    let mut evidence = sound();
    evidence.blocks.push(block("10.244.0.1/26", "n1", &[]));
    evidence.blocks[0].spec.allocations.insert("99".into(), "h/0///".into());
    evidence.blocks[0].spec.allocations.insert("5".into(), "mine!".into());
    let found = audit(&evidence);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found.iter().all(|f| f.problem == Problem::Unreadable && f.fix.is_none()));
}

#[test]
fn an_agent_is_compared_with_what_its_blocks_record() {
    let mut evidence = sound();
    let handles = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(ip, handle)| (ip.parse().unwrap(), (*handle).to_owned())).collect()
    };
    let tunnel = ("10.244.0.3", "caracal.tunnel-vxlan-v4-n1.vxlan.caracal");
    let here = LocalBlock {
        name: "10-244-0-0-26".into(),
        state: "Owned".into(),
        dispute: None,
        handles: handles(&[("10.244.0.1", "caracal.c1.eth0"), tunnel]),
    };
    evidence.locals = vec![Local { node: "n1".into(), blocks: vec![here.clone()] }];
    assert_eq!(words(&evidence), Vec::<String>::new(), "what is lent is not its own");

    let changed = LocalBlock {
        dispute: Some("Suspected: the watch lost it".into()),
        handles: handles(&[("10.244.0.1", "caracal.c9.eth0"), ("10.244.0.7", "caracal.c7.eth0")]),
        ..here
    };
    let lost = LocalBlock { name: "10-244-9-0-26".into(), state: "Owned".into(), ..LocalBlock::default() };
    evidence.locals = vec![Local { node: "n1".into(), blocks: vec![changed, lost] }];
    assert_eq!(
        words(&evidence),
        [
            "Unpublished 10.244.0.1: the agent of n1 gave it to caracal.c9.eth0, and the block records caracal.c1.eth0",
            "Unpublished 10.244.0.7: the agent of n1 gave it to caracal.c7.eth0, and the block does not record it",
            "UnknownToAgent 10.244.0.3: it is recorded for caracal.tunnel-vxlan-v4-n1.vxlan.caracal, which the agent of n1 does not know",
            "Disputed 10.244.0.0/26: n1: Suspected: the watch lost it",
            "Disputed 10.244.9.0/26: the agent of n1 has the block (Owned), and its object does not exist",
        ]
    );
}

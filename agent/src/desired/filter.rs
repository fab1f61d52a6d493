//! The nftables table: what of the pods' traffic is masqueraded, and what is refused on arrival.
//!
//! *nat*: packets from a pool with `natOutgoing` to an address outside all pools take the node's address ([`super::outgoing`]
//! says which), and those to the floating address of a pod go to the pod. *guard*: tunnel
//! packets are taken from known nodes only, since whoever may send them can speak with any pod's address; and pods reach
//! nothing of the node by 127.0.0.0/8, and nobody at all with an address that is not theirs; and packets to announced Service
//! addresses that nobody serves do not go in circles between this node and the router that believes the announcement. The guard
//! of tunnels stands only where tunnels are in use, and, as long as no other node is known, not at all: packets of a node that
//! is not known yet would be lost. *raw*, which is before connections are tracked: what pods must not send leaves no trace, and
//! VXLAN packets are not tracked, since each connection of pods would be there twice, once within its tunnel and once without.
//!
//! Every packet through the node passes these chains, so what most packets are not is asked first, and a chain without
//! rules is left out.

use std::collections::BTreeSet;
use std::net::IpAddr;

use caracal_api::IpPool;
use caracal_api::block_cidr::masked;
use caracal_api::network_node::TunnelDevice;
use caracal_linux::nft::{Chain, ChainKind, Direction, Hook, Match, Rule, Ruleset, Set, Verdict};
use ipnetwork::IpNetwork;

use super::grants::{Grant, Grants};
use super::outgoing::Departure;
use super::surroundings::Surroundings;
use super::tunnels::{PORT, VNI};
use crate::cluster::Snapshot;

/// The table's name.
pub const TABLE: &str = "caracal";
/// How the names of pods' devices begin on the host.
const PODS: &str = "cali";
/// When floating addresses become pods' own: as everybody's destination NAT.
const DESTINATION_NAT: i32 = -100;
/// When masquerading happens: as everybody's source NAT.
const SOURCE_NAT: i32 = 100;
/// Before connections are tracked: what is refused leaves no trace.
const RAW: i32 = -300;
/// After destinations were translated: as everybody's filter.
const AFTER_NAT: i32 = 0;
/// `IPPROTO_IPIP`.
const IP_IN_IP: u8 = 4;
/// Where the VXLAN network identifier is, after the UDP header (RFC 7348 §5).
const VNI_OFFSET: u32 = 12;

/// The whole table.
///
/// `services` are the ranges of Service addresses that this node announces, `grants` what some of its pods have beyond their
/// addresses, `departures` by what address pods are seen outside where that is not the device's. `whole`: with what some
/// kernels lack, which is to hold pods to their own addresses (`nft_fib`) and to leave VXLAN untracked (`nft_ct`).
pub fn filter(
    pools: &Snapshot<IpPool>,
    around: &Surroundings,
    services: &BTreeSet<IpNetwork>,
    grants: &Grants,
    departures: &[Departure],
    whole: bool,
) -> Ruleset {
    let ranges = |wanted: fn(&IpPool) -> bool| -> BTreeSet<IpNetwork> {
        let chosen = pools.values().filter(|pool| wanted(pool));
        chosen.filter_map(|pool| pool.spec.network().map(masked)).collect()
    };
    let nodes: BTreeSet<IpNetwork> = around.nodes.keys().map(|address| IpNetwork::from(*address)).collect();
    let mut sets = Vec::new();
    let mut add = |name: &str, elements: &BTreeSet<IpNetwork>| {
        for v4 in [true, false] {
            sets.push(Set { name: named(name, v4), v4, elements: elements.clone() });
        }
    };
    add("pools", &ranges(|_| true));
    add("masquerade", &ranges(|pool| pool.spec.nat_outgoing));
    add("nodes", &nodes);
    add("services", services);
    let chain = |name: &str, kind, hook, priority, rules| {
        let name = name.to_owned();
        Chain { name, kind, hook, priority, rules }
    };
    let leads = || grants.iter().flat_map(Grant::leads);
    let to_pods: Vec<Rule> = leads().map(|(floating, own)| lead(floating, own)).collect();
    let mut nat: Vec<Rule> = leads().map(|(floating, own)| lead_back(floating, own)).collect();
    nat.extend(departures.iter().map(leave_as));
    nat.extend([true, false].map(|v4| outgoing(v4, Verdict::Masquerade)));
    let tunnels = if nodes.is_empty() { Vec::new() } else { tunnel_guard(around) };
    let leaves_untracked = whole && by_vxlan(around);
    let leaving = leaves_untracked.then(|| untracked(false)).into_iter().collect();
    let mut arriving: Vec<Rule> = leaves_untracked.then(|| untracked(true)).into_iter().collect();
    arriving.push(not_from_pods());
    arriving.extend([Direction::Source, Direction::Destination].map(loopback));
    arriving.extend(grants.iter().flat_map(allowed_sources));
    arriving.extend(whole.then(foreign_source));
    let unserved = if services.is_empty() { Vec::new() } else { [true, false].map(unserved).to_vec() };
    let mut chains = vec![
        chain("nat-prerouting", ChainKind::Nat, Hook::Prerouting, DESTINATION_NAT, to_pods.clone()),
        chain("nat-output", ChainKind::Nat, Hook::Output, DESTINATION_NAT, to_pods),
        chain("nat-postrouting", ChainKind::Nat, Hook::Postrouting, SOURCE_NAT, nat),
        chain("raw-prerouting", ChainKind::Filter, Hook::Prerouting, RAW, arriving),
        chain("raw-output", ChainKind::Filter, Hook::Output, RAW, leaving),
        chain("guard-forward", ChainKind::Filter, Hook::Forward, AFTER_NAT, unserved),
        chain("guard-input", ChainKind::Filter, Hook::Input, RAW, tunnels),
    ];
    chains.retain(|chain| !chain.rules.is_empty());
    Ruleset { table: TABLE.to_owned(), sets, chains }
}

fn outgoing(v4: bool, verdict: Verdict) -> Rule {
    let of = |of, within, set| Match::Address { v4, of, within, set: named(set, v4) };
    Rule {
        comment: "natOutgoing".to_owned(),
        matches: vec![of(Direction::Source, true, "masquerade"), of(Direction::Destination, false, "pools")],
        verdict,
    }
}

fn leave_as(departure: &Departure) -> Rule {
    let mut rule = outgoing(departure.address.is_ipv4(), Verdict::LeaveAs(departure.address));
    rule.matches.extend(departure.by.map(|device| Match::ToDevice(device.to_string())));
    rule
}

fn lead(floating: IpAddr, own: IpAddr) -> Rule {
    Rule {
        comment: format!("floating address of {own}"),
        matches: vec![Match::Within(Direction::Destination, floating.into())],
        verdict: Verdict::SendTo(own),
    }
}

/// A pod that speaks to its own floating address would find itself as the sender, which no pod takes for an answer.
fn lead_back(floating: IpAddr, own: IpAddr) -> Rule {
    Rule {
        comment: format!("{own} to itself by its floating address"),
        matches: vec![
            Match::Within(Direction::Source, own.into()),
            Match::Within(Direction::Destination, own.into()),
        ],
        verdict: Verdict::ComeFrom(floating),
    }
}

/// The kernel's own guard (`rp_filter`) knows no exceptions and is off for a pod with IPv4 prefixes, so that what it would
/// refuse is refused here, also where the kernel lacks `nft_fib`.
fn allowed_sources(grant: &Grant) -> Vec<Rule> {
    let rule = |comment: &str, matching: Match, verdict| Rule {
        comment: comment.to_owned(),
        matches: vec![Match::Device(grant.device.clone()), matching],
        verdict,
    };
    let from = |network| Match::Within(Direction::Source, network);
    let allowed = |prefix: &IpNetwork| rule("allowedSourcePrefixes", from(*prefix), Verdict::Accept);
    let mut rules: Vec<Rule> = grant.sources.iter().map(allowed).collect();
    if grant.sources.iter().any(IpNetwork::is_ipv4) {
        let own = grant.addresses.iter().chain(&grant.floating).filter(|address| address.is_ipv4());
        rules.extend(own.map(|own| rule("its own address", from((*own).into()), Verdict::Accept)));
        rules.push(rule("and no others", Match::V4, Verdict::Drop));
    }
    rules
}

/// What kube-proxy has not turned towards an endpoint by now would go back to where the range was announced to, and come again.
fn unserved(v4: bool) -> Rule {
    let set = named("services", v4);
    Rule {
        comment: "Service addresses that nobody serves".to_owned(),
        matches: vec![Match::Address { v4, of: Direction::Destination, within: true, set }],
        verdict: Verdict::Drop,
    }
}

/// What the rules behind this one ask is asked of packets from pods only.
fn not_from_pods() -> Rule {
    Rule {
        comment: "the rest is about pods".to_owned(),
        matches: vec![Match::NotFromDevice(PODS.to_owned())],
        verdict: Verdict::Accept,
    }
}

fn loopback(of: Direction) -> Rule {
    Rule {
        comment: "pods do not reach the node by its loopback".to_owned(),
        matches: vec![Match::Loopback(of)],
        verdict: Verdict::Drop,
    }
}

/// The kernel's own routes say which addresses are whose: nothing has to be kept beside them. Neighbour discovery from `::` is
/// passed over by the kernel's part of this.
fn foreign_source() -> Rule {
    Rule {
        comment: "pods speak with their own addresses only".to_owned(),
        matches: vec![Match::NoWayBack],
        verdict: Verdict::Drop,
    }
}

/// Packets of our VXLAN; another program's, by its network identifier, is its own affair.
fn vxlan() -> Vec<Match> {
    let [_, identifier @ ..] = VNI.to_be_bytes();
    vec![Match::UdpPort(PORT), Match::Transport(VNI_OFFSET, identifier.to_vec())]
}

/// Whether packets come or go by VXLAN. While the cluster changes from one tunnel to another, they do by both.
fn by_vxlan(around: &Surroundings) -> bool {
    around.asked.vxlan || is_sent(around, TunnelDevice::VxlanV4) || is_sent(around, TunnelDevice::VxlanV6)
}

fn is_sent(around: &Surroundings, end: TunnelDevice) -> bool {
    around.remotes().any(|remote| remote.sends.contains(&end))
}

/// What pods send themselves stays tracked, or it would leave the node with their addresses.
fn untracked(arrive: bool) -> Rule {
    let mut matches = vxlan();
    matches.extend(arrive.then(|| Match::NotFromDevice(PODS.to_owned())));
    Rule {
        comment: "VXLAN is not tracked, what it carries is".to_owned(),
        matches,
        verdict: Verdict::Untrack,
    }
}

fn tunnel_guard(around: &Surroundings) -> Vec<Rule> {
    let refuse = |what: &str, mut matches: Vec<Match>, v4| {
        matches.push(Match::Address { v4, of: Direction::Source, within: false, set: named("nodes", v4) });
        Rule { comment: format!("{what} from nodes only"), matches, verdict: Verdict::Drop }
    };
    let mut rules = Vec::new();
    if by_vxlan(around) {
        rules.extend([true, false].map(|v4| refuse("VXLAN", vxlan(), v4)));
    }
    if around.asked.ipip || is_sent(around, TunnelDevice::Ipip) {
        rules.push(refuse("IPIP", vec![Match::Protocol(IP_IN_IP)], true));
    }
    rules
}

fn named(set: &str, v4: bool) -> String {
    format!("{set}-{}", if v4 { "v4" } else { "v6" })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::surroundings::Remote;
    use super::super::tunnels::Asked;
    use super::*;
    use caracal_linux::object::link::IfName;
    use serde_json::json;

    fn pools() -> Snapshot<IpPool> {
        [("a", "10.244.0.0/16", true), ("b", "10.245.0.0/16", false), ("c", "fd00:244::/48", true)]
            .into_iter()
            .map(|(name, cidr, nat)| {
                let spec = json!({"cidr": cidr, "natOutgoing": nat});
                IpPool::new(name, serde_json::from_value(spec).unwrap())
            })
            .collect()
    }

    fn elements(ruleset: &Ruleset, set: &str) -> Vec<String> {
        let set = ruleset.sets.iter().find(|one| one.name == set).unwrap();
        set.elements.iter().filter(|one| one.is_ipv4() == set.v4).map(ToString::to_string).collect()
    }

    /// How many rules a chain has; a chain without any is not there.
    fn rules(ruleset: &Ruleset, chain: &str) -> usize {
        let found = ruleset.chains.iter().find(|one| one.name == chain);
        assert!(found.is_none_or(|chain| !chain.rules.is_empty()), "{chain} is there for nothing");
        found.map_or(0, |chain| chain.rules.len())
    }

    #[test]
    fn all_pools_are_inside_and_those_with_nat_outgoing_are_masqueraded() {
        let ruleset = filter(&pools(), &Surroundings::default(), &BTreeSet::new(), &Grants::new(), &[], true);
        assert_eq!(elements(&ruleset, "pools-v4"), ["10.244.0.0/16", "10.245.0.0/16"]);
        assert_eq!(elements(&ruleset, "masquerade-v4"), ["10.244.0.0/16"]);
        assert_eq!(elements(&ruleset, "masquerade-v6"), ["fd00:244::/48"]);
        assert_eq!(rules(&ruleset, "nat-postrouting"), 2);
        assert_eq!(rules(&ruleset, "raw-prerouting"), 4);
        let lesser = filter(&pools(), &Surroundings::default(), &BTreeSet::new(), &Grants::new(), &[], false);
        assert_eq!(rules(&lesser, "raw-prerouting"), 3, "a kernel without nft_fib");
    }

    #[test]
    fn pods_leave_as_the_node_where_that_is_said_and_are_masqueraded_elsewhere() {
        let by = |text: &str, device: Option<&str>| Departure {
            address: text.parse().unwrap(),
            by: device.map(|name| IfName::new(name).unwrap()),
        };
        let departures = [by("172.28.0.11", Some("eth0")), by("fd00:28::11", None)];
        let none = BTreeSet::new();
        let ruleset = filter(&pools(), &Surroundings::default(), &none, &Grants::new(), &departures, true);
        let chain = ruleset.chains.iter().find(|one| one.name == "nat-postrouting").unwrap();
        let [v4, v6, rest @ ..] = chain.rules.as_slice() else { panic!("{chain:?}") };
        assert_eq!(v4.verdict, Verdict::LeaveAs("172.28.0.11".parse().unwrap()));
        assert_eq!(v4.matches.len(), 3);
        assert_eq!(v4.matches[2], Match::ToDevice("eth0".into()));
        assert_eq!(v6.verdict, Verdict::LeaveAs("fd00:28::11".parse().unwrap()));
        assert_eq!(v6.matches.len(), 2, "by whatever device");
        assert!(rest.len() == 2 && rest.iter().all(|rule| rule.verdict == Verdict::Masquerade));
    }

    #[test]
    fn tunnels_are_guarded_where_they_are_in_use_and_nodes_are_known() {
        let remote = Remote { name: "n2".into(), ..Remote::default() };
        let asked = Asked { ipip: true, vxlan: true };
        let mut around = Surroundings { asked, ..Surroundings::default() };
        assert_eq!(
            rules(&filter(&pools(), &around, &BTreeSet::new(), &Grants::new(), &[], true), "guard-input"),
            0,
            "no node is known"
        );
        around.nodes.insert("172.30.1.12".parse().unwrap(), Arc::new(remote));
        let ruleset = filter(&pools(), &around, &BTreeSet::new(), &Grants::new(), &[], true);
        assert_eq!(rules(&ruleset, "guard-input"), 3);
        assert_eq!(rules(&ruleset, "raw-output"), 1, "connections of VXLAN packets are not tracked");
        assert_eq!(rules(&ruleset, "raw-prerouting"), 5);
        let arriving = ruleset.chains.iter().find(|one| one.name == "raw-prerouting").unwrap();
        assert_eq!(arriving.rules[0].verdict, Verdict::Untrack);
        let not_of_pods = Match::NotFromDevice(PODS.to_owned());
        assert!(arriving.rules[0].matches.contains(&not_of_pods), "what pods send themselves is masqueraded");
        let lesser = filter(&pools(), &around, &BTreeSet::new(), &Grants::new(), &[], false);
        assert_eq!(rules(&lesser, "raw-output"), 0, "a kernel without nft_ct");
        assert_eq!(elements(&ruleset, "nodes-v4"), ["172.30.1.12/32"]);
        around.asked = Asked::default();
        assert_eq!(
            rules(&filter(&pools(), &around, &BTreeSet::new(), &Grants::new(), &[], true), "guard-input"),
            0,
            "no tunnel is in use"
        );
    }

    #[test]
    fn what_nobody_serves_of_the_announced_services_is_dropped_on_its_way_through() {
        let ranges = ["10.96.0.0/16", "fd00:96::/112"].map(|text| text.parse().unwrap()).into();
        let ruleset = filter(&pools(), &Surroundings::default(), &ranges, &Grants::new(), &[], true);
        assert_eq!(elements(&ruleset, "services-v4"), ["10.96.0.0/16"]);
        assert_eq!(elements(&ruleset, "services-v6"), ["fd00:96::/112"]);
        assert_eq!(rules(&ruleset, "guard-forward"), 2);
        let none = filter(&pools(), &Surroundings::default(), &BTreeSet::new(), &Grants::new(), &[], true);
        assert_eq!(rules(&none, "guard-forward"), 0);
    }

    #[test]
    fn a_pod_with_allowed_prefixes_is_held_to_these_and_its_own_and_others_to_their_own() {
        let grant = Grant {
            device: "cali1".into(),
            addresses: ["10.244.0.5", "fd00:244::5"].map(|text| text.parse().unwrap()).to_vec(),
            sources: ["198.51.100.0/24", "2001:db8:7::/48"].map(|text| text.parse().unwrap()).to_vec(),
            floating: Vec::new(),
        };
        let ruleset =
            filter(&pools(), &Surroundings::default(), &BTreeSet::new(), &[grant].into(), &[], true);
        let chain = ruleset.chains.iter().find(|one| one.name == "raw-prerouting").unwrap();
        let verdicts: Vec<Verdict> = chain.rules.iter().map(|rule| rule.verdict).collect();
        let (accept, drop) = (Verdict::Accept, Verdict::Drop);
        assert_eq!(verdicts, [accept, drop, drop, accept, accept, accept, drop, drop]);
        assert!(
            chain.rules[3..7].iter().all(|rule| rule.matches[0] == Match::Device("cali1".into())),
            "no other pod is meant"
        );
        assert_eq!(rules(&ruleset, "nat-prerouting"), 0);
    }

    #[test]
    fn a_floating_address_leads_to_the_pods_address_of_its_family() {
        let grant = Grant {
            device: "cali1".into(),
            addresses: vec!["10.244.0.5".parse().unwrap()],
            sources: Vec::new(),
            floating: ["10.250.0.9", "fd00:250::9"].map(|text| text.parse().unwrap()).to_vec(),
        };
        let ruleset =
            filter(&pools(), &Surroundings::default(), &BTreeSet::new(), &[grant].into(), &[], true);
        for chain in ["nat-prerouting", "nat-output"] {
            let found = ruleset.chains.iter().find(|one| one.name == chain).unwrap();
            assert_eq!(found.rules.len(), 1, "the pod has no IPv6 address");
            assert_eq!(found.rules[0].verdict, Verdict::SendTo("10.244.0.5".parse().unwrap()));
        }
        assert_eq!(rules(&ruleset, "nat-postrouting"), 3);
        assert_eq!(rules(&ruleset, "raw-prerouting"), 4, "nobody may speak for others");
    }
}

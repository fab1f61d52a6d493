//! What is accepted from peers and announced to them.
//!
//! Three layers, in this order:
//!
//! 1. *The guard*, which no filter can open: nothing inside this node's own blocks, which would send traffic for our own
//!    pods somewhere else (but for single addresses that other nodes borrow); nothing inside its own subnets, which would do so with traffic for our neighbours and peers;
//!    no martians, which are nobody's to announce.
//! 2. *The filters* of the peer ([`super::filters`]).
//! 3. *What holds without them.* From nodes only what lies inside pools: a node speaks for pods, nothing else. From
//!    other peers everything but a default route and what covers an address of this node or its own next hop. Announced
//!    is what lies in pools, with the communities that `prefixAdvertisements` give it; and, to routers that have an address of
//!    an uplink as the next hop, this node's own address, where it is a single one (/32, /128) on no subnet with others: nobody
//!    else can tell where it is.
//!
//! A node that reflects routes takes Service addresses from nodes, to hand them on to its other peers: it does not follow them
//! itself ([`super::routes`]).

use std::net::IpAddr;
use std::sync::Arc;

use caracal_api::block_cidr::masked;
use caracal_bgp::policy::{AnyCommunity, Condition, Operation, Policy, PrefixMatch, Rule, Then, Verdict};
use ipnetwork::IpNetwork;

/// What the policies are made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground<'a> {
    /// The ranges of all pools.
    pub pools: &'a [IpNetwork],
    /// Those of them that may be announced.
    pub announced_pools: &'a [IpNetwork],
    /// This node's blocks.
    pub own_blocks: &'a [IpNetwork],
    /// Single addresses of these blocks that other nodes borrow.
    pub lent: &'a [IpNetwork],
    /// This node's addresses with their subnets.
    pub own_subnets: &'a [IpNetwork],
    /// The subnets of its uplinks, which have routes of the kernel's own.
    pub own_links: &'a [IpNetwork],
    /// Its addresses that are on no subnet with others, so that nobody else can tell where they are.
    pub told_addresses: &'a [IpNetwork],
    /// The announced ranges of Services.
    pub services: &'a [IpNetwork],
    /// Whether this node reflects routes.
    pub reflects: bool,
    /// Communities for what is announced inside a network.
    pub advertisements: &'a [Advertisement],
}

/// What this node tells a peer as the next hop of what it announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnNextHop {
    /// The node's own address, to which the peer knows a way.
    Node,
    /// The address of an uplink that the peer is on.
    Uplink,
}

/// Communities for what is announced inside a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    /// The network.
    pub network: IpNetwork,
    /// The communities.
    pub communities: Vec<AnyCommunity>,
}

/// Who the other end of a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// A node of the cluster.
    Node,
    /// Somebody else.
    Outsider,
}

/// The policies of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    guard: Vec<Rule>,
    /// The guard, but for Services that are reflected.
    guard_of_nodes: Vec<Rule>,
    from_nodes: Vec<Rule>,
    from_outsiders: Vec<Rule>,
    to_all: Vec<Rule>,
    by_uplinks: Vec<Rule>,
}

impl Policies {
    /// Makes them.
    pub fn new(ground: &Ground<'_>) -> Self {
        let service_range = |then| rule("ServiceRange", ground.services, then);
        let guard = |with_services: bool| -> Vec<Rule> {
            let services = if with_services { service_range(Then::Reject) } else { None };
            let rules = [
                // An address that another node holds in an own block is announced by that node.
                rule("Lent", ground.lent, Then::Accept),
                rule("OwnBlock", ground.own_blocks, Then::Reject),
                rule("OwnSubnet", ground.own_subnets, Then::Reject),
                exactly("OwnLink", ground.own_links, Then::Reject),
                services,
                Some(martians()),
            ];
            rules.into_iter().flatten().collect()
        };
        let reflected = if ground.reflects { service_range(Then::Accept) } else { None };
        let addresses: Vec<IpAddr> = ground.own_subnets.iter().map(|network| network.ip()).collect();
        let from_outsiders = vec![
            default_routes(),
            Rule::reject("CoversNode", []).when(Condition::Covers(addresses)),
            Rule::reject("CoversOwnNextHop", []).when(Condition::CoversOwnNextHop),
        ];
        let communities = ground.advertisements.iter().filter_map(|one| {
            let mut rule = rule("Communities", &[one.network], Then::Continue)?;
            rule.operations = one.communities.iter().copied().map(Operation::AddCommunity).collect();
            Some(rule)
        });
        let announced = rule("InsidePool", ground.announced_pools, Then::Accept);
        Policies {
            guard: guard(true),
            guard_of_nodes: guard(!ground.reflects),
            from_nodes: rule("InsidePool", ground.pools, Then::Accept).into_iter().chain(reflected).collect(),
            from_outsiders,
            to_all: communities.chain(announced).collect(),
            by_uplinks: exactly("NodeAddress", ground.told_addresses, Then::Accept).into_iter().collect(),
        }
    }

    /// What is accepted from a peer with these filters.
    pub fn import(&self, other: Other, filters: &[Rule]) -> Arc<Policy> {
        let (guard, rest, default) = match other {
            Other::Node => (&self.guard_of_nodes, &self.from_nodes, Verdict::Reject),
            Other::Outsider => (&self.guard, &self.from_outsiders, Verdict::Accept),
        };
        let rules = guard.iter().chain(filters).chain(rest);
        Arc::new(Policy::new(rules.cloned().collect(), default))
    }

    /// What is announced to a peer with these filters. `own` says what it has as the next hop.
    pub fn export(&self, own: OwnNextHop, filters: &[Rule]) -> Arc<Policy> {
        let besides = match own {
            OwnNextHop::Node => &[],
            OwnNextHop::Uplink => self.by_uplinks.as_slice(),
        };
        let rules = filters.iter().chain(&self.to_all).chain(besides);
        Arc::new(Policy::new(rules.cloned().collect(), Verdict::Reject))
    }
}

/// A rule for these networks alone, and nothing inside them. None for no network.
fn exactly(name: &str, networks: &[IpNetwork], then: Then) -> Option<Rule> {
    let prefixes: Vec<_> = networks.iter().map(|network| PrefixMatch::exact(masked(*network))).collect();
    (!prefixes.is_empty()).then(|| Rule::new(name, prefixes, then))
}

/// A rule for everything inside some networks. None for no network: a rule without prefixes would match everything.
fn rule(name: &str, networks: &[IpNetwork], then: Then) -> Option<Rule> {
    let prefixes: Vec<_> = networks.iter().map(|n| PrefixMatch::within(masked(*n))).collect();
    (!prefixes.is_empty()).then(|| Rule::new(name, prefixes, then))
}

fn default_routes() -> Rule {
    let prefixes: Vec<_> = networks(&[(IpAddr::from([0; 4]), 0), (IpAddr::from([0; 16]), 0)]);
    Rule::reject("DefaultRoute", prefixes.into_iter().map(PrefixMatch::exact).collect::<Vec<_>>())
}

/// What nobody routes: this network, loopback, link-local, multicast and reserved addresses (RFC 6890), IPv4 inside
/// IPv6.
fn martians() -> Rule {
    let v4 = [([0, 0, 0, 0], 8), ([127, 0, 0, 0], 8), ([169, 254, 0, 0], 16), ([224, 0, 0, 0], 3)];
    let v6: [([u16; 8], u8); 4] = [
        ([0, 0, 0, 0, 0, 0, 0, 0], 127),
        ([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
        ([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        ([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
    ];
    let v4 = v4.map(|(octets, length)| (IpAddr::from(octets), length));
    let v6 = v6.map(|(groups, length)| (IpAddr::from(groups), length));
    let all = networks(&[v4, v6].concat());
    Rule::reject("Martian", all.into_iter().map(PrefixMatch::within).collect::<Vec<_>>())
}

fn networks(of: &[(IpAddr, u8)]) -> Vec<IpNetwork> {
    of.iter().filter_map(|(address, length)| IpNetwork::new(*address, *length).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use caracal_bgp::policy::{PeerType, Subject};
    use caracal_bgp::rib::Source;
    use caracal_bgp::wire::attribute::AttributeSet;
    use caracal_bgp::wire::nlri::{Ipv4Prefix, Ipv6Prefix, Prefix};

    fn networks(texts: &[&str]) -> Vec<IpNetwork> {
        texts.iter().map(|t| t.parse().unwrap()).collect()
    }

    fn verdict(policy: &Policy, prefix: &str) -> Verdict {
        outcome(policy, prefix).0
    }

    fn outcome(policy: &Policy, prefix: &str) -> (Verdict, AttributeSet) {
        let network: IpNetwork = prefix.parse().unwrap();
        let mut set = AttributeSet::default();
        let subject = Subject {
            attributes: &set,
            next_hop: "198.51.100.1".parse().ok(),
            interface: None,
            source: Source::Ebgp,
            peer: PeerType::External,
        };
        let decision = match Ipv4Prefix::from_network(&network) {
            Some(v4) => policy.decide(v4, &subject),
            None => policy.decide(Ipv6Prefix::from_network(&network).unwrap(), &subject),
        };
        policy.edit(&decision.edits, &mut set);
        (decision.verdict, set)
    }

    fn example() -> Policies {
        let pools = networks(&["10.244.0.0/16", "fd00:244::/48"]);
        Policies::new(&Ground {
            pools: &pools,
            announced_pools: &pools[..1],
            own_blocks: &networks(&["10.244.3.0/26"]),
            lent: &networks(&["10.244.3.9/32"]),
            own_subnets: &networks(&["172.30.0.11/24", "fd00:30::11/64"]),
            own_links: &networks(&["172.31.0.3/31", "10.128.0.9/9"]),
            told_addresses: &networks(&["172.28.0.11/32"]),
            services: &[],
            reflects: false,
            advertisements: &[Advertisement {
                network: "10.244.128.0/17".parse().unwrap(),
                communities: vec!["64512:7".parse().unwrap()],
            }],
        })
    }

    #[test]
    fn services_are_taken_from_nodes_by_those_who_reflect_and_from_nobody_else() {
        let (pools, services) = (networks(&["10.244.0.0/16"]), networks(&["10.96.0.0/16"]));
        let ground = Ground { pools: &pools, services: &services, ..Ground::default() };
        let address = "10.96.7.7/32";
        for (reflects, other, expected) in [
            (false, Other::Node, Verdict::Reject),
            (false, Other::Outsider, Verdict::Reject),
            (true, Other::Node, Verdict::Accept),
            (true, Other::Outsider, Verdict::Reject),
        ] {
            let policies = Policies::new(&Ground { reflects, ..ground.clone() });
            assert_eq!(verdict(&policies.import(other, &[]), address), expected, "{reflects} {other:?}");
        }
        // No filter opens what the guard keeps shut.
        let filter = Rule::new("filter", Vec::<PrefixMatch>::new(), Then::Accept);
        let policies = Policies::new(&ground);
        assert_eq!(verdict(&policies.import(Other::Outsider, &[filter]), address), Verdict::Reject);
    }

    #[test]
    fn from_nodes_only_what_lies_inside_pools_and_is_not_ours() {
        let policy = example().import(Other::Node, &[]);
        for (prefix, want) in [
            ("10.244.9.0/26", Verdict::Accept),
            ("fd00:244::40/122", Verdict::Accept),
            ("10.244.3.0/26", Verdict::Reject),
            ("10.244.3.7/32", Verdict::Reject),
            ("10.244.3.9/32", Verdict::Accept),
            ("10.244.3.9/32", Verdict::Accept),
            ("192.0.2.0/24", Verdict::Reject),
            ("0.0.0.0/0", Verdict::Reject),
        ] {
            assert_eq!(verdict(&policy, prefix), want, "{prefix}");
        }
    }

    #[test]
    fn from_outsiders_everything_but_what_leads_astray() {
        let policy = example().import(Other::Outsider, &[]);
        for (prefix, want) in [
            ("192.0.2.0/24", Verdict::Accept),
            ("10.0.0.0/8", Verdict::Accept),
            ("0.0.0.0/0", Verdict::Reject),
            ("::/0", Verdict::Reject),
            ("10.244.3.7/32", Verdict::Reject),
            ("172.30.0.12/32", Verdict::Reject),
            ("172.16.0.0/12", Verdict::Reject),
            ("198.51.0.0/16", Verdict::Reject),
            ("127.0.0.0/8", Verdict::Reject),
            ("169.254.1.1/32", Verdict::Reject),
            ("224.0.0.0/4", Verdict::Reject),
            ("fd00:30::/64", Verdict::Reject),
            ("fe80::/64", Verdict::Reject),
            ("fd00:31::/64", Verdict::Accept),
        ] {
            assert_eq!(verdict(&policy, prefix), want, "{prefix}");
        }
    }

    #[test]
    fn a_filter_may_allow_a_default_route_but_nothing_of_ours() {
        let policy = example().import(Other::Outsider, &[Rule::accept("everything", [])]);
        assert_eq!(verdict(&policy, "0.0.0.0/0"), Verdict::Accept);
        assert_eq!(verdict(&policy, "172.16.0.0/12"), Verdict::Accept);
        for prefix in ["10.244.3.0/26", "172.30.0.12/32", "127.0.0.1/32"] {
            assert_eq!(verdict(&policy, prefix), Verdict::Reject, "{prefix}");
        }
        let closed = example().export(OwnNextHop::Node, &[Rule::reject("nothing", [])]);
        assert_eq!(verdict(&closed, "10.244.3.0/26"), Verdict::Reject);
    }

    #[test]
    fn a_single_address_is_told_to_those_who_do_not_need_it_to_reach_it() {
        let by = |own| example().export(own, &[]);
        assert_eq!(verdict(&by(OwnNextHop::Uplink), "172.28.0.11/32"), Verdict::Accept);
        assert_eq!(verdict(&by(OwnNextHop::Node), "172.28.0.11/32"), Verdict::Reject);
        assert_eq!(verdict(&by(OwnNextHop::Uplink), "172.28.0.12/32"), Verdict::Reject);
    }

    #[test]
    fn the_subnet_of_an_uplink_is_the_kernels_own_and_what_lies_inside_may_be_a_pool() {
        let policy = example().import(Other::Outsider, &[]);
        for (prefix, expected) in [
            ("172.31.0.2/31", Verdict::Reject),
            ("10.128.0.0/9", Verdict::Reject),
            ("10.244.9.0/26", Verdict::Accept),
            ("172.31.0.0/24", Verdict::Accept),
        ] {
            assert_eq!(verdict(&policy, prefix), expected, "{prefix}");
        }
    }

    #[test]
    fn only_announced_pools_are_announced_and_with_their_communities() {
        let policy = example().export(OwnNextHop::Node, &[]);
        assert_eq!(outcome(&policy, "10.244.3.0/26"), (Verdict::Accept, AttributeSet::default()));
        assert_eq!(outcome(&policy, "10.244.130.0/26").1.communities.len(), 1);
        assert_eq!(verdict(&policy, "fd00:244::40/122"), Verdict::Reject);
        let empty = Policies::new(&Ground::default());
        assert_eq!(verdict(&empty.import(Other::Node, &[]), "10.244.9.0/26"), Verdict::Reject);
    }
}

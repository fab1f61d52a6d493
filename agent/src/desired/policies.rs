//! What is accepted from peers and announced to them, unless a filter says otherwise.
//!
//! From mesh peers only what lies inside pools: a node speaks for pods, nothing else. From configured peers everything
//! but a default route. From nobody anything inside this node's own blocks, which would send traffic for our own pods
//! somewhere else, nor inside its own subnets, which would do so with traffic for our neighbours and peers.

use std::net::IpAddr;
use std::sync::Arc;

use caracal_api::block_cidr::masked;
use caracal_bgp::policy::{Policy, PrefixMatch, Rule, Then, Verdict};
use ipnetwork::IpNetwork;

/// The policies of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policies {
    /// From nodes of the mesh.
    pub mesh_import: Arc<Policy>,
    /// From configured peers.
    pub configured_import: Arc<Policy>,
    /// To every peer.
    pub export: Arc<Policy>,
}

/// Makes the policies from the pools' ranges, those of them that may be announced, and what is this node's own.
pub fn policies(
    pools: &[IpNetwork],
    announced_pools: &[IpNetwork],
    own_blocks: &[IpNetwork],
    own_subnets: &[IpNetwork],
) -> Policies {
    let own = rule("OwnBlock", own_blocks, Then::Reject);
    let subnet = rule("OwnSubnet", own_subnets, Then::Reject);
    let inside = rule("InsidePool", pools, Then::Accept);
    let mesh = own.iter().chain(&subnet).chain(&inside).cloned().collect();
    let configured = own.into_iter().chain(subnet).chain([default_routes()]).collect();
    Policies {
        mesh_import: Arc::new(Policy::new(mesh, Verdict::Reject)),
        configured_import: Arc::new(Policy::new(configured, Verdict::Accept)),
        export: Arc::new(Policy::new(
            rule("InsidePool", announced_pools, Then::Accept).into_iter().collect(),
            Verdict::Reject,
        )),
    }
}

/// A rule for everything inside some networks. None for no network: a rule without prefixes would match everything.
fn rule(name: &str, networks: &[IpNetwork], then: Then) -> Option<Rule> {
    let prefixes: Vec<_> = networks.iter().map(|n| PrefixMatch::within(masked(*n))).collect();
    (!prefixes.is_empty()).then(|| Rule::new(name, prefixes, then))
}

fn default_routes() -> Rule {
    let prefixes: Vec<_> = [IpAddr::from([0; 4]), IpAddr::from([0; 16])]
        .into_iter()
        .filter_map(|any| IpNetwork::new(any, 0).ok())
        .map(PrefixMatch::exact)
        .collect();
    Rule::reject("DefaultRoute", prefixes)
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
        let network: IpNetwork = prefix.parse().unwrap();
        let subject = Subject {
            attributes: &AttributeSet::default(),
            next_hop: None,
            interface: None,
            source: Source::Ebgp,
            peer: PeerType::External,
        };
        match Ipv4Prefix::from_network(&network) {
            Some(v4) => policy.decide(v4, &subject).verdict,
            None => policy.decide(Ipv6Prefix::from_network(&network).unwrap(), &subject).verdict,
        }
    }

    fn example() -> Policies {
        let pools = networks(&["10.244.0.0/16", "fd00:244::/48"]);
        let own_blocks = networks(&["10.244.3.0/26"]);
        let own_subnets = networks(&["172.30.0.11/24", "fd00:30::11/64"]);
        policies(&pools, &pools[..1], &own_blocks, &own_subnets)
    }

    #[test]
    fn from_the_mesh_only_what_lies_inside_pools_and_is_not_ours() {
        let policy = example().mesh_import;
        for (prefix, want) in [
            ("10.244.9.0/26", Verdict::Accept),
            ("fd00:244::40/122", Verdict::Accept),
            ("10.244.3.0/26", Verdict::Reject),
            ("10.244.3.7/32", Verdict::Reject),
            ("192.0.2.0/24", Verdict::Reject),
            ("0.0.0.0/0", Verdict::Reject),
        ] {
            assert_eq!(verdict(&policy, prefix), want, "{prefix}");
        }
    }

    #[test]
    fn from_configured_peers_everything_but_defaults_and_what_is_ours() {
        let policy = example().configured_import;
        for (prefix, want) in [
            ("192.0.2.0/24", Verdict::Accept),
            ("10.0.0.0/8", Verdict::Accept),
            ("0.0.0.0/0", Verdict::Reject),
            ("::/0", Verdict::Reject),
            ("10.244.3.7/32", Verdict::Reject),
            ("172.30.0.12/32", Verdict::Reject),
            ("fd00:30::/64", Verdict::Reject),
            ("fd00:31::/64", Verdict::Accept),
        ] {
            assert_eq!(verdict(&policy, prefix), want, "{prefix}");
        }
    }

    #[test]
    fn only_announced_pools_are_announced() {
        let policy = example().export;
        assert_eq!(verdict(&policy, "10.244.3.0/26"), Verdict::Accept);
        assert_eq!(verdict(&policy, "fd00:244::40/122"), Verdict::Reject);
        assert_eq!(verdict(&policies(&[], &[], &[], &[]).mesh_import, "10.244.9.0/26"), Verdict::Reject);
    }
}

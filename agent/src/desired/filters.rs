//! `BGPFilter`s as rules of a policy.
//!
//! A filter that does not exist (yet) or cannot be read lets nothing pass: its session stands and passes routes again
//! when the filter is there, which costs nothing but a look at what the peer has sent already.
//!
//! Priority, which Calico keeps as a metric of the kernel's route, is LOCAL_PREF here: 1124 - priority, so that a route
//! nobody gave a priority (1024) has the LOCAL_PREF that every speaker gives by default (100). Calico itself sends
//! 2147483647 - priority, which would beat every other speaker's default.

use std::net::IpAddr;

use caracal_api::BgpFilter;
use caracal_api::bgp_filter::{
    BgpFilterRule, FilterAction, FilterOperation, MatchOperator, NORMAL_PRIORITY, PeerType,
};
use caracal_bgp::policy::{self, Condition, Operation, PrefixMatch, Rule, Then};
use caracal_bgp::rib::decision::DEFAULT_LOCAL_PREF;
use caracal_bgp::{Asn, Family};
use ipnetwork::IpNetwork;

use crate::cluster::Snapshot;

/// The rules of a peer's filters, for both families.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterRules {
    /// For what comes from the peer.
    pub import: Vec<Rule>,
    /// For what goes to the peer.
    pub export: Vec<Rule>,
}

/// The rules of filters by their names, in their order, and what is wrong with them.
pub fn rules(names: &[String], filters: &Snapshot<BgpFilter>) -> (FilterRules, Vec<String>) {
    let mut all = FilterRules::default();
    let mut wrong = Vec::new();
    for name in names {
        let found = match filters.get(name) {
            Some(filter) => compile(name, filter),
            None => Err("there is no such BGPFilter".to_owned()),
        };
        match found {
            Ok(found) => {
                all.import.extend(found.import);
                all.export.extend(found.export);
            }
            Err(why) => {
                wrong.push(format!("filter {name}: {why}; until then no route passes"));
                all.import.push(Rule::reject(name, []));
                all.export.push(Rule::reject(name, []));
            }
        }
    }
    (all, wrong)
}

fn compile(name: &str, filter: &BgpFilter) -> Result<FilterRules, String> {
    let spec = &filter.spec;
    let list = |field: &str, family: Family, list: &[BgpFilterRule]| {
        let numbered = list.iter().enumerate();
        numbered
            .filter_map(|(place, one)| {
                let field = format!("{field}[{place}]");
                rule(&format!("{name} {field}"), family, one)
                    .map_err(|why| format!("{field}: {why}"))
                    .transpose()
            })
            .collect::<Result<Vec<Rule>, String>>()
    };
    let mut rules = FilterRules {
        import: list("importV4", Family::Ipv4Unicast, &spec.import_v4)?,
        export: list("exportV4", Family::Ipv4Unicast, &spec.export_v4)?,
    };
    rules.import.extend(list("importV6", Family::Ipv6Unicast, &spec.import_v6)?);
    rules.export.extend(list("exportV6", Family::Ipv6Unicast, &spec.export_v6)?);
    Ok(rules)
}

/// One rule; none where it can match nothing.
fn rule(name: &str, family: Family, of: &BgpFilterRule) -> Result<Option<Rule>, String> {
    let everything = PrefixMatch::within(everywhere(family)?);
    let then = match of.action {
        FilterAction::Accept => Then::Accept,
        FilterAction::Reject => Then::Reject,
    };
    let mut rule = Rule::new(name, [everything], then);
    match (&of.cidr, of.match_operator) {
        (Some(cidr), Some(operator)) => {
            let wanted = prefixes(family, cidr, operator, of)?;
            match (operator, wanted) {
                (MatchOperator::Equal | MatchOperator::In, Some(wanted)) => rule.prefixes = vec![wanted],
                (MatchOperator::Equal | MatchOperator::In, None) => return Ok(None),
                (MatchOperator::NotEqual | MatchOperator::NotIn, Some(wanted)) => {
                    rule.conditions.push(Condition::OutsideOf(vec![wanted]));
                }
                (MatchOperator::NotEqual | MatchOperator::NotIn, None) => {}
            }
        }
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => return Err("cidr and matchOperator go together".to_owned()),
    }
    rule.conditions.extend(conditions(of)?);
    rule.operations = of.operations.iter().map(operation).collect::<Result<_, _>>()?;
    Ok(Some(rule))
}

fn everywhere(family: Family) -> Result<IpNetwork, String> {
    let any = match family {
        Family::Ipv4Unicast => IpAddr::from([0; 4]),
        Family::Ipv6Unicast => IpAddr::from([0; 16]),
    };
    IpNetwork::new(any, 0).map_err(|e| e.to_string())
}

/// The prefixes that a rule compares with; none where its lengths leave nothing.
fn prefixes(
    family: Family,
    cidr: &str,
    operator: MatchOperator,
    of: &BgpFilterRule,
) -> Result<Option<PrefixMatch>, String> {
    // Without a length it would be read as a host's.
    let network: Option<IpNetwork> = cidr.parse().ok().filter(|_| cidr.contains('/'));
    let network = network.ok_or_else(|| format!("cidr '{cidr}' is not a network in CIDR form"))?;
    if Family::of(&network) != family {
        return Err(format!("cidr {cidr} is of the other address family"));
    }
    let lengths = of.prefix_length.unwrap_or_default();
    let length = network.prefix();
    let longest = if network.is_ipv4() { 32 } else { 128 };
    let exact = matches!(operator, MatchOperator::Equal | MatchOperator::NotEqual);
    let min = lengths.min.unwrap_or(length).max(length);
    let max = if exact {
        lengths.max.unwrap_or(length).min(length)
    } else {
        lengths.max.unwrap_or(longest).min(longest)
    };
    Ok(PrefixMatch::new(network, min, max).ok())
}

fn conditions(of: &BgpFilterRule) -> Result<Vec<Condition>, String> {
    let mut all = Vec::new();
    if of.source.is_some() {
        all.push(Condition::Learned);
    }
    all.extend(of.interface.clone().map(Condition::Interface));
    all.extend(of.peer_type.map(|kind| {
        Condition::Peer(match kind {
            PeerType::External => policy::PeerType::External,
            PeerType::Internal => policy::PeerType::Internal,
        })
    }));
    if let Some(communities) = &of.communities {
        let values: Result<Vec<_>, _> = communities.values.iter().map(|text| text.parse()).collect();
        all.push(Condition::Community(values.map_err(|e: policy::NoCommunity| e.to_string())?));
    }
    if !of.as_path_prefix.is_empty() {
        all.push(Condition::AsPathPrefix(of.as_path_prefix.iter().copied().map(Asn).collect()));
    }
    all.extend(of.priority.map(|priority| Condition::LocalPref(local_pref(priority))));
    Ok(all)
}

fn operation(of: &FilterOperation) -> Result<Operation, String> {
    match (&of.add_community, &of.prepend_as_path, &of.set_priority) {
        (Some(add), None, None) => {
            let community = add.value.parse().map_err(|e: policy::NoCommunity| e.to_string())?;
            Ok(Operation::AddCommunity(community))
        }
        (None, Some(prepend), None) => {
            Ok(Operation::Prepend(prepend.prefix.iter().copied().map(Asn).collect()))
        }
        (None, None, Some(set)) => Ok(Operation::LocalPref(local_pref(set.value))),
        _ => Err("an operation is exactly one of addCommunity, prependASPath and setPriority".to_owned()),
    }
}

/// The LOCAL_PREF of a priority.
fn local_pref(priority: u32) -> u32 {
    (DEFAULT_LOCAL_PREF + NORMAL_PRIORITY).saturating_sub(priority)
}

#[cfg(test)]
mod tests;

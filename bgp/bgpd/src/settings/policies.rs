//! `[[policy]]`: rules with their conditions and operations.

use std::collections::BTreeMap;
use std::sync::Arc;

use caracal_bgp::Asn;
use caracal_bgp::policy::{AnyCommunity, Condition, Operation, Policy, PrefixMatch, Rule};

use crate::file::{self, AsNumber, Mistake, Text, nearest};

/// All policies by their names.
pub(super) type Policies = BTreeMap<String, Arc<Policy>>;

/// Understands every table.
pub(super) fn policies(tables: &[file::Policy]) -> Result<Policies, Mistake> {
    let mut all = Policies::new();
    for table in tables {
        let name = table.name.get_ref();
        let rules = table.rule.iter().enumerate().map(|(place, table)| rule(name, place + 1, table));
        let policy = Arc::new(Policy::new(rules.collect(), table.default.0));
        if all.insert(name.clone(), policy).is_some() {
            let what = format!("there is another policy `{name}`: rename one");
            return Err(Mistake::new(table.name.span(), what));
        }
    }
    Ok(all)
}

/// The policy that a peer asks for.
pub(super) fn named(policies: &Policies, name: &toml::Spanned<String>) -> Result<Arc<Policy>, Mistake> {
    let wanted = name.get_ref();
    policies.get(wanted).cloned().ok_or_else(|| {
        let meant = match nearest(wanted, policies.keys().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "write a [[policy]] of that name".to_owned(),
        };
        Mistake::new(name.span(), format!("there is no policy `{wanted}`: {meant}"))
    })
}

fn rule(policy: &str, place: usize, table: &file::Rule) -> Rule {
    Rule {
        name: table.name.clone().unwrap_or_else(|| format!("{policy}[{place}]")),
        prefixes: matches(&table.prefixes),
        conditions: conditions(table),
        operations: operations(table),
        then: table.action.0,
    }
}

fn conditions(table: &file::Rule) -> Vec<Condition> {
    let all = [
        table.outside.as_ref().map(|list| Condition::OutsideOf(matches(list))),
        table.communities.as_ref().map(|list| Condition::Community(communities(list))),
        table.as_path_begins.as_ref().map(|list| Condition::AsPathPrefix(asns(list))),
        table.as_path_contains.as_ref().map(|list| Condition::AsPathContains(asns(list))),
        table.as_path_at_most.map(Condition::AsPathAtMost),
        table.origin_as.as_ref().map(|list| Condition::OriginAs(asns(list))),
        table.next_hop_in.as_ref().map(|list| Condition::NextHopIn(list.iter().map(|one| one.0).collect())),
        table.source.map(|source| Condition::Source(source.0)),
        table.peer_type.map(|kind| Condition::Peer(kind.0)),
        table.local_pref.map(Condition::LocalPref),
    ];
    all.into_iter().flatten().collect()
}

/// In this order: communities are replaced, taken away and added; then all else.
fn operations(table: &file::Rule) -> Vec<Operation> {
    let removed = table.remove_communities.iter().map(|one| Operation::RemoveCommunity(one.0));
    let added = table.add_communities.iter().map(|one| Operation::AddCommunity(one.0));
    let prepended = (!table.prepend.is_empty()).then(|| Operation::Prepend(asns(&table.prepend)));
    let replaced = table.set_communities.as_ref().map(|list| Operation::SetCommunities(communities(list)));
    replaced
        .into_iter()
        .chain(removed)
        .chain(added)
        .chain(table.set_local_pref.map(Operation::LocalPref))
        .chain(table.set_med.map(|med| Operation::Med(Some(med))))
        .chain(prepended)
        .chain(table.set_next_hop.map(|change| Operation::NextHop(change.0)))
        .collect()
}

fn matches(list: &[Text<PrefixMatch>]) -> Vec<PrefixMatch> {
    list.iter().map(|prefix| prefix.0).collect()
}

fn communities(list: &[Text<AnyCommunity>]) -> Vec<AnyCommunity> {
    list.iter().map(|community| community.0).collect()
}

fn asns(list: &[AsNumber]) -> Vec<Asn> {
    list.iter().map(|number| number.0).collect()
}

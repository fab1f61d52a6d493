//! The rules as a trie: for each network, which rules name it and for which lengths.

use ipnetwork::IpNetwork;
use prefix_trie::joint::JointPrefixMap;
use smallvec::SmallVec;

use super::prefix_set::PrefixMatch;
use super::rule::Rule;

/// Which rules name a network.
type Named = SmallVec<[(usize, PrefixMatch); 1]>;

/// What a policy is evaluated by.
#[derive(Clone)]
pub(super) struct Compiled {
    trie: JointPrefixMap<IpNetwork, Named>,
    /// The first rule that matches every route.
    catch_all: Option<usize>,
}

impl Compiled {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut trie: JointPrefixMap<IpNetwork, Named> = JointPrefixMap::new();
        for (place, rule) in rules.iter().enumerate() {
            for prefix in &rule.prefixes {
                trie.entry(masked(prefix.network())).or_default().push((place, *prefix));
            }
        }
        Compiled { trie, catch_all: rules.iter().position(|rule| rule.prefixes.is_empty()) }
    }

    /// The place of the first rule that matches.
    pub(super) fn first_match(&self, network: &IpNetwork) -> Option<usize> {
        let length = network.prefix();
        let named = self.trie.cover_values(network).flatten();
        let named = named.filter(|(_, prefix)| prefix.takes(length)).map(|(place, _)| *place).min();
        match (named, self.catch_all) {
            (Some(named), Some(all)) => Some(named.min(all)),
            (named, all) => named.or(all),
        }
    }
}

fn masked(network: IpNetwork) -> IpNetwork {
    IpNetwork::new(network.network(), network.prefix()).unwrap_or(network)
}

//! The rules as a trie: for each network, which rules name it and for which lengths.

use ipnetwork::IpNetwork;
use prefix_trie::joint::JointPrefixMap;
use smallvec::SmallVec;

use super::prefix_set::PrefixMatch;
use super::rule::Rule;

/// Which rules name a network.
type Named = SmallVec<[(u32, PrefixMatch); 1]>;
/// Places of rules, in their order.
pub(super) type Places = SmallVec<[u32; 8]>;

/// What a policy is evaluated by.
#[derive(Clone)]
pub(super) struct Compiled {
    trie: JointPrefixMap<IpNetwork, Named>,
    /// The rules that are about every prefix, in their order.
    everywhere: Vec<u32>,
}

impl Compiled {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut trie: JointPrefixMap<IpNetwork, Named> = JointPrefixMap::new();
        let mut everywhere = Vec::new();
        for (place, rule) in (0u32..).zip(rules) {
            if rule.prefixes.is_empty() {
                everywhere.push(place);
            }
            for prefix in &rule.prefixes {
                trie.entry(masked(prefix.network())).or_default().push((place, *prefix));
            }
        }
        Compiled { trie, everywhere }
    }

    /// The places of the rules whose prefixes match, in their order, each once.
    pub(super) fn candidates(&self, network: &IpNetwork) -> Places {
        let length = network.prefix();
        let named = self.trie.cover_values(network).flatten();
        let named = named.filter(|(_, prefix)| prefix.takes(length)).map(|(place, _)| *place);
        let mut places: Places = named.chain(self.everywhere.iter().copied()).collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

fn masked(network: IpNetwork) -> IpNetwork {
    IpNetwork::new(network.network(), network.prefix()).unwrap_or(network)
}

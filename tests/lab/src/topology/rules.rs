//! What a topology must keep to, so that a lab of it can work.

use std::collections::BTreeSet;

use ipnetwork::IpNetwork;

use super::{Design, Encapsulation, Families, MOST_NODES, MOST_RACKS, PoolPlan, RouterKind, Topology, plan};

/// Most pods that a lab makes on each node.
const MOST_PODS: u8 = 50;
/// Longest name: it becomes a device's name (15 bytes) and begins the names of pods.
const LONGEST_NAME: usize = 12;

/// What is wrong with a topology.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct Unfit {
    /// Which part, in the words of the topology file: `rack[1].name`.
    pub field: String,
    /// What is wrong there, and what to write instead.
    pub why: String,
}

fn unfit(field: impl Into<String>, why: impl Into<String>) -> Unfit {
    Unfit { field: field.into(), why: why.into() }
}

impl Topology {
    /// Checks that a lab of this can work.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn check(&self) -> Result<(), Unfit> {
        self.check_counts()?;
        self.check_names()?;
        self.check_design()?;
        for (index, pool) in self.pools.iter().enumerate() {
            self.check_pool(index, pool)?;
        }
        Ok(())
    }

    fn check_counts(&self) -> Result<(), Unfit> {
        if self.racks.is_empty() || self.racks.len() > MOST_RACKS.into() {
            return Err(unfit(
                "rack",
                format!("there must be 1 to {MOST_RACKS} racks, not {}", self.racks.len()),
            ));
        }
        if self.nodes.is_empty() || self.nodes.len() > MOST_NODES.into() {
            let found = self.nodes.len();
            return Err(unfit(
                "rack",
                format!("all racks together must hold 1 to {MOST_NODES} nodes, not {found}"),
            ));
        }
        if self.pods_per_node > MOST_PODS {
            let found = self.pods_per_node;
            return Err(unfit(
                "pods-per-node",
                format!("at most {MOST_PODS} pods are made on a node, not {found}"),
            ));
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), Unfit> {
        let mut taken: BTreeSet<String> = ["control", "fabric", plan::OUTSIDE, plan::SPINE, "lo"]
            .into_iter()
            .map(str::to_owned)
            .chain(self.racks.iter().map(super::RackPlan::router_name))
            .collect();
        let mut take = |field: String, name: &str| {
            check_name(&field, name)?;
            if taken.insert(name.to_owned()) {
                Ok(())
            } else {
                Err(unfit(
                    field,
                    format!("the name `{name}` is taken: the lab itself or another part has it"),
                ))
            }
        };
        for (index, rack) in self.racks.iter().enumerate() {
            take(format!("rack[{index}].name"), &rack.name)?;
        }
        for node in &self.nodes {
            take(format!("rack[{}].nodes", node.rack), &node.name)?;
        }
        Ok(())
    }

    fn check_design(&self) -> Result<(), Unfit> {
        if let Design::Reflectors(count) = self.design
            && (count == 0 || usize::from(count) > self.nodes.len())
        {
            let nodes = self.nodes.len();
            return Err(unfit(
                "reflectors",
                format!("1 to {nodes} of the {nodes} nodes can reflect, not {count}"),
            ));
        }
        if self.design == Design::DualTor && self.racks.len() != 2 {
            return Err(unfit(
                "rack",
                format!("nodes with two uplinks need two racks, a router in each, not {}", self.racks.len()),
            ));
        }
        let other = self.racks.iter().position(|rack| rack.router != RouterKind::Caracal);
        if let (Design::DualTor, Some(index)) = (self.design, other) {
            return Err(unfit(
                format!("rack[{index}].router"),
                "only `caracal` tells of the uplinks of nodes that have two: take it, or one uplink",
            ));
        }
        if self.encapsulation == Encapsulation::Never && self.racks.len() > 1 && !self.design.tells_routers()
        {
            return Err(unfit(
                "encapsulation",
                "`never` needs routers that know the pods' addresses, and here they only know the racks: let nodes \
                 peer with their routers (`--tor`, bgp = \"tor\"), or have one rack, or encapsulate",
            ));
        }
        if self.encapsulation == Encapsulation::Ipip && self.families == Families::V6 {
            return Err(unfit(
                "encapsulation",
                "`ipip` carries IPv4 only, and this lab has none: take `vxlan`",
            ));
        }
        Ok(())
    }

    fn check_pool(&self, index: usize, pool: &PoolPlan) -> Result<(), Unfit> {
        let field = |name: &str| format!("pool[{index}].{name}");
        check_name(&field("name"), &pool.name)?;
        let (cidr, prefix) = (pool.cidr, pool.cidr.prefix());
        if cidr.ip() != cidr.network() {
            return Err(unfit(
                field("cidr"),
                format!("{cidr} has host bits: write {}/{prefix}", cidr.network()),
            ));
        }
        if !self.families.has(&cidr) {
            return Err(unfit(
                field("cidr"),
                format!("{cidr} is of a family that this lab has not ({})", self.families),
            ));
        }
        let (least, most) = if cidr.is_ipv4() { (24, 32) } else { (120, 128) };
        if !(least.max(prefix)..=most).contains(&pool.block) {
            let why = format!("blocks of {cidr} are /{} to /{most}, not /{}", least.max(prefix), pool.block);
            return Err(unfit(field("block-size"), why));
        }
        let own = [plan::v4(172, 29, 0, 0, 24), plan::v4(172, 30, 0, 0, 16)];
        let own_v6 =
            [plan::v6([0xfd00, 0x29, 0, 0, 0, 0, 0, 0], 64), plan::v6([0xfd00, 0x30, 0, 0, 0, 0, 0, 0], 48)];
        let of_uplinks = self.racks.iter().flat_map(|rack| self.uplink_networks(rack));
        let of_uplinks: Vec<IpNetwork> = of_uplinks.chain(self.loopback_networks()).collect();
        if let Some(other) = own.iter().chain(&own_v6).chain(&of_uplinks).find(|other| overlap(cidr, **other))
        {
            return Err(unfit(
                field("cidr"),
                format!("{cidr} overlaps {other}, where the lab's machines are"),
            ));
        }
        if let Some(other) = self.pools[..index].iter().find(|other| overlap(cidr, other.cidr)) {
            return Err(unfit(
                field("cidr"),
                format!("{cidr} overlaps {} of the pool {}", other.cidr, other.name),
            ));
        }
        if self.pools[..index].iter().any(|other| other.name == pool.name) {
            return Err(unfit(field("name"), format!("there is a pool `{}` already", pool.name)));
        }
        Ok(())
    }
}

fn check_name(field: &str, name: &str) -> Result<(), Unfit> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.ends_with(letter)
        && name.chars().all(|c| letter(c) || c == '-')
        && name.len() <= LONGEST_NAME;
    if good {
        return Ok(());
    }
    let why = format!(
        "`{name}` cannot be a name: at most {LONGEST_NAME} small letters, digits and dashes, with a letter first and \
         no dash last"
    );
    Err(unfit(field, why))
}

fn overlap(one: IpNetwork, other: IpNetwork) -> bool {
    one.is_ipv4() == other.is_ipv4() && (one.contains(other.network()) || other.contains(one.network()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(change: impl FnOnce(&mut Topology)) -> String {
        let mut topology = Topology::default();
        change(&mut topology);
        topology.check().unwrap_err().to_string()
    }

    #[test]
    fn the_usual_topologies_are_fit() {
        for topology in [
            Topology::default(),
            Topology::one_rack(1, 0),
            Topology::racks_of_nodes(16, 100, 50),
            Topology::default().with_design(Design::Tor).with_families(Families::V6),
            Topology::default().with_design(Design::Reflectors(2)).with_families(Families::V4),
            Topology::racks_of_nodes(2, 100, 1).with_design(Design::DualTor),
        ] {
            topology.check().unwrap();
        }
    }

    #[test]
    fn a_mesh_across_racks_without_tunnels_is_refused_with_the_ways_out() {
        let words = refusal(|topology| topology.encapsulation = Encapsulation::Never);
        assert!(words.starts_with("encapsulation: ") && words.contains("--tor"), "{words}");
        let mut one = Topology::one_rack(2, 2);
        one.encapsulation = Encapsulation::Never;
        one.check().unwrap();
    }

    #[test]
    fn names_are_told_apart_from_what_the_lab_itself_has() {
        assert_eq!(
            refusal(|topology| topology.nodes[2].name = "tor0".into()),
            "rack[1].nodes: the name `tor0` is taken: the lab itself or another part has it"
        );
        assert!(refusal(|topology| topology.racks[0].name = "Rack 0".into()).contains("cannot be a name"));
        assert!(refusal(|topology| topology.nodes[1].name = "n1".into()).contains("is taken"));
    }

    #[test]
    fn pools_are_checked_with_what_to_write_instead() {
        let cidr = |text: &str| -> IpNetwork { text.parse().unwrap() };
        assert_eq!(
            refusal(|topology| topology.pools[0].cidr = cidr("10.244.0.1/16")),
            "pool[0].cidr: 10.244.0.1/16 has host bits: write 10.244.0.0/16"
        );
        assert!(refusal(|topology| topology.pools[0].block = 20).contains("/24 to /32, not /20"));
        assert!(refusal(|topology| topology.pools[0].cidr = cidr("172.16.0.0/12")).contains("overlaps"));
    }

    #[test]
    fn two_uplinks_need_two_racks_and_their_addresses_are_no_pools() {
        let dual = |topology: &mut Topology| *topology = topology.clone().with_design(Design::DualTor);
        let words = refusal(|topology| {
            dual(topology);
            drop(topology.racks.pop());
        });
        assert!(words.starts_with("rack: ") && words.contains("two racks"), "{words}");
        let words = refusal(|topology| {
            dual(topology);
            topology.pools[0].cidr = "172.28.0.0/16".parse().unwrap();
        });
        assert!(words.contains("overlaps 172.28.0.0/24"), "{words}");
    }

    #[test]
    fn more_reflectors_than_nodes_are_refused() {
        assert!(refusal(|topology| topology.design = Design::Reflectors(5)).contains("1 to 4"));
    }
}

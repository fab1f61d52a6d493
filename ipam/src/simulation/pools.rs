//! Small pools, so that a handful of nodes fills them.

use caracal_api::{IpPool, IpPoolSpec, IpamConfigSpec};

use crate::pool::Pools;

/// A pool that the controller found allocatable.
pub(super) fn pools(specs: &[(&str, &str, u8)], config: IpamConfigSpec) -> Pools {
    let objects: Vec<IpPool> = specs.iter().map(|(name, cidr, block)| object(name, cidr, *block)).collect();
    Pools::read(&objects, config, Vec::new()).all_allocatable()
}

pub(super) fn object(name: &str, cidr: &str, block: u8) -> IpPool {
    let spec = IpPoolSpec {
        cidr: cidr.to_owned(),
        block_size: Some(block),
        ipip_mode: Default::default(),
        vxlan_mode: Default::default(),
        nat_outgoing: false,
        disabled: false,
        disable_bgp_export: false,
        node_selector: "all()".to_owned(),
        namespace_selector: String::new(),
        allowed_uses: Vec::new(),
        assignment_mode: Default::default(),
    };
    let mut pool = IpPool::new(name, spec);
    pool.metadata.uid = Some(format!("uid-of-{name}"));
    pool
}

/// Sixteen blocks of eight addresses in each family.
pub(super) fn small(cooldown: u32) -> Pools {
    let config = IpamConfigSpec { ip_cooldown_seconds: cooldown, ..IpamConfigSpec::default() };
    pools(&[("v4", "10.244.0.0/25", 29), ("v6", "fd00:244::/121", 125)], config)
}

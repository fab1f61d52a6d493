//! Small pools, so that a handful of nodes fills them, and how they are edited.

use caracal_api::{IpPool, IpPoolSpec, IpamConfigSpec};

use super::plan::{Fault, Plan};
use crate::pool::Pools;

/// Pools that the controller found allocatable.
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

/// The pools of a cluster as their users and the controller have them.
pub(super) struct PoolObjects {
    objects: Vec<IpPool>,
    pub(super) config: IpamConfigSpec,
    reserved: Vec<ipnetwork::IpNetwork>,
    checked: bool,
}

impl PoolObjects {
    pub(super) fn of(plan: &Plan) -> Self {
        let v4 = format!("10.244.0.0/{}", plan.pool_prefix);
        let v6 = format!("fd00:244::/{}", plan.pool_prefix + 96);
        let config = IpamConfigSpec {
            // Some begin with sharing; it changes within the run.
            strict_affinity: !(plan.has(Fault::Sharing) && plan.seed.is_multiple_of(2)),
            ip_cooldown_seconds: plan.cooldown,
            max_blocks_per_host: plan.max_blocks,
            ..IpamConfigSpec::default()
        };
        let objects = vec![object("v4", &v4, plan.block_prefix), object("v6", &v6, plan.block_prefix + 96)];
        Self { objects, config, reserved: Vec::new(), checked: true }
    }

    pub(super) fn read(&self) -> Pools {
        let pools = Pools::read(&self.objects, self.config.clone(), self.reserved.clone());
        if self.checked { pools.all_allocatable() } else { pools }
    }

    /// Changes something; the number says what.
    pub(super) fn edit(&mut self, choice: u32, has_blocks: impl Fn(&str) -> bool) {
        self.checked = true;
        match choice {
            0 => self.objects[0].spec.disabled ^= true,
            1 => {
                let selector = &mut self.objects[0].spec.node_selector;
                *selector = if selector == "all()" { "rack == 'a'" } else { "all()" }.to_owned();
            }
            2 if self.objects.len() == 2 => {
                let size = self.objects[0].spec.block_prefix();
                self.objects.push(object("more", "10.245.0.0/25", size.max(26)));
            }
            // A finalizer keeps it while blocks lie inside it.
            2 if has_blocks("more") => {
                self.objects[2].metadata.deletion_timestamp =
                    Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Default::default()));
            }
            2 => drop(self.objects.pop()),
            3 => self.config.ip_cooldown_seconds = (self.config.ip_cooldown_seconds + 2) % 9,
            4 => self.config.max_blocks_per_host = (self.config.max_blocks_per_host + 1) % 4,
            // The controller has not looked at a change yet.
            5 => self.checked = false,
            _ => {
                let reserve = self.reserved.is_empty();
                self.reserved = reserve.then(|| "10.244.0.0/30".parse().unwrap()).into_iter().collect();
            }
        }
    }

    /// As they were at first, but for what cannot be undone.
    pub(super) fn settle(&mut self) {
        self.config.max_blocks_per_host = 0;
        self.checked = true;
        self.reserved.clear();
        for pool in &mut self.objects {
            pool.spec.disabled = false;
            pool.spec.node_selector = "all()".to_owned();
        }
    }
}

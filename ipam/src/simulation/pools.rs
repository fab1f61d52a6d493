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

fn is_first(pool: &IpPool) -> bool {
    pool.spec.cidr.starts_with("10.244.")
}

fn is_leaving(pool: &IpPool) -> bool {
    pool.metadata.deletion_timestamp.is_some()
}

fn delete(pool: &mut IpPool) {
    let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Default::default());
    pool.metadata.deletion_timestamp = Some(now);
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
    /// How often the IPv4 pool was split or joined.
    remade: u32,
    /// Prefix lengths of the whole IPv4 pool and of its blocks.
    whole: u8,
    block_prefix: u8,
}

impl PoolObjects {
    pub(super) fn of(plan: &Plan) -> Self {
        let (whole, block_prefix) = (plan.pool_prefix, plan.block_prefix);
        let v4 = format!("10.244.0.0/{whole}");
        let v6 = format!("fd00:244::/{}", plan.pool_prefix + 96);
        let config = IpamConfigSpec {
            // Some begin with sharing; it changes within the run.
            strict_affinity: !(plan.has(Fault::Sharing) && plan.seed.is_multiple_of(2)),
            ip_cooldown_seconds: plan.cooldown,
            max_blocks_per_host: plan.max_blocks,
            ..IpamConfigSpec::default()
        };
        let objects = vec![object("v4", &v4, plan.block_prefix), object("v6", &v6, plan.block_prefix + 96)];
        Self { objects, config, reserved: Vec::new(), checked: true, remade: 0, whole, block_prefix }
    }

    pub(super) fn read(&self) -> Pools {
        let pools = Pools::read(&self.objects, self.config.clone(), self.reserved.clone());
        if self.checked { pools.all_allocatable() } else { pools }
    }

    /// Changes something; the number says what.
    pub(super) fn edit(&mut self, choice: u32, has_blocks: impl Fn(&str) -> bool) {
        self.checked = true;
        match choice {
            0 => self.first().for_each(|pool| pool.spec.disabled ^= true),
            1 => self.first().for_each(|pool| {
                let selector = &mut pool.spec.node_selector;
                *selector = if selector == "all()" { "rack == 'a'" } else { "all()" }.to_owned();
            }),
            2 => match self.objects.iter().position(|pool| pool.metadata.name.as_deref() == Some("more")) {
                None => {
                    self.objects.push(object("more", "10.245.0.0/25", self.block_prefix.max(26)));
                }
                // A finalizer keeps it while blocks lie inside it.
                Some(at) if has_blocks("more") => delete(&mut self.objects[at]),
                Some(at) => drop(self.objects.remove(at)),
            },
            7 => self.split_or_join(),
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

    /// The IPv4 pool of the beginning, or what it was split into.
    fn first(&mut self) -> impl Iterator<Item = &mut IpPool> {
        self.objects.iter_mut().filter(|pool| is_first(pool))
    }

    /// Goes one step further in splitting the IPv4 pool into halves, or in making one of the halves: the new ones come, then
    /// the old ones are deleted, then they are gone. Blocks lie inside all the while.
    fn split_or_join(&mut self) {
        if self.whole == self.block_prefix {
            return;
        }
        let all: Vec<IpPool> = self.first().map(|pool| pool.clone()).collect();
        if all.iter().any(is_leaving) {
            self.objects.retain(|pool| !(is_first(pool) && is_leaving(pool)));
            return;
        }
        let base = u32::from(std::net::Ipv4Addr::new(10, 244, 0, 0));
        match all.len() {
            1 => {
                self.remade += 1;
                for half in 0..2_u32 {
                    let first = std::net::Ipv4Addr::from(base | half << (31 - self.whole));
                    self.add_like(&all[0], &format!("v4-{half}"), format!("{first}/{}", self.whole + 1));
                }
            }
            2 => {
                self.remade += 1;
                self.add_like(&all[0], "v4", format!("10.244.0.0/{}", self.whole));
            }
            _ => {
                let split = self.remade % 2 == 1;
                let whole = format!("/{}", self.whole);
                self.first().filter(|pool| pool.spec.cidr.ends_with(&whole) == split).for_each(delete);
            }
        }
    }

    /// Another pool with the settings of one.
    fn add_like(&mut self, pool: &IpPool, name: &str, cidr: String) {
        let mut new = IpPool::new(name, IpPoolSpec { cidr, ..pool.spec.clone() });
        new.metadata.uid = Some(format!("uid-of-{name}-{}", self.remade));
        self.objects.push(new);
    }

    /// As they were at first, but for what cannot be undone.
    pub(super) fn settle(&mut self) {
        self.config.max_blocks_per_host = 0;
        self.checked = true;
        self.reserved.clear();
        self.objects.retain(|pool| !(is_first(pool) && is_leaving(pool)));
        for pool in &mut self.objects {
            pool.spec.disabled = false;
            pool.spec.node_selector = "all()".to_owned();
        }
    }
}

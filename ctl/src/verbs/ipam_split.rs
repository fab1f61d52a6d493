//! `caracalctl ipam split`: makes several pools of one.
//!
//! The new pools are made while the old one is there: until it has gone they overlap with it, and nodes claim nothing
//! from them. A pool with blocks inside cannot go before they are free, so nothing could be claimed from the range all
//! that time; such a pool is refused.

use caracal_api::block_cidr::masked;
use caracal_api::{IpPool, IpamBlock};
use ipnetwork::IpNetwork;
use kube::ResourceExt;
use serde::Serialize;

use crate::arguments::SplitArgs;
use crate::cluster::{Cluster, Outcome};
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::Table;

/// What became of the pool.
#[derive(Debug, Serialize)]
pub(crate) struct Split {
    /// The pool that was split.
    pool: String,
    /// Those that hold its range now.
    pools: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Part {
    name: String,
    cidr: String,
}

/// Splits it.
pub(crate) async fn ask(args: &SplitArgs) -> Result<Split, Failure> {
    let cluster = Cluster::open(args.cluster.kubeconfig.as_deref()).await?;
    let pools = cluster.pools().await?;
    let pool = choose(&pools, args)?;
    let parts = parts(pool, args.number)?;
    refuse_blocks(pool, &cluster.blocks().await?)?;
    for part in &parts {
        let taken = pools.iter().any(|other| other.name_any() == part.name);
        if taken {
            let found = format!("there is a pool {} already: rename or delete it", part.name);
            return Err(refused(pool, found));
        }
    }
    for part in &parts {
        let mut spec = pool.spec.clone();
        spec.cidr.clone_from(&part.cidr);
        let mut new = IpPool::new(&part.name, spec);
        new.metadata.labels.clone_from(&pool.metadata.labels);
        cluster.create_pool(&new).await?;
    }
    match cluster.delete_pool(pool).await? {
        Outcome::Done => Ok(Split { pool: pool.name_any(), pools: parts }),
        Outcome::Changed => Err(refused(
            pool,
            "it was deleted or made anew meanwhile; the new pools were made: look at all pools".to_owned(),
        )),
    }
}

fn refused(pool: &IpPool, found: String) -> Failure {
    Failure::Split { pool: pool.name_any(), found }
}

fn choose<'a>(pools: &'a [IpPool], args: &SplitArgs) -> Result<&'a IpPool, Failure> {
    let chosen = pools.iter().find(|pool| match (&args.name, args.cidr) {
        (Some(name), _) => pool.name_any() == *name,
        (None, cidr) => pool.spec.network().map(masked) == cidr.map(masked),
    });
    chosen.ok_or_else(|| {
        let known: Vec<String> =
            pools.iter().map(|p| format!("{} ({})", p.name_any(), p.spec.cidr)).collect();
        let wanted = args.name.clone().or_else(|| args.cidr.map(|cidr| cidr.to_string())).unwrap_or_default();
        Failure::NoSuchPool { wanted, known: known.join(", ") }
    })
}

/// The new pools.
fn parts(pool: &IpPool, number: u32) -> Result<Vec<Part>, Failure> {
    let Some(range) = pool.spec.network().map(masked) else {
        return Err(refused(pool, format!("its cidr '{}' cannot be read", pool.spec.cidr)));
    };
    if !number.is_power_of_two() || number < 2 {
        return Err(refused(pool, format!("{number} is not a power of two above 1: use 2, 4, 8 …")));
    }
    let bits = u8::try_from(number.ilog2()).unwrap_or(u8::MAX);
    let prefix = range.prefix().saturating_add(bits);
    let block = pool.spec.block_prefix();
    if prefix > block {
        let most = 1_u128.checked_shl(u32::from(block.saturating_sub(range.prefix()))).unwrap_or(u128::MAX);
        let found = format!(
            "{range} in {number} parts makes pools smaller than one block (/{block}): at most {most} parts are possible"
        );
        return Err(refused(pool, found));
    }
    let part = |index: u32| {
        let cidr = subnet(range, prefix, index)?;
        Some(Part { name: format!("split-{}-{index}", pool.name_any()), cidr: cidr.to_string() })
    };
    Ok((0..number).filter_map(part).collect())
}

/// The subnet of this number and prefix length in a range.
fn subnet(range: IpNetwork, prefix: u8, index: u32) -> Option<IpNetwork> {
    match range {
        IpNetwork::V4(range) => {
            let step = index.checked_shl(u32::from(32 - prefix)).unwrap_or_default();
            let first = u32::from(range.network()) | step;
            IpNetwork::new(std::net::Ipv4Addr::from(first).into(), prefix).ok()
        }
        IpNetwork::V6(range) => {
            let step = u128::from(index).checked_shl(u32::from(128 - prefix)).unwrap_or_default();
            let first = u128::from(range.network()) | step;
            IpNetwork::new(std::net::Ipv6Addr::from(first).into(), prefix).ok()
        }
    }
}

fn refuse_blocks(pool: &IpPool, blocks: &[IpamBlock]) -> Result<(), Failure> {
    let Some(range) = pool.spec.network().map(masked) else { return Ok(()) };
    let inside: Vec<&IpamBlock> = blocks
        .iter()
        .filter(|block| block.spec.cidr.parse::<IpNetwork>().is_ok_and(|cidr| range.contains(cidr.ip())))
        .collect();
    let used: usize = inside.iter().map(|block| block.spec.allocations.len()).sum();
    match inside.len() {
        0 => Ok(()),
        count => Err(refused(
            pool,
            format!(
                "{count} blocks lie inside it and {used} addresses are in use. Set `disabled: true`, let its pods be made \
                 anew in another pool, and split it when `caracalctl ipam show` counts no blocks"
            ),
        )),
    }
}

impl Answer for Split {
    fn text(&self, _wide: bool) -> Vec<Section> {
        let mut table = Table::new(["NAME", "CIDR"]);
        for part in &self.pools {
            table.row([(&part.name).into(), (&part.cidr).into()]);
        }
        let words = format!("Pool {} was split into {}.", self.pool, self.pools.len());
        vec![Section::Table(table), Section::Text(words)]
    }

    fn names(&self) -> Vec<String> {
        self.pools.iter().map(|part| format!("ippool.caracal.dev/{}", part.name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(cidr: &str) -> IpPool {
        IpPool::new("pods", serde_json::from_value(serde_json::json!({"cidr": cidr})).unwrap())
    }

    fn cidrs(cidr: &str, number: u32) -> Vec<String> {
        parts(&pool(cidr), number).unwrap().into_iter().map(|part| part.cidr).collect()
    }

    #[test]
    fn the_parts_fill_the_range_in_order() {
        assert_eq!(
            cidrs("10.244.0.0/24", 4),
            ["10.244.0.0/26", "10.244.0.64/26", "10.244.0.128/26", "10.244.0.192/26"]
        );
        assert_eq!(cidrs("fd00:244::/48", 2), ["fd00:244::/49", "fd00:244:0:8000::/49"]);
        let names: Vec<String> =
            parts(&pool("10.0.0.0/8"), 2).unwrap().into_iter().map(|part| part.name).collect();
        assert_eq!(names, ["split-pods-0", "split-pods-1"]);
    }

    #[test]
    fn numbers_that_do_not_fit_are_refused_with_what_would() {
        let words = |cidr: &str, number| parts(&pool(cidr), number).unwrap_err().to_string();
        assert!(words("10.244.0.0/24", 3).contains("use 2, 4, 8"), "{}", words("10.244.0.0/24", 3));
        assert!(words("10.244.0.0/24", 8).contains("at most 4 parts"), "{}", words("10.244.0.0/24", 8));
    }
}

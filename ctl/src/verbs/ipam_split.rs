//! `caracalctl ipam split`: makes several pools of one, while pods run and come.
//!
//! Blocks stay where they are: each lies inside one of the parts, with the size that those cut, and its name is a lock for
//! the old pool and the part alike. So the parts are made first, each with a note of what it is a part of
//! ([`SPLIT_FROM`]), which lets the controller find them usable beside the old pool. Only then is that deleted; the owners
//! of its blocks write the parts into them. At no moment is there no pool that serves.
//!
//! Every step is looked at before it is done: whoever is killed half way runs the same command again.

use std::time::{Duration, Instant};

use caracal_api::block_cidr::masked;
use caracal_api::ip_pool::{ALLOCATABLE, SPLIT_FROM};
use caracal_api::{IpPool, IpamBlock};
use ipnetwork::IpNetwork;
use kube::ResourceExt;
use serde::Serialize;

use crate::arguments::SplitArgs;
use crate::cluster::Cluster;
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::Table;

/// Between two looks at what the controller has done.
const PAUSE: Duration = Duration::from_millis(200);
/// Why the controller finds a pool not allocatable that is to be so.
const DISABLED: &str = "PoolDisabled";

/// What became of the pool.
#[derive(Debug, Serialize)]
pub(crate) struct Split {
    /// The pool that was split.
    pool: String,
    /// Those that hold its range now.
    pools: Vec<Part>,
    /// Blocks inside, which stay as they are.
    blocks: usize,
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
    let blocks = cluster.blocks().await?;
    let inside = |range: Option<IpNetwork>| {
        let lies = |block: &&IpamBlock| -> bool {
            let cidr: Option<IpNetwork> = block.spec.cidr.parse().ok();
            range.zip(cidr).is_some_and(|(range, cidr)| range.contains(cidr.ip()))
        };
        blocks.iter().filter(lies).count()
    };
    let pool = match (choose(&pools, args), finished(&pools, args)) {
        (Err(_), Some((pool, range, pools))) => {
            return Ok(Split { pool, pools, blocks: inside(Some(range)) });
        }
        (chosen, _) => chosen?,
    };
    let parts = parts(pool, args.number)?;
    let missing = missing(pool, &parts, &pools)?;
    let leaving = pool.metadata.deletion_timestamp.is_some();
    if leaving && !missing.is_empty() {
        return Err(refused(pool, "it is being deleted: make new pools once it has gone".to_owned()));
    }
    for part in missing {
        cluster.create_pool(&made(pool, part)).await?;
    }
    let end = Instant::now() + Duration::from_secs(args.within);
    judged(&cluster, pool, &parts, end, args.within).await?;
    if !leaving {
        // Somebody may have deleted it meanwhile, which is as good.
        cluster.delete_pool(pool).await?;
    }
    gone(&cluster, pool, end, args.within).await?;
    Ok(Split { pool: pool.name_any(), pools: parts, blocks: inside(pool.spec.network().map(masked)) })
}

/// What is still to be made. A pool of a part's name that is no such part is in the way.
fn missing<'a>(pool: &IpPool, parts: &'a [Part], pools: &[IpPool]) -> Result<Vec<&'a Part>, Failure> {
    let name = pool.name_any();
    let stray = pools
        .iter()
        .find(|other| other.is_part_of(pool) && !parts.iter().any(|part| part.name == other.name_any()));
    let other_range = |part: &&Part| {
        let is = |other: &&IpPool| other.name_any() == part.name && other.is_part_of(pool);
        pools.iter().find(is).is_some_and(|other| other.spec.cidr != part.cidr)
    };
    if let Some(left) = stray
        .map(ResourceExt::name_any)
        .or_else(|| parts.iter().find(other_range).map(|part| part.name.clone()))
    {
        let found = format!(
            "pool {left} is left from splitting it into another number of pools: split it into that number, or delete \
             those pools first (the blocks stay with {name})"
        );
        return Err(refused(pool, found));
    }
    let named = |part: &&Part| pools.iter().find(|other| other.name_any() == part.name);
    if let Some(taken) = parts.iter().find(|part| named(part).is_some_and(|other| !other.is_part_of(pool))) {
        return Err(refused(pool, format!("there is a pool {} already: rename or delete it", taken.name)));
    }
    Ok(parts.iter().filter(|part| named(part).is_none()).collect())
}

/// A part, with the settings of the whole.
fn made(pool: &IpPool, part: &Part) -> IpPool {
    let mut spec = pool.spec.clone();
    spec.cidr.clone_from(&part.cidr);
    let mut new = IpPool::new(&part.name, spec);
    new.metadata.labels.clone_from(&pool.metadata.labels);
    let note = pool.uid().map(|uid| (SPLIT_FROM.to_owned(), uid));
    new.metadata.annotations = Some(note.into_iter().collect());
    new
}

/// Waits until the controller has found every part usable.
async fn judged(
    cluster: &Cluster,
    pool: &IpPool,
    parts: &[Part],
    end: Instant,
    within: u64,
) -> Result<(), Failure> {
    loop {
        let pools = cluster.pools().await?;
        let mut unjudged = None;
        for part in parts {
            let found = pools.iter().find(|other| other.name_any() == part.name);
            let conditions = found.and_then(|found| found.status.as_ref()).map(|status| &status.conditions);
            let generation = found.and_then(|found| found.metadata.generation);
            let verdict = conditions.and_then(|all| {
                all.iter().find(|c| c.type_ == ALLOCATABLE && c.observed_generation == generation)
            });
            match verdict {
                Some(verdict) if verdict.status == "True" || verdict.reason == DISABLED => {}
                Some(verdict) => {
                    let found = format!(
                        "the controller found against pool {}: {} ({}). Pool {} is as it was; put that right and run this \
                         again, or delete the new pools",
                        part.name,
                        verdict.message,
                        verdict.reason,
                        pool.name_any()
                    );
                    return Err(refused(pool, found));
                }
                None => unjudged = Some(&part.name),
            }
        }
        let Some(name) = unjudged else { return Ok(()) };
        if Instant::now() >= end {
            let found = format!(
                "the controller has not judged pool {name} within {within} s: does caracal-controller run? Pool {} goes on \
                 serving; run this again to go on",
                pool.name_any()
            );
            return Err(refused(pool, found));
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Waits until the whole has gone.
async fn gone(cluster: &Cluster, pool: &IpPool, end: Instant, within: u64) -> Result<(), Failure> {
    while cluster.pools().await?.iter().any(|other| other.uid() == pool.uid()) {
        if Instant::now() >= end {
            let found = format!(
                "the new pools serve, but it has not gone within {within} s: does caracal-controller run? Run this again to \
                 see it go"
            );
            return Err(refused(pool, found));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

/// A pool that was split before, as the parts tell: its name and range, and those.
fn finished(pools: &[IpPool], args: &SplitArgs) -> Option<(String, IpNetwork, Vec<Part>)> {
    let bits = u8::try_from(args.number.checked_ilog2()?).ok()?;
    let is_first = |pool: &&IpPool| match (&args.name, args.cidr.map(masked)) {
        (Some(name), _) => pool.name_any() == part_name(name, 0),
        (None, Some(range)) => {
            let first = subnet(range, range.prefix().saturating_add(bits), 0);
            first.is_some() && pool.spec.network() == first && pool.name_any().ends_with("-0")
        }
        (None, None) => false,
    };
    let first = pools.iter().find(is_first)?;
    let (whole, name) = (first.annotations().get(SPLIT_FROM)?, first.name_any());
    let name = name.strip_prefix("split-")?.strip_suffix("-0")?.to_owned();
    let part = |index: u32| {
        let wanted = part_name(&name, index);
        let found = pools.iter().find(|pool| pool.name_any() == wanted)?;
        let is = found.annotations().get(SPLIT_FROM) == Some(whole);
        is.then(|| Part { name: wanted, cidr: found.spec.cidr.clone() })
    };
    let parts: Option<Vec<Part>> = (0..args.number).map(part).collect();
    let range = first.spec.network()?;
    let range = IpNetwork::new(range.ip(), range.prefix().checked_sub(bits)?).ok()?;
    let more = pools.iter().filter(|pool| pool.annotations().get(SPLIT_FROM) == Some(whole)).count();
    parts.filter(|parts| parts.len() == more).map(|parts| (name, masked(range), parts))
}

fn part_name(pool: &str, index: u32) -> String {
    format!("split-{pool}-{index}")
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
        Some(Part { name: part_name(&pool.name_any(), index), cidr: cidr.to_string() })
    };
    Ok((0..number).filter_map(part).collect())
}

/// The subnet of this number and prefix length in a range.
fn subnet(range: IpNetwork, prefix: u8, index: u32) -> Option<IpNetwork> {
    match range {
        IpNetwork::V4(range) => {
            let step = index.checked_shl(u32::from(32_u8.checked_sub(prefix)?)).unwrap_or_default();
            let first = u32::from(range.network()) | step;
            IpNetwork::new(std::net::Ipv4Addr::from(first).into(), prefix).ok()
        }
        IpNetwork::V6(range) => {
            let step =
                u128::from(index).checked_shl(u32::from(128_u8.checked_sub(prefix)?)).unwrap_or_default();
            let first = u128::from(range.network()) | step;
            IpNetwork::new(std::net::Ipv6Addr::from(first).into(), prefix).ok()
        }
    }
}

impl Answer for Split {
    fn text(&self, _wide: bool) -> Vec<Section> {
        let mut table = Table::new(["NAME", "CIDR"]);
        for part in &self.pools {
            table.row([(&part.name).into(), (&part.cidr).into()]);
        }
        let mut words = format!("Pool {} was split into {}.", self.pool, self.pools.len());
        if self.blocks > 0 {
            words.push_str(&format!(" {} blocks lie inside and stay as they are.", self.blocks));
        }
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
        assert_eq!(subnet("10.244.0.0/32".parse().unwrap(), 35, 0), None);
    }
}

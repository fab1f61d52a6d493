//! The verdict on each pool: whether blocks may be claimed from it, and how full it is.
//!
//! `create` of an `IPAMBlock` locks a name, not a range, so overlaps are found here: nodes claim only from pools whose
//! condition `Allocatable` is true for their present generation. Of two pools that overlap the older one wins.
//!
//! Where both cut the same blocks, their names are locks for both. So the parts of a pool that is being split are usable
//! beside it ([`IpPool::is_part_of`]), and a pool may go although blocks lie inside once other pools take them all: their
//! owners write the new pool into them.

use std::collections::BTreeMap;
use std::time::Duration;

use caracal_api::block_cidr::masked;
use caracal_api::conditions::{self, Verdict};
use caracal_api::ip_pool::{ALLOCATABLE, IpPoolStatus};
use caracal_api::{IpPool, IpPoolSpec, IpamBlock, Selector};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::{info, warn};

use crate::cluster::events::Events;
use crate::cluster::{Snapshot, SnapshotReceiver};

/// Kept on every pool, so that one cannot vanish while blocks lie inside it.
pub const FINALIZER: &str = "caracal.dev/blocks";
/// Pause after a write that failed, before the whole verdict is made again.
const RETRY: Duration = Duration::from_secs(2);
/// How often a write is made upon the pool's newest version when somebody else has just written another one.
const TRIES: usize = 5;

/// Keeps the status of all pools true. Runs until cancelled.
pub async fn keep(
    api: Api<IpPool>,
    mut pools: SnapshotReceiver<IpPool>,
    mut blocks: SnapshotReceiver<IpamBlock>,
    events: Events,
) {
    loop {
        let (now_pools, now_blocks) = (pools.borrow_and_update().clone(), blocks.borrow_and_update().clone());
        let mut failed = false;
        if now_pools.synced && now_blocks.synced {
            for (name, assessment) in assess(&now_pools, &now_blocks) {
                let Some(pool) = now_pools.get(&name) else { continue };
                match write_newest(&api, pool, &assessment).await {
                    Ok(true) => events.warn(reference(pool), LOW, assessment.room(&pool.spec).message),
                    Ok(false) => {}
                    Err(error) => {
                        warn!(pool = name, %error, "the pool's status cannot be written");
                        failed = true;
                    }
                }
            }
        }
        let changed = async {
            tokio::select! {
                result = pools.changed() => result.is_ok(),
                result = blocks.changed() => result.is_ok(),
            }
        };
        tokio::select! {
            going_on = changed => if !going_on { return },
            () = tokio::time::sleep(RETRY), if failed => {}
        }
    }
}

/// What was found out about one pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// `Allocatable` or not, and why.
    pub verdict: Verdict,
    /// Addresses in the pool.
    pub capacity: Option<u128>,
    /// Blocks inside the pool.
    pub blocks: usize,
    /// Those of them that no other pool takes.
    pub bound: usize,
    /// Addresses that the blocks' owners have published as used.
    pub used: usize,
}

/// Type of the condition that says whether a pool runs low; also the reason of the Event.
pub const LOW: &str = "Low";
/// A pool runs low when this many of a hundred of its blocks are taken.
const LOW_PERCENT: u128 = 80;

impl Assessment {
    /// Whether the pool runs low. Blocks are counted, not addresses: what a node needs next is a block.
    pub fn room(&self, spec: &IpPoolSpec) -> Verdict {
        let range = spec.network().map(masked);
        let all = range.map_or(u128::MAX, |range| {
            let bits = spec.block_prefix().saturating_sub(range.prefix());
            1_u128.checked_shl(u32::from(bits)).unwrap_or(u128::MAX)
        });
        let taken = self.blocks as u128;
        let low = taken >= all.saturating_mul(LOW_PERCENT).div_ceil(100).max(1);
        let message = if low {
            format!(
                "{taken} of {all} blocks are taken and {} of {} addresses are in use: add another IPPool, or free blocks \
                 that are little used",
                self.used,
                self.capacity.unwrap_or_default()
            )
        } else {
            String::new()
        };
        let reason = if low { "FewBlocksLeft" } else { "OK" };
        Verdict { type_: LOW, status: Some(low), reason: reason.to_owned(), message }
    }
}

fn reference(pool: &IpPool) -> ObjectReference {
    ObjectReference {
        api_version: Some(format!("{}/{}", caracal_api::GROUP, caracal_api::VERSION)),
        kind: Some("IPPool".to_owned()),
        name: pool.metadata.name.clone(),
        uid: pool.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// Judges every pool by all pools and blocks.
pub fn assess(pools: &Snapshot<IpPool>, blocks: &Snapshot<IpamBlock>) -> BTreeMap<String, Assessment> {
    let located: Vec<(&IpamBlock, IpNetwork)> =
        blocks.values().filter_map(|b| Some((b.as_ref(), b.spec.cidr.parse().ok()?))).collect();
    pools
        .values()
        .map(|pool| {
            let range = pool.spec.network().map(masked);
            let inside: Vec<&(&IpamBlock, IpNetwork)> =
                located.iter().filter(|(_, cidr)| range.is_some_and(|r| contains(r, *cidr))).collect();
            let bound = |cidr: IpNetwork| {
                let mut others = pools.values().filter(|other| other.metadata.uid != pool.metadata.uid);
                !others.any(|other| takes(other, cidr))
            };
            let assessment = Assessment {
                verdict: judge(pool, range, pools, &located),
                capacity: range.map(capacity),
                blocks: inside.len(),
                bound: inside.iter().filter(|(_, cidr)| bound(*cidr)).count(),
                used: inside.iter().map(|(b, _)| b.spec.allocations.len()).sum(),
            };
            (pool.name_any(), assessment)
        })
        .collect()
}

fn judge(
    pool: &IpPool,
    range: Option<IpNetwork>,
    pools: &Snapshot<IpPool>,
    blocks: &[(&IpamBlock, IpNetwork)],
) -> Verdict {
    let no = |reason: &str, message: String| Verdict {
        type_: ALLOCATABLE,
        status: Some(false),
        reason: reason.to_owned(),
        message,
    };
    let Some(range) = range else {
        return no("InvalidCIDR", format!("cidr '{}' is not a network in CIDR form", pool.spec.cidr));
    };
    if pool.metadata.deletion_timestamp.is_some() {
        return no("Terminating", "the pool is being deleted".to_owned());
    }
    if pool.spec.disabled {
        return no("PoolDisabled", "the pool is disabled".to_owned());
    }
    if let Err(error) = pool.spec.node_selector.parse::<Selector>() {
        return no("InvalidSelector", format!("nodeSelector: {error}"));
    }
    if let Err(error) = pool.spec.namespace_selector.parse::<Selector>() {
        return no("InvalidSelector", format!("namespaceSelector: {error}"));
    }
    let elder = pools.values().find(|other| {
        age(other) < age(pool)
            && other.spec.network().is_some_and(|r| overlap(masked(r), range))
            && !pool.is_part_of(other)
            && !other.is_part_of(pool)
    });
    if let Some(elder) = elder {
        let message =
            format!("{range} overlaps pool {} ({}), which is older", elder.name_any(), elder.spec.cidr);
        return no("CIDROverlap", message);
    }
    let odd = blocks.iter().find(|(_, cidr)| {
        overlap(*cidr, range) && (!contains(range, *cidr) || cidr.prefix() != pool.spec.block_prefix())
    });
    if let Some((block, cidr)) = odd {
        let message = format!(
            "block {cidr} of {} is not of this pool's size /{}: wait until it is free, or choose another range",
            block.spec.owner.name,
            pool.spec.block_prefix()
        );
        return no("BlockOverlap", message);
    }
    Verdict { type_: ALLOCATABLE, status: Some(true), reason: "OK".to_owned(), message: String::new() }
}

/// Whether a block can be a pool's: it lies inside and has its size, and the pool stays.
fn takes(pool: &IpPool, block: IpNetwork) -> bool {
    pool.metadata.deletion_timestamp.is_none()
        && pool.spec.block_prefix() == block.prefix()
        && pool.spec.network().is_some_and(|range| contains(masked(range), block))
}

/// Orders pools by who was first; names break ties.
fn age(pool: &IpPool) -> (Option<Timestamp>, &str) {
    let created = pool.metadata.creation_timestamp.as_ref().map(|t| t.0);
    (created, pool.metadata.name.as_deref().unwrap_or_default())
}

fn contains(outer: IpNetwork, inner: IpNetwork) -> bool {
    outer.is_ipv4() == inner.is_ipv4() && outer.prefix() <= inner.prefix() && outer.contains(inner.ip())
}

fn overlap(a: IpNetwork, b: IpNetwork) -> bool {
    contains(a, b) || contains(b, a)
}

fn capacity(range: IpNetwork) -> u128 {
    let bits = u32::from(if range.is_ipv4() { 32 - range.prefix() } else { 128 - range.prefix() });
    1_u128.checked_shl(bits).unwrap_or(u128::MAX)
}

/// Writes it upon the newest version of the pool, as long as that is what was judged; if not, the watch will tell.
async fn write_newest(api: &Api<IpPool>, pool: &IpPool, found: &Assessment) -> Result<bool, kube::Error> {
    let mut newest = pool.clone();
    for _ in 1..TRIES {
        match write(api, &newest, found).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            written => return written,
        }
        let judged = (pool.metadata.uid.as_ref(), pool.metadata.generation);
        match api.get_opt(&pool.name_any()).await? {
            Some(fresh) if (fresh.metadata.uid.as_ref(), fresh.metadata.generation) == judged => {
                newest = fresh
            }
            Some(_) | None => return Ok(false),
        }
    }
    write(api, &newest, found).await
}

/// Writes finalizer and status where they differ from what is stored. Returns whether the pool has just become low.
async fn write(api: &Api<IpPool>, pool: &IpPool, found: &Assessment) -> Result<bool, kube::Error> {
    let name = pool.name_any();
    let parameters = PatchParams::default();
    let kept = pool.finalizers().iter().any(|f| f == FINALIZER);
    let deleting = pool.metadata.deletion_timestamp.is_some();
    if kept == deleting && (!deleting || found.bound == 0) {
        let mut finalizers: Vec<String> =
            pool.finalizers().iter().filter(|f| *f != FINALIZER).cloned().collect();
        if !deleting {
            finalizers.push(FINALIZER.to_owned());
        }
        let version = pool.metadata.resource_version.clone();
        let patch = json!({"metadata": {"finalizers": finalizers, "resourceVersion": version}});
        api.patch(&name, &parameters, &Patch::Merge(patch)).await?;
        if deleting {
            info!(pool = name, "no block lies inside that no other pool takes: the pool may go");
            return Ok(false);
        }
    }
    let mut status = pool.status.clone().unwrap_or_default();
    let stated =
        conditions::set(&mut status.conditions, &found.verdict, pool.metadata.generation, Timestamp::now());
    let was_low = status.conditions.iter().any(|c| c.type_ == LOW && c.status == "True");
    let room = found.room(&pool.spec);
    conditions::set(&mut status.conditions, &room, pool.metadata.generation, Timestamp::now());
    let counted = IpPoolStatus {
        conditions: status.conditions.clone(),
        capacity: found.capacity.map(|c| c.to_string()),
        blocks: i64::try_from(found.blocks).ok(),
        used: i64::try_from(found.used).ok(),
        percent_used: found.capacity.map(|all| percent(found.used as u128, all)),
    };
    if stated || Some(&counted) != pool.status.as_ref() {
        api.patch_status(&name, &parameters, &Patch::Merge(json!({"status": counted}))).await?;
        if stated {
            let Verdict { reason, message, .. } = &found.verdict;
            info!(pool = name, reason, message, "judged the pool");
        }
    }
    Ok(room.status == Some(true) && !was_low)
}

/// How many of a hundred, rounded down.
fn percent(part: u128, whole: u128) -> u8 {
    let percent = part.saturating_mul(100).checked_div(whole).unwrap_or_default();
    u8::try_from(percent).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use caracal_api::{BlockOwner, IpamBlockSpec, OwnerKind};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    fn pool(name: &str, cidr: &str, created: i64) -> IpPool {
        let spec: IpPoolSpec = serde_json::from_value(json!({"cidr": cidr})).unwrap();
        let mut pool = IpPool::new(name, spec);
        pool.metadata.creation_timestamp = Some(Time(Timestamp::from_second(created).unwrap()));
        pool
    }

    fn block(cidr: &str, used: usize) -> IpamBlock {
        let owner = BlockOwner {
            kind: OwnerKind::Node,
            name: "n1".into(),
            node_uid: String::new(),
            machine_id: String::new(),
            claim_token: String::new(),
        };
        let allocations = (0..used).map(|o| (o.to_string(), "w/1/h//".to_owned())).collect();
        let spec = IpamBlockSpec {
            cidr: cidr.into(),
            owner,
            pool: "p".into(),
            pool_uid: "u".into(),
            lends: false,
            shared: false,
            revision: 0,
            allocations,
        };
        IpamBlock::new(&cidr.replace(['.', ':', '/'], "-"), spec)
    }

    fn reasons(pools: Vec<IpPool>, blocks: Vec<IpamBlock>) -> Vec<String> {
        let found = assess(&pools.into_iter().collect(), &blocks.into_iter().collect());
        found.into_iter().map(|(name, a)| format!("{name} {}", a.verdict.reason)).collect()
    }

    #[test]
    fn of_two_pools_that_overlap_the_older_is_allocatable() {
        let found = reasons(vec![pool("a", "10.0.0.0/8", 20), pool("b", "10.244.0.0/16", 10)], vec![]);
        assert_eq!(found, ["a CIDROverlap", "b OK"]);
        let found = reasons(vec![pool("a", "10.0.0.0/16", 20), pool("b", "fd00::/48", 10)], vec![]);
        assert_eq!(found, ["a OK", "b OK"]);
    }

    #[test]
    fn a_pool_over_blocks_of_another_size_is_not_allocatable() {
        let found = reasons(vec![pool("a", "10.244.0.0/16", 1)], vec![block("10.244.0.0/24", 0)]);
        assert_eq!(found, ["a BlockOverlap"]);
        let found = reasons(vec![pool("a", "10.244.0.0/16", 1)], vec![block("10.244.0.0/26", 0)]);
        assert_eq!(found, ["a OK"]);
    }

    #[test]
    fn disabled_deleted_and_malformed_pools_say_why() {
        let mut disabled = pool("a", "10.1.0.0/16", 1);
        disabled.spec.disabled = true;
        let mut deleted = pool("b", "10.2.0.0/16", 1);
        deleted.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        let mut selector = pool("c", "10.3.0.0/16", 1);
        selector.spec.node_selector = "rack ==".into();
        let broken = pool("d", "ten", 1);
        let found = reasons(vec![disabled, deleted, selector, broken], vec![]);
        assert_eq!(found, ["a PoolDisabled", "b Terminating", "c InvalidSelector", "d InvalidCIDR"]);
    }

    #[test]
    fn a_pool_and_its_parts_are_allocatable_together_and_it_may_go_once_they_take_its_blocks() {
        let mut whole = pool("pods", "10.244.0.0/16", 10);
        whole.metadata.uid = Some("u".into());
        let part = |name: &str, cidr: &str, of: &str| {
            // Within the same second, and before it in the alphabet.
            let mut part = pool(name, cidr, 10);
            part.metadata.uid = Some(format!("uid-of-{name}"));
            part.metadata.annotations =
                Some([(caracal_api::ip_pool::SPLIT_FROM.to_owned(), of.to_owned())].into());
            part
        };
        let parts = |of| [part("a", "10.244.0.0/17", of), part("b", "10.244.128.0/17", of)];
        let blocks = || vec![block("10.244.0.0/26", 1), block("10.244.200.0/26", 1)];
        let [a, b] = parts("u");
        let found = reasons(vec![whole.clone(), a, b], blocks());
        assert_eq!(found, ["a OK", "b OK", "pods OK"]);
        let [a, b] = parts("another");
        let found = reasons(vec![whole.clone(), a, b], blocks());
        assert_eq!(found, ["a OK", "b OK", "pods CIDROverlap"]);
        let mut other_size = part("c", "10.244.0.0/17", "u");
        other_size.spec.block_size = Some(28);
        other_size.metadata.creation_timestamp = pool("", "10.0.0.0/8", 20).metadata.creation_timestamp;
        let found = reasons(vec![whole.clone(), other_size], vec![]);
        assert_eq!(found, ["c CIDROverlap", "pods OK"]);

        let bound = |pools: Vec<IpPool>| {
            assess(&pools.into_iter().collect(), &blocks().into_iter().collect())["pods"].bound
        };
        let [a, b] = parts("u");
        assert_eq!(bound(vec![whole.clone()]), 2);
        assert_eq!(bound(vec![whole.clone(), a.clone()]), 1);
        assert_eq!(bound(vec![whole.clone(), a.clone(), b.clone()]), 0);
        let mut leaving = b;
        leaving.metadata.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH));
        assert_eq!(bound(vec![whole, a, leaving]), 1, "one that goes too takes nothing");
    }

    #[test]
    fn a_pool_with_few_blocks_left_is_low() {
        let spec = pool("a", "10.244.0.0/24", 1).spec;
        let room = |blocks| {
            let pools = [pool("a", "10.244.0.0/24", 1)].into_iter().collect();
            let blocks = (0..blocks).map(|n| block(&format!("10.244.0.{}/26", n * 64), 60)).collect();
            assess(&pools, &blocks)["a"].room(&spec)
        };
        assert_eq!(room(3).status, Some(false));
        assert_eq!(room(4).status, Some(true));
        assert!(room(4).message.contains("4 of 4 blocks are taken and 240 of 256"), "{}", room(4).message);
    }

    #[test]
    fn capacity_and_use_are_counted() {
        let pools = [pool("a", "10.244.0.0/16", 1), pool("b", "fd00::/48", 1)].into_iter().collect();
        let blocks = [block("10.244.0.0/26", 3), block("10.244.0.64/26", 2)].into_iter().collect();
        let found = assess(&pools, &blocks);
        assert_eq!((found["a"].capacity, found["a"].blocks, found["a"].used), (Some(65536), 2, 5));
        assert_eq!((found["b"].capacity, found["b"].blocks), (Some(1 << 80), 0));
    }

    #[tokio::test]
    async fn a_write_that_others_overtake_is_made_upon_the_newest_version_a_few_times() {
        let crds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/crds");
        let options =
            caracal_apiserver::Options { crds: vec![crds], ..caracal_apiserver::Options::default() };
        let server = caracal_apiserver::Server::start(options).await.unwrap();
        let client = kube::Client::try_from(kube::Config::new(server.url().parse().unwrap())).unwrap();
        let api: Api<IpPool> = Api::all(client);
        let pool = api.create(&kube::api::PostParams::default(), &pool("p", "10.0.0.0/16", 1)).await.unwrap();
        let conflicts = |times| caracal_apiserver::Fault {
            path_prefix: "/apis/caracal.dev/v1/ippools/p".into(),
            methods: vec!["PATCH".into()],
            error: Some(409),
            times: Some(times),
            ..caracal_apiserver::Fault::default()
        };
        let verdict =
            Verdict { type_: ALLOCATABLE, status: Some(true), reason: "OK".into(), message: String::new() };
        let found = Assessment { verdict, capacity: Some(65_536), blocks: 1, bound: 1, used: 7 };
        server.faults.add(conflicts(3));
        // Its resource version is an old one by now.
        let other = json!({"metadata": {"labels": {"by": "another"}}});
        api.patch_metadata("p", &PatchParams::default(), &Patch::Merge(other)).await.ok();
        write_newest(&api, &pool, &found).await.unwrap();
        let written = api.get("p").await.unwrap();
        assert_eq!(written.status.as_ref().and_then(|status| status.used), Some(7));
        assert!(written.finalizers().iter().any(|finalizer| finalizer == FINALIZER));

        server.faults.add(conflicts(100));
        let refused =
            write_newest(&api, &written, &Assessment { used: 8, ..found.clone() }).await.unwrap_err();
        assert!(matches!(refused, kube::Error::Api(status) if status.code == 409), "it is told in the end");

        // What was judged is not what is there any more: nothing is said of that.
        let mut former = written.clone();
        former.metadata.generation = Some(0);
        assert!(!write_newest(&api, &former, &Assessment { used: 9, ..found }).await.unwrap());
        server.stop().await;
    }
}

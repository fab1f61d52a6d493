//! `IpamService`: pools as the cluster counts them, blocks as this node's allocator has them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use caracal_api::IpPool;
use caracal_api::ip_pool::ALLOCATABLE;
use caracal_ipam::{BlockReport, BlockState, IpamReport};
use caracal_proto::v1::ipam_service_server::IpamService;
use caracal_proto::v1::{
    Allocation, BlockUse, PoolUse, PublishRequest, PublishResponse, ReleaseRequest, ReleaseResponse,
    ShowRequest, ShowResponse, Trouble,
};
use ipnetwork::IpNetwork;
use tonic::{Request, Response, Status};

use super::AdminContext;
use crate::cni::{ReleaseError, release};

/// The service.
pub(super) struct IpamUse {
    context: AdminContext,
}

impl IpamUse {
    /// A service over these owners.
    pub(super) fn new(context: AdminContext) -> Self {
        Self { context }
    }
}

#[tonic::async_trait]
impl IpamService for IpamUse {
    async fn show(&self, _: Request<ShowRequest>) -> Result<Response<ShowResponse>, Status> {
        let report = self.context.ipam.show().await;
        let pools: Vec<_> = self.context.cluster.ip_pools.borrow().values().cloned().collect();
        Ok(Response::new(answer(&self.context.node, pools.iter().map(AsRef::as_ref), report)))
    }

    async fn release(&self, request: Request<ReleaseRequest>) -> Result<Response<ReleaseResponse>, Status> {
        let ReleaseRequest { address, handle } = request.into_inner();
        let address: IpAddr = address.parse().map_err(|_| {
            Status::invalid_argument(format!(
                "releasing '{address}': it is no address; write 10.244.1.7 or fd00::7"
            ))
        })?;
        match release(&self.context.cni, address, &handle).await {
            Ok(what) => Ok(Response::new(ReleaseResponse { what })),
            Err(error @ ReleaseError::NotHeld { .. }) => Err(Status::not_found(error.to_string())),
            Err(error @ ReleaseError::InUse { .. }) => Err(Status::failed_precondition(error.to_string())),
            Err(error @ (ReleaseError::Kernel(_) | ReleaseError::Undo(_))) => {
                Err(Status::internal(error.to_string()))
            }
        }
    }

    async fn publish(&self, _: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        self.context.ipam.publish().await;
        Ok(Response::new(PublishResponse {}))
    }
}

fn answer<'a>(node: &str, pools: impl Iterator<Item = &'a IpPool>, report: IpamReport) -> ShowResponse {
    let closed: BTreeMap<&str, &str> =
        report.closed_pools.iter().map(|(pool, why)| (pool.as_str(), why.as_str())).collect();
    let pools = pools.map(|pool| pool_use(pool, &report.blocks, &closed)).collect();
    let mut blocks: Vec<&BlockReport> = report.blocks.iter().collect();
    blocks.sort_by_key(|block| block.cidr);
    ShowResponse {
        pools,
        blocks: blocks.into_iter().map(block_use).collect(),
        node: node.to_owned(),
        fence: report.fence.map(trouble),
    }
}

fn trouble((code, message): (String, String)) -> Trouble {
    Trouble { code, message }
}

fn pool_use(pool: &IpPool, blocks: &[BlockReport], closed: &BTreeMap<&str, &str>) -> PoolUse {
    let name = pool.metadata.name.clone().unwrap_or_default();
    let status = pool.status.clone().unwrap_or_default();
    let own = || blocks.iter().filter(|block| block.pool == name);
    let why_not = why_not(pool).or_else(|| closed.get(name.as_str()).map(|why| (*why).to_owned()));
    PoolUse {
        cidr: pool.spec.cidr.clone(),
        block_size: pool.spec.block_prefix().into(),
        capacity: pool.spec.network().map_or_else(String::new, capacity),
        blocks: status.blocks.and_then(|n| u64::try_from(n).ok()),
        used: status.used.and_then(|n| u64::try_from(n).ok()),
        node_blocks: own().count() as u64,
        node_used: own().map(|block| block.allocations.len() as u64).sum(),
        allocatable: why_not.is_none(),
        not_allocatable_because: why_not.unwrap_or_default(),
        name,
    }
}

/// How many addresses a network holds, decimal: 2^128 of them do not fit any integer.
fn capacity(network: IpNetwork) -> String {
    let bits = if network.is_ipv4() { 32 } else { 128 };
    match 1_u128.checked_shl(u32::from(bits - network.prefix())) {
        Some(addresses) => addresses.to_string(),
        None => "340282366920938463463374607431768211456".to_owned(),
    }
}

/// Why no block may be claimed from a pool anywhere in the cluster.
fn why_not(pool: &IpPool) -> Option<String> {
    if pool.is_allocatable() {
        return None;
    }
    if pool.spec.disabled {
        return Some("the pool is disabled".to_owned());
    }
    if pool.metadata.deletion_timestamp.is_some() {
        return Some("the pool is being deleted".to_owned());
    }
    let conditions = pool.status.as_ref().map_or(&[][..], |status| &status.conditions);
    match conditions.iter().find(|c| c.type_ == ALLOCATABLE) {
        Some(found) if found.observed_generation == pool.metadata.generation => {
            Some(format!("{}: {}", found.reason, found.message))
        }
        Some(_) => Some("the controller has not looked at the pool's last change yet".to_owned()),
        None => Some("the controller has not looked at the pool yet".to_owned()),
    }
}

fn block_use(block: &BlockReport) -> BlockUse {
    let used = u32::try_from(block.allocations.len()).unwrap_or(block.size);
    let state = match block.state {
        BlockState::Owned => "Owned",
        BlockState::Disputed => "Disputed",
        BlockState::Borrowed => "Borrowed",
        BlockState::Returning => "Returning",
    };
    let allocations = block.allocations.iter().map(|allocation| Allocation {
        address: allocation.address.to_string(),
        handle: allocation.handle.to_string(),
        namespace: allocation.attributes.namespace.clone(),
        pod: allocation.attributes.pod.clone(),
    });
    BlockUse {
        name: block.name.clone(),
        cidr: block.cidr.to_string(),
        pool: block.pool.clone(),
        owner: block.owner.clone(),
        state: state.to_owned(),
        size: block.size,
        used,
        free: block.free,
        held: block.size.saturating_sub(used).saturating_sub(block.free),
        dispute: block.dispute.clone().map(trouble),
        last_error: block.last_error.clone(),
        allocations: allocations.collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use caracal_api::{IpPoolSpec, conditions};
    use caracal_ipam::{AllocationReport, Attributes, Handle};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn pool(cidr: &str) -> IpPool {
        let spec: IpPoolSpec = serde_json::from_value(serde_json::json!({"cidr": cidr})).unwrap();
        let mut pool = IpPool::new("pods", spec);
        pool.metadata.generation = Some(2);
        pool
    }

    fn judged(mut pool: IpPool, status: bool, generation: i64) -> IpPool {
        let verdict = conditions::Verdict {
            type_: ALLOCATABLE,
            status: Some(status),
            reason: "CIDROverlap".to_owned(),
            message: "it overlaps pool old".to_owned(),
        };
        let found = &mut pool.status.get_or_insert_default().conditions;
        conditions::set(found, &verdict, Some(generation), Timestamp::UNIX_EPOCH);
        pool
    }

    #[test]
    fn a_pool_that_gives_out_nothing_says_why() {
        let why = |pool: IpPool| why_not(&pool).unwrap_or_default();
        assert_eq!(why(judged(pool("10.0.0.0/16"), true, 2)), "");
        assert_eq!(why(judged(pool("10.0.0.0/16"), false, 2)), "CIDROverlap: it overlaps pool old");
        assert!(why(judged(pool("10.0.0.0/16"), true, 1)).contains("last change"));
        assert!(why(pool("10.0.0.0/16")).contains("has not looked"));
        let mut disabled = judged(pool("10.0.0.0/16"), true, 2);
        disabled.spec.disabled = true;
        assert_eq!(why(disabled), "the pool is disabled");
    }

    #[test]
    fn capacities_of_the_largest_ranges_are_exact() {
        let of = |text: &str| capacity(text.parse().unwrap());
        assert_eq!(of("10.244.0.0/16"), "65536");
        assert_eq!(of("fd00:244::/48"), "1208925819614629174706176");
        assert_eq!(of("::/0"), "340282366920938463463374607431768211456");
    }

    #[test]
    fn what_is_neither_used_nor_free_is_held() {
        let allocation = AllocationReport {
            address: "10.244.0.1".parse().unwrap(),
            handle: Handle("caracal.c1.eth0".to_owned()),
            sequence: 1,
            attributes: Attributes { pod: "web-0".to_owned(), ..Attributes::default() },
        };
        let block = BlockReport {
            name: "10-244-0-0-26".to_owned(),
            cidr: "10.244.0.0/26".parse().unwrap(),
            uid: "u".to_owned(),
            pool: "pods".to_owned(),
            owner: "node-1".to_owned(),
            state: BlockState::Owned,
            dispute: None,
            size: 64,
            free: 60,
            cooling: 3,
            unpublished: false,
            last_error: None,
            allocations: vec![allocation],
            lent: Vec::new(),
            shared: false,
        };
        let report = IpamReport {
            blocks: vec![block],
            closed_pools: vec![("pods".to_owned(), "it is full".to_owned())],
            unseen_for: Duration::ZERO,
            ..IpamReport::default()
        };
        let pool = judged(pool("10.244.0.0/16"), true, 2);
        let shown = answer("node-1", std::iter::once(&pool), report);
        assert_eq!((shown.blocks[0].used, shown.blocks[0].free, shown.blocks[0].held), (1, 60, 3));
        assert_eq!(shown.blocks[0].allocations[0].pod, "web-0");
        assert_eq!((shown.pools[0].node_blocks, shown.pools[0].node_used), (1, 1));
        assert_eq!(shown.pools[0].not_allocatable_because, "it is full");
    }
}

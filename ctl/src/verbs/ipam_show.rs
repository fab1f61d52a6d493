//! `caracalctl ipam show`.

use caracal_proto::v1::ipam_service_client::IpamServiceClient;
use caracal_proto::v1::{self, ShowRequest};
use serde::Serialize;
use tonic::transport::Channel;

use crate::arguments::ShowArgs;
use crate::connection::LARGEST_ANSWER;
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::{Cell, Table, Tone};

/// Pools and own blocks. Documents always hold both; the table shows blocks on demand.
#[derive(Debug, Serialize)]
pub(crate) struct Ipam {
    node: String,
    fence: Option<Trouble>,
    pools: Vec<Pool>,
    blocks: Vec<Block>,
    #[serde(skip)]
    view: View,
}

/// What of it the table shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Pools,
    Blocks,
    Addresses,
}

/// One pool, as `-o json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pool {
    name: String,
    cidr: String,
    block_size: u32,
    capacity: String,
    blocks: Option<u64>,
    used: Option<u64>,
    node_blocks: u64,
    node_used: u64,
    allocatable: bool,
    not_allocatable_because: Option<String>,
}

/// Why addresses are not given out.
#[derive(Debug, Serialize)]
struct Trouble {
    code: String,
    message: String,
}

/// One block of this node, as `-o json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Block {
    name: String,
    cidr: String,
    pool: String,
    owner: String,
    state: String,
    size: u32,
    used: u32,
    free: u32,
    held: u32,
    dispute: Option<Trouble>,
    last_error: Option<String>,
    allocations: Vec<Allocation>,
}

/// One address in use, as `-o json` prints it.
#[derive(Debug, Serialize)]
struct Allocation {
    address: String,
    handle: String,
    namespace: String,
    pod: String,
}

/// Asks for them.
pub(crate) async fn ask(channel: Channel, args: ShowArgs) -> Result<Ipam, Failure> {
    let mut client = IpamServiceClient::new(channel).max_decoding_message_size(LARGEST_ANSWER);
    let answer =
        client.show(ShowRequest {}).await.map_err(Failure::agent("showing pools and blocks"))?.into_inner();
    let answer = Ipam {
        node: answer.node,
        fence: answer.fence.map(Trouble::from),
        pools: answer.pools.into_iter().map(Pool::from).collect(),
        blocks: answer.blocks.into_iter().map(Block::from).collect(),
        view: View::Pools,
    };
    Ok(answer.narrowed(&args))
}

impl From<v1::PoolUse> for Pool {
    fn from(pool: v1::PoolUse) -> Self {
        Self {
            name: pool.name,
            cidr: pool.cidr,
            block_size: pool.block_size,
            capacity: pool.capacity,
            blocks: pool.blocks,
            used: pool.used,
            node_blocks: pool.node_blocks,
            node_used: pool.node_used,
            allocatable: pool.allocatable,
            not_allocatable_because: Some(pool.not_allocatable_because).filter(|why| !why.is_empty()),
        }
    }
}

impl From<v1::Trouble> for Trouble {
    fn from(trouble: v1::Trouble) -> Self {
        Self { code: trouble.code, message: trouble.message }
    }
}

impl From<v1::Allocation> for Allocation {
    fn from(allocation: v1::Allocation) -> Self {
        Self {
            address: allocation.address,
            handle: allocation.handle,
            namespace: allocation.namespace,
            pod: allocation.pod,
        }
    }
}

impl From<v1::BlockUse> for Block {
    fn from(block: v1::BlockUse) -> Self {
        Self {
            name: block.name,
            cidr: block.cidr,
            pool: block.pool,
            owner: block.owner,
            state: block.state,
            size: block.size,
            used: block.used,
            free: block.free,
            held: block.held,
            dispute: block.dispute.map(Trouble::from),
            last_error: block.last_error,
            allocations: block.allocations.into_iter().map(Allocation::from).collect(),
        }
    }
}

/// `60 (94%)`, as `calicoctl` writes a part of a whole.
fn part(count: u128, whole: u128) -> String {
    match whole {
        0 => count.to_string(),
        // A pool may be as large as the address space: divide first where multiplying would overflow.
        _ => {
            let percent = count
                .checked_mul(100)
                .map_or_else(|| count / (whole / 100).max(1), |times| (times + whole / 2) / whole);
            format!("{count} ({percent}%)")
        }
    }
}

impl Ipam {
    /// What the arguments choose of an answer.
    fn narrowed(mut self, args: &ShowArgs) -> Self {
        if let Some(pool) = &args.pool {
            self.pools.retain(|p| p.name == *pool);
            self.blocks.retain(|b| b.pool == *pool);
        }
        if let Some(node) = &args.node {
            self.blocks.retain(|b| b.owner == *node);
        }
        if args.borrowed {
            self.blocks.retain(|b| b.state == "Borrowed");
        }
        if let Some(ip) = args.ip {
            let text = ip.to_string();
            for block in &mut self.blocks {
                block.allocations.retain(|a| a.address == text);
            }
            self.blocks.retain(|b| !b.allocations.is_empty());
        }
        self.view = match (args.borrowed || args.ip.is_some(), args.blocks || args.node.is_some()) {
            (true, _) => View::Addresses,
            (false, true) => View::Blocks,
            (false, false) => View::Pools,
        };
        self
    }

    fn addresses(&self) -> Section {
        let mut table = Table::new(vec!["IP", "BLOCK", "OWNER", "STATE", "NAMESPACE", "POD", "HANDLE"]);
        for block in &self.blocks {
            for allocation in &block.allocations {
                let (owner, state) = (&block.owner, &block.state);
                table.row(vec![
                    (&allocation.address).into(),
                    (&block.cidr).into(),
                    owner.into(),
                    state.into(),
                    (&allocation.namespace).into(),
                    (&allocation.pod).into(),
                    (&allocation.handle).into(),
                ]);
            }
        }
        if table.is_empty() {
            return Section::Text(format!("Nothing on node {} holds such an address.", self.node));
        }
        Section::Table(table)
    }

    fn pool_row(&self, pool: &Pool, wide: bool) -> Vec<Cell> {
        let capacity: u128 = pool.capacity.parse().unwrap_or(0);
        let used = pool.used.map(u128::from);
        let mut cells: Vec<Cell> = vec!["IP Pool".into(), (&pool.name).into(), (&pool.cidr).into()];
        cells.push((&pool.capacity).into());
        cells.push(used.map_or_else(|| "-".to_owned(), |used| part(used, capacity)).into());
        cells.push(
            used.map_or_else(|| "-".to_owned(), |used| part(capacity.saturating_sub(used), capacity)).into(),
        );
        if self.view == View::Blocks {
            cells.extend(["".into(), "".into()]);
        }
        if wide {
            cells.extend([
                pool.blocks.map_or_else(|| "-".to_owned(), |blocks| blocks.to_string()).into(),
                pool.node_blocks.into(),
                pool.node_used.into(),
                match &pool.not_allocatable_because {
                    Some(why) => Cell::toned(why, Tone::Bad),
                    None if pool.allocatable => Cell::toned("Allocatable", Tone::Good),
                    None => Cell::toned("NotAllocatable", Tone::Bad),
                },
            ]);
        }
        cells
    }

    fn block_row(block: &Block, wide: bool) -> Vec<Cell> {
        let size = u128::from(block.size);
        let mut cells: Vec<Cell> = vec![
            "Block".into(),
            (&block.name).into(),
            (&block.cidr).into(),
            block.size.into(),
            part(block.used.into(), size).into(),
            part(block.free.into(), size).into(),
            block.held.into(),
            (&block.owner).into(),
        ];
        if wide {
            let state = match &block.dispute {
                Some(dispute) => Cell::toned(format!("{}: {}", block.state, dispute.message), Tone::Bad),
                None => (&block.state).into(),
            };
            cells.extend(["".into(), "".into(), "".into(), state]);
        }
        cells
    }
}

impl Answer for Ipam {
    fn text(&self, wide: bool) -> Vec<Section> {
        if self.view == View::Addresses {
            return vec![self.addresses()];
        }
        let with_blocks = self.view == View::Blocks;
        let mut headers = vec!["GROUPING", "NAME", "CIDR", "IPS TOTAL", "IPS IN USE", "IPS FREE"];
        if with_blocks {
            headers.extend(["IPS HELD", "OWNER"]);
        }
        if wide {
            headers.extend(["BLOCKS", "NODE BLOCKS", "NODE IN USE", "STATE"]);
        }
        let mut table = Table::new(headers);
        let shown = |block: &&Block| with_blocks && !block.cidr.is_empty();
        for pool in &self.pools {
            table.row(self.pool_row(pool, wide));
            for block in self.blocks.iter().filter(shown).filter(|block| block.pool == pool.name) {
                table.row(Self::block_row(block, wide));
            }
        }
        // Blocks outlive their pool until the last address is given back.
        let orphan = |block: &&Block| !self.pools.iter().any(|pool| pool.name == block.pool);
        for block in self.blocks.iter().filter(shown).filter(orphan) {
            table.row(Self::block_row(block, wide));
        }
        let mut sections = Vec::new();
        if let Some(Trouble { code, message }) = &self.fence {
            sections.push(Section::Text(format!("{} gives out no addresses: {message} ({code})", self.node)));
        }
        sections.push(if table.is_empty() {
            Section::Text("There are no pools.".to_owned())
        } else {
            Section::Table(table)
        });
        sections
    }

    fn names(&self) -> Vec<String> {
        let blocks = self.blocks.iter().filter(|_| self.view != View::Pools).map(|block| &block.name);
        self.pools.iter().map(|pool| &pool.name).chain(blocks).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(cidr: &str, owner: &str, state: &str, address: &str) -> Block {
        let held = Allocation {
            address: address.to_owned(),
            handle: "net.c1.eth0".to_owned(),
            namespace: "default".to_owned(),
            pod: "web-0".to_owned(),
        };
        Block {
            name: cidr.replace(['.', '/'], "-"),
            cidr: cidr.to_owned(),
            pool: "pods".to_owned(),
            owner: owner.to_owned(),
            state: state.to_owned(),
            size: 64,
            used: 1,
            free: 63,
            held: 0,
            dispute: None,
            last_error: None,
            allocations: vec![held],
        }
    }

    fn shown(args: ShowArgs) -> String {
        let blocks = vec![
            block("10.244.0.0/26", "node-1", "Owned", "10.244.0.7"),
            block("10.244.9.0/26", "node-2", "Borrowed", "10.244.9.7"),
        ];
        let all =
            Ipam { node: "node-1".to_owned(), fence: None, pools: Vec::new(), blocks, view: View::Pools };
        let narrowed = all.narrowed(&args);
        let text = |section: &Section| match section {
            Section::Table(table) | Section::Titled(_, table) => table.render(),
            Section::Text(text) => text.clone(),
        };
        narrowed.text(false).iter().map(text).collect()
    }

    #[test]
    fn arguments_choose_addresses_and_blocks() {
        let none = || ShowArgs { blocks: false, borrowed: false, ip: None, pool: None, node: None };
        let borrowed = shown(ShowArgs { borrowed: true, ..none() });
        assert!(borrowed.contains("10.244.9.7") && borrowed.contains("node-2"), "{borrowed}");
        assert!(!borrowed.contains("10.244.0.7"), "{borrowed}");
        let ip = shown(ShowArgs { ip: "10.244.0.7".parse().ok(), ..none() });
        assert!(ip.contains("web-0") && !ip.contains("10.244.9.7"), "{ip}");
        let nobody = shown(ShowArgs { ip: "192.0.2.1".parse().ok(), ..none() });
        assert_eq!(nobody, "Nothing on node node-1 holds such an address.");
        let of_node = shown(ShowArgs { node: Some("node-2".to_owned()), ..none() });
        assert!(of_node.contains("10.244.9.0/26") && !of_node.contains("10.244.0.0/26"), "{of_node}");
        let of_pool = shown(ShowArgs { blocks: true, pool: Some("other".to_owned()), ..none() });
        assert_eq!(of_pool, "There are no pools.");
    }

    #[test]
    fn parts_of_the_largest_pools_do_not_overflow() {
        assert_eq!(part(60, 64), "60 (94%)");
        assert_eq!(part(0, 0), "0");
        assert_eq!(part(u128::MAX, u128::MAX), format!("{} (100%)", u128::MAX));
        assert_eq!(part(3, 1 << 80), "3 (0%)");
    }
}

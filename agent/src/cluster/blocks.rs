//! Performs what the allocator asks of the API server, one bounded attempt at a time.
//!
//! Repeats and pauses are the pure machine's. Here every answer is turned into what the machine can reason about:
//! above all whether the request certainly had no effect, or may have had one.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use caracal_api::{AllocationRecord, BlockCidr, IpamBlock};
use caracal_bgp::speaker::{Handle, RouteStatus};
use caracal_ipam::{NodeView, Reply, Request, StoreError};
use ipnetwork::IpNetwork;
use k8s_openapi::api::core::v1::Node;
use kube::api::{DeleteParams, ListParams, PostParams, Preconditions};
use kube::core::Status;
use kube::{Api, Client};

/// Longest wait for one answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Names in one page of a list.
const PAGE: u32 = 500;

/// The blocks at the API server.
#[derive(Clone)]
pub struct Blocks {
    node: String,
    speaker: Option<Handle>,
    blocks: Api<IpamBlock>,
    nodes: Api<Node>,
}

impl Blocks {
    /// Through this client, for a node. With a speaker, blocks that others announce to the network are not written.
    pub fn new(client: &Client, node: &str, speaker: Option<Handle>) -> Self {
        let (blocks, nodes) = (Api::all(client.clone()), Api::all(client.clone()));
        Self { node: node.to_owned(), speaker, blocks, nodes }
    }

    /// Performs one request, once.
    ///
    /// # Errors
    /// [`StoreError`] says what is known about its effect.
    pub async fn perform(&self, request: Request) -> Result<Reply, StoreError> {
        match request {
            Request::Create(block) => {
                self.not_announced(whole_and_parts(&block)).await?;
                let created = bounded(self.blocks.create(&PostParams::default(), &block)).await;
                // A create of a name cannot fail because the name is missing: the kind is.
                created.map(shown).map_err(|e| if e == StoreError::Gone { not_installed() } else { e })
            }
            Request::Replace(block) => {
                // The owner of a block that this node borrows from announces it, as it should.
                if block.spec.owner.name == self.node {
                    self.not_announced(whole(&block).into_iter().collect()).await?;
                }
                let name = block.metadata.name.clone().unwrap_or_default();
                bounded(self.blocks.replace(&name, &PostParams::default(), &block)).await.map(shown)
            }
            Request::Read(name) => bounded(self.blocks.get(&name)).await.map(shown),
            Request::Delete { name, uid, resource_version } => {
                let preconditions =
                    Preconditions { uid: Some(uid), resource_version: Some(resource_version) };
                let params = DeleteParams::default().preconditions(preconditions);
                bounded(self.blocks.delete(&name, &params)).await.map(|_| Reply::Deleted)
            }
            Request::ListNames => self.names().await.map(Reply::Names),
            Request::ReadNode => {
                bounded(self.nodes.get(&self.node)).await.map(|node| Reply::Node(node_view(&node)))
            }
        }
    }

    /// Refuses what somebody else announces: those addresses are in use there, whatever the block's object says.
    async fn not_announced(&self, prefixes: Vec<IpNetwork>) -> Result<(), StoreError> {
        let Some(speaker) = &self.speaker else { return Ok(()) };
        // A speaker that has ended takes the agent with it.
        let routes = speaker.routes_to(prefixes).await.unwrap_or_default();
        match routes.iter().find_map(announcer) {
            Some(by) => Err(StoreError::Announced(by)),
            None => Ok(()),
        }
    }

    /// Whether a Node is gone for certain: the API server itself says that there is none.
    pub async fn node_is_gone(&self, name: &str) -> bool {
        matches!(bounded(self.nodes.get(name)).await, Err(StoreError::Gone))
    }

    /// The UID of the Node of a name, from the API server itself.
    ///
    /// # Errors
    /// [`StoreError::Gone`] only if the API server says that there is none.
    pub async fn node_uid(&self, name: &str) -> Result<String, StoreError> {
        bounded(self.nodes.get(name)).await.map(|node| node.metadata.uid.unwrap_or_default())
    }

    async fn names(&self) -> Result<BTreeSet<String>, StoreError> {
        let mut names = BTreeSet::new();
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let list = bounded(self.blocks.list_metadata(&page)).await?;
            names.extend(list.items.into_iter().filter_map(|o| o.metadata.name));
            match list.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(names),
            }
        }
    }
}

fn whole(block: &IpamBlock) -> Option<IpNetwork> {
    block.spec.cidr.parse().ok()
}

/// What nobody else may announce of a block that is to be created: the whole of it, and every single address, but for those
/// that it records as borrowed. A block whose owner is gone, or doubts it, is announced by the addresses in use alone.
fn whole_and_parts(block: &IpamBlock) -> Vec<IpNetwork> {
    let Ok(cidr) = block.spec.cidr.parse::<BlockCidr>() else { return Vec::new() };
    let lent = |ordinal: &u32| {
        let record =
            block.spec.allocations.get(&ordinal.to_string()).map(|text| text.parse::<AllocationRecord>());
        matches!(record, Some(Ok(AllocationRecord { borrower: Some(_), .. })))
    };
    let single =
        (0..cidr.size()).filter(|ordinal| !lent(ordinal)).filter_map(|ordinal| cidr.address(ordinal));
    whole(block).into_iter().chain(single.map(IpNetwork::from)).collect()
}

/// Who announces a path, unless it is our own that came back.
fn announcer(route: &RouteStatus) -> Option<String> {
    let peer = route.peer.as_ref()?;
    let ours = ["AsLoop", "OriginatorLoop", "ClusterLoop", "OwnNextHop"].contains(&route.standing);
    let next_hop = route.next_hop.map(|hop| hop.to_string()).unwrap_or_default();
    (!ours).then(|| format!("{next_hop} (told by peer {peer})"))
}

/// What the allocator needs of a Node.
pub fn node_view(node: &Node) -> NodeView {
    NodeView {
        uid: node.metadata.uid.clone().unwrap_or_default(),
        labels: node.metadata.labels.clone().unwrap_or_default(),
    }
}

fn shown(block: IpamBlock) -> Reply {
    Reply::Block(Arc::new(block))
}

fn not_installed() -> StoreError {
    StoreError::Invalid("the API server does not know IPAMBlocks: install caracal's CRDs".to_owned())
}

async fn bounded<T>(request: impl Future<Output = Result<T, kube::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) => Err(meaning(&status)),
        Ok(Err(other)) => Err(StoreError::Unreachable(chain(&other))),
        Err(_) => Err(StoreError::Unreachable(format!("no answer within {} s", PATIENCE.as_secs()))),
    }
}

/// What an answer with an error says about the request.
fn meaning(status: &Status) -> StoreError {
    let text = || format!("{} {}: {}", status.code, status.reason, status.message);
    match status.code {
        401 => StoreError::Unauthorized(text()),
        403 => StoreError::Forbidden(text()),
        // A missing object is named; without a name it is the kind that is missing.
        404 if status.details.as_ref().is_some_and(|d| !d.name.is_empty()) => StoreError::Gone,
        404 => not_installed(),
        409 if status.reason == "AlreadyExists" => StoreError::Exists,
        409 => StoreError::Conflict,
        400 | 405 | 406 | 413 | 415 | 422 => StoreError::Invalid(text()),
        _ => StoreError::Unreachable(text()),
    }
}

/// An error with everything that caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use kube::core::response::StatusDetails;

    use super::*;

    fn status(code: u16, reason: &str, name: &str) -> Status {
        let details: StatusDetails = serde_json::from_value(serde_json::json!({"name": name})).unwrap();
        Status { code, reason: reason.to_owned(), details: Some(details), ..Status::default() }
    }

    #[test]
    fn both_conflicts_are_told_apart_and_a_missing_kind_is_no_missing_block() {
        assert_eq!(meaning(&status(409, "AlreadyExists", "b")), StoreError::Exists);
        assert_eq!(meaning(&status(409, "Conflict", "b")), StoreError::Conflict);
        assert_eq!(meaning(&status(404, "NotFound", "b")), StoreError::Gone);
        assert!(matches!(meaning(&status(404, "NotFound", "")), StoreError::Invalid(_)));
        assert!(matches!(meaning(&status(422, "Invalid", "b")), StoreError::Invalid(_)));
        assert!(matches!(meaning(&status(401, "Unauthorized", "")), StoreError::Unauthorized(_)));
        assert!(matches!(meaning(&status(403, "Forbidden", "b")), StoreError::Forbidden(_)));
    }

    #[test]
    fn an_answer_that_says_nothing_about_the_request_may_have_had_an_effect() {
        for code in [410, 429, 500, 503, 504] {
            assert!(matches!(meaning(&status(code, "", "b")), StoreError::Unreachable(_)), "{code}");
        }
    }
}

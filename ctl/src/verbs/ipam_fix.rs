//! Doing away with what `ipam check` found: each thing is asked for again right before, and nothing in use is freed.

use caracal_api::{AllocationRecord, BlockCidr, IpamBlock};
use caracal_proto::v1::ipam_service_client::IpamServiceClient;
use caracal_proto::v1::{PublishRequest, ReleaseRequest};
use serde::{Deserialize, Serialize};
use tonic::Code;

use super::ipam_check::Sources;
use crate::agents::Agent;
use crate::audit::Fix;
use crate::cluster::{Cluster, Outcome};
use crate::failure::Failure;
use crate::table::{Cell, Tone};

/// What became of one fix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Done {
    /// It was done: what.
    Fixed(String),
    /// It was not, and why.
    Left(String),
}

impl Done {
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Fixed(_))
    }

    pub(crate) fn words(&self) -> &str {
        match self {
            Self::Fixed(words) | Self::Left(words) => words,
        }
    }

    pub(crate) fn cell(&self) -> Cell {
        let tone = if self.is_done() { Tone::Good } else { Tone::Unsure };
        let begin = if self.is_done() { "fixed" } else { "left" };
        Cell::toned(format!("{begin}: {}", self.words()), tone)
    }
}

fn left(words: impl Into<String>) -> Result<Done, Failure> {
    Ok(Done::Left(words.into()))
}

fn fixed(words: impl Into<String>) -> Result<Done, Failure> {
    Ok(Done::Fixed(words.into()))
}

/// Does it, if everything is still as it was found.
pub(crate) async fn fix(sources: &Sources, fix: &Fix) -> Result<Done, Failure> {
    let cluster = &sources.cluster;
    match fix {
        Fix::DeleteBlock { name, uid, node } => delete(cluster, name, uid, node.as_ref()).await,
        Fix::TakeOut { block, uid, ordinal, record } => take_out(cluster, block, uid, ordinal, record).await,
        Fix::Release { node, address, handle } => match of_node(sources, node) {
            None => left(format!("the agent of {node} alone can tell: run this there, or with --all-nodes")),
            Some(agent) => {
                let pods = cluster.pods().await?;
                let named = |pod: &&crate::audit::PodSeen| pod.lives() && pod.addresses.contains(address);
                match pods.iter().find(named) {
                    Some(pod) => left(format!("pod {} has it now", pod.label())),
                    None => release(agent, &address.to_string(), handle).await,
                }
            }
        },
        Fix::Publish { node } => match of_node(sources, node) {
            None => left(format!("the agent of {node} alone can tell: run this there, or with --all-nodes")),
            Some(agent) => {
                let mut client = IpamServiceClient::new(agent.channel.clone());
                let doing = Failure::agent(format!("having the agent of {node} write its blocks"));
                client.publish(PublishRequest {}).await.map_err(doing)?;
                fixed(format!("the agent of {node} writes its blocks: check again"))
            }
        },
    }
}

fn of_node<'a>(sources: &'a Sources, node: &str) -> Option<&'a Agent> {
    sources.agents.of(node)
}

async fn release(agent: &Agent, address: &str, handle: &str) -> Result<Done, Failure> {
    let request = ReleaseRequest { address: address.to_owned(), handle: handle.to_owned() };
    let answer = IpamServiceClient::new(agent.channel.clone()).release(request).await;
    match answer {
        Ok(answer) => fixed(answer.into_inner().what),
        Err(status) if status.code() == Code::FailedPrecondition || status.code() == Code::NotFound => {
            left(status.message())
        }
        Err(status) => Err(Failure::agent(format!("releasing {address}"))(status)),
    }
}

/// A block as it is now, if it is still the one that was found.
async fn same_block(cluster: &Cluster, name: &str, uid: &str) -> Result<Result<IpamBlock, Done>, Failure> {
    Ok(match cluster.block(name).await? {
        None => Err(Done::Fixed("it is gone already".to_owned())),
        Some(block) if block.metadata.uid.as_deref() != Some(uid) => {
            Err(Done::Left("the block was made anew meanwhile: check again".to_owned()))
        }
        Some(block) => Ok(block),
    })
}

/// Whether this very Node is there, as the API server says now.
async fn returned(cluster: &Cluster, name: &str, uid: &str) -> Result<bool, Failure> {
    Ok(cluster.node_uid(name).await?.as_deref() == Some(uid))
}

async fn delete(
    cluster: &Cluster,
    name: &str,
    uid: &str,
    node: Option<&(String, String)>,
) -> Result<Done, Failure> {
    let block = match same_block(cluster, name, uid).await? {
        Ok(block) => block,
        Err(done) => return Ok(done),
    };
    if let Some((node, node_uid)) = node {
        if returned(cluster, node, node_uid).await? {
            return left(format!("Node {node} is there"));
        }
    } else if !block.spec.allocations.is_empty() {
        return left("the block is in use now");
    }
    let Ok(cidr) = block.spec.cidr.parse::<BlockCidr>() else {
        return left(format!("its range {} cannot be read", block.spec.cidr));
    };
    let lent = |text: &String| {
        let record = text.parse::<AllocationRecord>();
        record.is_ok_and(|record| record.kind.is_taken() && record.borrower.is_some())
    };
    if block.spec.allocations.values().any(lent) {
        return left("other nodes borrow addresses of it: it goes when their pods end");
    }
    let pods = cluster.pods().await?;
    let holder = pods
        .iter()
        .find(|pod| pod.lives() && pod.addresses.iter().any(|address| cidr.ordinal(*address).is_some()));
    if let Some(pod) = holder {
        return left(format!("pod {} has an address of it", pod.label()));
    }
    match cluster.delete_block(&block).await? {
        Outcome::Done => fixed("the block was deleted"),
        Outcome::Changed => left("the block changed meanwhile: check again"),
    }
}

async fn take_out(
    cluster: &Cluster,
    name: &str,
    uid: &str,
    ordinal: &str,
    record: &str,
) -> Result<Done, Failure> {
    let mut block = match same_block(cluster, name, uid).await? {
        Ok(block) => block,
        Err(done) => return Ok(done),
    };
    if block.spec.allocations.get(ordinal).map(String::as_str) != Some(record) {
        return fixed("the record is gone already");
    }
    let Ok(record) = record.parse::<AllocationRecord>() else { return left("the record cannot be read") };
    let Some(borrower) = record.borrower.clone() else {
        return left("the record names no borrower");
    };
    if returned(cluster, &borrower.node, &borrower.node_uid).await? {
        return left(format!("Node {} is there", borrower.node));
    }
    let address = block.spec.cidr.parse::<BlockCidr>().ok().zip(ordinal.parse().ok());
    let Some(address) = address.and_then(|(cidr, ordinal)| cidr.address(ordinal)) else {
        return left("the record names no address of the block");
    };
    let pods = cluster.pods().await?;
    if let Some(pod) = pods.iter().find(|pod| pod.lives() && pod.addresses.contains(&address)) {
        return left(format!("pod {} has the address", pod.label()));
    }
    // The owner lets it rest, then gives it out again.
    block.spec.allocations.insert(ordinal.to_owned(), record.returned().to_string());
    match cluster.replace_block(&block).await? {
        Outcome::Done => fixed("the address was freed"),
        Outcome::Changed => left("the block changed meanwhile: check again"),
    }
}

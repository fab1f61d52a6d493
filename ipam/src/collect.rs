//! Freeing what removed nodes left behind: the controller's part, a pure machine like the allocator's.
//!
//! A block is freed when its owner's Node, by UID, is gone for certain and has been for longer than any owner goes on
//! without the API server: the *quarantine*. An owner that is cut off stops granting within its own limit, which is
//! shorter, so nothing is given from a block after it was freed. A node that is only silent has its Node still and
//! keeps its blocks for ever.
//!
//! Certain means: the API server itself said so, asked for this one Node, and said it again just before the delete. A
//! list or a watch only raises the suspicion. Times are this process's own and begin anew with it: a controller that was
//! killed half way waits again, which is slow and safe. What it had done is done, for every delete names UID and version.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use caracal_api::{IpamBlock, OwnerKind};

use crate::request::{Request, StoreError};

/// How long one answer about a Node may be relied on.
const FRESH: Duration = Duration::from_secs(15);

/// A Node by name and UID.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// Object name.
    pub name: String,
    /// Object UID.
    pub uid: String,
}

/// What is known of an owner whose Node is missing.
#[derive(Clone, Copy, Debug, Default)]
struct Missing {
    /// When the API server first said that it is gone.
    since: Option<Instant>,
    /// When it said so last.
    confirmed: Option<Instant>,
}

/// One removed owner, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Departed {
    /// The Node.
    pub node: NodeId,
    /// When its blocks are freed; `None` while it is not certain that it is gone.
    pub due: Option<Instant>,
}

/// Decides which blocks of removed nodes are freed, and when.
#[derive(Clone, Debug)]
pub struct Collector {
    quarantine: Duration,
    missing: BTreeMap<NodeId, Missing>,
}

impl Collector {
    /// A collector that waits this long after a Node was found gone: longer than [`Settings::outage_limit`] of any agent.
    ///
    /// [`Settings::outage_limit`]: crate::Settings::outage_limit
    pub fn new(quarantine: Duration) -> Self {
        Self { quarantine, missing: BTreeMap::new() }
    }

    /// Looks at all blocks and Nodes as they are listed. Returns the owners whose Node is missing: each is to be asked
    /// for at the API server itself and answered with [`Collector::answered`].
    pub fn look<'a>(
        &mut self,
        blocks: impl IntoIterator<Item = &'a IpamBlock>,
        lists: impl Fn(&NodeId) -> bool,
    ) -> Vec<NodeId> {
        let mut missing = BTreeMap::new();
        for owner in blocks.into_iter().map(|b| &b.spec.owner) {
            // Without a UID nothing can be said to be gone.
            if owner.kind != OwnerKind::Node || owner.node_uid.is_empty() {
                continue;
            }
            let node = NodeId { name: owner.name.clone(), uid: owner.node_uid.clone() };
            if !missing.contains_key(&node) && !lists(&node) {
                let known = self.missing.get(&node).copied().unwrap_or_default();
                missing.insert(node, known);
            }
        }
        self.missing = missing;
        self.missing.keys().cloned().collect()
    }

    /// What the API server said of a Node of this name: the UID of the one that is there, or that there is none.
    pub fn answered(&mut self, now: Instant, node: &NodeId, found: Result<String, StoreError>) {
        let Some(missing) = self.missing.get_mut(node) else { return };
        let gone = match found {
            Ok(uid) => uid != node.uid,
            Err(StoreError::Gone) => true,
            // Nothing was said about it.
            Err(_) => return,
        };
        if gone {
            missing.since.get_or_insert(now);
            missing.confirmed = Some(now);
        } else {
            self.missing.remove(node);
        }
    }

    /// The deletes that are due now, each of the version that was seen.
    pub fn due<'a>(
        &self,
        now: Instant,
        blocks: impl IntoIterator<Item = &'a IpamBlock>,
    ) -> Vec<(NodeId, Request)> {
        let due = |block: &IpamBlock| {
            let owner = &block.spec.owner;
            let node = NodeId { name: owner.name.clone(), uid: owner.node_uid.clone() };
            let missing = self.missing.get(&node)?;
            let rested = now.saturating_duration_since(missing.since?) > self.quarantine;
            let fresh = now.saturating_duration_since(missing.confirmed?) <= FRESH;
            let delete = Request::Delete {
                name: block.metadata.name.clone()?,
                uid: block.metadata.uid.clone()?,
                resource_version: block.metadata.resource_version.clone()?,
            };
            (rested && fresh && owner.kind == OwnerKind::Node).then_some((node, delete))
        };
        blocks.into_iter().filter_map(due).collect()
    }

    /// The owners that are missing, for people.
    pub fn departed(&self) -> Vec<Departed> {
        let departed = |(node, missing): (&NodeId, &Missing)| Departed {
            node: node.clone(),
            due: missing.since.map(|since| since + self.quarantine),
        };
        self.missing.iter().map(departed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::new_object;
    use caracal_api::BlockOwner;

    const QUARANTINE: Duration = Duration::from_secs(5400);

    fn block(node: &str, uid: &str) -> IpamBlock {
        let owner = BlockOwner {
            kind: OwnerKind::Node,
            name: node.into(),
            node_uid: uid.into(),
            machine_id: String::new(),
            claim_token: String::new(),
        };
        let mut block = new_object("10.0.0.0/26".parse().unwrap(), &owner, "p", "u");
        block.metadata.uid = Some("block".into());
        block.metadata.resource_version = Some("7".into());
        block
    }

    fn minutes(n: u64) -> Duration {
        Duration::from_secs(60 * n)
    }

    /// Looks, answers, and counts the deletes.
    fn step(
        collector: &mut Collector,
        at: Instant,
        blocks: &[IpamBlock],
        found: &Result<String, StoreError>,
    ) -> usize {
        for node in collector.look(blocks, |_| false) {
            collector.answered(at, &node, found.clone());
        }
        collector.due(at, blocks).len()
    }

    #[test]
    fn a_removed_nodes_block_is_freed_after_the_quarantine_and_not_before() {
        let (start, blocks) = (Instant::now(), [block("n", "u1")]);
        for found in [Err(StoreError::Gone), Ok("another".to_owned())] {
            let mut collector = Collector::new(QUARANTINE);
            assert_eq!(step(&mut collector, start, &blocks, &found), 0);
            assert_eq!(step(&mut collector, start + minutes(90), &blocks, &found), 0);
            assert_eq!(step(&mut collector, start + minutes(91), &blocks, &found), 1);
        }
    }

    #[test]
    fn a_silent_nodes_block_is_never_freed() {
        let (start, blocks) = (Instant::now(), [block("n", "u1")]);
        let mut collector = Collector::new(QUARANTINE);
        for hour in 0..100 {
            let at = start + minutes(60 * hour);
            assert_eq!(step(&mut collector, at, &blocks, &Ok("u1".into())), 0, "its Node is there");
        }
        let silence = Err(StoreError::Unreachable("timeout".into()));
        for hour in 100..200 {
            assert_eq!(
                step(&mut collector, start + minutes(60 * hour), &blocks, &silence),
                0,
                "nobody said so"
            );
        }
    }

    #[test]
    fn an_old_answer_does_not_count_and_a_node_that_returns_begins_anew() {
        let (start, blocks) = (Instant::now(), [block("n", "u1")]);
        let mut collector = Collector::new(QUARANTINE);
        assert_eq!(step(&mut collector, start, &blocks, &Err(StoreError::Gone)), 0);
        collector.look(&blocks, |_| false);
        assert!(collector.due(start + minutes(100), &blocks).is_empty(), "it must be asked for again");
        collector.look(&blocks, |_| true);
        assert_eq!(step(&mut collector, start + minutes(100), &blocks, &Err(StoreError::Gone)), 0);
        assert_eq!(step(&mut collector, start + minutes(191), &blocks, &Err(StoreError::Gone)), 1);
    }
}

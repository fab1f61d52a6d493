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
//!
//! A block that was lent outlives its owner: it is no longer shared, and goes when the last borrower has given back.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use caracal_api::ipam_block::AllocationKind;
use caracal_api::{AllocationRecord, Borrower, IpamBlock, OwnerKind};

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
        for node in blocks.into_iter().flat_map(|b| owner(b).into_iter().chain(borrowers(b).map(|(_, n)| n)))
        {
            // Without a UID nothing can be said to be gone.
            if !node.uid.is_empty() && !missing.contains_key(&node) && !lists(&node) {
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

    /// What is due now, each for the version that was seen: deletes of blocks in which no living node holds anything, and
    /// writes that end the sharing of the others, or give back in the name of borrowers: the owner lets those addresses rest.
    pub fn due<'a>(
        &self,
        now: Instant,
        blocks: impl IntoIterator<Item = &'a IpamBlock>,
    ) -> Vec<(NodeId, Request)> {
        let due = |block: &IpamBlock| {
            let (left, lent): (Vec<_>, Vec<_>) =
                borrowers(block).partition(|(_, node)| self.is_due(now, node));
            let departed = owner(block).filter(|node| self.is_due(now, node));
            if let (Some(node), true) = (&departed, lent.is_empty()) {
                let delete = Request::Delete {
                    name: block.metadata.name.clone()?,
                    uid: block.metadata.uid.clone()?,
                    resource_version: block.metadata.resource_version.clone()?,
                };
                return Some((node.clone(), delete));
            }
            let ends_sharing = departed.filter(|_| block.spec.lends || block.spec.shared);
            let node = ends_sharing.clone().or_else(|| left.first().map(|(_, node)| node.clone()))?;
            let mut without = block.clone();
            without.spec.lends &= ends_sharing.is_none();
            without.spec.shared &= ends_sharing.is_none();
            for (ordinal, _) in left {
                if let Some(text) = without.spec.allocations.get_mut(&ordinal)
                    && let Ok(record) = text.parse::<AllocationRecord>()
                {
                    *text = record.returned().to_string();
                }
            }
            Some((node, Request::Replace(Box::new(without))))
        };
        blocks.into_iter().filter_map(due).collect()
    }

    /// Whether a Node has been gone for longer than the quarantine, as was just confirmed.
    fn is_due(&self, now: Instant, node: &NodeId) -> bool {
        let passed = |since: Option<Instant>| since.map(|since| now.saturating_duration_since(since));
        self.missing.get(node).is_some_and(|missing| {
            passed(missing.since).is_some_and(|gone| gone > self.quarantine)
                && passed(missing.confirmed).is_some_and(|ago| ago <= FRESH)
        })
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

/// The Node that owns a block, if a Node does.
fn owner(block: &IpamBlock) -> Option<NodeId> {
    let owner = &block.spec.owner;
    let node = || NodeId { name: owner.name.clone(), uid: owner.node_uid.clone() };
    (owner.kind == OwnerKind::Node).then(node)
}

/// The Nodes that hold addresses of a block which is another's, or ask for some, each with the ordinal.
fn borrowers(block: &IpamBlock) -> impl Iterator<Item = (String, NodeId)> {
    block.spec.allocations.iter().filter_map(|(ordinal, text)| {
        let record = text.parse::<AllocationRecord>().ok()?;
        let Borrower { node, node_uid, .. } =
            record.borrower.filter(|_| record.kind != AllocationKind::Held)?;
        Some((ordinal.clone(), NodeId { name: node, uid: node_uid }))
    })
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
    fn what_a_removed_node_borrowed_is_left_to_the_owner_to_rest() {
        let start = Instant::now();
        let mut blocks = [block("owner", "u1")];
        blocks[0].spec.allocations.insert("3".into(), "w/7/net.c.eth0/ns/pod/gone/u2/j".into());
        blocks[0].spec.allocations.insert("4".into(), "w/8/net.d.eth0/ns/pod/there/u3/j".into());
        blocks[0].spec.allocations.insert("5".into(), "w/9/net.e.eth0/ns/pod".into());
        let mut collector = Collector::new(QUARANTINE);
        let mut due = Vec::new();
        for at in [start, start + minutes(91)] {
            let suspects = collector.look(&blocks, |node| node.uid != "u2");
            assert_eq!(suspects.len(), 1);
            collector.answered(at, &suspects[0], Err(StoreError::Gone));
            due = collector.due(at, &blocks);
        }
        let [(_, Request::Replace(written))] = &due[..] else { panic!("{due:?}") };
        let mut expected = blocks[0].clone();
        expected.spec.allocations.insert("3".into(), "h/7/net.c.eth0/ns/pod/gone/u2/j".into());
        assert_eq!(**written, expected, "nothing else changes, and the version is a precondition");
    }

    #[test]
    fn a_removed_nodes_block_outlives_it_until_the_last_borrower_has_given_back() {
        let start = Instant::now();
        let mut blocks = [block("owner", "u1")];
        blocks[0].spec.lends = true;
        blocks[0].spec.allocations.insert("3".into(), "w/7/net.c.eth0/ns/pod/there/u3/j".into());
        blocks[0].spec.allocations.insert("5".into(), "w/9/net.e.eth0/ns/pod".into());
        let mut collector = Collector::new(QUARANTINE);
        let mut due = |at: Instant, blocks: &[IpamBlock]| {
            for node in collector.look(blocks, |node| node.uid == "u3") {
                collector.answered(at, &node, Err(StoreError::Gone));
            }
            collector.due(at, blocks)
        };
        assert!(due(start, &blocks).is_empty());
        let found = due(start + minutes(91), &blocks);
        let [(_, Request::Replace(written))] = &found[..] else { panic!("{found:?}") };
        let mut expected = blocks[0].clone();
        expected.spec.lends = false;
        assert_eq!(**written, expected, "nobody borrows from it any more, and who did keeps what it has");
        blocks[0] = expected;
        assert!(due(start + minutes(92), &blocks).is_empty(), "another node has an address of it");
        blocks[0].spec.allocations.insert("3".into(), "h/7/net.c.eth0/ns/pod/there/u3/j".into());
        assert!(matches!(&due(start + minutes(93), &blocks)[..], [(_, Request::Delete { .. })]));
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

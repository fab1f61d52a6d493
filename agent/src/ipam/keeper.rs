//! Keeps owned blocks in the journal, in the order in which they changed.
//!
//! What is kept here is believed at the next start without asking anyone. So a block is forgotten before its object is
//! deleted: the delete waits for the answer of [`Keeper::forget`].

use std::time::SystemTime;

use caracal_api::IpamBlock;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::attachments::{Journal, JournalError};

/// Changes that may wait for the disk.
const QUEUE: usize = 256;

enum Change {
    Keep(Box<IpamBlock>),
    Forget(String, Option<oneshot::Sender<Result<(), JournalError>>>),
    NodeUid(String),
    Live(SystemTime),
}

/// The way to the journal. Its task ends with the last clone.
#[derive(Clone)]
pub(super) struct Keeper {
    changes: mpsc::Sender<Change>,
}

impl Keeper {
    pub(super) fn start(journal: Journal) -> Self {
        let (changes, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(journal, queue));
        Self { changes }
    }

    pub(super) async fn keep(&self, block: IpamBlock) {
        self.send(Change::Keep(Box::new(block))).await;
    }

    /// Forgets a block that is no longer owned for certain.
    pub(super) async fn drop_block(&self, name: String) {
        self.send(Change::Forget(name, None)).await;
    }

    /// Forgets a block; when this returns, it is forgotten for good.
    pub(super) async fn forget(&self, name: String) -> Result<(), JournalError> {
        let (answer, answered) = oneshot::channel();
        self.send(Change::Forget(name, Some(answer))).await;
        answered.await.map_err(|_| JournalError::Stopped)?
    }

    pub(super) async fn node_uid(&self, uid: String) {
        self.send(Change::NodeUid(uid)).await;
    }

    pub(super) async fn live(&self, at: SystemTime) {
        self.send(Change::Live(at)).await;
    }

    async fn send(&self, change: Change) {
        if self.changes.send(change).await.is_err() {
            warn!("the keeper of blocks has ended: a restart without the API server will not know them");
        }
    }
}

async fn run(journal: Journal, mut queue: mpsc::Receiver<Change>) {
    while let Some(change) = queue.recv().await {
        let result = match change {
            Change::Keep(block) => journal.keep_block(&block).await,
            Change::Forget(name, answer) => {
                let result = journal.forget_block(&name).await;
                if let Some(answer) = answer
                    && answer.send(result.clone()).is_err()
                {
                    warn!(block = name, "nobody waited for a block to be forgotten");
                }
                result
            }
            Change::NodeUid(uid) => journal.keep_node_uid(&uid).await,
            Change::Live(at) => journal.keep_last_live(at).await,
        };
        if let Err(error) = result {
            warn!(%error, "the journal did not keep what the allocator owns");
        }
    }
}

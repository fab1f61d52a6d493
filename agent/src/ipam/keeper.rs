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
    Keep(Box<IpamBlock>, Option<oneshot::Sender<Result<(), JournalError>>>),
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
        self.send(Change::Keep(Box::new(block), None)).await;
    }

    /// Keeps a block as it is about to be written, after what was to be kept before; the answer tells when it is kept.
    pub(super) async fn keep_first(&self, block: Box<IpamBlock>) -> Kept {
        let (answer, answered) = oneshot::channel();
        self.send(Change::Keep(block, Some(answer))).await;
        Kept(answered)
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

/// A block that is on its way to the disk.
pub(super) struct Kept(oneshot::Receiver<Result<(), JournalError>>);

impl Kept {
    /// Resolves when it is kept.
    pub(super) async fn wait(self) -> Result<(), JournalError> {
        self.0.await.map_err(|_| JournalError::Stopped)?
    }
}

/// Tells whoever waits for a change what became of it.
fn told(
    answer: Option<oneshot::Sender<Result<(), JournalError>>>,
    result: Result<(), JournalError>,
) -> Result<(), JournalError> {
    if let Some(answer) = answer
        && answer.send(result.clone()).is_err()
    {
        warn!("nobody waited for a change of the journal that was to come first");
    }
    result
}

async fn run(journal: Journal, mut queue: mpsc::Receiver<Change>) {
    while let Some(change) = queue.recv().await {
        let result = match change {
            Change::Keep(block, answer) => told(answer, journal.keep_block(&block).await),
            Change::Forget(name, answer) => told(answer, journal.forget_block(&name).await),
            Change::NodeUid(uid) => journal.keep_node_uid(&uid).await,
            Change::Live(at) => journal.keep_last_live(at).await,
        };
        if let Err(error) = result {
            warn!(%error, "the journal did not keep what the allocator owns");
        }
    }
}

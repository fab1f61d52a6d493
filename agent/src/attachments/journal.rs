//! The journal: a thread that makes records durable, many with one fsync.
//!
//! Whoever waits for a record waits for the disk. So the thread takes everything that is queued, writes it in one
//! transaction, and answers all of it: under load the number of fsyncs stays the same.

use std::path::Path;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use caracal_api::IpamBlock;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::attachment::{Attachment, AttachmentKey};
use super::error::JournalError;
use super::machine::{boot_id, machine_id};
use super::recover::Recovered;
use super::store::{Place, Store, Write, meta};

/// Writes that may wait; more make their askers wait in turn.
const QUEUE: usize = 256;
/// Most writes in one transaction.
const BATCH: usize = 256;

type Answer<T> = oneshot::Sender<Result<T, JournalError>>;

enum Job {
    Write(Write, Answer<()>),
    All(Answer<Vec<Attachment>>),
    Close(oneshot::Sender<()>),
}

/// The journal of this node. Clones speak to the same thread.
#[derive(Clone, Debug)]
pub struct Journal {
    jobs: mpsc::Sender<Job>,
}

impl Journal {
    /// Opens the journal (made if it is not there) and reads what it holds. A file that cannot be used is moved aside.
    ///
    /// # Errors
    /// [`JournalError::Locked`] while another process has it open; others when the disk refuses.
    pub fn open(path: &Path) -> Result<(Self, Recovered), JournalError> {
        Self::open_on(path, &Place { machine_id: machine_id(), boot_id: boot_id() })
    }

    fn open_on(path: &Path, place: &Place) -> Result<(Self, Recovered), JournalError> {
        let (store, recovered) = Store::open(path, place)?;
        let (jobs, queue) = mpsc::channel(QUEUE);
        thread::Builder::new().name("journal".to_owned()).spawn(move || run(store, queue)).map_err(
            |cause| JournalError::File {
                doing: "starting the thread of",
                path: path.to_owned(),
                cause: cause.into(),
            },
        )?;
        Ok((Self { jobs }, recovered))
    }

    /// Keeps an attachment, in place of an older record of the same key. Durable when this returns.
    ///
    /// # Errors
    /// When the disk refuses; then the record is not kept.
    pub async fn put(&self, attachment: Attachment) -> Result<(), JournalError> {
        let key = attachment.key.to_string();
        let record = encode(&key, &attachment)?;
        self.write(Write::Put { key, record }).await
    }

    /// Forgets an attachment; one that is not there is no error.
    ///
    /// # Errors
    /// When the disk refuses; then the record stays.
    pub async fn remove(&self, key: &AttachmentKey) -> Result<(), JournalError> {
        self.write(Write::Remove { key: key.to_string() }).await
    }

    /// Every attachment, in order of key, after all writes asked for before.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub async fn all(&self) -> Result<Vec<Attachment>, JournalError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::All(answer)).await.map_err(|_| JournalError::Stopped)?;
        answered.await.map_err(|_| JournalError::Stopped)?
    }

    /// Keeps an own block, so that allocation from it goes on after a restart without the API server.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn keep_block(&self, block: &IpamBlock) -> Result<(), JournalError> {
        let name = block.metadata.name.clone().unwrap_or_default();
        let record = encode(&name, block)?;
        self.write(Write::KeepBlock { name, record }).await
    }

    /// Forgets a block. Must have returned before the block's object is deleted: a node that restarts in between must
    /// not believe that it still owns it.
    ///
    /// # Errors
    /// When the disk refuses; then the object must not be deleted.
    pub async fn forget_block(&self, name: &str) -> Result<(), JournalError> {
        self.write(Write::ForgetBlock { name: name.to_owned() }).await
    }

    /// Keeps the UID of this node's Node, which is part of who owns its blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn keep_node_uid(&self, uid: &str) -> Result<(), JournalError> {
        self.write(Write::Meta { key: meta::NODE_UID, value: uid.to_owned() }).await
    }

    /// Keeps when the API server last confirmed the ownership of blocks.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn keep_last_live(&self, at: SystemTime) -> Result<(), JournalError> {
        let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.write(Write::Meta { key: meta::LAST_LIVE, value: seconds.to_string() }).await
    }

    /// Ends the thread after all writes asked for before; when this returns the file is free for another process.
    pub async fn close(self) {
        let (answer, answered) = oneshot::channel();
        if self.jobs.send(Job::Close(answer)).await.is_ok() && answered.await.is_err() {
            error!("the journal ended without closing its file");
        }
    }

    async fn write(&self, write: Write) -> Result<(), JournalError> {
        let (answer, answered) = oneshot::channel();
        self.jobs.send(Job::Write(write, answer)).await.map_err(|_| JournalError::Stopped)?;
        answered.await.map_err(|_| JournalError::Stopped)?
    }
}

fn encode<T: serde::Serialize>(key: &str, record: &T) -> Result<Vec<u8>, JournalError> {
    serde_json::to_vec(record)
        .map_err(|cause| JournalError::Encode { key: key.to_owned(), cause: cause.into() })
}

fn run(mut store: Store, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let (mut writes, mut answers) = (Vec::new(), Vec::new());
        let mut job = Some(first);
        let mut after = None;
        while let Some(next) = job.take() {
            match next {
                Job::Write(write, answer) => {
                    writes.push(write);
                    answers.push(answer);
                }
                // These see the effect of every write before them, so the batch ends here.
                other @ (Job::All(_) | Job::Close(_)) => {
                    after = Some(other);
                    break;
                }
            }
            if writes.len() < BATCH {
                job = queue.try_recv().ok();
            }
        }
        if !writes.is_empty() {
            let result = store.commit(&writes);
            if let Err(error) = &result {
                error!(%error, records = writes.len(), "records were not kept");
            }
            for answer in answers {
                reply(answer, result.clone());
            }
        }
        match after {
            Some(Job::All(answer)) => reply(answer, store.attachments()),
            Some(Job::Close(done)) => {
                drop(store);
                drop(queue);
                if done.send(()).is_err() {
                    tracing::debug!("nobody waited for the journal to close");
                }
                return;
            }
            Some(Job::Write(..)) | None => {}
        }
    }
}

/// Answers; whoever no longer waits is told by nobody, since the record is kept all the same.
fn reply<T>(answer: Answer<T>, result: Result<T, JournalError>) {
    if answer.send(result).is_err() {
        tracing::debug!("nobody waited for an answer of the journal");
    }
}

#[cfg(test)]
mod tests;

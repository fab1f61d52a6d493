//! The attachments of this node, in memory as in the journal: looked up here, written there first.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::attachments::{Attachment, AttachmentKey, Journal, JournalError, Phase};

/// All attachments of pods.
#[derive(Debug)]
pub(super) struct Records {
    journal: Journal,
    known: Mutex<BTreeMap<AttachmentKey, Attachment>>,
}

impl Records {
    /// Starts with what the journal held. Tunnel addresses are not for containers' calls and left out.
    pub(super) fn new(journal: Journal, attachments: Vec<Attachment>) -> Self {
        let pods = attachments.into_iter().filter(|attachment| attachment.phase != Phase::Tunnel);
        let known = pods.map(|attachment| (attachment.key.clone(), attachment)).collect();
        Self { journal, known: Mutex::new(known) }
    }

    /// The record of one attachment.
    pub(super) fn get(&self, key: &AttachmentKey) -> Option<Attachment> {
        self.known().get(key).cloned()
    }

    /// All records.
    pub(super) fn all(&self) -> Vec<Attachment> {
        self.known().values().cloned().collect()
    }

    /// The attachments of others that had the same device on the host.
    pub(super) fn others_on(&self, host: &str, key: &AttachmentKey) -> Vec<Attachment> {
        let known = self.known();
        known.values().filter(|other| other.host == host && other.key != *key).cloned().collect()
    }

    /// Keeps a record; it is on disk when this returns.
    pub(super) async fn put(&self, attachment: Attachment) -> Result<(), JournalError> {
        self.journal.put(attachment.clone()).await?;
        self.known().insert(attachment.key.clone(), attachment);
        Ok(())
    }

    /// Forgets a record, on disk too.
    pub(super) async fn remove(&self, key: &AttachmentKey) -> Result<(), JournalError> {
        self.journal.remove(key).await?;
        self.known().remove(key);
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<AttachmentKey, Attachment>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

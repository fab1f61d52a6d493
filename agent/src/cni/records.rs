//! The attachments of this node, in memory as in the journal: looked up here, written there first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use caracal_linux::object::link::Mac;
use tokio::sync::watch;

use super::alias_of;
use crate::attachments::{Attachment, AttachmentKey, Journal, JournalError, Phase};
use crate::desired::grants::{Grants, grants};
use crate::desired::pod::pod_mac;

/// All attachments of pods.
#[derive(Debug)]
pub(super) struct Records {
    journal: Journal,
    known: Mutex<Known>,
    grants: watch::Sender<Arc<Grants>>,
}

#[derive(Debug, Default)]
struct Known {
    by_key: BTreeMap<AttachmentKey, Attachment>,
    /// The Ethernet addresses of pods' ends, each with how many have it.
    macs: HashMap<Mac, usize>,
    /// How many have anything beyond their addresses.
    extra: usize,
}

impl Known {
    fn put(&mut self, attachment: Attachment) {
        self.remove(&attachment.key);
        if let Some(mac) = mac(&attachment) {
            *self.macs.entry(mac).or_default() += 1;
        }
        self.extra += usize::from(!attachment.extras.is_empty());
        self.by_key.insert(attachment.key.clone(), attachment);
    }

    fn remove(&mut self, key: &AttachmentKey) {
        let Some(gone) = self.by_key.remove(key) else { return };
        self.extra -= usize::from(!gone.extras.is_empty());
        let Some(mac) = mac(&gone) else { return };
        if let Some(count) = self.macs.get_mut(&mac) {
            *count -= 1;
            if *count == 0 {
                self.macs.remove(&mac);
            }
        }
    }
}

/// The Ethernet address that the pod's end is to have, where we make it.
fn mac(attachment: &Attachment) -> Option<Mac> {
    let made_up = || alias_of(&attachment.key).ok().map(|alias| pod_mac(&alias));
    (!attachment.host.is_empty()).then(|| attachment.mac.or_else(made_up)).flatten()
}

impl Records {
    /// Starts with what the journal held. Tunnel addresses are not for containers' calls and left out.
    pub(super) fn new(
        journal: Journal,
        attachments: Vec<Attachment>,
        grants: watch::Sender<Arc<Grants>>,
    ) -> Self {
        let pods = attachments.into_iter().filter(|attachment| attachment.phase != Phase::Tunnel);
        let mut known = Known::default();
        pods.for_each(|attachment| known.put(attachment));
        let records = Self { journal, known: Mutex::new(known), grants };
        records.tell_grants(&records.known());
        records
    }

    /// The record of one attachment.
    pub(super) fn get(&self, key: &AttachmentKey) -> Option<Attachment> {
        self.known().by_key.get(key).cloned()
    }

    /// All records.
    pub(super) fn all(&self) -> Vec<Attachment> {
        self.known().by_key.values().cloned().collect()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.known().by_key.len()
    }

    /// The attachments of others that had the same device on the host.
    pub(super) fn others_on(&self, host: &str, key: &AttachmentKey) -> Vec<Attachment> {
        let known = self.known();
        known.by_key.values().filter(|other| other.host == host && other.key != *key).cloned().collect()
    }

    /// Whether the record of a pod says that its end has this Ethernet address.
    pub(super) fn expect(&self, mac: Mac) -> bool {
        self.known().macs.contains_key(&mac)
    }

    /// Keeps a record; it is on disk when this returns.
    pub(super) async fn put(&self, attachment: Attachment) -> Result<(), JournalError> {
        self.journal.put(attachment.clone()).await?;
        self.change(|known| known.put(attachment));
        Ok(())
    }

    /// Forgets a record, on disk too.
    pub(super) async fn remove(&self, key: &AttachmentKey) -> Result<(), JournalError> {
        self.journal.remove(key).await?;
        self.change(|known| known.remove(key));
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        let mut known = self.known();
        let before = known.extra;
        change(&mut known);
        // Most pods have nothing of the kind.
        if before + known.extra > 0 {
            self.tell_grants(&known);
        }
    }

    fn tell_grants(&self, known: &Known) {
        let now = grants(known.by_key.values());
        self.grants.send_if_modified(|told| {
            let news = **told != now;
            if news {
                *told = Arc::new(now);
            }
            news
        });
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

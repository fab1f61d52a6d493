//! One call at a time for each attachment, and for each device on the host.
//!
//! Runtimes serialise the calls of one container; that of an old sandbox and that of its pod's next one run side by side,
//! and share the host's device. The attachment is locked first, then the device, so that nobody waits in a circle.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

type Slot = Arc<tokio::sync::Mutex<()>>;

/// Locks by name. A name that nobody holds or waits for takes no memory.
#[derive(Clone, Debug, Default)]
pub(super) struct Locks {
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

/// Held as long as it lives.
#[derive(Debug)]
pub(super) struct Held {
    slots: Arc<Mutex<HashMap<String, Slot>>>,
    name: String,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Locks {
    /// Waits for this name.
    pub(super) async fn lock(&self, name: String) -> Held {
        let slot = {
            let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(slots.entry(name.clone()).or_default())
        };
        let guard = slot.lock_owned().await;
        Held { slots: Arc::clone(&self.slots), name, guard: Some(guard) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard = None;
        // Nobody can come by a slot but through the map, which is locked: one owner means that nobody waits.
        if slots.get(&self.name).is_some_and(|slot| Arc::strong_count(slot) == 1) {
            slots.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::poll;
    use std::pin::pin;
    use std::task::Poll;

    #[tokio::test]
    async fn one_name_is_held_once_and_others_are_free() {
        let locks = Locks::default();
        let held = locks.lock("a".into()).await;
        let mut second = pin!(locks.lock("a".into()));
        assert!(poll!(second.as_mut()).is_pending());
        let other = locks.lock("b".into()).await;
        drop(held);
        let Poll::Ready(second) = poll!(second.as_mut()) else { panic!("the lock was not passed on") };
        drop((second, other));
        assert!(locks.slots.lock().unwrap().is_empty(), "free names take no memory");
    }
}

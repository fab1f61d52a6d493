//! One watch of one kind, kept as a snapshot.
//!
//! The watch starts from what was saved, lists, follows changes, and starts over by itself after errors with growing,
//! jittered pauses. A burst of events makes one new snapshot. What was heard is saved for the next start.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;

use futures::{FutureExt, Stream, StreamExt};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::{info, warn};

use super::last_good::LastGood;
use super::snapshot::{Snapshot, SnapshotReceiver, key};

/// Seconds after which the server ends a watch. Short, because a dead path to it is noticed only then.
const WATCH_TIMEOUT: u32 = 75;

/// What an empty list after a filled one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnEmptyList {
    /// Users may have deleted everything.
    Believe,
    /// Nobody deletes all of these at once: a lost or replaced store says so. What was known stays, and the snapshot
    /// counts as not synced, until an object is heard of again.
    Doubt,
}

/// How one kind is watched.
#[derive(Clone, Debug)]
pub struct WatchSettings {
    folder: Option<PathBuf>,
    fields: Option<String>,
    on_empty_list: OnEmptyList,
}

impl WatchSettings {
    /// Every object of the kind; last good states are kept in `folder`.
    pub fn all(folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), fields: None, on_empty_list: OnEmptyList::Believe }
    }

    /// Every object of the kind, kept in memory only: for who can do nothing without the API server anyway.
    pub fn unsaved() -> Self {
        Self { folder: None, fields: None, on_empty_list: OnEmptyList::Believe }
    }

    /// Only objects that a field selector chooses.
    #[must_use]
    pub fn fields(mut self, selector: String) -> Self {
        self.fields = Some(selector);
        self
    }

    /// What to make of an empty list.
    #[must_use]
    pub fn on_empty_list(mut self, meaning: OnEmptyList) -> Self {
        self.on_empty_list = meaning;
        self
    }

    fn watcher(&self) -> watcher::Config {
        let config = watcher::Config::default().timeout(WATCH_TIMEOUT);
        match &self.fields {
            Some(fields) => config.fields(fields),
            None => config,
        }
    }
}

/// Starts a watch and returns its snapshots. It ends when nobody holds a receiver any more.
pub fn spawn<K>(api: Api<K>, settings: WatchSettings) -> SnapshotReceiver<K>
where
    K: Resource + Clone + DeserializeOwned + Serialize + Debug + Send + Sync + 'static,
    K::DynamicType: Default,
{
    let plural = K::plural(&K::DynamicType::default()).into_owned();
    let last_good = settings.folder.as_deref().map(|folder| LastGood::new(folder, &plural));
    let start = last_good.as_ref().map_or_else(Snapshot::default, LastGood::load::<K>);
    let known = start.items.len();
    if known > 0 {
        info!(kind = plural, objects = known, "starting from the last good state");
    }
    let (sender, receiver) = watch::channel(Arc::new(start));
    let events = watcher::watcher(api, settings.watcher()).default_backoff();
    tokio::spawn(async move {
        let following = follow(events, &plural, settings.on_empty_list, &sender, last_good.as_ref());
        tokio::select! {
            () = following => {}
            () = sender.closed() => {}
        }
    });
    receiver
}

/// Turns events into snapshots until the stream ends.
async fn follow<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>>,
    plural: &str,
    on_empty_list: OnEmptyList,
    sender: &watch::Sender<Arc<Snapshot<K>>>,
    last_good: Option<&LastGood>,
) where
    K: Resource + Clone + Serialize + Debug + Send + Sync + 'static,
{
    let mut events = pin!(events);
    let mut view = View::new(&sender.borrow(), on_empty_list);
    let mut failing = false;
    while let Some(event) = events.next().await {
        let mut next = Some(event);
        while let Some(event) = next {
            match event {
                Ok(event) => {
                    if failing {
                        info!(kind = plural, "the API server answers again");
                        failing = false;
                    }
                    if view.on(event) == Heard::Doubtful {
                        warn!(
                            kind = plural,
                            "the list is empty though objects were known: keeping what was known"
                        );
                    }
                }
                Err(error) => {
                    if !failing {
                        warn!(kind = plural, %error, "watching failed; going on with what is known");
                        failing = true;
                    }
                }
            }
            next = events.next().now_or_never().flatten();
        }
        if let Some(snapshot) = view.take_changed() {
            let snapshot = Arc::new(snapshot);
            sender.send_replace(snapshot.clone());
            if let Some(last_good) = last_good.filter(|_| snapshot.synced) {
                last_good.save(&snapshot);
            }
        }
    }
}

/// What an event did to the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Heard {
    Plain,
    Doubtful,
}

/// The objects as heard so far.
struct View<K> {
    current: Snapshot<K>,
    listing: Option<Snapshot<K>>,
    on_empty_list: OnEmptyList,
    changed: bool,
}

impl<K: Resource> View<K> {
    fn new(start: &Snapshot<K>, on_empty_list: OnEmptyList) -> Self {
        let current = Snapshot { items: start.items.clone(), synced: start.synced };
        Self { current, listing: None, on_empty_list, changed: false }
    }

    fn on(&mut self, event: Event<K>) -> Heard {
        match event {
            Event::Init => self.listing = Some(Snapshot::default()),
            Event::InitApply(object) => {
                let listing = self.listing.get_or_insert_default();
                listing.items.insert(key(&object), Arc::new(object));
            }
            Event::InitDone => return self.finish_list(),
            Event::Apply(object) => {
                self.current.items.insert(key(&object), Arc::new(object));
                self.heard();
            }
            Event::Delete(object) => {
                self.current.items.remove(&key(&object));
                self.heard();
            }
        }
        Heard::Plain
    }

    fn heard(&mut self) {
        self.current.synced = true;
        self.changed = true;
    }

    fn finish_list(&mut self) -> Heard {
        let mut list = self.listing.take().unwrap_or_default();
        self.changed = true;
        if list.items.is_empty() && !self.current.items.is_empty() && self.on_empty_list == OnEmptyList::Doubt
        {
            self.current.synced = false;
            return Heard::Doubtful;
        }
        list.synced = true;
        self.current = list;
        Heard::Plain
    }

    fn take_changed(&mut self) -> Option<Snapshot<K>> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        Some(Snapshot { items: self.current.items.clone(), synced: self.current.synced })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use caracal_api::{NetworkNode, NetworkNodeSpec};

    fn node(name: &str) -> NetworkNode {
        NetworkNode::new(name, NetworkNodeSpec::default())
    }

    fn view(known: &[&str], on_empty: OnEmptyList) -> View<NetworkNode> {
        let mut start: Snapshot<NetworkNode> = known.iter().map(|n| node(n)).collect();
        start.synced = false;
        View::new(&start, on_empty)
    }

    fn names(view: &View<NetworkNode>) -> Vec<&str> {
        view.current.items.keys().map(String::as_str).collect()
    }

    #[test]
    fn a_list_replaces_what_was_saved_and_counts_as_synced() {
        let mut view = view(&["gone", "n1"], OnEmptyList::Doubt);
        for event in [Event::Init, Event::InitApply(node("n1")), Event::InitApply(node("n2"))] {
            view.on(event);
            assert!(view.take_changed().is_none(), "an unfinished list changes nothing");
        }
        view.on(Event::InitDone);
        let snapshot = view.take_changed().unwrap();
        assert!(snapshot.synced);
        assert_eq!(names(&view), ["n1", "n2"]);
    }

    #[test]
    fn an_empty_list_after_a_filled_one_removes_nothing_of_what_machines_write() {
        let mut view = view(&["n1"], OnEmptyList::Doubt);
        view.on(Event::Init);
        assert_eq!(view.on(Event::InitDone), Heard::Doubtful);
        assert_eq!(names(&view), ["n1"]);
        assert!(!view.take_changed().unwrap().synced);
        view.on(Event::Apply(node("n2")));
        assert_eq!(names(&view), ["n1", "n2"]);
    }

    #[test]
    fn an_empty_list_is_believed_of_what_users_write() {
        let mut view = view(&["n1"], OnEmptyList::Believe);
        view.on(Event::Init);
        assert_eq!(view.on(Event::InitDone), Heard::Plain);
        assert!(names(&view).is_empty());
    }
}

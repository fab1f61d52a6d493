//! One read-only snapshot of one kind, shared by everyone who reads it.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::ResourceExt;
use tokio::sync::watch;

/// Every object of one kind, by name, as the API server said it last.
#[derive(Debug)]
pub struct Snapshot<T> {
    /// Objects by name; those that are not of the cluster's scope by `namespace/name`.
    pub items: BTreeMap<String, Arc<T>>,
    /// Whether a live list was seen since start. Until then the items are the last good ones from disk, and nothing
    /// may be removed because it is absent here.
    pub synced: bool,
}

/// How a snapshot is handed out: the newest replaces the one before.
pub type SnapshotReceiver<T> = watch::Receiver<Arc<Snapshot<T>>>;

impl<T> Default for Snapshot<T> {
    fn default() -> Self {
        Self { items: BTreeMap::new(), synced: false }
    }
}

impl<T> Snapshot<T> {
    /// The object of a name.
    pub fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.items.get(name)
    }

    /// The objects in order of name.
    pub fn values(&self) -> impl Iterator<Item = &Arc<T>> {
        self.items.values()
    }
}

/// What names an object among those of its kind.
pub fn key<T: kube::Resource>(object: &T) -> String {
    match object.namespace() {
        Some(namespace) => format!("{namespace}/{}", object.name_any()),
        None => object.name_any(),
    }
}

impl<T: kube::Resource> FromIterator<T> for Snapshot<T> {
    /// A synced snapshot of these objects: for tests, and wherever a list is at hand.
    fn from_iter<I: IntoIterator<Item = T>>(objects: I) -> Self {
        let items = objects.into_iter().map(|o| (key(&o), Arc::new(o))).collect();
        Self { items, synced: true }
    }
}

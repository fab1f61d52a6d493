//! Where objects live: in memory, with the history that watches and paged lists need.
//!
//! One counter numbers all writes (the `resourceVersion`). Each bucket (all objects of one resource, whatever
//! version they are served at) keeps its objects in key order and the last changes to them, each with the
//! object before and after. From that a watch resumes at any kept revision, and a list of the past is
//! rebuilt by undoing changes. Nothing outside this module knows how it is kept, so that a store on disk can
//! take its place.
//!
//! Writes are compare-and-swap on the revision of the object; whoever decides does so without the lock and
//! tries again on [`WriteError::Changed`].

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::watch;

use crate::object;

/// The first revision: not zero, so that there is a past that is already forgotten.
const FIRST_REVISION: u64 = 1000;

/// The name of an object within its bucket.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Empty for cluster-wide objects.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub(crate) fn of(object: &Value) -> Self {
        Self::new(object::namespace(object), object::name(object))
    }
}

/// One stored state of one object.
#[derive(Debug)]
pub(crate) struct Object {
    pub(crate) revision: u64,
    /// Which definition of its resource it was written under: another one may have other defaults.
    pub(crate) shape: u64,
    pub(crate) value: Value,
    /// `value` as JSON text, made once for all who read it.
    pub(crate) json: Bytes,
}

/// What happened to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Deleted,
}

/// One entry of the history.
#[derive(Debug, Clone)]
pub(crate) struct Change {
    pub(crate) revision: u64,
    pub(crate) kind: ChangeKind,
    /// For a deletion the last state, carrying the revision of the deletion.
    pub(crate) object: Arc<Object>,
    pub(crate) previous: Option<Arc<Object>>,
}

/// Why a write did not happen.
#[derive(Debug)]
pub(crate) enum WriteError {
    Exists,
    Missing,
    /// Somebody else was faster.
    Changed,
}

/// The wanted revision is older than the kept history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Compacted {
    pub(crate) oldest: u64,
}

/// All objects of a bucket at one revision.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) objects: Vec<Arc<Object>>,
}

/// Where an object is: its bucket and key.
pub(crate) type Place = (String, Key);

#[derive(Debug)]
struct Bucket {
    objects: BTreeMap<Key, Arc<Object>>,
    history: VecDeque<Change>,
    /// Changes up to this revision are forgotten.
    forgotten: u64,
    moved: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    revision: u64,
    buckets: HashMap<String, Bucket>,
    /// UIDs of all live objects.
    uids: HashSet<String>,
    /// Owner UID -> what names it as an owner.
    owned: BTreeMap<String, HashSet<Place>>,
    /// Objects that wait for their finalizers or grace period.
    terminating: HashSet<Place>,
}

/// The store.
#[derive(Debug)]
pub(crate) struct Store {
    inner: Mutex<Inner>,
    /// Changes kept for each bucket.
    history: usize,
    moved: watch::Sender<u64>,
}

impl Store {
    pub(crate) fn new(history: usize) -> Self {
        let inner = Inner { revision: FIRST_REVISION, ..Inner::default() };
        Self { inner: Mutex::new(inner), history: history.max(1), moved: watch::Sender::new(FIRST_REVISION) }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.lock().revision
    }

    pub(crate) fn get(&self, bucket: &str, key: &Key) -> Option<Arc<Object>> {
        self.lock().buckets.get(bucket)?.objects.get(key).cloned()
    }

    pub(crate) fn create(&self, bucket: &str, value: Value, shape: u64) -> Result<Arc<Object>, WriteError> {
        let key = Key::of(&value);
        let mut inner = self.lock();
        if inner.bucket(bucket).objects.contains_key(&key) {
            return Err(WriteError::Exists);
        }
        Ok(self.commit(&mut inner, bucket, key, ChangeKind::Added, value, shape))
    }

    /// Replaces an object that is still at revision `expected`.
    pub(crate) fn replace(
        &self,
        bucket: &str,
        expected: u64,
        value: Value,
        shape: u64,
    ) -> Result<Arc<Object>, WriteError> {
        let key = Key::of(&value);
        let mut inner = self.lock();
        inner.expect(bucket, &key, expected)?;
        Ok(self.commit(&mut inner, bucket, key, ChangeKind::Modified, value, shape))
    }

    /// Deletes an object that is still at revision `expected`; returns its last state.
    pub(crate) fn delete(&self, bucket: &str, key: &Key, expected: u64) -> Result<Arc<Object>, WriteError> {
        let mut inner = self.lock();
        let last = inner.expect(bucket, key, expected)?;
        Ok(self.commit(&mut inner, bucket, key.clone(), ChangeKind::Deleted, last.value.clone(), last.shape))
    }

    /// A bucket, whole or one namespace of it, as it is or as it was at a revision.
    pub(crate) fn list(
        &self,
        bucket: &str,
        namespace: Option<&str>,
        at: Option<u64>,
    ) -> Result<Snapshot, Compacted> {
        let mut inner = self.lock();
        let revision = at.unwrap_or(inner.revision);
        let bucket = inner.bucket(bucket);
        let in_namespace = |key: &Key| namespace.is_none_or(|namespace| key.namespace == namespace);
        if revision < bucket.forgotten {
            return Err(Compacted { oldest: bucket.forgotten });
        }
        let later = bucket.history.iter().rev().take_while(|change| change.revision > revision);
        let mut undone: BTreeMap<Key, Option<Arc<Object>>> = BTreeMap::new();
        for change in later {
            // Newest first: the oldest state, inserted last, is the one that counts.
            undone.insert(Key::of(&change.object.value), change.previous.clone());
        }
        let objects = if undone.is_empty() {
            bucket
                .objects
                .iter()
                .filter(|(key, _)| in_namespace(key))
                .map(|(_, object)| object.clone())
                .collect()
        } else {
            let mut past = bucket.objects.clone();
            for (key, object) in undone {
                match object {
                    Some(object) => past.insert(key, object),
                    None => past.remove(&key),
                };
            }
            past.into_iter().filter(|(key, _)| in_namespace(key)).map(|(_, object)| object).collect()
        };
        Ok(Snapshot { revision, objects })
    }

    /// Up to `limit` changes after a revision, oldest first, and the revision up to which this is all.
    pub(crate) fn changes(
        &self,
        bucket: &str,
        after: u64,
        limit: usize,
    ) -> Result<(Vec<Change>, u64), Compacted> {
        let mut inner = self.lock();
        let revision = inner.revision;
        let bucket = inner.bucket(bucket);
        if after < bucket.forgotten {
            return Err(Compacted { oldest: bucket.forgotten });
        }
        let from = bucket.history.partition_point(|change| change.revision <= after);
        let changes: Vec<Change> = bucket.history.iter().skip(from).take(limit).cloned().collect();
        let upto = match changes.last() {
            Some(last) if changes.len() == limit => last.revision,
            _ => revision.max(after),
        };
        Ok((changes, upto))
    }

    /// Told of each change in a bucket.
    pub(crate) fn subscribe(&self, bucket: &str) -> watch::Receiver<u64> {
        self.lock().bucket(bucket).moved.subscribe()
    }

    /// Told of each change anywhere.
    pub(crate) fn subscribe_all(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Forgets all history, as compaction does: old revisions are then `410 Gone`.
    pub(crate) fn compact(&self) {
        let mut inner = self.lock();
        let revision = inner.revision;
        for bucket in inner.buckets.values_mut() {
            bucket.history.clear();
            bucket.forgotten = revision;
        }
    }

    /// Objects all of whose owners are gone.
    pub(crate) fn orphans(&self) -> Vec<Place> {
        let inner = self.lock();
        let gone = inner.owned.iter().filter(|(owner, _)| !inner.uids.contains(*owner));
        let candidates: HashSet<&Place> = gone.flat_map(|(_, places)| places).collect();
        let all_gone = |place: &&&Place| {
            let object = inner.buckets.get(&place.0).and_then(|bucket| bucket.objects.get(&place.1));
            object.is_some_and(|object| {
                object::owners(&object.value).iter().all(|uid| !inner.uids.contains(*uid))
            })
        };
        candidates.iter().filter(all_gone).map(|place| (*place).clone()).collect()
    }

    /// What names this owner.
    pub(crate) fn dependents(&self, owner: &str) -> Vec<Place> {
        self.lock().owned.get(owner).into_iter().flatten().cloned().collect()
    }

    /// What is being deleted but not gone yet.
    pub(crate) fn terminating(&self) -> Vec<(Place, Arc<Object>)> {
        let inner = self.lock();
        let found = |place: &Place| {
            let object = inner.buckets.get(&place.0)?.objects.get(&place.1)?;
            Some((place.clone(), object.clone()))
        };
        inner.terminating.iter().filter_map(found).collect()
    }

    /// Everything in one namespace.
    pub(crate) fn contents(&self, namespace: &str) -> Vec<Place> {
        let inner = self.lock();
        let all = inner
            .buckets
            .iter()
            .flat_map(|(name, bucket)| bucket.objects.keys().map(move |key| (name.clone(), key.clone())));
        all.filter(|(_, key)| key.namespace == namespace).collect()
    }

    fn commit(
        &self,
        inner: &mut Inner,
        bucket: &str,
        key: Key,
        kind: ChangeKind,
        mut value: Value,
        shape: u64,
    ) -> Arc<Object> {
        inner.revision += 1;
        let revision = inner.revision;
        object::set_meta(&mut value, "resourceVersion", Some(Value::from(revision.to_string())));
        let json = Bytes::from(value.to_string());
        let object = Arc::new(Object { revision, shape, value, json });
        let place = (bucket.to_owned(), key.clone());
        let bucket = inner.bucket(bucket);
        let previous = match kind {
            ChangeKind::Added | ChangeKind::Modified => bucket.objects.insert(key, object.clone()),
            ChangeKind::Deleted => bucket.objects.remove(&key),
        };
        bucket.history.push_back(Change {
            revision,
            kind,
            object: object.clone(),
            previous: previous.clone(),
        });
        while bucket.history.len() > self.history {
            if let Some(oldest) = bucket.history.pop_front() {
                bucket.forgotten = oldest.revision;
            }
        }
        bucket.moved.send_replace(revision);
        if let Some(previous) = &previous {
            inner.forget(&place, &previous.value);
        }
        if kind != ChangeKind::Deleted {
            inner.remember(&place, &object.value);
        }
        self.moved.send_replace(revision);
        object
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic under the lock leaves at worst one write half indexed; a test server goes on.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn bucket(&mut self, name: &str) -> &mut Bucket {
        if !self.buckets.contains_key(name) {
            let bucket = Bucket {
                objects: BTreeMap::new(),
                history: VecDeque::new(),
                // Of a bucket that was never written, only the time before this server is forgotten.
                forgotten: FIRST_REVISION,
                moved: watch::Sender::new(self.revision),
            };
            self.buckets.insert(name.to_owned(), bucket);
        }
        self.buckets.entry(name.to_owned()).or_insert_with(|| unreachable!("it was inserted just now"))
    }

    fn expect(&mut self, bucket: &str, key: &Key, expected: u64) -> Result<Arc<Object>, WriteError> {
        let current = self.bucket(bucket).objects.get(key).ok_or(WriteError::Missing)?;
        if current.revision == expected { Ok(current.clone()) } else { Err(WriteError::Changed) }
    }

    fn remember(&mut self, place: &Place, value: &Value) {
        self.uids.insert(object::uid(value).to_owned());
        if object::is_terminating(value) {
            self.terminating.insert(place.clone());
        }
        for owner in object::owners(value) {
            self.owned.entry(owner.to_owned()).or_default().insert(place.clone());
        }
    }

    fn forget(&mut self, place: &Place, value: &Value) {
        self.uids.remove(object::uid(value));
        self.terminating.remove(place);
        for owner in object::owners(value) {
            if let Some(places) = self.owned.get_mut(owner) {
                places.remove(place);
                if places.is_empty() {
                    self.owned.remove(owner);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn thing(name: &str, value: u64) -> Value {
        json!({"metadata": {"name": name, "uid": name}, "value": value})
    }

    #[test]
    fn the_past_is_rebuilt_from_history() {
        let store = Store::new(100);
        let a = store.create("b", thing("a", 1), 0).unwrap();
        let then = store.create("b", thing("b", 1), 0).unwrap().revision;
        store.replace("b", a.revision, thing("a", 2), 0).unwrap();
        store.delete("b", &Key::new("", "b"), then).unwrap();
        store.create("b", thing("c", 1), 0).unwrap();

        let values = |at| -> Vec<(String, Value)> {
            let objects = store.list("b", None, at).unwrap().objects;
            objects.iter().map(|o| (object::name(&o.value).to_owned(), o.value["value"].clone())).collect()
        };
        assert_eq!(values(Some(then)), [("a".to_owned(), json!(1)), ("b".to_owned(), json!(1))]);
        assert_eq!(values(None), [("a".to_owned(), json!(2)), ("c".to_owned(), json!(1))]);
    }

    #[test]
    fn only_the_holder_of_the_current_revision_may_write() {
        let store = Store::new(100);
        let first = store.create("b", thing("a", 1), 0).unwrap().revision;
        store.replace("b", first, thing("a", 2), 0).unwrap();
        assert!(matches!(store.replace("b", first, thing("a", 3), 0), Err(WriteError::Changed)));
        assert!(matches!(store.delete("b", &Key::new("", "a"), first), Err(WriteError::Changed)));
        assert!(matches!(store.create("b", thing("a", 1), 0), Err(WriteError::Exists)));
    }

    #[test]
    fn history_is_bounded_and_tells_what_it_forgot() {
        let store = Store::new(2);
        let start = store.revision();
        for name in ["a", "b", "c"] {
            store.create("b", thing(name, 1), 0).unwrap();
        }
        let oldest = store.changes("b", start, 10).unwrap_err().oldest;
        assert_eq!(oldest, start + 1);
        let (changes, upto) = store.changes("b", oldest, 10).unwrap();
        assert_eq!((changes.len(), upto), (2, start + 3));
        let (changes, upto) = store.changes("b", oldest, 1).unwrap();
        assert_eq!((changes.len(), upto), (1, start + 2));
    }

    #[test]
    fn an_orphan_is_one_whose_owners_are_all_gone() {
        let store = Store::new(100);
        let owner = store.create("b", thing("owner", 1), 0).unwrap().revision;
        let mut child = thing("child", 1);
        child["metadata"]["ownerReferences"] = json!([{"uid": "owner"}, {"uid": "never"}]);
        store.create("b", child, 0).unwrap();
        assert!(store.orphans().is_empty());
        store.delete("b", &Key::new("", "owner"), owner).unwrap();
        assert_eq!(store.orphans(), [("b".to_owned(), Key::new("", "child"))]);
    }
}

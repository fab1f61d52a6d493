//! What happens by itself, a little later: objects whose owners are gone, deletions that wait for others.
//!
//! One task, woken by changes, at most a few times a second. It does what the garbage collector and the
//! namespace and CRD controllers of a real cluster do:
//! - objects all of whose owners (by UID) are gone are deleted;
//! - `foregroundDeletion` waits for dependents, `orphan` cuts them loose;
//! - a namespace goes after its contents, a CRD after its objects.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::app::{App, closed};
use crate::builtin::{CRDS, EXTENSIONS};
use crate::delete::{FOREGROUND, ORPHAN, Options, delete_one};
use crate::object::{self, drop_finalizer, set_meta};
use crate::resource::Resource;
use crate::status::ApiError;
use crate::store::{Key, Object, Place};
use crate::strategy::CRD_FINALIZER;

/// The least time between two rounds.
const PAUSE: Duration = Duration::from_millis(200);

/// Runs until the server closes.
pub(crate) async fn run(app: Arc<App>) {
    let mut moved = app.store.subscribe_all();
    let mut closing = app.closing.subscribe();
    loop {
        tokio::select! {
            result = moved.changed() => if result.is_err() { return },
            () = closed(&mut closing) => return,
        }
        tokio::time::sleep(PAUSE).await;
        moved.mark_unchanged();
        round(&app);
    }
}

fn round(app: &App) {
    for place in app.store.orphans() {
        delete(app, &place);
    }
    for (place, object) in app.store.terminating() {
        let Some(resource) = app.registry().stored_in(&place.0) else { continue };
        let done = finish(app, &resource, &object);
        if let Err(error) = done {
            tracing::debug!(resource = %resource.qualified(), name = %place.1.name, %error, "left for the next round");
        }
    }
}

/// Takes one waiting deletion as far as it goes now.
fn finish(app: &App, resource: &Resource, object: &Object) -> Result<(), ApiError> {
    let finalizers = object::finalizers(&object.value);
    let dependents = app.store.dependents(object::uid(&object.value));
    if finalizers.contains(&ORPHAN) {
        dependents.iter().for_each(|place| cut_loose(app, place, object::uid(&object.value)));
        if app.store.dependents(object::uid(&object.value)).is_empty() {
            return release(app, resource, object, |value| drop_finalizer(value, ORPHAN));
        }
    }
    if finalizers.contains(&FOREGROUND) {
        dependents.iter().for_each(|place| delete(app, place));
        if app.store.dependents(object::uid(&object.value)).is_empty() {
            return release(app, resource, object, |value| drop_finalizer(value, FOREGROUND));
        }
    }
    if resource.is("", "namespaces") {
        let contents = app.store.contents(object::name(&object.value));
        contents.iter().for_each(|place| delete(app, place));
        if app.store.contents(object::name(&object.value)).is_empty() {
            return release(app, resource, object, |value| {
                crate::object::set_field(value, "spec", Some(Value::Object(serde_json::Map::new())));
            });
        }
    }
    if resource.is(EXTENSIONS, CRDS) && finalizers.contains(&CRD_FINALIZER) {
        let bucket = object::name(&object.value);
        let objects = |app: &App| match app.store.list(bucket, None, None) {
            Ok(snapshot) => snapshot.objects.iter().map(|o| (bucket.to_owned(), Key::of(&o.value))).collect(),
            Err(_) => Vec::new(),
        };
        objects(app).iter().for_each(|place| delete(app, place));
        if objects(app).is_empty() {
            return release(app, resource, object, |value| drop_finalizer(value, CRD_FINALIZER));
        }
    }
    Ok(())
}

/// Takes away what holds an object, and the object if that was the last.
fn release(
    app: &App,
    resource: &Resource,
    object: &Object,
    change: impl Fn(&mut Value),
) -> Result<(), ApiError> {
    let mut value = object.value.clone();
    change(&mut value);
    let name = object::name(&value).to_owned();
    if app.store.replace(&resource.bucket, object.revision, value, resource.shape).is_err() {
        return Err(ApiError::stale(resource, &name));
    }
    let key = Key::of(&object.value);
    let options = Options::of(object::uid(&object.value));
    delete_one(app, resource, &key, &options).map(|_| ())
}

fn delete(app: &App, place: &Place) {
    let (bucket, key) = place;
    let Some(resource) = app.registry().stored_in(bucket) else { return };
    let Some(object) = app.store.get(bucket, key) else { return };
    let options = Options::of(object::uid(&object.value));
    if let Err(error) = delete_one(app, &resource, key, &options) {
        tracing::debug!(resource = %resource.qualified(), name = %key.name, %error, "not collected");
    }
}

fn cut_loose(app: &App, place: &Place, owner: &str) {
    let (bucket, key) = place;
    let (Some(resource), Some(object)) = (app.registry().stored_in(bucket), app.store.get(bucket, key))
    else {
        return;
    };
    let mut value = object.value.clone();
    let owners = value.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let left: Vec<Value> = owners.into_iter().flatten().filter(|o| o["uid"] != owner).cloned().collect();
    set_meta(&mut value, "ownerReferences", (!left.is_empty()).then_some(Value::Array(left)));
    if app.store.replace(bucket, object.revision, value, resource.shape).is_err() {
        tracing::debug!(name = %key.name, "changed meanwhile, its owner is cut off in the next round");
    }
}

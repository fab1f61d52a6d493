//! DELETE: objects and collections, with preconditions, grace, finalizers and propagation.

use std::sync::Arc;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::app::{App, Call, Reply};
use crate::builtin::{CRDS, EXTENSIONS};
use crate::convert;
use crate::object::{self, set_meta};
use crate::query::Query;
use crate::resource::Resource;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::{Key, Object, WriteError};
use crate::strategy;

/// Dependents go first, then the object.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";
/// Dependents lose this owner, then the object goes.
pub(crate) const ORPHAN: &str = "orphan";
/// Namespaces that cannot be deleted.
const ETERNAL: [&str; 3] = ["default", "kube-system", "kube-public"];
const MOST_TRIES: usize = 20;

/// What must be true of an object for it to be deleted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Preconditions {
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
}

/// `DeleteOptions`, as far as they are known here.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Options {
    grace_period_seconds: Option<i64>,
    propagation_policy: Option<String>,
    orphan_dependents: Option<bool>,
    pub(crate) preconditions: Option<Preconditions>,
    dry_run: Vec<String>,
}

impl Options {
    /// From the body, else from the query.
    pub(crate) fn parse(body: Option<Value>, query: &Query) -> Result<Self, ApiError> {
        let mut options: Options = match body {
            Some(body) => serde_json::from_value(body)
                .map_err(|error| ApiError::bad_request(format!("cannot decode DeleteOptions: {error}")))?,
            None => Options::default(),
        };
        if let Some(seconds) = query.number("gracePeriodSeconds")? {
            options.grace_period_seconds = i64::try_from(seconds).ok();
        }
        if let Some(policy) = query.get("propagationPolicy") {
            options.propagation_policy = Some(policy.to_owned());
        }
        if query.dry_run()? {
            options.dry_run.push("All".into());
        }
        let known = ["Background", "Foreground", "Orphan"];
        if let Some(policy) = options.propagation_policy.as_deref().filter(|policy| !known.contains(policy)) {
            return Err(ApiError::bad_request(format!(
                "propagationPolicy {policy:?}: supported values: \"Background\", \"Foreground\", \"Orphan\""
            )));
        }
        Ok(options)
    }

    /// The deletion of exactly this object, and of nothing that took its name.
    pub(crate) fn of(uid: &str) -> Self {
        let preconditions = Preconditions { uid: Some(uid.to_owned()), resource_version: None };
        Self { preconditions: Some(preconditions), ..Self::default() }
    }

    fn finalizer(&self) -> Option<&'static str> {
        match self.propagation_policy.as_deref() {
            Some("Foreground") => Some(FOREGROUND),
            Some("Orphan") => Some(ORPHAN),
            None if self.orphan_dependents == Some(true) => Some(ORPHAN),
            _ => None,
        }
    }
}

/// What came of a deletion.
pub(crate) struct Deleted {
    pub(crate) object: Arc<Object>,
    /// False while finalizers or a grace period hold it.
    pub(crate) gone: bool,
}

/// DELETE of one object.
pub(crate) fn delete(call: &Call<'_>, options: &Options) -> Result<Reply, ApiError> {
    let resource = &call.resource;
    let deleted = delete_one(call.app, resource, &call.key(), options)?;
    if !deleted.gone || resource.traits.returns_deleted {
        return Ok(call.show(StatusCode::OK, &deleted.object));
    }
    let object = &deleted.object.value;
    Ok(Reply::json(&json!({
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {
            "name": object::name(object),
            "group": resource.group,
            "kind": resource.plural,
            "uid": object::uid(object),
        },
    })))
}

/// DELETE of everything in a collection that the selectors select.
pub(crate) fn delete_collection(call: &Call<'_>, options: &Options) -> Result<Reply, ApiError> {
    let (app, resource) = (call.app, &call.resource);
    let selector = Selector::parse(&call.query, resource)?;
    let namespace = call.target.namespace.as_deref().filter(|_| resource.namespaced);
    let snapshot = app.store.list(&resource.bucket, namespace, None);
    let snapshot = snapshot.map_err(|_| ApiError::internal("the current state is always known"))?;
    let mut deleted = Vec::new();
    for object in snapshot.objects {
        if !selector.matches(&convert::to_version(resource, &object)) {
            continue;
        }
        match delete_one(app, resource, &Key::of(&object.value), options) {
            Ok(one) => deleted.push(one.object),
            // Somebody else deleted it: that is what was asked for.
            Err(error) if error.code == StatusCode::NOT_FOUND => {}
            Err(error) => return Err(error),
        }
    }
    let meta = json!({"resourceVersion": app.store.revision().to_string()});
    Ok(Reply::new(StatusCode::OK, call.rendering.list(resource, &meta, &deleted)))
}

/// Deletes one object, or marks it to be deleted.
pub(crate) fn delete_one(
    app: &App,
    resource: &Resource,
    key: &Key,
    options: &Options,
) -> Result<Deleted, ApiError> {
    if resource.is("", "namespaces") && ETERNAL.contains(&key.name.as_str()) {
        return Err(ApiError::forbidden(resource, &key.name, "this namespace may not be deleted"));
    }
    for _ in 0..MOST_TRIES {
        let current = app.store.get(&resource.bucket, key);
        let current = current.ok_or_else(|| ApiError::not_found(resource, &key.name))?;
        check(resource, &current, options)?;
        let marked = mark(resource, &current.value, options);
        let grace = marked.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
        let held = !object::finalizers(&marked).is_empty()
            || grace.unwrap_or_default() > 0
            || strategy::held_by_spec(resource, &marked);
        if options.dry_run.iter().any(|all| all == "All") || held && marked == current.value {
            return Ok(Deleted { object: current, gone: !held });
        }
        let written = if held {
            app.store.replace(&resource.bucket, current.revision, marked, resource.shape)
        } else {
            app.store.delete(&resource.bucket, key, current.revision)
        };
        match written {
            Ok(object) => {
                if !held && resource.is(EXTENSIONS, CRDS) {
                    crate::create::serve(app, &object.value, Vec::new());
                }
                return Ok(Deleted { object, gone: !held });
            }
            Err(WriteError::Missing) => return Err(ApiError::not_found(resource, &key.name)),
            Err(WriteError::Changed | WriteError::Exists) => {}
        }
    }
    Err(ApiError::stale(resource, &key.name))
}

fn check(resource: &Resource, current: &Object, options: &Options) -> Result<(), ApiError> {
    let Some(conditions) = &options.preconditions else { return Ok(()) };
    let name = object::name(&current.value);
    let refuse = |what: &str, wanted: &str, found: &str| {
        let why =
            format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {found}");
        Err(ApiError::conflict(resource, name, &why))
    };
    let (uid, revision) = (object::uid(&current.value), current.revision.to_string());
    match (&conditions.uid, &conditions.resource_version) {
        (Some(wanted), _) if wanted != uid => refuse("UID", wanted, uid),
        (_, Some(wanted)) if *wanted != revision => refuse("ResourceVersion", wanted, &revision),
        _ => Ok(()),
    }
}

/// The object as one that is being deleted.
fn mark(resource: &Resource, current: &Value, options: &Options) -> Value {
    let mut object = current.clone();
    let grace = grace(resource, current, options);
    if object::is_terminating(current) {
        let before = current.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64);
        if before.is_some_and(|before| grace < before) {
            set_meta(&mut object, "deletionGracePeriodSeconds", Some(json!(grace)));
            set_meta(&mut object, "deletionTimestamp", Some(deadline(grace)));
        }
        return object;
    }
    set_meta(&mut object, "deletionTimestamp", Some(deadline(grace)));
    set_meta(&mut object, "deletionGracePeriodSeconds", Some(json!(grace)));
    if object::generation(current) > 0 {
        set_meta(&mut object, "generation", Some(json!(object::generation(current) + 1)));
    }
    if let Some(finalizer) = options.finalizer() {
        let mut finalizers = object::finalizers(current);
        if !finalizers.contains(&finalizer) {
            finalizers.push(finalizer);
        }
        let finalizers = json!(finalizers);
        set_meta(&mut object, "finalizers", Some(finalizers));
    }
    if resource.is("", "namespaces") {
        object["status"]["phase"] = "Terminating".into();
    }
    object
}

/// Seconds that a kubelet has to end a Pod; it then deletes it with none.
fn grace(resource: &Resource, object: &Value, options: &Options) -> i64 {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let running = resource.is("", "pods")
        && !text("/spec/nodeName").is_empty()
        && !matches!(text("/status/phase"), "Succeeded" | "Failed");
    if !running {
        return 0;
    }
    const DEFAULT: i64 = 30;
    let declared = object.pointer("/spec/terminationGracePeriodSeconds").and_then(Value::as_i64);
    options.grace_period_seconds.or(declared).unwrap_or(DEFAULT).max(0)
}

fn deadline(grace: i64) -> Value {
    let when = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(grace);
    Value::from(when.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

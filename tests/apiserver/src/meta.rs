//! The envelope of objects: what a server sets, what it refuses, what an update may not change.

use serde_json::{Value, json};

use crate::field::{Cause, FieldError, child, item};
use crate::names::{dns_subdomain, label_value, new_uid, qualified_name};
use crate::object::{self, set_meta};
use crate::resource::Resource;
use crate::status::ApiError;

/// All annotations of an object together, keys and values.
const MOST_ANNOTATION_BYTES: usize = 256 * 1024;
/// Finalizers that need no domain.
const STANDARD_FINALIZERS: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];

/// Sets what a new object gets from the server.
pub(crate) fn begin(resource: &Resource, object: &mut Value) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion"] {
        set_meta(object, field, None);
    }
    set_meta(object, "uid", Some(new_uid().into()));
    set_meta(object, "creationTimestamp", Some(object::now()));
    set_meta(object, "generation", resource.traits.counts_generations.then(|| json!(1)));
    if !resource.namespaced {
        set_meta(object, "namespace", None);
    }
}

/// Carries over what an update cannot change; refuses what it tries to.
pub(crate) fn carry_over(old: &Value, new: &mut Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let created = object::meta(new, "creationTimestamp");
    if !created.is_empty() && created != object::meta(old, "creationTimestamp") {
        let path = "metadata.creationTimestamp";
        errors.push(FieldError::invalid(path, &Value::from(created), "field is immutable"));
    }
    if object::is_terminating(old) {
        let known = object::finalizers(old);
        let added: Vec<&str> =
            object::finalizers(new).into_iter().filter(|name| !known.contains(name)).collect();
        if !added.is_empty() {
            let detail =
                format!("no new finalizers can be added if the object is being deleted, found {added:?}");
            errors.push(FieldError::forbidden("metadata.finalizers", detail));
        }
    }
    for field in [
        "uid",
        "name",
        "namespace",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
        "resourceVersion",
        "generateName",
    ] {
        let value = old.get("metadata").and_then(|meta| meta.get(field)).cloned();
        set_meta(new, field, value);
    }
    errors
}

/// Checks the namespace of the body against that of the path, and sets it.
pub(crate) fn place(
    resource: &Resource,
    object: &mut Value,
    namespace: Option<&str>,
) -> Result<(), ApiError> {
    let Some(namespace) = namespace.filter(|_| resource.namespaced) else { return Ok(()) };
    let found = object::namespace(object);
    if !found.is_empty() && found != namespace {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(ApiError::bad_request(message));
    }
    set_meta(object, "namespace", Some(namespace.into()));
    Ok(())
}

/// Names, labels, annotations, owners, finalizers.
pub(crate) fn validate(resource: &Resource, object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mut refuse = |path: &str, value: &str, why: String| {
        errors.push(FieldError::invalid(path, &Value::from(value), why));
    };
    let name = object::name(object);
    if name.is_empty() {
        errors.push(FieldError::new(Cause::Required, "metadata.name", "name or generateName is required"));
    } else if let Err(why) = resource.traits.name_rule.check(name) {
        refuse("metadata.name", name, why);
    }
    let map = |field: &str| object.get("metadata")?.get(field)?.as_object();
    for (key, value) in map("labels").into_iter().flatten() {
        let (path, value) = ("metadata.labels", value.as_str().unwrap_or_default());
        if let Err(why) = qualified_name(key) {
            errors.push(FieldError::invalid(path, &Value::from(key.as_str()), why));
        }
        if let Err(why) = label_value(value) {
            errors.push(FieldError::invalid(path, &Value::from(value), why));
        }
    }
    let mut bytes = 0;
    for (key, value) in map("annotations").into_iter().flatten() {
        bytes += key.len() + value.as_str().unwrap_or_default().len();
        if let Err(why) = qualified_name(&key.to_lowercase()) {
            errors.push(FieldError::invalid("metadata.annotations", &Value::from(key.as_str()), why));
        }
    }
    if bytes > MOST_ANNOTATION_BYTES {
        let detail = format!("may not be more than {MOST_ANNOTATION_BYTES} bytes");
        errors.push(FieldError::new(Cause::TooLong, "metadata.annotations", detail));
    }
    for finalizer in object::finalizers(object) {
        let standard = STANDARD_FINALIZERS.contains(&finalizer);
        let why = match qualified_name(finalizer) {
            Err(why) => why,
            Ok(()) if standard || finalizer.contains('/') || dns_subdomain_with_dot(finalizer) => continue,
            Ok(()) => "name is neither a standard finalizer name nor is it fully qualified".into(),
        };
        errors.push(FieldError::invalid("metadata.finalizers", &Value::from(finalizer), why));
    }
    owners(object, &mut errors);
    errors
}

/// CRDs carry `customresourcecleanup.apiextensions.k8s.io`: qualified by its own domain.
fn dns_subdomain_with_dot(name: &str) -> bool {
    name.contains('.') && dns_subdomain(name).is_ok()
}

fn owners(object: &Value, errors: &mut Vec<FieldError>) {
    let owners = object.pointer("/metadata/ownerReferences").and_then(Value::as_array);
    let owners = owners.map(Vec::as_slice).unwrap_or_default();
    for (index, owner) in owners.iter().enumerate() {
        let path = item("metadata.ownerReferences", index);
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.get(field).and_then(Value::as_str).unwrap_or_default().is_empty() {
                errors.push(FieldError::new(Cause::Required, child(&path, field), "must not be empty"));
            }
        }
    }
    if owners.iter().filter(|owner| owner["controller"] == true).count() > 1 {
        let detail = "only one reference can have Controller set to true";
        errors.push(FieldError::new(Cause::Invalid, "metadata.ownerReferences", detail));
    }
}

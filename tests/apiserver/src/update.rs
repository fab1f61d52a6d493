//! PUT and PATCH: changes of objects.

use std::sync::Arc;

use hyper::StatusCode;
use serde_json::Value;

use crate::app::{Call, Reply};
use crate::apply::{self, Recording};
use crate::convert;
use crate::create;
use crate::decode::{self, Decoded, Strictness, decode};
use crate::field::FieldError;
use crate::meta;
use crate::object;
use crate::patch::Patch;
use crate::resource::Resource;
use crate::status::ApiError;
use crate::store::{Key, Object, WriteError};
use crate::strategy::{self, Part};

/// How often a write that depends on nothing is tried again when others are faster.
const MOST_TRIES: usize = 20;

/// PUT: the whole object, or its status.
pub(crate) fn replace(call: &Call<'_>, part: Part, object: &Value) -> Result<Reply, ApiError> {
    let resource = &*call.resource;
    let missing = call.app.store.get(&resource.bucket, &call.key()).is_none();
    if missing && part == Part::Main && resource.traits.create_on_update {
        check_name(call, object)?;
        return create::create(call, object.clone());
    }
    let conditional = !object::revision(object).is_empty();
    if !conditional && !resource.traits.unconditional_update {
        call.current()?;
        let detail = "must be specified for an update";
        let error = FieldError::new(crate::field::Cause::Invalid, "metadata.resourceVersion", detail);
        return Err(ApiError::invalid(resource, &call.key().name, &[error.with_value(&Value::from(0))]));
    }
    change(call, part, Recording::Write, |_| Ok(object.clone()))
}

/// PATCH: a change to what is there.
pub(crate) fn patch(call: &Call<'_>, part: Part, patch: &Patch) -> Result<Reply, ApiError> {
    change(call, part, Recording::Write, |current| patch.apply(&call.resource, current))
}

/// PATCH by server-side apply: what the writer wants, in an object that need not exist.
pub(crate) fn apply(call: &Call<'_>, part: Part, config: &Value) -> Result<Reply, ApiError> {
    call.writer.may_apply()?;
    if config.pointer("/metadata/managedFields").is_some_and(|record| !record.is_null()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let resource = &*call.resource;
    let mut config = config.clone();
    if object::name(&config).is_empty() {
        object::set_meta(&mut config, "name", call.target.name.as_deref().map(Value::from));
    }
    let Decoded { object: config, warnings } =
        decode::known(resource, config, Strictness::parse(&call.query)?)?;
    check_name(call, &config)?;
    let missing = call.app.store.get(&resource.bucket, &call.key()).is_none();
    if !missing || part == Part::Status {
        let make = |current: &Value| apply::apply(resource, part, Some(current), &config, &call.writer);
        return change(call, part, Recording::Done, make).map(|reply| reply.with_more_warnings(warnings));
    }
    if !object::uid(&config).is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {}, and no existing object was found",
            object::uid(&config)
        );
        return Err(ApiError::conflict(resource, object::name(&config), &why));
    }
    let object = apply::apply(resource, part, None, &config, &call.writer)?;
    create::create_applied(call, object).map(|reply| reply.with_more_warnings(warnings))
}

fn change(
    call: &Call<'_>,
    part: Part,
    recording: Recording,
    make: impl Fn(&Value) -> Result<Value, ApiError>,
) -> Result<Reply, ApiError> {
    let (app, resource) = (call.app, &*call.resource);
    for _ in 0..MOST_TRIES {
        let current = call.current()?;
        let made = make(&convert::to_version(resource, &current))?;
        check_name(call, &made)?;
        let Decoded { object: mut new, warnings } = decode(resource, made, Strictness::parse(&call.query)?)?;
        meta::place(resource, &mut new, call.target.namespace.as_deref())?;
        preconditions(resource, &current, &new)?;
        let declared = apply::take(&mut new);
        let defines = merge(resource, part, &current.value, &mut new)?;
        let record = match recording {
            Recording::Done => declared,
            Recording::Write => {
                let old = Some(&current.value);
                apply::after_write(resource, part, old, &new, declared, &call.writer)
            }
        };
        apply::put(&mut new, record);
        if new == current.value {
            return Ok(call.show(StatusCode::OK, &current).with_warnings(warnings));
        }
        if new.to_string().len() > app.options.body_limit {
            return Err(ApiError::too_large(app.options.body_limit));
        }
        if call.query.dry_run()? {
            return Ok(call.show_unstored(StatusCode::OK, new).with_warnings(warnings));
        }
        match write(call, &current, new) {
            Ok(stored) => {
                if let Some(defined) = defines {
                    create::serve(app, &stored.value, defined);
                }
                return Ok(call.show(StatusCode::OK, &stored).with_warnings(warnings));
            }
            // A condition on the revision fails in the next round.
            Err(WriteError::Changed) => {}
            Err(WriteError::Missing | WriteError::Exists) => {
                return Err(ApiError::not_found(resource, &call.key().name));
            }
        }
    }
    Err(ApiError::stale(resource, &call.key().name))
}

/// Writes, or deletes if this was the last thing that a deletion waited for.
fn write(call: &Call<'_>, current: &Object, new: Value) -> Result<Arc<Object>, WriteError> {
    let (store, resource) = (&call.app.store, &*call.resource);
    let grace =
        new.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64).unwrap_or_default();
    let done = object::is_terminating(&new)
        && object::finalizers(&new).is_empty()
        && grace == 0
        && !strategy::held_by_spec(resource, &new);
    if !done {
        return store.replace(&resource.bucket, current.revision, new, resource.shape);
    }
    let gone = store.delete(&resource.bucket, &Key::of(&new), current.revision)?;
    let json = bytes::Bytes::from(new.to_string());
    Ok(Arc::new(Object { revision: gone.revision, shape: gone.shape, value: new, json }))
}

fn check_name(call: &Call<'_>, object: &Value) -> Result<(), ApiError> {
    let (found, wanted) = (object::name(object), call.target.name.as_deref().unwrap_or_default());
    if found == wanted {
        return Ok(());
    }
    let message = format!("the name of the object ({found}) does not match the name on the URL ({wanted})");
    Err(ApiError::bad_request(message))
}

/// `resourceVersion` and `uid` in the object are conditions on what is stored.
fn preconditions(resource: &Resource, current: &Object, new: &Value) -> Result<(), ApiError> {
    let name = object::name(&current.value);
    let revision = object::revision(new);
    if !revision.is_empty() && revision != current.revision.to_string() {
        if revision.parse::<u64>().is_err() {
            let path = "metadata.resourceVersion";
            let error = FieldError::invalid(path, &Value::from(revision), "not a resource version");
            return Err(ApiError::invalid(resource, name, &[error]));
        }
        return Err(ApiError::stale(resource, name));
    }
    let (uid, found) = (object::uid(new), object::uid(&current.value));
    if !uid.is_empty() && uid != found {
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {found}");
        return Err(ApiError::conflict(resource, name, &why));
    }
    Ok(())
}

/// Makes of the new object what would be stored, and validates it.
fn merge(
    resource: &Resource,
    part: Part,
    old: &Value,
    new: &mut Value,
) -> Result<Option<Vec<Resource>>, ApiError> {
    let mut errors = meta::carry_over(old, new);
    strategy::prepare_update(resource, part, old, new);
    errors.extend(meta::validate(resource, new));
    errors.extend(resource.schema.validate(new, Some(old)));
    if part == Part::Main {
        errors.extend(strategy::validate_update(resource, old, new));
    }
    // An unchanged CRD is not compiled again.
    let changed = resource.custom || old.get("spec") != new.get("spec");
    let defines = if changed { create::definitions(resource, new, &mut errors) } else { None };
    if errors.is_empty() { Ok(defines) } else { Err(ApiError::invalid(resource, object::name(old), &errors)) }
}

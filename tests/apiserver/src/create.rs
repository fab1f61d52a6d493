//! POST: new objects.

use hyper::StatusCode;
use serde_json::Value;

use crate::app::{App, Call, Reply};
use crate::apply::{self, Recording};
use crate::builtin::{CRDS, EXTENSIONS};
use crate::crd;
use crate::decode::{Decoded, Strictness, decode};
use crate::meta;
use crate::names;
use crate::object::{self, set_meta};
use crate::resource::Resource;
use crate::status::ApiError;
use crate::store::{Key, WriteError};
use crate::strategy::{self, Part};

/// How often a taken generated name is replaced by another one.
const MOST_NAMES: usize = 8;

/// Creates an object in the collection that the path names.
pub(crate) fn create(call: &Call<'_>, object: Value) -> Result<Reply, ApiError> {
    make(call, object, Recording::Write)
}

/// Creates what is applied and is not there yet. Its record is in it.
pub(crate) fn create_applied(call: &Call<'_>, object: Value) -> Result<Reply, ApiError> {
    make(call, object, Recording::Done)
}

fn make(call: &Call<'_>, object: Value, recording: Recording) -> Result<Reply, ApiError> {
    let (app, resource) = (call.app, &*call.resource);
    let Decoded { mut object, warnings } = decode(resource, object, Strictness::parse(&call.query)?)?;
    if !object::revision(&object).is_empty() {
        return Err(ApiError::bad_request("resourceVersion should not be set on objects to be created"));
    }
    meta::place(resource, &mut object, call.target.namespace.as_deref())?;
    let base = object::meta(&object, "generateName").to_owned();
    let generate = object::name(&object).is_empty() && !base.is_empty();
    let declared = apply::take(&mut object);
    meta::begin(resource, &mut object);
    for attempt in 1.. {
        if generate {
            set_meta(&mut object, "name", Some(names::generated(&base).into()));
        }
        strategy::prepare_create(resource, &mut object);
        let record = match recording {
            Recording::Done => declared.clone(),
            Recording::Write => {
                apply::after_write(resource, Part::Main, None, &object, declared.clone(), &call.writer)
            }
        };
        apply::put(&mut object, record);
        let defines = validate(resource, &object)?;
        namespace_is_open(app, resource, object::namespace(&object))?;
        let name = object::name(&object).to_owned();
        if call.query.dry_run()? {
            if app.store.get(&resource.bucket, &Key::of(&object)).is_some() {
                return Err(ApiError::already_exists(resource, &name));
            }
            return Ok(call.show_unstored(StatusCode::CREATED, object).with_warnings(warnings));
        }
        match app.store.create(&resource.bucket, object.clone(), resource.shape) {
            Ok(stored) => {
                if let Some(defined) = defines {
                    serve(app, &stored.value, defined);
                }
                return Ok(call.show(StatusCode::CREATED, &stored).with_warnings(warnings));
            }
            Err(WriteError::Exists) if generate && attempt < MOST_NAMES => {}
            Err(_) => return Err(ApiError::already_exists(resource, &name)),
        }
    }
    unreachable!("the loop ends by returning")
}

/// Checks everything about a new object; for a CRD returns what it defines.
fn validate(resource: &Resource, object: &Value) -> Result<Option<Vec<Resource>>, ApiError> {
    let mut errors = meta::validate(resource, object);
    errors.extend(resource.schema.validate(object, None));
    let defines = definitions(resource, object, &mut errors);
    if errors.is_empty() {
        Ok(defines)
    } else {
        Err(ApiError::invalid(resource, object::name(object), &errors))
    }
}

/// What a CRD defines, with what is wrong with it added to `errors`; `None` for other kinds.
pub(crate) fn definitions(
    resource: &Resource,
    object: &Value,
    errors: &mut Vec<crate::field::FieldError>,
) -> Option<Vec<Resource>> {
    if !resource.is(EXTENSIONS, CRDS) {
        return None;
    }
    crd::resources(object).map_err(|more| errors.extend(more)).ok()
}

/// Serves what a CRD defines from now on.
pub(crate) fn serve(app: &App, crd: &Value, defined: Vec<Resource>) {
    let text = |pointer: &str| crd.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    app.serve(text("/spec/group"), text("/spec/names/plural"), defined);
}

/// Objects go only into namespaces that exist and are not on their way out.
fn namespace_is_open(app: &App, resource: &Resource, namespace: &str) -> Result<(), ApiError> {
    if !resource.namespaced {
        return Ok(());
    }
    let Some(namespaces) = app.registry().find("", "v1", "namespaces") else { return Ok(()) };
    let Some(found) = app.store.get(&namespaces.bucket, &Key::new("", namespace)) else {
        return Err(ApiError::not_found(&namespaces, namespace));
    };
    if object::is_terminating(&found.value) {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        return Err(ApiError::forbidden(resource, "", &why));
    }
    Ok(())
}

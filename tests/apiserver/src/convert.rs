//! Between the version an object is stored at and the version it is read at.
//!
//! CRDs convert with strategy `None`: only `apiVersion` differs. The two kinds of Event are one thing under
//! two sets of field names; they are stored in the words of the core group.

use std::borrow::Cow;

use serde_json::Value;

use crate::object::set_field;
use crate::resource::{Conversion, Resource};
use crate::store::Object;

/// Core name, `events.k8s.io` name.
const EVENT_FIELDS: [(&str, &str); 7] = [
    ("involvedObject", "regarding"),
    ("message", "note"),
    ("source", "deprecatedSource"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("count", "deprecatedCount"),
    ("reportingComponent", "reportingController"),
];

/// As it is stored.
pub(crate) fn to_storage(resource: &Resource, object: &mut Value) {
    if resource.conversion == Conversion::Event && !resource.group.is_empty() {
        rename(object, EVENT_FIELDS.into_iter().map(|(core, newer)| (newer, core)));
    }
    if object.get("apiVersion").and_then(Value::as_str) != Some(&resource.storage_version) {
        set_field(object, "apiVersion", Some(resource.storage_version.as_str().into()));
    }
}

/// As it is read at a version: converted, and with the defaults of today.
pub(crate) fn to_version<'a>(resource: &Resource, stored: &'a Object) -> Cow<'a, Value> {
    let same_version = resource.api_version() == resource.storage_version;
    let defaulted = stored.shape == resource.shape || !resource.has_defaults;
    if same_version && defaulted {
        return Cow::Borrowed(&stored.value);
    }
    let mut object = stored.value.clone();
    if resource.conversion == Conversion::Event && !resource.group.is_empty() {
        rename(&mut object, EVENT_FIELDS.into_iter());
    }
    set_field(&mut object, "apiVersion", Some(resource.api_version().into()));
    if !defaulted {
        resource.schema.apply_defaults(&mut object);
    }
    Cow::Owned(object)
}

fn rename<'a>(object: &mut Value, fields: impl Iterator<Item = (&'a str, &'a str)>) {
    let Some(map) = object.as_object_mut() else { return };
    for (from, to) in fields {
        if let Some(value) = map.remove(from) {
            map.insert(to.to_owned(), value);
        }
    }
}

//! In which form objects are shown: whole, their metadata only, or as a table for people.

use bytes::{BufMut as _, Bytes, BytesMut};
use hyper::StatusCode;
use serde_json::{Value, json};

use crate::convert;
use crate::resource::Resource;
use crate::status::ApiError;
use crate::store::Object;
use crate::table::{self, Include};

/// A form, as negotiated by `Accept`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rendering {
    Full,
    Metadata,
    Table(Include),
}

impl Rendering {
    /// The first form in `Accept` that is known here.
    pub(crate) fn negotiate(accept: &str, include_object: Option<&str>) -> Result<Self, ApiError> {
        if accept.trim().is_empty() {
            return Ok(Rendering::Full);
        }
        for offer in accept.split(',') {
            let mut parts = offer.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            if !matches!(media, "application/json" | "application/*" | "*/*") {
                continue;
            }
            let shape = parts.find_map(|part| part.strip_prefix("as="));
            match shape {
                None => return Ok(Rendering::Full),
                Some("Table") => return Ok(Rendering::Table(Include::parse(include_object)?)),
                Some("PartialObjectMetadata" | "PartialObjectMetadataList") => {
                    return Ok(Rendering::Metadata);
                }
                Some(_) => {}
            }
        }
        let message =
            format!("only the following media types are accepted: application/json; asked for: {accept}");
        Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message))
    }

    /// One object.
    pub(crate) fn object(self, resource: &Resource, object: &Object) -> Bytes {
        let view = convert::to_version(resource, object);
        match self {
            Rendering::Full if std::ptr::eq(&raw const *view, &raw const object.value) => object.json.clone(),
            Rendering::Full => view.to_string().into(),
            Rendering::Metadata => partial(&view).to_string().into(),
            Rendering::Table(include) => {
                table::of_objects(resource, &json!({}), &[&view], include).to_string().into()
            }
        }
    }

    /// A list; `meta` is its metadata.
    pub(crate) fn list(self, resource: &Resource, meta: &Value, objects: &[std::sync::Arc<Object>]) -> Bytes {
        if let Rendering::Table(include) = self {
            let views: Vec<_> = objects.iter().map(|object| convert::to_version(resource, object)).collect();
            let views: Vec<&Value> = views.iter().map(|view| &**view).collect();
            return table::of_objects(resource, meta, &views, include).to_string().into();
        }
        let (kind, version) = match self {
            Rendering::Metadata => ("PartialObjectMetadataList".to_owned(), "meta.k8s.io/v1".to_owned()),
            Rendering::Full | Rendering::Table(_) => (resource.list_kind.clone(), resource.api_version()),
        };
        let head = json!({"kind": kind, "apiVersion": version, "metadata": meta}).to_string();
        let mut out =
            BytesMut::with_capacity(head.len() + objects.iter().map(|o| o.json.len() + 1).sum::<usize>());
        out.put_slice(&head.as_bytes()[..head.len() - 1]);
        out.put_slice(b",\"items\":[");
        for (index, object) in objects.iter().enumerate() {
            if index > 0 {
                out.put_u8(b',');
            }
            out.put_slice(&self.object(resource, object));
        }
        out.put_slice(b"]}");
        out.freeze()
    }

    /// A bookmark of a watch.
    pub(crate) fn bookmark(self, resource: &Resource, revision: u64, initial_end: bool) -> Value {
        let mut meta = json!({"resourceVersion": revision.to_string(), "creationTimestamp": null});
        if initial_end {
            meta["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let (kind, version) = match self {
            Rendering::Metadata => ("PartialObjectMetadata".to_owned(), "meta.k8s.io/v1".to_owned()),
            Rendering::Full | Rendering::Table(_) => (resource.kind.clone(), resource.api_version()),
        };
        let bookmark = json!({"kind": kind, "apiVersion": version, "metadata": meta});
        match self {
            Rendering::Table(include) => table::of_objects(resource, &meta, &[&bookmark], include),
            Rendering::Full | Rendering::Metadata => bookmark,
        }
    }
}

/// An object without spec and status.
pub(crate) fn partial(object: &Value) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object.get("metadata"),
    })
}

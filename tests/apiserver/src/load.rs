//! Objects from files: CRDs and whatever a lab begins with.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::app::{App, Call, OURSELVES};
use crate::apply::Writer;
use crate::create;
use crate::object;
use crate::path::Target;
use crate::query::Query;
use crate::render::Rendering;
use crate::status::ApiError;
use crate::strategy::Part;
use crate::update;

/// Why a file could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file or directory cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// What was to be read.
        path: PathBuf,
        /// Why it was not.
        source: std::io::Error,
    },
    /// The file is neither YAML nor JSON.
    #[error("cannot parse {path} as YAML or JSON: {why}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// The parser's words.
        why: String,
    },
    /// An object in the file was refused.
    #[error("{path}: {kind} {name:?} was refused: {why}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// The object's kind.
        kind: String,
        /// The object's name.
        name: String,
        /// The server's words.
        why: String,
    },
}

/// All documents of a YAML (or JSON) text. `yes` and `on` are text, as in Kubernetes.
pub(crate) fn parse_yaml(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

/// The `.yaml`, `.yml` and `.json` files of a directory, in order of their names; a file stands for itself.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, LoadError> {
    let read = |source| LoadError::Read { path: path.to_owned(), source };
    if !std::fs::metadata(path).map_err(read)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(read)? {
        let file = entry.map_err(read)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if matches!(extension, Some("yaml" | "yml" | "json")) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// Creates every object of a file, or brings it to what the file says.
pub(crate) fn load(app: &App, path: &Path) -> Result<usize, LoadError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| LoadError::Read { path: path.to_owned(), source })?;
    let documents = parse_yaml(&text).map_err(|why| LoadError::Parse { path: path.to_owned(), why })?;
    let mut objects = Vec::new();
    for document in documents {
        match document.get("items").and_then(Value::as_array) {
            Some(items) if document["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) => {
                objects.extend(items.iter().cloned());
            }
            _ => objects.push(document),
        }
    }
    for object in &objects {
        apply(app, object).map_err(|error| LoadError::Refused {
            path: path.to_owned(),
            kind: object["kind"].as_str().unwrap_or_default().to_owned(),
            name: object::name(object).to_owned(),
            why: error.message,
        })?;
    }
    Ok(objects.len())
}

fn apply(app: &App, object: &Value) -> Result<(), ApiError> {
    let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
    let resource = app.registry().find_kind(text("apiVersion"), text("kind"));
    let resource = resource.ok_or_else(ApiError::no_route)?;
    let namespace = match object::namespace(object) {
        "" => "default",
        namespace => namespace,
    };
    let target = Target {
        group: resource.group.clone(),
        version: resource.version.clone(),
        namespace: resource.namespaced.then(|| namespace.to_owned()),
        plural: resource.plural.clone(),
        name: Some(object::name(object).to_owned()),
        subresource: None,
    };
    let query = Query::default();
    let writer = Writer::of(&query, OURSELVES);
    let call = Call { app, resource, target, query, rendering: Rendering::Full, writer };
    match create::create(&call, object.clone()) {
        Err(error) if error.reason == "AlreadyExists" => {
            let patch = crate::patch::Patch::Merge(object.clone());
            update::patch(&call, Part::Main, &patch).map(|_| ())
        }
        result => result.map(|_| ()),
    }
}

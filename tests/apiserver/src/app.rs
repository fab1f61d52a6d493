//! What all requests share, and a request on its way to a resource.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use bytes::Bytes;
use hyper::StatusCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use crate::apply::Writer;
use crate::builtin;
use crate::fault::Faults;
use crate::object;
use crate::path::Target;
use crate::query::Query;
use crate::render::Rendering;
use crate::resource::{Registry, Resource};
use crate::server::Options;
use crate::status::ApiError;
use crate::store::{Key, Object, Store};

/// The user agent of what the server itself writes.
pub(crate) const OURSELVES: &str = "caracal-apiserver";

/// The server's state.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) options: Options,
    registry: RwLock<Arc<Registry>>,
    /// What was refused for want of a right: each once.
    pub(crate) refusals: Mutex<BTreeSet<String>>,
    /// Set when everything is to end.
    pub(crate) closing: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(options: Options) -> Self {
        Self {
            store: Store::new(options.history),
            faults: Faults::default(),
            options,
            registry: RwLock::new(Arc::new(builtin::registry())),
            refusals: Mutex::default(),
            closing: watch::Sender::new(false),
        }
    }

    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Serves these versions of a custom resource, in place of those served before.
    pub(crate) fn serve(&self, group: &str, plural: &str, resources: Vec<Resource>) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Registry::clone(&registry);
        next.remove(group, plural);
        resources.into_iter().for_each(|resource| next.add(resource));
        *registry = Arc::new(next);
    }

    /// Creates a namespace that every cluster has.
    pub(crate) fn ensure_namespace(&self, name: &str) -> Result<(), ApiError> {
        let Some(resource) = self.registry().find("", "v1", "namespaces") else { return Ok(()) };
        if self.store.get(&resource.bucket, &Key::new("", name)).is_some() {
            return Ok(());
        }
        let call = Call {
            app: self,
            resource,
            target: Target::default(),
            query: Query::default(),
            rendering: Rendering::Full,
            writer: Writer::of(&Query::default(), OURSELVES),
        };
        let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        crate::create::create(&call, object).map(|_| ())
    }
}

/// A request for a resource that is served.
pub(crate) struct Call<'a> {
    pub(crate) app: &'a App,
    pub(crate) resource: Arc<Resource>,
    pub(crate) target: Target,
    pub(crate) query: Query,
    pub(crate) rendering: Rendering,
    /// Who asks, for the record of who manages what.
    pub(crate) writer: Writer,
}

impl Call<'_> {
    /// The key of the object that the path names.
    pub(crate) fn key(&self) -> Key {
        let namespace = self.target.namespace.as_deref().filter(|_| self.resource.namespaced);
        Key::new(namespace.unwrap_or_default(), self.target.name.as_deref().unwrap_or_default())
    }

    /// The object that the path names.
    pub(crate) fn current(&self) -> Result<Arc<Object>, ApiError> {
        let key = self.key();
        let found = self.app.store.get(&self.resource.bucket, &key);
        found.ok_or_else(|| ApiError::not_found(&self.resource, &key.name))
    }

    /// The answer that shows one object.
    pub(crate) fn show(&self, code: StatusCode, object: &Object) -> Reply {
        Reply::new(code, self.rendering.object(&self.resource, object))
    }

    /// As [`Call::show`], for an object that was not stored.
    pub(crate) fn show_unstored(&self, code: StatusCode, value: Value) -> Reply {
        let revision = object::revision(&value).parse().unwrap_or_default();
        let json = Bytes::from(value.to_string());
        self.show(code, &Object { revision, shape: self.resource.shape, value, json })
    }
}

/// An answer on its way out.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) code: StatusCode,
    pub(crate) body: Body,
    pub(crate) warnings: Vec<String>,
}

/// What an answer carries.
#[derive(Debug)]
pub(crate) enum Body {
    Json(Bytes),
    /// Of another content type.
    Typed(&'static str, Bytes),
    Text(String),
    /// Lines as they come; an error breaks the connection.
    Stream(mpsc::Receiver<Result<Bytes, std::io::Error>>),
}

impl Reply {
    pub(crate) fn new(code: StatusCode, json: Bytes) -> Self {
        Self { code, body: Body::Json(json), warnings: Vec::new() }
    }

    pub(crate) fn json(value: &Value) -> Self {
        Self::new(StatusCode::OK, Bytes::from(value.to_string()))
    }

    pub(crate) fn typed(content_type: &'static str, body: impl Into<Bytes>) -> Self {
        Self { code: StatusCode::OK, body: Body::Typed(content_type, body.into()), warnings: Vec::new() }
    }

    pub(crate) fn text(code: StatusCode, text: impl Into<String>) -> Self {
        Self { code, body: Body::Text(text.into()), warnings: Vec::new() }
    }

    pub(crate) fn with_more_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings.extend(warnings);
        self
    }

    pub(crate) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.warnings = warnings;
        self
    }
}

/// Resolves once the server closes, also when it did so before anybody listened.
pub(crate) async fn closed(closing: &mut watch::Receiver<bool>) {
    // An error says that the server is gone altogether.
    drop(closing.wait_for(|closes| *closes).await);
}

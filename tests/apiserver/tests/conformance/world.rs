//! A server to ask, and how to ask it.

use std::sync::Once;
use std::time::Duration;

use caracal_apiserver::{Options, Server};
use futures::{AsyncBufReadExt as _, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::{HeaderMap, Request};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

/// Nothing a server does takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// The server under test.
pub(crate) struct World {
    pub(crate) client: Client,
    /// Keeps the server up as long as the case runs; `None` if it is not ours.
    _server: Option<Server>,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn reason(&self) -> &str {
        self.body["reason"].as_str().unwrap_or_default()
    }

    /// The body, of an answer that must be this one.
    #[track_caller]
    pub(crate) fn expect(self, code: u16) -> Value {
        assert_eq!(self.code, code, "{:#}", self.body);
        self.body
    }

    /// Checks a refusal.
    #[track_caller]
    pub(crate) fn refused(&self, code: u16, reason: &str) {
        assert_eq!((self.code, self.reason()), (code, reason), "{:#}", self.body);
        assert_eq!(self.body["kind"], "Status", "{:#}", self.body);
    }

    /// Whether a refusal names this field with this reason.
    #[track_caller]
    pub(crate) fn blames(&self, field: &str, reason: &str) {
        self.refused(422, "Invalid");
        let causes = self.body["details"]["causes"].as_array().cloned().unwrap_or_default();
        let found = causes.iter().any(|cause| cause["field"] == field && cause["reason"] == reason);
        assert!(found, "no cause {reason} for {field} in {:#}", self.body);
    }
}

/// A request.
pub(crate) struct Ask<'a> {
    world: &'a World,
    method: &'a str,
    path: String,
    headers: Vec<(&'a str, String)>,
    body: Vec<u8>,
}

impl World {
    pub(crate) async fn open() -> Self {
        Self::open_with(Options::default()).await
    }

    pub(crate) async fn open_with(options: Options) -> Self {
        static PROVIDER: Once = Once::new();
        PROVIDER.call_once(|| {
            rustls::crypto::ring::default_provider()
                .install_default()
                .expect("no provider was installed before");
        });
        let named = std::env::var("CARACAL_CONFORMANCE_URL").ok();
        let (mut config, server) = match named.as_deref() {
            Some("kubeconfig") => (kube::Config::infer().await.unwrap(), None),
            Some(url) => (kube::Config::new(url.parse().unwrap()), None),
            None => {
                let server = Server::start(options).await.unwrap();
                (kube::Config::new(server.url().parse().unwrap()), Some(server))
            }
        };
        // Refusals are what the cases look at.
        config.default_retry = false;
        Self { client: Client::try_from(config).unwrap(), _server: server }
    }

    pub(crate) fn ask<'a>(&'a self, method: &'a str, path: impl Into<String>) -> Ask<'a> {
        Ask { world: self, method, path: path.into(), headers: Vec::new(), body: Vec::new() }
    }

    pub(crate) async fn get(&self, path: impl Into<String>) -> Answer {
        self.ask("GET", path).send().await
    }

    pub(crate) async fn post(&self, path: impl Into<String>, body: &Value) -> Answer {
        self.ask("POST", path).json(body).send().await
    }

    pub(crate) async fn put(&self, path: impl Into<String>, body: &Value) -> Answer {
        self.ask("PUT", path).json(body).send().await
    }

    /// A JSON merge patch.
    pub(crate) async fn merge(&self, path: impl Into<String>, body: &Value) -> Answer {
        self.ask("PATCH", path).json(body).content_type("application/merge-patch+json").send().await
    }

    pub(crate) async fn delete(&self, path: impl Into<String>) -> Answer {
        self.ask("DELETE", path).send().await
    }

    /// A namespace of its own.
    pub(crate) async fn namespace(&self) -> String {
        let body =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"generateName": "conformance-"}});
        let namespace = self.post("/api/v1/namespaces", &body).await.expect(201);
        namespace["metadata"]["name"].as_str().unwrap().to_owned()
    }

    /// A CRD of its own with this schema of the spec; returns the path of its collection and its apiVersion.
    pub(crate) async fn kind(&self, spec: Value) -> Kind {
        self.kind_with(json!({
            "name": "v1", "served": true, "storage": true,
            "subresources": {"status": {}},
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {
                "spec": spec,
                "status": {"type": "object", "properties": {"phase": {"type": "string"}}},
            }}},
        }))
        .await
    }

    pub(crate) async fn kind_with(&self, version: Value) -> Kind {
        let group = format!("t{:08x}.conformance.caracal.dev", rand::random::<u32>());
        let name = format!("widgets.{group}");
        let crd = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": name},
            "spec": {
                "group": group, "scope": "Cluster",
                "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "shortNames": ["wg"]},
                "versions": [version],
            },
        });
        let crds = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        self.post(crds, &crd).await.expect(201);
        let kind = Kind {
            api_version: format!("{group}/v1"),
            crd: format!("{crds}/{name}"),
            collection: format!("/apis/{group}/v1/widgets"),
            group,
        };
        self.until("the kind is served", async || self.get(&kind.collection).await.code == 200).await;
        kind
    }

    /// Waits for a condition.
    pub(crate) async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let reached = async {
            while !condition().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached)
            .await
            .unwrap_or_else(|_| panic!("waited in vain until {what}"));
    }

    /// Opens a watch.
    pub(crate) async fn watch(&self, path_and_query: String) -> Events {
        let request = Request::get(path_and_query).body(Vec::new()).unwrap();
        let lines = self.client.request_stream(request).await.unwrap().lines();
        Events(lines.boxed())
    }
}

/// A kind made for one case.
pub(crate) struct Kind {
    pub(crate) group: String,
    pub(crate) api_version: String,
    /// Path of the CRD.
    pub(crate) crd: String,
    /// Path of the collection.
    pub(crate) collection: String,
}

impl Kind {
    pub(crate) fn object(&self, name: &str, spec: Value) -> Value {
        json!({"apiVersion": self.api_version, "kind": "Widget", "metadata": {"name": name}, "spec": spec})
    }

    pub(crate) fn at(&self, name: &str) -> String {
        format!("{}/{name}", self.collection)
    }
}

impl Ask<'_> {
    pub(crate) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self
    }

    pub(crate) fn text(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub(crate) fn content_type(mut self, value: &str) -> Self {
        self.headers.push(("content-type", value.to_owned()));
        self
    }

    pub(crate) fn accept(mut self, value: &str) -> Self {
        self.headers.push(("accept", value.to_owned()));
        self
    }

    pub(crate) async fn send(self) -> Answer {
        let mut request = Request::builder().method(self.method).uri(&self.path);
        if !self.headers.iter().any(|(name, _)| *name == "content-type") && !self.body.is_empty() {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Body::from(self.body)).unwrap();
        let sent = tokio::time::timeout(PATIENCE, self.world.client.send(request)).await;
        let (parts, body) = sent.expect("an answer in time").unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes).into_owned()));
        Answer { code: parts.status.as_u16(), headers: parts.headers, body }
    }
}

/// The lines of a watch.
pub(crate) struct Events(futures::stream::BoxStream<'static, std::io::Result<String>>);

impl Events {
    /// The next event, but for bookmarks; `None` when the watch has ended.
    pub(crate) async fn next(&mut self) -> Option<Value> {
        loop {
            let event = self.next_of_any_type().await?;
            if event["type"] != "BOOKMARK" {
                return Some(event);
            }
        }
    }

    pub(crate) async fn next_of_any_type(&mut self) -> Option<Value> {
        let line = tokio::time::timeout(PATIENCE, self.0.next()).await.expect("an event in time");
        line.and_then(Result::ok).map(|line| serde_json::from_str(&line).unwrap())
    }

    /// Type and name of the next event.
    pub(crate) async fn next_name(&mut self) -> (String, String) {
        let event = self.next().await.expect("the watch goes on");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        (text(&event["type"]), text(&event["object"]["metadata"]["name"]))
    }
}

/// `(type, name)`, to compare with [`Events::next_name`].
pub(crate) fn event(kind: &str, name: &str) -> (String, String) {
    (kind.to_owned(), name.to_owned())
}

/// A ConfigMap.
pub(crate) fn config_map(name: &str, data: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": data}})
}

//! GET with `watch=true`: what happens, as it happens.
//!
//! A watch is a position in the history of a bucket. It pulls what came after, filters, writes, and waits;
//! there is no queue for a slow client but the socket's, and one that falls behind the kept history gets
//! `410 Gone` as an ERROR event, as from a real server.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::app::{App, Body, Call, Reply, closed};
use crate::convert;
use crate::field::FieldError;
use crate::object::{self, set_meta};
use crate::render::Rendering;
use crate::resource::Resource;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::{Change, ChangeKind, Object};

/// Events on their way to one client.
const IN_FLIGHT: usize = 64;
/// Changes taken from the history at a time.
const BATCH: usize = 256;
/// How long a watch waits for a revision that is yet to come.
const FUTURE: Duration = Duration::from_secs(3);

/// How a watch begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    /// With everything there is, as ADDED; `marked`: then the bookmark that says so.
    State { marked: bool },
    /// With what comes after a revision.
    After(u64),
}

struct Watch {
    app: Arc<App>,
    resource: Arc<Resource>,
    namespace: Option<String>,
    selector: Selector,
    rendering: Rendering,
    bookmarks: bool,
    lines: mpsc::Sender<Result<Bytes, io::Error>>,
}

/// The client is gone.
struct Gone;

/// Begins a watch.
pub(crate) async fn watch(app: &Arc<App>, call: &Call<'_>) -> Result<Reply, ApiError> {
    let (resource, query) = (&call.resource, &call.query);
    let mut selector = Selector::parse(query, resource)?;
    if let Some(name) = &call.target.name {
        selector = selector.with_name(name);
    }
    let revision = query.number("resourceVersion")?;
    let begin = beginning(call, revision)?;
    if let (Some(wanted), Begin::State { .. }) = (revision, begin) {
        reach(app, wanted).await?;
    }
    let asked = query.seconds("timeoutSeconds")?.filter(|asked| !asked.is_zero());
    let longest = app.options.watch_limit.mul_f64(rand::rng().random_range(0.75..1.0));
    let (lines, receiver) = mpsc::channel(IN_FLIGHT);
    let watch = Watch {
        app: app.clone(),
        resource: resource.clone(),
        namespace: call.target.namespace.clone().filter(|_| resource.namespaced),
        selector,
        rendering: call.rendering,
        bookmarks: query.flag("allowWatchBookmarks"),
        lines,
    };
    let end = Instant::now() + asked.map_or(longest, |asked| asked.min(longest));
    tokio::spawn(watch.run(begin, end));
    Ok(Reply { code: StatusCode::OK, body: Body::Stream(receiver), warnings: Vec::new() })
}

fn beginning(call: &Call<'_>, revision: Option<u64>) -> Result<Begin, ApiError> {
    let refuse = |field: &str, detail: &str| {
        let error = FieldError::forbidden(field, detail);
        let message = format!("ListOptions.meta.k8s.io \"\" is invalid: {error}");
        let mut refusal = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
        refusal.details =
            Some(json!({"group": "meta.k8s.io", "kind": "ListOptions", "causes": [error.to_json()]}));
        Err(refusal)
    };
    let rule = call.query.get("resourceVersionMatch");
    match call.query.flag_if_given("sendInitialEvents") {
        Some(send) => match rule {
            Some("NotOlderThan") if send => Ok(Begin::State { marked: true }),
            Some("NotOlderThan") => Ok(Begin::After(match revision {
                None | Some(0) => call.app.store.revision(),
                Some(revision) => revision,
            })),
            _ => refuse(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ),
        },
        None if rule.is_some() => refuse(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        ),
        None => match revision {
            None | Some(0) => Ok(Begin::State { marked: false }),
            Some(revision) => Ok(Begin::After(revision)),
        },
    }
}

/// Waits a little for a revision that another server may have shown the client already.
async fn reach(app: &App, wanted: u64) -> Result<(), ApiError> {
    let mut moved = app.store.subscribe_all();
    let reached = tokio::time::timeout(FUTURE, moved.wait_for(|revision| *revision >= wanted)).await;
    match reached {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(ApiError::from_the_future(wanted, app.store.revision())),
    }
}

impl Watch {
    async fn run(self, begin: Begin, end: Instant) {
        // An error here only says that nobody listens any more.
        if self.stream(begin, end).await.is_err() {
            tracing::trace!(resource = %self.resource.qualified(), "the watcher left");
        }
    }

    async fn stream(&self, begin: Begin, end: Instant) -> Result<(), Gone> {
        let (store, bucket) = (&self.app.store, self.resource.bucket.as_str());
        let mut moved = store.subscribe(bucket);
        let mut cuts = self.app.faults.watch_cuts();
        let mut closing = self.app.closing.subscribe();
        let mut position = match begin {
            Begin::After(revision) => revision,
            Begin::State { marked } => self.state(marked).await?,
        };
        let mut bookmark_at = Instant::now() + self.app.options.bookmark_interval;
        loop {
            moved.mark_unchanged();
            loop {
                match store.changes(bucket, position, BATCH) {
                    Ok((changes, upto)) => {
                        let full = changes.len() == BATCH;
                        for change in &changes {
                            self.tell(change).await?;
                        }
                        position = upto;
                        if !full {
                            break;
                        }
                    }
                    Err(compacted) => {
                        let message = format!("too old resource version: {position} ({})", compacted.oldest);
                        return self
                            .send("ERROR", ApiError::expired(message).to_json().to_string().as_bytes())
                            .await;
                    }
                }
            }
            tokio::select! {
                result = moved.changed() => if result.is_err() { return Ok(()) },
                () = tokio::time::sleep_until(bookmark_at.min(end)) => {
                    bookmark_at = Instant::now() + self.app.options.bookmark_interval;
                    if self.bookmarks {
                        self.bookmark(position, false).await?;
                    }
                    if Instant::now() >= end || !self.is_served() {
                        return Ok(());
                    }
                }
                _ = cuts.changed() => {
                    let cut = io::Error::new(io::ErrorKind::ConnectionReset, "watches were disconnected on demand");
                    return self.lines.send(Err(cut)).await.map_err(|_| Gone);
                }
                () = closed(&mut closing) => return Ok(()),
                () = self.lines.closed() => return Err(Gone),
            }
        }
    }

    /// Everything there is, as ADDED; returns the revision it is of.
    async fn state(&self, marked: bool) -> Result<u64, Gone> {
        let listed = self.app.store.list(&self.resource.bucket, self.namespace.as_deref(), None);
        let Ok(snapshot) = listed else {
            // The current state is never compacted.
            return Err(Gone);
        };
        for object in &snapshot.objects {
            if self.wants(object) {
                self.show("ADDED", object).await?;
            }
        }
        if marked && self.bookmarks {
            self.bookmark(snapshot.revision, true).await?;
        }
        Ok(snapshot.revision)
    }

    /// One change, as this watch sees it: what leaves its selector is deleted for it, what enters is new.
    async fn tell(&self, change: &Change) -> Result<(), Gone> {
        let now = change.kind != ChangeKind::Deleted && self.wants(&change.object);
        let before = change.previous.as_ref().filter(|previous| self.wants(previous));
        match (before, now) {
            (None, true) => self.show("ADDED", &change.object).await,
            (Some(_), true) => self.show("MODIFIED", &change.object).await,
            (Some(previous), false) => {
                // The last state that was wanted, at the revision of its leaving.
                let mut value = previous.value.clone();
                set_meta(&mut value, "resourceVersion", Some(change.revision.to_string().into()));
                let json = Bytes::from(value.to_string());
                let last = Object { revision: change.revision, shape: previous.shape, value, json };
                self.show("DELETED", &last).await
            }
            (None, false) => Ok(()),
        }
    }

    fn wants(&self, object: &Object) -> bool {
        let inside = self.namespace.as_deref().is_none_or(|ns| object::namespace(&object.value) == ns);
        inside
            && (self.selector.is_empty()
                || self.selector.matches(&convert::to_version(&self.resource, object)))
    }

    fn is_served(&self) -> bool {
        let (group, version) = (&self.resource.group, &self.resource.version);
        self.app.registry().find(group, version, &self.resource.plural).is_some()
    }

    async fn show(&self, kind: &str, object: &Object) -> Result<(), Gone> {
        self.send(kind, &self.rendering.object(&self.resource, object)).await
    }

    async fn bookmark(&self, revision: u64, initial_end: bool) -> Result<(), Gone> {
        let bookmark: Value = self.rendering.bookmark(&self.resource, revision, initial_end);
        self.send("BOOKMARK", bookmark.to_string().as_bytes()).await
    }

    async fn send(&self, kind: &str, object: &[u8]) -> Result<(), Gone> {
        let mut line = Vec::with_capacity(object.len() + 40);
        line.extend_from_slice(b"{\"type\":\"");
        line.extend_from_slice(kind.as_bytes());
        line.extend_from_slice(b"\",\"object\":");
        line.extend_from_slice(object);
        line.extend_from_slice(b"}\n");
        self.lines.send(Ok(line.into())).await.map_err(|_| Gone)
    }
}

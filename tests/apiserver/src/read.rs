//! GET: one object, or lists: of now, of the past, in chunks.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::app::{Call, Reply};
use crate::convert;
use crate::field::FieldError;
use crate::query::Query;
use crate::selector::Selector;
use crate::status::ApiError;
use crate::store::{Compacted, Key};

/// GET of one object.
pub(crate) fn get(call: &Call<'_>) -> Result<Reply, ApiError> {
    let object = call.current()?;
    let wanted = call.query.number("resourceVersion")?.unwrap_or_default();
    if wanted > call.app.store.revision() {
        return Err(ApiError::from_the_future(wanted, call.app.store.revision()));
    }
    Ok(call.show(StatusCode::OK, &object))
}

/// Where the next chunk of a list begins: the token in `continue`.
#[derive(Debug, Serialize, Deserialize)]
struct Continue {
    v: String,
    /// The revision of the whole list; negative: whatever is current.
    rv: i64,
    /// The key after which the chunk begins, `namespace/name`.
    start: String,
}

impl Continue {
    const VERSION: &str = "meta.k8s.io/v1";

    fn after(key: &Key, rv: i64) -> String {
        let start = format!("{}/{}\0", key.namespace, key.name);
        let token = json!({"v": Self::VERSION, "rv": rv, "start": start});
        URL_SAFE_NO_PAD.encode(token.to_string())
    }

    fn parse(token: &str) -> Result<Self, ApiError> {
        let decoded = URL_SAFE_NO_PAD.decode(token.trim_end_matches('='));
        let decoded: Option<Continue> = decoded.ok().and_then(|json| serde_json::from_slice(&json).ok());
        let valid = decoded.filter(|token| token.v == Self::VERSION && token.rv != 0);
        valid
            .ok_or_else(|| ApiError::bad_request("continue key is not valid: it was not made by this server"))
    }

    fn key(&self) -> Key {
        let start = self.start.trim_end_matches('\0');
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        Key::new(namespace, name)
    }
}

/// What `resourceVersion` and `resourceVersionMatch` ask of a list.
fn revision_wanted(query: &Query, continuing: bool) -> Result<Option<u64>, ApiError> {
    let refuse = |field: &str, detail: &str| {
        let error = FieldError::forbidden(field, detail);
        let mut refusal = ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            format!("ListOptions.meta.k8s.io \"\" is invalid: {error}"),
        );
        refusal.details =
            Some(json!({"group": "meta.k8s.io", "kind": "ListOptions", "causes": [error.to_json()]}));
        Err(refusal)
    };
    let revision = query.number("resourceVersion")?;
    let rule = query.get("resourceVersionMatch");
    if continuing {
        if revision.is_some_and(|revision| revision > 0) {
            let message = "specifying resource version is not allowed when using continue";
            return Err(ApiError::bad_request(message));
        }
        return match rule {
            Some(_) => {
                refuse("resourceVersionMatch", "resourceVersionMatch is forbidden when continue is provided")
            }
            None => Ok(None),
        };
    }
    match (rule, revision) {
        (Some(_), None) => refuse(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (Some("Exact"), Some(0)) => refuse(
            "resourceVersionMatch",
            "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"",
        ),
        (Some("Exact"), Some(_)) => Ok(revision),
        // A revision with a limit and without a rule is exact, by inheritance.
        (None, Some(wanted)) if wanted > 0 && query.get("limit").is_some() => Ok(Some(wanted)),
        (Some("NotOlderThan") | None, _) => Ok(None),
        (Some(_), _) => refuse("resourceVersionMatch", "supported values: \"Exact\", \"NotOlderThan\""),
    }
}

/// GET of a collection.
pub(crate) fn list(call: &Call<'_>) -> Result<Reply, ApiError> {
    let (store, resource, query) = (&call.app.store, &call.resource, &call.query);
    let selector = Selector::parse(query, resource)?;
    let limit =
        query.number("limit")?.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    let token = query.get("continue").map(Continue::parse).transpose()?;
    let mut at = revision_wanted(query, token.is_some())?;
    let least = query.number("resourceVersion")?.unwrap_or_default().max(at.unwrap_or_default());
    if least > store.revision() {
        return Err(ApiError::from_the_future(least, store.revision()));
    }
    if let Some(token) = &token {
        at = u64::try_from(token.rv).ok();
    }
    let namespace = call.target.namespace.as_deref().filter(|_| resource.namespaced);
    let snapshot = store
        .list(&resource.bucket, namespace, at)
        .map_err(|compacted| expired(compacted, token.as_ref()))?;

    let start = token.as_ref().map(Continue::key);
    let mut objects = snapshot.objects;
    objects.retain(|object| {
        start.as_ref().is_none_or(|start| Key::of(&object.value) > *start)
            && (selector.is_empty() || selector.matches(&convert::to_version(resource, object)))
    });
    let mut meta = json!({"resourceVersion": snapshot.revision.to_string()});
    if let Some(limit) = limit.filter(|limit| *limit < objects.len()) {
        let left = objects.len() - limit;
        objects.truncate(limit);
        if let Some(last) = objects.last() {
            let revision = i64::try_from(snapshot.revision).unwrap_or(i64::MAX);
            meta["continue"] = Continue::after(&Key::of(&last.value), revision).into();
        }
        // With selectors a real server does not know how many are left.
        if selector.is_empty() {
            meta["remainingItemCount"] = left.into();
        }
    }
    Ok(Reply::new(StatusCode::OK, call.rendering.list(resource, &meta, &objects)))
}

fn expired(compacted: Compacted, token: Option<&Continue>) -> ApiError {
    let Some(token) = token else {
        let message = format!(
            "The resourceVersion for the provided list is too old: the oldest is {}",
            compacted.oldest
        );
        return ApiError::expired(message);
    };
    let mut error = ApiError::expired(
        "The provided continue parameter is too old to display a consistent list result. You can start a new list \
         without the continue parameter, or use the continue token in this response to retrieve the remainder of \
         the results: it will not be consistent with what was listed before.",
    );
    error.resume = Some(Continue::after(&token.key(), -1));
    error
}

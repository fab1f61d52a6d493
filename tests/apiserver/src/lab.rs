//! `/lab/…`: the side door, through which tests make trouble.
//!
//! | request | effect |
//! |---|---|
//! | `GET /lab/faults` | the rules at work, with their hits |
//! | `POST /lab/faults` | adds a rule ([`Fault`] as JSON); answers `{"id": n}` |
//! | `DELETE /lab/faults`, `DELETE /lab/faults/{id}` | ends all rules, or one |
//! | `GET /lab/refused` | what was refused for want of a right, each once |
//! | `POST /lab/disconnect` | breaks the connection under every open watch |
//! | `POST /lab/compact` | forgets all history: older revisions are `410 Gone` |
//! | `POST /lab/down[?forMs=n]` | closes the port and every connection, for a time or until `/lab/up` |
//! | `POST /lab/up` | ends that; reached through the control address, because the port is closed |

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use crate::app::{App, Reply};
use crate::fault::Fault;
use crate::query::Query;
use crate::status::ApiError;

/// Handles a request below `/lab`.
pub(crate) async fn handle(
    app: &Arc<App>,
    method: &str,
    path: &str,
    query: &Query,
    body: &Bytes,
) -> Result<Reply, ApiError> {
    let faults = &app.faults;
    let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).skip(1).collect();
    match (method, segments.as_slice()) {
        ("GET", ["faults"]) => return Ok(Reply::json(&json!({"faults": faults.list()}))),
        ("POST", ["faults"]) => {
            let fault: Fault = serde_json::from_slice(body)
                .map_err(|error| ApiError::bad_request(format!("cannot decode the fault: {error}")))?;
            return Ok(Reply::json(&json!({"id": faults.add(fault)})));
        }
        ("DELETE", ["faults"]) => faults.clear(),
        ("DELETE", ["faults", id]) => {
            if !id.parse().is_ok_and(|id| faults.remove(id)) {
                return Err(ApiError::no_route());
            }
        }
        ("GET", ["refused"]) => {
            let refusals = app.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            return Ok(Reply::json(&json!({"refused": &*refusals})));
        }
        ("POST", ["disconnect"]) => faults.disconnect_watches(),
        ("POST", ["compact"]) => app.store.compact(),
        ("POST", ["down"]) => {
            let limit = query.number("forMs")?;
            if limit.is_none() && app.options.control.is_none() {
                let message =
                    "nothing could end this: give forMs, or start the server with a control address";
                return Err(ApiError::bad_request(message));
            }
            let faults = faults.clone();
            tokio::spawn(async move {
                // The answer goes out before the door closes.
                tokio::time::sleep(Duration::from_millis(20)).await;
                faults.down().await;
                if let Some(limit) = limit {
                    tokio::time::sleep(Duration::from_millis(limit)).await;
                    faults.up().await;
                }
            });
        }
        ("POST", ["up"]) => faults.up().await,
        _ => return Err(ApiError::no_route()),
    }
    Ok(Reply::json(&json!({})))
}

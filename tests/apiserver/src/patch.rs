//! PATCH bodies: JSON patch (RFC 6902), JSON merge patch (RFC 7386), strategic merge patch.

use hyper::StatusCode;
use serde_json::Value;

use crate::resource::Resource;
use crate::status::ApiError;
use crate::strategic;

const MOST_OPERATIONS: usize = 10_000;
const ACCEPTED: &str = "application/json-patch+json, application/merge-patch+json, \
                        application/strategic-merge-patch+json, application/apply-patch+yaml";
/// Server-side apply, which is no change to what is there but what is wanted: see [`crate::apply`].
pub(crate) const APPLY: &str = "application/apply-patch+yaml";

/// A parsed patch.
#[derive(Debug)]
pub(crate) enum Patch {
    Json(json_patch::Patch),
    Merge(Value),
    Strategic(Value),
}

impl Patch {
    /// By content type.
    pub(crate) fn parse(content_type: &str, body: Value, resource: &Resource) -> Result<Self, ApiError> {
        match content_type {
            "application/json-patch+json" => {
                let patch: json_patch::Patch = serde_json::from_value(body).map_err(|error| {
                    ApiError::bad_request(format!("cannot decode the JSON patch: {error}"))
                })?;
                if patch.0.len() > MOST_OPERATIONS {
                    let message =
                        format!("The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}");
                    return Err(ApiError::new(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        "RequestEntityTooLarge",
                        message,
                    ));
                }
                Ok(Patch::Json(patch))
            }
            "application/merge-patch+json" if body.is_object() => Ok(Patch::Merge(body)),
            "application/strategic-merge-patch+json" if !resource.custom && body.is_object() => {
                Ok(Patch::Strategic(body))
            }
            "application/merge-patch+json" => Err(ApiError::bad_request("a merge patch must be an object")),
            "application/strategic-merge-patch+json" if !resource.custom => {
                Err(ApiError::bad_request("a strategic merge patch must be an object"))
            }
            other => Err(ApiError::unsupported_media_type(other, ACCEPTED)),
        }
    }

    /// The object after the patch.
    pub(crate) fn apply(&self, resource: &Resource, current: &Value) -> Result<Value, ApiError> {
        let mut object = current.clone();
        match self {
            Patch::Json(patch) => json_patch::patch(&mut object, &patch.0).map_err(|error| {
                let message =
                    format!("the server rejected our request due to an error in our request: {error}");
                let mut refusal = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message);
                refusal.details = Some(serde_json::json!({"group": resource.group, "kind": resource.kind}));
                refusal
            })?,
            Patch::Merge(patch) => json_patch::merge(&mut object, patch),
            Patch::Strategic(patch) => strategic::merge(&mut object, patch),
        }
        Ok(object)
    }
}

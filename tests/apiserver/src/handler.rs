//! One HTTP request: faults, routing, bodies, answers.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, USER_AGENT, WARNING};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode};
use serde_json::Value;

use crate::app::{App, Body, Call, Reply};
use crate::apply::Writer;
use crate::authorize::authorize;
use crate::create;
use crate::delete;
use crate::discovery;
use crate::fault::{Loss, Subject};
use crate::lab;
use crate::load::parse_yaml;
use crate::openapi;
use crate::patch::{APPLY, Patch};
use crate::path::{self, Path, Target};
use crate::protobuf;
use crate::query::Query;
use crate::read;
use crate::render::Rendering;
use crate::status::ApiError;
use crate::strategy::Part;
use crate::update;
use crate::watch;

/// The body of every answer.
pub(crate) type HttpBody = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

/// The connection is to break without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection was broken on demand")]
pub(crate) struct Broken;

/// Which doors a listener opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Door {
    /// The API, and the side door.
    Api,
    /// The side door alone, whatever the faults.
    Control,
}

/// Answers one request.
pub(crate) async fn handle(
    app: Arc<App>,
    from: SocketAddr,
    door: Door,
    request: Request<Incoming>,
) -> Result<Response<HttpBody>, Broken> {
    let (parts, body) = request.into_parts();
    let (path, query) = (parts.uri.path(), Query::parse(parts.uri.query().unwrap_or_default()));
    let side_door = path == "/lab" || path.starts_with("/lab/");
    let mut lose_reply = false;
    if door == Door::Api && !side_door {
        let method = if query.flag("watch") { "WATCH" } else { parts.method.as_str() };
        let subject =
            Subject { method, path, from: from.ip(), user_agent: header(&parts, USER_AGENT.as_str()) };
        let verdict = app.faults.judge(subject);
        if verdict.latency > Duration::ZERO {
            tokio::time::sleep(verdict.latency).await;
        }
        if verdict.hang {
            std::future::pending::<()>().await;
        }
        if verdict.lose == Some(Loss::Request) {
            return Err(Broken);
        }
        lose_reply = verdict.lose == Some(Loss::Reply);
        if let Some((code, retry_after)) = verdict.error {
            return Ok(refusal(&injected(code, retry_after)));
        }
    }
    let result = match collect(&app, body).await {
        Err(error) => Err(error),
        Ok(body) if side_door => lab::handle(&app, parts.method.as_str(), path, &query, &body).await,
        Ok(_) if door == Door::Control => Err(ApiError::no_route()),
        Ok(body) => dispatch(&app, &parts, query, body).await,
    };
    if lose_reply {
        return Err(Broken);
    }
    Ok(match result {
        Ok(reply) => response(reply),
        Err(error) => refusal(&error),
    })
}

fn injected(code: u16, retry_after: Option<u32>) -> ApiError {
    let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let reason = match code {
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "NotFound",
        409 => "Conflict",
        410 => "Expired",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        504 => "Timeout",
        _ => "InternalError",
    };
    let mut error = ApiError::new(status, reason, "refused on demand");
    error.retry_after = retry_after.or((code == 429).then_some(1));
    error
}

/// The whole body. One that is too large is read to its end, within reason: a client that is cut off while it
/// sends does not see the answer.
async fn collect(app: &App, mut body: Incoming) -> Result<Bytes, ApiError> {
    const PATIENCE: usize = 64 << 20;
    let limit = app.options.body_limit;
    let (mut bytes, mut length) = (BytesMut::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            ApiError::bad_request(format!("cannot read the body of the request: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= limit {
            bytes.extend_from_slice(&data);
        } else if length > PATIENCE {
            break;
        }
    }
    if length > limit { Err(ApiError::too_large(limit)) } else { Ok(bytes.freeze()) }
}

async fn dispatch(app: &Arc<App>, parts: &Parts, query: Query, body: Bytes) -> Result<Reply, ApiError> {
    let path = parts.uri.path();
    let registry = app.registry();
    match path::parse(path) {
        Path::CoreVersions | Path::Groups if accepts(parts, discovery::AGGREGATED) => {
            let core = path::parse(path) == Path::CoreVersions;
            let body = discovery::aggregated(&registry, core).to_string();
            Ok(Reply::typed(discovery::AGGREGATED, body))
        }
        Path::CoreVersions => Ok(Reply::json(&discovery::core_versions())),
        Path::Groups => Ok(Reply::json(&discovery::groups(&registry))),
        Path::Group(group) => discovery::group(&registry, &group).map(|group| Reply::json(&group)),
        Path::Resources { group, version } => {
            discovery::resources(&registry, &group, &version).map(|resources| Reply::json(&resources))
        }
        Path::Resource(target) => resource(app, parts, target, query, &body).await,
        Path::Other => match path {
            "/version" | "/version/" => Ok(Reply::json(&discovery::version())),
            "/healthz" | "/livez" | "/readyz" => Ok(Reply::text(StatusCode::OK, "ok")),
            _ if path.starts_with("/openapi/v3") => {
                openapi::v3(&registry, path).map(|document| Reply::json(&document))
            }
            "/openapi/v2" if openapi::V2_ACCEPTED.iter().any(|one| accepts(parts, one)) => {
                let document = openapi::encode_v2(&openapi::v2(&registry));
                Ok(Reply::typed(openapi::V2_PROTOBUF, document))
            }
            "/openapi/v2" => Ok(Reply::json(&openapi::v2(&registry))),
            _ => Ok(Reply::text(StatusCode::NOT_FOUND, "404 page not found\n")),
        },
    }
}

async fn resource(
    app: &Arc<App>,
    parts: &Parts,
    target: Target,
    query: Query,
    body: &Bytes,
) -> Result<Reply, ApiError> {
    // An administrator may ask as somebody else; kubectl sends no token without TLS.
    let user = match header(parts, "impersonate-user") {
        "" => {
            let credentials = header(parts, AUTHORIZATION.as_str());
            // What is no bearer token is nobody's name.
            credentials.strip_prefix("Bearer ").unwrap_or(credentials)
        }
        user => user,
    };
    authorize(app, user, parts.method.as_str(), &target, &query)?;
    let found = app.registry().find(&target.group, &target.version, &target.plural);
    let resource = found.ok_or_else(ApiError::no_route)?;
    let part = match target.subresource.as_deref() {
        None => Part::Main,
        Some("status") if resource.status => Part::Status,
        Some(_) => return Err(ApiError::no_route()),
    };
    if target.namespace.is_some() && !resource.namespaced {
        return Err(ApiError::no_route());
    }
    let rendering = Rendering::negotiate(header(parts, ACCEPT.as_str()), query.get("includeObject"))?;
    let named = target.name.is_some();
    // An object of a namespaced kind is reached only through its namespace.
    let placed = !resource.namespaced || target.namespace.is_some();
    let watching = query.flag("watch") && part == Part::Main;
    let writer = Writer::of(&query, header(parts, USER_AGENT.as_str()));
    let call = Call { app, resource, target, query, rendering, writer };
    match (parts.method.as_str(), named) {
        ("GET", _) if watching => watch::watch(app, &call).await,
        ("GET", false) => read::list(&call),
        ("GET", true) if placed => read::get(&call),
        ("POST", false) if placed => create::create(&call, decoded(parts, body)?),
        ("PUT", true) if placed => update::replace(&call, part, &decoded(parts, body)?),
        ("PATCH", true) if placed && media_type(parts) == APPLY => {
            update::apply(&call, part, &yaml(body).map_err(undecodable)?)
        }
        ("PATCH", true) if placed => {
            let content_type = media_type(parts);
            let patch = serde_json::from_slice(body).unwrap_or(Value::Null);
            let patch = Patch::parse(content_type, patch, &call.resource)?;
            update::patch(&call, part, &patch)
        }
        ("DELETE", true) if placed && part == Part::Main => {
            delete::delete(&call, &delete::Options::parse(optional(parts, body)?, &call.query)?)
        }
        ("DELETE", false) if placed => {
            delete::delete_collection(&call, &delete::Options::parse(optional(parts, body)?, &call.query)?)
        }
        (_, true) if !placed => Err(ApiError::no_route()),
        _ => Err(ApiError::method_not_allowed()),
    }
}

/// Whether the client names this very media type, with its parameters.
fn accepts(parts: &Parts, media_type: &str) -> bool {
    let tight = |text: &str| text.replace(' ', "");
    header(parts, ACCEPT.as_str()).split(',').any(|offer| tight(offer) == media_type)
}

/// The object in a body: JSON, YAML or, for some built-in kinds, protobuf.
fn decoded(parts: &Parts, body: &Bytes) -> Result<Value, ApiError> {
    match media_type(parts) {
        "application/json" | "" => {
            serde_json::from_slice(body).map_err(|error| undecodable(error.to_string()))
        }
        "application/yaml" => yaml(body).map_err(undecodable),
        protobuf::MEDIA_TYPE => protobuf::decode(body).map_err(undecodable),
        other => Err(ApiError::unsupported_media_type(other, "application/json, application/yaml")),
    }
}

fn undecodable(error: String) -> ApiError {
    ApiError::bad_request(format!("cannot decode the body of the request: {error}"))
}

/// One document.
fn yaml(body: &Bytes) -> Result<Value, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let mut documents = parse_yaml(text)?;
    match documents.len() {
        1 => Ok(documents.remove(0)),
        count => Err(format!("{count} YAML documents where one is expected")),
    }
}

fn optional(parts: &Parts, body: &Bytes) -> Result<Option<Value>, ApiError> {
    if body.is_empty() { Ok(None) } else { decoded(parts, body).map(Some) }
}

fn header<'a>(parts: &'a Parts, name: &str) -> &'a str {
    parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// The content type without its parameters.
fn media_type(parts: &Parts) -> &str {
    header(parts, CONTENT_TYPE.as_str()).split(';').next().unwrap_or_default().trim()
}

fn response(reply: Reply) -> Response<HttpBody> {
    let (content_type, body) = match reply.body {
        Body::Json(json) => ("application/json", whole(json)),
        Body::Typed(content_type, bytes) => (content_type, whole(bytes)),
        Body::Text(text) => ("text/plain; charset=utf-8", whole(text.into())),
        Body::Stream(lines) => {
            let lines = tokio_stream::wrappers::ReceiverStream::new(lines);
            let frames = lines.map(|line| line.map(Frame::data));
            ("application/json", StreamBody::new(frames).boxed_unsync())
        }
    };
    let mut response = Response::new(body);
    *response.status_mut() = reply.code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    for warning in reply.warnings {
        // Code 299: miscellaneous, persistent; no agent.
        let text = format!("299 - \"{}\"", warning.replace(['\\', '"'], "'"));
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(WARNING, value);
        }
    }
    response
}

fn refusal(error: &ApiError) -> Response<HttpBody> {
    let mut response = response(Reply::new(error.code, Bytes::from(error.to_json().to_string())));
    if let Some(seconds) = error.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn whole(bytes: Bytes) -> HttpBody {
    Full::new(bytes).map_err(|never: Infallible| match never {}).boxed_unsync()
}

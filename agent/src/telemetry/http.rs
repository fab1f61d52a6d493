//! `/metrics`, `/healthz` and `/readyz` over HTTP, on the node's loopback by default.

use std::net::SocketAddr;

use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::{health, metrics};
use crate::status::StatusSources;

/// Binds the address; serving starts with [`serve`], so that a busy port is told at start.
///
/// # Errors
/// When the address cannot be bound.
pub async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| {
        format!("listening on {address} for metrics and health; choose another with --metrics-listen")
    })
}

/// Serves until the agent ends.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, sources: StatusSources) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(sources);
    axum::serve(listener, router).await.context("serving metrics and health")
}

async fn metrics_page(State(sources): State<StatusSources>) -> Response {
    match metrics::page(&sources.read().await) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Whether the process should be left alone: every part answers.
async fn healthz(State(sources): State<StatusSources>) -> Response {
    match health::alive(&sources).await {
        Ok(()) => "ok\n".into_response(),
        Err(hangs) => (StatusCode::SERVICE_UNAVAILABLE, format!("{hangs}\n")).into_response(),
    }
}

/// Whether the node can take pods. BGP and a full pool do not count: taking the node away helps neither.
async fn readyz(State(sources): State<StatusSources>) -> Response {
    let status = sources.read().await;
    match status.not_ready() {
        None => "ok\n".into_response(),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

//! Trouble on demand, as a client meets it.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use caracal_apiserver::{Fault, Loss, Options, Server};
use http_body_util::BodyExt as _;
use hyper::Request;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::net::TcpStream;

const PATIENCE: Duration = Duration::from_secs(60);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

async fn client(url: &str) -> Client {
    static PROVIDER: std::sync::Once = std::sync::Once::new();
    PROVIDER.call_once(|| {
        rustls::crypto::ring::default_provider().install_default().expect("no provider was installed before");
    });
    let mut config = kube::Config::new(url.parse().unwrap());
    config.default_retry = false;
    Client::try_from(config).unwrap()
}

async fn start() -> (Server, Client) {
    let control = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    let server = Server::start(Options { control, ..Options::default() }).await.unwrap();
    let client = client(&server.url()).await;
    (server, client)
}

async fn ask(
    client: &Client,
    method: &str,
    path: &str,
    body: &Value,
) -> Result<(u16, Option<String>), kube::Error> {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let answer = tokio::time::timeout(PATIENCE, client.send(request.body(Body::from(body)).unwrap())).await;
    let (parts, body) = answer.expect("an answer in time")?.into_parts();
    body.collect().await?;
    let retry_after = parts.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
    Ok((parts.status.as_u16(), retry_after))
}

fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}})
}

#[tokio::test]
async fn too_many_requests_come_with_the_time_to_wait() {
    let (server, client) = start().await;
    server.faults.add(Fault {
        path_prefix: MAPS.into(),
        error: Some(429),
        retry_after: Some(3),
        times: Some(1),
        ..Fault::default()
    });
    let answer = ask(&client, "POST", MAPS, &map("a")).await.unwrap();
    assert_eq!(answer, (429, Some("3".to_owned())));
    assert_eq!(ask(&client, "POST", MAPS, &map("a")).await.unwrap().0, 201);
    server.stop().await;
}

#[tokio::test]
async fn a_lost_reply_is_of_a_request_that_was_carried_out() {
    let (server, client) = start().await;
    let lose =
        |lose| Fault { methods: vec!["POST".into()], lose: Some(lose), times: Some(1), ..Fault::default() };
    server.faults.add(lose(Loss::Request));
    ask(&client, "POST", MAPS, &map("request")).await.unwrap_err();
    server.faults.add(lose(Loss::Reply));
    ask(&client, "POST", MAPS, &map("reply")).await.unwrap_err();
    assert_eq!(ask(&client, "GET", &format!("{MAPS}/request"), &Value::Null).await.unwrap().0, 404);
    assert_eq!(ask(&client, "GET", &format!("{MAPS}/reply"), &Value::Null).await.unwrap().0, 200);
    server.stop().await;
}

#[tokio::test]
async fn latency_delays_what_it_names() {
    let (server, client) = start().await;
    server.faults.add(Fault { path_prefix: MAPS.into(), latency_ms: 300, ..Fault::default() });
    let begun = Instant::now();
    ask(&client, "GET", MAPS, &Value::Null).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(300));
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_is_down_refuses_connections_until_it_is_up() {
    let (server, client) = start().await;
    ask(&client, "POST", MAPS, &map("before")).await.unwrap();
    // Blocking, so that the server has no chance to follow meanwhile: it has when these return.
    server.faults.down().await;
    std::net::TcpStream::connect(server.addr).unwrap_err();
    server.faults.up().await;
    std::net::TcpStream::connect(server.addr).unwrap();
    server.faults.down().await;
    std::net::TcpStream::connect(server.addr).unwrap_err();
    ask(&client, "GET", MAPS, &Value::Null).await.unwrap_err();
    let control = self::client(&format!("http://{}", server.control.unwrap())).await;
    assert_eq!(ask(&control, "POST", "/lab/up", &Value::Null).await.unwrap().0, 200);
    TcpStream::connect(server.addr).await.unwrap();
    let path = format!("{MAPS}/before");
    assert_eq!(ask(&client, "GET", &path, &Value::Null).await.unwrap().0, 200, "nothing was lost");
    server.stop().await;
}

#[tokio::test]
async fn watches_break_when_they_are_disconnected() {
    use futures::{AsyncBufReadExt as _, StreamExt as _};
    let (server, client) = start().await;
    ask(&client, "POST", MAPS, &map("a")).await.unwrap();
    let request = Request::get(format!("{MAPS}?watch=true")).body(Vec::new()).unwrap();
    let mut lines = client.request_stream(request).await.unwrap().lines().boxed();
    assert!(lines.next().await.unwrap().unwrap().contains("ADDED"));
    server.faults.disconnect_watches();
    let end = tokio::time::timeout(PATIENCE, lines.next()).await.expect("the watch breaks");
    assert!(end.is_none_or(|line| line.is_err()));
    server.stop().await;
}

#[tokio::test]
async fn compaction_makes_old_revisions_gone() {
    use futures::{AsyncBufReadExt as _, StreamExt as _};
    let (server, client) = start().await;
    ask(&client, "POST", MAPS, &map("a")).await.unwrap();
    ask(&client, "POST", MAPS, &map("b")).await.unwrap();
    assert_eq!(ask(&client, "POST", "/lab/compact", &Value::Null).await.unwrap().0, 200);
    let request = Request::get(format!("{MAPS}?watch=true&resourceVersion=1001")).body(Vec::new()).unwrap();
    let mut lines = client.request_stream(request).await.unwrap().lines().boxed();
    let line = lines.next().await.unwrap().unwrap();
    assert!(line.contains("ERROR") && line.contains("410"), "{line}");
    server.stop().await;
}

#[tokio::test]
async fn rules_are_kept_through_the_side_door() {
    let (server, client) = start().await;
    let rule = json!({"pathPrefix": "/api/", "error": 503, "rate": 1.0});
    assert_eq!(ask(&client, "POST", "/lab/faults", &rule).await.unwrap().0, 200);
    assert_eq!(server.faults.list().len(), 1);
    assert_eq!(ask(&client, "GET", MAPS, &Value::Null).await.unwrap().0, 503);
    assert_eq!(ask(&client, "POST", "/lab/faults", &json!({"eror": 500})).await.unwrap().0, 400);
    assert_eq!(ask(&client, "DELETE", "/lab/faults", &Value::Null).await.unwrap().0, 200);
    assert_eq!(ask(&client, "GET", MAPS, &Value::Null).await.unwrap().0, 200);
    server.stop().await;
}

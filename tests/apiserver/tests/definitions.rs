//! The product's own definitions, on the lab's server.

#![allow(clippy::unwrap_used, reason = "a test whose preparation fails has failed")]

use std::path::PathBuf;

use caracal_apiserver::{Options, Server};

#[tokio::test]
async fn the_committed_definitions_are_accepted() {
    let crds = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/crds");
    let server = Server::start(Options { crds: vec![crds], ..Options::default() }).await.unwrap();
    server.stop().await;
}

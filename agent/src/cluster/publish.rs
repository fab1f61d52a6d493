//! This node's `NetworkNodeStatus`: written when it differs, and not more often than every few seconds.

use std::time::Duration;

use caracal_api::{NetworkNodeStatus, NetworkNodeStatusSpec, NetworkNodeStatusStatus};
use kube::api::{Api, Patch, PatchParams, PostParams};
use rand::Rng;
use serde_json::json;
use tokio::sync::watch;
use tracing::debug;

use crate::status::Reading;

/// Least time between two writes, and time until a failed one is tried again; both jittered.
const PAUSE: Duration = Duration::from_secs(5);

/// Publishes until the agent ends. Without the API server it tries again.
pub async fn keep(api: Api<NetworkNodeStatus>, node_name: String, mut readings: watch::Receiver<Reading>) {
    let mut published: Option<NetworkNodeStatusStatus> = None;
    loop {
        let wanted = content(&readings.borrow_and_update());
        let mut failed = false;
        if published.as_ref() != Some(&wanted) {
            match write(&api, &node_name, &wanted).await {
                Ok(()) => published = Some(wanted),
                Err(error) => {
                    debug!(%error, "the status cannot be published now");
                    failed = true;
                }
            }
        }
        let pause = PAUSE.mul_f64(rand::rng().random_range(0.5..1.5));
        tokio::time::sleep(pause).await;
        if !failed && readings.changed().await.is_err() {
            return;
        }
    }
}

/// What a reading says of the node.
fn content(reading: &Reading) -> NetworkNodeStatusStatus {
    let status = &reading.status;
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    NetworkNodeStatusStatus {
        conditions: reading.conditions.to_vec(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        peers_configured: count(status.peers.len()),
        peers_established: count(status.peers.iter().filter(|p| p.established).count()),
        attachments: count(status.attachments),
        blocks: count(status.blocks),
    }
}

async fn write(
    api: &Api<NetworkNodeStatus>,
    name: &str,
    wanted: &NetworkNodeStatusStatus,
) -> Result<(), kube::Error> {
    if api.get_opt(name).await?.is_none() {
        let object = NetworkNodeStatus::new(name, NetworkNodeStatusSpec {});
        match api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            created => drop(created?),
        }
    }
    let patch = Patch::Merge(json!({"status": wanted}));
    api.patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

//! This node's `NetworkNodeStatus`: written when it differs, and not more often than every few seconds.

use std::time::Duration;

use caracal_api::conditions;
use caracal_api::{NetworkNodeStatus, NetworkNodeStatusSpec, NetworkNodeStatusStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use rand::Rng;
use serde_json::json;
use tracing::debug;

use crate::status::{Status, StatusSources};

/// Mean time between looks.
const PERIOD: Duration = Duration::from_secs(10);

/// Publishes until the agent ends. Without the API server it tries again at the next look.
pub async fn keep(api: Api<NetworkNodeStatus>, node_name: String, sources: StatusSources) {
    let mut published: Option<NetworkNodeStatusStatus> = None;
    loop {
        let status = sources.read().await;
        let before = published.clone().unwrap_or_default();
        let wanted = merged(before, &status);
        if published.as_ref() != Some(&wanted) {
            match write(&api, &node_name, &wanted).await {
                Ok(stored) => published = Some(stored),
                Err(error) => debug!(%error, "the status cannot be published now"),
            }
        }
        tokio::time::sleep(PERIOD.mul_f64(rand::rng().random_range(0.5..1.5))).await;
    }
}

/// The new status over the one before, whose times of change stay where nothing changed.
fn merged(mut before: NetworkNodeStatusStatus, status: &Status) -> NetworkNodeStatusStatus {
    for verdict in &status.conditions {
        conditions::set(&mut before.conditions, verdict, None, Timestamp::now());
    }
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    NetworkNodeStatusStatus {
        conditions: before.conditions,
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
) -> Result<NetworkNodeStatusStatus, kube::Error> {
    if api.get_opt(name).await?.is_none() {
        let object = NetworkNodeStatus::new(name, NetworkNodeStatusSpec {});
        match api.create(&PostParams::default(), &object).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            created => drop(created?),
        }
    }
    let patch = Patch::Merge(json!({"status": wanted}));
    api.patch_status(name, &PatchParams::default(), &patch).await?;
    Ok(wanted.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use caracal_api::conditions::Verdict;

    #[test]
    fn an_unchanged_status_is_not_written_again() {
        let verdict =
            Verdict { type_: "Ready", status: Some(true), reason: "OK".into(), message: String::new() };
        let status = Status { conditions: vec![verdict], attachments: 2, ..Status::default() };
        let first = merged(NetworkNodeStatusStatus::default(), &status);
        assert_eq!(first.attachments, 2);
        assert_eq!(merged(first.clone(), &status), first);
    }
}

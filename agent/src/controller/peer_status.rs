//! The verdict on each `BGPPeer`: whether its definition can be used, and why not.
//!
//! Schemas refuse most mistakes at the door; what they cannot read (selectors, addresses with ports) is told here, in
//! condition `Accepted`. Agents leave out a peer they cannot use and go on with the others.

use std::time::Duration;

use caracal_api::bgp_peer::parse_peer_ip;
use caracal_api::conditions::{self, Verdict};
use caracal_api::{BgpPeer, BgpPeerSpec, Selector};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use tracing::warn;

use crate::cluster::SnapshotReceiver;

/// Type of the condition.
pub const ACCEPTED: &str = "Accepted";
/// Pause after a write that failed.
const RETRY: Duration = Duration::from_secs(2);

/// Keeps the status of all peers true. Runs until cancelled.
pub async fn keep(api: Api<BgpPeer>, mut peers: SnapshotReceiver<BgpPeer>) {
    loop {
        let now = peers.borrow_and_update().clone();
        let mut failed = false;
        for peer in now.values().filter(|_| now.synced) {
            if let Err(error) = write(&api, peer).await {
                warn!(peer = peer.name_any(), %error, "the peer's status cannot be written");
                failed = true;
            }
        }
        tokio::select! {
            changed = peers.changed() => if changed.is_err() { return },
            () = tokio::time::sleep(RETRY), if failed => {}
        }
    }
}

/// Whether a definition can be used.
pub fn judge(spec: &BgpPeerSpec) -> Verdict {
    let no = |reason: &str, message: String| Verdict {
        type_: ACCEPTED,
        status: Some(false),
        reason: reason.to_owned(),
        message,
    };
    if let Some(Err(error)) = spec.peer_ip.as_deref().map(parse_peer_ip) {
        return no("InvalidPeerIP", error.to_string());
    }
    for (field, selector) in [("nodeSelector", &spec.node_selector), ("peerSelector", &spec.peer_selector)] {
        if let Some(Err(error)) = selector.as_deref().map(str::parse::<Selector>) {
            return no("InvalidSelector", format!("{field}: {error}"));
        }
    }
    Verdict { type_: ACCEPTED, status: Some(true), reason: "OK".to_owned(), message: String::new() }
}

async fn write(api: &Api<BgpPeer>, peer: &BgpPeer) -> Result<(), kube::Error> {
    let mut status = peer.status.clone().unwrap_or_default();
    let verdict = judge(&peer.spec);
    if conditions::set(&mut status.conditions, &verdict, peer.metadata.generation, Timestamp::now()) {
        let patch = Patch::Merge(json!({"status": status}));
        api.patch_status(&peer.name_any(), &PatchParams::default(), &patch).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_cannot_be_read_says_which_field() {
        let good = BgpPeerSpec { peer_ip: Some("192.0.2.1".into()), ..BgpPeerSpec::default() };
        assert_eq!(judge(&good).reason, "OK");
        let bad = BgpPeerSpec { peer_ip: Some("router-a".into()), ..BgpPeerSpec::default() };
        assert_eq!(judge(&bad).reason, "InvalidPeerIP");
        let bad = BgpPeerSpec { peer_selector: Some("rack ==".into()), ..BgpPeerSpec::default() };
        assert!(judge(&bad).message.starts_with("peerSelector"), "{:?}", judge(&bad));
    }
}

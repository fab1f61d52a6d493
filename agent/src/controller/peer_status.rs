//! The verdict on each `BGPPeer`: whether its definition can be used, and why not.
//!
//! Schemas refuse most mistakes at the door; what they cannot read (selectors, addresses with ports) is told here, in
//! condition `Accepted`. Agents leave out a peer they cannot use and go on with the others.

use std::time::Duration;

use caracal_api::bgp_peer::{Whom, WhomError};
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
    let whom = match spec.whom() {
        Ok(whom) => whom,
        Err(error) => return no(reason(&error), error.to_string()),
    };
    if let Some(Err(error)) = spec.node_selector.as_deref().map(str::parse::<Selector>) {
        return no("InvalidSelector", format!("nodeSelector: {error}"));
    }
    if !matches!(whom, Whom::Nodes(_))
        && let Err(error) = spec.peer_as()
    {
        return no(reason(&error), error.to_string());
    }
    Verdict { type_: ACCEPTED, status: Some(true), reason: "OK".to_owned(), message: String::new() }
}

/// The reason of the condition, as a word.
fn reason(error: &WhomError) -> &'static str {
    match error {
        WhomError::Which => "WhichPeer",
        WhomError::As => "WhichAS",
        WhomError::Address(_)
        | WhomError::NoDevice(_)
        | WhomError::NotLinkLocal { .. }
        | WhomError::TwoDevices { .. } => "InvalidPeerIP",
        WhomError::Range(_) | WhomError::LinkLocalRange(_) => "InvalidPeerRange",
        WhomError::Selector(_) => "InvalidSelector",
        WhomError::TcpAo => "NoTCPAO",
    }
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
    use caracal_api::bgp_peer::AsType;

    #[test]
    fn a_peer_that_cannot_be_read_says_which_field() {
        let good = BgpPeerSpec {
            peer_ip: Some("192.0.2.1".into()),
            as_number: Some(65001),
            ..BgpPeerSpec::default()
        };
        assert_eq!(judge(&good).reason, "OK");
        let bad = BgpPeerSpec { peer_ip: Some("router-a".into()), ..BgpPeerSpec::default() };
        assert_eq!(judge(&bad).reason, "InvalidPeerIP");
        let bad = BgpPeerSpec { peer_selector: Some("rack ==".into()), ..BgpPeerSpec::default() };
        assert!(judge(&bad).message.starts_with("peerSelector"), "{:?}", judge(&bad));
        let range = |text: &str| BgpPeerSpec {
            peer_ip: None,
            peer_range: Some(text.into()),
            as_number: None,
            as_type: Some(AsType::External),
            ..good.clone()
        };
        assert_eq!(judge(&range("10.1.0.0/24")).reason, "OK");
        assert_eq!(judge(&range("10.1.0.1/24")).reason, "InvalidPeerRange");
        let bad = BgpPeerSpec { as_number: None, ..good };
        assert_eq!(judge(&bad).reason, "WhichAS");
    }
}

//! `caracalctl bgp refresh PEER`.

use caracal_proto::v1::RefreshPeerRequest;
use caracal_proto::v1::bgp_service_client::BgpServiceClient;
use serde::Serialize;
use tonic::transport::Channel;

use crate::failure::Failure;
use crate::output::{Answer, Section};

/// Which peer was refreshed.
#[derive(Debug, Serialize)]
pub(crate) struct Refresh {
    refreshed: String,
}

/// Asks for it.
pub(crate) async fn ask(channel: Channel, peer: String) -> Result<Refresh, Failure> {
    let doing = Failure::agent(format!("refreshing peer {peer}"));
    let answer =
        BgpServiceClient::new(channel).refresh_peer(RefreshPeerRequest { peer }).await.map_err(doing)?;
    Ok(Refresh { refreshed: answer.into_inner().key })
}

impl Answer for Refresh {
    fn text(&self, _wide: bool) -> Vec<Section> {
        vec![Section::Text(format!("All routes are being exchanged with {} again.", self.refreshed))]
    }

    fn names(&self) -> Vec<String> {
        vec![self.refreshed.clone()]
    }
}

//! `caracalctl bgp reset PEER`.

use caracal_proto::v1::ResetPeerRequest;
use caracal_proto::v1::bgp_service_client::BgpServiceClient;
use serde::Serialize;
use tonic::transport::Channel;

use crate::failure::Failure;
use crate::output::{Answer, Section};

/// Which peer was reset.
#[derive(Debug, Serialize)]
pub(crate) struct Reset {
    reset: String,
}

/// Asks for it.
pub(crate) async fn ask(channel: Channel, peer: String, message: Option<String>) -> Result<Reset, Failure> {
    let doing = Failure::agent(format!("resetting peer {peer}"));
    let answer =
        BgpServiceClient::new(channel).reset_peer(ResetPeerRequest { peer, message }).await.map_err(doing)?;
    Ok(Reset { reset: answer.into_inner().key })
}

impl Answer for Reset {
    fn text(&self, _wide: bool) -> Vec<Section> {
        vec![Section::Text(format!("The session with {} was ended and starts anew.", self.reset))]
    }

    fn names(&self) -> Vec<String> {
        vec![self.reset.clone()]
    }
}

//! `caracalctl bgp stop PEER` and `caracalctl bgp start PEER`.

use caracal_proto::v1::bgp_service_client::BgpServiceClient;
use caracal_proto::v1::{StartPeerRequest, StopPeerRequest};
use serde::Serialize;
use tonic::transport::Channel;

use crate::failure::Failure;
use crate::output::{Answer, Section};

/// Which peer was stopped or started.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Done {
    Stopped(String),
    Started(String),
}

/// Asks for a stop, with words for the operator of the peer.
pub(crate) async fn stop(channel: Channel, peer: String, message: Option<String>) -> Result<Done, Failure> {
    let doing = Failure::agent(format!("stopping peer {peer}"));
    let request = StopPeerRequest { peer, message };
    let answer = BgpServiceClient::new(channel).stop_peer(request).await.map_err(doing)?;
    Ok(Done::Stopped(answer.into_inner().key))
}

/// Asks for a start.
pub(crate) async fn start(channel: Channel, peer: String) -> Result<Done, Failure> {
    let doing = Failure::agent(format!("starting peer {peer}"));
    let answer = BgpServiceClient::new(channel).start_peer(StartPeerRequest { peer }).await.map_err(doing)?;
    Ok(Done::Started(answer.into_inner().key))
}

impl Answer for Done {
    fn text(&self, _wide: bool) -> Vec<Section> {
        vec![Section::Text(match self {
            Done::Stopped(peer) => {
                format!(
                    "The session with {peer} was ended and stays down until 'bgp start', or until the agent restarts."
                )
            }
            Done::Started(peer) => format!("The session with {peer} may come up."),
        })]
    }

    fn names(&self) -> Vec<String> {
        let (Done::Stopped(peer) | Done::Started(peer)) = self;
        vec![peer.clone()]
    }
}

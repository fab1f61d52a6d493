//! `caracalctl bgp bfd`: how BFD sees the paths to the peers.

use serde::Serialize;
use tonic::transport::Channel;

use super::bgp_peers::{self, Bfd};
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::{Cell, Table};

/// The BFD sessions of the node.
#[derive(Debug, Serialize)]
pub(crate) struct BfdSessions {
    sessions: Vec<BfdSession>,
}

/// One of them, with whose path it watches.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct BfdSession {
    peer: String,
    name: String,
    #[serde(flatten)]
    bfd: Bfd,
}

/// Asks for them.
pub(crate) async fn ask(channel: Channel) -> Result<BfdSessions, Failure> {
    let peers = bgp_peers::ask(channel).await?.peers.into_iter();
    let watched =
        peers.filter_map(|peer| Some(BfdSession { peer: peer.key, name: peer.name, bfd: peer.bfd? }));
    Ok(BfdSessions { sessions: watched.collect() })
}

impl Answer for BfdSessions {
    fn text(&self, wide: bool) -> Vec<Section> {
        if self.sessions.is_empty() {
            return vec![Section::Text("No path is watched by BFD.".to_owned())];
        }
        let narrow =
            ["PEER", "NAME", "STATE", "AT PEER", "HOPS", "FOR", "SENDS", "DETECTS", "DOWNS", "LAST CHANGE"];
        let more = ["HERE", "THERE", "UPS", "IN", "OUT", "TROUBLE"];
        let mut table = Table::new(narrow.into_iter().chain(more.into_iter().filter(|_| wide)));
        for BfdSession { peer, name, bfd } in &self.sessions {
            let mut cells: Vec<Cell> = vec![
                peer.into(),
                name.into(),
                Cell::toned(&bfd.state, bfd.tone()),
                (&bfd.remote_state).into(),
                if bfd.multihop { "many" } else { "one" }.into(),
                format!("{}s", bfd.age_millis / 1000).into(),
                millis(bfd.transmit_interval_micros).into(),
                millis(bfd.detection_time_micros).into(),
                bfd.downs.into(),
                (&bfd.diagnostic).into(),
            ];
            if wide {
                cells.extend([
                    bfd.discriminator.into(),
                    bfd.remote_discriminator.into(),
                    bfd.ups.into(),
                    bfd.packets_received.into(),
                    bfd.packets_sent.into(),
                    bfd.trouble.clone().unwrap_or_default().into(),
                ]);
            }
            table.row(cells);
        }
        vec![Section::Table(table)]
    }

    fn names(&self) -> Vec<String> {
        self.sessions.iter().map(|session| session.peer.clone()).collect()
    }
}

/// Zero is for what is not done.
fn millis(micros: u64) -> String {
    if micros == 0 { "-".to_owned() } else { format!("{}ms", micros / 1000) }
}

//! `caracalctl bgp neighbor PEER`: everything known of one peer.

use serde::Serialize;
use tonic::transport::Channel;

use super::bgp_peers::{self, Bfd, Peer};
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::Table;

/// One peer.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct Neighbor {
    peer: Peer,
}

/// Asks for it.
pub(crate) async fn ask(channel: Channel, wanted: String) -> Result<Neighbor, Failure> {
    let peers = bgp_peers::ask(channel).await?.peers;
    let known: Vec<String> = peers.iter().map(|peer| format!("{} ({})", peer.key, peer.name)).collect();
    let found = peers.into_iter().find(|peer| peer.key == wanted || peer.name == wanted);
    found.map(|peer| Neighbor { peer }).ok_or_else(|| Failure::NoSuchPeer { wanted, known: known.join(", ") })
}

impl Answer for Neighbor {
    fn text(&self, _wide: bool) -> Vec<Section> {
        let peer = &self.peer;
        let mut facts = Table::new(["FACT", "VALUE"]);
        let mut fact = |name: &'static str, value: String| {
            if !value.is_empty() {
                facts.row([name.into(), value.into()]);
            }
        };
        fact("Peer", peer.key.clone());
        fact("Name", peer.name.clone());
        fact("Origin", peer.origin.to_owned());
        fact("Range", peer.range.clone().unwrap_or_default());
        fact("AS", format!("{}, shown {}", peer.asn(), peer.local_as));
        fact("State", format!("{} since {}", peer.state, peer.since_text()));
        fact("Stopped", if peer.stopped { "until started".to_owned() } else { String::new() });
        fact("Router ID", peer.router_id.clone().unwrap_or_default());
        fact("Families", peer.families.join(", "));
        fact("Features", peer.features.join(", "));
        fact("Hold time", format!("{}s", peer.hold_time_seconds));
        fact("Received", peer.received.text());
        fact("Accepted", peer.accepted.text());
        fact("Advertised", peer.advertised.text());
        fact("Messages", format!("{} in, {} out", peer.messages_received, peer.messages_sent));
        let bfd = |text: fn(&Bfd) -> String| peer.bfd.as_ref().map(text).unwrap_or_default();
        fact("BFD", bfd(Bfd::text));
        fact("BFD times", bfd(Bfd::times));
        fact("BFD packets", bfd(Bfd::packets));
        fact("Transitions", peer.transitions.to_string());
        fact("Last error", peer.last_error.clone().unwrap_or_default());
        fact("Last session ended", peer.last_down_text());
        let mut sections = vec![Section::Table(facts)];
        if !peer.faults.is_empty() {
            let mut table = Table::new(["FAULT", "COUNT", "LAST", "COST", "RULE"]);
            for fault in &peer.faults {
                table.row([
                    (&fault.words).into(),
                    fault.count.into(),
                    fault.last_text().into(),
                    (&fault.disposition).into(),
                    (&fault.rfc).into(),
                ]);
            }
            sections.push(Section::Titled("Faults in what the peer sent".to_owned(), table));
        }
        sections
    }

    fn names(&self) -> Vec<String> {
        vec![self.peer.key.clone()]
    }
}

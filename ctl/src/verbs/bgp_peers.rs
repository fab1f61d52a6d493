//! `caracalctl bgp peers`.

use caracal_proto::v1::bgp_service_client::BgpServiceClient;
use caracal_proto::v1::{self, ListPeersRequest};
use jiff::Timestamp;
use serde::Serialize;
use tonic::transport::Channel;

use super::time::{moment, since};
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::{Cell, Table, Tone};

/// The peers of the node.
#[derive(Debug, Serialize)]
pub(crate) struct Peers {
    pub(crate) peers: Vec<Peer>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) ranges: Vec<Range>,
}

/// Where peers may come from that are not named.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Range {
    prefix: String,
    name: String,
    peers: u32,
    max_peers: u32,
    refused: u64,
    last_refusal: Option<String>,
}

/// One peer, as `-o json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Peer {
    pub(crate) key: String,
    pub(crate) name: String,
    pub(crate) origin: &'static str,
    #[serde(rename = "remoteAS")]
    pub(crate) remote_as: u32,
    #[serde(rename = "localAS")]
    pub(crate) local_as: u32,
    pub(crate) state: &'static str,
    pub(crate) since: Option<Timestamp>,
    #[serde(rename = "routerID")]
    pub(crate) router_id: Option<String>,
    pub(crate) families: Vec<&'static str>,
    pub(crate) received: ByFamily,
    pub(crate) accepted: ByFamily,
    pub(crate) advertised: ByFamily,
    pub(crate) hold_time_seconds: u32,
    pub(crate) last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_down: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_down_reason: Option<String>,
    pub(crate) transitions: u64,
    pub(crate) messages_received: u64,
    pub(crate) messages_sent: u64,
    pub(crate) features: Vec<String>,
    pub(crate) stopped: bool,
    pub(crate) faults: Vec<Fault>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bfd: Option<Bfd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) range: Option<String>,
}

/// How BFD sees the path to the peer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Bfd {
    pub(crate) state: String,
    pub(crate) remote_state: String,
    pub(crate) diagnostic: String,
    pub(crate) multihop: bool,
    pub(crate) discriminator: u32,
    pub(crate) remote_discriminator: u32,
    pub(crate) transmit_interval_micros: u64,
    pub(crate) detection_time_micros: u64,
    pub(crate) age_millis: u64,
    pub(crate) ups: u64,
    pub(crate) downs: u64,
    pub(crate) packets_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) trouble: Option<String>,
}

impl Bfd {
    /// The state, and what there is to know of it.
    pub(crate) fn text(&self) -> String {
        let hops = if self.multihop { "multihop" } else { "single hop" };
        let state = match &self.trouble {
            Some(trouble) => format!("{}: {trouble}", self.state),
            None if self.state == "Up" => self.state.clone(),
            None => format!("{} ({}), {} at the peer", self.state, self.diagnostic, self.remote_state),
        };
        format!("{state}, {hops}, for {}s; down {} times", self.age_millis / 1000, self.downs)
    }

    /// The times in force.
    pub(crate) fn times(&self) -> String {
        let millis = |micros: u64| format!("{}ms", micros / 1000);
        match (self.transmit_interval_micros, self.detection_time_micros) {
            (_, 0) => "nothing is heard".to_owned(),
            (0, detection) => format!("nothing is sent, silence of {} is noticed", millis(detection)),
            (interval, detection) => {
                format!("a packet each {}, silence of {} is noticed", millis(interval), millis(detection))
            }
        }
    }

    /// How the state is meant.
    pub(crate) fn tone(&self) -> Tone {
        match self.state.as_str() {
            "Up" => Tone::Good,
            "Down" => Tone::Bad,
            _ => Tone::Unsure,
        }
    }

    /// Packets in and out.
    pub(crate) fn packets(&self) -> String {
        format!("{} in, {} out", self.packets_received, self.packets_sent)
    }
}

impl From<v1::Bfd> for Bfd {
    fn from(bfd: v1::Bfd) -> Self {
        Self {
            state: bfd.state,
            remote_state: bfd.remote_state,
            diagnostic: bfd.diagnostic,
            multihop: bfd.multihop,
            discriminator: bfd.discriminator,
            remote_discriminator: bfd.remote_discriminator,
            transmit_interval_micros: bfd.transmit_interval_micros,
            detection_time_micros: bfd.detection_time_micros,
            age_millis: bfd.age_millis,
            ups: bfd.ups,
            downs: bfd.downs,
            packets_sent: bfd.packets_sent,
            packets_received: bfd.packets_received,
            trouble: bfd.trouble,
        }
    }
}

/// One kind of fault in what the peer sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Fault {
    pub(crate) disposition: String,
    pub(crate) section: String,
    pub(crate) attribute: Option<u32>,
    pub(crate) rfc: String,
    pub(crate) words: String,
    pub(crate) offset: u32,
    pub(crate) count: u64,
    pub(crate) last: Option<Timestamp>,
}

impl Fault {
    /// When the last one came, as tables write it.
    pub(crate) fn last_text(&self) -> String {
        since(self.last)
    }
}

impl From<v1::WireFault> for Fault {
    fn from(fault: v1::WireFault) -> Self {
        Self {
            last: moment(fault.last),
            disposition: fault.disposition,
            section: fault.section,
            attribute: fault.attribute,
            rfc: fault.rfc,
            words: fault.words,
            offset: fault.offset,
            count: fault.count,
        }
    }
}

/// A count of routes for each family.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ByFamily {
    ipv4: u64,
    ipv6: u64,
}

impl ByFamily {
    fn total(&self) -> u64 {
        self.ipv4 + self.ipv6
    }

    /// Both, in words.
    pub(crate) fn text(&self) -> String {
        format!("{} ipv4, {} ipv6", self.ipv4, self.ipv6)
    }
}

/// Asks for them.
pub(crate) async fn ask(channel: Channel) -> Result<Peers, Failure> {
    let mut client =
        BgpServiceClient::new(channel).max_decoding_message_size(crate::connection::LARGEST_ANSWER);
    let answer = client.list_peers(ListPeersRequest {}).await.map_err(Failure::agent("listing the peers"))?;
    let answer = answer.into_inner();
    Ok(Peers {
        peers: answer.peers.into_iter().map(Peer::from).collect(),
        ranges: answer.ranges.into_iter().map(Range::from).collect(),
    })
}

/// The name of a family in documents: `ipv4`, `ipv6`.
pub(crate) fn family_name(family: v1::Family) -> &'static str {
    match family {
        v1::Family::Unspecified => "unknown",
        v1::Family::Ipv4Unicast => "ipv4",
        v1::Family::Ipv6Unicast => "ipv6",
    }
}

impl From<v1::PeerRange> for Range {
    fn from(range: v1::PeerRange) -> Self {
        Self {
            prefix: range.prefix,
            name: range.name,
            peers: range.peers,
            max_peers: range.max_peers,
            refused: range.refused,
            last_refusal: range.last_refusal,
        }
    }
}

impl From<v1::Peer> for Peer {
    fn from(peer: v1::Peer) -> Self {
        let (mut received, mut accepted, mut advertised) =
            (ByFamily::default(), ByFamily::default(), ByFamily::default());
        for counts in &peer.counts {
            let slots = match counts.family() {
                v1::Family::Unspecified => continue,
                v1::Family::Ipv4Unicast => (&mut received.ipv4, &mut accepted.ipv4, &mut advertised.ipv4),
                v1::Family::Ipv6Unicast => (&mut received.ipv6, &mut accepted.ipv6, &mut advertised.ipv6),
            };
            (*slots.0, *slots.1, *slots.2) = (counts.received, counts.accepted, counts.announced);
        }
        Self {
            origin: match peer.origin() {
                v1::PeerOrigin::Unspecified => "Unknown",
                v1::PeerOrigin::Mesh => "Mesh",
                v1::PeerOrigin::Configured => "Configured",
                v1::PeerOrigin::Dynamic => "Dynamic",
            },
            state: match peer.state() {
                v1::SessionState::Unspecified => "Unknown",
                v1::SessionState::Idle => "Idle",
                v1::SessionState::Connect => "Connect",
                v1::SessionState::Active => "Active",
                v1::SessionState::OpenSent => "OpenSent",
                v1::SessionState::OpenConfirm => "OpenConfirm",
                v1::SessionState::Established => "Established",
            },
            families: peer.families().map(family_name).collect(),
            since: moment(peer.since),
            key: peer.key,
            name: peer.name,
            remote_as: peer.remote_as,
            local_as: peer.local_as,
            router_id: peer.router_id,
            received,
            accepted,
            advertised,
            hold_time_seconds: peer.hold_time_seconds,
            last_error: peer.last_error,
            last_down: moment(peer.last_down),
            last_down_reason: peer.last_down_reason,
            transitions: peer.transitions,
            messages_received: peer.messages_received,
            messages_sent: peer.messages_sent,
            features: peer.features,
            stopped: peer.stopped,
            faults: peer.faults.into_iter().map(Fault::from).collect(),
            bfd: peer.bfd.map(Bfd::from),
            range: peer.range,
        }
    }
}

impl Peer {
    /// How the state is meant.
    pub(crate) fn tone(&self) -> Tone {
        match self.state {
            "Established" => Tone::Good,
            "Idle" => Tone::Bad,
            _ => Tone::Unsure,
        }
    }

    /// Its AS number, where it is known.
    pub(crate) fn asn(&self) -> String {
        if self.remote_as == 0 { "?".to_owned() } else { self.remote_as.to_string() }
    }

    /// Whether the session runs over IPv4.
    pub(crate) fn is_ipv4(&self) -> bool {
        !self.key.contains(':')
    }

    /// Since when, as tables write it.
    pub(crate) fn since_text(&self) -> String {
        since(self.since)
    }

    /// When and why its last established session ended; empty where there was none.
    pub(crate) fn last_down_text(&self) -> String {
        let reason = self.last_down_reason.as_deref().unwrap_or("unknown");
        self.last_down.map(|when| format!("{}: {reason}", since(Some(when)))).unwrap_or_default()
    }
}

impl Answer for Peers {
    fn text(&self, wide: bool) -> Vec<Section> {
        if self.peers.is_empty() && self.ranges.is_empty() {
            return vec![Section::Text("No peers are configured.".to_owned())];
        }
        let narrow = ["PEER", "NAME", "AS", "STATE", "SINCE", "RECEIVED", "ACCEPTED", "ADVERTISED"];
        let more = ["ORIGIN", "FAMILIES", "ROUTER ID", "HOLD TIME", "LAST ERROR"];
        let mut table = Table::new(narrow.into_iter().chain(more.into_iter().filter(|_| wide)));
        for peer in &self.peers {
            let mut cells: Vec<Cell> = vec![
                (&peer.key).into(),
                (&peer.name).into(),
                peer.asn().into(),
                Cell::toned(peer.state, peer.tone()),
                peer.since_text().into(),
                peer.received.total().into(),
                peer.accepted.total().into(),
                peer.advertised.total().into(),
            ];
            if wide {
                cells.extend([
                    peer.origin.into(),
                    peer.families.join(",").into(),
                    peer.router_id.clone().unwrap_or_default().into(),
                    format!("{}s", peer.hold_time_seconds).into(),
                    peer.last_error.clone().unwrap_or_default().into(),
                ]);
            }
            table.row(cells);
        }
        let mut sections = vec![Section::Table(table)];
        if !self.ranges.is_empty() {
            let mut table = Table::new(["RANGE", "NAME", "PEERS", "LIMIT", "REFUSED", "LAST REFUSAL"]);
            for range in &self.ranges {
                table.row([
                    (&range.prefix).into(),
                    (&range.name).into(),
                    range.peers.into(),
                    range.max_peers.into(),
                    range.refused.into(),
                    range.last_refusal.clone().unwrap_or_default().into(),
                ]);
            }
            sections.push(Section::Table(table));
        }
        sections
    }

    fn names(&self) -> Vec<String> {
        self.peers.iter().map(|peer| peer.key.clone()).collect()
    }
}

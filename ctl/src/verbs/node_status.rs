//! `caracalctl node status`.

use caracal_proto::v1::GetStatusRequest;
use caracal_proto::v1::node_service_client::NodeServiceClient;
use jiff::Timestamp;
use serde::Serialize;
use tonic::transport::Channel;

use super::bgp_peers::{self, Peer};
use super::time::{moment, since};
use crate::failure::Failure;
use crate::output::{Answer, Section};
use crate::table::{Cell, Table, Tone};

/// The node, as `-o json` prints it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NodeStatus {
    node: String,
    version: String,
    started: Option<Timestamp>,
    #[serde(rename = "asNumber")]
    as_number: Option<u32>,
    ipv4: Option<String>,
    ipv6: Option<String>,
    attachments: u64,
    blocks: Vec<String>,
    conditions: Vec<Condition>,
    watches: Vec<Watch>,
    peers: Vec<Peer>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Condition {
    r#type: String,
    status: String,
    reason: String,
    message: String,
    last_transition_time: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct Watch {
    kind: String,
    objects: u64,
    synced: bool,
}

/// Asks for the node and for its peers.
pub(crate) async fn ask(channel: Channel) -> Result<NodeStatus, Failure> {
    let mut client = NodeServiceClient::new(channel.clone());
    let node = client
        .get_status(GetStatusRequest {})
        .await
        .map_err(Failure::agent("asking for the node's status"))?
        .into_inner();
    let peers = bgp_peers::ask(channel).await?.peers;
    let conditions = node.conditions.into_iter().map(|c| Condition {
        r#type: c.r#type,
        status: c.status,
        reason: c.reason,
        message: c.message,
        last_transition_time: moment(c.last_transition),
    });
    let watches =
        node.watches.into_iter().map(|w| Watch { kind: w.kind, objects: w.objects, synced: w.synced });
    Ok(NodeStatus {
        node: node.node,
        version: node.version,
        started: moment(node.started),
        as_number: node.as_number,
        ipv4: node.ipv4,
        ipv6: node.ipv6,
        attachments: node.attachments,
        blocks: node.blocks,
        conditions: conditions.collect(),
        watches: watches.collect(),
        peers,
    })
}

impl NodeStatus {
    fn head(&self) -> String {
        let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        let asn = self.as_number.map_or_else(|| "-".to_owned(), |asn| asn.to_string());
        let blocks = if self.blocks.is_empty() { "-".to_owned() } else { self.blocks.join(", ") };
        let unsynced: Vec<&str> =
            self.watches.iter().filter(|w| !w.synced).map(|w| w.kind.as_str()).collect();
        let api = if unsynced.is_empty() {
            "in step with the API server".to_owned()
        } else {
            format!("working from the last good snapshot of {}", unsynced.join(", "))
        };
        [
            format!("The agent of {} is running since {}.", self.node, since(self.started)),
            String::new(),
            format!("Version:     {}", self.version),
            format!("Resources:   {api}"),
            format!("AS number:   {asn}"),
            format!("IPv4:        {}", or_dash(&self.ipv4)),
            format!("IPv6:        {}", or_dash(&self.ipv6)),
            format!("Pods:        {}", self.attachments),
            format!("Blocks:      {blocks}"),
        ]
        .join("\n")
    }

    fn condition_table(&self) -> Table {
        let mut table = Table::new(["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"]);
        for condition in &self.conditions {
            let tone = match condition.status.as_str() {
                "True" => Tone::Good,
                "False" => Tone::Bad,
                _ => Tone::Unsure,
            };
            table.row([
                (&condition.r#type).into(),
                Cell::toned(&condition.status, tone),
                since(condition.last_transition_time).into(),
                (&condition.reason).into(),
                (&condition.message).into(),
            ]);
        }
        table
    }

    fn peer_section(&self, family: &str, ipv4: bool) -> Section {
        let mut table = Table::new(["PEER ADDRESS", "PEER TYPE", "STATE", "SINCE", "INFO"]);
        for peer in self.peers.iter().filter(|peer| peer.is_ipv4() == ipv4) {
            let kind = match peer.origin {
                "Mesh" => "node-to-node mesh".to_owned(),
                _ => format!("BGPPeer {}", peer.name),
            };
            let (state, info) = match (peer.state, &peer.last_error) {
                ("Established", _) => ("up", "Established".to_owned()),
                (state, error) => (
                    if state == "Idle" { "down" } else { "start" },
                    error.as_ref().map_or_else(|| state.to_owned(), |error| format!("{state}: {error}")),
                ),
            };
            table.row([
                (&peer.key).into(),
                kind.into(),
                Cell::toned(state, peer.tone()),
                peer.since_text().into(),
                info.into(),
            ]);
        }
        if table.is_empty() {
            return Section::Text(format!("{family} BGP status\nNo {family} peers found."));
        }
        Section::Titled(format!("{family} BGP status"), table)
    }
}

impl Answer for NodeStatus {
    fn text(&self, _wide: bool) -> Vec<Section> {
        let mut sections = vec![Section::Text(self.head())];
        let conditions = self.condition_table();
        if !conditions.is_empty() {
            sections.push(Section::Titled("Conditions".to_owned(), conditions));
        }
        sections.extend([self.peer_section("IPv4", true), self.peer_section("IPv6", false)]);
        sections
    }

    fn names(&self) -> Vec<String> {
        vec![self.node.clone()]
    }
}

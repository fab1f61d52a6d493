//! `BGPFilter`: which routes pass between the nodes and the peers whose `BGPPeer` names it.
//!
//! The rules of a list are tried in order; the first that matches accepts or rejects. A route that no rule matches goes
//! on to the next filter of the peer and, after the last, to what holds without filters: announced is what lies in
//! pools, accepted is what `docs/ARCHITECTURE.md` lists.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The priority of a route that nobody gave another: the lower the better.
pub const NORMAL_PRIORITY: u32 = 1024;

/// Which routes pass between the nodes and the peers that name this filter.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "caracal.dev",
    version = "v1",
    kind = "BGPFilter",
    root = "BgpFilter",
    plural = "bgpfilters",
    singular = "bgpfilter",
    category = "caracal",
    derive = "PartialEq",
    doc = "Which routes pass between the nodes and the peers that name this filter."
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.exportV4) ? self.exportV4.all(r, !has(r.cidr) || !isCIDR(r.cidr) || cidr(r.cidr).ip().family() == 4) : true) && (has(self.importV4) ? self.importV4.all(r, !has(r.cidr) || !isCIDR(r.cidr) || cidr(r.cidr).ip().family() == 4) : true)").message("exportV4 and importV4 take IPv4 networks only"),
    validation = Rule::new("(has(self.exportV6) ? self.exportV6.all(r, !has(r.cidr) || !isCIDR(r.cidr) || cidr(r.cidr).ip().family() == 6) : true) && (has(self.importV6) ? self.importV6.all(r, !has(r.cidr) || !isCIDR(r.cidr) || cidr(r.cidr).ip().family() == 6) : true)").message("exportV6 and importV6 take IPv6 networks only")
)]
pub struct BgpFilterSpec {
    /// What of IPv4 is announced to the peer.
    #[serde(default, rename = "exportV4", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub export_v4: Vec<BgpFilterRule>,
    /// What of IPv4 is accepted from the peer.
    #[serde(default, rename = "importV4", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub import_v4: Vec<BgpFilterRule>,
    /// What of IPv6 is announced to the peer.
    #[serde(default, rename = "exportV6", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub export_v6: Vec<BgpFilterRule>,
    /// What of IPv6 is accepted from the peer.
    #[serde(default, rename = "importV6", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub import_v6: Vec<BgpFilterRule>,
}

/// A route matches a rule if everything that the rule names holds for it.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.cidr) == has(self.matchOperator)").message("cidr and matchOperator go together: give both or neither"),
    validation = Rule::new("!has(self.cidr) || (isCIDR(self.cidr) && cidr(self.cidr) == cidr(self.cidr).masked())").message("cidr must be a network in CIDR form without host bits, such as 10.244.0.0/16"),
    validation = Rule::new("!has(self.prefixLength) || has(self.cidr)").message("prefixLength needs a cidr"),
    validation = Rule::new("!has(self.operations) || size(self.operations) == 0 || self.action == 'Accept'").message("operations are for rules that accept")
)]
pub struct BgpFilterRule {
    /// The network that `matchOperator` compares with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 4, max = 48))]
    pub cidr: Option<String>,
    /// How the prefix of the route stands to `cidr`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub match_operator: Option<MatchOperator>,
    /// Which prefix lengths count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix_length: Option<PrefixLengths>,
    /// Where the route comes from; left out: from anywhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RouteOrigin>,
    /// The interface through which the next hop of the route is reached; `*` stands for any run of characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 15))]
    pub interface: Option<String>,
    /// The type of the peer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_type: Option<PeerType>,
    /// Communities the route carries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub communities: Option<CommunityMatch>,
    /// What AS_PATH begins with, the nearest AS first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10), inner(range(min = 0, max = 4_294_967_295_u32)))]
    pub as_path_prefix: Vec<u32>,
    /// The priority of the route: 1024 unless `setPriority` gave it another; the lower the better.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 2_147_483_646))]
    pub priority: Option<u32>,
    /// What becomes of a route that matches.
    pub action: FilterAction,
    /// What is done to a route that is accepted, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub operations: Vec<FilterOperation>,
}

/// How a prefix stands to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum MatchOperator {
    /// It is the network.
    Equal,
    /// It is not the network.
    NotEqual,
    /// It is the network or lies inside it.
    In,
    /// It neither is the network nor lies inside it.
    NotIn,
}

/// Lengths of prefixes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PrefixLengths {
    /// The shortest; that of the network if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub min: Option<u8>,
    /// The longest; that of a host if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 128))]
    pub max: Option<u8>,
}

/// Where a route comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum RouteOrigin {
    /// From a BGP peer, and not from this node.
    RemotePeers,
}

/// The type of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum PeerType {
    /// Of another AS.
    #[serde(rename = "eBGP")]
    External,
    /// Of the node's own AS.
    #[serde(rename = "iBGP")]
    Internal,
}

/// Communities of a route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct CommunityMatch {
    /// One community, `64512:7` or `64512:1:2`.
    #[schemars(
        length(min = 1, max = 1),
        inner(length(max = 32), regex(pattern = r"^[0-9]+:[0-9]+(:[0-9]+)?$"))
    )]
    pub values: Vec<String>,
}

/// What becomes of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum FilterAction {
    /// It passes, and no further rule is tried.
    Accept,
    /// It does not pass.
    Reject,
}

/// Something done to a route: exactly one of the fields.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.addCommunity) ? 1 : 0) + (has(self.prependASPath) ? 1 : 0) + (has(self.setPriority) ? 1 : 0) == 1").message("an operation is exactly one of addCommunity, prependASPath and setPriority")
)]
pub struct FilterOperation {
    /// Adds a community.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_community: Option<AddCommunity>,
    /// Puts AS numbers in front of AS_PATH.
    #[serde(default, rename = "prependASPath", skip_serializing_if = "Option::is_none")]
    pub prepend_as_path: Option<PrependAsPath>,
    /// Gives the route another priority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set_priority: Option<SetPriority>,
}

/// A community to add.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct AddCommunity {
    /// `64512:7` or `64512:1:2`.
    #[schemars(length(max = 32), regex(pattern = r"^[0-9]+:[0-9]+(:[0-9]+)?$"))]
    pub value: String,
}

/// AS numbers to prepend.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct PrependAsPath {
    /// AS_PATH will begin with these, in this order.
    #[schemars(length(min = 1, max = 10), inner(range(min = 0, max = 4_294_967_295_u32)))]
    pub prefix: Vec<u32>,
}

/// A priority to set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub struct SetPriority {
    /// The lower the better; 1024 is that of other routes. It travels as LOCAL_PREF = 1124 - priority, at least 0.
    #[schemars(range(min = 1, max = 2_147_483_646))]
    pub value: u32,
}

//! The kinds that `get` knows: their spellings, and their columns. One row of [`KINDS`] is one kind.
//!
//! Cells are read from the JSON documents by path: a field that this program does not know yet is still there with
//! `-o json`.

use serde_json::Value;

use crate::failure::Failure;

/// One kind.
pub(crate) struct Kind {
    /// Plural name, as in the API and in the agent's contract.
    pub(crate) plural: &'static str,
    /// Singular name, used by `-o name`.
    pub(crate) singular: &'static str,
    /// Other spellings, in lower case.
    aliases: &'static [&'static str],
    /// The columns.
    pub(crate) columns: &'static [Column],
}

/// One column of a kind.
pub(crate) struct Column {
    /// Header.
    pub(crate) header: &'static str,
    /// Whether it is shown with `-o wide` only.
    pub(crate) wide: bool,
    /// The cell of a document.
    pub(crate) cell: fn(&Value) -> String,
}

const fn column(header: &'static str, cell: fn(&Value) -> String) -> Column {
    Column { header, wide: false, cell }
}

const fn wide(header: &'static str, cell: fn(&Value) -> String) -> Column {
    Column { header, wide: true, cell }
}

/// Every kind, in the order in which help and errors name them.
pub(crate) const KINDS: &[Kind] = &[
    Kind {
        plural: "networknodes",
        singular: "networknode",
        aliases: &["nodes", "node", "no", "nn"],
        columns: &[
            column("NAME", name),
            column("ASN", |d| field(d, "/spec/asNumber")),
            column("IPV4", |d| field(d, "/spec/ipv4")),
            column("IPV6", |d| field(d, "/spec/ipv6")),
            wide("REFLECTOR CLUSTER", |d| field(d, "/spec/routeReflectorClusterID")),
            wide("TUNNELS", |d| pairs(d, "/spec/tunnels")),
            wide("LABELS", |d| pairs(d, "/spec/labels")),
        ],
    },
    Kind {
        plural: "ippools",
        singular: "ippool",
        aliases: &["pools", "pool", "ipp"],
        columns: &[
            column("NAME", name),
            column("CIDR", |d| field(d, "/spec/cidr")),
            column("SELECTOR", |d| field(d, "/spec/nodeSelector")),
            column("ALLOCATABLE", |d| condition(d, "Allocatable")),
            wide("BLOCKSIZE", |d| field(d, "/spec/blockSize")),
            wide("NAT", |d| flag(d, "/spec/natOutgoing", false)),
            wide("IPIPMODE", |d| or(field(d, "/spec/ipipMode"), "Never")),
            wide("VXLANMODE", |d| or(field(d, "/spec/vxlanMode"), "Never")),
            wide("DISABLED", |d| flag(d, "/spec/disabled", false)),
            wide("DISABLEBGPEXPORT", |d| flag(d, "/spec/disableBGPExport", false)),
            wide("ASSIGNMENTMODE", |d| or(field(d, "/spec/assignmentMode"), "Automatic")),
        ],
    },
    Kind {
        plural: "ipamblocks",
        singular: "ipamblock",
        aliases: &["blocks", "block", "ipb"],
        columns: &[
            column("NAME", name),
            column("CIDR", |d| field(d, "/spec/cidr")),
            column("OWNER", |d| field(d, "/spec/owner/name")),
            column("POOL", |d| field(d, "/spec/pool")),
            column("ALLOCATIONS", |d| count(d, "/spec/allocations")),
            wide("KIND", |d| field(d, "/spec/owner/kind")),
            wide("LENDS", |d| flag(d, "/spec/lends", false)),
            wide("NODE UID", |d| field(d, "/spec/owner/nodeUID")),
        ],
    },
    Kind {
        plural: "bgppeers",
        singular: "bgppeer",
        aliases: &["bgpp", "peers", "peer"],
        columns: &[
            column("NAME", name),
            column("PEERIP", peer_address),
            column("NODE", peer_nodes),
            column("ASN", peer_as),
            wide("PEERSELECTOR", |d| field(d, "/spec/peerSelector")),
            wide("HOLDTIME", |d| field(d, "/spec/holdTime")),
            wide("ACCEPTED", |d| condition(d, "Accepted")),
        ],
    },
    Kind {
        plural: "bgpfilters",
        singular: "bgpfilter",
        aliases: &["bgpf"],
        columns: &[
            column("NAME", name),
            column("EXPORTV4", |d| count(d, "/spec/exportV4")),
            column("IMPORTV4", |d| count(d, "/spec/importV4")),
            column("EXPORTV6", |d| count(d, "/spec/exportV6")),
            column("IMPORTV6", |d| count(d, "/spec/importV6")),
        ],
    },
    Kind {
        plural: "bgpconfigurations",
        singular: "bgpconfiguration",
        aliases: &["bgpconfigs", "bgpconfig", "bgpc"],
        columns: &[
            column("NAME", name),
            column("MESHENABLED", |d| or(field(d, "/spec/nodeToNodeMeshEnabled"), "-")),
            column("ASNUMBER", |d| or(field(d, "/spec/asNumber"), "-")),
            wide("LISTENPORT", |d| or(field(d, "/spec/listenPort"), "-")),
            wide("HOLDTIME", |d| or(field(d, "/spec/holdTime"), "-")),
        ],
    },
    Kind {
        plural: "ipreservations",
        singular: "ipreservation",
        aliases: &["ipr", "reservations", "reservation"],
        columns: &[column("NAME", name), column("RESERVEDCIDRS", |d| field(d, "/spec/reservedCIDRs"))],
    },
    Kind {
        plural: "ipamconfigs",
        singular: "ipamconfig",
        aliases: &["ipamconfigurations", "ipamconfiguration", "ipamc"],
        columns: &[
            column("NAME", name),
            column("STRICTAFFINITY", |d| flag(d, "/spec/strictAffinity", true)),
            column("MAXBLOCKSPERHOST", |d| or(field(d, "/spec/maxBlocksPerHost"), "0")),
            column("AUTOALLOCATEBLOCKS", |d| flag(d, "/spec/autoAllocateBlocks", true)),
            column("IPCOOLDOWNSECONDS", |d| or(field(d, "/spec/ipCooldownSeconds"), "180")),
        ],
    },
];

/// Finds the kinds of a comma list.
pub(crate) fn parse(list: &str) -> Result<Vec<&'static Kind>, Failure> {
    let mut kinds: Vec<&'static Kind> = Vec::new();
    for word in list.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let lower = word.to_lowercase();
        let kind = KINDS
            .iter()
            .find(|k| k.plural == lower || k.singular == lower || k.aliases.contains(&lower.as_str()))
            .ok_or_else(|| unknown(word))?;
        if !kinds.iter().any(|known| known.plural == kind.plural) {
            kinds.push(kind);
        }
    }
    if kinds.is_empty() { Err(unknown(list)) } else { Ok(kinds) }
}

fn unknown(found: &str) -> Failure {
    let known: Vec<&str> = KINDS.iter().map(|kind| kind.plural).collect();
    Failure::UnknownKind { found: found.to_owned(), known: known.join(", ") }
}

/// The name of a document.
pub(crate) fn name(document: &Value) -> String {
    field(document, "/metadata/name")
}

fn field(document: &Value, path: &str) -> String {
    match document.pointer(path) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn flag(document: &Value, path: &str, default: bool) -> String {
    document.pointer(path).and_then(Value::as_bool).unwrap_or(default).to_string()
}

fn or(text: String, default: &str) -> String {
    if text.is_empty() { default.to_owned() } else { text }
}

fn count(document: &Value, path: &str) -> String {
    let found = document.pointer(path);
    let length = found.map_or(0, |found| match found {
        Value::Object(map) => map.len(),
        Value::Array(list) => list.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    });
    length.to_string()
}

fn pairs(document: &Value, path: &str) -> String {
    let entries = document.pointer(path).and_then(Value::as_object);
    let texts: Vec<String> = entries
        .into_iter()
        .flatten()
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
        .collect();
    texts.join(",")
}

/// The status of a condition, with its reason where it is not `True`.
fn condition(document: &Value, kind: &str) -> String {
    let conditions = document.pointer("/status/conditions").and_then(Value::as_array);
    let found = conditions.into_iter().flatten().find(|c| c["type"] == kind);
    match found {
        None => "Unknown".to_owned(),
        Some(c) if c["status"] == "True" => "True".to_owned(),
        Some(c) => format!("{} ({})", field(c, "/status"), field(c, "/reason")),
    }
}

/// Where a peer is, or where it may come from.
fn peer_address(document: &Value) -> String {
    let said = ["/spec/peerIP", "/spec/peerRange", "/spec/interface"].map(|path| field(document, path));
    said.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
}

/// In which AS a peer is, or may be.
fn peer_as(document: &Value) -> String {
    let several = document.pointer("/spec/asNumbers").and_then(Value::as_array);
    let several = several.map(|list| list.iter().map(Value::to_string).collect::<Vec<_>>().join(","));
    let one = ["/spec/asNumber", "/spec/asType"].map(|path| field(document, path));
    one.into_iter().find(|text| !text.is_empty()).or(several).unwrap_or_default()
}

/// Which nodes hold the session, in Calico's words.
fn peer_nodes(document: &Value) -> String {
    let (node, selector) = (field(document, "/spec/node"), field(document, "/spec/nodeSelector"));
    if !node.is_empty() {
        node
    } else if !selector.is_empty() {
        selector
    } else {
        "(global)".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_in_every_spelling_and_once() {
        let found = |list: &str| parse(list).unwrap().iter().map(|k| k.plural).collect::<Vec<_>>();
        assert_eq!(found("IPPool"), ["ippools"]);
        assert_eq!(found("bgpPeer,bgpconfig,bgppeers"), ["bgppeers", "bgpconfigurations"]);
        assert_eq!(found("nodes, ipamConfiguration,"), ["networknodes", "ipamconfigs"]);
        assert_eq!(found("blocks"), ["ipamblocks"]);
    }

    #[test]
    fn no_spelling_means_two_kinds() {
        let mut all: Vec<&str> =
            KINDS.iter().flat_map(|k| k.aliases.iter().copied().chain([k.plural, k.singular])).collect();
        let number = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), number);
    }

    #[test]
    fn a_peer_is_shown_by_what_says_where_it_is_and_in_which_as() {
        let shown = |spec: Value| {
            let document = serde_json::json!({ "spec": spec });
            format!("{} {}", peer_address(&document), peer_as(&document))
        };
        assert_eq!(shown(serde_json::json!({"peerIP": "192.0.2.1", "asNumber": 65001})), "192.0.2.1 65001");
        assert_eq!(
            shown(serde_json::json!({"peerRange": "10.1.0.0/24", "asNumbers": [1, 2]})),
            "10.1.0.0/24 1,2"
        );
        assert_eq!(shown(serde_json::json!({"interface": "eth1", "asType": "External"})), "eth1 External");
        assert_eq!(shown(serde_json::json!({"peerSelector": "all()"})), " ");
    }

    #[test]
    fn an_unknown_kind_is_told_the_known_ones() {
        let error = parse("ippools,gateways").err().unwrap().to_string();
        assert!(error.contains("'gateways'") && error.contains("bgpconfigurations"), "{error}");
        assert!(parse(",").is_err());
    }
}

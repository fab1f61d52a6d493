//! The table: resources that are right, wrong, and changed.

use serde_json::{Value, json};

pub(crate) fn right() -> Vec<(&'static str, &'static str, Value)> {
    vec![
        ("IPPool", "v4", json!({"cidr": "10.244.0.0/16"})),
        ("IPPool", "v6", json!({"cidr": "fd00:244::/48", "blockSize": 122, "vxlanMode": "CrossSubnet"})),
        ("IPPool", "one-block", json!({"cidr": "10.0.0.0/26"})),
        ("IPPool", "largest-blocks", json!({"cidr": "10.0.0.0/24", "blockSize": 24, "ipipMode": "Always"})),
        ("IPPool", "smallest-blocks", json!({"cidr": "fd00::/120", "blockSize": 128})),
        ("IPPool", "uses", json!({"cidr": "10.0.0.0/16", "allowedUses": ["Workload", "Tunnel"]})),
        ("IPAMConfig", "default", json!({})),
        ("IPAMConfig", "default", json!({"strictAffinity": false, "maxBlocksPerHost": 4})),
        ("IPAMBlock", "10-244-0-0-26", block("10.244.0.0/26")),
        ("BGPConfiguration", "default", json!({"asNumber": 64512, "nodeToNodeMeshEnabled": true})),
        (
            "BGPConfiguration",
            "default",
            json!({"bmpCollectors": [{"address": "[2001:db8::1]:5000", "monitoring": ["PostPolicy"]}]}),
        ),
        ("BGPConfiguration", "node.worker-1", json!({"asNumber": 4_294_967_294_u32, "holdTime": 0})),
        ("BGPPeer", "tor", json!({"peerIP": "192.0.2.1", "asNumber": 65001, "nodeSelector": "rack == 'a'"})),
        ("BGPPeer", "reflectors", json!({"peerSelector": "has(reflector)", "holdTime": 3})),
        ("BGPPeer", "one-node", json!({"node": "n1", "peerIP": "[2001:db8::1]:1179", "asNumber": 65001})),
        (
            "BGPPeer",
            "filtered",
            json!({"peerIP": "192.0.2.1", "asNumber": 65001, "filters": ["only-pools"], "maxPrefixes": {"ipv4": 1000}, "addPaths": {"receive": true, "send": true, "sendMax": 4}}),
        ),
        (
            "BGPPeer",
            "racks",
            json!({"peerRange": "10.1.0.0/24", "maxPeers": 8, "asNumbers": [65001, 65002], "ttlSecurity": 1, "longLivedStaleTime": 3600, "maxRestartTime": "10m"}),
        ),
        (
            "BGPPeer",
            "cable",
            json!({"interface": "eth1.100", "asType": "External", "passive": true, "bfd": {}}),
        ),
        (
            "BGPPeer",
            "on-a-link",
            json!({"peerIP": "[fe80::1%eth0]:1179", "asNumber": 65001, "keepaliveTime": "20s", "localASNumber": 65100}),
        ),
        (
            "BGPPeer",
            "far",
            json!({"peerIP": "192.0.2.1", "asNumber": 65001, "multihop": 3, "device": "eth0"}),
        ),
        ("BGPConfiguration", "default", json!({"nodeMeshLongLivedStaleTime": 3600})),
        (
            "BGPFilter",
            "only-pools",
            json!({
                "exportV4": [
                    {"cidr": "10.244.0.0/16", "matchOperator": "In", "prefixLength": {"min": 26, "max": 28}, "action": "Accept",
                     "operations": [{"addCommunity": {"value": "64512:7"}}, {"prependASPath": {"prefix": [64512, 4_294_967_295_u32]}},
                                    {"setPriority": {"value": 512}}]},
                    {"source": "RemotePeers", "interface": "eth*", "peerType": "eBGP", "asPathPrefix": [65001],
                     "communities": {"values": ["64512:1:2"]}, "priority": 1024, "action": "Reject"},
                    {"action": "Reject"}
                ],
                "importV6": [{"cidr": "fd00::/8", "matchOperator": "NotIn", "action": "Reject"}]
            }),
        ),
        (
            "BGPConfiguration",
            "default",
            json!({
                "communities": [{"name": "pods", "value": "64512:100"}],
                "prefixAdvertisements": [{"cidr": "10.244.0.0/16", "communities": ["pods", "64512:1:2"]}]
            }),
        ),
        ("NetworkNode", "n1", json!({"asNumber": 64512, "ipv4": "172.30.0.11/24", "labels": {"rack": "a"}})),
        ("NetworkNodeStatus", "n1", json!({})),
    ]
}

const CIDR: &str = "cidr must be a network in CIDR form without host bits, such as 10.244.0.0/16";
const BLOCK_SIZE: &str = "blockSize must be 24 to 32 for IPv4 and 120 to 128 for IPv6";
const HOLD_TIME: &str = "holdTime is 0 or at least 3 seconds";
const WHICH_PEER: &str = "name the peer by exactly one of peerIP, peerSelector, peerRange and interface";
const WHICH_AS: &str =
    "asNumber is required with peerIP, peerRange and interface, or one of asNumbers and asType";

pub(crate) fn wrong() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    vec![
        ("IPPool", "host-bits", json!({"cidr": "10.244.0.1/16"}), CIDR),
        ("IPPool", "host-bits", json!({"cidr": "fd00:244::1/48"}), CIDR),
        ("IPPool", "address", json!({"cidr": "10.244.0.0"}), CIDR),
        ("IPPool", "words", json!({"cidr": "everything"}), CIDR),
        ("IPPool", "no-cidr", json!({}), ".spec: cidr: Required value"),
        ("IPPool", "v4-in-v6", json!({"cidr": "fd00:244::/48", "blockSize": 26}), BLOCK_SIZE),
        ("IPPool", "v6-in-v4", json!({"cidr": "10.0.0.0/16", "blockSize": 122}), BLOCK_SIZE),
        ("IPPool", "between", json!({"cidr": "10.0.0.0/16", "blockSize": 33}), BLOCK_SIZE),
        ("IPPool", "between", json!({"cidr": "fd00::/48", "blockSize": 119}), BLOCK_SIZE),
        ("IPPool", "large", json!({"cidr": "10.0.0.0/16", "blockSize": 23}), "must have minimum 24"),
        ("IPPool", "large", json!({"cidr": "fd00::/48", "blockSize": 129}), "must have maximum 128"),
        ("IPPool", "no-block", json!({"cidr": "10.0.0.0/27"}), "the pool is smaller than one block"),
        ("IPPool", "no-block", json!({"cidr": "fd00::/123"}), "the pool is smaller than one block"),
        (
            "IPPool",
            "no-block",
            json!({"cidr": "10.0.0.0/28", "blockSize": 24}),
            "the pool is smaller than one block",
        ),
        (
            "IPPool",
            "both",
            json!({"cidr": "10.0.0.0/16", "ipipMode": "Always", "vxlanMode": "CrossSubnet"}),
            "ipipMode and vxlanMode cannot both be on",
        ),
        (
            "IPPool",
            "ipip",
            json!({"cidr": "fd00::/48", "ipipMode": "Always"}),
            "ipipMode is for IPv4 pools only",
        ),
        (
            "IPPool",
            "enum",
            json!({"cidr": "10.0.0.0/16", "ipipMode": "Sometimes"}),
            "Unsupported value \"Sometimes\"",
        ),
        (
            "IPPool",
            "case",
            json!({"cidr": "10.0.0.0/16", "vxlanMode": "always"}),
            "Unsupported value \"always\"",
        ),
        (
            "IPPool",
            "use",
            json!({"cidr": "10.0.0.0/16", "allowedUses": ["Pods"]}),
            "Unsupported value \"Pods\"",
        ),
        ("IPPool", "type", json!({"cidr": "10.0.0.0/16", "disabled": "no"}), "must be of type \"boolean\""),
        ("IPAMConfig", "mine", json!({}), "the only IPAMConfig is the one named default"),
        (
            "IPAMConfig",
            "default",
            json!({"strictAffinity": false, "autoAllocateBlocks": false}),
            "with strictAffinity off, autoAllocateBlocks must be on",
        ),
        ("IPAMConfig", "default", json!({"ipCooldownSeconds": 1201}), "must have maximum 1200"),
        ("IPAMBlock", "b", block("10.244.0.1/26"), "cidr must be a network in CIDR form without host bits"),
        (
            "IPAMBlock",
            "b",
            with(block("10.244.0.0/26"), "allocations", many()),
            "must have maxProperties 256",
        ),
        (
            "IPAMBlock",
            "b",
            with(block("10.244.0.0/26"), "allocations", json!({"1": "x".repeat(1025)})),
            "must have maxLength 1024",
        ),
        ("BGPConfiguration", "mine", json!({}), "a BGPConfiguration is named default, or node.<name>"),
        (
            "BGPConfiguration",
            "default",
            json!({"bmpCollectors": [{"address": "192.0.2.1:5000", "statisticsInterval": 0}]}),
            "must have minimum 1",
        ),
        ("BGPConfiguration", "default", json!({"holdTime": 1}), HOLD_TIME),
        ("BGPConfiguration", "default", json!({"asNumber": 0}), "must have minimum 1"),
        (
            "BGPConfiguration",
            "default",
            json!({"asNumber": 4_294_967_295_u32}),
            "must have maximum 4294967294",
        ),
        ("BGPPeer", "p", json!({"asNumber": 65001}), WHICH_PEER),
        ("BGPPeer", "p", json!({"peerIP": "192.0.2.1", "peerSelector": "all()", "asNumber": 1}), WHICH_PEER),
        ("BGPPeer", "p", json!({"peerIP": "192.0.2.1"}), "asNumber is required with peerIP"),
        ("BGPPeer", "p", json!({"peerIP": "192.0.2.1", "asNumber": 0}), "asNumber is required with peerIP"),
        ("BGPPeer", "p", json!({"peerRange": "10.1.0.0/24", "interface": "eth0", "asNumber": 1}), WHICH_PEER),
        ("BGPPeer", "p", json!({"interface": "eth0"}), WHICH_AS),
        ("BGPPeer", "p", json!({"interface": "eth0", "asNumber": 1, "asType": "External"}), WHICH_AS),
        ("BGPPeer", "p", json!({"interface": "eth0", "asNumbers": []}), "must have minItems 1"),
        ("BGPPeer", "p", json!({"interface": "eth0", "asNumbers": [0]}), "must have minimum 1"),
        (
            "BGPPeer",
            "p",
            json!({"interface": "a-name-too-long-for-linux", "asNumber": 1}),
            "must have maxLength 15",
        ),
        (
            "BGPPeer",
            "p",
            json!({"peerSelector": "all()", "asType": "Internal"}),
            "the AS numbers of nodes are known",
        ),
        (
            "BGPPeer",
            "p",
            json!({"peerIP": "192.0.2.1", "asNumber": 1, "maxPeers": 2}),
            "maxPeers is for peerRange",
        ),
        (
            "BGPPeer",
            "p",
            json!({"peerRange": "10.1.0.0/24", "asNumber": 1, "connectRetry": 5}),
            "peers of a range are never dialled",
        ),
        (
            "BGPPeer",
            "p",
            json!({"interface": "eth0", "asNumber": 1, "device": "eth1"}),
            "interface says where the peer is",
        ),
        (
            "BGPPeer",
            "p",
            json!({"peerIP": "192.0.2.1", "asNumber": 1, "ttlSecurity": 1, "multihop": 2}),
            "ttlSecurity says that the peer is near",
        ),
        (
            "BGPPeer",
            "p",
            json!({"peerIP": "192.0.2.1", "asNumber": 1, "longLivedStaleTime": 60, "maxRestartTime": "0m0s"}),
            "longLivedStaleTime begins when maxRestartTime is over",
        ),
        (
            "BGPPeer",
            "p",
            json!({"peerIP": "192.0.2.1", "asNumber": 1, "tcpAO": {"keys": [{"id": 1, "secret": "s"}]}}),
            "TCP-AO (RFC 5925) is not offered",
        ),
        ("BGPPeer", "p", json!({"peerSelector": "all()", "holdTime": 2}), HOLD_TIME),
        (
            "BGPPeer",
            "p",
            json!({"peerSelector": "all()", "maxPrefixes": {}}),
            "give a limit for ipv4, ipv6 or both",
        ),
        (
            "BGPPeer",
            "p",
            json!({"peerSelector": "all()", "maxPrefixes": {"ipv4": 1, "action": "Stop", "restartSeconds": 5}}),
            "restartSeconds is for action Restart",
        ),
        (
            "BGPFilter",
            "f",
            json!({"exportV4": [{"cidr": "fd00::/8", "matchOperator": "In", "action": "Accept"}]}),
            "exportV4 and importV4 take IPv4 networks only",
        ),
        (
            "BGPFilter",
            "f",
            json!({"importV6": [{"cidr": "10.0.0.0/8", "matchOperator": "In", "action": "Accept"}]}),
            "exportV6 and importV6 take IPv6 networks only",
        ),
        (
            "BGPFilter",
            "f",
            json!({"importV4": [{"cidr": "10.0.0.0/8", "action": "Accept"}]}),
            "cidr and matchOperator go together",
        ),
        (
            "BGPFilter",
            "f",
            json!({"importV4": [{"cidr": "10.0.0.1/8", "matchOperator": "In", "action": "Accept"}]}),
            CIDR,
        ),
        (
            "BGPFilter",
            "f",
            json!({"importV4": [{"prefixLength": {"min": 8}, "action": "Accept"}]}),
            "prefixLength needs a cidr",
        ),
        (
            "BGPFilter",
            "f",
            json!({"importV4": [{"action": "Reject", "operations": [{"setPriority": {"value": 1}}]}]}),
            "operations are for rules that accept",
        ),
        (
            "BGPFilter",
            "f",
            json!({"importV4": [{"action": "Accept", "operations": [{}]}]}),
            "an operation is exactly one of addCommunity, prependASPath and setPriority",
        ),
        (
            "BGPFilter",
            "f",
            json!({"importV4": [{"cidr": "10.0.0.0/8", "matchOperator": "In"}]}),
            "action: Required value",
        ),
        (
            "BGPPeer",
            "p",
            json!({"peerSelector": "all()", "node": "n1", "nodeSelector": "all()"}),
            "choose nodes by node or by nodeSelector, not both",
        ),
        ("BGPPeer", "p", json!({"peerSelector": "all()", "nextHopMode": "Me"}), "Unsupported value \"Me\""),
    ]
}

const FIXED: &str = "cidr cannot be changed: make a new pool and delete this one";
const FIXED_SIZE: &str = "blockSize cannot be changed: make a new pool and delete this one";

type Change = (&'static str, &'static str, Value, Value, Option<&'static str>);

pub(crate) fn changes() -> Vec<Change> {
    let pool = json!({"cidr": "10.244.0.0/16"});
    vec![
        ("IPPool", "p", pool.clone(), with(pool.clone(), "natOutgoing", json!(true)), None),
        ("IPPool", "p", pool.clone(), with(pool.clone(), "ipipMode", json!("Always")), None),
        ("IPPool", "p", pool.clone(), json!({"cidr": "10.245.0.0/16"}), Some(FIXED)),
        ("IPPool", "p", pool.clone(), with(pool.clone(), "blockSize", json!(27)), Some(FIXED_SIZE)),
        ("IPPool", "p", with(pool.clone(), "blockSize", json!(27)), pool.clone(), Some(FIXED_SIZE)),
        (
            "IPAMBlock",
            "b",
            block("10.244.0.0/26"),
            block("10.244.0.64/26"),
            Some("cidr cannot be changed: the object's name is made from it"),
        ),
        ("IPAMBlock", "b", block("10.244.0.0/26"), with(block("10.244.0.0/26"), "shared", json!(true)), None),
    ]
}

fn block(cidr: &str) -> Value {
    json!({"cidr": cidr, "owner": {"kind": "Node", "name": "n1"}, "pool": "p", "poolUID": "u"})
}

fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

fn many() -> Value {
    (0..257).map(|ordinal| (ordinal.to_string(), json!("h/0///"))).collect::<serde_json::Map<_, _>>().into()
}

//! The fixed answers: a node with one good and one failing peer.

use caracal_proto::prost_types::{Duration, Timestamp};
use caracal_proto::v1::*;
use serde_json::{Value, json};

/// Long ago, so that tables write the date: 2026-01-02T03:04:05Z.
fn moment() -> Option<Timestamp> {
    Some(Timestamp { seconds: 1_767_323_045, nanos: 0 })
}

pub(crate) fn status() -> GetStatusResponse {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| Condition {
        r#type: kind.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition: moment(),
    };
    GetStatusResponse {
        node: "node-1".into(),
        version: "9.8.7".into(),
        started: moment(),
        ipv4: Some("172.30.0.11/24".into()),
        ipv6: None,
        as_number: Some(64512),
        conditions: vec![
            condition("BGPEstablished", "False", "PeersDown", "1 of 2 peers is not established"),
            condition("Ready", "True", "Ready", ""),
        ],
        attachments: 3,
        blocks: vec!["10.244.0.0/26".into(), "fd00:244::/122".into()],
        watches: vec![
            Watch { kind: "ippools".into(), objects: 2, synced: true },
            Watch { kind: "bgppeers".into(), objects: 0, synced: false },
        ],
    }
}

pub(crate) fn system() -> CheckSystemResponse {
    let feature = |name: &str, purpose: &str, needed, reason: &str| SystemFeature {
        name: name.into(),
        purpose: purpose.into(),
        present: reason.is_empty(),
        needed,
        reason: reason.into(),
    };
    CheckSystemResponse {
        node: "node-1".into(),
        kernel: "6.12.0".into(),
        features: vec![
            feature("ipip", "pools with ipipMode", false, "the kernel has no ipip devices"),
            feature("vxlan", "pools with vxlanMode", true, ""),
        ],
    }
}

fn watched() -> Bfd {
    Bfd {
        state: "Up".into(),
        remote_state: "Up".into(),
        diagnostic: "the neighbour said that its session is down".into(),
        multihop: true,
        discriminator: 4_026_531_841,
        remote_discriminator: 7,
        transmit_interval_micros: 300_000,
        detection_time_micros: 900_000,
        age_millis: 61_500,
        ups: 2,
        downs: 1,
        packets_sent: 300,
        packets_received: 299,
        trouble: None,
    }
}

pub(crate) fn peers() -> Vec<Peer> {
    let counts = |family: Family, n| FamilyCounts {
        family: family.into(),
        received: n,
        accepted: n - 1,
        announced: 1,
    };
    vec![
        Peer {
            key: "172.30.0.12".into(),
            name: "node-2".into(),
            origin: PeerOrigin::Mesh.into(),
            remote_as: 64512,
            local_as: 64512,
            state: SessionState::Established.into(),
            since: moment(),
            router_id: Some("172.30.0.12".into()),
            families: vec![Family::Ipv4Unicast.into(), Family::Ipv6Unicast.into()],
            counts: vec![counts(Family::Ipv4Unicast, 3), counts(Family::Ipv6Unicast, 5)],
            hold_time_seconds: 90,
            last_error: None,
            transitions: 1,
            messages_received: 12,
            messages_sent: 11,
            features: vec!["four-octet-as".into(), "route-refresh".into()],
            faults: vec![WireFault {
                disposition: "TreatAsWithdraw".into(),
                section: "UPDATE attribute COMMUNITIES".into(),
                attribute: Some(8),
                rfc: "RFC 7606 §7.8".into(),
                words: "reading UPDATE attribute COMMUNITIES, octet 31: a length of 3 octets is not possible"
                    .into(),
                offset: 31,
                count: 2,
                last: moment(),
            }],
            bfd: Some(watched()),
            ..Peer::default()
        },
        Peer {
            key: "2001:db8::1".into(),
            name: "tor-a".into(),
            origin: PeerOrigin::Configured.into(),
            remote_as: 65001,
            local_as: 64512,
            state: SessionState::Active.into(),
            since: moment(),
            hold_time_seconds: 9,
            last_error: Some("connecting:\nconnection refused".into()),
            last_down: moment(),
            last_down_reason: Some("the peer ended it: Cease (6/2): back at noon".into()),
            ..Peer::default()
        },
    ]
}

pub(crate) fn routes() -> Vec<Route> {
    let route = |prefix: &str, next_hop: Option<&str>, peer: Option<&str>| Route {
        prefix: prefix.into(),
        next_hop: next_hop.map(Into::into),
        peer: peer.map(Into::into),
        source: RouteSource::Ibgp.into(),
        origin: "igp".into(),
        local_pref: Some(100),
        best: true,
        standing: "Best".into(),
        age: Some(Duration { seconds: 61, nanos: 0 }),
        ..Route::default()
    };
    vec![
        Route { source: RouteSource::Local.into(), ..route("10.244.0.0/26", None, None) },
        route("10.244.1.0/26", Some("172.30.0.12"), Some("172.30.0.12")),
        Route {
            as_path: "65001 65010".into(),
            source: RouteSource::Ebgp.into(),
            med: Some(5),
            communities: vec!["65001:7".into(), "no-export".into()],
            best: false,
            standing: "LowerLocalPref".into(),
            why_not: Some("its LOCAL_PREF 100 is lower than 200".into()),
            ..route("10.244.1.0/26", Some("2001:db8::1"), Some("2001:db8::1"))
        },
        route("fd00:244::40/122", Some("fd00:30::12"), Some("172.30.0.12")),
    ]
}

pub(crate) fn ipam() -> ShowResponse {
    let pool = |name: &str, cidr: &str, block_size, capacity: &str| PoolUse {
        name: name.into(),
        cidr: cidr.into(),
        block_size,
        capacity: capacity.into(),
        allocatable: true,
        node_blocks: 1,
        node_used: 3,
        ..PoolUse::default()
    };
    let block = |name: &str, cidr: &str, pool: &str| BlockUse {
        name: name.into(),
        cidr: cidr.into(),
        pool: pool.into(),
        owner: "node-1".into(),
        state: "Owned".into(),
        size: 64,
        used: 3,
        free: 60,
        held: 1,
        allocations: vec![Allocation {
            address: "10.244.0.1".into(),
            handle: "caracal.c1.eth0".into(),
            namespace: "default".into(),
            pod: "web-0".into(),
        }],
        ..BlockUse::default()
    };
    ShowResponse {
        node: "node-1".into(),
        fence: None,
        pools: vec![
            PoolUse { blocks: Some(2), used: Some(7), ..pool("pods-v4", "10.244.0.0/16", 26, "65536") },
            PoolUse {
                allocatable: false,
                not_allocatable_because: "the controller has not looked at the pool yet".into(),
                ..pool("pods-v6", "fd00:244::/48", 122, "1208925819614629174706176")
            },
        ],
        blocks: vec![
            block("10-244-0-0-26", "10.244.0.0/26", "pods-v4"),
            block("fd00-244---122", "fd00:244::/122", "pods-v6"),
            block("10-99-0-0-26", "10.99.0.0/26", "gone"),
            BlockUse {
                owner: "node-2".into(),
                state: "Borrowed".into(),
                used: 1,
                free: 0,
                held: 63,
                allocations: vec![Allocation {
                    address: "10.244.2.5".into(),
                    handle: "caracal.c5.eth0".into(),
                    namespace: "default".into(),
                    pod: "lodger".into(),
                }],
                ..block("10-244-2-0-26", "10.244.2.0/26", "pods-v4")
            },
        ],
    }
}

pub(crate) fn documents(kind: &str) -> Vec<Value> {
    let document = |kind: &str, name: &str, spec: Value| json!({"apiVersion": "caracal.dev/v1", "kind": kind, "metadata": {"name": name}, "spec": spec});
    match kind {
        "ippools" => vec![
            document(
                "IPPool",
                "pods-v4",
                json!({"cidr": "10.244.0.0/16", "nodeSelector": "all()", "ipipMode": "Always"}),
            ),
            document("IPPool", "pods-v6", json!({"cidr": "fd00:244::/48", "nodeSelector": "rack == 'a'"})),
        ],
        "networknodes" => vec![document(
            "NetworkNode",
            "node-1",
            json!({"ipv4": "172.30.0.11/24", "asNumber": 64512, "labels": {"rack": "a"}}),
        )],
        "ipamblocks" => vec![document(
            "IPAMBlock",
            "10-244-0-0-26",
            json!({"cidr": "10.244.0.0/26", "owner": {"kind": "Node", "name": "node-1"}, "pool": "pods-v4",
                   "poolUID": "u", "allocations": {"1": "w/1/h/ns/p"}}),
        )],
        "bgppeers" => vec![
            document("BGPPeer", "tor-a", json!({"peerIP": "192.0.2.1", "asNumber": 65001})),
            document(
                "BGPPeer",
                "tor-b",
                json!({"peerIP": "192.0.2.2", "asNumber": 65002, "nodeSelector": "rack == 'b'"}),
            ),
        ],
        "bgpconfigurations" => {
            vec![document("BGPConfiguration", "default", json!({"nodeToNodeMeshEnabled": true}))]
        }
        "ipamconfigs" => vec![document("IPAMConfig", "default", json!({"strictAffinity": true}))],
        _ => Vec::new(),
    }
}

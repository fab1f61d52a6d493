//! What people see: the real program against an agent with fixed answers, compared with the files in `tests/cli/golden`.
//!
//! `UPDATE_GOLDEN=1 cargo test -p caracalctl` writes the files anew; look at the difference before committing it.

use crate::support::{Agent, difference};

const SHOWN: &[(&str, &str)] = &[
    ("bgp-peers", "bgp peers"),
    ("bgp-peers-wide", "bgp peers -o wide"),
    ("bgp-routes", "bgp routes"),
    ("bgp-routes-wide", "bgp routes -o wide 10.244.1.0/26"),
    ("bgp-routes-ipv6", "bgp routes --family ipv6"),
    ("node-status", "node status"),
    ("node-checksystem", "node checksystem"),
    ("node-checksystem-json", "node checksystem -o json"),
    ("ipam-show", "ipam show"),
    ("ipam-show-blocks", "ipam show --blocks"),
    ("ipam-show-blocks-wide", "ipam show --show-blocks -o wide"),
    ("get-nodes-wide", "get nodes -o wide"),
    ("get-ippools", "get ippools"),
    ("get-ippools-wide", "get ipp -o wide"),
    ("get-several", "get blocks,bgpPeers,bgpConfig,ipamconfig"),
    ("bgp-peers-json", "bgp peers -o json"),
    ("bgp-neighbor", "bgp neighbor node-2"),
    ("bgp-neighbor-down", "bgp neighbor tor-a"),
    ("bgp-bfd-wide", "bgp bfd -o wide"),
    ("bgp-bfd-json", "bgp bfd -o json"),
    ("bgp-routes-json", "bgp routes -o json --peer 2001:db8::1"),
    ("ipam-show-json", "ipam show -o json"),
    ("ipam-show-borrowed", "ipam show --borrowed"),
    ("ipam-show-ip", "ipam show --ip 10.244.0.1"),
    ("ipam-show-ip-unknown", "ipam show --ip 10.244.7.7"),
    ("ipam-show-pool", "ipam show --pool pods-v4 --blocks"),
    ("ipam-show-node", "ipam show --node node-2"),
    ("node-status-yaml", "node status -o yaml"),
    ("get-ippool-yaml", "get ippool pods-v4 -o yaml"),
    ("get-ippools-json", "get ippools -o json"),
];

#[test]
fn tables_and_documents_are_as_they_were() {
    let agent = Agent::start();
    let differing: Vec<String> =
        SHOWN.iter().filter_map(|(name, words)| difference(name, &agent.ask(words))).collect();
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

#[test]
fn nothing_but_text_goes_into_a_pipe() {
    let agent = Agent::start();
    for words in ["bgp peers", "node status", "ipam show -o wide"] {
        assert!(!agent.ask(words).contains('\u{1b}'), "{words} prints escape sequences");
    }
}

#[test]
fn names_alone_are_printed_one_a_line() {
    let agent = Agent::start();
    assert_eq!(agent.ask("get ippools -o name"), "ippool.caracal.dev/pods-v4\nippool.caracal.dev/pods-v6\n");
    assert_eq!(agent.ask("bgp peers -o name"), "172.30.0.12\n2001:db8::1\n");
    assert_eq!(agent.ask("bgp routes -o name"), "10.244.0.0/26\n10.244.1.0/26\nfd00:244::40/122\n");
}

#[test]
fn yaml_and_json_say_the_same() {
    let agent = Agent::start();
    for words in ["bgp peers", "bgp routes", "ipam show", "node status", "get nodes", "get ippools pods-v6"] {
        let json: serde_json::Value = serde_json::from_str(&agent.ask(&format!("{words} -o json"))).unwrap();
        let yaml: serde_json::Value =
            serde_saphyr::from_str(&agent.ask(&format!("{words} -o yaml"))).unwrap();
        assert_eq!(json, yaml, "{words}");
    }
}

#[test]
fn commands_say_what_they_did() {
    let agent = Agent::start();
    assert_eq!(agent.ask("bgp reset node-2"), "The session with 172.30.0.12 was ended and starts anew.\n");
    let stopped = agent.ask("bgp stop node-2 --message=noon");
    assert!(stopped.starts_with("The session with node-2 was ended and stays down"), "{stopped}");
    assert_eq!(agent.ask("bgp start node-2"), "The session with node-2 may come up.\n");
    assert_eq!(
        agent.ask("version"),
        format!(
            "Client Version:    {}\nAgent Version:     9.8.7\nNode:              node-1\n",
            env!("CARGO_PKG_VERSION")
        )
    );
}

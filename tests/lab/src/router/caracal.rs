//! The task in the words of `caracal-bgpd`: TOML.

use std::fmt::Write as _;
use std::path::Path;

use super::{PrefixRange, Recipe, SOCKET, Speaker};

/// The route protocol number that it marks its routes with.
const PROTOCOL: u8 = 67;
const FILE: &str = "/run/caracal/bgpd.toml";
/// How long a router's peers keep its routes while it is away, in seconds. BIRD and FRR keep those of a peer that asks for it
/// without being told.
const RESTART_TIME: u16 = 120;

pub(super) fn recipes(speaker: &Speaker, programs: &Path) -> Vec<Recipe> {
    vec![Recipe {
        name: "bgpd",
        program: programs.join("caracal-bgpd"),
        arguments: vec!["--config".into(), FILE.into()],
        file: (FILE, configuration(speaker)),
        sign: Some(SOCKET),
    }]
}

fn configuration(speaker: &Speaker) -> String {
    let mut text = format!(
        "[speaker]\nas = {}\nrouter-id = \"{}\"\nsocket = \"{SOCKET}\"\n\n[fib]\nprotocol = {PROTOCOL}\n",
        speaker.asn, speaker.id
    );
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    for network in &speaker.originates {
        line(format!("\n[[originate]]\nprefix = \"{network}\""));
    }
    let families: Vec<&str> = speaker
        .versions()
        .iter()
        .map(|v6| if *v6 { "\"ipv6-unicast\"" } else { "\"ipv4-unicast\"" })
        .collect();
    for neighbour in &speaker.neighbours {
        line(format!(
            "\n[[peer]]\nname = \"{}\"\naddress = \"{}\"\nlocal-address = \"{}\"\nas = {}\nfamilies = [{}]\n\
             connect-retry = 1\ngraceful-restart = {RESTART_TIME}\nimport = \"{}\"",
            neighbour.name,
            neighbour.address,
            neighbour.local,
            neighbour.asn,
            families.join(", "),
            if neighbour.node { "from-nodes" } else { "from-routers" }
        ));
    }
    for (name, ranges) in [("from-routers", &speaker.from_routers), ("from-nodes", &speaker.from_nodes)] {
        line(format!("\n[[policy]]\nname = \"{name}\"\ndefault = \"reject\""));
        if !ranges.is_empty() {
            let prefixes: Vec<String> = ranges.iter().map(range).collect();
            line(format!("[[policy.rule]]\nprefixes = [{}]\naction = \"accept\"", prefixes.join(", ")));
        }
    }
    text
}

fn range(range: &PrefixRange) -> String {
    let mut words = format!("\"{}", range.network);
    if range.longest > range.network.prefix() {
        // Writing to a String cannot fail.
        write!(words, " le {}", range.longest).unwrap_or_default();
    }
    words + "\""
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Design, Topology};

    #[test]
    fn the_file_is_toml_and_holds_every_session() {
        let topology = Topology::default().with_design(Design::Tor);
        let text = configuration(&Speaker::of(&topology, &topology.racks[0]));
        let value: toml::Table = text.parse().unwrap();
        assert_eq!(value["speaker"]["as"].as_integer(), Some(64601));
        let peers = value["peer"].as_array().unwrap();
        assert_eq!(peers.len(), 3);
        assert_eq!(peers[0]["address"].as_str(), Some("172.29.0.2"));
        assert_eq!(peers[1]["import"].as_str(), Some("from-nodes"));
        let prefixes = value["policy"][0]["rule"][0]["prefixes"].as_array().unwrap();
        assert_eq!(prefixes[0].as_str(), Some("172.30.0.0/24"));
        assert_eq!(prefixes[4].as_str(), Some("10.244.0.0/16 le 32"));
    }
}

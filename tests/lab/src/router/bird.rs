//! The task in the words of BIRD 2.

use super::{Recipe, Speaker};

const FILE: &str = "/run/bird/bird.conf";
const SOCKET: &str = "/run/bird/bird.ctl";

pub(super) fn recipes(speaker: &Speaker) -> Vec<Recipe> {
    let arguments = ["-f", "-c", FILE, "-s", SOCKET, "-P", "/run/bird/bird.pid"];
    vec![Recipe {
        name: "bird",
        program: "/usr/sbin/bird".into(),
        arguments: arguments.map(str::to_owned).to_vec(),
        file: (FILE, configuration(speaker)),
        sign: Some(SOCKET),
    }]
}

fn configuration(speaker: &Speaker) -> String {
    let mut lines = vec![
        "log stderr all;".to_owned(),
        format!("router id {};", speaker.id),
        "protocol device {}".to_owned(),
    ];
    let channels: String = speaker.versions().iter().map(|v6| format!(" {};", channel(*v6))).collect();
    lines.push(format!("protocol direct {{{channels} interface \"{}\"; }}", speaker.rack_device));
    for v6 in speaker.versions() {
        lines.push(format!(
            "protocol kernel {{ {} {{ import none; export where source = RTS_BGP; }}; }}",
            channel(*v6)
        ));
    }
    for neighbour in &speaker.neighbours {
        lines.push(format!("protocol bgp {} {{", neighbour.name.replace('-', "_")));
        lines.push(format!("  local {} as {};", neighbour.local, speaker.asn));
        lines.push(format!("  neighbor {} as {};", neighbour.address, neighbour.asn));
        lines.push("  connect delay time 1; connect retry time 1; error wait time 1, 5;".into());
        for v6 in speaker.versions() {
            lines.push(format!(
                "  {} {{ import {}; export where source ~ [RTS_DEVICE, RTS_BGP]; }};",
                channel(*v6),
                filter(speaker, neighbour.node, *v6)
            ));
        }
        lines.push("}".into());
    }
    lines.join("\n") + "\n"
}

fn channel(v6: bool) -> &'static str {
    if v6 { "ipv6" } else { "ipv4" }
}

fn filter(speaker: &Speaker, node: bool, v6: bool) -> String {
    let ranges: Vec<String> = speaker
        .accepted(node, v6)
        .map(|range| format!("{}{{{},{}}}", range.network, range.network.prefix(), range.longest))
        .collect();
    // A set without members cannot be written.
    if ranges.is_empty() { "none".into() } else { format!("where net ~ [{}]", ranges.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Design, Topology};

    #[test]
    fn sessions_and_filters_are_written() {
        let topology = Topology::default().with_design(Design::Tor);
        let text = configuration(&Speaker::of(&topology, &topology.racks[0]));
        for line in [
            "router id 172.29.0.1;",
            "  local 172.29.0.1 as 64601;",
            "  neighbor 172.29.0.2 as 64602;",
            "  local 172.30.0.1 as 64601;",
            "  neighbor 172.30.0.12 as 65002;",
            "  ipv6 { import where net ~ [fd00:244::/48{48,128}]; export where source ~ [RTS_DEVICE, RTS_BGP]; };",
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
    }
}

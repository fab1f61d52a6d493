//! FRR: its `bgpd` alone, without `zebra`.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use caracal_lab::Process;
use serde_json::Value;

use crate::peer::{Neighbor, Peer, Plan, Seen};
use crate::segment::Host;

/// A running `bgpd` of FRR.
pub(crate) struct Frr {
    _process: Process,
    vty: String,
}

fn configuration(host: &Host, plan: &Plan) -> String {
    // Maps come first and count at once: a change of them is else told to peers after five seconds.
    let mut text = String::from("hostname frr\nlog stdout\nbgp route-map delay-timer 0\n");
    for prefix in &plan.v6 {
        writeln!(text, "ipv6 prefix-list OWN6 permit {prefix}").unwrap();
    }
    text.push_str("route-map TAGS permit 10\n set community 64700:8\n set large-community 64700:1:2\n");
    text.push_str(" set extcommunity rt 64700:9\nexit\n");
    // Without zebra it does not know its own IPv6 address; routes that it passes on keep their next hop.
    writeln!(text, "route-map OWN6 permit 10\n match ipv6 address prefix-list OWN6").unwrap();
    writeln!(text, " set ipv6 next-hop global {}\nexit\nroute-map OWN6 permit 20\nexit", host.v6()).unwrap();
    writeln!(text, "router bgp {}\n bgp router-id {}", plan.asn, host.v4()).unwrap();
    text.push_str(" no bgp ebgp-requires-policy\n no bgp default ipv4-unicast\n no bgp network import-check\n coalesce-time 0\n");
    for neighbor in &plan.neighbors {
        let address = neighbor.address();
        writeln!(text, " neighbor {address} remote-as {}", neighbor.asn).unwrap();
        writeln!(text, " neighbor {address} timers connect 1").unwrap();
        writeln!(text, " neighbor {address} advertisement-interval 0").unwrap();
        if let Some(hold) = neighbor.hold {
            writeln!(text, " neighbor {address} timers {} {hold}", hold / 3).unwrap();
        }
        if neighbor.extended_next_hop {
            writeln!(text, " neighbor {address} capability extended-nexthop").unwrap();
        }
    }
    for (family, own, map) in [("ipv4", &plan.v4, " route-map TAGS"), ("ipv6", &plan.v6, "")] {
        writeln!(text, " address-family {family} unicast").unwrap();
        for prefix in own {
            writeln!(text, "  network {prefix}{map}").unwrap();
        }
        for neighbor in &plan.neighbors {
            let address = neighbor.address();
            if family == "ipv4" && neighbor.over_v6 && !neighbor.extended_next_hop {
                continue;
            }
            writeln!(text, "  neighbor {address} activate").unwrap();
            if neighbor.client {
                writeln!(text, "  neighbor {address} route-reflector-client").unwrap();
            }
            if neighbor.add_path {
                writeln!(text, "  neighbor {address} addpath-tx-all-paths").unwrap();
            }
            if family == "ipv6" {
                writeln!(text, "  neighbor {address} route-map OWN6 out").unwrap();
            }
        }
        text.push_str(" exit-address-family\n");
    }
    text.push_str("exit\n");
    text
}

impl Peer for Frr {
    const NAME: &'static str = "FRR";

    async fn start(host: &Host, plan: &Plan) -> anyhow::Result<Self> {
        let file = host.write("frr.conf", &configuration(host, plan))?.display().to_string();
        let vty = host.file("vty").display().to_string();
        std::fs::create_dir_all(&vty).with_context(|| format!("making {vty}"))?;
        let pid = host.file("frr.pid").display().to_string();
        let zebra = host.file("no-zebra.sock").display().to_string();
        // -S: it keeps the rights it was started with. Not listening to telnet: port 0.
        let words =
            ["-n", "-Z", "-S", "-f", &file, "-i", &pid, "-z", &zebra, "--vty_socket", &vty, "-P", "0"];
        let process = host.start("frr", Path::new("/usr/lib/frr/bgpd"), &words).await?;
        Ok(Self { _process: process, vty })
    }

    async fn routes(&self, host: &Host) -> anyhow::Result<Vec<Seen>> {
        let mut all = Vec::new();
        for family in ["ipv4", "ipv6"] {
            let table = self.show(host, &format!("show bgp {family} unicast json")).await?;
            let prefixes = table.get("routes").and_then(Value::as_object).cloned().unwrap_or_default();
            for prefix in prefixes.keys() {
                let detail = self.show(host, &format!("show bgp {family} unicast {prefix} json")).await?;
                let paths = detail.get("paths").and_then(Value::as_array).cloned().unwrap_or_default();
                all.extend(paths.iter().map(|path| seen(prefix, path)));
            }
        }
        Ok(all)
    }

    async fn refresh(&self, host: &Host, neighbor: &Neighbor) -> anyhow::Result<()> {
        let command = format!("clear bgp {} soft in", neighbor.address());
        host.run(&["vtysh", "--vty_socket", &self.vty, "-d", "bgpd", "-c", &command]).await.map(drop)
    }
}

impl Frr {
    async fn show(&self, host: &Host, command: &str) -> anyhow::Result<Value> {
        let text = host.run(&["vtysh", "--vty_socket", &self.vty, "-d", "bgpd", "-c", command]).await?;
        serde_json::from_str(&text).with_context(|| format!("reading FRR's `{command}`: {text}"))
    }
}

fn seen(prefix: &str, path: &Value) -> Seen {
    let text = |pointer: &str| path.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kinds = ["/community/string", "/largeCommunity/string", "/extendedCommunity/string"];
    let communities = kinds.map(|pointer| text(pointer).replace("RT:", "rt:"));
    Seen {
        prefix: prefix.to_owned(),
        next_hop: text("/nexthops/0/ip"),
        as_path: text("/aspath/string").replace("Local", ""),
        communities: communities.iter().flat_map(|all| all.split_whitespace()).map(str::to_owned).collect(),
    }
}

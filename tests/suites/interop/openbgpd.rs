//! OpenBGPD.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use caracal_lab::Process;
use serde_json::Value;

use crate::peer::{Neighbor, Peer, Plan, Seen};
use crate::segment::Host;

/// A running `bgpd` of OpenBGPD.
pub(crate) struct OpenBgpd {
    _process: Process,
    socket: String,
}

fn configuration(host: &Host, plan: &Plan, socket: &str) -> String {
    let mut text = format!("AS {}\nrouter-id {}\nfib-update no\nsocket \"{socket}\"\n", plan.asn, host.v4());
    writeln!(text, "listen on {}\nlisten on {}", host.v4(), host.v6()).unwrap();
    for prefix in &plan.v4 {
        let tags = "community 64700:8 large-community 64700:1:2 ext-community rt 64700:9";
        writeln!(text, "network {prefix} set {{ {tags} }}").unwrap();
    }
    for prefix in &plan.v6 {
        writeln!(text, "network {prefix}").unwrap();
    }
    for neighbor in &plan.neighbors {
        writeln!(text, "neighbor {} {{\n remote-as {}", neighbor.address(), neighbor.asn).unwrap();
        if !neighbor.over_v6 {
            writeln!(text, " announce IPv4 unicast").unwrap();
        } else {
            writeln!(text, " announce IPv4 none").unwrap();
        }
        writeln!(text, " announce IPv6 unicast\n announce enhanced refresh yes").unwrap();
        if let Some(hold) = neighbor.hold {
            writeln!(text, " holdtime {hold}").unwrap();
        }
        if neighbor.client {
            writeln!(text, " route-reflector").unwrap();
        }
        if neighbor.add_path {
            writeln!(text, " announce add-path recv yes\n announce add-path send all").unwrap();
        }
        text.push_str("}\n");
    }
    text.push_str("allow from any\nallow to any\n");
    text
}

impl Peer for OpenBgpd {
    const NAME: &'static str = "OpenBGPD";
    /// It announces `::1` as next hop there.
    const V6_OVER_V4: bool = false;
    /// It says of families on which it exchanges routes that they were not negotiated, and answers nothing.
    const ANSWERS: bool = false;
    const ANSWERS_MARKED: bool = false;

    async fn start(host: &Host, plan: &Plan) -> anyhow::Result<Self> {
        // Where its unprivileged processes shut themselves in.
        std::fs::create_dir_all("/run/openbgpd").context("making /run/openbgpd")?;
        let socket = host.file("openbgpd.sock").display().to_string();
        let text = configuration(host, plan, &socket);
        let file = host.write("openbgpd.conf", &text)?.display().to_string();
        let process = host.start("openbgpd", Path::new("/usr/sbin/bgpd"), &["-d", "-f", &file]).await?;
        Ok(Self { _process: process, socket })
    }

    async fn routes(&self, host: &Host) -> anyhow::Result<Vec<Seen>> {
        let text = host.run(&["bgpctl", "-s", &self.socket, "-j", "show", "rib", "detail"]).await?;
        let table: Value =
            serde_json::from_str(&text).with_context(|| format!("reading OpenBGPD's table: {text}"))?;
        let routes = table.get("rib").and_then(Value::as_array).cloned().unwrap_or_default();
        Ok(routes.iter().map(seen).collect())
    }

    async fn refresh(&self, host: &Host, neighbor: &Neighbor) -> anyhow::Result<()> {
        let address = neighbor.address();
        host.run(&["bgpctl", "-s", &self.socket, "neighbor", &address, "refresh"]).await.map(drop)
    }
}

fn seen(route: &Value) -> Seen {
    let text = |name: &str| route.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let kinds = ["communities", "large_communities", "extended_communities"];
    let lists = kinds.iter().filter_map(|name| route.get(name)?.as_array()).flatten();
    Seen {
        prefix: text("prefix"),
        next_hop: text("exit_nexthop"),
        as_path: text("aspath"),
        communities: lists.filter_map(Value::as_str).map(|one| one.replace("rt ", "rt:")).collect(),
    }
}

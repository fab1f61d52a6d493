//! OpenBGPD.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use caracal_lab::Process;
use serde_json::Value;

use crate::passwords::Rekeys;
use crate::peer::{Neighbor, Peer, Plan, Seen};
use crate::restart::{PathSeen, Restarts};
use crate::segment::Host;

/// A running `bgpd` of OpenBGPD.
pub(crate) struct OpenBgpd {
    process: Process,
    socket: String,
}

fn configuration(host: &Host, plan: &Plan, socket: &str) -> String {
    let mut text = format!("AS {}\nrouter-id {}\nfib-update no\nsocket \"{socket}\"\n", plan.asn, host.v4());
    // Whoever is turned away before the OPEN dials again after 30 s, but after this time if that had been sent: 120 s by default.
    text.push_str("connect-retry 5\n");
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
        if let Some(password) = neighbor.password {
            writeln!(text, " tcp md5sig password {password}").unwrap();
        }
        text.push_str("}\n");
    }
    text.push_str("allow from any\nallow to any\n");
    text
}

/// Writes its file and says where that is.
fn write(host: &Host, plan: &Plan, socket: &str) -> anyhow::Result<String> {
    Ok(host.write("openbgpd.conf", &configuration(host, plan, socket))?.display().to_string())
}

impl Rekeys for OpenBgpd {
    async fn rekey(&self, host: &Host, plan: &Plan) -> anyhow::Result<()> {
        write(host, plan, &self.socket)?;
        host.run(&["bgpctl", "-s", &self.socket, "reload"]).await?;
        // Else the new one holds for the next connection, which it may be two minutes from trying.
        for neighbor in &plan.neighbors {
            let address = neighbor.address();
            host.run(&["bgpctl", "-s", &self.socket, "neighbor", &address, "clear"]).await?;
        }
        Ok(())
    }
}

impl Restarts for OpenBgpd {
    const WRITES_KERNEL: bool = false;
    const CAN_LEAVE: bool = false;

    async fn is_up(&self, host: &Host, neighbor: &Neighbor) -> anyhow::Result<bool> {
        let address = neighbor.address();
        let text = host.run(&["bgpctl", "-s", &self.socket, "show", "neighbor", &address]).await?;
        Ok(text.contains("BGP state = Established"))
    }

    async fn sees_path(&self, _: &Host) -> anyhow::Result<bool> {
        anyhow::bail!("OpenBGPD has no BFD")
    }

    async fn path(&self, _: &Host) -> anyhow::Result<PathSeen> {
        anyhow::bail!("OpenBGPD has no BFD")
    }

    async fn leave(&self, _: &Host) -> anyhow::Result<()> {
        anyhow::bail!("OpenBGPD does not restart gracefully")
    }

    async fn back(&mut self, _: &Host, _: &Plan) -> anyhow::Result<()> {
        anyhow::bail!("OpenBGPD does not restart gracefully")
    }
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
        let file = write(host, plan, &socket)?;
        let process = host.start("openbgpd", Path::new("/usr/sbin/bgpd"), &["-d", "-f", &file]).await?;
        Ok(Self { process, socket })
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

    async fn crash(&self) -> anyhow::Result<()> {
        self.process.kill().await
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

//! GoBGP.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Context;
use caracal_lab::Process;
use caracal_lab::wait::{self, NotYet};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::passwords::Rekeys;
use crate::peer::{LONG_LIVED, Neighbor, Peer, Plan, SOON, Seen};
use crate::restart::{PathSeen, Restarts};
use crate::segment::Host;

/// A running `gobgpd`.
pub(crate) struct GoBgp {
    process: Process,
}

fn configuration(host: &Host, plan: &Plan) -> String {
    let mut text = format!("[global.config]\nas = {}\nrouter-id = \"{}\"\n", plan.asn, host.v4());
    for neighbor in &plan.neighbors {
        writeln!(text, "[[neighbors]]\n[neighbors.config]").unwrap();
        writeln!(text, "neighbor-address = \"{}\"\npeer-as = {}", neighbor.address(), neighbor.asn).unwrap();
        if let Some(password) = neighbor.password {
            writeln!(text, "auth-password = \"{password}\"").unwrap();
        }
        writeln!(text, "[neighbors.timers.config]\nconnect-retry = 1\nidle-hold-time-after-reset = 1")
            .unwrap();
        if let Some(hold) = neighbor.hold {
            writeln!(text, "hold-time = {hold}").unwrap();
        }
        if neighbor.client {
            writeln!(text, "[neighbors.route-reflector.config]\nroute-reflector-client = true").unwrap();
            writeln!(text, "route-reflector-cluster-id = \"{}\"", host.v4()).unwrap();
        }
        if neighbor.add_path {
            writeln!(text, "[neighbors.add-paths.config]\nreceive = true\nsend-max = 8").unwrap();
        }
        if neighbor.restart {
            writeln!(
                text,
                "[neighbors.graceful-restart.config]\nenabled = true\nnotification-enabled = true"
            )
            .unwrap();
            writeln!(text, "restart-time = {}", neighbor.restart_time()).unwrap();
            if neighbor.long_lived {
                writeln!(text, "long-lived-enabled = true").unwrap();
            }
        }
        for family in ["ipv4-unicast", "ipv6-unicast"] {
            if family == "ipv4-unicast" && neighbor.over_v6 && !neighbor.extended_next_hop {
                continue;
            }
            writeln!(
                text,
                "[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}\""
            )
            .unwrap();
            if neighbor.restart {
                writeln!(text, "[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true").unwrap();
            }
            if neighbor.long_lived {
                writeln!(text, "[neighbors.afi-safis.long-lived-graceful-restart.config]\nenabled = true")
                    .unwrap();
                writeln!(text, "restart-time = {LONG_LIVED}").unwrap();
            }
        }
    }
    text
}

async fn spawn(host: &Host, more: &[&str]) -> anyhow::Result<Process> {
    let file = host.file("gobgp.toml").display().to_string();
    let mut words = vec!["-f", &file, "--api-hosts", "127.0.0.1:50051"];
    words.extend(more);
    host.start("gobgp", Path::new("/usr/bin/gobgpd"), &words).await
}

impl GoBgp {
    /// Waits until it answers, and has it announce what is planned: its file says nothing of that.
    async fn originate(&self, host: &Host, plan: &Plan) -> anyhow::Result<()> {
        wait::until(SOON, "GoBGP answers", || async {
            self.process.must_live().await?;
            host.run(&["gobgp", "global"]).await.map_err(NotYet::from)
        })
        .await?;
        let by_v6 = plan.neighbors.iter().any(|neighbor| neighbor.extended_next_hop);
        let own = if by_v6 { host.v6() } else { host.v4() };
        for prefix in &plan.v4 {
            let words =
                ["nexthop", &own, "community", "64700:8", "large-community", "64700:1:2", "rt", "64700:9"];
            let mut command = vec!["gobgp", "global", "rib", "add", prefix];
            command.extend(words);
            host.run(&command).await?;
        }
        for prefix in &plan.v6 {
            host.run(&["gobgp", "global", "rib", "-a", "ipv6", "add", prefix, "nexthop", &host.v6()]).await?;
        }
        Ok(())
    }
}

/// Nothing of BGP comes in: a daemon that learns only after its start what it announces has no session before that.
const QUIET: &str = "\
table inet quiet {
 chain in {
  type filter hook input priority 0
  tcp dport 179 drop
  tcp sport 179 drop
 }
}
";

impl Restarts for GoBgp {
    const WRITES_KERNEL: bool = false;

    async fn is_up(&self, host: &Host, neighbor: &Neighbor) -> anyhow::Result<bool> {
        let text = host.run(&["gobgp", "neighbor", &neighbor.address()]).await?;
        Ok(text.lines().any(|line| line.contains("BGP state") && line.contains("ESTABLISHED")))
    }

    async fn sees_path(&self, _: &Host) -> anyhow::Result<bool> {
        anyhow::bail!("GoBGP has no BFD")
    }

    async fn path(&self, _: &Host) -> anyhow::Result<PathSeen> {
        anyhow::bail!("GoBGP has no BFD")
    }

    async fn leave(&self, _: &Host) -> anyhow::Result<()> {
        self.process.terminate(SOON).await.map(drop)
    }

    async fn back(&mut self, host: &Host, plan: &Plan) -> anyhow::Result<()> {
        let file = host.write("quiet.nft", QUIET)?.display().to_string();
        host.run(&["nft", "-f", &file]).await?;
        // -r: it has restarted.
        self.process = spawn(host, &["-r"]).await?;
        self.originate(host, plan).await?;
        host.run(&["nft", "delete", "table", "inet", "quiet"]).await.map(drop)
    }
}

impl Rekeys for GoBgp {
    async fn rekey(&self, host: &Host, plan: &Plan) -> anyhow::Result<()> {
        host.write("gobgp.toml", &configuration(host, plan))?;
        self.process.signal(Signal::SIGHUP).await
    }
}

impl Peer for GoBgp {
    const NAME: &'static str = "GoBGP";
    /// It looks again at what it has kept.
    const ASKS_AGAIN: bool = false;

    async fn start(host: &Host, plan: &Plan) -> anyhow::Result<Self> {
        host.write("gobgp.toml", &configuration(host, plan))?;
        let gobgp = Self { process: spawn(host, &[]).await? };
        gobgp.originate(host, plan).await?;
        Ok(gobgp)
    }

    async fn routes(&self, host: &Host) -> anyhow::Result<Vec<Seen>> {
        let mut all = Vec::new();
        for family in ["ipv4", "ipv6"] {
            let text = host.run(&["gobgp", "-j", "global", "rib", "-a", family]).await?;
            let table: Value =
                serde_json::from_str(&text).with_context(|| format!("reading GoBGP's table: {text}"))?;
            for (prefix, paths) in table.as_object().into_iter().flatten() {
                all.extend(paths.as_array().into_iter().flatten().map(|path| seen(prefix, path)));
            }
        }
        Ok(all)
    }

    async fn refresh(&self, host: &Host, neighbor: &Neighbor) -> anyhow::Result<()> {
        host.run(&["gobgp", "neighbor", &neighbor.address(), "softresetin"]).await.map(drop)
    }

    async fn crash(&self) -> anyhow::Result<()> {
        self.process.kill().await
    }
}

/// Attributes come by their numbers on the wire.
fn seen(prefix: &str, path: &Value) -> Seen {
    let mut seen = Seen { prefix: prefix.to_owned(), ..Seen::default() };
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or_default();
    for attribute in path.get("attrs").and_then(Value::as_array).into_iter().flatten() {
        let list = |name: &str| attribute.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
        match number(attribute, "type") {
            2 => {
                let segments = list("as_paths");
                let asns = segments.iter().filter_map(|segment| segment.get("asns")?.as_array()).flatten();
                seen.as_path = asns.map(ToString::to_string).collect::<Vec<_>>().join(" ");
            }
            3 | 14 => {
                seen.next_hop =
                    attribute.get("nexthop").and_then(Value::as_str).unwrap_or_default().to_owned();
            }
            8 => {
                let numbers = list("communities");
                let numbers = numbers.iter().filter_map(Value::as_u64);
                seen.communities.extend(numbers.map(|n| format!("{}:{}", n >> 16, n & 0xffff)));
            }
            16 => {
                let values = list("value");
                let texts = values.iter().filter_map(|value| value.get("value")?.as_str());
                seen.communities.extend(texts.map(|text| format!("rt:{text}")));
            }
            32 => {
                let part = |one: &Value| {
                    let parts = ["ASN", "LocalData1", "LocalData2"].map(|name| number(one, name).to_string());
                    parts.join(":")
                };
                seen.communities.extend(list("value").iter().map(part));
            }
            _ => {}
        }
    }
    seen
}

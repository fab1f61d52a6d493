//! Agents that restart: packets go on between pods of all nodes, and no route changes on any other node (RFC 4724).

use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::show::Silent;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Sandbox, Topology, report};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::flow::Flow;

/// For what takes a moment on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// `ip monitor route` on a node: every change of its main table, in both families.
struct Watch {
    node: String,
    /// Ends with this.
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A route of somebody else's: what is seen of it shows how far the watch has come.
const MARKS: [&str; 2] = ["198.51.100.1/32", "198.51.100.2/32"];

impl Watch {
    async fn start(node: &Node) -> anyhow::Result<Self> {
        let mut child = node
            .netns()
            .command("ip")
            .args(["monitor", "route"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("watching routes of {}", node.name()))?;
        let stdout = child.stdout.take().context("no output of ip monitor")?;
        let mut watch =
            Self { node: node.name().to_owned(), _child: child, lines: BufReader::new(stdout).lines() };
        // It listens from some moment on: marks are made until one is seen.
        let begun = tokio::time::timeout(SOON, async {
            loop {
                mark(node, MARKS[0]).await?;
                if let Ok(line) = tokio::time::timeout(Duration::from_millis(100), watch.line()).await {
                    return line.map(drop);
                }
            }
        });
        begun.await.with_context(|| format!("{}: nothing is seen of routes", node.name()))??;
        Ok(watch)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = self.lines.next_line().await?;
        line.with_context(|| format!("{}: ip monitor has ended", self.node))
    }

    /// What changed up to now.
    async fn changes(mut self, node: &Node) -> anyhow::Result<Vec<String>> {
        mark(node, MARKS[1]).await?;
        let mut changes = Vec::new();
        let all = tokio::time::timeout(SOON, async {
            loop {
                let line = self.line().await?;
                let text = |mark: &str| mark.trim_end_matches("/32").to_owned();
                if line.contains(&text(MARKS[1])) {
                    return anyhow::Ok(());
                }
                // The kernel's own table of its addresses, which fill up for a moment after a device has come up, is not meant.
                let of_kernel = line.contains(" table local ");
                if !of_kernel && !line.contains(&text(MARKS[0])) && !line.trim().is_empty() {
                    changes.push(line);
                }
            }
        });
        all.await.with_context(|| format!("{}: the last mark was not seen", self.node))??;
        Ok(changes)
    }
}

/// Makes a route and takes it away.
async fn mark(node: &Node, prefix: &str) -> anyhow::Result<()> {
    for what in ["replace", "del"] {
        node.netns().exec(&["ip", "route", what, "blackhole", prefix, "proto", "99"]).await?.success()?;
    }
    Ok(())
}

/// The prefixes of other nodes that a node has, and whether each path of them is kept for a peer that is away.
async fn learned(node: &Node) -> anyhow::Result<Vec<(String, bool)>> {
    let answer = node.ctl(&["bgp", "routes"]).await?;
    let routes = answer["routes"].as_array().cloned().unwrap_or_default();
    let learned = routes.iter().filter(|route| route["source"] != "Local");
    let stale = |route: &serde_json::Value| route["stale"].as_bool().context("a route without `stale`");
    learned.map(|route| Ok((route["prefix"].as_str().unwrap_or("?").to_owned(), stale(route)?))).collect()
}

/// Waits until a node has used paths to all blocks of others, and keeps some for peers that are away or none.
async fn settled(node: &Node, wanted: &BTreeSet<String>, some_stale: bool) -> anyhow::Result<()> {
    let what = format!("{}: stale paths: {some_stale}", node.name());
    wait::until(SOON, &what, || async {
        let now = learned(node).await?;
        let has: BTreeSet<String> = now.iter().map(|(prefix, _)| prefix.clone()).collect();
        if has == *wanted && now.iter().any(|(_, stale)| *stale) == some_stale {
            return Ok(());
        }
        Err(NotYet::because(format!("{now:?}")))
    })
    .await
}

/// Waits until a node that has restarted has chosen, and with that has told its peers all it has.
async fn chosen(node: &Node) -> anyhow::Result<()> {
    wait::until(SOON, &format!("{} has chosen among what its peers said", node.name()), || async {
        let answer = node.ctl(&["bgp", "routes"]).await?;
        let routes = answer["routes"].as_array().cloned().unwrap_or_default();
        match routes.iter().find(|route| route["standing"] == "SelectionDeferred") {
            None => Ok(()),
            Some(one) => Err(NotYet::because(one.to_string())),
        }
    })
    .await
}

pub(crate) async fn a_restarted_agent_costs_no_packet_and_no_route_anywhere(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::racks_of_nodes(2, 3, 1), &Silent).await?;
    let all: Vec<&Node> = lab.nodes().iter().collect();
    let blocks: BTreeSet<String> =
        report::blocks(lab.cluster()).await?.iter().map(|one| one.cidr.to_string()).collect();
    ensure!(blocks.iter().any(|one| one.contains(':')) && blocks.len() > 2, "too few blocks: {blocks:?}");
    let mut has = Vec::new();
    for node in &all {
        let learned: BTreeSet<String> = learned(node).await?.into_iter().map(|(prefix, _)| prefix).collect();
        ensure!(learned.is_subset(&blocks) && learned.len() > 2, "{} has learned {learned:?}", node.name());
        has.push(learned);
    }
    let first = all.first().context("no node")?;
    let pods = lab.pods();
    let here = pods.iter().find(|pod| pod.node() == first.name()).context("no pod on the first node")?;
    let mut flows = Vec::new();
    for there in pods.iter().filter(|pod| pod.node() != first.name()) {
        for v6 in [false, true] {
            flows.push(Flow::start(there, here.address(v6)?)?);
        }
    }

    // Killed, ended as by an upgrade, and both nodes of a rack at once, which wait for each other.
    for (restarting, planned) in [(&all[..1], false), (&all[..1], true), (&all[..2], false)] {
        let mut watches = Vec::new();
        for node in &all {
            watches.push(Watch::start(node).await?);
        }
        for node in restarting {
            match planned {
                true => drop(node.agent().terminate(SOON).await?),
                false => node.agent().kill().await?,
            }
        }
        for (node, wanted) in all.iter().zip(&has).skip(restarting.len()) {
            settled(node, wanted, true).await?;
        }
        for node in restarting {
            node.agent().start().await?;
        }
        for node in restarting {
            node.ready(SOON).await?;
        }
        lab.sessions_established(SOON).await?;
        for node in restarting {
            chosen(node).await?;
        }
        for (node, wanted) in all.iter().zip(&has) {
            settled(node, wanted, false).await?;
        }
        for (node, watch) in all.iter().zip(watches) {
            let changes = watch.changes(node).await?;
            ensure!(changes.is_empty(), "{}: routes changed: {changes:#?}", node.name());
        }
    }
    for flow in flows {
        flow.lost_none().await?;
    }

    // An end for good: its routes go at once, and not after its restart time, which is longer than this wait.
    first.agent().signal(Signal::SIGQUIT).await?;
    let last = all.last().context("no node")?;
    let own: BTreeSet<String> = has.last().into_iter().flatten().cloned().collect();
    let owned = report::blocks(lab.cluster()).await?;
    let of_first =
        |cidr: &String| owned.iter().any(|one| one.owner == first.name() && one.cidr.to_string() == *cidr);
    let left: BTreeSet<String> = own.iter().filter(|cidr| !of_first(cidr)).cloned().collect();
    ensure!(left.len() < own.len(), "{} has learned nothing of {}: {own:?}", last.name(), first.name());
    settled(last, &left, false).await?;
    lab.down(&Silent).await
}

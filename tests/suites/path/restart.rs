//! Agents and routers that restart: packets go on between pods of all nodes, and no route changes on any other machine
//! (RFC 4724).

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use caracal_lab::netns::Netns;
use caracal_lab::show::Silent;
use caracal_lab::topology::Design;
use caracal_lab::wait::{self, NotYet};
use caracal_lab::{Lab, Node, Router, Sandbox, Topology, report};
use nix::sys::signal::Signal;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout};

use crate::flow::Flow;

/// For what takes a moment on an idle machine.
const SOON: Duration = Duration::from_secs(60);

/// A machine with a BGP speaker.
#[derive(Clone, Copy)]
enum Place<'a> {
    Node(&'a Node),
    Router(&'a Router),
}

impl<'a> Place<'a> {
    fn name(self) -> &'a str {
        match self {
            Place::Node(node) => node.name(),
            Place::Router(router) => router.name(),
        }
    }

    fn netns(self) -> &'a Netns {
        match self {
            Place::Node(node) => node.netns(),
            Place::Router(router) => router.machine().netns(),
        }
    }

    async fn kill(self) -> anyhow::Result<()> {
        match self {
            Place::Node(node) => node.agent().kill().await,
            Place::Router(router) => router.stop().await,
        }
    }

    /// Ends it as an upgrade does. A router that is told to end is not expected back.
    async fn end(self) -> anyhow::Result<()> {
        match self {
            Place::Node(node) => node.agent().terminate(SOON).await.map(drop),
            Place::Router(router) => router.terminate(SOON).await,
        }
    }

    async fn start(self) -> anyhow::Result<()> {
        match self {
            Place::Node(node) => node.agent().start().await,
            Place::Router(router) => router.start(SOON).await,
        }
    }

    async fn routes(self) -> anyhow::Result<Vec<serde_json::Value>> {
        let words = ["bgp", "routes"];
        let answer = match self {
            Place::Node(node) => node.ctl(&words).await?,
            Place::Router(router) => router.ctl(&words).await?,
        };
        answer["routes"].as_array().cloned().context("no `routes`")
    }
}

/// `ip monitor route` on a machine: every change of its main table, in both families.
struct Watch {
    place: String,
    /// Ends with this.
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

/// A route of somebody else's: what is seen of it shows how far the watch has come.
const MARKS: [&str; 2] = ["198.51.100.1/32", "198.51.100.2/32"];

impl Watch {
    async fn start(place: Place<'_>) -> anyhow::Result<Self> {
        let mut child = place
            .netns()
            .command("ip")
            .args(["monitor", "route"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("watching routes of {}", place.name()))?;
        let stdout = child.stdout.take().context("no output of ip monitor")?;
        let mut watch =
            Self { place: place.name().to_owned(), _child: child, lines: BufReader::new(stdout).lines() };
        // It listens from some moment on: marks are made until one is seen.
        let begun = tokio::time::timeout(SOON, async {
            loop {
                mark(place, MARKS[0]).await?;
                if let Ok(line) = tokio::time::timeout(Duration::from_millis(100), watch.line()).await {
                    return line.map(drop);
                }
            }
        });
        begun.await.with_context(|| format!("{}: nothing is seen of routes", place.name()))??;
        Ok(watch)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = self.lines.next_line().await?;
        line.with_context(|| format!("{}: ip monitor has ended", self.place))
    }

    /// What changed up to now.
    async fn changes(mut self, place: Place<'_>) -> anyhow::Result<Vec<String>> {
        mark(place, MARKS[1]).await?;
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
        all.await.with_context(|| format!("{}: the last mark was not seen", self.place))??;
        Ok(changes)
    }
}

/// Makes a route and takes it away.
async fn mark(place: Place<'_>, prefix: &str) -> anyhow::Result<()> {
    for what in ["replace", "del"] {
        place.netns().exec(&["ip", "route", what, "blackhole", prefix, "proto", "99"]).await?.success()?;
    }
    Ok(())
}

/// The prefixes of others that a machine has, and whether each path of them is kept for a peer that is away.
async fn learned(place: Place<'_>) -> anyhow::Result<Vec<(String, bool)>> {
    let routes = place.routes().await?;
    let learned = routes.iter().filter(|route| route["source"] != "Local");
    let stale = |route: &serde_json::Value| route["stale"].as_bool().context("a route without `stale`");
    learned.map(|route| Ok((route["prefix"].as_str().unwrap_or("?").to_owned(), stale(route)?))).collect()
}

/// Waits until a machine has used paths to all these, and keeps some for peers that are away or none.
async fn settled(place: Place<'_>, wanted: &BTreeSet<String>, some_stale: bool) -> anyhow::Result<()> {
    let what = format!("{}: stale paths: {some_stale}", place.name());
    wait::until(SOON, &what, || async {
        let now = learned(place).await?;
        let has: BTreeSet<String> = now.iter().map(|(prefix, _)| prefix.clone()).collect();
        if has == *wanted && now.iter().any(|(_, stale)| *stale) == some_stale {
            return Ok(());
        }
        Err(NotYet::because(format!("{now:?}")))
    })
    .await
}

/// Waits until a machine that has restarted has chosen, and with that has told its peers all it has.
async fn chosen(place: Place<'_>) -> anyhow::Result<()> {
    wait::until(SOON, &format!("{} has chosen among what its peers said", place.name()), || async {
        let routes = place.routes().await?;
        match routes.iter().find(|route| route["standing"] == "SelectionDeferred") {
            None => Ok(()),
            Some(one) => Err(NotYet::because(one.to_string())),
        }
    })
    .await
}

/// Flows from the pods of all other nodes to one of a node's.
fn flows_to(lab: &Lab, node: &Node) -> anyhow::Result<Vec<Flow>> {
    let here = lab.pods().iter().find(|pod| pod.node() == node.name());
    let here = here.with_context(|| format!("no pod on {}", node.name()))?;
    let mut flows = Vec::new();
    for there in lab.pods().iter().filter(|pod| pod.node() != node.name()) {
        for v6 in [false, true] {
            flows.push(Flow::start(there, here.address(v6)?)?);
        }
    }
    Ok(flows)
}

/// How a speaker goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Exit {
    Killed,
    Asked,
}

/// A lab whose machines restart, and what each had learned before.
struct Trial<'a> {
    lab: &'a Lab,
    places: Vec<Place<'a>>,
    has: BTreeMap<&'a str, BTreeSet<String>>,
}

impl<'a> Trial<'a> {
    async fn of(lab: &'a Lab, places: Vec<Place<'a>>) -> anyhow::Result<Self> {
        let mut has = BTreeMap::new();
        for place in &places {
            let learned: BTreeSet<String> =
                learned(*place).await?.into_iter().map(|(prefix, _)| prefix).collect();
            ensure!(learned.len() > 2, "{} has learned {learned:?}", place.name());
            has.insert(place.name(), learned);
        }
        Ok(Self { lab, places, has })
    }

    fn had(&self, place: Place<'_>) -> anyhow::Result<&BTreeSet<String>> {
        self.has.get(place.name()).with_context(|| format!("{} is not of the trial", place.name()))
    }

    /// Restarts some; their peers notice, and nobody's routes change.
    async fn restart(&self, some: &[Place<'_>], exit: Exit, peers: &[Place<'_>]) -> anyhow::Result<()> {
        let mut watches = Vec::new();
        for place in &self.places {
            watches.push(Watch::start(*place).await?);
        }
        for place in some {
            match exit {
                Exit::Killed => place.kill().await?,
                Exit::Asked => place.end().await?,
            }
        }
        for peer in peers {
            settled(*peer, self.had(*peer)?, true).await?;
        }
        for place in some {
            place.start().await?;
        }
        for place in some {
            if let Place::Node(node) = place {
                node.ready(SOON).await?;
            }
        }
        self.lab.sessions_established(SOON).await?;
        for place in some {
            chosen(*place).await?;
        }
        for (place, watch) in self.places.iter().zip(watches) {
            settled(*place, self.had(*place)?, false).await?;
            let changes = watch.changes(*place).await?;
            ensure!(changes.is_empty(), "{}: routes changed: {changes:#?}", place.name());
        }
        Ok(())
    }
}

pub(crate) async fn a_restarted_agent_costs_no_packet_and_no_route_anywhere(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let lab = Lab::up(sandbox, Topology::racks_of_nodes(2, 3, 1), &Silent).await?;
    let all: Vec<Place<'_>> = lab.nodes().iter().map(Place::Node).collect();
    let trial = Trial::of(&lab, all.clone()).await?;
    let owned = report::blocks(lab.cluster()).await?;
    let blocks: BTreeSet<String> = owned.iter().map(|one| one.cidr.to_string()).collect();
    ensure!(blocks.iter().any(|one| one.contains(':')), "too few blocks: {blocks:?}");
    ensure!(trial.has.values().all(|learned| learned.is_subset(&blocks)), "{:?}", trial.has);
    let first = lab.nodes().first().context("no node")?;
    let flows = flows_to(&lab, first)?;
    // Killed, ended as by an upgrade, and both nodes of a rack at once, which wait for each other.
    for (some, exit) in [(1, Exit::Killed), (1, Exit::Asked), (2, Exit::Killed)] {
        let (some, others) = all.split_at(some);
        trial.restart(some, exit, others).await?;
    }
    for flow in flows {
        flow.lost_none().await?;
    }

    // An end for good: its routes go at once, and not after its restart time, which is longer than this wait.
    first.agent().signal(Signal::SIGQUIT).await?;
    let last = *all.last().context("no node")?;
    let own = trial.had(last)?;
    let of_first =
        |cidr: &String| owned.iter().any(|one| one.owner == first.name() && one.cidr.to_string() == *cidr);
    let left: BTreeSet<String> = own.iter().filter(|cidr| !of_first(cidr)).cloned().collect();
    ensure!(left.len() < own.len(), "{} has learned nothing of {}: {own:?}", last.name(), first.name());
    settled(last, &left, false).await?;
    lab.down(&Silent).await
}

pub(crate) async fn under_routers_a_restarted_agent_or_router_costs_no_packet_and_no_route_anywhere(
    sandbox: Sandbox,
) -> anyhow::Result<()> {
    let topology = Topology::racks_of_nodes(2, 3, 1).with_design(Design::Tor);
    let lab = Lab::up(sandbox, topology, &Silent).await?;
    let routers = ["tor0", "tor1"].map(|name| lab.router(name).map(Place::Router));
    let [tor0, tor1] = routers;
    let (tor0, tor1) = (tor0?, tor1?);
    let nodes: Vec<Place<'_>> = lab.nodes().iter().map(Place::Node).collect();
    let [n1, n2, _] = nodes.as_slice() else { anyhow::bail!("{} nodes", nodes.len()) };
    let trial = Trial::of(&lab, [&nodes[..], &[tor0, tor1]].concat()).await?;
    let flows = flows_to(&lab, lab.nodes().first().context("no node")?)?;
    for exit in [Exit::Killed, Exit::Asked] {
        trial.restart(&[*n1], exit, &[tor0]).await?;
    }
    trial.restart(&[*n1, *n2], Exit::Killed, &[tor0]).await?;
    trial.restart(&[tor0], Exit::Killed, &[*n1, *n2, tor1]).await?;
    for flow in flows {
        flow.lost_none().await?;
    }
    lab.down(&Silent).await
}

//! FRR: its `bgpd` alone, or with `zebra` where routes go into the kernel, and with `bfdd` where a path is watched.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use caracal_lab::Process;
use caracal_lab::wait::{self, NotYet};
use serde_json::Value;

use crate::passwords::Rekeys;
use crate::peer::{LONG_LIVED, Neighbor, Peer, Plan, SOON, Seen};
use crate::restart::{PathSeen, Restarts};
use crate::segment::Host;

/// A running `bgpd` of FRR.
pub(crate) struct Frr {
    process: Process,
    /// `zebra` and `bfdd`, which stay when `bgpd` restarts.
    _others: Vec<Process>,
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
    if let Some(neighbor) = plan.neighbors.iter().find(|neighbor| neighbor.restart) {
        text.push_str(" bgp graceful-restart\n bgp graceful-restart notification\n");
        text.push_str(
            " bgp graceful-restart preserve-fw-state\n bgp graceful-restart select-defer-time 10\n",
        );
        writeln!(text, " bgp graceful-restart restart-time {}", neighbor.restart_time()).unwrap();
        if neighbor.long_lived {
            writeln!(text, " bgp long-lived-graceful-restart stale-time {LONG_LIVED}").unwrap();
        }
    }
    for neighbor in &plan.neighbors {
        let address = neighbor.address();
        writeln!(text, " neighbor {address} remote-as {}", neighbor.asn).unwrap();
        writeln!(text, " neighbor {address} timers connect 1").unwrap();
        if neighbor.restart {
            writeln!(text, " neighbor {address} passive").unwrap();
        }
        writeln!(text, " neighbor {address} advertisement-interval 0").unwrap();
        if let Some(hold) = neighbor.hold {
            writeln!(text, " neighbor {address} timers {} {hold}", hold / 3).unwrap();
        }
        if neighbor.bfd {
            let (interval, multiplier) = neighbor.bfd_times();
            if neighbor.multihop {
                writeln!(text, " neighbor {address} ebgp-multihop 5").unwrap();
            }
            writeln!(text, " neighbor {address} bfd {multiplier} {interval} {interval}").unwrap();
        }
        if let Some(password) = neighbor.password {
            writeln!(text, " neighbor {address} password {password}").unwrap();
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

/// Where `zebra` is spoken to.
fn zebra(host: &Host) -> PathBuf {
    host.file("zebra.sock")
}

/// Starts `bgpd` with this configuration.
async fn spawn(host: &Host, text: &str, vty: &str, with_zebra: bool) -> anyhow::Result<Process> {
    let file = host.write("frr.conf", text)?.display().to_string();
    let pid = host.file("frr.pid").display().to_string();
    let zebra = zebra(host).display().to_string();
    // -S: it keeps the rights it was started with. Not listening to telnet: port 0.
    let mut words = vec!["-S", "-f", &file, "-i", &pid, "-z", &zebra, "--vty_socket", vty, "-P", "0"];
    if !with_zebra {
        words.extend(["-n", "-Z"]);
    }
    host.start("frr", Path::new("/usr/lib/frr/bgpd"), &words).await
}

/// Starts another daemon of FRR's. It knows no -S; its group has to be the one that may speak to it.
async fn other(host: &Host, vty: &str, name: &str, more: &[&str]) -> anyhow::Result<Process> {
    let file = host.write(&format!("{name}.conf"), "log stdout\n")?.display().to_string();
    let pid = host.file(&format!("{name}.pid")).display().to_string();
    let zebra = zebra(host).display().to_string();
    let mut words = vec!["-u", "root", "-g", "frrvty", "-f", &file, "-i", &pid, "-z", &zebra];
    words.extend(["--vty_socket", vty, "-P", "0"]);
    words.extend(more);
    host.start(name, &Path::new("/usr/lib/frr").join(name), &words).await
}

impl Restarts for Frr {
    /// Its own routes come some ten milliseconds after its End-of-RIB.
    const ENDS_LAST: bool = false;
    /// Its zebra takes out what the run before left, some ten milliseconds before it writes the same anew.
    const KEEPS_ITS_KERNEL: bool = false;
    /// Told to end, it takes its routes out of its kernel.
    const CAN_LEAVE: bool = false;

    async fn is_up(&self, host: &Host, neighbor: &Neighbor) -> anyhow::Result<bool> {
        let address = neighbor.address();
        let told = self.show(host, &format!("show bgp neighbors {address} json")).await?;
        Ok(told.pointer(&format!("/{address}/bgpState")).and_then(Value::as_str) == Some("Established"))
    }

    async fn sees_path(&self, host: &Host) -> anyhow::Result<bool> {
        let told = self.bfd_peers(host, "").await?;
        let mut peers = told.as_array().into_iter().flatten();
        Ok(peers.any(|peer| peer.get("status").and_then(Value::as_str) == Some("up")))
    }

    async fn path(&self, host: &Host) -> anyhow::Result<PathSeen> {
        let (peers, counters) = (self.bfd_peers(host, "").await?, self.bfd_peers(host, "counters ").await?);
        let number = |name: &str| peers.pointer(&format!("/0/{name}")).and_then(Value::as_u64);
        let times = number("remote-detect-multiplier").zip(number("remote-transmit-interval"));
        let (multiplier, interval) = times.with_context(|| format!("the times of the peer: {peers}"))?;
        let counter = |name: &str| counters.pointer(&format!("/0/{name}")).and_then(Value::as_u64);
        let changes = counter("session-up").zip(counter("session-down"));
        let (ups, downs) = changes.with_context(|| format!("the changes of the session: {counters}"))?;
        Ok(PathSeen { since: format!("{ups} ups, {downs} downs"), patience_millis: multiplier * interval })
    }

    async fn leave(&self, _: &Host) -> anyhow::Result<()> {
        self.process.terminate(SOON).await.map(drop)
    }

    async fn back(&mut self, host: &Host, plan: &Plan) -> anyhow::Result<()> {
        self.process = spawn(host, &configuration(host, plan), &self.vty, true).await?;
        Ok(())
    }
}

impl Rekeys for Frr {
    async fn rekey(&self, host: &Host, plan: &Plan) -> anyhow::Result<()> {
        let mut words = vec!["vtysh".to_owned(), "--vty_socket".to_owned(), self.vty.clone()];
        let mut say = |text: String| words.extend(["-c".to_owned(), text]);
        say("configure terminal".to_owned());
        say(format!("router bgp {}", plan.asn));
        for neighbor in &plan.neighbors {
            let password = neighbor.password.context("no password")?;
            say(format!("neighbor {} password {password}", neighbor.address()));
        }
        words.splice(3..3, ["-d".to_owned(), "bgpd".to_owned()]);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        host.run(&words).await.map(drop)
    }
}

impl Peer for Frr {
    const NAME: &'static str = "FRR";

    async fn start(host: &Host, plan: &Plan) -> anyhow::Result<Self> {
        let bfd = plan.neighbors.iter().any(|neighbor| neighbor.bfd);
        Self::run(host, &configuration(host, plan), plan.kernel || bfd, bfd).await
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
        self.ask(host, "bgpd", &format!("clear bgp {} soft in", neighbor.address())).await.map(drop)
    }

    async fn crash(&self) -> anyhow::Result<()> {
        self.process.kill().await
    }
}

impl Frr {
    /// Starts it with this configuration of `bgpd`, and with `bfdd`; what it learns goes into the kernel.
    pub(crate) async fn with(host: &Host, text: &str) -> anyhow::Result<Self> {
        Self::run(host, text, true, true).await
    }

    async fn run(host: &Host, text: &str, zebra_too: bool, bfd: bool) -> anyhow::Result<Self> {
        let vty = host.file("vty").display().to_string();
        std::fs::create_dir_all(&vty).with_context(|| format!("making {vty}"))?;
        let mut others = Vec::new();
        if zebra_too {
            others.push(other(host, &vty, "zebra", &[]).await?);
            let socket = zebra(host);
            wait::until(SOON, "zebra is there", || async {
                if socket.exists() { Ok(()) } else { Err(NotYet::because("it has no socket")) }
            })
            .await?;
        }
        if bfd {
            let control = host.file("bfdd.sock").display().to_string();
            others.push(other(host, &vty, "bfdd", &["--bfdctl", &control]).await?);
        }
        let process = spawn(host, text, &vty, !others.is_empty()).await?;
        Ok(Self { process, _others: others, vty })
    }

    /// What `bfdd` says of its peers.
    async fn bfd_peers(&self, host: &Host, what: &str) -> anyhow::Result<Value> {
        let text = self.ask(host, "bfdd", &format!("show bfd peers {what}json")).await?;
        serde_json::from_str(&text).with_context(|| format!("reading bfdd's peers: {text}"))
    }

    async fn ask(&self, host: &Host, daemon: &str, command: &str) -> anyhow::Result<String> {
        host.run(&["vtysh", "--vty_socket", &self.vty, "-d", daemon, "-c", command]).await
    }

    async fn show(&self, host: &Host, command: &str) -> anyhow::Result<Value> {
        let text = self.ask(host, "bgpd", command).await?;
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

//! ExaBGP. It keeps no table of what it learns: it tells a helper each message, from which the table is made here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context;
use caracal_lab::Process;
use caracal_lab::wait::{self, NotYet};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::passwords::Rekeys;
use crate::peer::{Neighbor, Peer, Plan, SOON, Seen};
use crate::segment::Host;

/// A running `exabgp`.
pub(crate) struct ExaBgp {
    process: Process,
    told: PathBuf,
    commands: PathBuf,
}

/// The helper: what it is told goes into a file, what is written into a pipe becomes ExaBGP's commands.
const HELPER: &str = "\
import os, select, sys
out = open(sys.argv[1], 'ab', 0)
pipe = os.open(sys.argv[2], os.O_RDWR | os.O_NONBLOCK)
while True:
    for ready in select.select([0, pipe], [], [])[0]:
        try:
            data = os.read(ready, 65536)
        except BlockingIOError:
            continue
        if ready == 0:
            if not data:
                sys.exit()
            out.write(data)
        else:
            os.write(1, data)
";

fn configuration(host: &Host, plan: &Plan, run: &str) -> String {
    let mut text = format!("process helper {{ run {run}; encoder json; }}\n");
    for neighbor in &plan.neighbors {
        let own = if neighbor.over_v6 { host.v6() } else { host.v4() };
        writeln!(text, "neighbor {} {{\n router-id {};", neighbor.address(), host.v4()).unwrap();
        writeln!(text, " local-address {own};\n local-as {};\n peer-as {};", plan.asn, neighbor.asn).unwrap();
        if let Some(hold) = neighbor.hold {
            writeln!(text, " hold-time {hold};").unwrap();
        }
        if let Some(password) = neighbor.password {
            writeln!(text, " md5-password \"{password}\";").unwrap();
        }
        let extended = if neighbor.extended_next_hop { " nexthop enable;" } else { "" };
        let paths = if neighbor.add_path { " add-path send/receive;" } else { "" };
        writeln!(text, " capability {{ route-refresh enable;{paths}{extended} }}").unwrap();
        if neighbor.extended_next_hop {
            writeln!(text, " nexthop {{ ipv4 unicast ipv6; }}").unwrap();
        }
        let v4 = !neighbor.over_v6 || neighbor.extended_next_hop;
        writeln!(text, " family {{ {}ipv6 unicast; }}", if v4 { "ipv4 unicast; " } else { "" }).unwrap();
        writeln!(text, " api {{ processes [ helper ]; neighbor-changes; receive {{ parsed; update; refresh; }} }}\n static {{")
            .unwrap();
        for prefix in plan.v4.iter().filter(|_| v4) {
            let tags = "community [64700:8] large-community [64700:1:2] extended-community [target:64700:9]";
            let next_hop = if neighbor.extended_next_hop { host.v6() } else { host.v4() };
            if !neighbor.add_path {
                writeln!(text, "  route {prefix} next-hop {next_hop} {tags};").unwrap();
                continue;
            }
            // Two paths, as if two neighbours had told it.
            for (path, from) in [(1, 64603), (2, 64604)] {
                let path = format!("path-information 0.0.0.{path} as-path [ {} {from} ]", plan.asn);
                writeln!(text, "  route {prefix} next-hop {next_hop} {path};").unwrap();
            }
        }
        for prefix in &plan.v6 {
            writeln!(text, "  route {prefix} next-hop {};", host.v6()).unwrap();
        }
        text.push_str(" }\n}\n");
    }
    text
}

/// What it says when it has gone over to another file.
const RELOADED: &str = "loaded new configuration successfully";

impl Rekeys for ExaBgp {
    /// While it has routes to say that no session has taken it drops the signal.
    const REKEYS_UNHEARD: bool = false;

    async fn rekey(&self, host: &Host, plan: &Plan) -> anyhow::Result<()> {
        let said = || {
            let log = self.process.log();
            let text = std::fs::read(log).with_context(|| format!("reading {}", log.display()))?;
            anyhow::Ok(String::from_utf8_lossy(&text).matches(RELOADED).count())
        };
        let before = said()?;
        write(host, plan)?;
        self.process.signal(Signal::SIGUSR1).await?;
        wait::until(SOON, "ExaBGP has read its file again", || async {
            self.process.must_live().await?;
            if said()? > before { Ok(()) } else { Err(NotYet::because("nothing new in its log")) }
        })
        .await
    }
}

/// Writes its file and says where that is.
fn write(host: &Host, plan: &Plan) -> anyhow::Result<String> {
    let files = ["helper.py", "told.json", "commands"].map(|name| host.file(name).display().to_string());
    let run = format!("/usr/bin/python3 {}", files.join(" "));
    Ok(host.write("exabgp.conf", &configuration(host, plan, &run))?.display().to_string())
}

impl Peer for ExaBgp {
    const NAME: &'static str = "ExaBGP";
    const PASSES_ON: bool = false;
    /// It breaks the connection at its own mark of the beginning, which it takes for routes.
    const ANSWERS_MARKED: bool = false;

    async fn start(host: &Host, plan: &Plan) -> anyhow::Result<Self> {
        let (told, commands) = (host.file("told.json"), host.file("commands"));
        std::fs::write(&told, "").with_context(|| format!("making {}", told.display()))?;
        if !commands.exists() {
            host.run(&["mkfifo", &commands.display().to_string()]).await?;
        }
        host.write("helper.py", HELPER)?;
        let file = write(host, plan)?;
        let words = [
            "exabgp.daemon.user=root",
            "exabgp.tcp.bind=0.0.0.0 ::",
            "exabgp.api.cli=false",
            "/usr/sbin/exabgp",
            &file,
        ];
        let process = host.start("exabgp", Path::new("/usr/bin/env"), &words).await?;
        Ok(Self { process, told, commands })
    }

    async fn routes(&self, _: &Host) -> anyhow::Result<Vec<Seen>> {
        let text = std::fs::read_to_string(&self.told)
            .with_context(|| format!("reading {}", self.told.display()))?;
        Ok(table(&text))
    }

    async fn refresh(&self, _: &Host, neighbor: &Neighbor) -> anyhow::Result<()> {
        let address = neighbor.address();
        let lines: String = ["ipv4", "ipv6"]
            .map(|family| format!("neighbor {address} announce route-refresh {family} unicast\n"))
            .concat();
        std::fs::OpenOptions::new()
            .write(true)
            .open(&self.commands)
            .and_then(|mut pipe| std::io::Write::write_all(&mut pipe, lines.as_bytes()))
            .with_context(|| format!("writing to {}", self.commands.display()))
    }

    async fn crash(&self) -> anyhow::Result<()> {
        self.process.kill().await
    }
}

/// The table after all messages told so far: with a session go its routes. A line that is still being written is left for
/// the next look.
fn table(text: &str) -> Vec<Seen> {
    let mut all: BTreeMap<(String, String, u64), Seen> = BTreeMap::new();
    for message in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let word = |place: &str| message.pointer(place).and_then(Value::as_str).unwrap_or_default();
        let neighbor = word("/neighbor/address/peer");
        if word("/neighbor/state") == "down" {
            all.retain(|(of, _, _), _| of != neighbor);
        }
        let Some(update) = message.pointer("/neighbor/message/update") else { continue };
        let key = |nlri: &Value| {
            let prefix = nlri.get("nlri").and_then(Value::as_str).unwrap_or_default().to_owned();
            let path = nlri.get("path-information").map(ToString::to_string).unwrap_or_default();
            let path = path.bytes().fold(0_u64, |sum, byte| sum * 31 + u64::from(byte));
            (neighbor.to_owned(), prefix, path)
        };
        for nlri in update.get("withdraw").and_then(Value::as_object).into_iter().flat_map(|f| f.values()) {
            for nlri in nlri.as_array().into_iter().flatten() {
                all.remove(&key(nlri));
            }
        }
        let families = update.get("announce").and_then(Value::as_object);
        for by_hop in families.into_iter().flat_map(|f| f.values()) {
            for (next_hop, nlris) in by_hop.as_object().into_iter().flatten() {
                for nlri in nlris.as_array().into_iter().flatten().filter(|n| n.get("nlri").is_some()) {
                    let key = key(nlri);
                    let seen = seen(&key.1, next_hop, update.get("attribute").unwrap_or(&Value::Null));
                    all.insert(key, seen);
                }
            }
        }
    }
    all.into_values().collect()
}

fn seen(prefix: &str, next_hop: &str, attributes: &Value) -> Seen {
    let list = |name: &str| attributes.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let numbers = |one: &Value| {
        let parts = one.as_array().into_iter().flatten().map(ToString::to_string);
        parts.collect::<Vec<_>>().join(":")
    };
    let extended = list("extended-community");
    let extended = extended.iter().filter_map(|one| one.get("string")?.as_str());
    let mut communities: std::collections::BTreeSet<String> =
        extended.map(|text| text.replace("target:", "rt:")).collect();
    communities.extend(list("community").iter().map(numbers));
    communities.extend(list("large-community").iter().map(numbers));
    let path: Vec<String> = list("as-path").iter().map(ToString::to_string).collect();
    Seen { prefix: prefix.to_owned(), next_hop: next_hop.to_owned(), as_path: path.join(" "), communities }
}

//! BMP (RFC 7854) as a collector sees it: what comes is read by Wireshark's dissector, which shares no code with us.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use anyhow::{Context, ensure};
use caracal_lab::Sandbox;
use caracal_lab::command;
use caracal_lab::wait::{self, NotYet};
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::bird::Bird;
use crate::peer::{Neighbor, Peer, Plan, SOON};
use crate::raw::{self, Raw};
use crate::segment::{Segment, v4};
use crate::us::{self, Us};

const OUR_AS: u32 = 64601;
const THEIR_AS: u32 = 64602;

/// Where the collector listens, in the test's own namespace.
const COLLECTOR: &str = "10.99.0.254:5000";

/// One message as the dissector tells it, field by field.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told {
    kind: String,
    fields: Vec<String>,
}

/// What the dissector is asked of every message; the first is the type.
const FIELDS: [&str; 12] = [
    "bmp.type",
    "bmp.peer.ip.addr",
    "bmp.peer.asn",
    "bmp.peer.flags.post_policy",
    "bmp.peer.down.reason",
    "bgp.type",
    "bgp.nlri_prefix",
    "bgp.mp_reach_nlri_ipv6_prefix",
    "bgp.withdrawn_prefix",
    "bgp.update.path_attribute.local_pref",
    "bmp.init.info",
    "bmp.term.reason",
];

const ROUTE_MONITORING: &str = "0";
const STATISTICS: &str = "1";
const PEER_DOWN: &str = "2";
const PEER_UP: &str = "3";
const INITIATION: &str = "4";
const TERMINATION: &str = "5";

impl Told {
    fn field(&self, name: &str) -> &str {
        let place = FIELDS.iter().position(|field| *field == name).unwrap();
        &self.fields[place]
    }

    /// A route told before or after the policy.
    fn is_route(&self, prefix: &str, post: bool) -> bool {
        let mentioned = ["bgp.nlri_prefix", "bgp.mp_reach_nlri_ipv6_prefix"];
        self.kind == ROUTE_MONITORING
            && self.field("bmp.peer.flags.post_policy") == if post { "1" } else { "0" }
            && mentioned.iter().any(|name| self.field(name).split(',').any(|found| found == prefix))
    }
}

/// A collector that takes one connection: what has come on it so far.
struct Collector {
    heard: Arc<Mutex<Vec<u8>>>,
    task: JoinHandle<()>,
    file: PathBuf,
}

impl Collector {
    /// Waits for a station to connect.
    async fn accept(listener: &TcpListener, file: PathBuf) -> anyhow::Result<Collector> {
        let accepted = tokio::time::timeout(SOON, listener.accept()).await;
        let (mut stream, _) = accepted.context("no station has connected")?.context("accepting a station")?;
        let heard: Arc<Mutex<Vec<u8>>> = Arc::default();
        let into = Arc::clone(&heard);
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stream.read(&mut buffer).await {
                into.lock().unwrap().extend_from_slice(&buffer[..length]);
            }
        });
        Ok(Collector { heard, task, file })
    }

    /// What has been told so far, in its order, as the dissector understands it.
    async fn told(&self) -> anyhow::Result<Vec<Told>> {
        let heard = self.heard.lock().unwrap().clone();
        std::fs::write(&self.file, capture(&heard)).context("writing the capture")?;
        let file = self.file.display().to_string();
        let mut words =
            vec!["tshark", "-r", &file, "-d", "tcp.port==5000,bmp", "-T", "fields", "-E", "separator=|"];
        words.extend(["-e", "_ws.malformed"]);
        words.extend(FIELDS.iter().flat_map(|field| ["-e", field]));
        let text = command::run(Command::new(words[0]).args(&words[1..])).await?.success()?;
        let mut all = Vec::new();
        for line in text.lines() {
            let (malformed, fields) = line.split_once('|').context("a line without fields")?;
            // Of a Peer Up it reads on for BGP where the information begins (RFC 7854 §4.10).
            let whole = malformed.is_empty() || fields.starts_with("3|");
            ensure!(whole, "the dissector calls it malformed: {line}");
            let fields: Vec<String> = fields.split('|').map(str::to_owned).collect();
            ensure!(fields.len() == FIELDS.len(), "{line}");
            all.push(Told { kind: fields[0].clone(), fields });
        }
        Ok(all)
    }

    /// Waits until this has been told.
    async fn hears(&self, what: &str, fits: impl Fn(&[Told]) -> bool) -> anyhow::Result<Vec<Told>> {
        wait::until(SOON, &format!("the collector has heard {what}"), || async {
            let told = self.told().await?;
            if fits(&told) { Ok(told) } else { Err(NotYet::because(format!("{told:#?}"))) }
        })
        .await
    }
}

/// What came as a capture that Wireshark reads: each message a segment of its own.
fn capture(heard: &[u8]) -> Vec<u8> {
    // Of raw IP packets: magic, version 2.4, zone, accuracy, the longest packet, the type of link.
    let mut out: Vec<u8> = [0xa1b2_c3d4_u32, 0x0002_0004, 0, 0, 1 << 18, 101].map(u32::to_be_bytes).concat();
    let mut rest = heard;
    while let Some(length) = rest.get(1..5).map(|four| u32::from_be_bytes(four.try_into().unwrap())) {
        // The last one may not be whole yet.
        let Some((message, more)) = rest.split_at_checked(length.max(6) as usize) else { break };
        let total = u32::try_from(40 + message.len()).unwrap();
        out.extend([0, 0, total, total].map(u32::to_be_bytes).concat());
        out.extend([0x45, 0]);
        out.extend(u16::try_from(total).unwrap().to_be_bytes());
        out.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 10, 99, 0, 1, 10, 99, 0, 254]);
        let sequence = u32::try_from(heard.len() - rest.len()).unwrap() + 1;
        out.extend([40_000_u16, 5000].map(u16::to_be_bytes).concat());
        out.extend(sequence.to_be_bytes());
        out.extend([0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        out.extend(message);
        rest = more;
    }
    out
}

/// The prefixes of the daemon behind us, the second of which our policy refuses.
const WANTED: &str = "10.2.0.0";
const UNWANTED: &str = "10.2.1.0";

const TABLES: &str = "\
[[bmp]]
name = \"collector\"
address = \"10.99.0.254:5000\"
monitoring = [\"pre-policy\", \"post-policy\"]
statistics-interval = 1
[[policy]]
name = \"in\"
default = \"accept\"
[[policy.rule]]
prefixes = [\"10.2.1.0/24\"]
action = \"reject\"
[[policy.rule]]
set-local-pref = 333
action = \"accept\"
";

/// The whole of what a new collector is told of BIRD and its table.
fn has_the_table(told: &[Told]) -> bool {
    let any = |fits: &dyn Fn(&Told) -> bool| told.iter().any(fits);
    let ends = told.iter().filter(|one| one.is_route("", false) || one.is_route("", true)).count();
    any(&|one| one.kind == PEER_UP && one.field("bmp.peer.ip.addr") == v4(2))
        && any(&|one| one.is_route(WANTED, false))
        && any(&|one| one.is_route(UNWANTED, false))
        && any(&|one| one.is_route("fd00:2::", false))
        && any(&|one| one.is_route(WANTED, true))
        && any(&|one| one.is_route("fd00:2::", true))
        && ends >= 4
}

/// A collector that comes late, goes and comes again is told everything each time: sessions, routes before and after the
/// policy, counts, the ends of sessions, and that the daemon ends.
pub(crate) async fn a_collector_is_told(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let source = segment.addresses(3, 1).await?.remove(0);
    let peers = [us::peer(&v4(2), THEIR_AS, "import = \"in\""), us::peer(&source, 64610, "passive = true")];
    let us = Us::start(&here, OUR_AS, &format!("{}{TABLES}", peers.concat())).await?;
    let neighbors = vec![Neighbor::new(1, OUR_AS)];
    let v4s = vec!["10.2.0.0/24", "10.2.1.0/24"];
    let plan = Plan { asn: THEIR_AS, neighbors, v4: v4s, v6: vec!["fd00:2::/64"], ..Plan::default() };
    let bird = Bird::start(&there, &plan).await?;
    us.learns(&here, "10.2.0.0/24", |path| path.best).await?;
    us.says("dialling the collector").await?;

    let listener = TcpListener::bind(COLLECTOR).await.context("listening as a collector")?;
    let first = Collector::accept(&listener, here.file("first.pcap")).await?;
    let told = first.hears("the whole table", has_the_table).await?;
    let begin = told.first().context("nothing")?;
    ensure!(begin.kind == INITIATION && begin.field("bmp.init.info").contains("caracal"), "{begin:?}");
    let up = told.iter().position(|one| one.kind == PEER_UP).context("no Peer Up")?;
    ensure!(told[up].field("bgp.type") == "1,1", "a Peer Up has both OPENs: {:?}", told[up]);
    ensure!(told[up].field("bmp.peer.asn") == THEIR_AS.to_string(), "{:?}", told[up]);
    let early = told[..up].iter().find(|one| one.kind == ROUTE_MONITORING);
    ensure!(early.is_none(), "a route of a peer that is not up: {early:?}");
    ensure!(!told.iter().any(|one| one.is_route(UNWANTED, true)), "a refused route is told as used");
    for (post, preference) in [(false, ""), (true, "333")] {
        let route = told.iter().find(|one| one.is_route(WANTED, post)).context("no route")?;
        let found = route.field("bgp.update.path_attribute.local_pref");
        ensure!(found == preference, "{route:?}");
    }
    first.hears("counts", |told| told.iter().any(|one| one.kind == STATISTICS)).await?;

    // What comes later, and goes.
    let mut raw = Raw::open(&source, &here.v4(), 64610, OUR_AS).await?;
    raw.announce(&raw::encode(&raw.good()), [10, 100, 0, 0], 24).await?;
    first
        .hears("another peer's route", |told| told.iter().any(|one| one.is_route("10.100.0.0", true)))
        .await?;
    raw.send(raw::UPDATE, &[0, 4, 24, 10, 100, 0, 0, 0]).await?;
    let withdrawn = |one: &Told| one.field("bgp.withdrawn_prefix") == "10.100.0.0";
    first.hears("it withdrawn", |told| told.iter().filter(|one| withdrawn(one)).count() == 2).await?;
    drop(raw);
    let lost = |one: &Told| one.kind == PEER_DOWN && one.field("bmp.peer.down.reason") == "4";
    first.hears("the connection lost", |told| told.iter().any(lost)).await?;

    // The collector goes, and comes again.
    first.task.abort();
    let second = Collector::accept(&listener, here.file("second.pcap")).await?;
    let told = second.hears("the whole table anew", has_the_table).await?;
    ensure!(told.first().is_some_and(|one| one.kind == INITIATION), "{told:?}");
    let ups = told.iter().filter(|one| one.kind == PEER_UP).count();
    ensure!(ups == 1, "{ups} peers are told to be up");

    // The daemon at the other end says goodbye, and then we do.
    bird.stop(&there).await?;
    let heard = |one: &Told| one.kind == PEER_DOWN && one.field("bmp.peer.down.reason") == "3";
    let told = second.hears("the peer's NOTIFICATION", |told| told.iter().any(heard)).await?;
    let down = told.iter().find(|one| heard(one)).context("no Peer Down")?;
    ensure!(down.field("bgp.type") == "3", "a Peer Down has the NOTIFICATION: {down:?}");
    us.stop().await?;
    let last = |told: &[Told]| told.last().is_some_and(|one| one.kind == TERMINATION);
    let told = second.hears("that we end", last).await?;
    ensure!(told.last().is_some_and(|one| one.field("bmp.term.reason") == "0"), "{told:?}");
    Ok(())
}

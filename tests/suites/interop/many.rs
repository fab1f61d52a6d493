//! Many sessions at once, and peers that do not read.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use caracal_lab::Sandbox;
use caracal_lab::command::ip_batch;
use caracal_lab::wait::{self, NotYet};

use crate::bird::Bird;
use crate::peer::{Neighbor, Peer, Plan, SOON};
use crate::raw::{self, Attribute, Raw};
use crate::segment::{Host, Segment};
use crate::us::{self, Us};

/// How many pairs of addresses.
const MANY: u8 = 200;

async fn addresses(host: &Host, net: u8) -> anyhow::Result<()> {
    let mut lines = String::new();
    for number in 1..=MANY {
        writeln!(lines, "address add 10.99.{net}.{number}/16 dev e0")?;
    }
    ip_batch(Some(host.netns().name()), &lines).await
}

/// Our sessions from 10.99.`own`.n to 10.99.`other`.n.
fn tables(own: u8, other: u8, asn: u32) -> String {
    let one = |number: u8| {
        let local = format!("local-address = \"10.99.{own}.{number}\"");
        us::peer(&format!("10.99.{other}.{number}"), asn, &local)
    };
    (1..=MANY).map(one).collect()
}

/// Two of us dial each other on 200 pairs of addresses at once: every collision leaves exactly one session.
pub(crate) async fn simultaneous_opens_with_ourselves(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    addresses(&here, 1).await?;
    addresses(&there, 2).await?;
    let us = Us::start(&here, 64601, &tables(1, 2, 64602)).await?;
    let they = Us::start(&there, 64602, &tables(2, 1, 64601)).await?;
    let peers = us.established(&here).await?;
    ensure!(peers.len() == usize::from(MANY), "{} peers", peers.len());
    they.established(&there).await?;
    one_connection_each(&here).await?;
    one_connection_each(&there).await?;
    us.established(&here).await.map(drop)
}

/// Waits until of every collision only one connection is left: BGP's own, of a host's namespace, one for each pair of
/// addresses.
async fn one_connection_each(host: &Host) -> anyhow::Result<()> {
    wait::until(SOON, "each pair of addresses has one connection", || async {
        let shown =
            host.run(&["ss", "-Htn", "state", "established", "( sport = :179 or dport = :179 )"]).await?;
        let pair = |line: &str| {
            let ends: Vec<&str> = line
                .split_whitespace()
                .skip(2)
                .filter_map(|end| end.rsplit_once(':'))
                .map(|end| end.0)
                .collect();
            ends.join(" ")
        };
        let all: Vec<String> = shown.lines().map(pair).collect();
        let pairs: BTreeSet<&String> = all.iter().collect();
        let wanted = usize::from(MANY);
        match (all.len(), pairs.len()) {
            found if found == (wanted, wanted) => Ok(()),
            (connections, pairs) => {
                Err(NotYet::because(format!("{connections} connections of {pairs} pairs")))
            }
        }
    })
    .await
}

/// The same with BIRD, whose 200 protocols dial as soon as they start.
pub(crate) async fn simultaneous_opens_with_bird(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    addresses(&here, 1).await?;
    addresses(&there, 2).await?;
    let mut text =
        String::from("log stderr all;\nrouter id 10.99.0.2;\nprotocol device { scan time 3600; }\n");
    for number in 1..=MANY {
        writeln!(text, "protocol bgp p{number} {{ local 10.99.2.{number} as 64602;")?;
        writeln!(
            text,
            "neighbor 10.99.1.{number} as 64601; strict bind on; ipv4 {{ import all; export all; }};"
        )?;
        writeln!(text, "connect delay time 0; connect retry time 1; error wait time 1,2; }}")?;
    }
    let file = there.write("bird.conf", &text)?.display().to_string();
    let control = there.file("bird.ctl").display().to_string();
    let pid = there.file("bird.pid").display().to_string();
    let words = ["-f", "-c", &file, "-s", &control, "-P", &pid];
    let _bird = there.start("bird", Path::new("/usr/sbin/bird"), &words).await?;
    let us = Us::start(&here, 64601, &tables(1, 2, 64602)).await?;
    let peers = us.established(&here).await?;
    ensure!(peers.len() == usize::from(MANY), "{} peers", peers.len());
    one_connection_each(&here).await?;
    us.established(&here).await.map(drop)
}

/// How many prefixes a feed has. With [`BULK`] that is more than sockets hold.
const FEED: u16 = 20_000;
/// Octets of communities on each, all different, so that no two prefixes share a message.
const BULK: u16 = 600;

/// A peer that stops reading delays nobody, and catches up when it reads again.
pub(crate) async fn a_peer_that_does_not_read(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let (here, there) = (segment.host(1).await?, segment.host(2).await?);
    let addresses = segment.addresses(3, 2).await?;
    let [source, sleeper] = addresses.as_slice() else { anyhow::bail!("two addresses expected") };
    let tables = [
        us::peer(source, 64610, "passive = true"),
        us::peer(sleeper, 64611, "passive = true"),
        us::peer(&there.v4(), 64602, ""),
    ];
    let us = Us::start(&here, 64601, &tables.concat()).await?;
    let plan = Plan { asn: 64602, neighbors: vec![Neighbor::new(1, 64601)], ..Plan::default() };
    let bird = Bird::start(&there, &plan).await?;
    let mut asleep = Raw::open(sleeper, &here.v4(), 64611, 64601).await?;
    let mut feed = Raw::open(source, &here.v4(), 64610, 64601).await?;
    us.established(&here).await?;

    let begin = Instant::now();
    for number in 0..FEED {
        let [high, low] = number.to_be_bytes();
        let communities: Vec<u8> = (0..BULK / 4).flat_map(|n| [high, low, (n >> 8) as u8, n as u8]).collect();
        let mut all = feed.good();
        all.push(Attribute::new(0xc0, 8, &communities));
        feed.announce(&raw::encode(&all), [10, 128 + (high >> 7), high << 1, low], 32).await?;
    }
    let [high, low] = (FEED - 1).to_be_bytes();
    let last = format!("10.{}.{}.{low}/32", 128 + (high >> 7), high << 1);
    wait::until(Duration::from_secs(90), "BIRD has the last of the feed", || async {
        if bird.has(&there, &last).await? { Ok(()) } else { Err(NotYet::because("not yet")) }
    })
    .await?;
    let took = begin.elapsed();
    let peers = us.peers(&here).await?;
    let stuck = peers.iter().find(|peer| peer.key == *sleeper).context("no such peer")?;
    ensure!(stuck.state == "Established", "{stuck:?}");
    ensure!(stuck.messages_sent < u64::from(FEED), "the sockets took all: the test proves nothing");

    asleep.listen();
    let nlri = raw::nlri([10, 128 + (high >> 7), high << 1, low], 32);
    wait::until(SOON, "the sleeper has caught up", || async {
        let heard = asleep.heard();
        let found = heard.iter().any(|(_, body)| body.ends_with(&nlri));
        if found { Ok(()) } else { Err(NotYet::because(format!("{} messages", heard.len()))) }
    })
    .await
    .with_context(|| format!("after the others had all in {} s", took.as_secs()))
}

/// Connections that say nothing hold up nobody else, however many there are.
pub(crate) async fn silent_connections(sandbox: Sandbox) -> anyhow::Result<()> {
    let segment = Segment::make(&sandbox).await?;
    let here = segment.host(1).await?;
    let addresses = segment.addresses(3, MANY).await?;
    let (talker, silent) = addresses.split_last().context("no address")?;
    let tables: String = addresses.iter().map(|address| us::peer(address, 64610, "passive = true")).collect();
    let us = Us::start(&here, 64601, &tables).await?;
    let mut held = Vec::new();
    for address in silent {
        held.push(raw::silent(address, &here.v4()).await?);
    }
    let mut peer = Raw::open(talker, &here.v4(), 64610, 64601).await?;
    let good = peer.good();
    peer.announce(&raw::encode(&good), [10, 100, 0, 0], 24).await?;
    us.learns(&here, "10.100.0.0/24", |path| path.best).await?;
    drop(held);
    Ok(())
}

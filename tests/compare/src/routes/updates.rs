//! From an UPDATE to the kernel: a peer announces all prefixes at once, then more of them, one at a time.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::time::{sleep, timeout};

use super::watch::{Event, Watch};
use super::{GATEWAYS, milliseconds};
use crate::generator::family::Family;
use crate::generator::heard::{Board, Heard};
use crate::generator::{message, session, table};
use crate::load::{Client, PORT};
use crate::place;
use crate::process::Process;
use crate::report::Figure;
use crate::subject::Subject;

/// Prefixes that are announced one at a time.
pub(super) const SINGLE: u32 = 1000;
/// Between two of them: what one costs is not to be waited for by the next.
const PAUSE: Duration = Duration::from_millis(3);

/// Measures a subject that has a peer and a kernel table.
pub(super) async fn measure(
    subject: &Subject,
    cpus: &str,
    folder: &Path,
    routes: u32,
    limit: Duration,
) -> anyhow::Result<Vec<Figure>> {
    let client = Client::numbered(Family::V4, 0, 65001);
    let words = (subject.prepare)(subject, folder, std::slice::from_ref(&client))?;
    with_a_kernel_table(subject.name, folder)?;
    let mut process = Process::start(subject.name, &words, cpus, &folder.join("updates.log"))?;
    let mut watch = Watch::open()?;
    let heard = Heard::new(Family::V4, 0, 0..routes + SINGLE, &Rc::new(Board::default()), None);
    let server = SocketAddr::new(place::subject(Family::V4), PORT);
    let opening = session::establish(&client, server, heard);
    let mouth = timeout(limit, opening).await.context("no session came up")??;
    process.must_live()?;

    let announce = |numbers| Rc::new(announcements(&client, numbers));
    let all = announce(0..routes);
    let begin = Instant::now();
    mouth.say(all).await?;
    mouth.say(Rc::new(message::end_of_rib(Family::V4))).await?;
    let end = timeout(limit, watch.all(Event::New, routes)).await;
    let mut figures =
        vec![milliseconds("all at once", end.context("not all came into the kernel")?? - begin)];

    let mut took = Vec::new();
    for number in routes..routes + SINGLE {
        sleep(PAUSE).await;
        let one = announce(number..number + 1);
        let begin = Instant::now();
        mouth.say(one).await?;
        let end = timeout(limit, watch.one(Event::New, number)).await;
        took.push(end.context("a prefix never came into the kernel")?? - begin);
    }
    took.sort();
    for (metric, of_hundred) in [("latency, median", 50), ("latency, p99", 99)] {
        let at = took.len() * of_hundred / 100;
        figures.push(milliseconds(metric, took.get(at).copied().unwrap_or_default()));
    }
    Ok(figures)
}

/// These prefixes, by a next hop on the subject's subnet.
pub(super) fn announcements(client: &Client, numbers: std::ops::Range<u32>) -> Vec<u8> {
    let mut words = Vec::new();
    for group in (numbers.start / table::GROUP)..numbers.end.div_ceil(table::GROUP) {
        let mut attributes = table::attributes(client, group, 0);
        attributes.next_hop = GATEWAYS[0].into();
        let first = group * table::GROUP;
        let part = numbers.start.max(first)..numbers.end.min(first + table::GROUP);
        message::announce(&mut words, &attributes, part);
    }
    words
}

/// Adds to a subject's configuration that its best routes go into the kernel.
fn with_a_kernel_table(name: &str, folder: &Path) -> anyhow::Result<()> {
    let (file, text) = match name {
        "caracal" => ("bgpd.toml", "[fib]\nprotocol = 67\n"),
        "bird" => ("bird.conf", "protocol kernel { scan time 3600; ipv4 { import none; export all; }; }\n"),
        other => bail!("{other} is not known to write routes"),
    };
    let path = folder.join(file);
    let before = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    fs::write(&path, before + text).with_context(|| format!("writing {}", path.display()))
}

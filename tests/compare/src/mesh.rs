//! `cargo compare mesh`: a full mesh of many speakers on one machine, as the nodes of a cluster make it: how long from the
//! start of the first until each has the routes of all, and what they use together.
//!
//! Each speaker runs in a process of its own, at an address of its own, and announces two prefixes to all others by iBGP. It
//! has one more peer, the generator, of another AS: what the speaker knows it tells that peer, so it is seen from outside,
//! alike for everyone, when its table is complete.

mod speaker;

use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::bgp;
use crate::cpus::Cpus;
use crate::folder::Folder;
use crate::generator::family::Family;
use crate::generator::heard::{Board, Heard};
use crate::generator::session;
use crate::load::{Client, PORT, used};
use crate::place;
use crate::process::{Process, Usage};
use crate::report::{Figure, Report, words};
use crate::subject::{self, Subject};
use crate::{Mesh, load};
use speaker::Speaker;

/// How many prefixes each announces: as a node has a block of each family.
const PREFIXES: u32 = 2;
/// The AS of the generator.
const OUTSIDE: u32 = 65001;

/// Measures what was asked for and prints it.
pub(crate) fn run(asked: &Mesh) -> anyhow::Result<()> {
    let subjects: Vec<(Subject, speaker::Write)> = asked
        .subjects
        .iter()
        .map(|name| {
            let write = speaker::of(name)
                .with_context(|| format!("there is no mesh of `{name}`: caracal and bird are there"))?;
            Ok((subject::named(name, asked.daemon.as_deref())?, write))
        })
        .collect::<anyhow::Result<_>>()?;
    ensure!(!subjects.is_empty(), "nothing is asked for");
    let cpus = Cpus::divide()?;
    place::enter()?;
    bgp::many_files()?;
    let folder = Folder::make()?;
    println!("{}", bgp::machine(&cpus)?);
    let title = format!("a mesh of {} speakers x {PREFIXES} prefixes", asked.speakers);
    let mut report = Report::default();
    for round in 1..=asked.rounds {
        for (place, (subject, write)) in subjects.iter().enumerate() {
            match measure(asked, subject, *write, &cpus, folder.path()) {
                Ok(figures) => {
                    println!("round {round}, {title}, {}: {}", subject.name, words(&figures));
                    report.add((0, place), &title, subject.name, &figures);
                }
                Err(error) => {
                    println!("round {round}, {title}, {}: {error:#}", subject.name);
                    report.fail(&title, subject.name, &error);
                }
            }
        }
    }
    report.finish(asked.json.as_deref())
}

fn measure(
    asked: &Mesh,
    subject: &Subject,
    write: speaker::Write,
    cpus: &Cpus,
    folder: &Path,
) -> anyhow::Result<Vec<Figure>> {
    let all: Vec<Speaker> =
        (0..asked.speakers).map(|number| Speaker::numbered(number, asked.speakers)).collect();
    let mut words = Vec::new();
    for speaker in &all {
        let own = folder.join(speaker.router_id().to_string());
        std::fs::create_dir_all(&own).with_context(|| format!("making {}", own.display()))?;
        words.push((write(subject, &own, speaker, &all)?, own.join("log")));
    }
    let begin = Instant::now();
    let mut processes = Vec::new();
    for (words, log) in &words {
        processes.push(Process::start(subject.name, words, &cpus.subjects(), log)?);
    }
    let limit = Duration::from_secs(asked.limit);
    let complete = std::thread::scope(|scope| {
        let driver = scope.spawn(|| {
            cpus.keep_to_the_generators()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            tokio::task::LocalSet::new().block_on(&runtime, complete(&all, limit))
        });
        driver.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the generator has panicked")))
    })?;
    let mut total = Usage::default();
    for process in &mut processes {
        process.must_live()?;
        let usage = process.usage()?;
        total.cpu += usage.cpu;
        total.memory += usage.memory;
        total.share += usage.share;
    }
    let mut figures = vec![load::figure("time", "s", (complete - begin).as_secs_f64())];
    figures.extend(used(Usage::default(), total));
    #[allow(clippy::cast_precision_loss, reason = "memory is far below 2^53 octets")]
    let share = total.share as f64 / f64::from(1 << 20);
    figures.push(load::figure("memory, what is shared counted once", "MiB", share));
    Ok(figures)
}

/// Waits until every speaker has told the generator all there is; when that was.
async fn complete(all: &[Speaker], limit: Duration) -> anyhow::Result<Instant> {
    let board = Rc::<Board>::default();
    let wanted = u32::try_from(all.len())? * PREFIXES;
    let mut ears = Vec::new();
    for speaker in all {
        let heard = Heard::new(Family::V4, wanted, 0..0, &board, None);
        ears.push(Rc::clone(&heard));
        let (client, server) = (speaker.listener(), (speaker.address(), PORT).into());
        tokio::task::spawn_local(async move {
            match session::establish(&client, server, heard).await {
                // Held as long as this is measured.
                Ok(_mouth) => std::future::pending().await,
                Err(error) => eprintln!("listening to {server}: {error:#}"),
            }
        });
    }
    match tokio::time::timeout(limit, board.complete(all.len())).await {
        Ok(when) => Ok(when),
        Err(_) => bail!(
            "not within {} s: {} of {} speakers have all, and the last {} prefixes",
            limit.as_secs(),
            board.now(),
            all.len(),
            ears.iter().map(|ears| ears.count()).min().unwrap_or(0)
        ),
    }
}

impl Speaker {
    /// The generator's end of its session.
    fn listener(&self) -> Client {
        Client::numbered(Family::V4, self.listener, OUTSIDE)
    }
}

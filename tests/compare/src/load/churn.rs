//! One peer with a large table of which one prefix in a hundred flaps each second, for half a minute: what that costs,
//! and how late the news are at another peer. Maybe a third peer stalls: it has the table, and does not read for a
//! minute. That must cost the other nothing, and it has to have everything once it reads again.

use std::rc::Rc;
use std::time::Duration;

use anyhow::ensure;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{Bench, figure, used};
use crate::generator::heard::Clock;
use crate::generator::session::Mouth;
use crate::generator::{message, table};
use crate::report::Figure;

/// The one that flaps, and one that listens.
pub(super) const PEERS: u32 = 2;
/// How long it goes on.
const FOR: Duration = Duration::from_secs(30);
/// How long a peer stalls.
const STALL: Duration = Duration::from_secs(60);
/// Between two handfuls.
const TICK: Duration = Duration::from_millis(20);
/// Handfuls in a second.
const TICKS: u32 = 50;
/// A prefix is away for so many ticks: half a second.
const AWAY: usize = 25;
/// What is still under way in the end may take so long.
const REST: Duration = Duration::from_secs(10);

/// Measures it: CPU time and latencies while it goes on.
pub(super) async fn measure(
    bench: &mut Bench<'_>,
    prefixes: u32,
    stalls: bool,
) -> anyhow::Result<Vec<Figure>> {
    let clock = Clock::new(prefixes);
    let mut ears =
        vec![bench.ears(0, 0..prefixes, None), bench.ears(prefixes, 0..0, Some(Rc::clone(&clock)))];
    let stalling = stalls.then(|| bench.ears(prefixes, 0..0, None));
    ears.extend(stalling.clone());
    let Some(flapping) = bench.clients.first().cloned() else { anyhow::bail!("there are no peers") };
    let table = Rc::new(table::announcements(&flapping, 0..prefixes, 0));
    let mouths = bench.sessions(ears).await?;
    let Some(mouth) = mouths.first() else { anyhow::bail!("there are no peers") };
    mouth.say(table).await?;
    bench.complete().await?;

    let before = bench.subject.usage()?;
    let handful = (prefixes / 100 / TICKS).max(1);
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let end = Instant::now() + if stalls { STALL } else { FOR };
    if let Some(ears) = &stalling {
        ears.plug(true);
    }
    let mut away = std::collections::VecDeque::new();
    let (mut next, mut round) = (0, 1);
    while Instant::now() < end {
        ticks.tick().await;
        if next + handful > prefixes {
            (next, round) = (0, round + 1);
        }
        let numbers = next..next + handful;
        next += handful;
        let mut words = Vec::new();
        message::withdraw(&mut words, bench.family, numbers.clone());
        say(mouth, &clock, numbers.clone(), words).await?;
        away.push_back((numbers, round));
        if away.len() > AWAY {
            back(mouth, &clock, &flapping, away.pop_front()).await?;
        }
    }
    while !away.is_empty() {
        back(mouth, &clock, &flapping, away.pop_front()).await?;
    }
    let after = bench.subject.usage()?;
    if let Some(ears) = &stalling {
        ears.plug(false);
    }
    let caught_up = || stalling.as_ref().is_none_or(|ears| ears.count() == prefixes);
    let late = Instant::now() + REST;
    while (clock.missing() > 0 || !caught_up()) && Instant::now() < late {
        sleep(TICK).await;
    }
    ensure!(clock.missing() == 0, "of the last changes {} never came", clock.missing());
    ensure!(caught_up(), "the peer that had stalled has {:?} of them", stalling.map(|ears| ears.count()));
    let mut took = clock.took.borrow_mut();
    took.sort_by(f64::total_cmp);
    let part = |of_hundred: usize| took.get(took.len() * of_hundred / 100).copied().unwrap_or(0.0) * 1000.0;
    let mut figures = vec![figure("latency, p99", "ms", part(99)), figure("latency, median", "ms", part(50))];
    figures.extend(used(before, after));
    Ok(figures)
}

async fn back(
    mouth: &Mouth,
    clock: &Clock,
    flapping: &super::Client,
    what: Option<(std::ops::Range<u32>, u32)>,
) -> anyhow::Result<()> {
    let Some((numbers, round)) = what else { return Ok(()) };
    let words = table::announcements(flapping, numbers.clone(), round);
    say(mouth, clock, numbers, words).await
}

async fn say(
    mouth: &Mouth,
    clock: &Clock,
    numbers: std::ops::Range<u32>,
    words: Vec<u8>,
) -> anyhow::Result<()> {
    clock.send(numbers);
    mouth.say(Rc::new(words)).await
}
